"""The feed: every domain event as a structured CloudEvent, in the order of its position, for 30 days."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, func, or_, select, text

from models.db import Tx
from models.domain.times import as_utc, rfc3339
from models.tables.due import table_of
from models.tables.outbox import OutboxEvent
from worker.outbox.numbering import number_new

_OUTBOX = table_of(OutboxEvent)


def feed(
    tx: Tx, after: int, types: Sequence[str], limit: int, *, base_url: str
) -> tuple[list[dict[str, Any]], int]:
    """
    Return domain events with a position greater than *after*, oldest first, and where to go on.

    Complete: reading on from the returned position never skips an event. Fresh without any relay.
    *types* are exact or end in `.*`; none means all.
    """
    number_new(tx)
    newest = tx.execute(select(func.max(_OUTBOX.c.position))).scalar() or 0
    rows = (
        tx.execute(
            select(_OUTBOX)
            .where(_OUTBOX.c.position > after, _OUTBOX.c.position <= newest, is_of(types))
            .order_by(_OUTBOX.c.position)
            .limit(limit)
        )
        .mappings()
        .all()
    )
    ended = newest if len(rows) < limit else rows[-1]["position"]
    return [cloud_event(row, base_url) for row in rows], max(after, ended)


def cloud_event(row: RowMapping, base_url: str) -> dict[str, Any]:
    """Write a row of the outbox as a structured CloudEvent."""
    return {
        "specversion": "1.0",
        "id": str(row["id"]),
        "source": base_url,
        "type": row["type"],
        "subject": row["subject"],
        "time": rfc3339(row["time"]),
        "datacontenttype": "application/json",
        "dataschema": schema_url(row["type"], base_url),
        "sequence": row["sequence"],
        "data": row["data"],
    }


def schema_url(event_type: str, base_url: str) -> str:
    """Say where the JSON schema of a domain event's data is."""
    return f"{base_url}/schemas/{event_type}.json"


def is_of(types: Sequence[str]) -> ColumnElement[bool]:
    """Say, as SQL, whether an outbox row is of one of *types*, each exact or ending in `.*`; none means all."""
    exact = [name for name in types if not name.endswith(".*")]
    families = [
        _OUTBOX.c.type.startswith(name[:-1], autoescape=True) for name in types if name.endswith(".*")
    ]
    return or_(_OUTBOX.c.type.in_(exact), *families) if types else _OUTBOX.c.id.is_not(None)


def prune(tx: Tx, before: datetime, *, keep_unpublished: bool = False) -> int:
    """
    Forget domain events written before an instant, with their postings and attempts; count the events.

    What still waits for an active endpoint stays, and with *keep_unpublished* what the broker never got.
    Sequences go on where they were.
    """
    values = {"before": as_utc(before), "keep": keep_unpublished}
    tx.execute(
        text(
            """
            DELETE FROM postings USING endpoints, outbox
            WHERE postings.endpoint_id = endpoints.id AND outbox.position = postings.position
              AND outbox.created_at < :before
              AND (postings.state <> 'waiting' OR endpoints.state = 'disabled')
            """
        ),
        values,
    )
    tx.execute(text("DELETE FROM attempts WHERE at < :before"), values)
    gone = tx.execute(
        text(
            """
            DELETE FROM outbox
            WHERE created_at < :before AND position IS NOT NULL
              AND NOT (:keep AND published_at IS NULL)
              AND NOT EXISTS (SELECT FROM postings WHERE postings.position = outbox.position)
            """
        ),
        values,
    )
    return gone.rowcount
