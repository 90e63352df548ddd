"""
The methods of `events`, but for lists.

Source: developers.google.com/workspace/calendar/api/v3/reference/events.
"""

from __future__ import annotations

from datetime import timedelta

from worker.sandbox.google.calls import Call, etag_of
from worker.sandbox.google.creating import import_ as import_event
from worker.sandbox.google.creating import insert as insert_event
from worker.sandbox.google.creating import move as move_event
from worker.sandbox.google.editing import change, remove
from worker.sandbox.google.finding import find
from worker.sandbox.google.refusals import Refusal
from worker.sandbox.google.showing import View, shown
from worker.sandbox.google.store import CalendarRecord, EventRow, Instance
from worker.sandbox.google.times import read_zone
from worker.sandbox.recall.answers import Answer


def get(call: Call) -> Answer:
    """Return an event; 304 if the caller has that version. Deleted ones are still found."""
    calendar = call.calendar("freeBusyReader")
    target = _found(call, calendar)
    row = target if isinstance(target, EventRow) else target.series
    if call.world.now() - row.created_at < timedelta(milliseconds=call.world.limits.get_lag_ms):
        raise Refusal("notFound")
    if call.headers.get("if-none-match", "").strip() == etag_of(target):
        return Answer(304, None, {"etag": etag_of(target)})
    return _told(call, calendar, target)


def insert(call: Call) -> Answer:
    """Create an event that the calendar organises."""
    calendar = call.calendar("writerWithoutPrivateAccess")
    row = insert_event(call.world, calendar, call.account, call.body, call.options())
    return _told(call, calendar, row)


def import_(call: Call) -> Answer:
    """Put a private copy of an event into the calendar."""
    calendar = call.calendar("writerWithoutPrivateAccess")
    row = import_event(call.world, calendar, call.account, call.body, call.options())
    return _told(call, calendar, row)


def patch(call: Call) -> Answer:
    """Change what the body names."""
    return _changed(call, is_patch=True)


def update(call: Call) -> Answer:
    """Let the event be what the body says."""
    return _changed(call, is_patch=False)


def delete(call: Call) -> Answer:
    """Delete the event, or the guest's copy of it."""
    calendar = call.calendar("writerWithoutPrivateAccess")
    target = _found(call, calendar)
    _check_private(call, calendar, target)
    call.check_match(target)
    remove(call.world, calendar, target, call.options())
    return Answer(204)


def move(call: Call) -> Answer:
    """Let another calendar organise the event."""
    source, destination = (
        call.calendar("writerWithoutPrivateAccess"),
        call.calendar("writer", "destination"),
    )
    target = _found(call, source)
    if isinstance(target, Instance):
        raise Refusal("cannotChangeOrganizer")
    row = move_event(call.world, source, target, destination, call.options())
    return _told(call, destination, row)


def view_of(call: Call, calendar: CalendarRecord, *, sparse: bool = False) -> View:
    """Return how the caller sees events of *calendar*."""
    return View(
        call.account.email,
        call.seen_as(calendar),
        call.world.switches,
        read_zone(call.one("timeZone"), ""),
        call.number("maxAttendees", None),
        sparse,
    )


def _changed(call: Call, *, is_patch: bool) -> Answer:
    calendar = call.calendar("writerWithoutPrivateAccess")
    target = _found(call, calendar)
    _check_private(call, calendar, target)
    call.check_match(target)
    row = change(call.world, calendar, target, call.body, call.options(), is_patch=is_patch)
    return _told(call, calendar, row)


def _found(call: Call, calendar: CalendarRecord) -> EventRow | Instance:
    return find(calendar, call.path["eventId"])


def _check_private(call: Call, calendar: CalendarRecord, target: EventRow | Instance) -> None:
    """Raises Refusal: a private event, which writerWithoutPrivateAccess cannot modify."""
    row = target if isinstance(target, EventRow) else target.series
    is_private = row.data.get("visibility") in ("private", "confidential")
    if is_private and call.role_in(calendar) == "writerWithoutPrivateAccess":
        raise Refusal("requiredAccessLevel")


def _told(call: Call, calendar: CalendarRecord, target: EventRow | Instance) -> Answer:
    event = shown(calendar, target, view_of(call, calendar))
    return Answer(200, event, {"etag": etag_of(target)})
