"""
The processes that die on order: a worker, a receiver and the emulator, each forked from a parent that
has imported everything, so that a new life costs milliseconds instead of a second.

A life is real from settings to SIGKILL: environment, `build`, sockets, commits. Only who calls the
worker's jobs differs from `punctual work`: here the stage does, one after the other, in the order in
which they were rung for, so that the n-th pass of a point is the same one every time.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path

import structlog
from pydantic import SecretStr

from webhooks.main import run as receive_until_stopped
from worker import failpoints
from worker.app import make_celery
from worker.bootstrap import build
from worker.logs import set_up_logs
from worker.runtime import Runtime
from worker.sandbox.__main__ import main as emulate_until_stopped
from worker.settings import Settings, load_settings
from worker.tasks import add_tasks
from worker.upkeep import Upkeep

log = structlog.get_logger(__name__)

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
MOST_ROUNDS = 60


@dataclass
class Pending:
    """A bell whose rings wait in order, each once, until the stage has them answered."""

    rings: deque[tuple[str, str | None]] = field(default_factory=deque)

    def ring(self, job: str, row_id: str | None = None) -> None:
        if (job, row_id) not in self.rings:
            self.rings.append((job, row_id))


def work(environment: Mapping[str, str], log_file: str, line: Connection) -> None:
    """Be a worker: run what is due each time the stage says so, and tell it which jobs ran and failed."""
    _become(environment, log_file)
    settings = load_settings(env_file=None)
    built = build(settings, app=_app)
    pending = Pending()
    failpoints.watch(pending, "ring", lambda job, _row_id=None: f"bell.{job}")
    # Nobody is kept waiting for others here, so a listing need not wait for notifications to pause.
    rt = replace(built.runtime, bell=pending, sleep=lambda _: None)
    _present.append(rt)
    upkeep = Upkeep(rt)
    line.send("ready")
    while line.recv() != "stop":
        line.send(_work_until_quiet(pending, upkeep))
    told_to_stop = threading.Event()
    told_to_stop.set()
    upkeep.keep_up(told_to_stop)
    built.close()


def receive(environment: Mapping[str, str], log_file: str) -> None:
    """Be the receiver and the API, as `punctual serve` is."""
    _become(environment, log_file)
    receive_until_stopped(load_settings(env_file=None))


def emulate(arguments: list[str], log_file: str) -> None:
    """Be Recall."""
    _become({}, log_file)
    emulate_until_stopped(arguments)


def _become(environment: Mapping[str, str], log_file: str) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for name in [name for name in os.environ if name.startswith("PUNCTUAL_")]:
        del os.environ[name]
    os.environ.update(environment)
    Path(log_file).parent.mkdir(parents=True, exist_ok=True)
    said = os.open(log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(said, 1)
    os.dup2(said, 2)
    set_up_logs("json")


def _work_until_quiet(pending: Pending, upkeep: Upkeep) -> tuple[dict[str, int], list[str]]:
    """
    Run what is due, and what that rings for, until upkeep finds nothing more.

    Upkeep rings in vain for what only waits for something else: the same rings three times over are
    as good as none.
    """
    ran: Counter[str] = Counter()
    failed: list[str] = []
    rung: list[list[tuple[str, str | None]]] = []
    for _ in range(MOST_ROUNDS):
        upkeep.rung.clear()
        upkeep.tick()
        rung.append(list(pending.rings))
        if not pending.rings or rung[-3:] == [rung[-1]] * 3:
            pending.rings.clear()
            return dict(ran) if len(rung) > 3 or not rung[-1] else {}, failed
        while pending.rings:
            job, row_id = pending.rings.popleft()
            ran[job] += 1
            try:
                _app.tasks[job](*([] if row_id is None else [row_id]))
            except Exception as bug:
                log.exception("job_failed", job=job)
                failed.append(f"{job}: {type(bug).__name__}: {bug}"[:300])
    failed.append(f"still busy after {MOST_ROUNDS} rounds: {dict(ran)}")
    return dict(ran), failed


#: What a life works with; it has one from its birth on.
_present: list[Runtime] = []
# Made once, before the first fork, because they take longer than anything else at a birth: the tasks,
# and the names of the points, for which the sources are read.
_app = make_celery(Settings(_env_file=None, broker_url=SecretStr("memory://")))
add_tasks(_app, lambda: _present[0])
_app.finalize()
failpoints.commit_sites()
