"""
Committed domain events get positions, one numberer at a time, and are handed out to endpoints.

Whoever reads on from a position it has seen misses none, because positions become visible in order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any

from sqlalchemy import bindparam, func, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY

from models.db import Tx
from models.tables import due
from models.tables.outbox import Endpoint, OutboxEvent
from worker import metrics
from worker.jobs import POST
from worker.runtime import Runtime

_OUTBOX = due.table_of(OutboxEvent)
_ENDPOINTS = due.table_of(Endpoint)

#: Any number will do; whoever gives out positions holds this advisory lock until commit.
_NUMBERING_LOCK = 0x4E554D42
NUMBERED_AT_ONCE = 5_000
RUNG_AT_ONCE = 500

# A transaction that began early may have waited for a subject and hold a late sequence; the running
# maximum keeps each subject in its own order and stays close to the order of time.
_GIVE_POSITIONS = text(
    """
    WITH unnumbered AS MATERIALIZED (
        SELECT id, subject, sequence,
               max(created_at) OVER (PARTITION BY subject ORDER BY sequence) AS since
        FROM outbox WHERE position IS NULL
    ), ordered AS MATERIALIZED (
        SELECT id FROM unnumbered ORDER BY since, subject, sequence LIMIT :most
    ), numbered AS MATERIALIZED (
        SELECT id, nextval('outbox_positions') AS position FROM ordered
    )
    UPDATE outbox SET position = numbered.position FROM numbered WHERE outbox.id = numbered.id
    RETURNING outbox.position, outbox.type
    """
)

_HAND_OUT = text(
    """
    WITH owed AS (
        INSERT INTO postings (endpoint_id, position, event_id, subject)
        SELECT endpoints.id, outbox.position, outbox.id, outbox.subject
        FROM outbox JOIN endpoints ON endpoints.id = ANY(:endpoints)
        WHERE outbox.position BETWEEN :first AND :last
          AND (jsonb_array_length(endpoints.types) = 0 OR EXISTS (
            SELECT FROM jsonb_array_elements_text(endpoints.types) AS wanted (pattern)
            WHERE pattern = outbox.type
               OR right(pattern, 2) = '.*' AND starts_with(outbox.type, left(pattern, -1))))
        RETURNING endpoint_id
    )
    SELECT DISTINCT endpoint_id FROM owed
    """
).bindparams(bindparam("endpoints", type_=ARRAY(_ENDPOINTS.c.id.type)))


def number_new(tx: Tx, *, most: int = NUMBERED_AT_ONCE) -> int:
    """
    Give positions to committed rows that have none, and hand them out to the endpoints that want them.

    How many were numbered is returned. Numberers queue up until commit, so positions become visible
    in order and whoever reads on from one misses none. Locks every active endpoint, in order of id.
    """
    if not tx.execute(select(_OUTBOX.c.id).where(_OUTBOX.c.position.is_(None)).limit(1)).first():
        return 0
    tx.execute(select(func.pg_advisory_xact_lock(_NUMBERING_LOCK)))
    numbered = tx.execute(_GIVE_POSITIONS, {"most": most}).all()
    if numbered:
        positions = [position for position, _ in numbered]
        _hand_out(tx, min(positions), max(positions))
    for event_type, size in Counter(event_type for _, event_type in numbered).items():
        metrics.EVENTS_EMITTED.labels(event_type).inc(size)
    return len(numbered)


def number_all(rt: Runtime) -> int:
    """Number everything committed so far, a transaction per batch, and ring for the endpoints that are due."""
    numbered = 0
    while True:
        with rt.db.begin() as tx:
            size = number_new(tx)
        numbered += size
        if size < NUMBERED_AT_ONCE:
            break
    with rt.db.begin() as tx:
        endpoint_ids = due.list_due(tx, Endpoint, limit=RUNG_AT_ONCE)
    for endpoint_id in endpoint_ids:
        rt.bell.ring(POST, str(endpoint_id))
    return numbered


def ask_sooner(tx: Tx, endpoint_ids: Collection[Any]) -> None:
    """
    Ask for endpoints that got something new, at once even if they wait for a later retry.

    An endpoint that is held stays held, and a parked one parked.
    """
    due.ask(tx, Endpoint, endpoint_ids)
    soonest = func.greatest(func.now(), func.coalesce(_ENDPOINTS.c.held_until, func.now()))
    tx.execute(
        update(_ENDPOINTS)
        .where(_ENDPOINTS.c.id.in_(endpoint_ids), _ENDPOINTS.c.due_at > soonest)
        .values(due_at=soonest)
    )


def _hand_out(tx: Tx, first: int, last: int) -> None:
    active = (
        select(_ENDPOINTS.c.id)
        .where(_ENDPOINTS.c.state == "active")
        .order_by(_ENDPOINTS.c.id)
        .with_for_update(key_share=True)
    )
    endpoint_ids = tx.execute(active).scalars().all()
    if endpoint_ids:
        values = {"endpoints": endpoint_ids, "first": first, "last": last}
        ask_sooner(tx, tx.execute(_HAND_OUT, values).scalars().all())
