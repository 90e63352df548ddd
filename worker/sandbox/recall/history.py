"""An append-only, numbered account of all that happened, so that a judge can rebuild any moment."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from worker.sandbox.recall.forms import Json, rendered

KEPT = 500_000  # records; about 400 MB at worst, far beyond any test


@dataclass(slots=True)
class History:
    """Records carry `n` (1, 2, 3 …), `at` (the emulator's time), `kind` and their facts."""

    count: int = 0
    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    _records: deque[Json] = field(default_factory=lambda: deque(maxlen=KEPT))

    def note(self, at: datetime, kind: str, **facts: object) -> None:
        self.count += 1
        self._records.append({"n": self.count, "at": rendered(at, with_z=True), "kind": kind, **facts})

    def note_call(self, at: datetime, *, operation: str, status: int, **facts: object) -> None:
        """Record an API call; status 0 means that the connection was cut."""
        self.requests[operation, status] += 1
        self.note(at, "call", operation=operation, status=status, **facts)

    def after(self, n: int, limit: int) -> list[Json]:
        """List up to *limit* records numbered above *n*, oldest first."""
        first = self.count - len(self._records) + 1
        start = max(0, n + 1 - first)
        return list(islice(self._records, start, start + limit))

    def request_counts(self) -> dict[str, dict[str, int]]:
        counts: dict[str, dict[str, int]] = {}
        for (operation, status), number in sorted(self.requests.items()):
            counts.setdefault(operation, {})[str(status)] = number
        return counts
