"""The inbox as the operator sees it: list deliveries, show one, and act on one again."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping, Text, cast, literal, select, tuple_, update

from models.db import Tx
from models.tables import due
from models.tables.calendars import Calendar
from models.tables.due import table_of
from models.tables.inbox import Delivery
from worker import jobs
from worker.runtime import Runtime
from worker.views import moment

CALENDARS = table_of(Calendar)
DELIVERIES = table_of(Delivery)


def list_deliveries(
    tx: Tx,
    *,
    after: tuple[datetime, UUID] | None,
    limit: int,
    state: str | None = None,
    source: str | None = None,
    received_gte: datetime | None = None,
) -> list[tuple[tuple[datetime, UUID], dict[str, Any]]]:
    """List deliveries, newest first, each with its place in the list."""
    place = tuple_(DELIVERIES.c.received_at, DELIVERIES.c.id)
    wanted: list[ColumnElement[bool]] = []
    if state is not None:
        wanted.append(DELIVERIES.c.state == state)
    if source is not None:
        wanted.append(DELIVERIES.c.source == source)
    if received_gte is not None:
        wanted.append(DELIVERIES.c.received_at >= received_gte)
    if after is not None:
        wanted.append(place < tuple_(*map(literal, after)))
    rows = tx.execute(
        select(*_shown())
        .where(*wanted)
        .order_by(DELIVERIES.c.received_at.desc(), DELIVERIES.c.id.desc())
        .limit(limit)
    ).mappings()
    return [((row["received_at"], row["id"]), delivery_view(row)) for row in rows]


def find_delivery(tx: Tx, delivery_id: UUID, *, with_body: bool = False) -> dict[str, Any] | None:
    """Show one delivery, its body as text only when asked for; None when there is none."""
    row = tx.execute(select(DELIVERIES).where(DELIVERIES.c.id == delivery_id)).mappings().one_or_none()
    if row is None:
        return None
    body = row["body"].decode(errors="replace") if with_body else None
    return {**delivery_view(row), "body": body}


def replay(rt: Runtime, delivery_id: UUID) -> dict[str, Any] | None:
    """
    Act on a delivery again, as if it had just arrived; None when there is none.

    Reviving the calendar it speaks of is part of it. Safe to repeat.
    """
    with rt.db.begin() as tx:
        row = (
            tx.execute(
                update(DELIVERIES)
                .where(DELIVERIES.c.id == delivery_id)
                .values(state="stored", reason=None, tries=0, run_id=None, done_at=None)
                .returning(*_shown(), DELIVERIES.c.ref)
            )
            .mappings()
            .one_or_none()
        )
        if row is None:
            return None
        if row["ref"] is not None:
            # Who opened the channel names the calendar by our id, a workspace by its own.
            is_ours = row["source"] != "recall"
            name = cast(CALENDARS.c.id, Text) if is_ours else CALENDARS.c.external_id
            calendars = tx.execute(
                select(CALENDARS.c.id).where(
                    CALENDARS.c.source == row["source"],
                    name == row["ref"],
                    CALENDARS.c.deleted_at.is_(None),
                )
            ).scalars()
            due.ask(tx, Calendar, calendars, now=True)
    rt.bell.ring(jobs.TAKE_IN)
    return delivery_view(row)


def delivery_view(row: RowMapping) -> dict[str, Any]:
    """Show a delivery without what it said."""
    return {
        "id": str(row["id"]),
        "source": row["source"],
        "message_id": row["message_id"],
        "type": row["type"],
        "received_at": moment(row["received_at"]),
        "state": row["state"],
        "reason": row["reason"],
    }


def _shown() -> list[ColumnElement[Any]]:
    return [column for column in DELIVERIES.c if column.name not in {"body", "ref"}]
