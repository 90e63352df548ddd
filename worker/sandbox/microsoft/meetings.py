"""
What people do with events: create, change, cancel, delete, answer, move.

An item whose owner organises speaks for its meeting: what happens to it reaches the attendees' copies
(`invitations`). An attendee's change stays in the own copy, an answer travels back.
Sources: learn.microsoft.com/graph/api/event-update, -delete, -cancel, -accept, -decline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date
from typing import Any

from worker.sandbox.microsoft import ids, invitations
from worker.sandbox.microsoft.details import Details
from worker.sandbox.microsoft.mailbox import Calendar, Item
from worker.sandbox.microsoft.recurrence import Kept, NewPattern, Recurrence
from worker.sandbox.microsoft.store import Store
from worker.sandbox.microsoft.view import Entry, date_of

TIMES = frozenset({"start", "end", "zone", "all_day"})
SHOWN_AS = {"accepted": "busy", "tentativelyAccepted": "tentative", "declined": "free"}


class NotOrganizer(Exception):
    """Only the organiser may do this."""


class IsOrganizer(Exception):
    """The organiser has nothing to answer."""


class CrossingBoundary(Exception):
    """An occurrence may not reach the day of its neighbour."""


def create(
    store: Store,
    calendar: Calendar,
    details: Details,
    *,
    recurrence: Recurrence | None = None,
    uid: str | None = None,
    transaction_id: str | None = None,
    properties: Mapping[str, str] | None = None,
    raw: Mapping[str, Any] | None = None,
) -> Item:
    """Put an event into a calendar and invite whoever has a mailbox here."""
    key, now = store.next_key(), store.now()
    item = Item(
        key=key,
        mailbox=calendar.mailbox,
        calendar=calendar,
        uid=uid or ids.fresh_uid(f"{store.base_url}|{key}|{now.isoformat()}"),
        details=details,
        is_organizer=details.organizer.is_(calendar.mailbox.account.email),
        created_at=now,
        modified_at=now,
        recurrence=recurrence,
        transaction_id=transaction_id,
        properties=dict(properties or {}),
        raw=dict(raw or {}),
    )
    if item.is_organizer:
        item.details = replace(details, answer="organizer", answered_at=None)
    if recurrence is not None:
        item.details = _on_first_date(item.details, recurrence)
    store.add(item)
    invitations.deliver(store, item)
    return item


def change(
    store: Store,
    item: Item,
    changes: Mapping[str, Any],
    *,
    recurrence: NewPattern = Kept.KEPT,
    from_outside: bool = False,
) -> None:
    """
    Change a single event or a whole series.

    A new time or pattern gives up every exception. *from_outside*: the organiser elsewhere did it.
    """
    before = item.details
    details = replace(before, **changes)
    has_new_pattern = recurrence is not Kept.KEPT and recurrence != item.recurrence
    if recurrence is not Kept.KEPT:
        item.recurrence = recurrence
    if item.recurrence is not None:
        details = _on_first_date(details, item.recurrence)
    is_moved = has_new_pattern or any(getattr(before, name) != getattr(details, name) for name in TIMES)
    if is_moved:
        item.exceptions.clear()
        item.removed_on.clear()
    item.details = details
    speaks = item.is_organizer or from_outside
    if is_moved and speaks and store.switches.new_time_resets_answers:
        item.details = invitations.unanswered(item.details)
    store.touch(item)
    if speaks:
        invitations.deliver(store, item, is_moved=is_moved, to_new_guests=changes.keys() == {"guests"})


def change_occurrence(
    store: Store, item: Item, on: date, changes: Mapping[str, Any], *, from_outside: bool = False
) -> None:
    """
    Make one occurrence differ from its series.

    Raises:
        CrossingBoundary: it would reach the day of the one before or after.
    """
    is_moved = bool(TIMES & changes.keys())
    details = replace(Entry(item, on).details, **changes)
    if is_moved:
        _stay_between_neighbours(item, on, details)
    speaks = item.is_organizer or from_outside
    kept = dict(item.exceptions.get(on, {}))
    if is_moved and speaks and store.switches.new_time_resets_answers:
        kept["guests"] = invitations.unanswered(details).guests
    item.exceptions[on] = {**kept, **changes}
    store.touch(item, on)
    if speaks:
        invitations.deliver_occurrence(store, item, on, is_moved=is_moved)


def remove(store: Store, item: Item, on: date | None = None, *, from_outside: bool = False) -> None:
    """Delete an event or one occurrence; if the organiser does it, it is off for everybody."""
    if item.is_organizer or from_outside:
        invitations.call_off(store, item, on)
    if on is None:
        store.remove(item)
    else:
        _leave_out(store, item, on)


def cancel(store: Store, item: Item, on: date | None = None) -> None:
    """Raises NotOrganizer: somebody else invited."""
    if not item.is_organizer:
        raise NotOrganizer
    remove(store, item, on)


def respond(
    store: Store, item: Item, answer: str, *, on: date | None = None, tells_organizer: bool = True
) -> None:
    """
    Answer an invitation; who declines has the event no longer, unless a switch says so.

    Raises:
        IsOrganizer: it is the own meeting.
    """
    if item.is_organizer:
        raise IsOrganizer
    said: dict[str, Any] = {"answer": answer, "answered_at": store.now(), "show_as": SHOWN_AS[answer]}
    if tells_organizer:
        invitations.report(store, item, answer, on)
    if answer == "declined" and not store.switches.declined_events_stay:
        remove(store, item, on)
    elif on is None:
        item.details = replace(item.details, **said)
        store.touch(item)
    else:
        item.exceptions[on] = {**item.exceptions.get(on, {}), **said}
        store.touch(item, on)


def move(store: Store, item: Item, calendar: Calendar) -> None:
    """Drag an event into another calendar of the same mailbox; its default id changes."""
    if calendar is not item.calendar:
        store.shift(item, calendar)


def _leave_out(store: Store, item: Item, on: date) -> None:
    item.removed_on.add(on)
    item.exceptions.pop(on, None)
    store.touch_series(item, on)


def _on_first_date(details: Details, recurrence: Recurrence) -> Details:
    """A series begins with its first occurrence, whatever date its start was given with."""
    first = next(recurrence.dates(), None)
    if first is None or first == date_of(details, details.start):
        return details
    local = details.start if details.all_day else details.start.astimezone(details.zone.rules)
    start = local.replace(year=first.year, month=first.month, day=first.day).astimezone(UTC)
    return replace(details, start=start, end=start + details.length)


def _stay_between_neighbours(item: Item, on: date, details: Details) -> None:
    """Raises CrossingBoundary; days are those of the series' zone. Source: graph/api/event-update."""
    if item.recurrence is None:
        return
    wanted = date_of(details, details.start)
    before = [day for day in item.recurrence.dates(None, on) if day < on and day not in item.removed_on]
    after = (day for day in item.recurrence.dates(on) if day > on and day not in item.removed_on)
    if before and wanted <= _actual_date(item, before[-1]):
        raise CrossingBoundary(f"{wanted} is not after the occurrence before it")
    if (following := next(after, None)) is not None and wanted >= _actual_date(item, following):
        raise CrossingBoundary(f"{wanted} is not before the occurrence after it")


def _actual_date(item: Item, on: date) -> date:
    return date_of(item.details, Entry(item, on).details.start)
