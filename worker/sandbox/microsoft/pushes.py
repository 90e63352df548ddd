"""
What is owed to notification endpoints: what is due when, what an answer means, how healthy an endpoint is.

Does no I/O; `courier` carries it out.
Source: learn.microsoft.com/graph/change-notifications-delivery-webhooks (3 s, 4 h, slow and drop; its copies
of 2023 to 2026 differ, the newest numbers are in `Limits`).
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from worker.sandbox.microsoft.subscriptions import Subscription
from worker.sandbox.microsoft.switches import Limits
from worker.sandbox.microsoft.times import shown_instant
from worker.sandbox.recall.forms import Json
from worker.sandbox.recall.switches import replaced

KEPT = 200_000
JUDGED_ANEW = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Weather:
    """How badly notifications are delivered; probabilities are 0..1."""

    drop: float = 0.0  # never sent, and nobody is told
    duplicate: float = 0.0  # sent *copies* times
    copies: int = 2
    delay_ms: int = 0
    shuffle_ms: int = 0  # a random extra delay up to so long: order is lost
    paused: bool = False
    concurrency: int = 16
    # True: what is due for one URL goes out in one POST; False: one notification each
    mixes: bool = True

    def with_changes(self, wish: Mapping[str, Any]) -> Weather:
        """Raises ValueError: an unknown field or value."""
        changed = replaced(self, wish)
        if changed.copies < 1 or changed.concurrency < 1:
            raise ValueError("copies and concurrency are at least 1")
        return changed


@dataclass(slots=True, eq=False)
class Notice:
    """One element of `value[]`. *kind* is a change type or a lifecycle event."""

    n: int
    subscription: Subscription
    kind: str
    body: Json
    url: str
    created_at: datetime
    is_lifecycle: bool = False
    state: str = "pending"  # pending | delivered | given_up | lost | dropped | paused
    tries: int = 0
    next_at: datetime | None = None
    attempts: list[Json] = field(default_factory=list)

    def shown(self) -> Json:
        return {
            "n": self.n,
            "subscription": self.subscription.id,
            "kind": self.kind,
            "url": self.url,
            "state": self.state,
            "created_at": shown_instant(self.created_at),
            "next_attempt_at": self.next_at and shown_instant(self.next_at),
            "attempts": self.attempts,
            "body": self.body,
        }


@dataclass(slots=True)
class Health:
    """The answers of one host since they were last counted anew; *until* is how long it is throttled."""

    began_at: datetime
    answers: int = 0
    slow: int = 0
    very_slow: int = 0
    slow_until: datetime | None = None
    drops_until: datetime | None = None

    def note(self, took_s: float, now: datetime, limits: Limits) -> None:
        if now - self.began_at >= JUDGED_ANEW:
            self.began_at, self.answers, self.slow, self.very_slow = now, 0, 0, 0
        self.answers += 1
        self.slow += took_s > limits.answer_s
        self.very_slow += took_s > limits.retry_answer_s
        if self.answers < limits.answers_judged:
            return
        if self.slow / self.answers > limits.slow_share:
            self.slow_until = now + timedelta(seconds=limits.throttle_s)
        if self.very_slow / self.answers > limits.drop_share:
            self.drops_until = now + timedelta(seconds=limits.throttle_s)

    def state(self, now: datetime) -> str:
        if self.drops_until is not None and now < self.drops_until:
            return "drop"
        return "slow" if self.slow_until is not None and now < self.slow_until else "well"


@dataclass(slots=True)
class Pushes:
    """Queue and log of notices."""

    weather: Weather = field(default_factory=Weather)
    notices: dict[int, Notice] = field(default_factory=dict)
    health: dict[str, Health] = field(default_factory=dict)  # by host
    counts: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    _due: list[tuple[datetime, int, int]] = field(default_factory=list)
    _entries: int = 0
    _count: int = 0

    def queue(
        self,
        subscription: Subscription,
        kind: str,
        body: Json,
        now: datetime,
        limits: Limits,
        chance: random.Random,
        *,
        is_lifecycle: bool = False,
    ) -> Notice:
        """Owe a notice; it may be lost, dropped, doubled or late by weather and health."""
        self._count += 1
        url = (subscription.lifecycle_url or "") if is_lifecycle else subscription.url
        notice = Notice(self._count, subscription, kind, body, url, now, is_lifecycle)
        self.notices[notice.n] = notice
        while len(self.notices) > KEPT:
            del self.notices[next(iter(self.notices))]
        health = self.health_of(url, now).state(now)
        weather = self.weather
        if health == "drop":
            notice.state = "dropped"
        elif weather.drop and chance.random() < weather.drop:
            notice.state = "lost"
        else:
            is_doubled = weather.duplicate and chance.random() < weather.duplicate
            for _ in range(weather.copies if is_doubled else 1):
                wait_ms = weather.delay_ms + (chance.random() * weather.shuffle_ms)
                wait = timedelta(milliseconds=wait_ms)
                if health == "slow":
                    wait += timedelta(seconds=limits.throttle_s)
                self._add(notice, now + wait)
        self.counts[notice.state] += 1
        return notice

    def replay(self, notice: Notice, now: datetime) -> None:
        """Send again, from the first attempt."""
        notice.state, notice.tries = "pending", 0
        self._add(notice, now)

    @property
    def next_at(self) -> datetime | None:
        return None if self.weather.paused or not self._due else self._due[0][0]

    @property
    def waiting(self) -> int:
        return len(self._due)

    def take(self, now: datetime, most: int) -> list[Notice]:
        """Take what is due for one URL, at most *most* notices; they are in flight until `settle`."""
        if self.next_at is None or self.next_at > now:
            return []
        taken: list[Notice] = []
        passed: list[tuple[datetime, int, int]] = []
        while self._due and self._due[0][0] <= now and len(taken) < (most if self.weather.mixes else 1):
            entry = heapq.heappop(self._due)
            notice = self.notices.get(entry[2])
            if notice is None:
                continue
            if notice in taken or (taken and notice.url != taken[0].url):
                passed.append(entry)
            else:
                taken.append(notice)
        for entry in passed:
            heapq.heappush(self._due, entry)
        self.in_flight += len(taken)
        return taken

    def put_back(self, notice: Notice, at: datetime, state: str = "pending") -> None:
        """Let a notice taken wait until *at*, no attempt counted."""
        self.in_flight -= 1
        notice.state = state
        self._add(notice, at)

    def drop_taken(self, notice: Notice, state: str) -> None:
        """Close a notice that was taken and shall not be sent."""
        self.in_flight -= 1
        self._close(notice, state)

    def settle(
        self,
        notice: Notice,
        now: datetime,
        limits: Limits,
        *,
        status: int | None,
        error: str | None,
        took_s: float,
    ) -> None:
        """Record an attempt and put the notice off, or close it; a 2xx in time alone is success."""
        self.in_flight -= 1
        allowed_s = limits.retry_answer_s if notice.tries else limits.answer_s
        succeeded = status is not None and 200 <= status < 300 and took_s <= allowed_s
        notice.attempts.append(
            {
                "at": shown_instant(now),
                "status": status,
                "error": error,
                "duration_ms": round(took_s * 1000, 2),
            }
        )
        self.counts["attempts"] += 1
        notice.tries += 1
        if succeeded:
            self._close(notice, "delivered")
        elif notice.state == "delivered":
            return
        else:
            wait_s = min(limits.first_retry_s * 2 ** (notice.tries - 1), limits.longest_retry_s)
            if self.health_of(notice.url, now).state(now) != "well":
                wait_s = limits.throttle_s
            at = now + timedelta(seconds=wait_s)
            if at > notice.created_at + timedelta(seconds=limits.retry_for_s):
                self._close(notice, "given_up")
            else:
                self._add(notice, at)

    def health_of(self, url: str, now: datetime) -> Health:
        return self.health.setdefault(urlsplit(url).netloc, Health(now))

    def _close(self, notice: Notice, state: str) -> None:
        if notice.state != state:
            self.counts[state] += 1
        notice.state, notice.next_at = state, None

    def _add(self, notice: Notice, at: datetime) -> None:
        self._entries += 1
        notice.next_at = at
        heapq.heappush(self._due, (at, self._entries, notice.n))
