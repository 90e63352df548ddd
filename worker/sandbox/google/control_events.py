"""Control of events: what their users do in Google's own pages, or organisers elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from datetime import timedelta
from functools import partial
from typing import Any

from worker.sandbox.google import creating, editing
from worker.sandbox.google.conferences import meet_at, settle_conference
from worker.sandbox.google.control_people import calendar_at
from worker.sandbox.google.copies import spread, touch
from worker.sandbox.google.creating import Options
from worker.sandbox.google.finding import document, find
from worker.sandbox.google.recurrence import trimmed
from worker.sandbox.google.refusals import Refusal
from worker.sandbox.google.showing import View, shown
from worker.sandbox.google.store import CalendarRecord, EventRow, Instance, Person
from worker.sandbox.google.world import World
from worker.sandbox.oauth.calls import Action, Asked, Unknown
from worker.sandbox.recall.forms import Json, instant, rendered

WRITE = Options(conference_version=1, supports_attachments=True, by_google=True)


class EventControl:
    def __init__(self, world: World) -> None:
        self.world = world

    def actions(self) -> tuple[tuple[str, str, Action], ...]:
        listed: tuple[tuple[str, str, Callable[[Asked], object]], ...] = (
            ("GET", "/calendars/{id}/events", self.events),
            ("POST", "/calendars/{id}/events", self.create),
            ("GET", "/calendars/{id}/events/{event}", self.show),
            ("PATCH", "/calendars/{id}/events/{event}", self.edit),
            ("DELETE", "/calendars/{id}/events/{event}", self.delete),
            ("POST", "/calendars/{id}/events/{event}/respond", self.respond),
            ("POST", "/calendars/{id}/events/{event}/split", self.split),
            ("POST", "/calendars/{id}/events/{event}/conference", self.settle),
            ("POST", "/events:batch", self.batch),
        )
        return tuple((method, path, _understood(action)) for method, path, action in listed)

    def events(self, asked: Asked) -> object:
        """List every row of a calendar, deleted ones too."""
        calendar = calendar_at(self.world, asked.path["id"])
        return [self._shown(calendar, row) for row in calendar.events.values()]

    def create(self, asked: Asked) -> object:
        """
        Put an event in, in Google's own fields or in short.

        In short: `start`, `end` as ISO texts, or `minutes` (30); `attendees` as addresses; `link` as Meet or
        location; `zone`. An `organizer` without account here makes it an invitation from outside.
        """
        calendar = calendar_at(self.world, asked.path["id"])
        return self._shown(calendar, self._created(calendar, asked.body))

    def show(self, asked: Asked) -> object:
        calendar, target = self._found(asked)
        return self._shown(calendar, target)

    def edit(self, asked: Asked) -> object:
        """Change what is named, as the organiser if that one is elsewhere, else as the calendar's owner."""
        calendar, target = self._found(asked)
        return self._shown(calendar, self._edited(calendar, target, asked.body))

    def delete(self, asked: Asked) -> object:
        """Delete it as the calendar's owner; `by_organizer: true` as an organiser who is elsewhere."""
        calendar, target = self._found(asked)
        return self._shown(calendar, self._deleted(calendar, target, asked.body))

    def respond(self, asked: Asked) -> object:
        """Answer the invitation: `response` (accepted, declined, tentative, needsAction), `comment`."""
        calendar, target = self._found(asked)
        body = asked.body
        row = editing.respond(self.world, calendar, target, body["response"], body.get("comment", ""))
        return self._shown(calendar, row)

    def split(self, asked: Asked) -> object:
        """
        Change "this and following" as Google's pages do: end the series before `at`, start another there.

        `at` is the id of an instance. Other fields are what the new series has otherwise.
        """
        calendar, series = self._found(asked)
        wish = dict(asked.body)
        instance = self._target(calendar, wish.pop("at"))
        if not isinstance(series, EventRow) or not series.is_series or instance.original is None:
            raise ValueError("split takes a series, and an instance of it as `at`")
        body = deepcopy(document(series, calendar.time_zone))
        lines = trimmed(series.data["recurrence"], instance.original)
        zone = series.start.zone or calendar.time_zone
        length = series.end.minus(series.start)
        body |= {
            "start": instance.original.shown(zone, calendar.time_zone),
            "end": instance.original.plus(length).shown(zone, calendar.time_zone),
        }
        body.pop("conferenceData", None)
        body |= {"conferenceData": series.data.get("conferenceData")} | wire(wish)
        options = Options(conference_version=1)
        editing.change(self.world, calendar, series, {"recurrence": lines}, options, is_patch=True)
        body = {name: value for name, value in body.items() if value is not None}
        account = self.world.oauth.accounts[calendar.owner_id]
        following = creating.insert(self.world, calendar, account, body, WRITE)
        return {"ended": self._shown(calendar, series), "following": self._shown(calendar, following)}

    def settle(self, asked: Asked) -> object:
        """Let a pending conference request end with `outcome`: success or failure."""
        calendar, row = self._found(asked)
        if not isinstance(row, EventRow):
            raise Unknown("an occurrence has no conference of its own")
        settle_conference(row, asked.body.get("outcome", "success"), self.world.chance)
        touch(self.world, row, "conference")
        spread(self.world, row)
        return self._shown(calendar, row)

    def batch(self, asked: Asked) -> object:
        """
        Change many events, at once or each `after_seconds`.

        An item with `calendar` alone creates (`create: true` with an own `id`); with `id` it edits, or with
        `delete` or `response` does that.
        """
        done: list[object] = []
        for item in asked.body:
            wish = dict(item)
            wait = timedelta(seconds=float(wish.pop("after_seconds", 0)))
            if wait:
                at = self.world.now() + wait
                self.world.agenda.add(at, partial(self._done_later, wish))
                done.append({"at": rendered(at, with_z=True)})
            else:
                done.append(self._done(wish))
        return done

    def _done(self, item: Json) -> Json:
        """Carry out one change of a batch."""
        wish = dict(item)
        calendar = calendar_at(self.world, wish.pop("calendar"))
        event_id = None if wish.pop("create", False) else wish.pop("id", None)
        if event_id is None:
            return self._shown(calendar, self._created(calendar, wish))
        target = self._target(calendar, event_id)
        if wish.pop("delete", False):
            return self._shown(calendar, self._deleted(calendar, target, wish))
        if "response" in wish:
            row = editing.respond(
                self.world, calendar, target, wish["response"], wish.get("comment", "")
            )
            return self._shown(calendar, row)
        return self._shown(calendar, self._edited(calendar, target, wish))

    def _done_later(self, item: Json) -> None:
        """Carry out a change whose time has come; what is wrong with it can only be written down."""
        try:
            self._done(item)
        except (Refusal, Unknown, ValueError, TypeError, KeyError) as error:
            self.world.history.note(self.world.now(), "control.failed", change=item, error=str(error))

    def _created(self, calendar: CalendarRecord, wish: Json) -> EventRow:
        body = wire(wish)
        organizer = body.pop("organizer", None)
        if organizer is None:
            owner = self.world.oauth.accounts[calendar.owner_id]
            return creating.insert(self.world, calendar, owner, body, WRITE)
        person = Person(organizer["email"], organizer.get("displayName", ""))
        return creating.receive(self.world, calendar, person, body, WRITE)

    def _edited(self, calendar: CalendarRecord, target: EventRow | Instance, wish: Json) -> EventRow:
        options = self._options(target)
        return editing.change(self.world, calendar, target, wire(wish, target), options, is_patch=True)

    def _deleted(self, calendar: CalendarRecord, target: EventRow | Instance, wish: Json) -> EventRow:
        options = self._options(target) if wish.get("by_organizer") else WRITE
        return editing.remove(self.world, calendar, target, options)

    def _options(self, target: EventRow | Instance) -> Options:
        row = target if isinstance(target, EventRow) else target.series
        is_elsewhere = self.world.oauth.account(row.organizer.email) is None
        is_secondary = row.organizer.email in self.world.calendars
        as_organizer = is_elsewhere and not is_secondary
        return Options(1, supports_attachments=True, by_google=True, as_organizer=as_organizer)

    def _found(self, asked: Asked) -> tuple[CalendarRecord, EventRow | Instance]:
        calendar = calendar_at(self.world, asked.path["id"])
        return calendar, self._target(calendar, asked.path["event"])

    def _target(self, calendar: CalendarRecord, event_id: str) -> EventRow | Instance:
        try:
            return find(calendar, event_id)
        except Refusal as refusal:
            raise Unknown(f"no event {event_id} in {calendar.id}") from refusal

    def _shown(self, calendar: CalendarRecord, target: EventRow | Instance) -> Json:
        owner = self.world.oauth.accounts[calendar.owner_id]
        return shown(calendar, target, View(owner.email, "owner", self.world.switches))


def wire(wish: Json, target: EventRow | Instance | None = None) -> Json:
    """Return a wish in Google's own fields; a new start alone moves the end with it."""
    body = dict(wish)
    zone, link, minutes = body.pop("zone", ""), body.pop("link", None), body.pop("minutes", None)
    if isinstance(body.get("start"), str) and "end" not in body:
        body["end"] = _end(body["start"], minutes, target)
    for name in ("start", "end"):
        if isinstance(body.get(name), str):
            body[name] = _moment(body[name], zone)
    if body.get("attendees"):
        body["attendees"] = [
            {"email": each} if isinstance(each, str) else each for each in body["attendees"]
        ]
    if isinstance(body.get("organizer"), str):
        body["organizer"] = {"email": body["organizer"]}
    if link is not None:
        is_meet = link.startswith("https://meet.google.com/")
        body["conferenceData" if is_meet else "location"] = meet_at(link) if is_meet else link
    return body


def _moment(text: str, zone: str) -> dict[str, Any]:
    if len(text) == 10:
        return {"date": text, "dateTime": None}
    return {"dateTime": text, "date": None} | ({"timeZone": zone} if zone else {})


def _end(start: str, minutes: float | None, target: EventRow | Instance | None) -> str:
    """Return the end that goes with a start: after *minutes*, else as long as before, else half an hour."""
    length = timedelta(minutes=minutes) if minutes is not None else None
    if length is None and target is not None and target.start.is_day == (len(start) == 10):
        length = target.end.minus(target.start)
    if len(start) == 10:
        return (instant(start) + (length or timedelta(days=1))).date().isoformat()
    at = instant(start) if start.endswith("Z") or "+" in start[10:] or "-" in start[10:] else None
    if at is not None:
        return (at + (length or timedelta(minutes=30))).isoformat()
    return (instant(start) + (length or timedelta(minutes=30))).replace(tzinfo=None).isoformat()


def _understood(action: Callable[[Asked], object]) -> Callable[[Asked], object]:
    """Let what Google refuses be the caller's mistake."""

    def carried_out(asked: Asked) -> object:
        try:
            return action(asked)
        except Refusal as refusal:
            raise ValueError(str(refusal)) from refusal

    return carried_out
