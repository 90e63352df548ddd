"""What a slot's bot should look like: the seat that the events wanting it call for together."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, func, select, update

from models.db import Tx
from models.domain.bots import BotState, seat_digest
from models.sealing import Vault, place
from models.tables import due
from models.tables.due import table_of
from models.tables.events import CalendarEvent
from models.tables.slots import Slot, Want
from worker.deciding import rules_by_calendar

EVENTS = table_of(CalendarEvent)
SLOTS = table_of(Slot)
WANTS = table_of(Want)


def reseat(tx: Tx, slot_id: UUID, *, is_moved: bool, now: datetime, vault: Vault) -> bool:
    """
    Work out a slot's seat anew from the events that want it.

    If that leaves something to do, the slot is asked for and True returned.
    """
    slot = tx.execute(select(SLOTS).where(SLOTS.c.id == slot_id)).mappings().one()
    wanting = (
        tx.execute(
            select(EVENTS)
            .join(WANTS, WANTS.c.event_id == EVENTS.c.id)
            .where(WANTS.c.slot_id == slot_id)
            .order_by(EVENTS.c.created_at, EVENTS.c.id)
        )
        .mappings()
        .all()
    )
    values = (
        _seat_columns(tx, slot, wanting, vault=vault)
        if wanting
        else {"is_wanted": False, "notified_at": slot["notified_at"]}
    )
    if not wanting and _never_had_a_bot(tx, slot):
        values |= {"closed_at": now, "bot_state": str(BotState.CANCELLED)}
    if slot["bot_state"] == BotState.FAILED and values.get("seat_hash") != slot["seat_hash"]:
        values |= {"bot_state": str(BotState.WANTED), "bot_id": None, "bots_lost": 0}
    tx.execute(update(SLOTS).where(SLOTS.c.id == slot_id).values(updated_at=func.now(), **values))
    is_news = is_moved or any(
        values.get(name, slot[name]) != slot[name] for name in ("seat_hash", "is_wanted", "ends_at")
    )
    if is_news and "closed_at" not in values:
        due.ask(tx, Slot, [slot_id], now=True)
        return True
    return False


def _seat_columns(
    tx: Tx, slot: RowMapping, wanting: Sequence[RowMapping], *, vault: Vault
) -> dict[str, Any]:
    """
    Return the seat that the wanting events call for together.

    The event known longest speaks for the others, so that the seat does not depend on who changed
    last; the link stays as it is while one of them still has it.
    """
    speaker = wanting[0]
    rules = rules_by_calendar(tx, {speaker["calendar_id"]})[speaker["calendar_id"]].rules
    urls = [
        vault.open(row["meeting_url"], place=place("calendar_events", "meeting_url", row["id"]))
        for row in wanting
    ]
    present = vault.open(slot["meeting_url"], place=place("slots", "meeting_url", slot["id"]))
    url = present if present in urls else urls[0]
    join_at = speaker["start_at"] - timedelta(seconds=rules.bot.join_early_seconds)
    config = {**rules.bot.config, "bot_name": rules.bot.name}
    notified = [row["notified_at"] for row in wanting if row["unsettled"] and row["notified_at"]]
    return {
        "is_wanted": True,
        "link_key": speaker["link_key"],
        "meeting_platform": speaker["meeting_platform"],
        "meeting_url": slot["meeting_url"]
        if url == present
        else vault.seal(url, place=place("slots", "meeting_url", slot["id"])),
        "start_at": speaker["start_at"],
        "ends_at": max(row["end_at"] for row in wanting),
        "join_at": join_at,
        "config": config,
        "seat_hash": seat_digest(
            dedup_key=slot["key"], meeting_url=url, join_at=join_at, config=config
        ),
        "notified_at": min(
            [*notified, *([slot["notified_at"]] if slot["notified_at"] else [])], default=None
        ),
    }


def _never_had_a_bot(tx: Tx, slot: RowMapping) -> bool:
    attached = tx.execute(
        select(EVENTS.c.id).where(EVENTS.c.attached_slot_id == slot["id"]).limit(1)
    ).first()
    is_untouched = slot["bot_id"] is None and slot["op"] is None and attached is None
    return is_untouched and slot["bot_state"] == BotState.WANTED
