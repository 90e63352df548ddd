"""The emulator's time: real, or virtual and moved by hand; and the agenda of what happens when."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta


@dataclass(slots=True)
class Clock:
    """
    Tell the time; real unless a virtual instant is set. Listeners are called on every jump.

    *ahead* is by how much a real clock is wrong.
    """

    at: datetime | None = None
    ahead: timedelta = timedelta(0)
    listeners: list[Callable[[], None]] = field(default_factory=list)

    @property
    def is_virtual(self) -> bool:
        return self.at is not None

    def now(self) -> datetime:
        return self.at if self.at is not None else datetime.now(UTC) + self.ahead

    def jump(self, at: datetime | None) -> None:
        """Stand still at *at*, or run with the real time if None."""
        self.at = at
        for listener in self.listeners:
            listener()

    def advance(self, seconds: float) -> None:
        self.jump(self.now() + timedelta(seconds=seconds))


@dataclass(slots=True)
class Agenda:
    """Actions by instant, carried out in order of time; among equals, in order of entry."""

    _heap: list[tuple[datetime, int, Callable[[], None]]] = field(default_factory=list)
    _count: int = 0

    def add(self, at: datetime, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._heap, (at, self._count, action))

    @property
    def next_at(self) -> datetime | None:
        return self._heap[0][0] if self._heap else None

    def take(self, until: datetime) -> tuple[datetime, Callable[[], None]] | None:
        """Remove and return the first action due by *until*."""
        if not self._heap or self._heap[0][0] > until:
            return None
        at, _, action = heapq.heappop(self._heap)
        return at, action
