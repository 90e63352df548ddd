"""Payloads as the providers write them, with dull defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from hypothesis import strategies as st

from models.domain.events import Event
from worker.providers.payloads import google, microsoft

ANNA = "anna@acme.test"
MEET = "https://meet.google.com/abc-defg-hij"
ZOOM = "https://zoom.us/j/81234567890?pwd=a"


class Reader(Protocol):
    def __call__(self, raw: Any, *, external_id: Any, calendar_email: Any, **known: Any) -> Event: ...


READERS = [google.read_event, microsoft.read_event]


def a_google_event(**changes: Any) -> dict[str, Any]:
    """Anna's copy of Ben's meeting with Clara; *changes* of None leave a field out."""
    raw = {
        "kind": "calendar#event",
        "id": "abc",
        "status": "confirmed",
        "summary": "Standup",
        "iCalUID": "abc@google.com",
        "eventType": "default",
        "organizer": {"email": "ben@acme.test"},
        "start": {"dateTime": "2026-11-23T13:00:00+01:00", "timeZone": "Europe/Berlin"},
        "end": {"dateTime": "2026-11-23T14:00:00+01:00", "timeZone": "Europe/Berlin"},
        "attendees": [
            {"email": "Anna@acme.test", "responseStatus": "tentative", "self": True},
            {"email": "ben@acme.test", "responseStatus": "accepted", "organizer": True},
            {"email": "clara@customer.test", "responseStatus": "needsAction"},
        ],
        "hangoutLink": MEET,
        **changes,
    }
    return {key: value for key, value in raw.items() if value is not None}


def a_graph_event(**changes: Any) -> dict[str, Any]:
    """The same meeting in Outlook; *changes* of None leave a field out."""
    raw = {
        "id": "AAMk",
        "iCalUId": "040000",
        "type": "singleInstance",
        "subject": "Standup",
        "isAllDay": False,
        "isCancelled": False,
        "isOrganizer": False,
        "sensitivity": "normal",
        "responseStatus": {"response": "tentativelyAccepted"},
        "organizer": {"emailAddress": {"name": "Ben", "address": "ben@acme.test"}},
        "start": {"dateTime": "2026-11-23T12:00:00.0000000", "timeZone": "UTC"},
        "end": {"dateTime": "2026-11-23T13:00:00.0000000", "timeZone": "UTC"},
        "attendees": [
            graph_guest("Anna@acme.test", "tentativelyAccepted"),
            graph_guest("clara@customer.test", "none"),
        ],
        "onlineMeeting": {"joinUrl": "https://teams.microsoft.com/meet/2345678?p=a"},
        **changes,
    }
    return {key: value for key, value in raw.items() if value is not None}


def graph_guest(email: str, response: str = "none", kind: str = "required") -> dict[str, Any]:
    return {
        "type": kind,
        "status": {"response": response, "time": "0001-01-01T00:00:00Z"},
        "emailAddress": {"name": email, "address": email},
    }


def read_google(raw: Mapping[str, object] | None = None, **known: Any) -> Event:
    named = {"external_id": "event-1", "calendar_email": ANNA, **known}
    return google.read_event(a_google_event() if raw is None else raw, **named)


def read_graph(raw: Mapping[str, object] | None = None, **known: Any) -> Event:
    named = {"external_id": "event-1", "calendar_email": ANNA, **known}
    return microsoft.read_event(a_graph_event() if raw is None else raw, **named)


NAMES = [
    "address",
    "content",
    "date",
    "dateTime",
    "displayName",
    "email",
    "emailAddress",
    "entryPoints",
    "joinUrl",
    "response",
    "responseStatus",
    "self",
    "status",
    "timeZone",
    "uri",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=10,
)
TIMES = st.sampled_from(
    [
        {"dateTime": "2026-11-23T12:00:00Z"},
        {"dateTime": "2026-02-30T12:00:00", "timeZone": "UTC"},
        {"dateTime": "0001-01-01T00:00:00", "timeZone": "Asia/Tokyo"},
        {"dateTime": "9999-12-31T23:59:59", "timeZone": "America/New_York"},
        {"date": "2026-11-23"},
        {"date": "9998-12-31"},
    ]
)
