"""What people say about a single event or a whole series: record it, or do not, whatever the rules say."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from models.db import Tx
from models.tables.due import table_of
from models.tables.events import CalendarEvent, SeriesOverride
from worker import jobs
from worker.deciding import decide_rows, lock_events
from worker.runtime import Runtime
from worker.views import load_events

EVENTS = table_of(CalendarEvent)
OVERRIDES = table_of(SeriesOverride)


class NotInSeries(Exception):
    """A word about the series of an event that is in none."""


def set_record(
    rt: Runtime, event_id: UUID, *, record: bool | None, scope: Literal["occurrence", "series"]
) -> dict[str, Any] | None:
    """
    Record an event or its series, or do not; None leaves it to the rules again.

    The event comes back with the decision that follows; None when there is no such event. Raises
    NotInSeries for the series of a single event.
    """
    with rt.db.begin() as tx:
        found = tx.execute(
            select(EVENTS.c.calendar_id, EVENTS.c.series_id).where(EVENTS.c.id == event_id)
        ).one_or_none()
        if found is None:
            return None
        ids = [event_id]
        if scope == "series":
            if found.series_id is None:
                msg = f"event {event_id} is not part of a series"
                raise NotInSeries(msg)
            ids += _upcoming(tx, found.calendar_id, found.series_id, now=rt.now())
        lock_events(tx, ids)
        if scope == "series":
            _say_about_series(tx, found.calendar_id, found.series_id, record=record)
        else:
            tx.execute(update(EVENTS).where(EVENTS.c.id == event_id).values(record_override=record))
        tx.execute(update(EVENTS).where(EVENTS.c.id.in_(ids)).values(unsettled=True))
        decide_rows(tx, ids, now=rt.now(), vault=rt.vault)
        view = load_events(tx, [event_id], vault=rt.vault)[event_id]
    rt.bell.ring(jobs.SETTLE)
    rt.bell.ring(jobs.RELAY)
    return view


def _upcoming(tx: Tx, calendar_id: UUID, series_id: str, *, now: datetime) -> list[UUID]:
    return list(
        tx.execute(
            select(EVENTS.c.id).where(
                EVENTS.c.calendar_id == calendar_id,
                EVENTS.c.series_id == series_id,
                EVENTS.c.end_at > now,
            )
        ).scalars()
    )


def _say_about_series(tx: Tx, calendar_id: UUID, series_id: str, *, record: bool | None) -> None:
    if record is None:
        tx.execute(
            delete(OVERRIDES).where(
                OVERRIDES.c.calendar_id == calendar_id, OVERRIDES.c.series_id == series_id
            )
        )
        return
    tx.execute(
        upsert(OVERRIDES)
        .values(calendar_id=calendar_id, series_id=series_id, record=record)
        .on_conflict_do_update(
            index_elements=[OVERRIDES.c.calendar_id, OVERRIDES.c.series_id],
            set_={"record": record, "set_at": func.now()},
        )
    )
