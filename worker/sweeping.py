"""Compare the provider's whole inventory with ours: calendars nobody told us of, bots nobody claims."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

import structlog
from sqlalchemy import Text, any_, func, literal, select, update
from sqlalchemy.dialects.postgresql import ARRAY

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
#: Who joins later is not missed yet.
HORIZON = timedelta(days=30)
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
    found = find_bots(rt, go_on=go_on)
    with rt.db.begin() as tx:
        astray = find_astray(tx, found)
    for bot in astray:
        go_on()
        _put_right(rt, bot)
    _miss(rt, {bot.bot_id for bot in found})
    return len(astray)


def find_bots(rt: Runtime, *, go_on: GoOn = _nobody_objects) -> list[FoundBot]:
    """List the live bots of ours at the provider. Raises the reactions of the port."""
    assert rt.bots is not None
    since = rt.now() - timedelta(hours=2)
    return _listed(rt.bots.ours(rt.install_id, since=since), go_on)


def find_astray(tx: Tx, found: Sequence[FoundBot]) -> list[FoundBot]:
    """Return those of the bots that no slot has for its own."""
    live = literal([bot.bot_id for bot in found], ARRAY(Text))  # more than a statement has parameters
    at_home = set(tx.execute(select(SLOTS.c.bot_id).where(SLOTS.c.bot_id == any_(live))).scalars())
    return [bot for bot in found if bot.bot_id not in at_home]


def find_missing(tx: Tx, live: Collection[str], *, now: datetime) -> list[UUID]:
    """Return the slots whose scheduled bot is not among those that are *live*, though it should be."""
    rows = tx.execute(
        select(SLOTS.c.id, SLOTS.c.bot_id).where(
            SLOTS.c.bot_state == BotState.SCHEDULED,
            SLOTS.c.closed_at.is_(None),
            SLOTS.c.op.is_(None),
            SLOTS.c.updated_at < now - GRACE,
            SLOTS.c.join_at.between(now, now + HORIZON),
        )
    ).all()
    return [row.id for row in rows if row.bot_id not in live]


def have_looked_at(tx: Tx, slot_ids: Sequence[UUID], *, now: bool = False) -> None:
    """
    Have slots ask what really stands for them: no step matches this intent, so looking comes first.

    *now* is for `due.ask`.
    """
    tx.execute(
        update(SLOTS)
        .where(SLOTS.c.id.in_(slot_ids), SLOTS.c.op.is_(None))
        .values(op="look", op_key=func.gen_random_uuid(), op_at=func.now())
    )
    due.ask(tx, Slot, slot_ids, now=now)


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
            have_looked_at(tx, [slot["id"]])
            return
    log.warning("bot_astray", bot_id=bot.bot_id, slot_id=bot.slot_id)
    _remove(rt, bot)
    if slot is not None and slot["closed_at"] is None:
        # It may have hung on one of the slot's events, or hangs there still.
        with rt.db.begin() as tx:
            have_looked_at(tx, [slot["id"]])


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


def _miss(rt: Runtime, live: Collection[str]) -> None:
    """Have slots look again whose scheduled bot the provider's list does not show."""
    with rt.db.begin() as tx:
        missing = find_missing(tx, live, now=rt.now())
        if missing:
            have_looked_at(tx, missing)
            log.warning("bots_missing", slots=len(missing))
