"""Read what a slot should look like and what stands for it, from the tables alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, bindparam, func, select, union

from models.db import Tx
from models.domain.bots import Attached, BotState, Operation, Seat, Standing
from models.domain.events import EventStatus
from models.sealing import Vault, place
from models.tables.calendars import Calendar
from models.tables.due import table_of
from models.tables.events import CalendarEvent
from models.tables.installation import Source
from models.tables.slots import Slot, Want

EVENTS = table_of(CalendarEvent)
SLOTS = table_of(Slot)
WANTS = table_of(Want)
CALENDARS = table_of(Calendar)
SOURCES = table_of(Source)

# Built once: building a statement takes as long as having it carried out.
_SLOT = select(SLOTS).where(SLOTS.c.id == bindparam("slot_id"))
_AROUND = (
    select(
        EVENTS.c.id,
        EVENTS.c.external_id,
        EVENTS.c.deleted,
        EVENTS.c.status,
        EVENTS.c.bots,
        EVENTS.c.attached_slot_id,
        EVENTS.c.attached_hash,
        WANTS.c.slot_id.label("want_slot_id"),
        CALENDARS.c.status.label("calendar_status"),
        CALENDARS.c.source,
    )
    .join(CALENDARS, CALENDARS.c.id == EVENTS.c.calendar_id)
    .outerjoin(WANTS, WANTS.c.event_id == EVENTS.c.id)
    # Two searches by index; "wants it or carries it" in one would read every event there is.
    .where(
        EVENTS.c.id.in_(
            union(
                select(WANTS.c.event_id).where(WANTS.c.slot_id == bindparam("slot_id")),
                select(EVENTS.c.id).where(EVENTS.c.attached_slot_id == bindparam("slot_id")),
            )
        )
    )
)

#: For so long a provider that was seen to ignore dedup keys is taken to do so still.
UNSHARED_FOR = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Situation:
    """
    One slot, wanted against standing.

    *is_held* means that a bot is wanted but nobody can be asked for it now: every calendar that
    wants it has lost its authorisation, or what wants it is gone and not yet settled. Held slots are
    left exactly as they are.
    """

    slot: RowMapping
    seat: Seat | None
    standing: Standing
    is_held: bool


def situation_of(tx: Tx, slot_id: UUID, *, vault: Vault, install_id: UUID) -> Situation:
    """Read one slot's situation in the present transaction."""
    slot = tx.execute(_SLOT, {"slot_id": slot_id}).mappings().one()
    events = [dict(row) for row in tx.execute(_AROUND, {"slot_id": slot_id}).mappings()]
    wanting = [event for event in events if event["want_slot_id"] == slot_id]
    reachable = [event for event in wanting if _can_be_asked(event)]
    standing = Standing(
        bot_id=slot["bot_id"],
        state=BotState(slot["bot_state"]),
        join_at=slot["bot_join_at"],
        digest=slot["bot_hash"],
        is_own=slot["bot_is_own"],
        attached=tuple(
            attached for event in events if (attached := _attachment(event, slot)) is not None
        ),
    )
    if not slot["is_wanted"] or not wanting:
        return Situation(slot=slot, seat=None, standing=standing, is_held=False)
    url = vault.open(slot["meeting_url"], place=place("slots", "meeting_url", slot_id))
    seat = Seat(
        slot_id=slot_id,
        install_id=install_id,
        dedup_key=slot["key"],
        meeting_url=url,
        start_at=slot["start_at"],
        ends_at=slot["ends_at"],
        join_at=slot["join_at"],
        config=slot["config"],
        # Only these can carry a bot; who else wants it is served by the same one.
        events=tuple(
            sorted(event["external_id"] for event in reachable if event["source"] == "recall")
        ),
        is_unshared=len(events) > 1 and _gives_each_event_a_bot(tx),
    )
    return Situation(slot=slot, seat=seat, standing=standing, is_held=not reachable)


def _can_be_asked(event: dict[str, Any]) -> bool:
    """Say whether an event can carry a bot: one that is gone cannot, though its want is not settled yet."""
    is_gone = event["deleted"] or event["status"] == EventStatus.CANCELLED
    return event["calendar_status"] == "connected" and not is_gone


def _gives_each_event_a_bot(tx: Tx) -> bool:
    lately = SOURCES.c.unshared_at > func.now() - UNSHARED_FOR
    seen = select(SOURCES.c.name).where(SOURCES.c.name == "recall", lately)
    return tx.execute(seen).first() is not None


def _attachment(event: dict[str, Any], slot: RowMapping) -> Attached | None:
    """Return how an event carries the slot's bot, None when it carries none."""
    is_ours = event["attached_slot_id"] == slot["id"]
    entry = next((bot for bot in event["bots"] if bot["dedup_key"] == slot["key"]), None)
    if event["want_slot_id"] == slot["id"]:
        if entry is None:
            return None
        return Attached(
            event=event["external_id"],
            bot_id=entry["bot_id"],
            digest=event["attached_hash"] if is_ours else None,
        )
    in_doubt = f"{Operation.ATTACH}:{event['external_id']}:"
    if not event["bots"] and (slot["op"] or "").startswith(in_doubt):
        return Attached(event=event["external_id"], bot_id=None, digest=None)
    is_deleted = event["deleted"] or event["calendar_status"] != "connected"
    if not event["bots"] and not is_deleted:
        return None
    return Attached(
        event=event["external_id"],
        bot_id=event["bots"][0]["bot_id"] if event["bots"] else None,
        digest=event["attached_hash"],
        is_deleted=is_deleted,
        is_elsewhere=event["want_slot_id"] is not None,
    )


def slot_for_reading(tx: Tx, slot_id: UUID) -> RowMapping | None:
    """Return a slot's row, None when there is none."""
    return tx.execute(_SLOT, {"slot_id": slot_id}).mappings().one_or_none()


def ends_before(slot: RowMapping, now: datetime) -> bool:
    """Say whether the slot's meeting is over."""
    return bool(slot["ends_at"] <= now)
