"""A Publisher whose broker is a list."""

from __future__ import annotations

from collections.abc import Sequence

from worker.errors import TryLater
from worker.ports import Outgoing


class FakePublisher:
    """
    `published` is what the broker has confirmed, in order.

    `is_down` makes the broker unreachable. What `refused` names by id or by type is not taken.
    `loses_confirmations` takes everything and confirms nothing.
    """

    def __init__(self) -> None:
        self.published: list[Outgoing] = []
        self.refused: set[str] = set()
        self.is_down = False
        self.loses_confirmations = False
        self.is_closed = False

    def publish(self, batch: Sequence[Outgoing]) -> Sequence[str | None]:
        if self.is_down:
            msg = "the broker cannot be reached"
            raise TryLater(msg)
        return [self._take(message) for message in batch]

    def close(self) -> None:
        self.is_closed = True

    def _take(self, message: Outgoing) -> str | None:
        if self.refused & {message.id, message.type}:
            return "not routed"
        self.published.append(message)
        return "not confirmed" if self.loses_confirmations else None
