"""
Deliveries on their way into the database: the one statement that stores a group of them.

It is one transaction and one round trip: rows `ON CONFLICT DO NOTHING`, the calendars they speak of
asked for, and listeners woken. Storing the same group again changes nothing.
Knows nothing of HTTP, threads and event loops.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from sqlalchemy import Engine

from worker import jobs

STATEMENT_TIMEOUT_MS = 2_500
#: Somebody who holds a calendar this long does not get to hold up the answers as well.
LOCK_TIMEOUT_MS = 500

#: The plan is made once, because planning costs more than running, and perhaps while the tables are
#: still empty: so only a plan is allowed that is right for any size, a look-up by index per row.
#: An answer promises what is on disk, whatever the server's default is.
_SESSION = (
    "SET plan_cache_mode = force_generic_plan; SET jit = off; SET enable_seqscan = off;"
    " SET enable_bitmapscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;"
    " SET enable_material = off; SET enable_memoize = off;"
    f" SET statement_timeout = {STATEMENT_TIMEOUT_MS}; SET lock_timeout = {LOCK_TIMEOUT_MS};"
    " SELECT set_config('synchronous_commit', 'on', false)"
    " WHERE current_setting('synchronous_commit') = 'off'"
)

#: Only what is out of the ordinary comes back: a group of new deliveries about calendars we know is
#: answered with no row at all. Texts travel as one each, joined by a character that none contains:
#: an array costs ten times as much to write. A lone empty text arrives as NULL, which is meant alike.
_ARRIVED = """
WITH arrived AS (
    SELECT * FROM unnest(
        string_to_array(%(id)s, E'\x1f')::uuid[], string_to_array(%(message_id)s, E'\x1f'),
        string_to_array(%(type)s, E'\x1f'), string_to_array(%(ref)s, E'\x1f'), %(body)b::bytea[],
        string_to_array(%(state)s, E'\x1f'), string_to_array(%(reason)s, E'\x1f'),
        string_to_array(%(ask)s, E'\x1f'), string_to_array(%(job)s, E'\x1f')
    ) AS arrived (id, message_id, type, ref, body, state, reason, ask, job)
), placed AS (
    SELECT arrived.*, calendar_id, ask <> '' AND calendar_id IS NULL AS is_unknown
    FROM arrived LEFT JOIN LATERAL (
        SELECT calendars.id AS calendar_id FROM calendars
        WHERE ask <> '' AND source = %(source)s AND external_id = ref LIMIT 1
    ) AS calendar ON true
)"""
_LOCKED = """
, locked AS (
    SELECT id FROM (
        SELECT * FROM {those} ORDER BY id
    ) AS in_order CROSS JOIN LATERAL (
        SELECT FROM calendars WHERE calendars.id = in_order.id FOR NO KEY UPDATE{unless}
    ) AS calendar
)"""
_MEANT = """
, meant AS (
    SELECT DISTINCT calendar_id AS id FROM placed WHERE calendar_id IS NOT NULL
)"""
_STORED = """
, stored AS (
    INSERT INTO deliveries (id, source, message_id, type, ref, body, state, reason)
    SELECT id, %(source)s, message_id, nullif(type, ''), nullif(ref, ''), body, state,
        CASE WHEN is_unknown THEN 'unknown_calendar' ELSE nullif(reason, '') END
    FROM placed{where} ORDER BY message_id
    ON CONFLICT (source, message_id) DO NOTHING
    RETURNING id
), judged AS (
    SELECT placed.*, id IN (SELECT id FROM stored) AS is_new FROM placed
), touched AS (
    SELECT calendar_id AS id, bool_or(ask = 'check') AS check_too
    FROM judged WHERE is_new AND calendar_id IS NOT NULL GROUP BY calendar_id
)"""
_ASKED = """
, asked AS (
    UPDATE calendars SET
        wanted = wanted + 1,
        asked_at = CASE WHEN wanted = done THEN now() ELSE asked_at END,
        due_at = CASE WHEN wanted = done THEN now() ELSE due_at END,
        needs_check = needs_check OR id = ANY (ARRAY(SELECT id FROM touched WHERE check_too))
    WHERE id = ANY (ARRAY(SELECT id FROM {those}))
), rung AS (
    SELECT pg_notify('punctual', job)::text AS rang FROM (
        SELECT DISTINCT CASE WHEN is_unknown THEN 'take_in' ELSE job END AS job
        FROM judged WHERE is_new AND job <> ''
    ) AS jobs WHERE %(notify)s
)
SELECT
    judged.id,
    is_new,
    first_body IS NOT NULL AS is_repeat,
    first_body <> body AS differs
FROM judged LEFT JOIN LATERAL (
    SELECT deliveries.body AS first_body FROM deliveries
    WHERE source = %(source)s AND deliveries.message_id = judged.message_id LIMIT 1
) AS earlier ON true
WHERE (SELECT count(rang) FROM rung) >= 0 AND (is_unknown OR NOT is_new)
"""
#: Rows go in by message id, then calendars are locked by key: two receivers with the same deliveries
#: cannot deadlock. What is set on a calendar is what `due.ask` sets.
_STORE_AND_ASK = (
    _ARRIVED
    + _STORED.format(where="")
    + _LOCKED.format(those="touched", unless="")
    + _ASKED.format(those="locked")
).encode()
#: When somebody sits on a calendar's row: store and ask what can be, and leave the rest to come again.
_STORE_WHAT_IS_FREE = (
    _ARRIVED
    + _MEANT
    + _LOCKED.format(those="meant", unless=" SKIP LOCKED")
    + _STORED.format(where=" WHERE calendar_id IS NULL OR calendar_id IN (SELECT id FROM locked)")
    + _ASKED.format(those="touched")
).encode()


class Ask(StrEnum):
    """What a delivery asks of the calendar it speaks of, as the statement spells it."""

    NOTHING = ""
    SYNC = "sync"
    CHECK = "check"


class Arrival(NamedTuple):
    """A delivery to be stored; *job* is what to ring for once it is. Empty means none."""

    id: UUID
    message_id: str
    body: bytes
    state: str
    type: str = ""
    ref: str = ""
    reason: str = ""
    ask: Ask = Ask.NOTHING
    job: str = ""

    def __repr__(self) -> str:
        """Name it without saying what it says."""
        return f"Arrival({self.id}, {self.message_id!r}, {self.state}, {self.type!r})"


class Stored(NamedTuple):
    """
    What became of a group besides being new: repeats of a stored id, those of them that say something
    else, and those left out because their calendar was held by somebody else. *rings* are the jobs
    that now have something to do.
    """

    repeated: frozenset[UUID]
    differing: frozenset[UUID]
    left_out: frozenset[UUID]
    rings: frozenset[str]


_SEPARATOR = "\x1f"
_NONE: frozenset[UUID] = frozenset()


class Inbox:
    """
    The deliveries of one source, written over one connection that is kept and replaced when it fails.

    Used by one thread; `hang_up` alone may be called from another.
    """

    def __init__(self, engine: Engine, *, source: str, notify: bool) -> None:
        self._engine = engine
        self._source = source
        self._notify = notify
        self._connection: psycopg.Connection[Any] | None = None
        self._line: socket.socket | None = None

    def open(self) -> None:
        """Connect now rather than with the first group. Raises as `store` does."""
        self._connect()

    def store(self, arrivals: Sequence[Arrival]) -> Stored:
        """
        Commit the arrivals, no two of which may have the same message id. Safe to repeat.

        Raises psycopg.Error or SQLAlchemyError when it is not known to be committed.
        """
        connection = self._connect()
        values = self._values(arrivals)
        is_whole = True
        try:
            rows = connection.execute(_STORE_AND_ASK, values).fetchall()
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            is_whole = False
            rows = connection.execute(_STORE_WHAT_IS_FREE, values).fetchall()
        if not rows:
            return Stored(_NONE, _NONE, _NONE, frozenset({one.job for one in arrivals if one.job}))
        return _told_apart(arrivals, rows, is_whole=is_whole)

    def close(self) -> None:
        """Let go of the connection; the next group gets a new one."""
        line, self._line = self._line, None
        connection, self._connection = self._connection, None
        if line is not None:
            line.close()
        if connection is not None:
            # Not through the pool, which would try to roll back and log that a lost line is lost.
            with contextlib.suppress(psycopg.Error):
                connection.close()

    def hang_up(self) -> None:
        """
        Wake the writing thread from a database that has fallen silent; it will find the line dead.

        The line is a duplicate of the connection's socket: it cannot come to mean another one.
        """
        line = self._line
        if line is not None:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def _values(self, arrivals: Sequence[Arrival]) -> dict[str, object]:
        ids, message_ids, bodies, states, types, refs, reasons, asks, ring_for = zip(
            *arrivals, strict=True
        )
        return {
            "source": self._source,
            "notify": self._notify,
            "id": _SEPARATOR.join([f"{one.int:032x}" for one in ids]),
            "message_id": _SEPARATOR.join(message_ids),
            "type": _SEPARATOR.join(types),
            "ref": _SEPARATOR.join(refs),
            "body": list(bodies),
            "state": _SEPARATOR.join(states),
            "reason": _SEPARATOR.join(reasons),
            "ask": _SEPARATOR.join(asks),
            "job": _SEPARATOR.join(ring_for),
        }

    def _connect(self) -> psycopg.Connection[Any]:
        if self._connection is not None:
            return self._connection
        held = self._engine.raw_connection()
        connection = held.driver_connection
        assert isinstance(connection, psycopg.Connection)
        # Out of the pool: it is kept for good, and its session is ours alone.
        held.detach()
        self._connection = connection
        self._line = socket.socket(fileno=os.dup(connection.fileno()))
        connection.autocommit = True
        connection.execute(_SESSION)
        connection.prepare_threshold = 0
        return connection


def _told_apart(
    arrivals: Sequence[Arrival], rows: Sequence[tuple[UUID, bool, bool, bool | None]], *, is_whole: bool
) -> Stored:
    """Tell repeats, what was left out, and new deliveries about unknown calendars apart."""
    old = {row[0] for row in rows if not row[1]}
    unknown = {row[0] for row in rows if row[1]}
    return Stored(
        repeated=frozenset(row[0] for row in rows if not row[1] and (is_whole or row[2])),
        differing=frozenset(row[0] for row in rows if row[3]),
        left_out=frozenset(row[0] for row in rows if not (is_whole or row[1] or row[2])),
        rings=frozenset(
            jobs.TAKE_IN if one.id in unknown else one.job
            for one in arrivals
            if one.job and one.id not in old
        ),
    )
