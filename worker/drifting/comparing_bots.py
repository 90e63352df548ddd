"""The bots at the provider against the slots they stand in, or say they do. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from models.domain.bots import BotState
from worker.drifting.comparing import Row
from worker.drifting.found import Compared, Difference, Kind
from worker.ports import FoundBot
from worker.sweeping import GRACE
from worker.views import moment

#: A bot may stand this far from where it was put: so long two bots of one slot may overlap.
NEAR_ENOUGH = timedelta(seconds=60)


def compare_bots(
    found: Sequence[FoundBot],
    slots: Sequence[Row],
    *,
    astray: Collection[str],
    missing: Collection[UUID],
    unserved: Collection[UUID],
    now: datetime,
) -> Compared:
    """
    Compare the bots at the provider with the slots they stand in, or say they do.

    *astray* are bots that are no slot's own, *missing* slots whose bot is not there, *unserved* those
    that want one and have none. A slot that is being cared for is left to itself.
    """
    slot_by_id = {slot["id"]: slot for slot in slots}
    slot_by_bot = {slot["bot_id"]: slot for slot in slots if slot["bot_id"] is not None}
    told: list[tuple[Row | None, Difference]] = []
    for bot in found:
        if bot.bot_id in astray:
            slot = slot_by_id.get(UUID(bot.slot_id)) if bot.slot_id else None
            told.append((slot, _astray(bot, slot)))
        elif (slot := slot_by_bot.get(bot.bot_id)) is not None and _is_misplaced(bot, slot):
            reason = f"the provider has it join at {moment(bot.join_at)}"
            told.append((slot, _of_slot(Kind.BOT_MISPLACED, reason, slot)))
    told += _of_slots(Kind.BOT_MISSING, "the provider does not show it", missing, slot_by_id)
    told += _of_slots(Kind.BOT_MISSING, "there is none, and nobody is at it", unserved, slot_by_id)
    settling = [slot is not None and is_cared_for(slot, now) for slot, _ in told]
    rest = [one for (_, one), is_settling in zip(told, settling, strict=True) if not is_settling]
    return Compared(tuple(rest), sum(settling), len(found))


def is_cared_for(slot: Row, now: datetime) -> bool:
    """Say whether somebody works on a slot, is about to, or just has."""
    is_due = slot["is_pending"] and slot["parked_at"] is None
    return bool(is_due or slot["op"] is not None or slot["updated_at"] > now - GRACE)


def _astray(bot: FoundBot, slot: Row | None) -> Difference:
    if slot is None or slot["closed_at"] is not None:
        kind, reason = Kind.BOT_ASTRAY, "nothing calls for it any more"
    elif slot["bot_id"] is None:
        kind, reason = Kind.BOT_ASTRAY, "it was made for this bot's place, and we do not know of it"
    else:
        kind, reason = Kind.BOT_DOUBLED, f"its place is taken by {slot['bot_id']}"
    slot_id = None if slot is None else slot["id"]
    return Difference(kind, reason, bot_id=slot_id, external_id=bot.bot_id, at=bot.join_at)


def _is_misplaced(bot: FoundBot, slot: Row) -> bool:
    """Say whether a bot that waits was moved by somebody else: it is not where it was told to be."""
    waits = bot.state in {None, BotState.SCHEDULED} and slot["bot_state"] == BotState.SCHEDULED
    if not waits or bot.join_at is None or slot["bot_join_at"] is None:
        return False
    return bool(abs(bot.join_at - slot["bot_join_at"]) > NEAR_ENOUGH)


def _of_slots(
    kind: Kind, reason: str, ids: Collection[UUID], slot_by_id: Mapping[UUID, Row]
) -> Iterator[tuple[Row | None, Difference]]:
    for slot_id in ids:
        if (slot := slot_by_id.get(slot_id)) is not None:
            yield slot, _of_slot(kind, reason, slot)


def _of_slot(kind: Kind, reason: str, slot: Row) -> Difference:
    return Difference(kind, reason, bot_id=slot["id"], external_id=slot["bot_id"], at=slot["join_at"])
