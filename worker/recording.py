"""Write down what stands at the provider, and tell the world what that changed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import and_, bindparam, case, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from models.db import Tx
from models.domain.bots import Attached, BotState, Operation, Standing, Step, may_follow
from models.domain.emitted import Emitted, Type, differences, subject_of
from models.sealing import Vault
from models.tables.calendars import Calendar
from models.tables.due import table_of
from models.tables.events import CalendarEvent
from models.tables.installation import Source
from models.tables.slots import ProviderBot, Slot
from worker.errors import TryLater
from worker.outbox import emit
from worker.standing import Situation, slot_for_reading
from worker.views import load_bot

EVENTS = table_of(CalendarEvent)
SLOTS = table_of(Slot)
BOTS = table_of(ProviderBot)
CALENDARS = table_of(Calendar)

# Built once: building a statement takes as long as having it carried out.
_LOCKED_EVENTS = (
    select(EVENTS.c.id, EVENTS.c.external_id, EVENTS.c.attached_slot_id)
    .join(CALENDARS, CALENDARS.c.id == EVENTS.c.calendar_id)
    .where(CALENDARS.c.source == "recall", EVENTS.c.external_id.in_(bindparam("refs", expanding=True)))
    .order_by(EVENTS.c.id)
    .with_for_update(of=EVENTS)
)

_IS_ANOTHERS = and_(SLOTS.c.bot_id == bindparam("bot"), SLOTS.c.id != bindparam("slot"))
_HOLDER = select(SLOTS.c.id).where(_IS_ANOTHERS)
_BEREFT = (
    update(SLOTS)
    .where(
        _IS_ANOTHERS,
        or_(SLOTS.c.bot_hash.is_distinct_from(SLOTS.c.seat_hash), SLOTS.c.is_wanted.is_(False)),
    )
    .values(
        bot_id=None,
        bot_hash=None,
        bot_state=case(
            (SLOTS.c.bot_state == str(BotState.SCHEDULED), str(BotState.WANTED)),
            else_=SLOTS.c.bot_state,
        ),
        updated_at=func.now(),
    )
    .returning(SLOTS.c.id)
)

#: What of a bot is news when it moves; the rest follows from other things or from these.
MOVES = ("join_at", "meeting_url", "key", "external_id", "meeting_platform")


class Change(StrEnum):
    """How we came to know what stands: we put it there, took it away, or saw it."""

    PUT = "put"
    TAKEN = "taken"
    SEEN = "seen"


def record_standing(
    tx: Tx,
    situation: Situation,
    standing: Standing,
    *,
    fetch: int,
    change: Change,
    step: Step | None = None,
) -> list[UUID]:
    """
    Store what stands for a slot now.

    The ids of other slots whose event or whose bot came over to this one are returned: they need a
    look.
    """
    slot = situation.slot
    if step is not None and step.operation is Operation.LEAVE:
        standing = Standing(attached=standing.attached)
    state = standing.state
    if standing.bot_id is not None and standing.bot_id == slot["bot_id"]:
        # News of the bot's progress may have arrived during the call; it is never taken back.
        told = BotState(
            tx.execute(select(SLOTS.c.bot_state).where(SLOTS.c.id == slot["id"])).scalar_one()
        )
        state = standing.state if may_follow(told, standing.state) else told
    if standing.bot_id is not None and state is BotState.WANTED:
        state = BotState.SCHEDULED
    if standing.bot_id is None and not state.is_over:
        state = BotState.WANTED
    bereft = _take_over(tx, slot["id"], standing.bot_id)
    tx.execute(
        update(SLOTS)
        .where(SLOTS.c.id == slot["id"])
        .values(
            bot_id=standing.bot_id,
            bot_hash=standing.digest,
            bot_join_at=standing.join_at,
            bot_state=str(state),
            bot_is_own=standing.is_own,
            bot_state_at=func.now(),
            updated_at=func.now(),
        )
    )
    if standing.is_unshared:
        _remember_unshared(tx)
    _remember_bot(tx, situation, standing, change)
    left = _record_attachments(tx, situation, standing, fetch=fetch, step=step)
    _empty(tx, left)
    return [*left, *bereft]


def lock_carriers(tx: Tx, situation: Situation, step: Step | None = None) -> None:
    """Lock the events that a step, or any step for this slot, may write to: before the slot is locked."""
    refs = {one.event for one in situation.standing.attached}
    refs |= set(situation.seat.events) if situation.seat is not None else set()
    refs |= {step.event} if step is not None and step.event is not None else set()
    _events(tx, refs)


def mark_attached(tx: Tx, slot_id: UUID, step: Step) -> None:
    """Note on an event that it is about to carry a slot's bot; one that another slot holds is left."""
    for event in _events(tx, [step.event] if step.event else []):
        if event["attached_slot_id"] is None:
            tx.execute(
                update(EVENTS).where(EVENTS.c.id == event["id"]).values(attached_slot_id=slot_id)
            )


def announce(tx: Tx, slot_id: UUID, *, now: datetime, vault: Vault) -> None:
    """
    Emit what changed about a slot's bot since the last domain event about it; nothing if nothing did.

    Belongs into the transaction of the change.
    """
    slot = slot_for_reading(tx, slot_id)
    assert slot is not None
    after = load_bot(tx, slot, vault=vault, now=now, redact=True)
    announced = slot["announced"] or {}
    before = announced.get("bot") or {}
    is_in_place = slot["bot_hash"] is not None and slot["bot_hash"] == slot["seat_hash"]
    is_other_seat = is_in_place and announced.get("seat") != slot["seat_hash"].hex()
    kinds = _news(
        BotState(slot["bot_state"]),
        BotState(before["state"]) if before else None,
        has_moved=is_other_seat or (is_in_place and before.get("external_id") != slot["bot_id"]),
        has_bot=slot["bot_id"] is not None,
    )
    if not kinds:
        return
    previous = differences(before, after, ignoring=frozenset({"updated_at"})) if before else None
    subject = subject_of("bot", slot_id)
    emit(
        tx,
        [
            Emitted(kind, subject, now, after)
            if previous is None or kind is Type.BOT_SCHEDULED
            else Emitted(kind, subject, now, after, previous, tuple(sorted(previous)))
            for kind in kinds
        ],
    )
    seat = slot["seat_hash"].hex() if is_in_place else announced.get("seat")
    tx.execute(
        update(SLOTS).where(SLOTS.c.id == slot_id).values(announced={"bot": after, "seat": seat})
    )


def has_had_its_time(tx: Tx, situation: Situation, found: Standing) -> bool:
    """Say whether a bot is over, was known to be, and is no longer the slot's: another was to follow it."""
    if found.bot_id in {None, situation.slot["bot_id"]} or not found.state.is_over:
        return False
    known = tx.execute(select(BOTS.c.state).where(BOTS.c.id == found.bot_id)).scalar_one_or_none()
    return known is not None and BotState(known).is_over


def _news(state: BotState, told: BotState | None, *, has_moved: bool, has_bot: bool) -> list[Type]:
    """Name the domain events that lead from what was *told* last to the present *state*."""
    is_first = told in {None, BotState.CANCELLED, BotState.FAILED}
    match state:
        case BotState.WANTED:
            return []
        case BotState.SCHEDULED if is_first:
            return [Type.BOT_SCHEDULED]
        case BotState.SCHEDULED:
            return [Type.BOT_RESCHEDULED] if has_moved else []
        case BotState.CANCELLED:
            return [] if told is None or told.is_over else [Type.BOT_CANCELLED]
        case BotState.FAILED:
            return [] if told is BotState.FAILED else [Type.BOT_FAILED]
        case _ if state == told:
            return []
        case _:
            arrival = [Type.BOT_SCHEDULED] if is_first and has_bot else []
            return [*arrival, Type.BOT_STATUS_CHANGED]


def _remember_unshared(tx: Tx) -> None:
    sources = table_of(Source)
    seen = upsert(sources).values(name="recall", unshared_at=func.now())
    tx.execute(seen.on_conflict_do_update(index_elements=["name"], set_={"unshared_at": func.now()}))


def _remember_bot(tx: Tx, situation: Situation, standing: Standing, change: Change) -> None:
    slot = situation.slot
    if standing.bot_id is not None:
        tx.execute(
            upsert(BOTS)
            .values(
                id=standing.bot_id,
                slot_id=slot["id"],
                origin="created" if change is Change.PUT else "adopted",
                state=str(standing.state),
            )
            .on_conflict_do_update(
                index_elements=[BOTS.c.id], set_={"slot_id": slot["id"], "gone_at": None}
            )
        )
    if slot["bot_id"] is not None and slot["bot_id"] != standing.bot_id:
        tx.execute(update(BOTS).where(BOTS.c.id == slot["bot_id"]).values(gone_at=func.now()))


def _record_attachments(
    tx: Tx, situation: Situation, standing: Standing, *, fetch: int, step: Step | None
) -> list[UUID]:
    slot_id, key = situation.slot["id"], situation.slot["key"]
    carrying = {one.event: one for one in standing.attached}
    concerned = set(carrying) | {one.event for one in situation.standing.attached}
    if situation.seat is not None and step is None:
        concerned |= set(situation.seat.events)
    if step is not None and step.event is not None:
        concerned = {step.event}
    left: list[UUID] = []
    for event in _events(tx, concerned):
        one = carrying.get(event["external_id"])
        was_at = event["attached_slot_id"]
        if one is not None and was_at not in {None, slot_id}:
            left.append(was_at)
        if one is None and was_at not in {None, slot_id}:
            continue
        tx.execute(
            update(EVENTS)
            .where(EVENTS.c.id == event["id"])
            .values(bots_fetch=fetch, **_attachment_columns(one, slot_id, key))
        )
    return left


def _take_over(tx: Tx, slot_id: UUID, bot_id: str | None) -> list[UUID]:
    """
    Take a bot from the slot that has it, if another has; which slot that is is returned.

    Under the key of a meeting that has moved away, Recall gives the next one there the bot of the
    first, until that is booked anew where it went. A slot whose bot is as it should be keeps it: then
    what we were told makes no sense, which is TryLater.
    """
    if bot_id is None:
        return []
    held = {"slot": slot_id, "bot": bot_id}
    bereft = list(tx.execute(_BEREFT, held).scalars())
    if not bereft and tx.execute(_HOLDER, held).first() is not None:
        msg = f"bot {bot_id} is another slot's"
        raise TryLater(msg)
    if bereft:
        carried = update(EVENTS).where(EVENTS.c.attached_slot_id.in_(bereft))
        tx.execute(carried.values(attached_hash=None))
    return bereft


def _empty(tx: Tx, left: list[UUID]) -> None:
    """Forget the bot of every slot that no event carries any more: it went with the last of them."""
    carried = select(EVENTS.c.id).where(EVENTS.c.attached_slot_id == SLOTS.c.id).exists()
    if left:
        tx.execute(
            update(SLOTS).where(SLOTS.c.id.in_(left), ~carried).values(bot_id=None, bot_hash=None)
        )


def _attachment_columns(one: Attached | None, slot_id: UUID, key: str) -> dict[str, Any]:
    if one is None or one.is_deleted:
        return {"bots": [], "attached_slot_id": None, "attached_hash": None}
    return {
        "bots": [{"bot_id": one.bot_id, "dedup_key": key}],
        "attached_slot_id": slot_id,
        "attached_hash": one.digest,
    }


def _events(tx: Tx, external_ids: Iterable[str]) -> list[dict[str, Any]]:
    refs = list(external_ids)
    if not refs:
        return []
    return [dict(row) for row in tx.execute(_LOCKED_EVENTS, {"refs": refs}).mappings()]
