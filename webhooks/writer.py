"""
Commits deliveries in groups: whatever waits when the last commit is done goes into the next one.

Nobody is answered before the commit. There is no artificial wait: alone, a delivery is committed at
once. What a failed commit left behind is unknown, so the sender is told to come again; the unique
message id makes that harmless.
Knows nothing of HTTP and nothing of SQL.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from time import monotonic

import psycopg
import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from webhooks.arrivals import Arrival, Inbox, Stored
from worker import metrics

log = structlog.get_logger(__name__)

#: The sender is answered within 3 s, come what may; what the clock is late by is kept in reserve.
PATIENCE_S = 2.5
TICK_S = 0.2
#: Later than this a group is not tried a second time on a fresh connection.
LATEST_RETRY_S = 1.0
#: Together they bound the memory of a receiver whose database has gone.
MOST_WAITING = 10_000
MOST_WAITING_BYTES = 32 * 1024 * 1024
MOST_TOGETHER = 500
MOST_TOGETHER_BYTES = 4 * 1024 * 1024
#: One line about failures in so many seconds; the metric counts each.
QUIET_S = 1.0

#: What says that a group is not known to be committed.
_FAILURES = (psycopg.Error, SQLAlchemyError, OSError)


class Verdict(Enum):
    """What became of a delivery."""

    STORED = auto()
    REPEATED = auto()
    UNAVAILABLE = auto()


@dataclass(slots=True, eq=False)
class _Waiting:
    arrival: Arrival
    settled: Callable[[Verdict], None]
    until: float
    is_answered: bool = False


class Writer:
    """
    Stores deliveries of one *source*; made, started and stopped on one event loop.

    *ring* is called once the answers are out, for every job that now has something to do. With
    *notify* the commit itself wakes whoever listens on the channel `punctual`, and nobody is rung.
    *by_id* says that deliveries name calendars by our id.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        source: str,
        ring: Callable[[str, str | None], None],
        notify: bool = False,
        by_id: bool = False,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._inbox = Inbox(engine, source=source, notify=notify, by_id=by_id)
        self._source = source
        self._ring = None if notify else ring
        self._patience_s = patience_s
        self._waiting: deque[_Waiting] = deque()
        self._has_come = asyncio.Event()
        self._unanswered: deque[_Waiting] = deque()
        self._count = self._bytes = 0
        self._is_open = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tick: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        self._overdue_at = math.inf
        self._quiet_until = 0.0

    def start(self) -> None:
        """Begin to write."""
        self._loop = asyncio.get_running_loop()
        self._is_open = True
        self._writing = self._loop.create_task(self._write_on(), name="writer")
        self._tick = self._loop.call_later(TICK_S, self._give_up_on_late)

    async def stop(self) -> None:
        """Commit what waits, refuse what comes, let go of the connection; within four seconds."""
        self._is_open = False
        self._has_come.set()
        if self._writing is not None:
            await asyncio.wait({self._writing}, timeout=self._patience_s + 1)
            self._writing.cancel()
            # Only then is nobody left who looks at the connection.
            await asyncio.wait({self._writing})
        self._inbox.close()
        if self._tick is not None:
            self._tick.cancel()
        self._answer(list(self._unanswered), Verdict.UNAVAILABLE)

    @property
    def is_writing(self) -> bool:
        """Whether a delivery handed over now has somebody to write it."""
        return self._is_open and self._writing is not None and not self._writing.done()

    async def store(self, arrival: Arrival) -> Verdict:
        """Return once the delivery is committed, or was before, or cannot be in time."""
        verdict: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        waiting = self._put(
            arrival, lambda found: None if verdict.done() else verdict.set_result(found)
        )
        if waiting is None:
            return Verdict.UNAVAILABLE
        try:
            return await verdict
        finally:
            self._forget(waiting)

    def put(self, arrival: Arrival, settled: Callable[[Verdict], None]) -> None:
        """Have *settled* called on the event loop when `store` would return, or at once if that is now."""
        if self._put(arrival, settled) is None:
            settled(Verdict.UNAVAILABLE)

    # Waiting

    def _put(self, arrival: Arrival, settled: Callable[[Verdict], None]) -> _Waiting | None:
        """Hand a delivery over to the writer; None when there is no room or nobody who writes."""
        size = len(arrival.body)
        is_full = self._count >= MOST_WAITING or self._bytes + size > MOST_WAITING_BYTES
        if is_full or not self.is_writing:
            return None
        waiting = _Waiting(arrival, settled, monotonic() + self._patience_s)
        self._count += 1
        self._bytes += size
        self._unanswered.append(waiting)
        self._waiting.append(waiting)
        self._has_come.set()
        return waiting

    def _forget(self, waiting: _Waiting) -> bool:
        """Stop waiting; False when an answer had been given, or nobody waited any more, before."""
        if waiting.is_answered:
            return False
        waiting.is_answered = True
        self._count -= 1
        self._bytes -= len(waiting.arrival.body)
        return True

    def _answer(self, those: Iterable[_Waiting], verdict: Verdict) -> int:
        answered = 0
        for waiting in those:
            if self._forget(waiting):
                waiting.settled(verdict)
                answered += 1
        unanswered = self._unanswered
        while unanswered and unanswered[0].is_answered:
            unanswered.popleft()  # what is kept for longer than needed falls out of the caches
        return answered

    def _give_up_on_late(self) -> None:
        now = monotonic()
        late: list[_Waiting] = []
        while self._unanswered and self._unanswered[0].until <= now:
            late.append(self._unanswered.popleft())
        if lost := self._answer(late, Verdict.UNAVAILABLE):
            log.error("commit_took_too_long", deliveries=lost)
        if self._overdue_at <= now:
            self._inbox.hang_up()
        else:
            self._inbox.look()
        assert self._loop is not None
        self._tick = self._loop.call_later(TICK_S, self._give_up_on_late)

    # Writing

    async def _write_on(self) -> None:
        with contextlib.suppress(*_FAILURES):
            await self._inbox.open()  # else the first group does, and says so
        while group := await self._take_waiting():
            self._overdue_at = monotonic() + self._patience_s
            try:
                await self._write(group)
            except Exception:
                log.exception("writer_failed", deliveries=len(group))
                self._settle(group, Verdict.UNAVAILABLE)
            self._overdue_at = math.inf

    async def _take_waiting(self) -> list[_Waiting]:
        """Take what waits, or wait for something; nothing means that there will be no more."""
        group: list[_Waiting] = []
        size = 0
        while not group and (self._is_open or self._waiting):
            if not self._waiting:
                self._has_come.clear()
                await self._has_come.wait()
            while self._waiting and len(group) < MOST_TOGETHER and size < MOST_TOGETHER_BYTES:
                waiting = self._waiting.popleft()
                if not waiting.is_answered:  # else nobody waits for it any more
                    group.append(waiting)
                    size += len(waiting.arrival.body)
        return group

    async def _write(self, group: Sequence[_Waiting]) -> None:
        first_by_id: dict[str, Arrival] = {}
        for waiting in group:
            first_by_id.setdefault(waiting.arrival.message_id, waiting.arrival)
        firsts = list(first_by_id.values())
        stored = await self._commit(firsts)
        if stored is None:
            self._settle(group, Verdict.UNAVAILABLE)
        elif len(firsts) == len(group) and not (stored.repeated or stored.left_out):
            self._settle(group, Verdict.STORED)
        else:
            self._settle_apart(group, first_by_id, stored)
        if stored is not None and self._ring is not None:
            for job in stored.rings:
                self._ring(job, None)

    def _settle_apart(
        self, group: Sequence[_Waiting], first_by_id: Mapping[str, Arrival], stored: Stored
    ) -> None:
        """Answer a group of which some had been there before, or were left out."""
        by_verdict: dict[Verdict, list[_Waiting]] = {verdict: [] for verdict in Verdict}
        for waiting in group:
            arrival = waiting.arrival
            is_new = (
                first_by_id[arrival.message_id] is arrival and arrival.message_id not in stored.repeated
            )
            verdict = Verdict.STORED if is_new else Verdict.REPEATED
            if arrival.message_id in stored.left_out:
                verdict = Verdict.UNAVAILABLE
            by_verdict[verdict].append(waiting)
        for verdict, those in by_verdict.items():
            self._settle(those, verdict)
        if left_out := len(stored.left_out):
            metrics.CALENDARS_BUSY.inc(left_out)
            log.warning("calendars_busy", source=self._source, deliveries=left_out)
        for waiting in group:
            arrival = waiting.arrival
            if (
                arrival.message_id in stored.differing
                or arrival.body != first_by_id[arrival.message_id].body
            ):
                # Somebody who knows the secret says two things under one name.
                log.warning("delivery_body_differs", source=self._source, message_id=arrival.message_id)
                metrics.DELIVERIES_DIFFERING.labels(self._source).inc()

    async def _commit(self, arrivals: Sequence[Arrival]) -> Stored | None:
        began_at = monotonic()
        may_retry = True
        while True:
            try:
                stored = await self._inbox.store(arrivals)
            except _FAILURES as failure:
                if may_retry and monotonic() - began_at < LATEST_RETRY_S:
                    may_retry = False  # the connection may have died unused: worth one fresh one
                    continue
                self._report(failure, len(arrivals))
                return None
            metrics.COMMIT_SECONDS.observe(monotonic() - began_at)
            metrics.COMMIT_DELIVERIES.observe(len(arrivals))
            return stored

    def _report(self, failure: Exception, deliveries: int) -> None:
        metrics.COMMIT_FAILURES.inc()
        if monotonic() >= self._quiet_until:
            self._quiet_until = monotonic() + QUIET_S
            log.error(
                "commit_failed", deliveries=deliveries, error=f"{type(failure).__name__}: {failure}"
            )

    def _settle(self, those: Sequence[_Waiting], verdict: Verdict) -> None:
        assert self._loop is not None
        # The next group is on its way to the database before this one is answered.
        self._loop.call_soon(self._answer, those, verdict)
