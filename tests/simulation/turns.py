"""
Turns of work that take turns: one runs at a time, and gives way only where it says so.

Each has a thread of its own because a use-case cannot be stopped half-way otherwise; a baton goes
from thread to thread, so that nothing ever runs beside anything else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any


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
    baton: threading.Lock = field(default_factory=threading.Lock)


class Stage:
    """Where turns come on one at a time. `current` is the one on stage, None between them."""

    def __init__(self) -> None:
        self.current: Turn | None = None
        self._back = threading.Lock()
        self._back.acquire()
        self._idle: list[SimpleQueue[Turn | None]] = []

    def run(self, turn: Turn) -> None:
        """Let a turn begin, or go on, until it gives way or ends."""
        self.current = turn
        if turn.notes.get("begun"):
            turn.baton.release()
        else:
            turn.notes["begun"] = True
            turn.baton.acquire()
            thread = self._idle.pop() if self._idle else self._thread()
            thread.put(turn)
        self._back.acquire()
        self.current = None

    def give_way(self) -> None:
        """Leave the stage; comes back when the turn is run again. Raises Crash if it was killed."""
        turn = self.current
        assert turn is not None
        self._back.release()
        turn.baton.acquire()
        if turn.is_dead:
            raise Crash

    def kill(self, turn: Turn) -> None:
        """Have a turn that has given way die where it stands."""
        turn.is_dead = True
        if turn.notes.get("begun") and not turn.is_over:
            self.run(turn)
        turn.is_over = True

    def close(self) -> None:
        for thread in self._idle:
            thread.put(None)
        self._idle.clear()

    def _thread(self) -> SimpleQueue[Turn | None]:
        inbox: SimpleQueue[Turn | None] = SimpleQueue()

        def live() -> None:
            while (turn := inbox.get()) is not None:
                try:
                    turn.work()
                except BaseException as raised:
                    turn.raised = raised
                turn.is_over = True
                self._idle.append(inbox)
                self._back.release()

        threading.Thread(target=live, daemon=True).start()
        return inbox
