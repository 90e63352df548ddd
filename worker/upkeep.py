"""
What has to happen although nobody asked: ring for what is due, look without being told, tidy up.

One process at a time does this, under a lease in the database; every worker stands by for it.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy import bindparam, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import SQLAlchemyError

from models.db import Tx
from models.domain.rules import Reason
from models.tables import due, leases
from models.tables.calendars import Calendar
from models.tables.due import table_of
from models.tables.events import CalendarEvent, QuarantinedEvent
from models.tables.inbox import Delivery
from models.tables.installation import Heartbeat, Source
from models.tables.slots import ProviderBot, Slot, Want
from models.tables.trail import SyncRun, TrailEntry
from worker import jobs, outbox, polling, second_chances
from worker.access import forget_requests
from worker.deciding import lock_events
from worker.duties import ask_at_start, ask_for_duties, ask_now
from worker.gathering import calendars_with_first
from worker.linking import forget_links
from worker.rings import MOST_RINGS, list_rings
from worker.runtime import Runtime
from worker.second_chances import give_second_chances
from worker.syncing import IS_PLAIN, RECALL

log = structlog.get_logger(__name__)

CALENDARS = table_of(Calendar)
EVENTS = table_of(CalendarEvent)
SLOTS = table_of(Slot)
SOURCES = table_of(Source)
BOTS = table_of(ProviderBot)

DUTY = "upkeep"
TICK = timedelta(milliseconds=500)
LEASE = timedelta(seconds=10)
#: The same ring is not repeated sooner: the job may be waiting in the broker already.
RING_AGAIN = timedelta(seconds=3)
FULL_LISTING_EVERY = timedelta(days=1)
TIDY_EVERY = timedelta(hours=1)
#: Nobody runs such a row meanwhile; it is only not yet said that a person has to look.
PARK_EVERY = timedelta(seconds=30)
#: Recall keeps events for 60 days (docs.recall.ai, calendar integration FAQ); so do we, and the rest for less.
KEEP_EVENTS = timedelta(days=60)
KEEP_DELIVERIES = timedelta(days=14)
KEEP_TRAIL = timedelta(days=30)
KEEP_OUTBOX = timedelta(days=30)
#: A bot may be made as long before its meeting as Recall shows events, and is of interest as long after.
KEEP_BOTS = 2 * KEEP_EVENTS
#: A process that has not beaten for so long will not come back under its name.
KEEP_HEARTBEATS = timedelta(days=1)
#: What ended longer ago has long been marked; it keeps the search for it short.
LONGEST_UNMARKED = timedelta(days=7)
#: Why an event is no occurrence that the next one of its series waits for.
OUT_OF_THE_WAY = (Reason.ENDED, Reason.DELETED, Reason.CANCELLED, Reason.DISCONNECTED)


# Built once: building a statement takes as long as having it carried out.
_OVER = select(EVENTS.c.id).where(EVENTS.c.is_wanted, EVENTS.c.end_at <= bindparam("now"))
_SOON = (
    select(EVENTS.c.id)
    .where(
        EVENTS.c.is_wanted,
        EVENTS.c.start_at < bindparam("instant"),
        EVENTS.c.end_at > bindparam("now"),
    )
    .limit(1)
)
_SOURCE = select(
    (SOURCES.c.wanted == SOURCES.c.done).label("is_idle"),
    (func.now() - SOURCES.c.listed_at).label("age"),
    (func.now() - SOURCES.c.parked_at).label("set_aside_for"),
).where(SOURCES.c.name == RECALL)
#: The calendar that was fully listed longest ago, if that is too long.
_STALEST = (
    select(CALENDARS.c.id)
    .where(
        IS_PLAIN,
        or_(
            CALENDARS.c.last_full_at.is_(None),
            CALENDARS.c.last_full_at < func.now() - FULL_LISTING_EVERY,
        ),
    )
    .order_by(CALENDARS.c.last_full_at.asc().nulls_first())
    .limit(1)
)

_BEFORE = select(Heartbeat.seen_at).where(Heartbeat.worker == bindparam("worker")).scalar_subquery()
#: A statement sees what was there before it.
_BEATING = (
    upsert(Heartbeat)
    .values(worker=bindparam("worker"), seen_at=func.clock_timestamp())
    .on_conflict_do_update(index_elements=["worker"], set_={"seen_at": func.clock_timestamp()})
    .returning(Heartbeat.seen_at, _BEFORE.label("before"))
)


@dataclass(slots=True)
class Upkeep:
    """The loop of one process, and what it remembers between two ticks."""

    rt: Runtime
    name: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}")
    rung: dict[tuple[str, str | None], datetime] = field(default_factory=dict)
    done_at: dict[str, datetime] = field(default_factory=dict)
    beaten_at: datetime | None = None

    def keep_up(self, stop: threading.Event) -> None:
        """Tick until told to stop; a failing tick is logged and the next one comes."""
        while not stop.wait(TICK.total_seconds()):
            try:
                self.tick()
            except SQLAlchemyError as unreachable:
                log.warning("upkeep_without_database", error=type(unreachable).__name__)
            except Exception:
                log.exception("upkeep_failed")
        self._release()

    def tick(self) -> bool:
        """Do what is due now, if the duty is ours; False when somebody else has it."""
        with self.rt.db.begin() as tx:
            beaten_at = self._beat(tx)
            has_duty = leases.hold(tx, DUTY, holder=self.name, lease=LEASE)
            rings = list_rings(tx, self.rt) if has_duty else []
        self.beaten_at = beaten_at
        if not has_duty:
            return False
        for job, row_id in rings:
            self._ring(job, row_id)
        self._every(timedelta(seconds=5), "ended", self._mark_ended)
        self._every(PARK_EVERY, "crashed", self._park_crashed)
        self._every(second_chances.EVERY, "second_chances", self._give_second_chances)
        self._every(timedelta(seconds=5), "duties", self._ask_for_duties)
        if self.rt.recall is not None:
            self._every(timedelta(seconds=5), "look", self._look_unasked)
        self._every(polling.EVERY, "poll", self._poll)
        self._every(TIDY_EVERY, "tidy", self._tidy)
        return True

    def _beat(self, tx: Tx) -> datetime:
        """
        Say that we live, and find out whether the database still knows that we lived before.

        One that does not was put in the place of another and lacks its last seconds: bots made in them
        are known to nobody. The same may be true of any database that a process starts with.
        """
        beat = tx.execute(_BEATING, {"worker": self.name}).one()
        seen_at: datetime = beat.seen_at
        if self.rt.bots is None:
            return seen_at
        if self.beaten_at is None:
            ask_at_start(tx, jobs.SWEEP_BOTS)
        elif beat.before is None or beat.before < self.beaten_at:
            log.warning("database_went_back", known_until=str(beat.before))
            ask_now(tx, jobs.SWEEP_BOTS)
        return seen_at

    def _every(self, period: timedelta, duty: str, perform: Callable[[], object]) -> None:
        now = self.rt.now()
        last = self.done_at.get(duty)
        if last is None or now - last >= period:
            self.done_at[duty] = now
            perform()

    def _ring(self, job: str, row_id: str | None) -> None:
        now = self.rt.now()
        if now - self.rung.get((job, row_id), now - RING_AGAIN) >= RING_AGAIN or row_id is None:
            self.rung[job, row_id] = now
            self.rt.bell.ring(job, row_id)
        if len(self.rung) > 50 * MOST_RINGS:
            self.rung = {ring: at for ring, at in self.rung.items() if now - at < RING_AGAIN}

    def _mark_ended(self) -> None:
        """Have the decisions about meetings that are over, and about what follows them, made again."""
        now = self.rt.now()
        with self.rt.db.begin() as tx:
            ids = set(tx.execute(_OVER, {"now": now}).scalars())
            if firsts := calendars_with_first(tx):
                # An occurrence that is over makes way for the next one, whether it had a bot or not.
                of_series = select(EVENTS.c.id).where(
                    EVENTS.c.calendar_id.in_(firsts),
                    EVENTS.c.series_id.is_not(None),
                    EVENTS.c.start_at.between(now - LONGEST_UNMARKED, now),
                    EVENTS.c.end_at <= now,
                    EVENTS.c.reason.not_in(OUT_OF_THE_WAY),
                )
                ids |= set(tx.execute(of_series).scalars())
            if locked := [row["id"] for row in lock_events(tx, ids)]:
                tx.execute(update(EVENTS).where(EVENTS.c.id.in_(locked)).values(unsettled=True))

    def _park_crashed(self) -> None:
        with self.rt.db.begin() as tx:
            for row in due.kinds_crashed(tx, second_chances.CRASHING):
                for row_id in due.park_crashed(tx, row):
                    log.error("row_parked", kind=row.__name__, row_id=str(row_id), error="crashes")

    def _give_second_chances(self) -> None:
        give_second_chances(self.rt.db, now=self.rt.now(), chance=self.rt.chance)

    def _ask_for_duties(self) -> None:
        with self.rt.db.begin() as tx:
            ask_for_duties(tx, self.rt)

    def _look_unasked(self) -> None:
        """Ask for a look at what nobody notified us about; see the two RECONCILE settings."""
        settings = self.rt.settings
        with self.rt.db.begin() as tx:
            now = self.rt.now()
            soon = exists_meeting_before(tx, now + timedelta(hours=2), now=now)
            period = settings.reconcile_near if soon else settings.reconcile_all
            source = tx.execute(_SOURCE).first()
            if source is not None and source.is_idle and (source.age is None or source.age > period):
                due.ask(tx, Source, [RECALL])
            # Everything waits for this row: set aside in a long outage, it is tried again by itself.
            set_aside_for = source.set_aside_for if source is not None else None
            if set_aside_for is not None and set_aside_for > settings.reconcile_all:
                due.ask(tx, Source, [RECALL], now=True)
            self._relist(tx, list(tx.execute(_STALEST).scalars()))

    def _poll(self) -> None:
        with self.rt.db.begin() as tx:
            polling.ask_for_unseen(tx, self.rt)
        with self.rt.db.begin() as tx:
            polling.ask_for_accounts(tx, now=self.rt.now())

    def _relist(self, tx: Tx, ids: list[UUID]) -> None:
        if ids:
            tx.execute(update(CALENDARS).where(CALENDARS.c.id.in_(ids)).values(needs_full=True))
            due.ask(tx, Calendar, ids)

    def _tidy(self) -> None:
        now = self.rt.now()
        with self.rt.db.begin() as tx:
            tx.execute(delete(EVENTS).where(EVENTS.c.end_at < now - KEEP_EVENTS, ~EVENTS.c.is_wanted))
            tx.execute(
                delete(Delivery).where(
                    Delivery.received_at < now - KEEP_DELIVERIES,
                    Delivery.state.in_(["done", "ignored", "quarantined"]),
                )
            )
            tx.execute(delete(TrailEntry).where(TrailEntry.at < now - KEEP_TRAIL))
            tx.execute(delete(SyncRun).where(SyncRun.started_at < now - KEEP_TRAIL))
            tx.execute(delete(QuarantinedEvent).where(QuarantinedEvent.last_seen_at < now - KEEP_TRAIL))
            is_wanted = select(Want.slot_id).where(Want.slot_id == SLOTS.c.id).exists()
            tx.execute(delete(SLOTS).where(SLOTS.c.ends_at < now - KEEP_EVENTS, ~is_wanted))
            is_known = select(SLOTS.c.id).where(SLOTS.c.bot_id == BOTS.c.id).exists()
            tx.execute(
                delete(ProviderBot).where(ProviderBot.first_seen_at < now - KEEP_BOTS, ~is_known)
            )
        with self.rt.db.begin() as tx:
            dead = Heartbeat.seen_at < func.clock_timestamp() - KEEP_HEARTBEATS
            tx.execute(delete(Heartbeat).where(dead))
            forget_requests(tx)
            forget_links(tx)
            outbox.prune(tx, now - KEEP_OUTBOX, keep_unpublished=self.rt.publisher is not None)

    def _release(self) -> None:
        try:
            with self.rt.db.begin() as tx:
                leases.leave(tx, DUTY, holder=self.name)
                tx.execute(delete(Heartbeat).where(Heartbeat.worker == self.name))
        except SQLAlchemyError:
            log.debug("upkeep_not_released")


def exists_meeting_before(tx: Tx, instant: datetime, *, now: datetime) -> bool:
    """Say whether some followed event with a link starts before *instant* and is not over."""
    return tx.execute(_SOON, {"instant": instant, "now": now}).first() is not None
