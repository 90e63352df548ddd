"""
Render events as the Calendar API does, for the one who looks and in the zone asked for.

Source: developers.google.com/workspace/calendar/api/v3/reference/events#resource.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass

from worker.sandbox.google.store import CalendarRecord, EventRow, Instance, Person
from worker.sandbox.google.switches import Switches
from worker.sandbox.google.times import Moment, stamp
from worker.sandbox.recall.forms import Json

HIDDEN = frozenset({"private", "confidential"})
NOT_SHOWN = frozenset(
    {"attendees", "recurrence", "source", "extendedProperties", "reminders", "eventType"}
)


@dataclass(frozen=True, slots=True)
class View:
    """Who looks, and how. *zone* "" is the calendar's; *sparse* leaves cancelled rows without details."""

    email: str
    role: str
    switches: Switches
    zone: str = ""
    max_attendees: int | None = None
    sparse: bool = False


def shown(calendar: CalendarRecord, target: EventRow | Instance, view: View) -> Json:
    """Render a row or an occurrence."""
    if target.is_cancelled and _is_bare(target, view):
        return _bare(calendar, target, view)
    row = target if isinstance(target, EventRow) else target.series
    event: Json = {
        "kind": "calendar#event",
        "etag": row.etag,
        "id": target.id,
        "status": "cancelled" if target.is_cancelled else row.status,
        "htmlLink": _link(target.id, calendar.id),
        "created": stamp(row.created_at),
        "updated": stamp(row.updated_at),
    }
    if _hides(row, view):
        event |= {"visibility": row.data.get("visibility", "private")}
    else:
        event |= _details(calendar, row, view)
    event |= _times(calendar, target, view)
    event |= {
        "iCalUID": row.ical_uid,
        "sequence": row.sequence,
        "eventType": row.data.get("eventType", "default"),
    }
    if isinstance(target, EventRow) and row.data.get("recurrence"):
        event["recurrence"] = list(row.data["recurrence"])
    return event


def _details(calendar: CalendarRecord, row: EventRow, view: View) -> Json:
    """Return what nobody sees who may not look into a private event."""
    data = row.data
    event: Json = {name: value for name, value in data.items() if name not in NOT_SHOWN}
    event["creator"] = _person(row.creator, calendar)
    event["organizer"] = _person(row.organizer, calendar)
    if data.get("source") and view.email.lower() == row.creator.email.lower():
        event["source"] = data["source"]
    properties = dict(data.get("extendedProperties", {}))
    if properties:
        event["extendedProperties"] = properties
    event["reminders"] = data.get("reminders", {"useDefault": True})
    if row.is_private_copy:
        event["privateCopy"] = True
    attendees = [_attendee(each, row, calendar) for each in data.get("attendees", ())]
    if attendees:
        event |= _attendees(attendees, row, calendar, view)
    return event


def _attendees(attendees: list[Json], row: EventRow, calendar: CalendarRecord, view: View) -> Json:
    own = [each for each in attendees if each.get("self")]
    is_organizer = row.organizer.email.lower() == calendar.id.lower()
    sees_others = is_organizer or row.data.get("guestsCanSeeOtherGuests", True)
    is_over = view.max_attendees is not None and len(attendees) > view.max_attendees
    if is_over or not sees_others:
        return {"attendeesOmitted": True} | ({"attendees": own} if own else {})
    return {"attendees": attendees}


def _attendee(entry: Json, row: EventRow, calendar: CalendarRecord) -> Json:
    marks: Json = {}
    if entry["email"].lower() == row.organizer.email.lower():
        marks["organizer"] = True
    if entry["email"].lower() == calendar.id.lower():
        marks["self"] = True
    return {**entry, **marks}


def _person(person: Person, calendar: CalendarRecord) -> Json:
    is_self = person.email.lower() == calendar.id.lower()
    shown_person: Json = {"email": person.email}
    if person.name and not (is_self and calendar.is_primary):
        shown_person["displayName"] = person.name
    return shown_person | ({"self": True} if is_self else {})


def _times(calendar: CalendarRecord, target: EventRow | Instance, view: View) -> Json:
    def told(moment: Moment) -> Json:
        return moment.shown(view.zone or calendar.time_zone, calendar.time_zone)

    times: Json = {"start": told(target.start), "end": told(target.end)}
    if isinstance(target, Instance):
        return times | {
            "recurringEventId": target.series.id,
            "originalStartTime": told(target.original),
        }
    if target.original is not None:
        times |= {"recurringEventId": target.series_id, "originalStartTime": told(target.original)}
    return times


def _is_bare(target: EventRow | Instance, view: View) -> bool:
    """
    Tell whether a cancelled row shows without its details.

    Source: the reference on `status`: organisers' copies and those that guests removed keep them, but an
    incremental sync without showDeleted does not return them; exceptions are only sure to have three fields.
    """
    if isinstance(target, Instance):
        return view.sparse or target.is_gone or not target.series.keeps_details
    return view.sparse or not target.keeps_details or target.is_exception


def _bare(calendar: CalendarRecord, target: EventRow | Instance, view: View) -> Json:
    row = target if isinstance(target, EventRow) else target.series
    event: Json = {"kind": "calendar#event", "etag": row.etag, "id": target.id, "status": "cancelled"}
    is_part = isinstance(target, Instance) or target.is_exception
    if is_part and not view.switches.cancelled_exceptions_bare:
        times = _times(calendar, target, view)
        event |= {name: times[name] for name in ("recurringEventId", "originalStartTime")}
    return event


def _hides(row: EventRow, view: View) -> bool:
    """
    Tell whether details stay hidden.

    Source: the reference of calendarList on accessRole (reader, freeBusyReader, writerWithoutPrivateAccess).
    """
    if view.role == "freeBusyReader":
        return True
    is_private = row.data.get("visibility") in HIDDEN
    return is_private and view.role in ("reader", "writerWithoutPrivateAccess")


def _link(event_id: str, calendar_id: str) -> str:
    pair = f"{event_id} {calendar_id}".encode()
    return (
        "https://www.google.com/calendar/event?eid="
        + base64.urlsafe_b64encode(pair).rstrip(b"=").decode()
    )


def matches_text(row: EventRow, words: Iterable[str]) -> bool:
    """
    Tell whether all *words* occur in the fields that `q` searches.

    Source: the reference of events.list on `q`.
    """
    people = [row.organizer.email, row.organizer.name]
    for each in row.data.get("attendees", ()):
        people += [each["email"], each.get("displayName", "")]
    location = row.data.get("workingLocationProperties", {})
    office, custom = location.get("officeLocation", {}), location.get("customLocation", {})
    places = [office.get(name, "") for name in ("buildingId", "deskId", "label")]
    texts = [row.data.get(name, "") for name in ("summary", "description", "location")]
    where = " ".join([*texts, *people, *places, custom.get("label", "")]).lower()
    return all(word.lower() in where for word in words)
