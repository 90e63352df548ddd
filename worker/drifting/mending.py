"""
Have drift mended by whose task it is: calendars are read whole, slots look at their bots, strays are swept.

Nothing is written here but asks. Who is asked takes a lease, as always, and stores what it finds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select

from models.db import Tx
from models.tables import due
from models.tables.base import Due
from models.tables.calendars import Calendar
from models.tables.due import key_of, table_of
from models.tables.installation import Duty
from models.tables.slots import Slot
from worker import calendars, jobs
from worker.drifting.found import Kind, Report
from worker.duties import ask_now
from worker.runtime import Runtime
from worker.sweeping import have_looked_at

LOOK_EVERY = timedelta(seconds=1)
#: What each kind of row is called.
_NAMES: Mapping[type[Due], str] = {Calendar: "calendar", Slot: "bot", Duty: "duty"}

#: Told how much of how much is done.
Tell = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Ask:
    """A row that was asked for, and the number of the ask: it is served when that is done."""

    row: type[Due]
    id: UUID | str
    wanted: int


@dataclass(frozen=True, slots=True)
class Pending:
    """What was asked for and is not done; *is_set_aside* says that nobody will do it by itself."""

    kind: str
    id: str
    reason: str
    is_set_aside: bool

    def view(self) -> dict[str, Any]:
        return {"kind": self.kind, "id": self.id, "reason": self.reason, "set_aside": self.is_set_aside}


def ask_to_mend(rt: Runtime, report: Report) -> list[Ask]:
    """
    Ask for everything that a report shows to be out of place; returns at once.

    Its calendars are read whole, its slots ask what stands for them, and bots that are nobody's are swept.
    """
    differing = {one.calendar_id for one in report.differences} - {None}
    slot_ids = sorted(
        one.bot_id
        for one in report.differences
        if one.kind in {Kind.BOT_MISSING, Kind.BOT_MISPLACED} and one.bot_id is not None
    )
    has_strays = any(one.kind in {Kind.BOT_ASTRAY, Kind.BOT_DOUBLED} for one in report.differences)
    for calendar_id in sorted(one for one in differing if one is not None):
        calendars.sync(rt, calendar_id)
    with rt.db.begin() as tx:
        if slot_ids:
            have_looked_at(tx, slot_ids, now=True)
        if has_strays:
            ask_now(tx, jobs.SWEEP_BOTS)
        asked = [
            *_asks(tx, Calendar, differing),
            *_asks(tx, Slot, set(slot_ids)),
            *_asks(tx, Duty, {jobs.SWEEP_BOTS} if has_strays else set()),
        ]
    for slot_id in slot_ids:
        rt.bell.ring(jobs.RECONCILE, str(slot_id))
    if has_strays:
        rt.bell.ring(jobs.SWEEP_BOTS)
    return asked


def wait_until_done(
    rt: Runtime,
    asked: list[Ask],
    *,
    patience: timedelta,
    tell: Tell = lambda _done, _total: None,
) -> list[Pending]:
    """Wait until what was asked for is done or set aside, *patience* at most; what is not done is returned."""
    waited = timedelta()
    while True:
        pending = _pending(rt, asked)
        tell(len(asked) - len(pending), len(asked))
        if waited >= patience or all(one.is_set_aside for one in pending):
            return pending
        rt.sleep(LOOK_EVERY.total_seconds())
        waited += LOOK_EVERY


def _asks(tx: Tx, row: type[Due], ids: set[Any]) -> list[Ask]:
    table = table_of(row)
    key = key_of(table)
    found = tx.execute(select(key, table.c.wanted).where(key.in_(ids)).order_by(key))
    return [Ask(row, row_id, wanted) for row_id, wanted in found]


def _pending(rt: Runtime, asked: list[Ask]) -> list[Pending]:
    with rt.db.begin() as tx:
        return [
            pending
            for row in _NAMES
            for pending in _pending_of(tx, row, {one.id: one.wanted for one in asked if one.row is row})
        ]


def _pending_of(tx: Tx, row: type[Due], wanted_by_id: Mapping[UUID | str, int]) -> list[Pending]:
    table = table_of(row)
    key = key_of(table)
    found = tx.execute(
        select(
            key.label("id"),
            table.c.done,
            table.c.last_error,
            table.c.parked_at,
            due.is_due(table).label("is_waiting"),
        )
        .where(key.in_(wanted_by_id))
        .order_by(key)
    )
    return [
        Pending(_NAMES[row], str(one.id), _reason(one), one.parked_at is not None)
        for one in found
        if one.done < wanted_by_id[one.id]
    ]


def _reason(row: Any) -> str:  # noqa: ANN401  # SQLAlchemy's rows have no names for types
    if row.last_error:
        return str(row.last_error)
    return "no worker has taken it yet" if row.is_waiting else "it is being done"
