"""
Everything that is left to chance, each choice under a name of its own.

A name counts the occasions of one kind (`http.schedule_bot#3`), and what happens there depends on the
seed and the name alone. So one fault can be left out and the others stay, which is what makes a long
story short.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import blake2b

SCALE = float(1 << 64)


class Decisions:
    """
    Chance by seed and name. With *only*, exactly these faults happen and no others.

    `taken` is what was decided to go wrong, in order. While `is_quiet`, nothing goes wrong.
    """

    def __init__(self, seed: int, only: Mapping[str, str] | None = None) -> None:
        self.seed = seed
        self.is_quiet = False
        self.taken: dict[str, str] = {}
        self._only = only
        self._occasions: Counter[str] = Counter()

    def value(self, kind: str) -> float:
        """Return a number in [0, 1) for the next occasion of a kind."""
        return self._drawn(self._next(kind))

    def between(self, kind: str, low: float, high: float) -> float:
        return low + (high - low) * self.value(kind)

    def choice(self, kind: str, things: Sequence[str]) -> str:
        return things[int(self.value(kind) * len(things))]

    def fault(self, kind: str, rate: float, faults: Mapping[str, float]) -> str | None:
        """Say what goes wrong at the next occasion of a kind, mostly nothing; *faults* have weights."""
        name = self._next(kind)
        if self.is_quiet:
            return None
        if self._only is not None:
            fault = self._only.get(name)
        else:
            drawn = self._drawn(name)
            fault = _weighted(faults, drawn / rate) if drawn < rate else None
        if fault is not None:
            self.taken[name] = fault
        return fault

    def entropy(self, kind: str, size: int) -> bytes:
        return self._digest(self._next(kind), size)

    def _next(self, kind: str) -> str:
        self._occasions[kind] += 1
        return f"{kind}#{self._occasions[kind]}"

    def _drawn(self, name: str) -> float:
        return int.from_bytes(self._digest(name, 8), "big") / SCALE

    def _digest(self, name: str, size: int) -> bytes:
        return blake2b(f"{self.seed}:{name}".encode(), digest_size=size).digest()


def _weighted(faults: Mapping[str, float], at: float) -> str:
    at *= sum(faults.values())
    for name, weight in faults.items():
        at -= weight
        if at < 0:
            return name
    return next(reversed(list(faults)))
