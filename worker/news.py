"""What changed events mean to others: the domain events, and the trail that explains them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import insert

from models.db import Tx
from models.domain.emitted import Emitted, Type, differences, subject_of
from models.sealing import Vault
from models.tables.due import table_of
from models.tables.trail import TrailEntry
from worker.looked import Looked
from worker.outbox import emit
from worker.views import load_events

#: Not news by themselves: our own stamp, and what follows from the rest.
NOT_NEWS = frozenset({"updated_at", "bot"})


def tell_changes(
    tx: Tx,
    ids: Sequence[UUID],
    before: Mapping[UUID, dict[str, Any]],
    looked: Looked,
    *,
    vault: Vault,
) -> None:
    """
    Tell what became of events since *before*, by id; those not in it are new.

    Emits, so it comes last in its transaction.
    """
    after = load_events(tx, ids, vault=vault, redact=True)
    emitted: list[Emitted] = []
    for event_id in ids:
        subject = subject_of("calendar_event", event_id)
        old = before.get(event_id)
        if old is None:
            emitted.append(Emitted(Type.EVENT_CREATED, subject, looked.now, after[event_id]))
            continue
        previous = differences(old, after[event_id], ignoring=NOT_NEWS)
        is_gone = after[event_id]["deleted"] and not old["deleted"]
        kind = Type.EVENT_DELETED if is_gone else Type.EVENT_UPDATED
        if previous:
            emitted.append(
                Emitted(kind, subject, looked.now, after[event_id], previous, tuple(sorted(previous)))
            )
    emit(tx, emitted)
    _leave_trail(tx, ids, before, looked)


def _leave_trail(
    tx: Tx, ids: Sequence[UUID], before: Mapping[UUID, dict[str, Any]], looked: Looked
) -> None:
    if ids:
        tx.execute(
            insert(table_of(TrailEntry)),
            [
                {
                    "event_id": event_id,
                    "run_id": looked.run_id,
                    "step": "synced",
                    "facts": {"news": "changed" if event_id in before else "created"},
                }
                for event_id in ids
            ],
        )
