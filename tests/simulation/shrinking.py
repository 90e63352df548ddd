"""Makes a failing story short: edits and faults are left out as long as it still fails the same way."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from time import monotonic
from typing import TypeVar

from tests.simulation.simulation import Outcome, Story

Thing = TypeVar("Thing")


def shortened(
    story: Story, outcome: Outcome, play: Callable[[Story], Outcome], *, budget_s: float = 90
) -> tuple[Story, Outcome]:
    """Return the shortest story found that breaks the same invariant, and how it ends."""
    until = monotonic() + budget_s
    kind = kind_of(outcome)
    best = replace(story, faults=dict(outcome.faults))
    ending = play(best)
    if kind_of(ending) != kind:
        return story, outcome  # it does not fail without its chances, so they stay

    def fails(candidate: Story) -> bool:
        nonlocal best, ending
        if monotonic() > until:
            return False
        played = play(candidate)
        if kind_of(played) != kind:
            return False
        best, ending = candidate, played
        return True

    def fails_with_faults(kept: Sequence[str]) -> bool:
        return fails(replace(best, faults={name: outcome.faults[name] for name in kept}))

    reduce(list(best.faults or {}), fails_with_faults)
    reduce(list(best.edits), lambda kept: fails(replace(best, edits=tuple(kept))))
    reduce(list(best.faults or {}), fails_with_faults)
    return best, ending


def kind_of(outcome: Outcome) -> str | None:
    """Name what was violated without the particulars, so that two endings can be compared."""
    if outcome.violation is None:
        return None
    return re.sub(r"[0-9a-f]{8}-[-0-9a-f]+|https?://\S+|\d+", "", outcome.violation)[:40]


def command_of(story: Story) -> str:
    """Write the command that plays a story again."""
    edits = ",".join(str(edit.number) for edit in story.edits)
    faults = ",".join(f"{name}={fault}" for name, fault in (story.faults or {}).items())
    worlds = "" if story.worlds == "recall" else f" --worlds {story.worlds}"
    command = f"python -m tests.simulation{worlds} --replay {story.seed} --edits '{edits}'"
    return command if story.faults is None else f"{command} --faults '{faults}'"


def reduce(things: Sequence[Thing], still_fails: Callable[[list[Thing]], bool]) -> list[Thing]:
    """Leave out ever smaller parts of *things*; what has to stay is returned."""
    kept = list(things)
    size = len(kept)
    while size >= 1 and kept:
        for part in list(_parts(kept, size)):
            rest = [thing for thing in kept if thing not in part]
            if len(rest) < len(kept) and still_fails(rest):
                kept = rest
        size //= 2
    return kept


def _parts(things: Sequence[Thing], size: int) -> Iterator[Sequence[Thing]]:
    for start in range(0, len(things), size):
        yield things[start : start + size]
