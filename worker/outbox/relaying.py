"""The relay publishes the head of each subject, marks what the broker confirmed, and goes on."""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import structlog
from sqlalchemy import Interval, RowMapping, Select, Table, and_, bindparam, func, select, update
from sqlalchemy.sql import ColumnElement

from models.db import Tx
from models.domain.backoff import next_try
from models.tables import leases
from models.tables.due import table_of
from models.tables.outbox import OutboxEvent
from worker.errors import TryLater
from worker.jobs import RELAY
from worker.outbox.feed import schema_url
from worker.outbox.numbering import number_all
from worker.ports import Outgoing, Publisher
from worker.runtime import Runtime

log = structlog.get_logger(__name__)

_OUTBOX = table_of(OutboxEvent)

PUBLISHED_AT_ONCE = 200
#: A dead relay stops publishing for this long; longer than one batch takes (5 s and a commit).
RELAY_LEASE = timedelta(seconds=20)
RELAY_BUDGET = timedelta(seconds=30)  # < SOFT_LIMIT (jobs.py), with a batch to spare


@dataclass(frozen=True, slots=True)
class RelayOutcome:
    """
    What one relay did.

    *refused* rows were turned down by the broker and wait for their own next try. *is_busy* means
    that another relay is publishing. *unreachable* says why the broker could not be reached.
    """

    numbered: int = 0
    published: int = 0
    refused: int = 0
    is_busy: bool = False
    unreachable: str | None = None


def relay(rt: Runtime) -> RelayOutcome:
    """
    Number what is new, ring for endpoints, and publish what the broker has not confirmed yet.

    Only the first unpublished event of each subject is ever in flight, and it is marked after the
    broker confirmed it; so two relays at once, or one that died, repeat events but never reorder them.
    """
    numbered = number_all(rt)
    if rt.publisher is None:
        return RelayOutcome(numbered=numbered)
    holder = uuid4().hex
    try:
        outcome = _publish_all(rt, rt.publisher, holder=holder, numbered=numbered)
    except BaseException:
        with rt.db.begin() as tx:
            leases.leave(tx, RELAY, holder=holder)
        raise
    if outcome.published or outcome.refused:
        log.info("outbox_relayed", published=outcome.published, refused=outcome.refused)
    return outcome


def waiting(*, has_publisher: bool) -> Sequence[Select[Any]]:
    """Return what to select to know whether a relay would find something to do right now."""
    unnumbered = select(_OUTBOX.c.id).where(_OUTBOX.c.position.is_(None))
    return [unnumbered, _heads(_OUTBOX.c.id)] if has_publisher else [unnumbered]


def oldest_waiting_at(tx: Tx, *, has_publisher: bool) -> datetime | None:
    """Return when the oldest domain event was written that has not reached the broker (or the feed) yet."""
    waits = _OUTBOX.c.published_at if has_publisher else _OUTBOX.c.position
    oldest: datetime | None = tx.execute(
        select(func.min(_OUTBOX.c.created_at)).where(waits.is_(None))
    ).scalar()
    return oldest


def _publish_all(rt: Runtime, publisher: Publisher, *, holder: str, numbered: int) -> RelayOutcome:
    published = refused = 0
    end = time.monotonic() + RELAY_BUDGET.total_seconds()
    with rt.db.begin() as tx:
        batch = _take_batch(tx, holder=holder)
    while batch and time.monotonic() < end:
        try:
            verdicts = publisher.publish([_outgoing(row, rt.settings.base_url) for row in batch])
        except TryLater as later:
            log.warning("broker_unreachable", error=str(later))
            with rt.db.begin() as tx:
                leases.leave(tx, RELAY, holder=holder)
            return RelayOutcome(numbered, published, refused, unreachable=str(later))
        with rt.db.begin() as tx:
            failed = _mark(tx, batch, verdicts, chance=rt.chance())
            published += len(batch) - failed
            refused += failed
            batch = _take_batch(tx, holder=holder)
    if batch:
        with rt.db.begin() as tx:
            leases.leave(tx, RELAY, holder=holder)
        rt.bell.ring(RELAY)
    return RelayOutcome(numbered, published, refused, is_busy=batch is None)


def _take_batch(tx: Tx, *, holder: str) -> Sequence[RowMapping] | None:
    """
    Return what to publish next; None while another relay publishes. With nothing left, the duty is left.

    Whoever numbers events meanwhile finds us busy before we look, and then we see his events; or waits
    for this transaction to end, and then the duty is free.
    """
    if not leases.hold(tx, RELAY, holder=holder, lease=RELAY_LEASE):
        return None
    batch = tx.execute(_next_batch()).mappings().all()
    if not batch:
        leases.leave(tx, RELAY, holder=holder)
    return batch


@functools.cache
def _next_batch() -> Select[Any]:
    return _heads(_OUTBOX).order_by(_OUTBOX.c.position).limit(PUBLISHED_AT_ONCE)


def _heads(*what: Table | ColumnElement[Any]) -> Select[Any]:
    """Select of the first unpublished event of each subject."""
    # A row is marked only after its predecessor, so looking one step back is enough.
    earlier = _OUTBOX.alias("earlier")
    waits = and_(
        earlier.c.subject == _OUTBOX.c.subject,
        earlier.c.sequence == _OUTBOX.c.sequence - 1,
        earlier.c.published_at.is_(None),
    )
    return select(*what).where(
        _OUTBOX.c.published_at.is_(None),
        _OUTBOX.c.position.is_not(None),
        func.coalesce(_OUTBOX.c.publish_after, func.now()) <= func.now(),
        ~select(earlier.c.id).where(waits).exists(),
    )


def _mark(tx: Tx, batch: Sequence[RowMapping], verdicts: Sequence[str | None], *, chance: float) -> int:
    """Record what the broker said of each row; how many it refused is returned."""
    judged = list(zip(batch, verdicts, strict=True))
    confirmed = [row["id"] for row, reason in judged if reason is None]
    refused = [
        {
            "row_id": row["id"],
            "tries": row["publish_tries"] + 1,
            "wait": next_try(row["publish_tries"], chance=chance),
        }
        for row, reason in judged
        if reason is not None
    ]
    is_open = _OUTBOX.c.published_at.is_(None)
    # Two relays may hold the same rows with other verdicts: both lock them in one order first.
    ids = [row["id"] for row in batch]
    tx.execute(
        select(_OUTBOX.c.id)
        .where(_OUTBOX.c.id.in_(ids), is_open)
        .order_by(_OUTBOX.c.id)
        .with_for_update(key_share=True)
    )
    tx.execute(
        update(_OUTBOX).where(_OUTBOX.c.id.in_(confirmed), is_open).values(published_at=func.now())
    )
    if refused:
        tx.execute(
            update(_OUTBOX)
            .where(_OUTBOX.c.id == bindparam("row_id"), is_open)
            .values(
                publish_tries=bindparam("tries"),
                publish_after=func.now() + bindparam("wait", type_=Interval),
            ),
            refused,
        )
        reasons = Counter(reason for _, reason in judged if reason is not None)
        log.warning("publishing_refused", reasons=dict(reasons))
    return len(refused)


def _outgoing(row: RowMapping, base_url: str) -> Outgoing:
    return Outgoing(
        id=str(row["id"]),
        source=base_url,
        type=row["type"],
        subject=row["subject"],
        time=row["time"],
        sequence=row["sequence"],
        dataschema=schema_url(row["type"], base_url),
        data=row["data"],
    )
