"""How a meeting travels between mailboxes: copies go out, are changed and called off; answers return."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date
from typing import Any

from worker.sandbox.microsoft.details import OWN, Details, Guest
from worker.sandbox.microsoft.mailbox import Item, Mailbox
from worker.sandbox.microsoft.store import Store
from worker.sandbox.microsoft.view import Entry, has_occurrence

# Source: v1.0 metadata, responseType: notResponded stands for an invitation nobody answered yet.
FRESH: dict[str, Any] = {"answer": "notResponded", "answered_at": None, "show_as": "tentative"}


def deliver(store: Store, item: Item, *, is_moved: bool = False, to_new_guests: bool = False) -> None:
    """
    Give every guest with a mailbox here an up-to-date copy; who is not invited any more hears it is off.

    *to_new_guests*: only the list of guests changed, and those who stay on it hear nothing.
    Source: graph/api/event-update ("only the attendees that have changed").
    """
    invited = {id(mailbox): mailbox for mailbox in _invited(store, item.details, item.mailbox)}
    for copy in _copies(store, item):
        if invited.pop(id(copy.mailbox), None) is None:
            if not copy.details.is_cancelled:
                _call_off_copy(store, copy, None)
        elif not to_new_guests or copy.details.is_cancelled:
            _refresh(store, item, copy, is_moved=is_moved)
    for mailbox in invited.values():
        _send(store, item, mailbox)


def deliver_occurrence(store: Store, item: Item, on: date, *, is_moved: bool) -> None:
    """Bring one occurrence up to date in every copy that has it."""
    shared = {name: value for name, value in item.exceptions[on].items() if name not in OWN}
    for copy in _copies(store, item):
        if not has_occurrence(copy, on):
            continue
        own = {name: value for name, value in copy.exceptions.get(on, {}).items() if name in OWN}
        fresh = FRESH if is_moved and store.switches.new_time_resets_answers else {}
        changed: dict[str, Any] = {**own, **fresh, **shared}
        if "guests" in changed:
            changed["guests"] = _guests_seen_by(copy.mailbox, Entry(item, on).details)
        copy.exceptions[on] = changed
        store.touch(copy, on)


def call_off(store: Store, item: Item, on: date | None, *, own_too: bool = False) -> None:
    """
    Tell every attendee that the meeting, or the occurrence of a date, will not take place.

    *own_too*: the item itself is an attendee's, and the organiser elsewhere called it off.
    """
    for copy in [*_copies(store, item), *([item] if own_too else [])]:
        if on is None or has_occurrence(copy, on):
            _call_off_copy(store, copy, on)


def report(store: Store, copy: Item, answer: str, on: date | None) -> None:
    """Write an attendee's answer into the organiser's list, if the organiser has a mailbox here."""
    for item in store.copies[copy.uid]:
        if item.is_organizer:
            write_answer(store, item, copy.mailbox.account.email, answer, on)


def write_answer(store: Store, item: Item, email: str, answer: str, on: date | None) -> None:
    """Note the answer of a guest, who need not have a mailbox here."""
    now = store.now()
    if on is None:
        item.details = item.details.with_answer_of(email, answer, now)
        store.touch(item)
    elif has_occurrence(item, on):
        guests = Entry(item, on).details.with_answer_of(email, answer, now).guests
        item.exceptions[on] = {**item.exceptions.get(on, {}), "guests": guests}
        store.touch(item, on)


def unanswered(details: Details) -> Details:
    """Return the details as if no guest had answered."""
    guests = tuple(replace(guest, answer="none", answered_at=None) for guest in details.guests)
    return replace(details, guests=guests)


def _invited(store: Store, details: Details, organizer: Mailbox) -> Iterator[Mailbox]:
    for guest in details.guests:
        mailbox = store.mailbox_of(guest.person.email)
        if mailbox is not None and mailbox is not organizer:
            yield mailbox


def _copies(store: Store, item: Item) -> list[Item]:
    return [
        each for each in store.copies.get(item.uid, []) if each is not item and not each.is_organizer
    ]


def _send(store: Store, item: Item, mailbox: Mailbox) -> None:
    now = store.now()
    copy = Item(
        key=store.next_key(),
        mailbox=mailbox,
        calendar=mailbox.default_calendar,
        uid=item.uid,
        details=replace(_seen_by(mailbox, item.details), **FRESH, reminder_on=True, categories=()),
        is_organizer=False,
        created_at=now,
        modified_at=now,
        recurrence=item.recurrence,
        exceptions={on: _shared(mailbox, item, on) for on in item.exceptions},
        removed_on=set(item.removed_on),
        raw=dict(item.raw),
    )
    store.add(copy)


def _refresh(store: Store, item: Item, copy: Item, *, is_moved: bool) -> None:
    own: Mapping[str, Any] = {name: getattr(copy.details, name) for name in OWN}
    copy.details = replace(_seen_by(copy.mailbox, item.details), **own)
    if is_moved:
        copy.recurrence = item.recurrence
        copy.exceptions.clear()
        copy.removed_on = set(item.removed_on)
        if store.switches.new_time_resets_answers:
            copy.details = replace(copy.details, **FRESH)
    store.touch(copy)


def _call_off_copy(store: Store, copy: Item, on: date | None) -> None:
    if not store.switches.cancelled_copies_stay:
        if on is None:
            store.remove(copy)
        else:
            copy.removed_on.add(on)
            copy.exceptions.pop(on, None)
            store.touch_series(copy, on)
    elif on is None:
        copy.details = copy.details.cancelled()
        store.touch(copy)
    else:
        gone = Entry(copy, on).details.cancelled()
        said = {"is_cancelled": True, "subject": gone.subject, "show_as": gone.show_as}
        copy.exceptions[on] = {**copy.exceptions.get(on, {}), **said}
        store.touch(copy, on)


def _shared(mailbox: Mailbox, item: Item, on: date) -> dict[str, Any]:
    changed = {name: value for name, value in item.exceptions[on].items() if name not in OWN}
    if "guests" in changed:
        changed["guests"] = _guests_seen_by(mailbox, Entry(item, on).details)
    return changed


def _seen_by(mailbox: Mailbox, details: Details) -> Details:
    return replace(details, guests=_guests_seen_by(mailbox, details))


def _guests_seen_by(mailbox: Mailbox, details: Details) -> tuple[Guest, ...]:
    """Attendees learn who is invited, not what they said; with a hidden list only that they are themselves."""
    return tuple(
        replace(guest, answer="none", answered_at=None)
        for guest in details.guests
        if not details.hides_guests or guest.person.is_(mailbox.account.email)
    )
