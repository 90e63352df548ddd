"""Compare the provider's whole inventory with ours: calendars nobody told us of, bots nobody claims."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

import structlog
from sqlalchemy import RowMapping, func, select, update

from models.db import Tx
from models.domain.bots import BotState, Operation, Standing, Step
from models.tables import due
from models.tables.base import new_id
from models.tables.due import table_of
from models.tables.slots import Slot
from worker import jobs
from worker.errors import AlreadyGone, Reaction, TooLate
from worker.intake import adopt
from worker.ports import FoundBot
from worker.runtime import Runtime

log = structlog.get_logger(__name__)

SLOTS = table_of(Slot)

#: A bot made a moment ago may be missing from the provider's list, or not yet be in our tables.
GRACE = timedelta(minutes=2)
GO_ON_EVERY_S = 2.0

Found = TypeVar("Found")


#: Called again and again during long work; may raise to end it.
GoOn = Callable[[], None]


def _nobody_objects() -> None:
    """Let the work go on."""


def find_calendars(rt: Runtime, *, go_on: GoOn = _nobody_objects) -> int:
    """
    Begin to follow every calendar of the workspace that we do not know; how many is returned.

    Raises the reactions of the port, before anything was changed.
    """
    if rt.recall is None or not rt.settings.recall_adopt:
        return 0
    found = _listed(rt.recall.calendars(), go_on)
    adopted: list[UUID] = []
    with rt.db.begin() as tx:
        for calendar in found:
            calendar_id = adopt(tx, calendar.external_id)
            if calendar_id is not None:
                adopted.append(calendar_id)
    for calendar_id in adopted:
        rt.bell.ring(jobs.SYNC_CALENDAR, str(calendar_id))
    return len(adopted)


def sweep_bots(rt: Runtime, *, go_on: GoOn = _nobody_objects) -> int:
    """
    Have every live bot of ours that its slot does not know adopted or removed.

    Bots without our mark are never touched. How many were out of place is returned. Raises the
    reactions of the port when the bots cannot be listed, before anything was changed.
    """
    if rt.bots is None:
        return 0
    since = rt.now() - timedelta(hours=2)
    found = _listed(rt.bots.ours(rt.install_id, since=since), go_on)
    astray = [bot for bot in found if _is_astray(rt, bot)]
    for bot in astray:
        go_on()
        _put_right(rt, bot)
    _miss(rt, {bot.bot_id for bot in found})
    return len(astray)


def _listed(found: Iterator[Found], go_on: GoOn) -> list[Found]:
    """Read a listing to its end, page by page, asking in between whether to go on."""
    listed: list[Found] = []
    asked_at = time.monotonic()
    for one in found:
        listed.append(one)
        if time.monotonic() - asked_at > GO_ON_EVERY_S:
            go_on()
            asked_at = time.monotonic()
    return listed


def _is_astray(rt: Runtime, bot: FoundBot) -> bool:
    with rt.db.begin() as tx:
        slot = _slot_of(tx.execute(select(SLOTS).where(SLOTS.c.bot_id == bot.bot_id)).mappings().all())
    return slot is None


def _slot_of(rows: object) -> RowMapping | None:
    assert isinstance(rows, list)
    return rows[0] if rows else None


def _put_right(rt: Runtime, bot: FoundBot) -> None:
    """Let the slot named on the bot look again; remove the bot when no slot can want it."""
    assert rt.bots is not None
    with rt.db.begin() as tx:
        slot = None
        if bot.slot_id is not None:
            slot = (
                tx.execute(select(SLOTS).where(SLOTS.c.id == UUID(bot.slot_id)))
                .mappings()
                .one_or_none()
            )
        is_fresh = slot is not None and slot["updated_at"] > rt.now() - GRACE
        may_adopt = slot is not None and slot["closed_at"] is None and slot["bot_id"] is None
        if slot is not None and is_fresh and not may_adopt:
            due.ask(tx, Slot, [slot["id"]])
            return
        if slot is not None and may_adopt:
            _have_looked_at(tx, [slot["id"]])
            return
    log.warning("bot_astray", bot_id=bot.bot_id, slot_id=bot.slot_id)
    _remove(rt, bot)
    if slot is not None and slot["closed_at"] is None:
        # It may have hung on one of the slot's events, or hangs there still.
        with rt.db.begin() as tx:
            _have_looked_at(tx, [slot["id"]])


def _have_looked_at(tx: Tx, slot_ids: Sequence[UUID]) -> None:
    """Have slots ask what really stands for them: no step matches this intent, so looking comes first."""
    tx.execute(
        update(SLOTS)
        .where(SLOTS.c.id.in_(slot_ids), SLOTS.c.op.is_(None))
        .values(op="look", op_key=func.gen_random_uuid(), op_at=func.now())
    )
    due.ask(tx, Slot, slot_ids)


def _remove(rt: Runtime, bot: FoundBot) -> None:
    assert rt.bots is not None
    standing = Standing(bot_id=bot.bot_id)
    try:
        try:
            rt.bots.carry_out(
                Step(Operation.DELETE, standing=standing, bot_id=bot.bot_id), key=new_id()
            )
        except TooLate:
            rt.bots.carry_out(Step(Operation.LEAVE, standing=standing, bot_id=bot.bot_id), key=new_id())
    except AlreadyGone:
        return
    except Reaction as reaction:
        log.warning("bot_astray_stays", bot_id=bot.bot_id, error=str(reaction))


def _miss(rt: Runtime, live: set[str]) -> None:
    """Have slots look again whose scheduled bot the provider's list does not show."""
    horizon = rt.now() + timedelta(days=30)
    with rt.db.begin() as tx:
        rows = tx.execute(
            select(SLOTS.c.id, SLOTS.c.bot_id).where(
                SLOTS.c.bot_state == BotState.SCHEDULED,
                SLOTS.c.closed_at.is_(None),
                SLOTS.c.op.is_(None),
                SLOTS.c.updated_at < rt.now() - GRACE,
                SLOTS.c.join_at.between(rt.now(), horizon),
            )
        ).all()
        missing = [row.id for row in rows if row.bot_id not in live]
        if missing:
            _have_looked_at(tx, missing)
            log.warning("bots_missing", slots=len(missing))
