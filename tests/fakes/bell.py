"""A Bell that remembers who rang for what."""

from __future__ import annotations


class FakeBell:
    """`rings` is every ring in order; `is_broken` loses them, as a broker that is down does."""

    def __init__(self) -> None:
        self.rings: list[tuple[str, str | None]] = []
        self.is_broken = False

    def ring(self, job: str, row_id: str | None = None) -> None:
        if not self.is_broken:
            self.rings.append((job, row_id))

    def take(self) -> list[tuple[str, str | None]]:
        """Return the rings so far, each once, and forget them."""
        heard = list(dict.fromkeys(self.rings))
        self.rings.clear()
        return heard
