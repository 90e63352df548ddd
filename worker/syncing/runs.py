"""What both kinds of listing share: which calendars they serve, and the record of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Text, and_, any_, func, literal, update
from sqlalchemy.dialects.postgresql import ARRAY

from models.db import Tx
from models.tables.calendars import Calendar
from models.tables.due import table_of
from models.tables.inbox import Delivery
from models.tables.trail import SyncRun

CALENDARS = table_of(Calendar)
RUNS = table_of(SyncRun)
DELIVERIES = table_of(Delivery)

RECALL = "recall"
CALENDAR_TYPES = ("calendar.sync_events", "calendar.update")

#: Calendars served by the workspace listing; the others need a look of their own first.
IS_PLAIN = and_(
    CALENDARS.c.source == RECALL,
    CALENDARS.c.status == "connected",
    CALENDARS.c.needs_check.is_(False),
    CALENDARS.c.needs_full.is_(False),
    CALENDARS.c.deleted_at.is_(None),
)
#: All others have a look of their own: a check, a complete listing.
IS_OWN = ~IS_PLAIN


@dataclass(slots=True)
class Listing:
    """What a run has seen so far."""

    run_id: UUID
    asks: dict[UUID, int] = field(default_factory=dict)
    notified: dict[UUID, datetime] = field(default_factory=dict)
    pages: int = 0
    changes: int = 0
    newest_at: datetime | None = None
    served_at: datetime | None = None
    asked_at: datetime | None = None
    clock_ahead: timedelta | None = None


def stamp_deliveries(
    tx: Tx, refs: list[str], run_id: UUID, *, types: tuple[str, ...] = CALENDAR_TYPES
) -> None:
    """
    Note that a run serves the stored deliveries about these calendars.

    Those of a run that came to no end are taken over; the caller holds the lease of its own run.
    """
    if refs:
        tx.execute(
            update(DELIVERIES)
            .where(
                DELIVERIES.c.state == "stored",
                DELIVERIES.c.source == RECALL,
                DELIVERIES.c.ref == any_(literal(refs, ARRAY(Text))),  # as many as there are calendars
                DELIVERIES.c.type.in_(types),
            )
            .values(run_id=run_id)
        )


def end_run(tx: Tx, listing: Listing) -> None:
    """Close the record of a run; the deliveries it was to serve are done."""
    tx.execute(
        update(RUNS)
        .where(RUNS.c.id == listing.run_id)
        .values(finished_at=func.now(), pages=listing.pages, changes=listing.changes)
    )
    tx.execute(
        update(DELIVERIES)
        .where(DELIVERIES.c.run_id == listing.run_id, DELIVERIES.c.state == "stored")
        .values(state="done", done_at=func.now())
    )
