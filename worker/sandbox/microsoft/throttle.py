"""
How much one application may ask of one mailbox: so many calls at once, so many in ten minutes.

Source: learn.microsoft.com/graph/throttling-limits (Outlook service limits).
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from worker.sandbox.microsoft import refusals
from worker.sandbox.microsoft.switches import Limits

Pair = tuple[str, str]  # application, account


@dataclass(slots=True)
class Throttle:
    """Counters by application and mailbox; a refused call counts too, as all of them accrue."""

    _running: Counter[Pair] = field(default_factory=Counter)
    _taken: dict[Pair, deque[datetime]] = field(default_factory=dict)

    @contextmanager
    def place_for(self, pair: Pair, now: datetime, limits: Limits) -> Iterator[None]:
        """
        Hold one of the places of *pair* for the length of a call.

        Raises:
            Refused: 429 with Retry-After; all places are taken, or the window is used up.
        """
        if not limits.throttling:
            yield
            return
        taken = self._taken.setdefault(pair, deque())
        while taken and taken[0] <= now - timedelta(seconds=limits.window_s):
            taken.popleft()
        if len(taken) >= limits.requests_per_window:
            free_at = taken[0] + timedelta(seconds=limits.window_s)
            raise refusals.throttled("RequestCount", max(1, math.ceil((free_at - now).total_seconds())))
        taken.append(now)
        if self._running[pair] >= limits.concurrent_requests:
            raise refusals.throttled("MailboxConcurrency", limits.retry_after_s)
        self._running[pair] += 1
        try:
            yield
        finally:
            self._running[pair] -= 1
