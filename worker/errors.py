"""
One class per reaction: who raises it decides what happens next, not what went wrong.

    Reaction
      TryLater            wait, then do the same again
      AuthorizationLost   the operator's key or client is not accepted
        ConsentLost       a user's consent is not accepted any more: the user has to connect again
      CursorGone          start over from a full listing
      AlreadyGone         what we wanted removed is not there: success
      Refused             the other side will never accept this; trying again changes nothing
        TooLate           the bot has been dispatched; it can only leave the call
    VerificationFailed    a notification that nobody we know has signed
    ConfigError           the operator's settings do not make sense
"""

from __future__ import annotations

from datetime import timedelta


class Reaction(Exception):
    """An answer from outside that has exactly one reaction."""


class TryLater(Reaction):
    """
    The other side cannot do it now.

    *after* is its own hint. *counts* is False when we only wait our turn, and *each* then says how
    long the turn of everybody ahead of us takes. *is_definite* means the other side surely did
    nothing, so a repeat needs a new idempotency key.
    """

    def __init__(
        self,
        what: str,
        *,
        after: timedelta | None = None,
        counts: bool = True,
        each: timedelta | None = None,
        is_definite: bool = False,
    ) -> None:
        super().__init__(what)
        self.after = after
        self.each = each
        self.counts = counts
        self.is_definite = is_definite


class AuthorizationLost(Reaction):
    """Our credentials are not accepted."""


class ConsentLost(AuthorizationLost):
    """What a user once allowed is not allowed any more."""


class CursorGone(Reaction):
    """The provider forgot where we were."""


class AlreadyGone(Reaction):
    """What should be changed or removed is not there any more."""


class Refused(Reaction):
    """The request is wrong as it stands."""


class TooLate(Refused):
    """The bot is on its way or in the call and can no longer be changed."""


class VerificationFailed(Exception):
    """No configured secret signed this."""


class ConfigError(Exception):
    """Settings that are missing, unsafe or contradict each other; one line per fault."""
