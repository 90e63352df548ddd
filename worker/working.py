"""A worker: consumes rings, keeps up what nobody rings for, and wakes at the receiver's word."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import psycopg
import structlog
from celery import Celery, Task, signals, states
from psycopg.conninfo import make_conninfo
from sqlalchemy.engine import make_url

from models.db import CONNECT_TIMEOUT_S, KEEPALIVES
from worker import metrics
from worker.app import declare_dead_letters, make_celery
from worker.bootstrap import Built, build, database_url
from worker.errors import ConfigError
from worker.heap import set_heap_aside
from worker.ports import Bell
from worker.runtime import Runtime
from worker.settings import Settings
from worker.standing_in import StandIn
from worker.tasks import add_tasks
from worker.upkeep import Upkeep

log = structlog.get_logger(__name__)

#: What the receiver notifies on in the embedded mode; the payload is `job` or `job:id`.
CHANNEL = "punctual"


def work_in_threads(settings: Settings) -> None:
    """
    Work inside this one process: threads, `memory://`, upkeep, and an ear for the database.

    Returns when the process is told to stop.
    """
    app = make_celery(settings)
    built = build(settings, app=app, pool_size=settings.work_concurrency + 4)
    add_tasks(app, lambda: built.runtime, in_threads=True)
    stop = threading.Event()
    threads = [
        threading.Thread(target=Upkeep(built.runtime).keep_up, args=(stop,), name="upkeep"),
        threading.Thread(
            target=listen, args=(database_url(settings), built.runtime.bell, stop), name="ear"
        ),
    ]
    for thread in threads:
        thread.start()
    try:
        with metrics.served(settings.http_host, settings.metrics_port):
            _run_celery(app, pool="threads", concurrency=settings.work_concurrency)
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout=5)
        built.close()


def work_in_processes(settings: Settings, concurrency: int) -> None:
    """
    Consume rings from a broker in child processes; each builds its ports after the fork.

    Returns when the process is told to stop.
    """
    app = make_celery(settings)
    add_tasks(app, _ports_per_process(settings, app))
    try:
        declare_dead_letters(app)
    except Exception as unreachable:  # any transport's own error; the broker may come up later
        log.warning("dead_letters_not_declared", error=type(unreachable).__name__)
    _run_celery(app, pool="prefork", concurrency=concurrency)


def keep_up(settings: Settings) -> None:
    """
    Run the upkeep loop, and serve the metrics, beside a worker that consumes from a broker.

    While nobody can consume, this process does the work itself, one job after the other.
    """
    app = make_celery(settings)
    built = build(settings, app=app, pool_size=4)
    add_tasks(app, lambda: built.runtime)
    stop = threading.Event()
    stand_in = StandIn(
        built.runtime, lambda job, row_id: app.tasks[job](*([] if row_id is None else [row_id]))
    )
    # A daemon, because a job may outlast our end: its row is free again when its lease is over.
    threading.Thread(target=stand_in.stand_by, args=(stop,), name="stand-in", daemon=True).start()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stop.set())
    try:
        with metrics.served(settings.http_host, settings.metrics_port):
            Upkeep(built.runtime).keep_up(stop)
    finally:
        built.close()


def listen(url: str, bell: Bell, stop: threading.Event) -> None:
    """Ring for every job the receiver notifies of, until told to stop; reconnects for ever."""
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    line = make_conninfo(plain, connect_timeout=CONNECT_TIMEOUT_S, **KEEPALIVES)
    while not stop.is_set():
        try:
            with psycopg.connect(line, autocommit=True) as connection:
                connection.execute(f"LISTEN {CHANNEL}")
                while not stop.is_set():
                    for notice in connection.notifies(timeout=0.5):
                        job, _, row_id = notice.payload.partition(":")
                        bell.ring(job, row_id or None)
        except psycopg.OperationalError as lost:
            log.warning("ear_lost_database", error=type(lost).__name__)
            stop.wait(1)


def _ports_per_process(settings: Settings, app: Celery) -> Callable[[], Runtime]:
    held: dict[int, Built] = {}

    def make(**_: object) -> None:
        held[os.getpid()] = build(settings, app=app, pool_size=2)

    def let_go(**_: object) -> None:
        built = held.pop(os.getpid(), None)
        if built is not None:
            built.close()

    signals.worker_process_init.connect(make, weak=False)
    signals.worker_process_shutdown.connect(let_go, weak=False)

    def runtime() -> Runtime:
        if os.getpid() not in held:
            make()
        return held[os.getpid()].runtime

    return runtime


def _run_celery(app: Celery, *, pool: str, concurrency: int) -> None:
    began = time.monotonic()
    signals.setup_logging.connect(_leave_logs_alone, weak=False)
    JobClock().connect()
    warnings.filterwarnings("ignore", message="You're running the worker with superuser")
    worker = app.Worker(
        pool=pool,
        concurrency=concurrency,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
        hostname=node_name(),
    )
    set_heap_aside()
    worker.start()
    if worker.exitcode:
        msg = f"the worker stopped by itself after {time.monotonic() - began:.0f} s"
        raise ConfigError(msg)


def node_name() -> str:
    """Name this worker as its logs do: by machine and process."""
    return f"punctual@{socket.gethostname()}-{os.getpid()}"


class JobClock:
    """Counts jobs as they end, and the time they took; one in every process of a worker."""

    def __init__(self) -> None:
        self._began: dict[str, float] = {}

    def connect(self) -> None:
        """Listen to the jobs that run from now on."""
        signals.task_prerun.connect(self._start, weak=False, dispatch_uid="job_clock_start")
        signals.task_postrun.connect(self._end, weak=False, dispatch_uid="job_clock_end")

    def _start(self, task_id: str, **_: object) -> None:
        self._began[task_id] = time.monotonic()

    def _end(self, task_id: str, task: Task[Any, Any], state: str | None = None, **_: object) -> None:
        began = self._began.pop(task_id, None)
        metrics.JOBS_RUN.labels(task.name, "done" if state == states.SUCCESS else "failed").inc()
        if began is not None:
            metrics.JOB_SECONDS.labels(task.name).observe(time.monotonic() - began)


def _leave_logs_alone(**_: object) -> None:
    """Celery sets up logging unless somebody listens to this signal; `worker.logs` has done it."""
