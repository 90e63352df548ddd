"""Rings that come while their job runs make it run once more, however many they are."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Merged:
    """
    A job that one thread of a process runs at a time, and that asks the database what there is to do.

    A call that comes while another thread runs it returns at once; that thread then runs it once more.
    A burst of rings would otherwise keep every thread busy with finding that there is nothing to do,
    and the jobs rung for after them waiting. Whoever called while a run failed is left to upkeep.
    """

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._is_running = False
        self._is_asked = False

    def __call__(self) -> None:
        """Run the job, or have it run once more; raises what the job raises."""
        with self._lock:
            self._is_asked = True
            if self._is_running:
                return
            self._is_running = True
        try:
            while self._takes_ask():
                self._work()
        except BaseException:
            with self._lock:
                self._is_running = False
            raise

    def _takes_ask(self) -> bool:
        with self._lock:
            self._is_running, self._is_asked = self._is_asked, False
            return self._is_running
