"""Control of events: put in, change, call off, delete, answer and move them as the people concerned would."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from worker.sandbox.microsoft import ids, invitations, meetings, showing, view, wishes
from worker.sandbox.microsoft.control_people import calendar_named
from worker.sandbox.microsoft.mailbox import Calendar, Item
from worker.sandbox.microsoft.recurrence import Kept
from worker.sandbox.microsoft.showing import Look
from worker.sandbox.microsoft.view import Entry
from worker.sandbox.microsoft.world import World
from worker.sandbox.oauth.calls import Action, Asked, Unknown
from worker.sandbox.recall.forms import Json, instant

ANSWERS = {"tentative": "tentativelyAccepted"}


@dataclass(frozen=True, slots=True)
class EventControl:
    """
    Events go by default or immutable id; a series' occurrence by its own id or by `on`, its original date.

    `by` says who acts on a copy: the organizer (usual), or the attendee whose mailbox it is in.
    """

    world: World

    def actions(self) -> tuple[tuple[str, str, Action], ...]:
        return (
            ("GET", "/calendars/{calendar_id}/events", self.events),
            ("POST", "/calendars/{calendar_id}/events", self.create),
            ("POST", "/events:batch", self.batch),
            ("GET", "/events/{event_id}", lambda asked: self._shown(self._entry(asked))),
            ("PATCH", "/events/{event_id}", self.change),
            ("DELETE", "/events/{event_id}", self.delete),
            ("POST", "/events/{event_id}/cancel", self.cancel),
            ("POST", "/events/{event_id}/respond", self.respond),
            ("POST", "/events/{event_id}/move", self.move),
        )

    def events(self, asked: Asked) -> object:
        """List what lies in a calendar; series as masters."""
        calendar = calendar_named(self.world, asked.path["calendar_id"])
        return [self._shown(Entry(item)) for item in calendar.items.values()]

    def create(self, asked: Asked) -> object:
        """Put an event in (see `wishes`); an organizer with a mailbox here invites from there."""
        calendar = calendar_named(self.world, asked.path["calendar_id"])
        return self._shown(Entry(self._made(calendar, asked.body)))

    def change(self, asked: Asked) -> object:
        """Change what is named."""
        entry = self._entry(asked)
        self._changed(entry, asked.body)
        return self._shown(entry)

    def delete(self, asked: Asked) -> object:
        """Delete an event or occurrence as the owner of its mailbox would."""
        entry = self._entry(asked)
        meetings.remove(self.world.store, entry.item, entry.on)
        return {}

    def cancel(self, asked: Asked) -> object:
        """Let the organiser call it off."""
        self._called_off(self._entry(asked))
        return {}

    def respond(self, asked: Asked) -> object:
        """Answer as the attendee `email` (the mailbox's owner if left out): `response`, `tells_organizer`."""
        self._answered(self._entry(asked), asked.body)
        return {}

    def move(self, asked: Asked) -> object:
        """Drag an event to another calendar of its mailbox: `calendar_id`."""
        entry = self._entry(asked)
        meetings.move(
            self.world.store, entry.item, calendar_named(self.world, asked.body["calendar_id"])
        )
        return self._shown(Entry(entry.item))

    def batch(self, asked: Asked) -> object:
        """
        Do many things in one go, or with `at` when the clock gets there.

        An item with `calendar_id` alone creates; with `id` (and `on`) it changes, or with `cancel`, `delete`,
        `respond` or `move_to` does that.
        """
        results = []
        for item in asked.body:
            wish = dict(item)
            at = wish.pop("at", None)
            action = self._action(wish)
            if at is None:
                results.append(action())
            else:
                self.world.store.agenda.add(instant(at), _silently(action))
                results.append({"planned": at})
        return results

    def _action(self, wish: dict[str, Any]) -> Callable[[], object]:
        event_id, on = wish.pop("id", None), wish.pop("on", None)

        def act() -> object:
            if event_id is None:
                calendar = calendar_named(self.world, wish.pop("calendar_id"))
                return self._shown(Entry(self._made(calendar, wish)))
            entry = self._named(event_id, on)
            store = self.world.store
            if wish.pop("delete", False):
                meetings.remove(store, entry.item, entry.on)
            elif wish.pop("cancel", False):
                self._called_off(entry)
            elif "respond" in wish:
                answer = wish["respond"]
                self._answered(entry, {"response": answer} if isinstance(answer, str) else answer)
            elif "move_to" in wish:
                meetings.move(store, entry.item, calendar_named(self.world, wish["move_to"]))
                return self._shown(Entry(entry.item))
            else:
                self._changed(entry, wish)
                return self._shown(entry)
            return {}

        return act

    def _made(self, calendar: Calendar, body: Mapping[str, Any]) -> Item:
        store, mailbox = self.world.store, calendar.mailbox
        wish = wishes.described(body, None, mailbox, store.now())
        details = replace(wishes.blank(mailbox, store.now()), **wish.changes)
        if details.guest(mailbox.account.email) is None and not details.organizer.is_(
            mailbox.account.email
        ):
            guest = wishes.described({"attendees": [mailbox.account.email]}, None, mailbox, store.now())
            details = replace(details, guests=(*details.guests, *guest.changes["guests"]))
        organizer = store.mailbox_of(details.organizer.email)
        is_elsewhere = organizer is not None and organizer is not mailbox
        pattern = None if wish.recurrence is Kept.KEPT else wish.recurrence
        made = meetings.create(
            store,
            organizer.default_calendar if is_elsewhere and organizer else calendar,
            details,
            recurrence=pattern,
            uid=wish.uid,
            raw=wish.raw,
        )
        if not is_elsewhere:
            return made
        copy = next(each for each in store.copies[made.uid] if each.mailbox is mailbox)
        if "own_response" in body and copy.details.answer != wish.changes["answer"]:
            meetings.respond(store, copy, wish.changes["answer"])
        meetings.move(store, copy, calendar)
        return copy

    def _changed(self, entry: Entry, body: Mapping[str, Any]) -> None:
        wish_body = dict(body)
        acting = self._acting(entry, wish_body.pop("by", "organizer"))
        wish_body.pop("on", None)
        item, store = acting.item, self.world.store
        wish = wishes.described(wish_body, acting.details, item.mailbox, store.now())
        item.raw = {**item.raw, **wish.raw}
        is_outside = not item.is_organizer and body.get("by", "organizer") == "organizer"
        if acting.on is None:
            meetings.change(
                store, item, wish.changes, recurrence=wish.recurrence, from_outside=is_outside
            )
        else:
            meetings.change_occurrence(store, item, acting.on, wish.changes, from_outside=is_outside)

    def _called_off(self, entry: Entry) -> None:
        acting, store = self._acting(entry, "organizer"), self.world.store
        if acting.item.is_organizer:
            meetings.cancel(store, acting.item, acting.on)
        else:
            invitations.call_off(store, acting.item, acting.on, own_too=True)

    def _answered(self, entry: Entry, body: Mapping[str, Any]) -> None:
        store = self.world.store
        answer = ANSWERS.get(body["response"], body["response"])
        if answer not in meetings.SHOWN_AS:
            raise ValueError(f"response is one of {', '.join(meetings.SHOWN_AS)}")
        email = body.get("email") or entry.item.mailbox.account.email
        mailbox = store.mailbox_of(email)
        copy = next((each for each in store.copies[entry.item.uid] if each.mailbox is mailbox), None)
        if copy is not None:
            tells = bool(body.get("tells_organizer", True))
            meetings.respond(store, copy, answer, on=entry.on, tells_organizer=tells)
            return
        for item in store.copies[entry.item.uid]:
            if item.is_organizer:
                invitations.write_answer(store, item, email, answer, entry.on)

    def _acting(self, entry: Entry, by: str) -> Entry:
        """Return the copy of who acts: the organiser's, if there is one here."""
        if by not in ("organizer", "attendee"):
            raise ValueError("by is organizer or attendee")
        if by == "attendee" or entry.item.is_organizer:
            return entry
        copies = self.world.store.copies[entry.item.uid]
        organizers = next((each for each in copies if each.is_organizer), None)
        return entry if organizers is None else Entry(organizers, entry.on)

    def _entry(self, asked: Asked) -> Entry:
        on = asked.query.get("on") or (asked.body.get("on") if isinstance(asked.body, dict) else None)
        return self._named(asked.path["event_id"], on)

    def _named(self, event_id: str, on: str | None) -> Entry:
        taken = ids.taken_apart(event_id)
        for mailbox in self.world.store.mailboxes.values() if taken else ():
            item = mailbox.by_core.get(taken.core) if taken else None
            if item is not None and taken is not None:
                day = date.fromisoformat(on) if on else taken.on
                if day is None or view.has_occurrence(item, day):
                    return Entry(item, day)
        raise Unknown(f"no event {event_id}" + (f" on {on}" if on else ""))

    def _shown(self, entry: Entry) -> Json:
        """Show Graph's row, with `_emulator` saying what Graph does not."""
        item, switches = entry.item, self.world.store.switches
        inside = {
            "account": item.mailbox.account.email,
            "calendar_id": item.calendar.id,
            "immutable_id": item.id(entry.on, immutable=True),
            "gone": item.is_gone,
        }
        return {**showing.whole(entry, Look(switches, item.mailbox)), "_emulator": inside}


def _silently(action: Callable[[], object]) -> Callable[[], None]:
    def act() -> None:
        action()

    return act
