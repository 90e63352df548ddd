"""Workers side by side, as many as are wanted, of which any may be killed; another one takes its place."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerProcess

from tests.system.rig import until
from tests.tokens.worker import Post, work

STARTS_WITHIN_S = 120.0
#: Longer than anybody waits for somebody else's refresh.
STOPS_WITHIN_S = 30.0
FORKS = multiprocessing.get_context("forkserver")


class Crew:
    """So many workers at one post."""

    def __init__(self, post: Post, size: int, chance: random.Random) -> None:
        self.post = post
        self.size = size
        self.chance = chance
        self.kills = 0
        self.deaths: list[int | None] = []
        self._living: list[ForkServerProcess] = []
        self._killed: list[ForkServerProcess] = []
        FORKS.set_forkserver_preload(["tests.tokens.worker"])

    @contextmanager
    def working(self) -> Iterator[Crew]:
        """Work for the length of a `with` block, which begins when all do."""
        try:
            self.fill()
            until(lambda: len(self._ready()) >= self.size, within=STARTS_WITHIN_S, every=0.1)
            yield self
        finally:
            self.kill_all()

    def fill(self) -> None:
        """Start workers until there are as many as there should be."""
        while len(self._living) < self.size:
            process = FORKS.Process(target=work, args=(self.post, self.chance.getrandbits(32)))
            process.daemon = True
            process.start()
            self._living.append(process)

    def kill_one(self) -> None:
        """Kill -9 any worker that is at work; the next one starts at once."""
        if ready := self._ready():
            self._kill(self.chance.choice(ready))
        self.fill()

    def kill_all(self) -> None:
        """Kill -9 all workers at the same time, as a machine that loses power does."""
        for process in list(self._living):
            self._kill(process)
        for process in self._killed:
            process.join()

    def keep_killing(self, seconds: float, *, every_s: float) -> None:
        """Kill any worker every now and then, for so long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, self.chance.uniform(0, 2 * every_s)))
            self.kill_one()

    def stop(self) -> None:
        """Let all of them finish what they are at; `deaths` are the exit codes that are no farewell."""
        self.post.stop.touch()
        end = time.monotonic() + STOPS_WITHIN_S
        for process in self._living:
            process.join(max(0.0, end - time.monotonic()))
            if process.exitcode != 0:
                self.deaths.append(process.exitcode)
        self._living = [process for process in self._living if process.exitcode is None]

    def _ready(self) -> list[ForkServerProcess]:
        pids = {int(note["what"]) for note in self.post.noted() if note["kind"] == "ready"}
        return [process for process in self._living if process.pid in pids]

    def _kill(self, process: ForkServerProcess) -> None:
        self._living.remove(process)
        self._killed.append(process)
        if process.exitcode is not None:
            self.deaths.append(process.exitcode)  # it had died by itself
        else:
            process.kill()
            self.kills += 1
