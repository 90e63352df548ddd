"""
Deliveries on their way into the database: the one statement that stores a group of them.

It is one transaction and one round trip: rows `ON CONFLICT DO NOTHING`, the calendars they speak of
asked for, and listeners woken. Storing the same group again changes nothing.
Knows nothing of HTTP, and nothing of who waits for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from enum import StrEnum
from struct import pack
from typing import NamedTuple

import psycopg
from psycopg.pq import Format
from sqlalchemy import Engine

from models.tables.base import new_ids
from webhooks.line import Line, Row
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
        string_to_array($3, E'\x1f')::uuid[], string_to_array($4, E'\x1f'),
        string_to_array($5, E'\x1f'), string_to_array($6, E'\x1f'), $7::bytea[],
        string_to_array($8, E'\x1f'), string_to_array($9, E'\x1f'),
        string_to_array($10, E'\x1f'), string_to_array($11, E'\x1f')
    ) AS arrived (id, message_id, type, ref, body, state, reason, ask, job)
), placed AS (
    SELECT arrived.*, calendar_id, ask <> '' AND calendar_id IS NULL AS is_unknown
    FROM arrived LEFT JOIN LATERAL (
        SELECT calendars.id AS calendar_id FROM calendars
        WHERE ask <> '' AND {is_meant} LIMIT 1
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
    SELECT id, $1::text, message_id, nullif(type, ''), nullif(ref, ''), body, state,
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
    ) AS jobs WHERE $2::boolean
)
SELECT
    judged.message_id,
    is_new,
    first_body IS NOT NULL AS is_repeat,
    first_body <> body AS differs
FROM judged LEFT JOIN LATERAL (
    SELECT deliveries.body AS first_body FROM deliveries
    WHERE source = $1::text AND deliveries.message_id = judged.message_id LIMIT 1
) AS earlier ON true
WHERE (SELECT count(rang) FROM rung) >= 0 AND (is_unknown OR NOT is_new)
"""
#: How a delivery names its calendar: as the workspace does, or, where we opened the channel, as we do.
_BY_NAME = "source = $1::text AND external_id = ref AND connection_id IS NULL"
#: The source is compared so that no index can be used for it: the key alone is to be looked up.
_BY_ID = "calendars.id = ref::uuid AND source || '' = $1::text"
#: Rows go in by message id, then calendars are locked by key: two receivers with the same deliveries
#: cannot deadlock. The update walks the key's index, for which the array is sorted. What is set on a
#: calendar is what `due.ask` sets.
_STORE_AND_ASK = _ARRIVED + _STORED.format(where="") + _ASKED.format(those="touched")
#: When somebody sits on a calendar's row: store and ask what can be, and leave the rest to come again.
_STORE_WHAT_IS_FREE = (
    _ARRIVED
    + _MEANT
    + _LOCKED.format(those="meant", unless=" SKIP LOCKED")
    + _STORED.format(where=" WHERE calendar_id IS NULL OR calendar_id IN (SELECT id FROM locked)")
    + _ASKED.format(those="touched")
)
#: Source, notify, then the columns of `arrived`; bodies as a binary array, whose text would be twice as long.
_FORMATS = [*[Format.TEXT] * 6, Format.BINARY, *[Format.TEXT] * 4]
_BYTEA = 17


class Ask(StrEnum):
    """What a delivery asks of the calendar it speaks of, as the statement spells it."""

    NOTHING = ""
    SYNC = "sync"
    CHECK = "check"


class Arrival(NamedTuple):
    """A delivery to be stored; *job* is what to ring for once it is. Empty means none."""

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
        return f"Arrival({self.message_id!r}, {self.state}, {self.type!r})"


class Stored(NamedTuple):
    """
    What became of a group besides being new, by message id: repeats of a stored one, those of them
    that say something else, and those left out because their calendar was held by somebody else.
    *rings* are the jobs that now have something to do.
    """

    repeated: frozenset[str]
    differing: frozenset[str]
    left_out: frozenset[str]
    rings: frozenset[str]


_SEPARATOR = "\x1f"
_NONE: frozenset[str] = frozenset()


class Inbox:
    """
    The deliveries of one source, written over one connection that is kept and replaced when it fails.

    Stores one group at a time. *by_id* says that deliveries name calendars by our id.
    """

    def __init__(self, engine: Engine, *, source: str, notify: bool, by_id: bool = False) -> None:
        self._engine = engine
        self._prepared = _prepared(_BY_ID if by_id else _BY_NAME)
        self._head = [source.encode(), b"t" if notify else b"f"]
        self._line: Line | None = None

    async def open(self) -> Line:
        """Connect now rather than with the first group. Raises as `store` does."""
        if self._line is None:
            self._line = await Line.open(self._engine, session=_SESSION, prepared=self._prepared)
        return self._line

    async def store(self, arrivals: Sequence[Arrival]) -> Stored:
        """
        Commit the arrivals, no two of which may have the same message id. Safe to repeat.

        Raises psycopg.Error, SQLAlchemyError or OSError when it is not known to be committed; the
        connection is given up then.
        """
        line = await self.open()
        values = [*self._head, *_columns_of(arrivals)]
        is_whole = True
        try:
            try:
                rows = await line.run("store_and_ask", values, _FORMATS)
            except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
                is_whole = False
                rows = await line.run("store_what_is_free", values, _FORMATS)
        except (psycopg.Error, OSError):
            self.close()
            raise
        if not rows:
            return Stored(_NONE, _NONE, _NONE, frozenset({one.job for one in arrivals if one.job}))
        return _told_apart(arrivals, rows, is_whole=is_whole)

    def close(self) -> None:
        """Let go of the connection; the next group gets a new one."""
        line, self._line = self._line, None
        if line is not None:
            with contextlib.suppress(psycopg.Error):
                line.close()

    def look(self) -> None:
        """Have a `store` on a connection that is lost fail now; to be called now and then."""
        if self._line is not None:
            self._line.look()

    def hang_up(self) -> None:
        """Have a `store` that waits for a database fallen silent fail now."""
        if self._line is not None:
            self._line.hang_up()


def _prepared(is_meant: str) -> dict[str, str]:
    statements = {"store_and_ask": _STORE_AND_ASK, "store_what_is_free": _STORE_WHAT_IS_FREE}
    return {name: text.replace("{is_meant}", is_meant) for name, text in statements.items()}


def _columns_of(arrivals: Sequence[Arrival]) -> Sequence[bytes]:
    message_ids, bodies, states, types, refs, reasons, asks, ring_for = zip(*arrivals, strict=True)
    texts = [
        _SEPARATOR.join(column).encode()
        for column in (message_ids, types, refs, states, reasons, asks, ring_for)
    ]
    ids = _SEPARATOR.join([one.hex for one in new_ids(len(arrivals))]).encode()
    return [ids, *texts[:3], _array_of(bodies), *texts[3:]]


def _array_of(bodies: Sequence[bytes]) -> bytes:
    """Write bytea[] as PostgreSQL sends it: dimensions, has NULLs, type, length, lower bound, elements."""
    parts = [pack("!iiIii", 1, 0, _BYTEA, len(bodies), 1)]
    for body in bodies:
        parts += (len(body).to_bytes(4, "big"), body)
    return b"".join(parts)


class _Odd(NamedTuple):
    """A row of the statement's answer: new about an unknown calendar, or not new."""

    message_id: str
    is_new: bool
    is_repeat: bool
    differs: bool


def _told_apart(arrivals: Sequence[Arrival], answer: Sequence[Row], *, is_whole: bool) -> Stored:
    """Tell repeats, what was left out, and new deliveries about unknown calendars apart."""
    rows = [_Odd((row[0] or b"").decode(), *[value == b"t" for value in row[1:]]) for row in answer]
    old = {row.message_id for row in rows if not row.is_new}
    unknown = {row.message_id for row in rows if row.is_new}
    return Stored(
        repeated=frozenset(
            row.message_id for row in rows if not row.is_new and (is_whole or row.is_repeat)
        ),
        differing=frozenset(row.message_id for row in rows if row.differs),
        left_out=frozenset(
            row.message_id for row in rows if not (is_whole or row.is_new or row.is_repeat)
        ),
        rings=frozenset(
            jobs.TAKE_IN if one.message_id in unknown else one.job
            for one in arrivals
            if one.job and one.message_id not in old
        ),
    )
