"""
Read what clients write into an event, refuse what Google refuses, and drop what it drops.

Sources: developers.google.com/workspace/calendar/api/v3/reference/events (fields, limits),
…/guides/calendar-status (status events), …/guides/extended-properties (limits).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker.sandbox.google.recurrence import Series
from worker.sandbox.google.refusals import Refusal
from worker.sandbox.google.store import DEFAULTS, CalendarRecord
from worker.sandbox.google.switches import Switches
from worker.sandbox.google.times import Moment, read_moment
from worker.sandbox.recall.forms import Json

STRINGS = ("summary", "description", "location", "colorId", "eventLabelId")
FLAGS = (
    "guestsCanInviteOthers", "guestsCanModify", "guestsCanSeeOtherGuests", "anyoneCanAddSelf",
    "endTimeUnspecified",
)  # fmt: skip
CHOICES = {
    "status": ("confirmed", "tentative", "cancelled"),
    "visibility": ("default", "public", "private", "confidential"),
    "transparency": ("opaque", "transparent"),
    "eventType": ("birthday", "default", "focusTime", "fromGmail", "outOfOffice", "workingLocation"),
}
RESPONSES = ("needsAction", "declined", "tentative", "accepted")
TYPED = {
    "outOfOffice": "outOfOfficeProperties",
    "focusTime": "focusTimeProperties",
    "workingLocation": "workingLocationProperties",
    "birthday": "birthdayProperties",
}
OWN_ID = re.compile(r"[0-9a-v]{5,1024}")
ADDRESS = re.compile(r"[^@\s]+@[^@\s]+")
OTHERWISE_KNOWN = frozenset(
    {
        "kind", "etag", "id", "htmlLink", "created", "updated", "creator", "organizer", "iCalUID",
        "sequence", "hangoutLink", "recurringEventId", "originalStartTime", "attendeesOmitted",
        "privateCopy", "locked", "gadget", "start", "end", "recurrence", "attendees",
        "extendedProperties", "reminders", "conferenceData", "attachments", "source",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Draft:
    """What an event shall be. *data* is in wire form, without start, end, status and conference."""

    data: Json
    start: Moment
    end: Moment
    status: str


def drafted(
    doc: Mapping[str, Any], calendar: CalendarRecord, switches: Switches, *, by_google: bool = False
) -> Draft:
    """
    Read a whole event; *by_google* allows what only Google itself creates.

    Raises:
        Refusal: *doc* is no event that this calendar could have.
    """
    known = {*STRINGS, *FLAGS, *CHOICES, *TYPED.values(), *OTHERWISE_KNOWN}
    if switches.unknown_fields_refused and (unknown := doc.keys() - known):
        name = min(unknown)
        raise Refusal("badRequest", f'Invalid JSON payload received. Unknown name "{name}".')
    zone = calendar.time_zone
    start, end = read_moment(doc.get("start"), "start"), read_moment(doc.get("end"), "end")
    if start.is_day != end.is_day:
        raise Refusal("invalid", "Start and end times must either both be date or both be dateTime.")
    if end.minus(start).total_seconds() < 0 or (start.is_day and start == end):
        raise Refusal("timeRangeEmpty")
    data: Json = {}
    for name in STRINGS:
        if doc.get(name) is not None:
            data[name] = _text(doc[name])
    for name in FLAGS:
        if doc.get(name) is not None:
            data[name] = _flag(doc[name])
    for name, choices in CHOICES.items():
        if doc.get(name) is not None:
            if doc[name] not in choices:
                raise Refusal("invalid", f"Invalid value for: {name}")
            data[name] = doc[name]
    status = data.pop("status", "confirmed")
    if doc.get("recurrence"):
        start, end = _with_zone(start), _with_zone(end)
        data["recurrence"] = _recurrence(doc["recurrence"], start, zone)
    if doc.get("attendees"):
        data["attendees"] = _attendees(doc["attendees"])
    if properties := _properties(doc.get("extendedProperties"), switches):
        data["extendedProperties"] = properties
    data["reminders"] = _reminders(doc.get("reminders"))
    if doc.get("source"):
        data["source"] = _source(doc["source"])
    if doc.get("attachments"):
        data["attachments"] = _attachments(doc["attachments"])
    _take_type(doc, data, start, calendar, by_google=by_google)
    data = {name: value for name, value in data.items() if value != DEFAULTS.get(name, ...)}
    return Draft(data, start, end, status)


def check_own_id(event_id: object) -> str:
    """Raises Refusal: an id that clients may not choose."""
    if not isinstance(event_id, str) or not OWN_ID.fullmatch(event_id):
        raise Refusal("invalid", "Invalid resource id value.")
    return event_id


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise Refusal("parseError")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise Refusal("parseError")
    return value


def _with_zone(moment: Moment) -> Moment:
    """Raises Refusal: a recurring event's time without a zone to repeat it in."""
    if not moment.is_day and not moment.zone:
        raise Refusal("required", "Missing time zone definition for start time.")
    return moment


def _recurrence(lines: object, start: Moment, zone: str) -> list[str]:
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise Refusal("parseError")
    cleaned = [line.strip() for line in lines]
    Series(start, tuple(cleaned), start.zone or zone).check()
    return cleaned


def _attendees(given: object) -> list[Json]:
    """Return one entry per address; what only Google writes is dropped."""
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        raise Refusal("parseError")
    by_email: dict[str, Json] = {}
    for each in given:
        email = each.get("email")
        if not email:
            raise Refusal("required", "Missing attendee email.")
        if not isinstance(email, str) or not ADDRESS.fullmatch(email):
            raise Refusal("invalid", "Invalid attendee email.")
        response = each.get("responseStatus") or "needsAction"
        if response not in RESPONSES:
            raise Refusal("invalid", "Invalid value for: responseStatus")
        attendee: Json = {"email": email.lower(), "responseStatus": response}
        for name in ("displayName", "comment"):
            if each.get(name):
                attendee[name] = _text(each[name])
        for name in ("optional", "resource"):
            if each.get(name):
                attendee[name] = _flag(each[name])
        if each.get("additionalGuests"):
            attendee["additionalGuests"] = int(each["additionalGuests"])
        by_email.setdefault(email.lower(), attendee)
    return list(by_email.values())


def _properties(given: object, switches: Switches) -> Json:
    """Keep what fits: keys to 44 characters, values to 1024, 300 of each kind."""
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise Refusal("parseError")
    kept: Json = {}
    for kind in ("private", "shared"):
        pairs = {name: value for name, value in (given.get(kind) or {}).items() if value is not None}
        if any(not isinstance(value, str) for value in pairs.values()):
            raise Refusal("parseError")
        is_too_much = len(pairs) > 300 or any(len(k) > 44 or len(v) > 1024 for k, v in pairs.items())
        if is_too_much and switches.oversized_properties == "refused":
            raise Refusal("invalid", "Extended properties are too large.")
        fitting = [(name, value[:1024]) for name, value in pairs.items() if len(name) <= 44]
        if fitting:
            kept[kind] = dict(fitting[:300])
    return kept


def _reminders(given: object) -> Json:
    if given is None:
        return {"useDefault": True}
    if not isinstance(given, dict):
        raise Refusal("parseError")
    overrides = given.get("overrides") or []
    use_default = bool(given.get("useDefault", not overrides))
    if use_default and overrides:
        text = "Cannot specify both default reminders and overrides at the same time."
        raise Refusal("cannotUseDefaultRemindersAndSpecifyOverride", text, status=400)
    if len(overrides) > 5:
        raise Refusal("invalid", "Too many reminders.")
    for each in overrides:
        minutes = each.get("minutes")
        if each.get("method") not in ("email", "popup") or not isinstance(minutes, int):
            raise Refusal("invalid", "Invalid reminder.")
        if not 0 <= minutes <= 40_320:
            raise Refusal("invalid", "Invalid reminder.")
    kept = [{"method": each["method"], "minutes": each["minutes"]} for each in overrides]
    return {"useDefault": use_default} | ({"overrides": kept} if kept else {})


def _source(given: object) -> Json:
    if not isinstance(given, dict) or not str(given.get("url", "")).startswith(("http://", "https://")):
        raise Refusal("invalid", "Invalid source.")
    return {"url": given["url"], **({"title": str(given["title"])} if given.get("title") else {})}


def _attachments(given: object) -> list[Json]:
    if not isinstance(given, list) or len(given) > 25:
        raise Refusal("invalid", "Too many attachments.")
    names = ("fileUrl", "title", "mimeType", "iconLink", "fileId")
    return [{name: str(each[name]) for name in names if each.get(name)} for each in given]


def _take_type(
    doc: Mapping[str, Any], data: Json, start: Moment, calendar: CalendarRecord, *, by_google: bool
) -> None:
    """
    Hold status events to their rules.

    Source: …/guides/calendar-status: primary calendars only; out of office and focus time are timed and
    opaque; a working location is public and transparent.
    """
    kind = data.setdefault("eventType", "default")
    if kind == "default":
        return
    if kind == "fromGmail" and not by_google:
        raise Refusal("eventTypeRestriction", "Events from Gmail cannot be created.")
    if kind != "fromGmail" and not calendar.is_primary:
        raise Refusal("eventTypeRestriction", f"{kind} events live on primary calendars only.")
    if kind in ("outOfOffice", "focusTime"):
        if start.is_day or data.get("transparency", "opaque") != "opaque":
            raise Refusal("eventTypeRestriction", f"{kind} events are timed and opaque.")
        data.setdefault("summary", "Out of office" if kind == "outOfOffice" else "Focus time")
    if kind == "workingLocation":
        given = (data.get("visibility"), data.get("transparency"))
        if given != ("public", "transparent") or not doc.get(TYPED[kind]):
            raise Refusal("eventTypeRestriction", "Working locations are public and transparent.")
    if kind == "birthday":
        if not start.is_day or not data.get("recurrence"):
            raise Refusal("eventTypeRestriction", "Birthdays last a day and come every year.")
        data.setdefault("transparency", "transparent")
        data.setdefault("visibility", "private")
    if kind in TYPED and isinstance(doc.get(TYPED[kind]), dict):
        data[TYPED[kind]] = doc[TYPED[kind]]
