"""One workspace of the emulated Recall: records, time, and how records are found. No rules live here."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from worker.sandbox.recall.clock import Agenda, Clock
from worker.sandbox.recall.faults import Faults
from worker.sandbox.recall.forms import Json, rendered
from worker.sandbox.recall.history import History
from worker.sandbox.recall.idempotency import Idempotency
from worker.sandbox.recall.limits import Limits, Pool, Throttle
from worker.sandbox.recall.outgoing import Outgoing
from worker.sandbox.recall.raw import EventSpec
from worker.sandbox.recall.switches import Switches

MICROSECOND = timedelta(microseconds=1)


@dataclass(slots=True)
class CalendarRecord:
    id: str
    platform: str
    credentials: dict[str, str]  # oauth_client_id, oauth_client_secret, oauth_refresh_token
    created_at: datetime
    updated_at: datetime
    oauth_email: str | None = None
    webhook_url: str | None = None
    platform_email: str | None = None
    status: str = "connecting"
    status_changes: list[Json] = field(default_factory=list)
    deleted: bool = False
    attempt: int = 0  # of connecting; a newer one makes an older void
    event_ids: set[str] = field(default_factory=set)
    pending_sync: datetime | None = None  # oldest change not announced yet

    @property
    def is_connected(self) -> bool:
        return self.status == "connected" and not self.deleted


@dataclass(slots=True)
class BotRef:
    """An entry of an event's `bots[]`."""

    bot_id: str
    start_time: datetime
    deduplication_key: str
    meeting_url: str


@dataclass(slots=True)
class EventRecord:
    """An event: *spec* is the truth at the calendar provider, the other fields are the row Recall shows."""

    id: str
    calendar_id: str
    platform_id: str
    spec: EventSpec
    created_at: datetime
    updated_at: datetime
    start: datetime
    end: datetime
    ical_uid: str
    raw: Json = field(default_factory=dict)
    meeting_url: str | None = None
    meeting_platform: str | None = None
    is_deleted: bool = False
    is_visible: bool = False
    is_held: bool = True  # the truth differs from the row
    refs: list[BotRef] = field(default_factory=list)
    late: list[Callable[[], None]] = field(default_factory=list)


@dataclass(slots=True)
class BotRecord:
    id: str
    meeting_url: str
    bot_name: str
    join_at: datetime
    config: Json
    metadata: dict[str, str | None]
    managed: bool
    created_at: datetime
    deduplication_key: str | None = None
    asked_to_join_at: datetime | None = None  # None: at once
    event_ids: list[str] = field(default_factory=list)
    state: str = "scheduled"
    status_changes: list[Json] = field(default_factory=list)
    ended_at: datetime | None = None
    deleted_at: datetime | None = None
    recording_id: str | None = None
    plan: int = 0  # of its next steps; a newer one makes an older void

    @property
    def is_scheduled(self) -> bool:
        return self.state == "scheduled" and self.deleted_at is None

    @property
    def is_live(self) -> bool:
        return self.deleted_at is None and self.ended_at is None


@dataclass(slots=True)
class Workspace:
    """Everything behind one API key."""

    key: str
    base_url: str
    clock: Clock
    switches: Switches = field(default_factory=Switches)
    limits: Limits = field(default_factory=Limits)
    calendars: dict[str, CalendarRecord] = field(default_factory=dict)
    events: dict[str, EventRecord] = field(default_factory=dict)  # by updated_at, oldest first
    bots: dict[str, BotRecord] = field(default_factory=dict)
    bot_by_key: dict[str, str] = field(default_factory=dict)
    busy_keys: set[str] = field(default_factory=set)
    agenda: Agenda = field(default_factory=Agenda)
    history: History = field(default_factory=History)
    outgoing: Outgoing = field(default_factory=Outgoing)
    throttle: Throttle = field(default_factory=Throttle)
    pool: Pool = field(default_factory=Pool)
    idempotency: Idempotency = field(default_factory=Idempotency)
    faults: Faults = field(default_factory=Faults)
    random: random.Random = field(default_factory=random.Random)
    revision: int = 0
    slack: timedelta = timedelta(0)  # how late a commit has ever been
    _last_stamp: datetime | None = None
    _moment: datetime | None = None
    _listings: dict[Hashable, tuple[int, list[EventRecord], list[str]]] = field(default_factory=dict)

    def now(self) -> datetime:
        """Tell the time; while overdue actions are carried out, the instant each was due."""
        return self._moment or self.clock.now()

    def tick(self) -> None:
        """Carry out what is due, each action at its own instant."""
        until = self.clock.now()
        while due := self.agenda.take(until):
            self._moment, action = due
            try:
                action()
            finally:
                self._moment = None

    def stamp(self) -> datetime:
        """Return the time, but always later than the stamp before: the source of every `updated_at`."""
        at = self.now()
        if self._last_stamp is not None and at <= self._last_stamp:
            at = self._last_stamp + MICROSECOND
        self._last_stamp = at
        return at

    def new_id(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def text(self, at: datetime) -> str:
        return rendered(at, with_z=self.switches.timestamps_with_z)

    def note(self, kind: str, **facts: object) -> None:
        self.history.note(self.now(), kind, **facts)

    def send(self, event: str, data: Json, **facts: object) -> None:
        """Hand a webhook to the sender."""
        message = self.outgoing.queue(event, data, self.now(), self.random)
        self.note("webhook.queued", id=message.id, event=event, state=message.state, **facts)

    def show(self, event: EventRecord, at: datetime) -> None:
        """Give *event* a new `updated_at` and its place among the changed."""
        event.updated_at = at
        self.events.pop(event.id, None)
        self.events[event.id] = event
        self.revision += 1

    def forget(self, event: EventRecord) -> None:
        self.events.pop(event.id, None)
        if calendar := self.calendars.get(event.calendar_id):
            calendar.event_ids.discard(event.id)
        self.revision += 1

    def changed_since(self, at: datetime) -> list[EventRecord]:
        """List events with `updated_at` >= *at* without looking at the others."""
        found = []
        for event in reversed(self.events.values()):
            if event.updated_at < at - self.slack:
                break
            if event.updated_at >= at:
                found.append(event)
        return found

    def events_of(self, calendar_id: str) -> Iterable[EventRecord]:
        calendar = self.calendars.get(calendar_id)
        return [] if calendar is None else [self.events[each] for each in sorted(calendar.event_ids)]

    def listing(
        self,
        asked: Hashable,
        rows: Callable[[], list[EventRecord]],
        position: Callable[[EventRecord], str],
    ) -> tuple[list[EventRecord], list[str]]:
        """Return rows and their positions, kept until the next change so that paging sorts once."""
        kept = self._listings.get(asked)
        if kept is None or kept[0] != self.revision:
            found = rows()
            kept = (self.revision, found, [position(row) for row in found])
            if len(self._listings) > 32:
                self._listings.clear()
            self._listings[asked] = kept
        return kept[1], kept[2]

    def live_bots(self) -> list[BotRecord]:
        return [bot for bot in self.bots.values() if bot.is_live]


def is_between(at: datetime, since: datetime | None, until: datetime | None) -> bool:
    """Tell whether *at* lies in [since, until]; None leaves that side open."""
    return (since is None or at >= since) and (until is None or at <= until)
