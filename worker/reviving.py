"""Rows that were set aside because trying again seemed pointless: which they are, and trying them again."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.sql import ColumnElement

from models.db import Tx
from models.domain.bots import BotState
from models.domain.times import rfc3339
from models.tables import due
from models.tables.base import Due
from models.tables.calendars import Calendar
from models.tables.connections import Connection, PushChannel
from models.tables.events import CalendarEvent
from models.tables.installation import Source
from models.tables.outbox import Endpoint
from models.tables.slots import Slot, Want
from worker import jobs
from worker.runtime import Runtime

SLOTS = due.table_of(Slot)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of rows that can be set aside, and the job that works on one of them."""

    row: type[Due]
    job: str
    is_rung_by_id: bool = True


KINDS: Mapping[str, Kind] = {
    "bots": Kind(Slot, jobs.RECONCILE),
    "calendars": Kind(Calendar, jobs.SYNC_CALENDAR),
    "channels": Kind(PushChannel, jobs.KEEP_CHANNEL),
    "connections": Kind(Connection, jobs.REFRESH),
    "endpoints": Kind(Endpoint, jobs.POST),
    "source": Kind(Source, jobs.SYNC_WORKSPACE, is_rung_by_id=False),
}


@dataclass(frozen=True, slots=True)
class Parked:
    """A row that was set aside: since when, and what went wrong last."""

    kind: str
    id: UUID | str
    parked_at: datetime
    last_error: str | None

    def view(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "id": str(self.id),
            "parked_at": rfc3339(self.parked_at),
            "last_error": self.last_error,
        }


def list_parked(tx: Tx, kinds: Collection[str] = tuple(KINDS)) -> Iterator[Parked]:
    """List what is set aside, kind by kind, longest first."""
    for kind in kinds:
        table = due.table_of(KINDS[kind].row)
        found = tx.execute(
            select(due.key_of(table), table.c.parked_at, table.c.last_error)
            .where(table.c.parked_at.is_not(None))
            .order_by(table.c.parked_at)
        )
        for row_id, parked_at, last_error in found:
            yield Parked(kind, row_id, parked_at, last_error)


def revive(rt: Runtime, kind: str, ids: Sequence[UUID | str]) -> int:
    """
    Have rows tried again at once, their failures forgotten; how many there are is returned.

    Safe to repeat, and for rows that are not set aside.
    """
    with rt.db.begin() as tx:
        if KINDS[kind].row is Slot:
            _forget_refusals(tx, ids)
        revived = due.ask(tx, KINDS[kind].row, ids, now=True)
    for row_id in ids if KINDS[kind].is_rung_by_id else ids[:1]:
        rt.bell.ring(KINDS[kind].job, str(row_id) if KINDS[kind].is_rung_by_id else None)
    return revived


def retry_refused(
    tx: Tx, *only: ColumnElement[bool], now: datetime, most: int | None = None
) -> list[UUID]:
    """
    Have bots that the provider refused tried again, those of the soonest meetings first; their slots.

    A refusal may have been about something that has passed: a calendar that was away for a moment.
    Meetings that are over are left alone. Locks slots in the order of their ids.
    """
    soonest = (
        select(SLOTS.c.id)
        .where(
            SLOTS.c.parked_at.is_not(None),
            SLOTS.c.is_wanted,
            SLOTS.c.bot_state == BotState.FAILED,
            SLOTS.c.ends_at > now,
            *only,
        )
        .order_by(SLOTS.c.start_at)
        .limit(most)
    )
    in_order = select(SLOTS.c.id).where(SLOTS.c.id.in_(soonest)).order_by(SLOTS.c.id).with_for_update()
    ids = list(tx.execute(in_order).scalars())
    if ids:
        _forget_refusals(tx, ids)
        due.ask(tx, Slot, ids, now=True)
    return ids


def of_calendar(calendar_id: UUID) -> ColumnElement[bool]:
    """Say, as SQL, whether a slot is wanted by an event of this calendar."""
    wants, events = due.table_of(Want), due.table_of(CalendarEvent)
    wanted = (
        select(wants.c.slot_id)
        .join(events, events.c.id == wants.c.event_id)
        .where(events.c.calendar_id == calendar_id)
    )
    return SLOTS.c.id.in_(wanted)


def _forget_refusals(tx: Tx, ids: Sequence[UUID | str]) -> None:
    """Let a bot that the provider refused be wanted again; else its slot would rest as it is."""
    tx.execute(
        update(SLOTS)
        .where(
            SLOTS.c.id.in_(ids),
            SLOTS.c.parked_at.is_not(None),
            SLOTS.c.is_wanted,
            SLOTS.c.bot_state == BotState.FAILED,
        )
        .values(
            bot_state=str(BotState.WANTED),
            bot_state_at=func.now(),
            bot_id=None,
            bot_hash=None,
            bots_lost=0,
            updated_at=func.now(),
        )
    )
