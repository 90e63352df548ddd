"""
What waits for a worker right now, as jobs to ring for.

One statement tells all of it, built once: upkeep asks twice a second, and every worker once.
"""

from __future__ import annotations

import functools
from typing import Any

from sqlalchemy import Select, Table, Text, cast, literal, null, select, union_all
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.sql import ColumnElement

from models.db import Tx
from models.tables import due
from models.tables.calendars import Calendar
from models.tables.connections import Connection, PushChannel
from models.tables.due import table_of
from models.tables.events import CalendarEvent
from models.tables.inbox import Delivery
from models.tables.installation import Duty, Source
from models.tables.outbox import Endpoint
from models.tables.slots import Slot
from worker import jobs, outbox
from worker.runtime import Runtime
from worker.syncing import IS_OWN, IS_PLAIN

#: A job and the row it is about, if it is about one.
Ring = tuple[str, str | None]

MOST_RINGS = 200
MOST_CALENDARS = 50


def list_rings(tx: Tx, rt: Runtime) -> list[Ring]:
    """List what to ring for: listings first, then the bots of the soonest meetings, then the rest."""
    found = tx.execute(_everything_waiting(has_publisher=rt.publisher is not None))
    # Two reasons for one job are one ring.
    return list(dict.fromkeys((job, row_id) for job, row_id in found))


@functools.cache
def _everything_waiting(*, has_publisher: bool) -> Select[Any]:
    calendars, slots, endpoints = table_of(Calendar), table_of(Slot), table_of(Endpoint)
    sources, duties, deliveries = table_of(Source), table_of(Duty), table_of(Delivery)
    events = table_of(CalendarEvent)
    connections, push_channels = table_of(Connection), table_of(PushChannel)
    is_untaken = (deliveries.c.state == "stored", deliveries.c.run_id.is_(None))
    parts = (
        _once(jobs.SYNC_WORKSPACE, _any(sources, due.is_due(sources))),
        _once(jobs.SYNC_WORKSPACE, _any(calendars, due.is_due(calendars), IS_PLAIN)),
        _each(jobs.SYNC_CALENDAR, calendars, calendars.c.due_at, IS_OWN, most=MOST_CALENDARS),
        _each(jobs.RECONCILE, slots, slots.c.start_at),
        _each(jobs.POST, endpoints, endpoints.c.due_at),
        _ring(duties.c.name, at=duties.c.due_at).where(due.is_due(duties)),
        _each(jobs.REFRESH, connections, connections.c.due_at),
        _each(jobs.KEEP_CHANNEL, push_channels, push_channels.c.due_at),
        _once(jobs.SETTLE, _any(events, events.c.unsettled)),
        _once(jobs.TAKE_IN, _any(deliveries, *is_untaken)),
        *(_once(jobs.RELAY, waiting) for waiting in outbox.waiting(has_publisher=has_publisher)),
    )
    ranked = [select(literal(rank).label("rank"), part.subquery()) for rank, part in enumerate(parts)]
    waiting = union_all(*ranked).subquery()
    return select(waiting.c.job, waiting.c.row_id).order_by(waiting.c.rank, waiting.c.at)


def _each(
    job: str, table: Table, at: ColumnElement[Any], *only: ColumnElement[bool], most: int = MOST_RINGS
) -> Select[Any]:
    """Select a ring for each due row, in order."""
    rings = _ring(literal(job), due.key_of(table), at)
    return rings.where(due.is_due(table), *only).order_by(at).limit(most)


def _once(job: str, waiting: Select[Any]) -> Select[Any]:
    """Select one ring if anything at all is waiting."""
    return _ring(literal(job)).where(waiting.exists())


def _ring(
    job: ColumnElement[Any],
    row_id: ColumnElement[Any] | None = None,
    at: ColumnElement[Any] | None = None,
) -> Select[Any]:
    return select(
        job.label("job"),
        cast(null() if row_id is None else row_id, Text).label("row_id"),
        cast(null() if at is None else at, TIMESTAMP(timezone=True)).label("at"),
    )


def _any(table: Table, *is_waiting: ColumnElement[bool]) -> Select[Any]:
    return select(*table.primary_key.columns).where(*is_waiting)
