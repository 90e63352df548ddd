"""Events of a provider that could not be read: set aside with the reason, until a readable version comes."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, func, literal_column
from sqlalchemy.dialects.postgresql import insert as upsert

from models.db import Tx
from models.tables.due import table_of
from models.tables.events import QuarantinedEvent
from worker import metrics
from worker.ports import Unreadable

QUARANTINE = table_of(QuarantinedEvent)
REASON_LENGTH = 200


def set_aside(tx: Tx, rows: Sequence[Unreadable], source: str) -> None:
    """Remember what could not be read, and count what is new; seen again, the newest reason counts."""
    for row in rows:
        values = {
            "source": source,
            "external_id": row.external_id or f"unnamed in {row.calendar_ref or 'no calendar'}",
            "calendar_ref": row.calendar_ref,
            "reason": row.reason[:REASON_LENGTH],
        }
        is_new: bool = tx.execute(
            upsert(QUARANTINE)
            .values(**values)
            .on_conflict_do_update(
                index_elements=[QUARANTINE.c.source, QUARANTINE.c.external_id],
                set_={"last_seen_at": func.now(), "reason": values["reason"]},
            )
            # An upsert locks, and so marks, only a row that was there before.
            .returning(literal_column("xmax = 0"))
        ).scalar_one()
        if is_new:
            metrics.EVENTS_UNREADABLE.labels(source).inc()


def release(tx: Tx, external_ids: Sequence[str], source: str) -> None:
    """Forget events that could be read this time."""
    if external_ids:
        tx.execute(
            delete(QUARANTINE).where(
                QUARANTINE.c.source == source, QUARANTINE.c.external_id.in_(external_ids)
            )
        )
