"""
What we ask a person to allow, and whether what was allowed is enough.

Sources: Calendar API v3 discovery document (scopes per method); Graph permissions reference;
docs.recall.ai, calendar v2 setup of Google and Microsoft.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

_GOOGLE = "https://www.googleapis.com/auth/"
_GRAPH = "https://graph.microsoft.com/"

_ASKED: dict[tuple[str, str], tuple[str, ...]] = {
    ("google", "recall"): ("openid", "email", f"{_GOOGLE}calendar.events.readonly"),
    ("google", "direct"): (
        "openid",
        "email",
        f"{_GOOGLE}calendar.events.readonly",
        f"{_GOOGLE}calendar.calendarlist.readonly",
    ),
    ("microsoft", "recall"): ("openid", "email", "offline_access", f"{_GRAPH}Calendars.Read"),
    ("microsoft", "direct"): (
        "openid",
        "email",
        "offline_access",
        f"{_GRAPH}User.Read",
        f"{_GRAPH}Calendars.Read",
    ),
}
#: Any one of them lets us read events. Wider ones are there when an operator asks for more.
_READS_EVENTS = {
    "google": frozenset(
        {"calendar", "calendar.readonly", "calendar.events", "calendar.events.readonly"}
    ),
    "microsoft": frozenset(
        {"calendars.read", "calendars.readwrite", "calendars.read.shared", "calendars.readwrite.shared"}
    ),
}


def scopes_to_ask(platform: str, via: str, more: Iterable[str] = ()) -> tuple[str, ...]:
    """List the scopes to ask for, with what the operator wants *more*, each once."""
    return tuple(dict.fromkeys([*_ASKED[platform, via], *more]))


def may_read_events(platform: str, granted: Collection[str]) -> bool:
    """Say whether the granted scopes let us read a calendar: a person may have unticked it."""
    return bool({_short(platform, scope) for scope in granted} & _READS_EVENTS[platform])


def _short(platform: str, scope: str) -> str:
    """Microsoft answers with or without the resource, and in any case of letters."""
    return scope.removeprefix(_GOOGLE) if platform == "google" else scope.rpartition("/")[2].lower()
