"""
Turns of work that take turns: one runs at a time, and gives way only where it says so.

Each has a stack of its own (a greenlet), because a use-case cannot be stopped half-way otherwise;
all share one thread, so that nothing ever runs beside anything else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from greenlet import getcurrent, greenlet


class Crash(BaseException):
    """The process of a turn is killed here and now; nothing catches this."""


@dataclass(eq=False)
class Turn:
    """
    One run of one job by one worker.

    `claims` are the rows it has claimed, `overtaken` those that somebody claimed after it.
    """

    name: str
    worker: int
    work: Callable[[], object]
    number: int
    is_dead: bool = False
    is_over: bool = False
    raised: BaseException | None = None
    claims: dict[tuple[str, str], int] = field(default_factory=dict)
    overtaken: set[tuple[str, str]] = field(default_factory=set)
    served: list[tuple[str, str]] = field(default_factory=list)
    gives_up: bool = False
    notes: dict[str, Any] = field(default_factory=dict)
    stack: greenlet | None = None


class Stage:
    """Where turns come on one at a time. `current` is the one on stage, None between them."""

    def __init__(self) -> None:
        self.current: Turn | None = None

    def run(self, turn: Turn) -> None:
        """Let a turn begin, or go on, until it gives way or ends."""
        if turn.stack is None:
            turn.stack = greenlet(_live)
        self.current = turn
        turn.stack.parent = getcurrent()
        turn.stack.switch(turn)
        self.current = None

    def give_way(self) -> None:
        """Leave the stage; comes back when the turn is run again. Raises Crash if it was killed."""
        turn = self.current
        assert turn is not None
        assert turn.stack is not None
        assert turn.stack.parent is not None
        turn.stack.parent.switch()
        if turn.is_dead:
            raise Crash

    def kill(self, turn: Turn) -> None:
        """Have a turn that has given way die where it stands."""
        turn.is_dead = True
        if turn.stack is not None and not turn.is_over:
            self.run(turn)
        turn.is_over = True


def _live(turn: Turn) -> None:
    try:
        turn.work()
    except BaseException as raised:
        turn.raised = raised
    turn.is_over = True
