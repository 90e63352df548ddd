"""Domain events are written in the transaction of the change, with the next sequences of their subjects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sqlalchemy import BigInteger, Text, bindparam, insert, text
from sqlalchemy.dialects.postgresql import ARRAY

from models.db import Tx
from models.domain.emitted import Emitted, event_id
from models.domain.times import as_utc
from models.tables.due import table_of
from models.tables.outbox import OutboxEvent

_NEXT_SEQUENCES = text(
    """
    INSERT INTO subjects (name, last_sequence)
    SELECT name, size FROM unnest(:names, :sizes) WITH ORDINALITY AS asked (name, size, nth) ORDER BY nth
    ON CONFLICT (name) DO UPDATE SET last_sequence = subjects.last_sequence + excluded.last_sequence
    RETURNING name, last_sequence
    """
).bindparams(bindparam("names", type_=ARRAY(Text)), bindparam("sizes", type_=ARRAY(BigInteger)))


def emit(tx: Tx, events: Sequence[Emitted]) -> None:
    """
    Write domain events in the transaction of the change they tell of, numbered per subject.

    Subjects are locked in order of their names until the transaction ends, so call this once per
    transaction, last: two emitters then cannot deadlock, and a rollback leaves no gap.
    """
    if not events:
        return
    sizes = Counter(event.subject for event in events)
    names = sorted(sizes)
    counted = tx.execute(_NEXT_SEQUENCES, {"names": names, "sizes": [sizes[name] for name in names]})
    sequence_by_subject = {name: last - sizes[name] for name, last in counted}
    rows = []
    for event in events:
        sequence = sequence_by_subject[event.subject] = sequence_by_subject[event.subject] + 1
        rows.append(
            {
                "id": event_id(event.subject, sequence),
                "subject": event.subject,
                "sequence": sequence,
                "type": str(event.type),
                "time": as_utc(event.time),
                "data": event.payload(),
            }
        )
    tx.execute(insert(table_of(OutboxEvent)), rows)
