"""An Allowance that never sleeps: so many calls of each budget, then no more until told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import timedelta

from worker.errors import TryLater


class FakeAllowance:
    """
    Grants without end, or as many as *left* says by name.

    `taken` counts what was granted, `far` what of it was not urgent, `objections` remembers what the
    provider refused.
    """

    def __init__(self, left: Mapping[str, int] | None = None) -> None:
        self.left = dict(left or {})
        self.taken: Counter[str] = Counter()
        self.far: Counter[str] = Counter()
        self.objections: list[tuple[str, timedelta]] = []
        self.blocked: dict[str, timedelta] = {}

    def take(self, name: str, *, is_far: bool = False, is_listing: bool = False) -> None:
        del is_listing  # nobody ever waits here
        if name in self.blocked:
            raise self._busy(name, self.blocked[name])
        if self.left.get(name, 1) < 1:
            raise self._busy(name, timedelta(seconds=60))
        if name in self.left:
            self.left[name] -= 1
        self.taken[name] += 1
        self.far[name] += is_far

    def objected(self, name: str, after: timedelta) -> None:
        self.objections.append((name, after))
        self.blocked[name] = max(after, self.blocked.get(name, after))

    def pass_time(self) -> None:
        """Let every block end."""
        self.blocked.clear()

    def _busy(self, name: str, after: timedelta) -> TryLater:
        return TryLater(f"budget {name} is used up", after=after, counts=False, is_definite=True)
