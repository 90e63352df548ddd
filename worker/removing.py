"""Events that are not at their provider any more become tombstones."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, or_, select, true, update

from models.db import Tx
from models.sealing import Vault
from models.tables.due import table_of
from models.tables.events import CalendarEvent
from worker.deciding import decide_rows, lock_events
from worker.looked import Looked
from worker.news import tell_changes
from worker.views import load_events

EVENTS = table_of(CalendarEvent)


def remove_missing(
    tx: Tx,
    calendar_id: UUID,
    looked: Looked,
    *,
    vault: Vault,
    since: datetime,
    until: datetime | None = None,
) -> int:
    """
    Mark as deleted the calendar's events that a complete listing did not contain.

    Only events that end after *since*, start before *until* and were not touched by this or a later
    look; the caller vouches that the listing of that time was complete. How many there were is returned.
    """
    missing = select(EVENTS.c.id).where(
        EVENTS.c.calendar_id == calendar_id,
        EVENTS.c.fetch < looked.fetch,
        EVENTS.c.end_at > since,
        true() if until is None else EVENTS.c.start_at < until,
        EVENTS.c.deleted.is_(False),
    )
    return mark_deleted(tx, tx.execute(missing).scalars().all(), looked, vault=vault)


def remove_named(
    tx: Tx, calendar_id: UUID, names: Collection[str], looked: Looked, *, vault: Vault
) -> int:
    """Mark as deleted what a provider says is gone: events by their id, and series with all of theirs."""
    if not names:
        return 0
    is_named = or_(EVENTS.c.external_id.in_(names), EVENTS.c.series_id.in_(names))
    gone = select(EVENTS.c.id).where(
        EVENTS.c.calendar_id == calendar_id,
        is_named,
        EVENTS.c.fetch <= looked.fetch,
        EVENTS.c.deleted.is_(False),
    )
    return mark_deleted(tx, tx.execute(gone).scalars().all(), looked, vault=vault)


def remove_rest_of_series(
    tx: Tx,
    calendar_id: UUID,
    series: Collection[str],
    looked: Looked,
    *,
    vault: Vault,
    since: datetime,
    until: datetime,
) -> int:
    """
    Mark as deleted the occurrences of series that a look at all of them did not contain.

    So is what bears a series' own id: the event that it was before. As `remove_missing`: only what
    ends after *since*, starts before *until* and was not touched by this or a later look.
    """
    if not series:
        return 0
    missing = select(EVENTS.c.id).where(
        EVENTS.c.calendar_id == calendar_id,
        or_(EVENTS.c.series_id.in_(series), EVENTS.c.external_id.in_(series)),
        EVENTS.c.fetch < looked.fetch,
        EVENTS.c.end_at > since,
        EVENTS.c.start_at < until,
        EVENTS.c.deleted.is_(False),
    )
    return mark_deleted(tx, tx.execute(missing).scalars().all(), looked, vault=vault)


def mark_deleted(tx: Tx, ids: Sequence[UUID], looked: Looked, *, vault: Vault) -> int:
    """Turn events into tombstones because the provider does not have them any more."""
    rows = [row for row in lock_events(tx, ids) if not row["deleted"]]
    if not rows:
        return 0
    before = load_events(tx, [row["id"] for row in rows], vault=vault, redact=True)
    tx.execute(
        update(EVENTS)
        .where(EVENTS.c.id.in_([row["id"] for row in rows]))
        .values(
            deleted=True,
            fetch=func.greatest(EVENTS.c.fetch, looked.fetch),
            unsettled=True,
            run_id=looked.run_id,
            updated_at=func.now(),
        )
    )
    decide_rows(tx, [row["id"] for row in rows], now=looked.now)
    tell_changes(tx, [row["id"] for row in rows], before, looked, vault=vault)
    return len(rows)
