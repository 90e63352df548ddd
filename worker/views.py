"""
Calendars, events and bots as the world sees them: one shape for the API, the domain events and the CLI.

What leaves as a domain event is *redacted*: links lose their passcodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, bindparam, select

from models.db import Tx
from models.domain.links import redacted as without_passcode
from models.domain.times import rfc3339
from models.sealing import Vault, place
from models.tables.calendars import Calendar
from models.tables.due import table_of
from models.tables.events import CalendarEvent
from models.tables.slots import Slot, Want

_WANTING = select(Want.event_id).where(Want.slot_id == bindparam("slot_id"))

#: A bot is at risk when its provider has not confirmed it this long before it should join.
AT_RISK = timedelta(minutes=10)


def moment(instant: datetime | None) -> str | None:
    """Write an instant for the world, None staying None."""
    return None if instant is None else rfc3339(instant)


def calendar_view(row: RowMapping) -> dict[str, Any]:
    """Show a calendar; *row* holds every column of `calendars`."""
    pending = row["asked_at"] if row["wanted"] > row["done"] else None
    return {
        "id": str(row["id"]),
        "source": row["source"],
        "external_id": row["external_id"],
        "connection_id": None if row["connection_id"] is None else str(row["connection_id"]),
        "platform": row["platform"],
        "email": row["email"],
        "owner": row["owner"],
        "status": row["status"],
        "status_reason": row["status_reason"],
        "paused": row["paused"],
        "rules": row["rules"],
        "last_synced_at": moment(row["last_synced_at"]),
        "oldest_pending_at": moment(pending),
        "metadata": row["metadata"],
        "created_at": moment(row["created_at"]),
        "updated_at": moment(row["updated_at"]),
    }


def load_calendars(tx: Tx, ids: Iterable[UUID]) -> dict[UUID, dict[str, Any]]:
    """Show the calendars that exist among *ids*."""
    table = table_of(Calendar)
    found = tx.execute(select(table).where(table.c.id.in_(list(ids)))).mappings()
    return {row["id"]: calendar_view(row) for row in found}


def event_view(
    row: RowMapping, *, vault: Vault, bot: Mapping[str, Any] | None, redact: bool = False
) -> dict[str, Any]:
    """Show an event; *row* holds every column of `calendar_events`, *bot* the short form of its bot."""
    return {
        "id": str(row["id"]),
        "calendar_id": str(row["calendar_id"]),
        "external_id": row["external_id"],
        "ical_uid": row["ical_uid"],
        "series_id": row["series_id"],
        "title": row["title"],
        "start": moment(row["start_at"]),
        "end": moment(row["end_at"]),
        "all_day": row["all_day"],
        "organizer": row["organizer"],
        "attendees": row["attendees"],
        "meeting_url": open_url(
            row["meeting_url"], vault=vault, table="calendar_events", row_id=row["id"], redact=redact
        ),
        "meeting_platform": row["meeting_platform"],
        "status": row["status"],
        "deleted": row["deleted"],
        "record": {
            "override": row["record_override"],
            "wanted": row["is_wanted"],
            "reason": row["reason"],
            "explanation": row["explanation"],
        },
        "bot": bot,
        "updated_at": moment(row["updated_at"]),
    }


def load_events(
    tx: Tx, ids: Iterable[UUID], *, vault: Vault, redact: bool = False
) -> dict[UUID, dict[str, Any]]:
    """Show the events that exist among *ids*, each with the short form of its bot."""
    wanted_ids = list(ids)
    table, want, slot = table_of(CalendarEvent), table_of(Want), table_of(Slot)
    rows = tx.execute(select(table).where(table.c.id.in_(wanted_ids))).mappings().all()
    bots = tx.execute(
        select(want.c.event_id, slot.c.id, slot.c.bot_id, slot.c.bot_state, slot.c.join_at)
        .join(slot, slot.c.id == want.c.slot_id)
        .where(want.c.event_id.in_(wanted_ids))
    )
    bot_by_event = {
        event_id: {
            "id": str(slot_id),
            "external_id": bot_id,
            "state": state,
            "join_at": moment(join_at),
        }
        for event_id, slot_id, bot_id, state, join_at in bots
    }
    return {
        row["id"]: event_view(row, vault=vault, bot=bot_by_event.get(row["id"]), redact=redact)
        for row in rows
    }


def bot_view(
    row: RowMapping, *, vault: Vault, event_ids: Iterable[UUID], now: datetime, redact: bool = False
) -> dict[str, Any]:
    """Show a slot as the bot it stands for; *row* holds every column of `slots`."""
    return {
        "id": str(row["id"]),
        "external_id": row["bot_id"],
        "key": row["key"],
        "meeting_url": open_url(
            row["meeting_url"], vault=vault, table="slots", row_id=row["id"], redact=redact
        ),
        "meeting_platform": row["meeting_platform"],
        "join_at": moment(row["join_at"]),
        "state": row["bot_state"],
        "event_ids": sorted(str(event_id) for event_id in event_ids),
        "at_risk": is_at_risk(row, now=now),
        "last_error": row["last_error"],
        "updated_at": moment(row["updated_at"]),
    }


def load_bots(
    tx: Tx, ids: Iterable[UUID], *, vault: Vault, now: datetime, redact: bool = False
) -> dict[UUID, dict[str, Any]]:
    """Show the bots (slots) that exist among *ids*."""
    wanted_ids = list(ids)
    table, want = table_of(Slot), table_of(Want)
    events_by_slot: dict[UUID, list[UUID]] = {}
    for slot_id, event_id in tx.execute(
        select(want.c.slot_id, want.c.event_id).where(want.c.slot_id.in_(wanted_ids))
    ):
        events_by_slot.setdefault(slot_id, []).append(event_id)
    return {
        row["id"]: bot_view(
            row, vault=vault, event_ids=events_by_slot.get(row["id"], ()), now=now, redact=redact
        )
        for row in tx.execute(select(table).where(table.c.id.in_(wanted_ids))).mappings()
    }


def load_bot(
    tx: Tx, slot: RowMapping, *, vault: Vault, now: datetime, redact: bool = False
) -> dict[str, Any]:
    """Show the bot of a slot of which every column is at hand."""
    event_ids = tx.execute(_WANTING, {"slot_id": slot["id"]}).scalars()
    return bot_view(slot, vault=vault, event_ids=event_ids, now=now, redact=redact)


def is_at_risk(row: RowMapping, *, now: datetime) -> bool:
    """Say whether a wanted bot is not confirmed although its meeting is ten minutes away or less."""
    is_due_to_join = row["join_at"] - AT_RISK <= now < row["ends_at"]
    is_confirmed = row["bot_id"] is not None and row["bot_state"] not in {
        "wanted",
        "cancelled",
        "failed",
    }
    return bool(row["is_wanted"] and is_due_to_join and not is_confirmed and row["bot_state"] != "done")


def open_url(
    sealed: bytes | None, *, vault: Vault, table: str, row_id: UUID, redact: bool
) -> str | None:
    """Open a sealed link, without its passcode if *redact*."""
    if sealed is None:
        return None
    url = vault.open(sealed, place=place(table, "meeting_url", row_id))
    return without_passcode(url) if redact else url
