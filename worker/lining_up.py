"""
Slots that wait for a provider's budget wait in order of meeting start.

A turn is reckoned when a slot joins the line: after those whose meetings start sooner, and before
those that start later, which then wait longer.
"""

from __future__ import annotations

import functools
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Engine, RowMapping, Select, and_, bindparam, func, select, update

from models.db import Tx
from models.tables.due import table_of
from models.tables.slots import Slot
from worker.errors import TryLater

SLOTS = table_of(Slot)

#: In which order bots are cared for.
SOONEST = (SLOTS.c.start_at,)

#: How many slots that failed are tried again when one of them went through.
PULLED = 3
#: How long the call of each slot ahead takes, if no budget has told.
TURN = timedelta(milliseconds=200)
#: Turns are reckoned a little shorter than they are: a line that slips does not come forward by itself.
EAGERNESS = 0.9
LONGEST_TURN = timedelta(minutes=5)
MOST_BEHIND = 200
#: Whose turn comes within this is let go first.
ABOUT_TO = timedelta(seconds=1)


def join_line(tx: Tx, slot: RowMapping, told: TryLater) -> timedelta:
    """Put a claimed slot in line; how long it waits is returned. *told* is what the budget said."""
    turn = told.each or TURN
    tx.execute(update(SLOTS).where(SLOTS.c.id == slot["id"]).values(in_line=True, turn=turn))
    each = turn * EAGERNESS
    wait = (told.after or TURN) + min(_count_ahead(tx, slot["start_at"]) * each, LONGEST_TURN)
    _line_up_behind(tx, slot, wait, each)
    return wait


def leave_line(tx: Tx, slot_id: UUID) -> None:
    """Have a slot wait for a turn no more: whatever comes now is something else."""
    tx.execute(update(SLOTS).where(SLOTS.c.id == slot_id).values(in_line=False))


def give_way(tx: Tx, slot: RowMapping) -> None:
    """Raise TryLater when a sooner meeting in line is about to take the next call; *each* is as it was told."""
    sooner = tx.execute(_sooner(), {"start_at": slot["start_at"]}).first()
    if sooner is not None:
        msg = "sooner meetings wait for the budget"
        raise TryLater(msg, after=ABOUT_TO, counts=False, each=sooner.turn)


def pull_forward(db: Engine) -> list[UUID]:
    """
    Have the next slots try again now that one which had failed went through; they are returned.

    Each that goes through in its turn pulls others, so that after an outage the work comes back as a
    ramp, the soonest meetings first, instead of when everybody's waits happen to end.
    """
    failed = (
        select(SLOTS.c.id)
        .where(
            _is_waiting(),
            SLOTS.c.tries > 0,
            SLOTS.c.in_line.is_(False),
            SLOTS.c.due_at > func.clock_timestamp(),
        )
        .order_by(SLOTS.c.start_at)
        .limit(PULLED)
        .with_for_update(skip_locked=True)
    )
    pulled = update(SLOTS).where(SLOTS.c.id.in_(failed.scalar_subquery()))
    with db.begin() as tx:
        now_due = tx.execute(pulled.values(due_at=func.clock_timestamp()).returning(SLOTS.c.id))
        return list(now_due.scalars())


@functools.cache
def _sooner() -> Select[Any]:
    return (
        select(SLOTS.c.turn)
        .where(
            SLOTS.c.in_line,
            _is_waiting(),
            SLOTS.c.lease_until.is_(None),
            SLOTS.c.start_at < bindparam("start_at"),
            SLOTS.c.due_at < func.clock_timestamp() + ABOUT_TO,
        )
        .limit(1)
    )


def _line_up_behind(tx: Tx, slot: RowMapping, wait: timedelta, each: timedelta) -> None:
    """
    Have the slots in line whose meetings start later wait longer than this one.

    Turns are reckoned ahead, and the provider may have slowed down since.
    """
    behind = (
        select(SLOTS.c.id, SLOTS.c.start_at)
        .where(
            SLOTS.c.in_line,
            _is_waiting(),
            SLOTS.c.start_at > slot["start_at"],
            SLOTS.c.due_at < func.clock_timestamp() + wait + LONGEST_TURN,
        )
        .order_by(SLOTS.c.start_at)
        .limit(MOST_BEHIND)
        .with_for_update(skip_locked=True)
        .subquery()
    )
    place = func.row_number().over(order_by=behind.c.start_at)
    placed = select(
        behind.c.id, (func.clock_timestamp() + wait + place * each).label("turn")
    ).subquery()
    tx.execute(
        update(SLOTS)
        .where(SLOTS.c.id == placed.c.id, SLOTS.c.due_at < placed.c.turn)
        .values(due_at=placed.c.turn)
    )


def _count_ahead(tx: Tx, start_at: datetime) -> int:
    """Count the slots that wait for a call and whose meeting starts sooner."""
    ahead = select(func.count()).where(_is_waiting(), SLOTS.c.start_at < start_at)
    return int(tx.execute(ahead).scalar_one())


def _is_waiting() -> ColumnElement[bool]:
    return and_(SLOTS.c.is_pending, SLOTS.c.parked_at.is_(None))
