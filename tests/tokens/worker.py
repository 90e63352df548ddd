"""
A worker process that needs access tokens all the time, and uses each.

It is forked from a server that has imported everything and holds nothing, so that a new one costs
milliseconds. Of the product it is given what `punctual work` gives its children; only the jobs differ.
"""

from __future__ import annotations

import ctypes
import json
import os
import queue
import random
import signal
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID

from tests.tokens.people import PLATFORM, settings_for
from tests.tokens.server import read_lines
from worker import jobs, tokens
from worker.bootstrap import build
from worker.clock import utc_now
from worker.errors import ConsentLost, TryLater
from worker.logs import set_up_logs
from worker.runtime import Runtime

#: Hands that go for any connection; one more goes for the same one as everybody's.
ROVING = 2
#: So often all workers want the token of one and the same connection, at the same moment.
ALL_AT_ONCE_EVERY_S = 0.5
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True)
class Post:
    """
    Where a worker works; it goes on until the file *stop* is there.

    A roving hand rests for *rest_s* on average between two connections.
    """

    database_url: str
    authority_url: str
    folder: Path
    connections: tuple[UUID, ...]
    rest_s: float = 0.5

    @property
    def stop(self) -> Path:
        return self.folder / "stop"

    @property
    def notes(self) -> Path:
        return self.folder / "workers.jsonl"

    def noted(self) -> list[dict[str, Any]]:
        """Read what the workers have written down so far."""
        return read_lines(self.notes)


@dataclass
class Refreshes:
    """A bell that is answered by this process: refreshes that are rung for are done one by one."""

    waiting: queue.SimpleQueue[UUID | None] = field(default_factory=queue.SimpleQueue)

    def ring(self, job: str, row_id: str | None = None) -> None:
        if job == jobs.REFRESH and row_id is not None:
            self.waiting.put(UUID(row_id))


def work(post: Post, seed: int) -> None:
    """Be a worker until told to stop, or killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    said = os.open(post.folder / "workers.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(said, 1)
    os.dup2(said, 2)
    set_up_logs("json")
    built = build(settings_for(post.database_url, post.authority_url), pool_size=ROVING + 2)
    bell = Refreshes()
    hands = _Hands(post, replace(built.runtime, bell=bell), random.Random(seed))
    threads = [threading.Thread(target=hands.rove) for _ in range(ROVING)]
    threads += [threading.Thread(target=hands.join_all)]
    refresher = threading.Thread(target=hands.refresh, args=(bell,))
    for thread in (*threads, refresher):
        thread.start()
    hands.note("ready", what=str(os.getpid()))
    for thread in threads:
        thread.join()
    bell.waiting.put(None)
    refresher.join()
    built.close()


@dataclass
class _Hands:
    """The threads of one worker. None takes a connection that another one of them has in hand."""

    post: Post
    rt: Runtime
    chance: random.Random
    busy: set[UUID] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def rove(self) -> None:
        """Use one connection after the other, as chance has it."""
        while not self.post.stop.exists():
            self._use(self.chance.choice(self.post.connections))
            time.sleep(self.chance.uniform(0, 2 * self.post.rest_s))

    def join_all(self) -> None:
        """Use the connection that all workers use at this moment."""
        while not self.post.stop.exists():
            turn = int(time.time() / ALL_AT_ONCE_EVERY_S) + 1
            time.sleep(max(0.0, turn * ALL_AT_ONCE_EVERY_S - time.time()))
            self._use(self.post.connections[turn % len(self.post.connections)])

    def refresh(self, bell: Refreshes) -> None:
        """Answer the bell, as the job does."""
        while (connection_id := bell.waiting.get()) is not None:
            try:
                tokens.refresh(self.rt, connection_id)
            except Exception as bug:
                self.note("broken", connection_id, f"refresh: {type(bug).__name__}: {bug}")

    def note(self, kind: str, connection_id: UUID | None = None, what: str = "") -> None:
        """Write down what the judge has to know; one write each, as any may be the last one."""
        about = None if connection_id is None else str(connection_id)
        line = {"kind": kind, "at": utc_now().isoformat(), "connection": about, "what": what[:300]}
        with self.post.notes.open("ab", buffering=0) as notes:
            notes.write(json.dumps(line).encode() + b"\n")

    def _use(self, connection_id: UUID) -> None:
        with self.lock:
            if connection_id in self.busy:
                return
            self.busy.add(connection_id)
        try:
            given = tokens.access(self.rt, connection_id)
            try:
                self.rt.authorities[PLATFORM].account(given.token)
            except ConsentLost:
                # Whether it was refused rightly is in the server's record.
                tokens.refuse(self.rt, given)
        except ConsentLost:
            pass  # who finds out and who is told is in the database
        except TryLater as later:
            self.note("waited", connection_id, str(later))
        except Exception as bug:
            self.note("broken", connection_id, f"{type(bug).__name__}: {bug}")
        finally:
            self.busy.discard(connection_id)
