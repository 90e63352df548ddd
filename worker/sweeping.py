"""Compare the provider's whole inventory with ours: calendars nobody told us of, bots nobody claims."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import structlog
from sqlalchemy import RowMapping, func, select, update

from models.domain.bots import BotState, Operation, Standing, Step
from models.tables import due
from models.tables.base import new_id
from models.tables.due import table_of
from models.tables.installation import Source
from models.tables.slots import Slot
from worker import jobs
from worker.errors import AlreadyGone, Reaction, TooLate
from worker.intake import adopt
from worker.ports import FoundBot
from worker.runtime import Runtime

log = structlog.get_logger(__name__)

SLOTS = table_of(Slot)
SOURCES = table_of(Source)

#: A bot made a moment ago may be missing from the provider's list, or not yet be in our tables.
GRACE = timedelta(minutes=2)


def find_calendars(rt: Runtime) -> int:
    """Begin to follow every calendar of the workspace that we do not know; how many is returned."""
    if rt.recall is None or not rt.settings.recall_adopt:
        return 0
    try:
        found = list(rt.recall.calendars())
    except Reaction as reaction:
        log.warning("calendars_not_listed", error=str(reaction))
        return 0
    adopted: list[UUID] = []
    with rt.db.begin() as tx:
        for calendar in found:
            calendar_id = adopt(tx, calendar.external_id)
            if calendar_id is not None:
                adopted.append(calendar_id)
        tx.execute(
            update(SOURCES).where(SOURCES.c.name == "recall").values(calendars_found_at=func.now())
        )
    for calendar_id in adopted:
        rt.bell.ring(jobs.SYNC_CALENDAR, str(calendar_id))
    return len(adopted)


def sweep_bots(rt: Runtime) -> int:
    """
    Have every live bot of ours that its slot does not know adopted or removed.

    Bots without our mark are never touched. How many were out of place is returned.
    """
    if rt.bots is None:
        return 0
    since = rt.now() - timedelta(hours=2)
    try:
        found = list(rt.bots.ours(rt.install_id, since=since))
    except Reaction as reaction:
        log.warning("bots_not_listed", error=str(reaction))
        return 0
    astray = [bot for bot in found if _is_astray(rt, bot)]
    for bot in astray:
        _put_right(rt, bot)
    _miss(rt, {bot.bot_id for bot in found})
    return len(astray)


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
        if slot is not None and (is_fresh or may_adopt):
            if may_adopt and slot["op"] is None:
                # An intent that no step matches makes the reconciler look before it acts.
                tx.execute(
                    update(SLOTS)
                    .where(SLOTS.c.id == slot["id"])
                    .values(op="look", op_key=new_id(), op_at=func.now())
                )
            due.ask(tx, Slot, [slot["id"]])
            return
    log.warning("bot_astray", bot_id=bot.bot_id, slot_id=bot.slot_id)
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
            tx.execute(
                update(SLOTS)
                .where(SLOTS.c.id.in_(missing))
                .values(op="look", op_key=func.gen_random_uuid(), op_at=func.now())
            )
            due.ask(tx, Slot, missing)
            log.warning("bots_missing", slots=len(missing))
