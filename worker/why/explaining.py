"""The answer as data: the event, the decision, its bot, what is waited for, and the steps."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, select

from models.db import Tx
from models.sealing import Vault
from models.tables.due import table_of
from models.tables.events import SeriesOverride
from worker.clock import utc_now
from worker.views import is_at_risk, moment
from worker.why.reading import MOST_ROWS, Around, read_around, shared_with, wanted_slot
from worker.why.telling import clock, steps_of

SERIES = table_of(SeriesOverride)


def explain(
    tx: Tx, vault: Vault, event_id: UUID, *, now: datetime | None = None
) -> dict[str, Any] | None:
    """
    Tell how an event came to have its bot, or none: the decision, and every step that led here.

    Steps are in order of time; `waiting` says in plain words what has still to happen. None when
    there is no such event.
    """
    del vault  # nothing sealed is shown
    around = read_around(tx, event_id)
    if around is None:
        return None
    at = now or utc_now()
    wanted = wanted_slot(tx, event_id)
    slot = around.slots.get(wanted) if wanted is not None else None
    return {
        "event": _event(around.event),
        "decision": _decision(tx, around),
        "calendar": {
            "id": str(around.calendar["id"]),
            "status": around.calendar["status"],
            "status_reason": around.calendar["status_reason"],
            "paused": around.calendar["paused"],
            "last_synced_at": moment(around.calendar["last_synced_at"]),
        },
        "slot": None
        if slot is None
        else {**_slot(slot, now=at), "shared_with": shared_with(tx, around.event, slot)},
        "waiting": _waiting(around, slot, now=at),
        "steps": steps_of(around),
        "truncated": any(
            len(rows) >= MOST_ROWS for rows in (around.trail, around.deliveries, around.emitted)
        ),
    }


def _event(row: RowMapping) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "calendar_id": str(row["calendar_id"]),
        "external_id": row["external_id"],
        "ical_uid": row["ical_uid"],
        "series_id": row["series_id"],
        "start": moment(row["start_at"]),
        "end": moment(row["end_at"]),
        "status": row["status"],
        "deleted": row["deleted"],
        "meeting_platform": row["meeting_platform"],
        "created_at": moment(row["created_at"]),
        "updated_at": moment(row["updated_at"]),
    }


def _decision(tx: Tx, around: Around) -> dict[str, Any]:
    event = around.event
    word: tuple[bool, str] | None = None
    if event["record_override"] is not None:
        word = (event["record_override"], "occurrence")
    elif event["series_id"] is not None:
        said = tx.execute(
            select(SERIES.c.record).where(
                SERIES.c.calendar_id == event["calendar_id"], SERIES.c.series_id == event["series_id"]
            )
        ).scalar_one_or_none()
        word = None if said is None else (said, "series")
    return {
        "wanted": event["is_wanted"],
        "reason": event["reason"],
        "explanation": event["explanation"],
        "override": None if word is None else {"record": word[0], "scope": word[1]},
        "rules": "installation" if around.calendar["rules"] is None else "calendar",
        "decided_at": moment(event["decided_at"]),
    }


def _slot(row: RowMapping, *, now: datetime) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "key": row["key"],
        "state": row["bot_state"],
        "external_id": row["bot_id"],
        "join_at": moment(row["join_at"]),
        "at_risk": is_at_risk(row, now=now),
        "last_error": row["last_error"],
    }


def _waiting(around: Around, slot: RowMapping | None, *, now: datetime) -> list[str]:
    """Say in plain words what has still to happen before the event's bot is as it should be."""
    waiting: list[str] = []
    calendar = around.calendar
    if calendar["wanted"] > calendar["done"]:
        waiting.append(_pending("Its calendar has to be looked at again", calendar, now=now))
    if around.event["unsettled"]:
        waiting.append("The decision about the event has to be made again.")
    if slot is not None and slot["wanted"] > slot["done"]:
        waiting.append(_pending("Its bot has to be brought up to date", slot, now=now))
    return waiting


def _pending(what: str, row: RowMapping, *, now: datetime) -> str:
    error = f"; the last try ended with: {row['last_error']}" if row["last_error"] else ""
    if row["parked_at"] is not None:
        return f"{what}, but it was set aside at {clock(row['parked_at'])}{error}."
    if row["due_at"] > now:
        return f"{what}; the next try is at {clock(row['due_at'])}{error}."
    return f"{what}; it is next in line{error}."
