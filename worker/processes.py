"""A small process tree: start children, start again what dies, stop all of them in time."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog

log = structlog.get_logger(__name__)

STOP_WITHIN_S = 22.0  # a supervisor grants 25 s
CALM_S = 30.0
LONGEST_PAUSE_S = 10.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(slots=True)
class Child:
    """One child process of a tree, by the arguments of `punctual`."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    deaths: int = 0
    start_after: float = 0.0

    def start(self) -> None:
        """Start the process in a session of its own, so that a Ctrl-C reaches it through us."""
        self.started_at = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "worker.cli", *self.arguments],
            env={**os.environ, **self.environment},
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509  # one thread here
        )


class ProcessTree:
    """Children that live and die together."""

    def __init__(self, children: Sequence[Child]) -> None:
        self._children = list(children)
        self._stop = threading.Event()

    def run(self) -> int:
        """
        Keep every child running until SIGTERM or SIGINT, then stop them all; the exit code is returned.

        A child that dies is started again, after a growing pause when it dies at once each time.
        """
        before = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)}
        for signum in before:
            signal.signal(signum, lambda *_: self.stop())
        try:
            for child in self._children:
                child.start()
            while not self._stop.wait(0.2):
                for child in self._children:
                    self._tend(child)
            return self._stop_all()
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def stop(self) -> None:
        """Have `run` stop every child and return; may be called from any thread, and before it runs."""
        self._stop.set()

    def is_stopping(self, *, within_s: float = 0.0) -> bool:
        """Say whether the tree was told to stop, waiting a while for it."""
        return self._stop.wait(within_s)

    def _tend(self, child: Child) -> None:
        now = time.monotonic()
        if child.process is None:
            if now >= child.start_after:
                child.start()
            return
        code = child.process.poll()
        if code is None:
            return
        child.deaths = 1 if now - child.started_at > CALM_S else child.deaths + 1
        pause = min(0.2 * 2**child.deaths, LONGEST_PAUSE_S)
        log.error("process_died", process=child.name, code=code, starts_again_in_s=pause)
        child.process, child.start_after = None, now + pause

    def _stop_all(self) -> int:
        running = [child.process for child in self._children if child.process is not None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + STOP_WITHIN_S
        for process in running:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.error("process_killed", pid=process.pid)
                process.kill()
        return 0


def _die_with_parent() -> None:
    """Ask the kernel for a SIGTERM when our parent is gone, even if it was killed without a word."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
