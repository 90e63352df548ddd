"""
The methods of the Calendar API: where they are, which scopes they accept, and what carries them out.

Source: Google's discovery document calendar.v3.json (paths and scopes of every method).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import unquote

from worker.sandbox.google import api_calendars, api_channels, api_events, api_free_busy, api_lists
from worker.sandbox.google.calls import Call
from worker.sandbox.recall.answers import Answer

ROOT = "/calendar/v3/"
SCOPES = "https://www.googleapis.com/auth/"

READ_EVENTS = (
    "calendar", "calendar.readonly", "calendar.events", "calendar.events.readonly", "calendar.events.owned",
    "calendar.events.owned.readonly", "calendar.events.freebusy", "calendar.events.public.readonly",
    "calendar.app.created",
)  # fmt: skip
WRITE_EVENTS = ("calendar", "calendar.events", "calendar.events.owned", "calendar.app.created")
MOVE_EVENTS = ("calendar", "calendar.events", "calendar.events.owned")
READ_LIST = ("calendar", "calendar.readonly", "calendar.calendarlist", "calendar.calendarlist.readonly")
READ_ENTRY = (*READ_LIST, "calendar.app.created")
READ_CALENDARS = (
    "calendar", "calendar.readonly", "calendar.calendars", "calendar.calendars.readonly",
    "calendar.app.created",
)  # fmt: skip
WRITE_CALENDARS = ("calendar", "calendar.calendars", "calendar.app.created")
READ_SETTINGS = ("calendar", "calendar.readonly", "calendar.settings", "calendar.settings.readonly")
FREE_BUSY = ("calendar", "calendar.readonly", "calendar.freebusy", "calendar.events.freebusy")
STOP = tuple(
    dict.fromkeys((*READ_EVENTS, *READ_LIST, *READ_SETTINGS, "calendar.acls", "calendar.acls.readonly"))
)


@dataclass(frozen=True, slots=True)
class Method:
    """One method of the API. *path* is a template below the root."""

    name: str
    verb: str
    path: str
    scope_names: tuple[str, ...]
    act: Callable[[Call], Answer] | Callable[[Call], Awaitable[Answer]]

    @property
    def scopes(self) -> frozenset[str]:
        return frozenset(SCOPES + name for name in self.scope_names)

    def parameters(self, path: str) -> dict[str, str] | None:
        """Return what *path*, still percent-encoded, says for the template; None if it does not fit."""
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.path)
        found = re.fullmatch(pattern, path)
        return {name: unquote(value) for name, value in found.groupdict().items()} if found else None


METHODS: tuple[Method, ...] = (
    Method("calendarList.list", "GET", "users/me/calendarList", READ_LIST, api_calendars.list_),
    Method("calendarList.watch", "POST", "users/me/calendarList/watch", READ_LIST,
           api_channels.watch_calendar_list),
    Method("calendarList.get", "GET", "users/me/calendarList/{calendarId}", READ_ENTRY, api_calendars.get),
    Method("settings.list", "GET", "users/me/settings", READ_SETTINGS, api_calendars.settings_list),
    Method("settings.watch", "POST", "users/me/settings/watch", READ_SETTINGS, api_channels.watch_settings),
    Method("settings.get", "GET", "users/me/settings/{setting}", READ_SETTINGS, api_calendars.settings_get),
    Method("calendars.insert", "POST", "calendars", WRITE_CALENDARS, api_calendars.calendar_insert),
    Method("calendars.get", "GET", "calendars/{calendarId}", READ_CALENDARS, api_calendars.calendar_get),
    Method("events.list", "GET", "calendars/{calendarId}/events", READ_EVENTS, api_lists.list_),
    Method("events.insert", "POST", "calendars/{calendarId}/events", WRITE_EVENTS, api_events.insert),
    Method("events.import", "POST", "calendars/{calendarId}/events/import", WRITE_EVENTS,
           api_events.import_),
    Method("events.watch", "POST", "calendars/{calendarId}/events/watch", READ_EVENTS,
           api_channels.watch_events),
    Method("events.get", "GET", "calendars/{calendarId}/events/{eventId}", READ_EVENTS, api_events.get),
    Method("events.patch", "PATCH", "calendars/{calendarId}/events/{eventId}", WRITE_EVENTS,
           api_events.patch),
    Method("events.update", "PUT", "calendars/{calendarId}/events/{eventId}", WRITE_EVENTS,
           api_events.update),
    Method("events.delete", "DELETE", "calendars/{calendarId}/events/{eventId}", WRITE_EVENTS,
           api_events.delete),
    Method("events.instances", "GET", "calendars/{calendarId}/events/{eventId}/instances", READ_EVENTS,
           api_lists.instances),
    Method("events.move", "POST", "calendars/{calendarId}/events/{eventId}/move", MOVE_EVENTS,
           api_events.move),
    Method("channels.stop", "POST", "channels/stop", STOP, api_channels.stop),
    Method("freebusy.query", "POST", "freeBusy", FREE_BUSY, api_free_busy.query),
)  # fmt: skip


def method_at(verb: str, path: str) -> tuple[Method, dict[str, str]] | None:
    """Return the method that serves *verb* on *path* (percent-encoded, below the root), and its parameters."""
    for method in METHODS:
        if method.verb == verb and (parameters := method.parameters(path)) is not None:
            return method, parameters
    return None
