"""
Calendar events as their owner describes them, and as Google and Outlook would report them.

Sources: docs.recall.ai calendar-event-platform-data; developers.google.com/calendar/api/v3/reference/events;
learn.microsoft.com/graph/api/resources/event.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from worker.sandbox.recall.forms import Json, instant, merged
from worker.sandbox.recall.links import chosen_link, platform_of

RESPONSES = {
    "accepted": "accepted",
    "declined": "declined",
    "tentative": "tentativelyAccepted",
    "needsAction": "none",
}
_RESPONSE_NAMES = {
    "needs_action": "needsAction",
    "none": "needsAction",
    "tentativelyAccepted": "tentative",
}


@dataclass(frozen=True, slots=True)
class Guest:
    email: str
    response: str = "needsAction"  # accepted | declined | tentative | needsAction
    name: str | None = None
    resource: bool = False


@dataclass(frozen=True, slots=True)
class EventSpec:
    """One event as its owner would describe it. *raw* and *row* are merge patches, applied last."""

    start: datetime
    end: datetime
    title: str = "Meeting"
    link: str | None = None
    link_in: str = "conference"  # conference | location | description
    attendees: tuple[Guest, ...] = ()
    organizer: str | None = None  # None: the calendar's owner
    own_response: str | None = None
    all_day: bool = False
    private: bool = False
    cancelled: bool = False
    deleted: bool = False
    hide_attendees: bool = False
    series_id: str | None = None
    original_start: datetime | None = None
    ical_uid: str | None = None
    description: str | None = None
    location: str | None = None
    event_type: str = "default"
    time_zone: str = "UTC"
    sequence: int = 0
    raw: Json = field(default_factory=dict)
    row: Json = field(default_factory=dict)


# What the control API may set; the rest follows from cancel and delete.
SETTABLE = frozenset(EventSpec.__dataclass_fields__) - {"deleted", "sequence"}


def described(wish: Mapping[str, Any], before: EventSpec | None, now: datetime) -> EventSpec:
    """
    Read a friendly description; over *before* it changes only what it names.

    A new start without an end keeps the length. Default: half an hour, an hour from now.

    Raises:
        ValueError: an unknown field or value.
    """
    if unknown := wish.keys() - SETTABLE:
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(sorted(SETTABLE))}")
    taken = dict(wish)
    for name in ("start", "end", "original_start"):
        if taken.get(name) is not None:
            taken[name] = instant(taken[name])
    if "attendees" in taken:
        taken["attendees"] = tuple(_guest(entry) for entry in taken["attendees"] or ())
    if taken.get("own_response"):
        taken["own_response"] = _RESPONSE_NAMES.get(taken["own_response"], taken["own_response"])
    if before is None:
        start = taken.setdefault("start", now.replace(second=0, microsecond=0) + timedelta(hours=1))
        taken.setdefault(
            "end", start + (timedelta(days=1) if taken.get("all_day") else timedelta(minutes=30))
        )
        spec = EventSpec(**taken)
    else:
        if "start" in taken:
            taken.setdefault("end", taken["start"] + (before.end - before.start))
        spec = replace(before, **taken, sequence=before.sequence + 1)
    if spec.link_in not in ("conference", "location", "description"):
        raise ValueError("link_in is conference, location or description")
    if spec.end < spec.start:
        raise ValueError("end lies before start")
    return spec


def _guest(entry: str | Mapping[str, Any]) -> Guest:
    if isinstance(entry, str):
        return Guest(entry)
    response = entry.get("response", "needsAction")
    return Guest(
        entry["email"],
        _RESPONSE_NAMES.get(response, response),
        entry.get("name"),
        bool(entry.get("resource", False)),
    )


@dataclass(frozen=True, slots=True)
class Origin:
    """What a payload needs besides the spec."""

    platform: str
    owner: str
    platform_id: str
    created_at: datetime
    changed_at: datetime


def ical_uid_of(platform: str, platform_id: str, spec: EventSpec) -> str:
    """Tell the iCalendar UID; instances of a series share it."""
    if spec.ical_uid:
        return spec.ical_uid
    base = spec.series_id or platform_id
    if platform == "google_calendar":
        return f"{base}@google.com"
    return "040000008200E00074C5B7101A82E008" + hashlib.sha256(base.encode()).hexdigest()[:48].upper()


def instance_id(platform: str, spec: EventSpec, fresh: str) -> str:
    """Make the provider's event id; Google's instances of a series carry their original start."""
    if platform == "google_calendar":
        if spec.series_id:
            return (
                f"{spec.series_id}_{(spec.original_start or spec.start).astimezone(UTC):%Y%m%dT%H%M%SZ}"
            )
        return hashlib.sha256(fresh.encode()).hexdigest()[:26].translate(str.maketrans("wxyz", "0123"))
    return "AAMkAD" + hashlib.sha256(fresh.encode()).hexdigest().upper()[:48] + "AAA="


def payload(spec: EventSpec, origin: Origin) -> Json:
    """Build the provider's own representation."""
    built = _google(spec, origin) if origin.platform == "google_calendar" else _outlook(spec, origin)
    patched: Json = merged(built, spec.raw)
    return patched


def link_in_payload(raw: Json) -> tuple[str, str] | None:
    """
    Find (platform, url) of the link that Recall would choose: conference first, then place, then text.

    Source: docs.recall.ai calendar-integration-faq; the rank of the place is a guess.
    """
    conference = raw.get("conferenceData")
    entries = conference.get("entryPoints", []) if isinstance(conference, dict) else []
    online = raw.get("onlineMeeting")
    location = raw.get("location")
    body = raw.get("body")
    texts = [
        *(entry.get("uri") for entry in entries if isinstance(entry, dict)),
        raw.get("hangoutLink"),
        online.get("joinUrl") if isinstance(online, dict) else None,
        raw.get("onlineMeetingUrl"),
        location.get("displayName") if isinstance(location, dict) else location,
        raw.get("description"),
        body.get("content") if isinstance(body, dict) else None,
    ]
    return chosen_link(text if isinstance(text, str) else None for text in texts)


def _guests(spec: EventSpec, owner: str) -> list[tuple[Guest, bool]]:
    """List guests with "is the owner"; the owner is added when invited by somebody else or answering."""
    guests = list(spec.attendees)
    invited = spec.organizer is not None and spec.organizer != owner
    if (spec.own_response or invited) and all(guest.email.lower() != owner.lower() for guest in guests):
        guests.append(Guest(owner))
    shown = []
    for guest in guests:
        is_self = guest.email.lower() == owner.lower()
        response = spec.own_response if is_self and spec.own_response else guest.response
        shown.append((replace(guest, response=response), is_self))
    if spec.hide_attendees:
        return [(guest, is_self) for guest, is_self in shown if is_self]
    return shown


def _google_time(spec: EventSpec, at: datetime) -> Json:
    if spec.all_day:
        return {"date": at.date().isoformat()}
    return {"dateTime": at.isoformat().replace("+00:00", "Z"), "timeZone": spec.time_zone}


def _google(spec: EventSpec, origin: Origin) -> Json:
    owner, organizer = origin.owner, spec.organizer or origin.owner
    person: Json = {"email": organizer} | ({"self": True} if organizer == owner else {})
    stamp = f"{int(origin.changed_at.timestamp() * 1000)}"
    built: Json = {
        "kind": "calendar#event",
        "id": origin.platform_id,
        "etag": f'"{stamp}000"',
        "status": "cancelled" if spec.cancelled or spec.deleted else "confirmed",
        "htmlLink": f"https://www.google.com/calendar/event?eid={origin.platform_id}",
        "created": origin.created_at.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "updated": origin.changed_at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",
        "summary": spec.title,
        "creator": dict(person),
        "organizer": person,
        "start": _google_time(spec, spec.start),
        "end": _google_time(spec, spec.end),
        "iCalUID": ical_uid_of(origin.platform, origin.platform_id, spec),
        "sequence": spec.sequence,
        "reminders": {"useDefault": True},
        "eventType": spec.event_type,
    }
    if spec.private:
        built["visibility"] = "private"
    if spec.series_id:
        built["recurringEventId"] = spec.series_id
        built["originalStartTime"] = _google_time(spec, spec.original_start or spec.start)
    if guests := _guests(spec, owner):
        built["attendees"] = [
            _google_guest(guest, organizer, is_self=is_self) for guest, is_self in guests
        ]
    if spec.hide_attendees:
        built["guestsCanSeeOtherGuests"] = False
        built["attendeesOmitted"] = True
    if spec.location:
        built["location"] = spec.location
    if spec.description:
        built["description"] = spec.description
    _place_google_link(built, spec)
    return built


def _google_guest(guest: Guest, organizer: str, *, is_self: bool) -> Json:
    shown: Json = {"email": guest.email, "responseStatus": guest.response}
    if guest.name and not is_self:
        shown["displayName"] = guest.name
    if is_self:
        shown["self"] = True
    if guest.email == organizer:
        shown["organizer"] = True
    if guest.resource:
        shown["resource"] = True
    return shown


def _place_google_link(built: Json, spec: EventSpec) -> None:
    if spec.link is None:
        return
    if spec.link_in == "location":
        built["location"] = spec.link
    elif spec.link_in == "description":
        built["description"] = f"{spec.description or ''}\nJoin: {spec.link}\n".lstrip()
    else:
        is_meet = platform_of(spec.link) == "google_meet"
        code = spec.link.rsplit("/", 1)[-1]
        built["conferenceData"] = {
            "conferenceId": code,
            "entryPoints": [
                {
                    "entryPointType": "video",
                    "uri": spec.link,
                    "label": spec.link.removeprefix("https://"),
                }
            ],
            "conferenceSolution": {
                "key": {"type": "hangoutsMeet" if is_meet else "addOn"},
                "name": "Google Meet" if is_meet else "Meeting",
            },
        }
        if is_meet:
            built["hangoutLink"] = spec.link


def _outlook_time(at: datetime) -> Json:
    return {"dateTime": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "0", "timeZone": "UTC"}


def _outlook_person(email: str, name: str | None = None) -> Json:
    return {"emailAddress": {"name": name or email, "address": email}}


def _outlook(spec: EventSpec, origin: Origin) -> Json:
    owner, organizer = origin.owner, spec.organizer or origin.owner
    own = (
        "organizer" if organizer == owner else RESPONSES.get(spec.own_response or "needsAction", "none")
    )
    answered = "0001-01-01T00:00:00Z"
    link, is_teams = (
        spec.link,
        spec.link is not None and (platform_of(spec.link) or "").startswith("microsoft_teams"),
    )
    in_conference = link is not None and spec.link_in == "conference"
    # Outlook's own conference is Teams; a link of another platform stands in the place.
    place = link if spec.link_in == "location" or (in_conference and not is_teams) else spec.location
    text = (
        f'{spec.description or ""}<p>Join: <a href="{link}">{link}</a></p>'
        if link and spec.link_in == "description"
        else (spec.description or "")
    )
    spot: Json = {
        "displayName": place or "",
        "locationType": "default",
        "uniqueId": place or "",
        "uniqueIdType": "private",
    }
    kind = (
        "singleInstance" if not spec.series_id else "exception" if spec.original_start else "occurrence"
    )
    stamp = hashlib.sha256(f"{origin.platform_id}{origin.changed_at}".encode()).hexdigest()[:20]
    built: Json = {
        "@odata.type": "#microsoft.graph.event",
        "@odata.etag": f'W/"{stamp}"',
        "id": origin.platform_id,
        "uid": ical_uid_of(origin.platform, origin.platform_id, spec),
        "iCalUId": ical_uid_of(origin.platform, origin.platform_id, spec),
        "changeKey": stamp,
        "transactionId": hashlib.sha256(origin.platform_id.encode()).hexdigest()[:32],
        "type": kind,
        "subject": spec.title,
        "body": {"contentType": "html", "content": f"<html><body>{text}</body></html>"},
        "bodyPreview": text[:255],
        "start": _outlook_time(spec.start),
        "end": _outlook_time(spec.end),
        "originalStartTimeZone": spec.time_zone,
        "originalEndTimeZone": spec.time_zone,
        "isAllDay": spec.all_day,
        "isCancelled": spec.cancelled or spec.deleted,
        "isOrganizer": organizer == owner,
        "isDraft": False,
        "isOnlineMeeting": in_conference and is_teams,
        "onlineMeeting": {"joinUrl": link} if in_conference and is_teams else None,
        "onlineMeetingProvider": "teamsForBusiness" if in_conference and is_teams else "unknown",
        "onlineMeetingUrl": None,
        "organizer": _outlook_person(organizer),
        "attendees": [
            {
                "type": "resource" if guest.resource else "required",
                "status": {"response": RESPONSES.get(guest.response, guest.response), "time": answered},
            }
            | _outlook_person(guest.email, guest.name)
            for guest, _ in _guests(spec, owner)
        ],
        "responseStatus": {"response": own, "time": answered},
        "responseRequested": True,
        "showAs": "free"
        if spec.event_type == "workingLocation"
        else "oof"
        if spec.event_type == "outOfOffice"
        else "busy",
        "sensitivity": "private" if spec.private else "normal",
        "importance": "normal",
        "location": spot,
        "locations": [spot] if place else [],
        "categories": [],
        "recurrence": None,
        "seriesMasterId": spec.series_id,
        "occurrenceId": f"OID.{spec.series_id}.{spec.start:%Y-%m-%d}" if spec.series_id else None,
        "originalStart": spec.original_start and spec.original_start.isoformat().replace("+00:00", "Z"),
        "createdDateTime": _graph_instant(origin.created_at),
        "lastModifiedDateTime": _graph_instant(origin.changed_at),
        "hideAttendees": spec.hide_attendees,
        "hasAttachments": False,
        "isReminderOn": True,
        "reminderMinutesBeforeStart": 15,
        "webLink": f"https://outlook.office365.com/owa/?itemid={origin.platform_id}",
    }
    return built


def _graph_instant(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "0Z"
