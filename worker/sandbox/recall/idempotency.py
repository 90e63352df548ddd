"""
Remembered answers by Idempotency-Key and path, within one workspace.

Source: docs.recall.ai idempotency: one hour, POST/PUT/PATCH, 409 while the first is running, a stored 507
replays too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from worker.sandbox.recall.answers import Answer, refusal


@dataclass(slots=True)
class Idempotency:
    _answers: dict[tuple[str, str], tuple[datetime, Answer]] = field(default_factory=dict)
    _running: set[tuple[str, str]] = field(default_factory=set)

    def stored(self, key: str, path: str, now: datetime, ttl_s: float) -> Answer | None:
        """
        Return the answer to replay, or None and hold the key until `store` or `release`.

        Raises:
            ApiError: 409, the same key is still running.
        """
        slot = (key, path)
        if slot in self._running:
            raise refusal(
                409, "conflict", "A request with the same idempotency key is still in progress."
            )
        if slot in self._answers:
            stored_at, answer = self._answers[slot]
            if now - stored_at < timedelta(seconds=ttl_s):
                return answer
            del self._answers[slot]
        self._running.add(slot)
        return None

    def store(self, key: str, path: str, now: datetime, answer: Answer) -> None:
        self._running.discard((key, path))
        self._answers[key, path] = (now, answer)

    def release(self, key: str, path: str) -> None:
        self._running.discard((key, path))
