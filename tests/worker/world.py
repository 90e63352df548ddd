"""A Punctual without processes: the real use-cases on a real database, fakes at the ports, our own clock."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Engine, RowMapping, func, insert, select, text, update

from models.domain.bots import Standing, Step
from models.domain.events import Event
from models.sealing import Vault
from models.tables import due
from models.tables.base import Due
from models.tables.calendars import Calendar
from models.tables.due import table_of
from models.tables.events import CalendarEvent
from models.tables.inbox import Delivery
from models.tables.installation import Source
from models.tables.outbox import OutboxEvent
from models.tables.slots import Slot
from tests.builders import NOON, an_event, an_installation
from tests.fakes import FakeBell, FakeBotProvider, FakeCalendarSource, FakePoster
from worker import intake
from worker.looked import Looked, next_fetch
from worker.ports import Attachment, FoundEvent, Page, Unreadable
from worker.reconciling import reconcile
from worker.runtime import Runtime
from worker.settings import Settings
from worker.settling import settle
from worker.storing import store_page
from worker.syncing import RECALL, sync_calendar, sync_workspace
from worker.turns import Outcome

SLOTS = table_of(Slot)
CALENDARS = table_of(Calendar)
DELIVERIES = table_of(Delivery)
SOURCES = table_of(Source)


def real_now() -> datetime:
    """Return the time by the database's clock, and the provider's: versions and cursors are of it."""
    return datetime.now(UTC)


def provider_clock() -> datetime:
    """Return the time as the provider's answers show it: in whole seconds."""
    return real_now().replace(microsecond=0)


@dataclass
class Interrupted(FakeBotProvider):
    """A provider during whose calls other things happen: after the effect, before the answer."""

    interruptions: list[Callable[[], object]] = field(default_factory=list)

    def carry_out(self, step: Step, *, key: UUID) -> Standing:
        standing = super().carry_out(step, key=key)
        if self.interruptions:
            self.interruptions.pop()()
        return standing


@dataclass
class World:
    """
    The parts, and the verbs a test speaks in.

    Meetings take place by the clock *at*; what was changed and asked for when goes by the real one.
    """

    db: Engine
    vault: Vault
    at: datetime = NOON - timedelta(days=1)
    bell: FakeBell = field(default_factory=FakeBell)
    source: FakeCalendarSource = field(default_factory=lambda: FakeCalendarSource(now=provider_clock))
    bots: Interrupted = field(init=False)
    rt: Runtime = field(init=False)

    def __post_init__(self) -> None:
        self.bots = Interrupted(now=lambda: self.at)
        self.rt = Runtime(
            settings=Settings(_env_file=None),
            db=self.db,
            vault=self.vault,
            install_id=an_installation(self.db),
            bell=self.bell,
            poster=FakePoster(),
            now=lambda: self.at,
            chance=lambda: 0.5,
            recall=self.source,
            bots=self.bots,
            sleep=lambda _: None,
        )

    def store(
        self, *found: FoundEvent, unreadable: tuple[Unreadable, ...] = (), fetch: int | None = None
    ) -> int:
        """Apply a page of a listing and settle what it changed; how many events were news is returned."""
        with self.db.begin() as tx:
            looked = Looked(RECALL, next_fetch(tx) if fetch is None else fetch, uuid4(), self.at)
            stored = store_page(tx, Page(found, unreadable), looked, vault=self.vault)
        settle(self.rt)
        return stored.changed

    def fetch(self) -> int:
        """Number a look at the provider that begins now."""
        with self.db.begin() as tx:
            return next_fetch(tx)

    def put(
        self,
        event: Event | None = None,
        calendar: str = "cal-anna",
        *,
        updated_at: datetime | None = None,
        attachments: tuple[Attachment, ...] = (),
    ) -> None:
        """Have the provider hold an event, changed just now."""
        self.source.put(
            calendar,
            event or an_event(),
            updated_at=updated_at or real_now(),
            attachments=attachments,
        )

    def notify(
        self,
        ref: str = "cal-anna",
        kind: str = "calendar.sync_events",
        body: Any = None,
        *,
        source: str = RECALL,
    ) -> UUID:
        """Store a notification and ask for its calendar as the receiver does; its id is returned."""
        content = {"event": kind, "data": {"calendar_id": ref}} if body is None else body
        with self.db.begin() as tx:
            delivery_id: UUID = tx.execute(
                insert(DELIVERIES)
                .values(
                    source=source,
                    message_id=uuid4().hex,
                    type=kind,
                    ref=ref,
                    body=json.dumps(content).encode(),
                )
                .returning(DELIVERIES.c.id)
            ).scalar_one()
            if kind == "calendar.update":
                tx.execute(
                    update(CALENDARS).where(CALENDARS.c.external_id == ref).values(needs_check=True)
                )
            followed = tx.execute(select(CALENDARS.c.id).where(CALENDARS.c.external_id == ref))
            due.ask(tx, Calendar, list(followed.scalars()))
        return delivery_id

    def list_changes(self) -> Outcome:
        """List what changed in the workspace for every calendar that is due."""
        return sync_workspace(self.rt)

    def look_at(self, calendar_id: UUID) -> Outcome:
        """Give a calendar the look of its own that it is due for."""
        return sync_calendar(self.rt, calendar_id)

    def ask(self, calendar_id: UUID, **columns: Any) -> None:
        """Change a calendar's row and ask for the calendar."""
        self.change_calendar(calendar_id, **columns)
        with self.db.begin() as tx:
            due.ask(tx, Calendar, [calendar_id])

    def wait_out(self, row: type[Due] = Source) -> None:
        """Let every wait of rows of one kind be over."""
        with self.db.begin() as tx:
            tx.execute(update(table_of(row)).values(due_at=func.now()))

    def be_overtaken(self) -> None:
        """Have somebody else take over the workspace's listing."""
        with self.db.begin() as tx:
            tx.execute(update(SOURCES).values(fence=SOURCES.c.fence + 1))

    def calendar(self, calendar_id: UUID) -> RowMapping:
        with self.db.begin() as tx:
            return tx.execute(select(CALENDARS).where(CALENDARS.c.id == calendar_id)).mappings().one()

    def change_calendar(self, calendar_id: UUID, **columns: Any) -> None:
        if columns:
            with self.db.begin() as tx:
                tx.execute(update(CALENDARS).where(CALENDARS.c.id == calendar_id).values(**columns))

    def is_due(self, calendar_id: UUID) -> bool:
        row = self.calendar(calendar_id)
        return bool(row["wanted"] > row["done"])

    def events(self) -> dict[str, RowMapping]:
        """Return every stored event by its provider's id."""
        with self.db.begin() as tx:
            rows = tx.execute(select(table_of(CalendarEvent))).mappings().all()
        return {row["external_id"]: row for row in rows}

    def titles(self) -> dict[str, str]:
        """Return the titles of the stored events that are there."""
        return {ref: row["title"] for ref, row in self.events().items() if not row["deleted"]}

    def workspace(self) -> RowMapping:
        """Return the row of the workspace."""
        with self.db.begin() as tx:
            return tx.execute(select(SOURCES)).mappings().one()

    def delivery(self, delivery_id: UUID) -> tuple[str, str | None]:
        """Say what became of a notification, and why."""
        row = self.delivery_row(delivery_id)
        return row["state"], row["reason"]

    def delivery_row(self, delivery_id: UUID) -> RowMapping:
        with self.db.begin() as tx:
            found = tx.execute(select(DELIVERIES).where(DELIVERIES.c.id == delivery_id))
            return found.mappings().one()

    def count(self, table: str, where: str = "true") -> int:
        with self.db.begin() as tx:
            return int(tx.execute(text(f"SELECT count(*) FROM {table} WHERE {where}")).scalar_one())

    def reconcile_all(self) -> None:
        """Reconcile what is due until nothing is, skipping waits."""
        for _ in range(30):
            self.hurry()
            if reconcile(self.rt) == "nothing_due":
                return
        raise AssertionError("reconciling does not come to rest")

    def hurry(self) -> None:
        """Let every wait be over."""
        with self.db.begin() as tx:
            tx.execute(update(SLOTS).values(due_at=SLOTS.c.created_at))

    def slot(self) -> RowMapping:
        """Return the one slot there is."""
        with self.db.begin() as tx:
            return tx.execute(select(SLOTS)).mappings().one()

    def change_slot(self, **values: Any) -> None:
        with self.db.begin() as tx:
            tx.execute(update(SLOTS).values(**values))

    def told(self, about: str = "bot.") -> list[str]:
        """List the domain events about bots (or what else is named), in order."""
        with self.db.begin() as tx:
            rows = tx.execute(
                select(OutboxEvent.type).order_by(OutboxEvent.subject, OutboxEvent.sequence)
            ).scalars()
            return [kind for kind in rows if kind.startswith(about)]

    def hear_of_bot(self, bot_id: str, code: str, *, at: str = "2026-11-23T12:00:00Z") -> None:
        """Take in a delivery that tells of a bot's status."""
        body = {"event": f"bot.{code}", "data": {"data": {"code": code, "updated_at": at}}}
        self.notify(bot_id, f"bot.{code}", body)
        intake.take_in(self.rt)

    def during_page(self, happen: Callable[[], object], number: int = 1) -> None:
        """Have something happen once, while a page of the next listing is being made."""
        left = [happen]

        def on_page(served: int) -> None:
            if served == number and left:
                left.pop()()

        self.source.on_page = on_page

    def during_the_next_call(self, happen: Callable[[], object]) -> None:
        """Have something happen while a provider call is under way."""
        self.bots.interruptions.append(happen)

    def live(self) -> list[tuple[str, datetime]]:
        """List live bots by link and join time."""
        return sorted((bot.meeting_url, bot.join_at) for bot in self.bots.live)

    def slot_id(self) -> UUID:
        found: UUID = self.slot()["id"]
        return found
