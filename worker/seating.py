"""What a slot's bot should look like: the seat that the events wanting it call for together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, bindparam, func, select, update

from models.db import Tx
from models.domain.bots import BotState, seat_digest
from models.sealing import Vault, place
from models.tables import due
from models.tables.due import table_of
from models.tables.events import CalendarEvent
from models.tables.slots import Slot, Want
from worker.deciding import CalendarRules, rules_by_calendar
from worker.identity import key_of

EVENTS = table_of(CalendarEvent)
SLOTS = table_of(Slot)
WANTS = table_of(Want)

_SEAT = (
    *("is_wanted", "link_key", "meeting_platform", "meeting_url", "start_at", "ends_at", "join_at"),
    *("config", "seat_hash", "notified_at"),
)
_NEWS = ("seat_hash", "is_wanted", "ends_at")


def reseat(tx: Tx, moved: Mapping[UUID, bool], *, now: datetime, vault: Vault) -> list[UUID]:
    """
    Work out the seats of slots anew from the events that want them; True says that a slot has moved.

    Slots that this leaves something to do for are asked for and returned.
    """
    slots = _slots(tx, moved)
    wanting = _wanting(tx, moved)
    calendars = rules_by_calendar(tx, {row["calendar_id"] for rows in wanting.values() for row in rows})
    seats = {
        slot["id"]: _seat(slot, wanting[slot["id"]], calendars=calendars, vault=vault)
        if slot["id"] in wanting
        else {**{name: slot[name] for name in _SEAT}, "is_wanted": False}
        for slot in slots
    }
    _store(tx, slots, seats)
    closed = _close(tx, [slot for slot in slots if slot["id"] not in wanting], now=now)
    _try_again(
        tx,
        [
            slot
            for slot in slots
            if slot["id"] not in wanting or slot["seat_hash"] != seats[slot["id"]]["seat_hash"]
        ],
    )
    asked = [
        slot["id"]
        for slot in slots
        if slot["id"] not in closed
        and (moved[slot["id"]] or any(seats[slot["id"]][name] != slot[name] for name in _NEWS))
    ]
    due.ask(tx, Slot, asked, now=True)
    return asked


def _slots(tx: Tx, ids: Mapping[UUID, bool]) -> Sequence[RowMapping]:
    found = tx.execute(select(SLOTS).where(SLOTS.c.id.in_(ids)).order_by(SLOTS.c.id))
    return found.mappings().all()


def _wanting(tx: Tx, ids: Mapping[UUID, bool]) -> dict[UUID, list[RowMapping]]:
    """Return the events that want each slot, the one known longest first."""
    by_slot: dict[UUID, list[RowMapping]] = defaultdict(list)
    found = tx.execute(
        select(EVENTS, WANTS.c.slot_id)
        .join(WANTS, WANTS.c.event_id == EVENTS.c.id)
        .where(WANTS.c.slot_id.in_(ids))
        .order_by(EVENTS.c.created_at, EVENTS.c.id)
    )
    for row in found.mappings():
        by_slot[row["slot_id"]].append(row)
    return by_slot


def _store(tx: Tx, slots: Sequence[RowMapping], seats: Mapping[UUID, Mapping[str, Any]]) -> None:
    changed = [
        {"row_id": slot["id"], **{f"new_{name}": seats[slot["id"]][name] for name in _SEAT}}
        for slot in slots
        if any(seats[slot["id"]][name] != slot[name] for name in _SEAT)
    ]
    if changed:
        values = {name: bindparam(f"new_{name}", type_=SLOTS.c[name].type) for name in _SEAT}
        tx.execute(
            update(SLOTS)
            .where(SLOTS.c.id == bindparam("row_id"))
            .values(updated_at=func.now(), **values),
            changed,
        )


def _close(tx: Tx, unwanted: Sequence[RowMapping], *, now: datetime) -> set[UUID]:
    """Close the slots nobody wants and no bot was ever in; which those are is returned."""
    ids = [
        slot["id"]
        for slot in unwanted
        if slot["bot_id"] is None and slot["op"] is None and slot["bot_state"] == BotState.WANTED
    ]
    if not ids:
        return set()
    carrying = select(EVENTS.c.attached_slot_id).where(EVENTS.c.attached_slot_id.in_(ids))
    closed = set(ids) - set(tx.execute(carrying).scalars())
    if closed:
        tx.execute(
            update(SLOTS)
            .where(SLOTS.c.id.in_(closed))
            .values(closed_at=now, bot_state=str(BotState.CANCELLED), updated_at=func.now())
        )
    return closed


def _try_again(tx: Tx, changed: Sequence[RowMapping]) -> None:
    """Forget the bots that have failed in slots whose seat is another one now, or none."""
    failed = [slot["id"] for slot in changed if slot["bot_state"] == BotState.FAILED]
    if failed:
        tx.execute(
            update(SLOTS)
            .where(SLOTS.c.id.in_(failed))
            .values(bot_state=str(BotState.WANTED), bot_id=None, bots_lost=0, updated_at=func.now())
        )


def _seat(
    slot: RowMapping,
    wanting: Sequence[RowMapping],
    *,
    calendars: Mapping[UUID, CalendarRules],
    vault: Vault,
) -> dict[str, Any]:
    """
    Return the seat that the wanting events call for together.

    Of the events whose link the slot is named after, the one known longest speaks for the others, so
    that the seat does not depend on who changed last; the link stays as it is while one of them still
    has it.
    """
    named = [row for row in wanting if key_of(row, calendars[row["calendar_id"]]) == slot["key"]]
    speaker = (named or wanting)[0]
    rules = calendars[speaker["calendar_id"]].rules
    urls = [
        vault.open(row["meeting_url"], place=place("calendar_events", "meeting_url", row["id"]))
        for row in named or wanting
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
