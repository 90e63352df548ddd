"""
Call budgets that all workers share: token buckets in the database, on the database's clock.

A bucket holds a quarter of the provider's limit and refills with the other three quarters a minute,
so that no minute, wherever it begins, sees more calls than the limit. Its last fifth is for calls that
are urgent: whatever is planned for later leaves it alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import Engine, Row, text

from models.db import Tx
from worker.errors import TryLater

PATIENCE = timedelta(seconds=1)
#: A listing that gave up between two pages would have to begin anew; its lease allows for this wait.
LISTING_PATIENCE = timedelta(seconds=10)
RESERVED = 0.2
SLOWEST_PACE = 0.1
SLOW_DOWN = 0.7
RECOVERY_PER_MINUTE = 0.3  # from the slowest pace back to the full one in three quiet minutes


@dataclass(frozen=True, slots=True)
class Bucket:
    """
    Tokens at one instant, for a limit of *per_minute* calls.

    Tokens below zero are promised to callers that wait for them, in the order in which they came.
    """

    per_minute: int
    tokens: float
    counted_at: datetime
    pace: float = 1.0
    blocked_until: datetime | None = None

    @property
    def capacity(self) -> float:
        return capacity_of(self.per_minute)

    @property
    def refill_per_second(self) -> float:
        # A limit of one leaves nothing beside the burst: then one call every 66 s.
        return max(self.per_minute - self.capacity, 0.9) / 60 * self.pace

    def counted(self, now: datetime) -> Bucket:
        """Return the bucket as of *now*; nothing trickles in while it is blocked."""
        flowing_from = max(self.counted_at, self.blocked_until or self.counted_at)
        seconds = max(0.0, (now - flowing_from).total_seconds())
        return replace(
            self,
            tokens=min(self.capacity, self.tokens + seconds * self.refill_per_second),
            counted_at=max(now, self.counted_at),
            pace=min(1.0, self.pace + seconds / 60 * RECOVERY_PER_MINUTE),
        )

    @property
    def reserve(self) -> float:
        return float(int(self.capacity * RESERVED))

    @property
    def each(self) -> timedelta:
        """How long one more call takes to come in."""
        return timedelta(seconds=1 / self.refill_per_second)

    def wait(self, *, is_far: bool = False) -> timedelta:
        """How long the next caller has to wait, counted from `counted_at`; a far one leaves the reserve."""
        blocked = max(timedelta(), (self.blocked_until or self.counted_at) - self.counted_at)
        missing = max(0.0, 1.0 + (self.reserve if is_far else 0.0) - self.tokens)
        return blocked + timedelta(seconds=missing / self.refill_per_second)

    def taken(self) -> Bucket:
        return replace(self, tokens=self.tokens - 1)

    def slowed(self, until: datetime) -> Bucket:
        """
        Return the bucket after the provider refused a call.

        It starts empty when the block ends. Several refusals of one burst slow it down once.
        """
        was_blocked = self.blocked_until is not None and self.blocked_until > self.counted_at
        return replace(
            self,
            tokens=min(self.tokens, 0.0),
            pace=self.pace if was_blocked else max(SLOWEST_PACE, self.pace * SLOW_DOWN),
            blocked_until=max(until, self.blocked_until or until),
        )


def capacity_of(per_minute: int) -> float:
    """Return the largest burst under a limit: a quarter of it, but one call at least."""
    return max(1.0, per_minute / 4)


class SharedBudgets:
    """The `Allowance` of every worker that uses one database."""

    def __init__(
        self,
        engine: Engine,
        per_minute_by_name: Mapping[str, int],
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._engine = engine
        self._per_minute_by_name = dict(per_minute_by_name)
        self._sleep = sleep

    def take(self, name: str, *, is_far: bool = False, is_listing: bool = False) -> None:
        """
        Use one call of budget *name*; waits a little, first come first served: up to a second, up to
        ten for a page of a listing.

        Raises TryLater(after=…, counts=False) when it would take longer; then nothing was used.
        """
        with self._engine.begin() as tx:
            bucket = self._locked(tx, name)
            wait = bucket.wait(is_far=is_far)
            patience = LISTING_PATIENCE if is_listing else PATIENCE
            granted = wait <= patience
            _store(tx, name, bucket.taken() if granted else bucket)
        if not granted:
            # Whoever comes back then is the first to be let wait for the next call.
            raise _busy(name, wait - patience, bucket.each)
        if wait:
            self._sleep(wait.total_seconds())
            self._refuse_if_blocked(name)

    def objected(self, name: str, after: timedelta) -> None:
        """Learn that the provider refused a call: nobody calls before *after*, and all call slower."""
        with self._engine.begin() as tx:
            bucket = self._locked(tx, name)
            _store(tx, name, bucket.slowed(bucket.counted_at + after))

    def _locked(self, tx: Tx, name: str) -> Bucket:
        per_minute = self._per_minute_by_name[name]
        row = tx.execute(_LOCK, {"name": name}).one_or_none()
        if row is None:
            tx.execute(_OPEN, {"name": name, "tokens": capacity_of(per_minute)})
            row = tx.execute(_LOCK, {"name": name}).one()
        return _read(row, per_minute)

    def _refuse_if_blocked(self, name: str) -> None:
        with self._engine.begin() as tx:
            seconds = tx.execute(_BLOCKED, {"name": name}).scalar_one_or_none()
        if seconds and seconds > 0:
            raise _busy(name, timedelta(seconds=float(seconds)), None)


# The clock is read after the lock is held: a row that changed while we waited is read anew.
_LOCK = text(
    "SELECT tokens, counted_at, pace, blocked_until, clock_timestamp() AS now"
    " FROM budgets WHERE name = :name FOR UPDATE"
)
_OPEN = text(
    "INSERT INTO budgets (name, tokens, counted_at) VALUES (:name, :tokens, clock_timestamp())"
    " ON CONFLICT DO NOTHING"
)
_STORE = text(
    "UPDATE budgets SET tokens = :tokens, counted_at = :counted_at, pace = :pace,"
    " blocked_until = :blocked_until WHERE name = :name"
)
_BLOCKED = text(
    "SELECT extract(epoch FROM blocked_until - clock_timestamp()) FROM budgets WHERE name = :name"
)


def _read(row: Row[tuple[object, ...]], per_minute: int) -> Bucket:
    stored = Bucket(per_minute, row.tokens, row.counted_at, row.pace, row.blocked_until)
    return stored.counted(row.now)


def _store(tx: Tx, name: str, bucket: Bucket) -> None:
    tx.execute(
        _STORE,
        {
            "name": name,
            "tokens": bucket.tokens,
            "counted_at": bucket.counted_at,
            "pace": bucket.pace,
            "blocked_until": bucket.blocked_until,
        },
    )


def _busy(name: str, wait: timedelta, each: timedelta | None) -> TryLater:
    what = f"budget {name} is used up"
    return TryLater(what, after=wait, counts=False, each=each, is_definite=True)
