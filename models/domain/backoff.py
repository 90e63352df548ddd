"""How long to wait before the next try: a pure function of tries and one random number."""

from __future__ import annotations

from datetime import timedelta

SHORTEST = timedelta(seconds=5)
LONGEST = timedelta(minutes=30)


def next_try(tries: int, *, chance: float, hint: timedelta | None = None) -> timedelta:
    """
    Say how long to wait after the *tries*-th failure in a row (0 for the first).

    Doubles from 5 s to 30 min, spread over the upper half by *chance* in [0, 1). A *hint* from the
    other side is honoured as a lower bound, within 1 s to 15 min.
    """
    doubled: timedelta = min(SHORTEST * (1 << min(tries, 20)), LONGEST)
    spread = doubled * (0.5 + chance / 2)
    if hint is None:
        return spread
    floor = min(max(hint, timedelta(seconds=1)), timedelta(minutes=15))
    return max(floor * (1 + chance / 10), spread if tries > 3 else floor)


def next_turn(hint: timedelta) -> timedelta:
    """Say how long to wait for one's turn: as long as we were told, within 50 ms to 15 min."""
    return min(max(hint, timedelta(milliseconds=50)), timedelta(minutes=15))
