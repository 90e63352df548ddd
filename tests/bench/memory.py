"""What a process's memory grows to while something is done in it."""

from __future__ import annotations

import threading

import psutil  # type: ignore[import-untyped]  # ships no types

EVERY_S = 0.002


class Memory:
    """
    The most memory this process holds from now on, above what it holds now.

    Looked at every two milliseconds: what the system keeps as a process's peak includes what came
    before, and what its parent held when it was started.
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._before = self._most = self._held()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)

    @classmethod
    def watched(cls) -> Memory:
        """Begin to watch."""
        memory = cls()
        memory._thread.start()
        return memory

    def grown_mb(self) -> float:
        """Stop watching and return by how many megabytes the process has grown at most."""
        self._is_over.set()
        self._thread.join()
        return (self._most - self._before) / 1e6

    def _watch(self) -> None:
        is_over = False
        while not is_over:
            is_over = self._is_over.wait(EVERY_S)
            self._most = max(self._most, self._held())

    def _held(self) -> int:
        return int(self._process.memory_info().rss)
