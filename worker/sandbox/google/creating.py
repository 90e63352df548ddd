"""
Create events: as organiser, as a private copy, or by moving one to another calendar.

Source: developers.google.com/workspace/calendar/api/v3/reference/events (insert, import, move).
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from worker.sandbox.google import copies
from worker.sandbox.google.bodies import Draft, check_own_id, drafted
from worker.sandbox.google.conferences import take_conference
from worker.sandbox.google.copies import add_row, cancel, is_organizer, spread, touch
from worker.sandbox.google.refusals import Refusal
from worker.sandbox.google.store import CalendarRecord, EventRow, Person
from worker.sandbox.google.world import World
from worker.sandbox.oauth.grants import Account

TOO_LOW = (
    "Invalid sequence value. The specified sequence number is below the current sequence number of the "
    "resource. Re-fetch the resource and use its sequence number on the following request."
)


@dataclass(frozen=True, slots=True)
class Options:
    """
    What query parameters say about a write.

    *by_google* allows what only Google creates; *as_organizer* writes for an organiser who is elsewhere.
    """

    conference_version: int = 0
    send_updates: str = "none"
    supports_attachments: bool = False
    label_version: int = 0
    by_google: bool = False
    as_organizer: bool = False


def insert(
    world: World, calendar: CalendarRecord, account: Account, body: Mapping[str, Any], options: Options
) -> EventRow:
    """
    Create an event that *calendar* organises.

    Raises:
        Refusal: a body that makes no event, or an id or iCalUID that is taken, by a deleted event too.
    """
    event_id = check_own_id(body["id"]) if body.get("id") else world.fresh_id()
    uid = body.get("iCalUID") or f"{event_id}@google.com"
    has_uid = bool(body.get("iCalUID")) and any(r.ical_uid == uid for r in calendar.events.values())
    if event_id in calendar.events or has_uid:
        raise Refusal("duplicate")
    draft = draft_of(world, calendar, understood(body, options), options)
    organizer, creator = copies.organizer_on(world, calendar), Person(account.email, account.name)
    row = _new_row(world, calendar, event_id, uid, draft, organizer, creator)
    row.sequence = max(0, int(body.get("sequence") or 0))
    take_conference(world, row, body.get("conferenceData"), version=options.conference_version)
    add_row(world, calendar, row)
    touch(world, row, "created")
    spread(world, row)
    note_mail(world, row, options, "invited")
    return row


def import_(
    world: World, calendar: CalendarRecord, account: Account, body: Mapping[str, Any], options: Options
) -> EventRow:
    """
    Put a private copy of somebody's event into *calendar*; the same iCalUID again changes that copy.

    Raises:
        Refusal: no iCalUID, or a body that makes no event.
    """
    uid = body.get("iCalUID")
    if not uid:
        raise Refusal("required", "Missing iCal UID.")
    draft = draft_of(world, calendar, understood(body, options) | {"eventType": "default"}, options)
    known = [r for r in calendar.events.values() if r.ical_uid == uid and not r.is_exception]
    given = body.get("organizer") or {}
    organizer = Person(str(given.get("email") or account.email), str(given.get("displayName") or ""))
    if known:
        row = known[0]
        check_sequence(row, body)
        had = copies.starts_of(world, row)
        row.data, row.start, row.end, row.status = draft.data, draft.start, draft.end, draft.status
        row.organizer, row.keeps_details = organizer, True
        touch(world, row, "imported")
        copies.retime(world, row, had)
        return row
    person = Person(account.email, account.name)
    row = _new_row(world, calendar, world.fresh_id(), uid, draft, organizer, person)
    row.is_private_copy = True
    row.sequence = max(0, int(body.get("sequence") or 0))
    take_conference(world, row, body.get("conferenceData"), version=options.conference_version)
    add_row(world, calendar, row)
    touch(world, row, "imported")
    return row


def receive(
    world: World, calendar: CalendarRecord, organizer: Person, body: Mapping[str, Any], options: Options
) -> EventRow:
    """
    Let an invitation arrive from an organiser who has no account here.

    Raises:
        Refusal: a body that makes no event.
    """
    event_id = str(body.get("id") or world.fresh_id())
    uid = body.get("iCalUID") or f"{event_id}@{organizer.email.rpartition('@')[2]}"
    draft = draft_of(world, calendar, body, options)
    guests = draft.data.setdefault("attendees", [])
    if not any(each["email"] == calendar.id.lower() for each in guests):
        guests.append({"email": calendar.id.lower(), "responseStatus": "needsAction"})
    row = _new_row(world, calendar, event_id, uid, draft, organizer, organizer)
    row.is_hidden = world.mailboxes[calendar.owner_id].hides_invitations
    take_conference(world, row, body.get("conferenceData"), version=options.conference_version)
    add_row(world, calendar, row)
    touch(world, row, "invited")
    spread(world, row)
    return row


def move(
    world: World, source: CalendarRecord, row: EventRow, destination: CalendarRecord, options: Options
) -> EventRow:
    """
    Let *destination* organise the event; the old organiser keeps a bare cancelled row unless invited.

    Raises:
        Refusal: not the organiser's copy of a whole default event, or an id that is taken there.
    """
    if row.data.get("eventType", "default") != "default":
        raise Refusal("eventTypeRestriction", "Only default events can be moved.")
    if row.is_exception or not is_organizer(row) or row.is_cancelled:
        raise Refusal("cannotChangeOrganizer")
    if row.id in destination.events:
        raise Refusal("duplicate")
    person = copies.organizer_on(world, destination)
    followers = [row, *source.exceptions_of(row.id)]
    for each in followers:
        moved = replace(
            each,
            calendar_id=destination.id,
            number=world.next_count(),
            organizer=person,
            data=deepcopy(each.data),
            overridden=set(each.overridden),
            gone={},
            request_ids=set(each.request_ids),
        )
        add_row(world, destination, moved)
        each.organizer = person
        touch(world, moved, "moved")
    cancel(world, row, keeps_details=False, what="moved away")
    for each in followers:
        spread(world, destination.events[each.id])
    note_mail(world, destination.events[row.id], options, "moved")
    return destination.events[row.id]


def understood(body: Mapping[str, Any], options: Options) -> dict[str, Any]:
    """
    Leave out what the caller says it knows nothing of.

    Source: eventLabelVersion in the reference: without it labels are ignored, with it colours are.
    """
    ignored = "colorId" if options.label_version else "eventLabelId"
    return {name: value for name, value in body.items() if name != ignored}


def draft_of(world: World, calendar: CalendarRecord, doc: Mapping[str, Any], options: Options) -> Draft:
    """Read a whole event for *calendar* under the switches of the world."""
    return drafted(doc, calendar, world.switches, by_google=options.by_google)


def check_sequence(row: EventRow, body: Mapping[str, Any]) -> None:
    """Raises Refusal: *body* was read before the event was rescheduled."""
    given = body.get("sequence")
    if isinstance(given, int) and given < row.sequence:
        raise Refusal("invalid", TOO_LOW)


def note_mail(world: World, row: EventRow, options: Options, what: str) -> None:
    """Write down who would get a mail. Source: sendUpdates in the reference."""
    guests = [
        each["email"] for each in row.data.get("attendees", ()) if each["email"] != row.calendar_id
    ]
    if options.send_updates == "externalOnly":
        guests = [each for each in guests if world.oauth.account(each) is None]
    if guests and options.send_updates != "none":
        world.history.note(world.now(), "mail", what=what, id=row.id, to=guests)


def _new_row(
    world: World,
    calendar: CalendarRecord,
    event_id: str,
    uid: str,
    draft: Draft,
    organizer: Person,
    creator: Person,
) -> EventRow:
    now = world.now()
    return EventRow(
        event_id,
        calendar.id,
        world.next_count(),
        uid,
        draft.data,
        draft.start,
        draft.end,
        organizer,
        creator,
        now,
        now,
        now,
        status=draft.status,
    )
