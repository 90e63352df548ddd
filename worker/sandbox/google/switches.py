"""
Every behaviour of Google Calendar that public pages leave open, as a named switch with the likelier answer.

A consumer is right only if it is right under both answers; the control API flips them at run time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker.sandbox.recall import switches as plain

CHOICES = {
    "windowed_token": ("all", "inside", "cancels_leavers"),
    "deleted_series_as": ("instances", "master", "both"),
    "conference_requests": ("success", "pending", "failure"),
    "oversized_properties": ("dropped", "refused"),
}


@dataclass(frozen=True, slots=True)
class Switches:
    """One answer per open question; each comment says what True (or the value) means."""

    # Sync
    # a first list with timeMin or timeMax gives a sync token (the vendor's sample relies on it)
    windowed_sync_gives_token: bool = True
    # what the token of a windowed first list tells later: all changes anywhere | those that are inside the
    # window now | those, and what lies outside as cancelled
    windowed_token: str = "all"
    # with singleEvents and a sync token a deleted series shows as cancelled instances | one cancelled
    # master | both
    deleted_series_as: str = "instances"
    # without singleEvents: the exceptions of a deleted series are reported as cancelled rows too
    deleted_series_tells_exceptions: bool = True
    cancelled_exceptions_bare: bool = False  # cancelled exceptions have nothing but id and status
    # another singleEvents, eventTypes or maxAttendees than at first is a 400; False: the token's are used
    changed_parameters_refused: bool = True
    garbage_token_is_gone: bool = False  # a sync token that is none of ours is a 410; False: a 400
    # a change of the caller's access role leaves sync tokens valid
    token_survives_role_change: bool = False
    # a rename or another property of a calendar shows up in an incremental calendarList
    calendar_properties_reported: bool = False

    # Events
    # a series moved in time keeps exceptions that no longer fit it
    exceptions_survive_retiming: bool = False
    oversized_properties: str = "dropped"  # dropped (values truncated) | refused with a 400
    conference_requests: str = "success"  # success | pending (until told) | failure
    domain_shares_free_busy: bool = True  # people of one mail domain see each other's free/busy

    # Push
    sync_before_answer: bool = False  # the sync message arrives before the answer to the watch call
    https_required: bool = False  # http:// addresses are refused; loopback has no certificates
    stopped_channel_ids_reusable: bool = True
    unreachable_is_retried: bool = True  # no connection or no answer counts like a 503
    deletions_say_not_exists: bool = False  # a deleted event is announced as not_exists; False: exists
    own_writes_announced: bool = True  # a client is told of what it has written itself

    # Refusals
    quota_is_429: bool = False  # over quota is a 429; False: a 403
    unknown_fields_refused: bool = False  # properties no event has are a 400; False: ignored


def replaced(settings: Switches, changes: Mapping[str, Any]) -> Switches:
    """
    Return *settings* with *changes* taken over.

    Raises:
        ValueError: an unknown name, or a value that is no choice.
    """
    for name, value in changes.items():
        if value not in CHOICES.get(name, (value,)):
            raise ValueError(f"{name} is one of {', '.join(CHOICES[name])}")
    return plain.replaced(settings, changes)
