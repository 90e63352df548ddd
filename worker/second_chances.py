"""What was set aside gets another chance by itself: after failures, after crashes, after a refusal."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Engine, Interval, Select, Table, and_, bindparam, func, or_, select, update
from sqlalchemy.sql import ColumnElement

from models.db import Tx
from models.tables import due
from models.tables.base import Due
from models.tables.calendars import Calendar
from models.tables.connections import Connection, PushChannel
from models.tables.due import table_of
from models.tables.installation import Duty, Source
from models.tables.outbox import Endpoint
from models.tables.slots import Slot
from worker.reconciling import NEAR
from worker.reviving import retry_refused
from worker.rings import MOST_RINGS

log = structlog.get_logger(__name__)

SLOTS = table_of(Slot)
SOURCES = table_of(Source)

#: How often anybody looks.
EVERY = timedelta(minutes=1)
AFTER_FAILURES = timedelta(hours=1)
AFTER_CRASHES = timedelta(minutes=10)
#: Source and Duty have their own periods after failures.
FAILING: tuple[type[Due], ...] = (Slot, Calendar, Endpoint, Connection, PushChannel)
CRASHING: tuple[type[Due], ...] = (*FAILING, Source, Duty)
#: Each may kill a worker: a few a minute of each kind.
MOST_CRASHED = 5
#: A minute's worth of refused bots: a fraction of what the provider allows, others go on beside them.
MOST_REFUSED = 20


def give_second_chances(db: Engine, *, now: datetime, chance: Callable[[], float]) -> None:
    """
    Try again what an outage has set aside; to be called `EVERY` minute.

    Rows that failed too often come back an hour after they did, a bot within the minute if its meeting
    is near. What was refused is tried again every hour while its meeting is ahead. Both come back
    spread over the time until the next look. What saw its workers die runs once more every ten
    minutes, each minute if everything or a meeting waits for it: they may have died of something else.
    """
    near = {"near": now + NEAR, "now": now}
    with db.begin() as tx:
        parked = due.kinds_parked(tx, CRASHING)
        for row in (row for row in FAILING if row in parked):
            ids = list(tx.execute(_failed(table_of(row)), near if row is Slot else {}).scalars())
            if due.ask(tx, row, ids, now=True):
                _spread(tx, row, ids, chance)
                log.warning("rows_revived", kind=row.__name__, rows=len(ids))
    if not parked:
        return
    with db.begin() as tx:
        for row in parked:
            given = near if row is Slot else {}
            if again := due.retry_crashed(tx, row, _is_ripe(table_of(row)), given, limit=MOST_CRASHED):
                log.warning("crashed_rows_revived", kind=row.__name__, rows=len(again))
    if Slot not in parked:
        return
    with db.begin() as tx:
        is_old_refusal = SLOTS.c.parked_at < func.now() - AFTER_FAILURES
        if refused := retry_refused(tx, is_old_refusal, now=now, most=MOST_REFUSED):
            _spread(tx, Slot, refused, chance)


@functools.cache
def _failed(table: Table) -> Select[Any]:
    is_old: ColumnElement[bool] = table.c.parked_at < func.now() - AFTER_FAILURES
    if table is SLOTS:
        is_old = or_(is_old, _is_urgent())
    return (
        select(due.key_of(table))
        .where(is_old, table.c.tries >= due.MOST_TRIES)
        .order_by(table.c.start_at if table is SLOTS else table.c.parked_at)
        .limit(MOST_RINGS)
    )


@functools.cache
def _is_ripe(table: Table) -> ColumnElement[bool]:
    parked_at = table.c.parked_at
    if table is SOURCES:
        return parked_at < func.now() - EVERY
    is_old: ColumnElement[bool] = parked_at < func.now() - AFTER_CRASHES
    return or_(is_old, _is_urgent()) if table is SLOTS else is_old


def _is_urgent() -> ColumnElement[bool]:
    is_near = and_(SLOTS.c.join_at < bindparam("near"), SLOTS.c.ends_at > bindparam("now"))
    return and_(is_near, SLOTS.c.parked_at < func.now() - EVERY)


def _spread(tx: Tx, row: type[Due], ids: list[Any], chance: Callable[[], float]) -> None:
    """Have rows come due one after the other, in their order, so that nobody meets a herd."""
    table = table_of(row)
    each = EVERY / MOST_RINGS
    waits = [
        {"row_id": row_id, "wait": each * (position + chance())} for position, row_id in enumerate(ids)
    ]
    tx.execute(
        update(table)
        .where(due.key_of(table) == bindparam("row_id"))
        .values(due_at=func.clock_timestamp() + bindparam("wait", type_=Interval)),
        waits,
    )
