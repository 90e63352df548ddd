"""
Bring slots in line with events: who wants a bot where, and what that bot should look like.

Runs after a sync pass, after a rule or an override changed, and when meetings end. It touches the
database alone; `reconciling` carries the result to the provider.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import (
    RowMapping,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from models.db import Tx
from models.domain.bots import BotState
from models.domain.placing import OpenSlot, moves
from models.domain.rules import Decision, Reason
from models.sealing import Vault, place
from models.tables.base import new_id
from models.tables.due import table_of
from models.tables.events import CalendarEvent
from models.tables.slots import Slot, Want
from models.tables.trail import TrailEntry
from worker import jobs
from worker.deciding import CalendarRules, decide_rows, lock_events, rules_by_calendar
from worker.gathering import gather
from worker.identity import key_of, speakers_of
from worker.runtime import Runtime
from worker.seating import reseat

log = structlog.get_logger(__name__)

EVENTS = table_of(CalendarEvent)
SLOTS = table_of(Slot)
WANTS = table_of(Want)

BATCH = 500
_SETTLE_LOCK = 0x534C4F54  # any number; slots are placed by one transaction at a time


@dataclass(frozen=True, slots=True)
class Placed:
    """What one batch did: how many events it settled, and the slots whose bot needs a look."""

    events: int
    slots: tuple[UUID, ...]


def settle(rt: Runtime) -> int:
    """
    Settle every unsettled event, batch by batch, and ring for the slots that changed.

    Safe to call at any time, by any number of workers. How many events were settled is returned.
    """
    settled = 0
    while True:
        with rt.db.begin() as tx:
            placed = settle_batch(tx, now=rt.now(), vault=rt.vault, limit=BATCH)
        for slot_id in placed.slots:
            rt.bell.ring(jobs.RECONCILE, str(slot_id))
        settled += placed.events
        if placed.events < BATCH:
            if settled:
                rt.bell.ring(jobs.RELAY)
                log.info("events_settled", events=settled)
            return settled


def settle_batch(tx: Tx, *, now: datetime, vault: Vault, limit: int) -> Placed:
    """Settle up to *limit* unsettled events, and with them all unsettled ones that share a slot."""
    tx.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _SETTLE_LOCK})
    ids = gather(tx, limit=limit, now=now)
    if not ids:
        return Placed(events=0, slots=())
    decisions = decide_rows(tx, ids, now=now, vault=vault)
    events = {row["id"]: row for row in lock_events(tx, decisions)}
    calendars = rules_by_calendar(tx, {row["calendar_id"] for row in events.values()})
    targets, spoken_for = _targets(tx, events, decisions, calendars)
    touched = _place(tx, events, targets, now=now, vault=vault)
    asked = reseat(tx, touched, now=now, vault=vault)
    tx.execute(update(EVENTS).where(EVENTS.c.id.in_(events)).values(unsettled=False))
    _leave_trail(tx, events, decisions, spoken_for)
    return Placed(events=len(events), slots=tuple(asked))


def _targets(
    tx: Tx,
    events: Mapping[UUID, RowMapping],
    decisions: Mapping[UUID, Decision],
    calendars: Mapping[UUID, CalendarRules],
) -> tuple[dict[UUID, str | None], dict[UUID, UUID]]:
    """Say at which key each event wants a bot, None where it wants none; and whose link that is."""
    held = {
        row.event_id: row.key
        for row in tx.execute(
            select(WANTS.c.event_id, SLOTS.c.key)
            .join(SLOTS, SLOTS.c.id == WANTS.c.slot_id)
            .where(WANTS.c.event_id.in_(events))
        )
    }
    # A meeting that ended where its bot was keeps it: the bot leaves when the call does.
    may_stay = {event_id for event_id in held if decisions[event_id].reason is Reason.ENDED}
    claiming = [row for row in events.values() if decisions[row["id"]].wanted or row["id"] in may_stay]
    spoken_for = speakers_of(claiming, calendars)
    targets: dict[UUID, str | None] = dict.fromkeys(events)
    for event_id, speaker in spoken_for.items():
        key = key_of(events[speaker], calendars[events[speaker]["calendar_id"]])
        if decisions[event_id].wanted or held.get(event_id) == key:
            targets[event_id] = key
    return targets, {event: speaker for event, speaker in spoken_for.items() if event != speaker}


def _place(
    tx: Tx,
    events: Mapping[UUID, RowMapping],
    targets: Mapping[UUID, str | None],
    *,
    now: datetime,
    vault: Vault,
) -> dict[UUID, bool]:
    """
    Move, open, join and leave slots.

    Every slot that a changed event concerns comes back, with whether its key or its wants changed.
    """
    wants = _wants_around(tx, targets)
    slots = _open_slots(tx, set(wants.values()), {key for key in targets.values() if key})
    by_slot: dict[UUID, set[UUID]] = defaultdict(set)
    for event_id, slot_id in wants.items():
        by_slot[slot_id].add(event_id)
    moving = moves(
        {
            slot_id: OpenSlot(
                id=slot_id,
                key=row["key"],
                wants=frozenset(by_slot[slot_id]),
                may_move=_may_move(row, [events[e] for e in by_slot[slot_id] if e in events], now=now),
            )
            for slot_id, row in slots.items()
        },
        targets,
    )
    _rekey(tx, moving)
    touched = dict.fromkeys(moving, True)
    slot_by_key = {moving.get(slot_id, row["key"]): slot_id for slot_id, row in slots.items()}
    opening: dict[str, RowMapping] = {}
    for event_id, key in targets.items():
        if key is not None and key not in slot_by_key:
            opening.setdefault(key, events[event_id])
    slot_by_key |= _open(tx, opening, vault=vault)
    joining: dict[UUID, UUID] = {}
    leaving: list[UUID] = []
    for event_id, key in targets.items():
        old, new = wants.get(event_id), None if key is None else slot_by_key[key]
        if new is not None:
            touched.setdefault(new, False)
        if old == new:
            continue
        touched |= dict.fromkeys((slot for slot in (old, new) if slot is not None), True)
        if new is None:
            leaving.append(event_id)
        else:
            joining[event_id] = new
    _leave(tx, leaving)
    _join(tx, joining)
    return touched


def _leave(tx: Tx, event_ids: Sequence[UUID]) -> None:
    if event_ids:
        tx.execute(delete(WANTS).where(WANTS.c.event_id.in_(event_ids)))


def _join(tx: Tx, slot_by_event: Mapping[UUID, UUID]) -> None:
    if slot_by_event:
        joined = upsert(WANTS)
        tx.execute(
            joined.on_conflict_do_update(
                index_elements=[WANTS.c.event_id],
                set_={"slot_id": joined.excluded.slot_id, "since": func.now()},
            ),
            [{"event_id": event, "slot_id": slot} for event, slot in slot_by_event.items()],
        )


def _may_move(slot: RowMapping, wanting: Sequence[RowMapping], *, now: datetime) -> bool:
    """
    Say whether a slot can be given another key with its bot.

    Before the bot is dispatched always; from then on only while the meeting goes on where it is:
    the same link, and a start that is not ahead.
    """
    state = BotState(slot["bot_state"])
    if state.is_dispatched:
        return all(row["link_key"] == slot["link_key"] and row["start_at"] <= now for row in wanting)
    return state in {BotState.WANTED, BotState.SCHEDULED}


def _wants_around(tx: Tx, targets: Mapping[UUID, str | None]) -> dict[UUID, UUID]:
    """Return every want of every slot that a changed event wants now."""
    slots = select(WANTS.c.slot_id).where(WANTS.c.event_id.in_(targets))
    found = tx.execute(select(WANTS.c.event_id, WANTS.c.slot_id).where(WANTS.c.slot_id.in_(slots)))
    return {row.event_id: row.slot_id for row in found}


def _open_slots(tx: Tx, ids: set[UUID], keys: set[str]) -> dict[UUID, RowMapping]:
    found = tx.execute(
        select(SLOTS)
        .where(SLOTS.c.closed_at.is_(None), or_(SLOTS.c.id.in_(ids), SLOTS.c.key.in_(keys)))
        .order_by(SLOTS.c.id)
        .with_for_update()
    )
    return {row["id"]: row for row in found.mappings()}


def _rekey(tx: Tx, moving: Mapping[UUID, str]) -> None:
    if not moving:
        return
    # In two rounds, because two slots may trade keys and a key is unique among open slots.
    held = func.concat("moving ", SLOTS.c.id)
    tx.execute(update(SLOTS).where(SLOTS.c.id.in_(moving)).values(key=held))
    tx.execute(
        update(SLOTS).where(SLOTS.c.id == bindparam("row_id")).values(key=bindparam("new_key")),
        [{"row_id": slot_id, "new_key": key} for slot_id, key in moving.items()],
    )


def _open(tx: Tx, event_by_key: Mapping[str, RowMapping], *, vault: Vault) -> dict[str, UUID]:
    """Open a slot for each key as its event calls for it; the slots' ids are returned."""
    ids = {key: new_id() for key in event_by_key}
    if ids:
        tx.execute(
            insert(SLOTS),
            [_opened(ids[key], key, event, vault=vault) for key, event in event_by_key.items()],
        )
    return ids


def _opened(slot_id: UUID, key: str, event: RowMapping, *, vault: Vault) -> dict[str, Any]:
    url = vault.open(event["meeting_url"], place=place("calendar_events", "meeting_url", event["id"]))
    return {
        "id": slot_id,
        "key": key,
        "link_key": event["link_key"],
        "meeting_platform": event["meeting_platform"],
        "meeting_url": vault.seal(url, place=place("slots", "meeting_url", slot_id)),
        "start_at": event["start_at"],
        "ends_at": event["end_at"],
        "join_at": event["start_at"],
        "config": {},
        "seat_hash": b"",
        "is_wanted": False,
    }


def _leave_trail(
    tx: Tx,
    events: Mapping[UUID, RowMapping],
    decisions: Mapping[UUID, Decision],
    spoken_for: Mapping[UUID, UUID],
) -> None:
    slots = {
        row.event_id: row.slot_id
        for row in tx.execute(
            select(WANTS.c.event_id, WANTS.c.slot_id).where(WANTS.c.event_id.in_(events))
        )
    }
    tx.execute(
        insert(table_of(TrailEntry)),
        [
            {
                "event_id": event_id,
                "slot_id": slots.get(event_id),
                "run_id": row["run_id"],
                "step": "decided",
                "facts": {
                    "wanted": decisions[event_id].wanted,
                    "reason": str(decisions[event_id].reason),
                    "explanation": decisions[event_id].explanation,
                    **({"link_of": str(spoken_for[event_id])} if event_id in spoken_for else {}),
                },
            }
            for event_id, row in events.items()
        ],
    )
