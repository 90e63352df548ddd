"""
What the use-cases need of the providers whose calendars we read ourselves, in our words.

Every call may be repeated, unless it says otherwise, and raises only the reactions of `worker.errors`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from worker.errors import Refused
from worker.ports import FoundEvent, Unreadable


@dataclass(frozen=True, slots=True)
class OAuthApp:
    """The client that asks for consents: as registered at the provider by the operator."""

    platform: str
    client_id: str
    client_secret: str = field(repr=False)
    tenant: str | None = None


@dataclass(frozen=True, slots=True)
class Consent:
    """A person's way to the provider's consent page; *challenge* is PKCE's, S256."""

    state: str = field(repr=False)
    challenge: str
    redirect_uri: str
    scopes: tuple[str, ...]
    login_hint: str | None = None


@dataclass(frozen=True, slots=True)
class Tokens:
    """
    What a provider's token endpoint gave.

    *refresh_token* is None where the provider keeps the old one, or gave none. *scopes* are those
    granted, None where it does not say: then those asked for.
    """

    access_token: str = field(repr=False)
    expires_in: timedelta
    refresh_token: str | None = field(default=None, repr=False)
    scopes: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """Whose tokens they are; *id* stays when the address changes."""

    id: str
    email: str | None


class Authority(Protocol):
    """A platform's authorisation server."""

    def consent_url(self, app: OAuthApp, consent: Consent) -> str:
        """Return where to send the person's browser."""
        ...

    def redeem(self, app: OAuthApp, code: str, *, redirect_uri: str, verifier: str) -> Tokens:
        """
        Exchange the code of a consent for tokens; a code works once, so this is never repeated.

        Raises ConsentLost when the code is not accepted, AuthorizationLost when the client is not.
        """
        ...

    def refresh(self, app: OAuthApp, refresh_token: str) -> Tokens:
        """
        Get a new access token. A refresh token that comes with it replaces the old one, which may
        work no more.

        Raises ConsentLost when the token is not accepted, AuthorizationLost when the client is not.
        """
        ...

    def account(self, access_token: str) -> Account:
        """Return whose access token this is."""
        ...

    def revoke(self, app: OAuthApp, refresh_token: str) -> None:
        """Give a consent back, where the platform lets us; one that is gone already is fine."""
        ...


@dataclass(frozen=True, slots=True)
class OfferedCalendar:
    """A calendar that an account can see; *may_read* is False where only free and busy is shown."""

    external_id: str
    name: str
    is_primary: bool
    may_read: bool
    zone: str | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """The time whose events are of interest: those that end after *since* and start before *until*."""

    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Reading:
    """
    Part of what a calendar says.

    *removed* are ids of events, or of whole series, that are there no more. *replaced* are series of
    which every occurrence in the window is among *events*: what else we have of them there is gone. An
    event that stands alone is one of them: it may have been a series when we last looked.
    *cursor* comes with the last part alone: from there the next look goes on.
    """

    events: tuple[FoundEvent, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    removed: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    cursor: str | None = None


class ChannelTaken(Refused):
    """A channel of this id was opened before, by a call whose answer we do not have: take another id."""


@dataclass(frozen=True, slots=True)
class OpenChannel:
    """A push channel as the provider opened it; it ends by itself at *expires_at*."""

    external_id: str
    expires_at: datetime


class AccountCalendars(Protocol):
    """
    The calendars of one platform, each read with its owner's access token.

    *may_keep_quiet* says that a change we were told of may be missing from `read_changes`.
    """

    @property
    def may_keep_quiet(self) -> bool: ...

    def calendars(self, token: str) -> Sequence[OfferedCalendar]:
        """List the calendars an account can see, its own first."""
        ...

    def read_all(
        self, token: str, calendar: str, window: Window, *, email: str | None
    ) -> Iterator[Reading]:
        """
        Read every event of a calendar in a window; complete exactly when the iterator ends.

        The last part brings the cursor for `read_changes`.
        """
        ...

    def read_changes(
        self, token: str, calendar: str, cursor: str, window: Window, *, email: str | None
    ) -> Iterator[Reading]:
        """
        Read what has changed since a cursor, in the window it was made for.

        Raises CursorGone when the provider does not know where that was.
        """
        ...

    def open_channel(
        self, token: str, calendar: str, *, channel_id: UUID, secret: str, until: datetime
    ) -> OpenChannel:
        """
        Have the provider tell us of changes until about *until*.

        What it sends carries *secret*. Raises ChannelTaken when there is one of this id already.
        """
        ...

    def renew_channel(self, token: str, external_id: str, *, until: datetime) -> OpenChannel | None:
        """Let a channel live longer; None where only a new one does. AlreadyGone: it is not there."""
        ...

    def close_channel(self, token: str, channel_id: UUID, external_id: str) -> None:
        """Have the provider stop; a channel that is gone already is fine."""
        ...
