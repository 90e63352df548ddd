"""Act on stored deliveries: bot news, and calendars we are told about for the first time."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import RowMapping, and_, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from models.db import Tx
from models.domain.bots import BotState, may_follow
from models.domain.times import parse_instant
from models.tables import due
from models.tables.base import new_id
from models.tables.calendars import IS_OF_WORKSPACE, Calendar
from models.tables.due import table_of
from models.tables.events import CalendarEvent
from models.tables.inbox import Delivery
from models.tables.slots import ProviderBot, Slot
from models.tables.trail import TrailEntry
from worker import jobs
from worker.recording import announce
from worker.runtime import Runtime

log = structlog.get_logger(__name__)

CALENDARS = table_of(Calendar)
DELIVERIES = table_of(Delivery)
SLOTS = table_of(Slot)
BOTS = table_of(ProviderBot)
EVENTS = table_of(CalendarEvent)

RECALL = "recall"
BATCH = 100
#: A bot that dies before its meeting is replaced at most this often.
MOST_REPLACEMENTS = 2
#: Word of a bot we do not know may overtake the answer that tells us its id.
OVERTAKING = timedelta(minutes=2)


def take_in(rt: Runtime) -> int:
    """Act on every stored delivery that no listing serves; how many is returned."""
    taken = 0
    while True:
        with rt.db.begin() as tx:
            batch = _waiting(tx)
            for delivery in batch:
                _act_alone(tx, rt, delivery)
        taken += len(batch)
        if len(batch) < BATCH:
            break
    if taken:
        rt.bell.ring(jobs.RELAY)
    return taken


def _act_alone(tx: Tx, rt: Runtime, delivery: RowMapping) -> None:
    """Act on one delivery; whatever it breaks is undone, and it is set aside without holding up others."""
    try:
        with tx.begin_nested():
            _act(tx, rt, delivery)
    except Exception as bug:
        log.exception("delivery_parked", delivery_id=str(delivery["id"]))
        tx.execute(
            update(DELIVERIES)
            .where(DELIVERIES.c.id == delivery["id"])
            .values(state="parked", reason=f"unexpected {type(bug).__name__}")
        )


def adopt(tx: Tx, external_id: str) -> UUID | None:
    """Begin to follow a calendar of the workspace; None when we did already."""
    made = (
        upsert(CALENDARS)
        .values(id=new_id(), source=RECALL, external_id=external_id)
        .on_conflict_do_nothing(
            index_elements=[CALENDARS.c.source, CALENDARS.c.external_id], index_where=IS_OF_WORKSPACE
        )
        .returning(CALENDARS.c.id)
    )
    calendar_id: UUID | None = tx.execute(made).scalar_one_or_none()
    if calendar_id is None:
        return None
    due.ask(tx, Calendar, [calendar_id], now=True)
    log.info("calendar_adopted", calendar_id=str(calendar_id), external_id=external_id)
    return calendar_id


def _waiting(tx: Tx) -> list[RowMapping]:
    is_followed = exists().where(
        CALENDARS.c.source == DELIVERIES.c.source, CALENDARS.c.external_id == DELIVERIES.c.ref
    )
    is_about_bot = DELIVERIES.c.type.like("bot.%")
    found = tx.execute(
        select(DELIVERIES)
        .where(
            DELIVERIES.c.state == "stored",
            or_(
                is_about_bot,
                and_(DELIVERIES.c.type.like("calendar.%"), ~is_followed),
                and_(DELIVERIES.c.source != RECALL, DELIVERIES.c.reason == "unknown_calendar"),
            ),
            DELIVERIES.c.run_id.is_(None),
            or_(DELIVERIES.c.tries == 0, DELIVERIES.c.received_at < func.now() - OVERTAKING),
        )
        .order_by(DELIVERIES.c.received_at)
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    )
    return list(found.mappings())


def _act(tx: Tx, rt: Runtime, delivery: RowMapping) -> None:
    state, reason = "done", None
    if delivery["source"] != RECALL:
        state, reason = "ignored", delivery["reason"]
    elif delivery["type"].startswith("calendar."):
        if not rt.settings.recall_adopt:
            state, reason = "ignored", "unknown_calendar"
        elif (calendar_id := adopt(tx, delivery["ref"])) is not None:
            reason = "calendar_adopted"
            rt.bell.ring(jobs.SYNC_CALENDAR, str(calendar_id))
    else:
        reason = _take_bot_news(tx, rt, delivery)
        state = "done" if reason is None else "ignored"
        if reason == "unknown_bot" and delivery["tries"] == 0:
            tx.execute(update(DELIVERIES).where(DELIVERIES.c.id == delivery["id"]).values(tries=1))
            return
    tx.execute(
        update(DELIVERIES)
        .where(DELIVERIES.c.id == delivery["id"])
        .values(state=state, reason=reason, done_at=func.now())
    )


def _take_bot_news(tx: Tx, rt: Runtime, delivery: RowMapping) -> str | None:
    """Apply what a delivery says of a bot; the reason is returned when it changes nothing."""
    code, at = _status_in(delivery["body"])
    news = rt.bots.state_of(code) if code and rt.bots else None
    bot = (
        tx.execute(select(BOTS).where(BOTS.c.id == delivery["ref"]).with_for_update())
        .mappings()
        .one_or_none()
    )
    if bot is None or bot["slot_id"] is None:
        return "unknown_bot"
    if news is None:
        return "unknown_status"
    if may_follow(BotState(bot["state"]), news):
        values = {"state": str(news), "state_at": at or rt.now()}
        tx.execute(update(BOTS).where(BOTS.c.id == bot["id"]).values(**values))
    slot = (
        tx.execute(select(SLOTS).where(SLOTS.c.id == bot["slot_id"]).with_for_update()).mappings().one()
    )
    if slot["bot_id"] != bot["id"]:
        return "former_bot"
    if not may_follow(BotState(slot["bot_state"]), news):
        return "old_news"
    tx.execute(
        update(SLOTS)
        .where(SLOTS.c.id == slot["id"])
        .values(bot_state=str(news), bot_state_at=at or rt.now(), updated_at=func.now())
    )
    tx.execute(
        table_of(TrailEntry)
        .insert()
        .values(slot_id=slot["id"], step="observed", facts={"code": code, "state": str(news)})
    )
    announce(tx, slot["id"], now=rt.now(), vault=rt.vault)
    if news is BotState.FAILED:
        _replace(tx, rt, slot)
    elif not slot["is_wanted"]:
        due.ask(tx, Slot, [slot["id"]], now=True)
    return None


def _replace(tx: Tx, rt: Runtime, slot: RowMapping) -> None:
    """Ask for another bot when one died before its meeting began, a bounded number of times."""
    is_early = rt.now() < slot["start_at"]
    if not (slot["is_wanted"] and is_early and slot["bots_lost"] < MOST_REPLACEMENTS):
        return
    tx.execute(
        update(SLOTS)
        .where(SLOTS.c.id == slot["id"])
        .values(
            bot_state=str(BotState.WANTED),
            bot_id=None,
            bot_hash=None,
            bots_lost=SLOTS.c.bots_lost + 1,
            op_round=SLOTS.c.op_round + 1,
        )
    )
    tx.execute(update(EVENTS).where(EVENTS.c.attached_slot_id == slot["id"]).values(attached_hash=None))
    due.ask(tx, Slot, [slot["id"]], now=True)
    rt.bell.ring(jobs.RECONCILE, str(slot["id"]))


def _status_in(told: bytes) -> tuple[str | None, datetime | None]:
    """
    Read code and time from both shapes of bot news (docs.recall.ai, bot status change events).

    Whatever is not there or makes no sense is None: one delivery must not hold up the others.
    """
    try:
        found = json.loads(told)
    except ValueError:
        return None, None
    body: dict[str, Any] = found if isinstance(found, dict) else {}
    data = body.get("data")
    data = data if isinstance(data, dict) else {}
    status = data.get("status") if body.get("event") == "bot.status_change" else data.get("data")
    status = status if isinstance(status, dict) else {}
    code, at = status.get("code"), status.get("updated_at") or status.get("created_at")
    try:
        instant = parse_instant(at) if isinstance(at, str) else None
    except ValueError:
        instant = None
    return (code if isinstance(code, str) else None), instant
