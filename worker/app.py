"""The Celery app and the bell: how jobs are rung for, on RabbitMQ, Redis or inside one process."""

from __future__ import annotations

import queue
import threading
from abc import ABC, abstractmethod
from contextlib import suppress
from time import monotonic
from typing import Any

import structlog
from celery import Celery
from kombu import Exchange, Queue
from kombu.exceptions import KombuError
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from worker import jobs, metrics
from worker.settings import Settings

log = structlog.get_logger(__name__)

DEAD = "punctual.dead"
#: Celery warns of anything but a topic exchange beside quorum queues.
EXCHANGE = Exchange("punctual.jobs", type="topic")
MOST_WAITING_RINGS = 2_000
#: A job that serves everything at once is rung for so often at most; shorter than anybody notices.
SPACING_S = 0.03
#: How long a process that ends waits for what it has still to ring for, twice at most.
LAST_RINGS_S = 3.0
_UNHEARD = (KombuError, OSError, SQLAlchemyError)


def make_celery(settings: Settings) -> Celery:
    """
    Make the app every process of an installation shares.

    A message carries one id and nothing else; delays, retries and results live in the database.
    Reasons for each setting: DECISIONS.md, "Celery rings the bell".
    """
    broker = settings.broker_url.get_secret_value()
    # A host spares a warning on every connection; nothing is reached there.
    broker = "memory://localhost" if broker.startswith("memory://") else broker
    app = Celery("punctual", broker=broker, set_as_current=False)
    app.conf.update(
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=False,
        task_acks_on_failure_or_timeout=True,
        worker_prefetch_multiplier=1,
        task_soft_time_limit=jobs.SOFT_LIMIT.total_seconds(),
        task_time_limit=jobs.HARD_LIMIT.total_seconds(),
        task_serializer="json",
        accept_content=["json"],
        task_create_missing_queues=False,
        task_queues=_queues(broker),
        task_default_queue=jobs.QUEUE_BY_JOB[jobs.TAKE_IN],
        task_routes={job: {"queue": name} for job, name in jobs.QUEUE_BY_JOB.items()},
        broker_heartbeat=10,
        broker_connection_timeout=2,
        broker_pool_limit=4,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,
        broker_transport_options=_transport_options(broker),
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_soft_shutdown_timeout=10.0,
        worker_max_tasks_per_child=1000,
        worker_max_memory_per_child=400_000,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        timezone="UTC",
    )
    return app


def _queues(broker: str) -> list[Queue]:
    names = sorted(set(jobs.QUEUE_BY_JOB.values()))
    if not broker.startswith("amqp"):
        return [Queue(name, EXCHANGE, routing_key=name) for name in names]
    arguments = {
        "x-queue-type": "quorum",
        "x-delivery-limit": 5,
        "x-dead-letter-exchange": DEAD,
    }
    return [Queue(name, EXCHANGE, routing_key=name, queue_arguments=arguments) for name in names]


def declare_dead_letters(app: Celery) -> None:
    """Make the queue in which a message ends that kills whoever takes it; RabbitMQ alone has one."""
    if not str(app.conf.broker_url).startswith("amqp"):
        return
    dead = Queue(
        DEAD,
        Exchange(DEAD, type="fanout"),
        queue_arguments={"x-queue-type": "quorum", "x-max-length": 10_000},
    )
    with app.connection_for_write() as connection:
        dead(connection.default_channel).declare()


def _transport_options(broker: str) -> dict[str, Any]:
    if broker.startswith("amqp"):
        return {
            "read_timeout": 10,
            "write_timeout": 10,
            "connect_timeout": 2,
            "max_retries": 1,
        }
    if broker.startswith("redis"):
        return {
            "visibility_timeout": 300,
            "socket_timeout": 5,
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
            "health_check_interval": 10,
            "retry_on_timeout": True,
            "unacked_restore_interval": 10,
            "unacked_restore_throttle": 1,
            "global_keyprefix": "punctual:",
            "max_retries": 1,
        }
    return {"polling_interval": 0.01}


class _Bell(ABC):
    """
    Rings from a thread of its own, so that nobody ever waits for what it rings through.

    A ring is as good as many while it waits, and one that is about no row waits a moment after the last
    of its job: of a burst a few are left. Rings beyond a bound are dropped: the upkeep loop rings again
    for everything that is due.
    """

    def __init__(self) -> None:
        self._rings: queue.Queue[tuple[str, str | None] | None] = queue.Queue(MOST_WAITING_RINGS)
        self._waiting: set[tuple[str, str | None]] = set()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def ring(self, job: str, row_id: str | None = None) -> None:
        """Ring for one job; returns at once and never raises."""
        self._start()
        ring = (job, row_id)
        if ring in self._waiting:
            return
        self._waiting.add(ring)
        try:
            self._rings.put_nowait(ring)
        except queue.Full:
            self._waiting.discard(ring)
            metrics.RINGS_DROPPED.inc()
            log.warning("ring_dropped", job=job)

    def close(self) -> None:
        """Stop ringing; what has not rung within a few seconds is left to upkeep."""
        if self._thread is not None:
            with suppress(queue.Full):
                self._rings.put(None, timeout=LAST_RINGS_S)
            self._thread.join(timeout=LAST_RINGS_S)

    @abstractmethod
    def _send(self, job: str, row_id: str | None) -> None:
        """Ring for one job now; raises one of `_UNHEARD` when nobody could hear it."""

    def _start(self) -> None:
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="bell", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        may_ring_at: dict[str, float] = {}
        held: set[str] = set()
        is_open = True
        while is_open or held:
            now = monotonic()
            job = min(held, key=may_ring_at.__getitem__, default=None)
            if job is not None and (may_ring_at[job] <= now or not is_open):
                held.discard(job)
                self._ring_now((job, None))
                may_ring_at[job] = monotonic() + SPACING_S
                continue
            try:
                ring = self._rings.get(timeout=None if job is None else may_ring_at[job] - now)
            except queue.Empty:
                continue
            if ring is None:
                is_open = False
            elif ring[1] is None:
                held.add(ring[0])
                may_ring_at.setdefault(ring[0], now)
            else:
                self._ring_now(ring)

    def _ring_now(self, ring: tuple[str, str | None]) -> None:
        self._waiting.discard(ring)  # before it is sent: what happens from now on rings anew
        try:
            self._send(*ring)
        except _UNHEARD as unreachable:
            metrics.RINGS_DROPPED.inc()
            log.warning("bell_unheard", job=ring[0], error=type(unreachable).__name__)


class CeleryBell(_Bell):
    """Rings through the broker."""

    def __init__(self, app: Celery) -> None:
        super().__init__()
        self._app = app

    def _send(self, job: str, row_id: str | None) -> None:
        self._app.send_task(
            job,
            args=[] if row_id is None else [row_id],
            queue=jobs.QUEUE_BY_JOB[job],
            retry=False,
            ignore_result=True,
        )


class DatabaseBell(_Bell):
    """
    Rings through the database, for processes beside an embedded worker that no broker connects.

    The worker listens (`worker.working.listen`).
    """

    def __init__(self, db: Engine) -> None:
        super().__init__()
        self._db = db

    def _send(self, job: str, row_id: str | None) -> None:
        payload = job if row_id is None else f"{job}:{row_id}"
        with self._db.begin() as tx:
            tx.execute(text("SELECT pg_notify('punctual', :payload)"), {"payload": payload})
