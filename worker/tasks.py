"""The jobs as Celery tasks: each calls one use-case and knows nothing else."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from celery import Celery

from worker import intake, jobs, outbox, posting, reconciling, settling, syncing
from worker.runtime import Runtime


def add_tasks(app: Celery, runtime: Callable[[], Runtime]) -> None:
    """Register every job; *runtime* gives the process's ports when a job runs, not before."""

    @app.task(name=jobs.TAKE_IN)
    def take_in() -> None:
        intake.take_in(runtime())

    soft_limit = int(jobs.LISTING_SOFT_LIMIT.total_seconds())
    hard_limit = int(jobs.LISTING_HARD_LIMIT.total_seconds())

    @app.task(name=jobs.SYNC_WORKSPACE, soft_time_limit=soft_limit, time_limit=hard_limit)
    def sync_workspace() -> None:
        syncing.sync_workspace(runtime())

    @app.task(name=jobs.SYNC_CALENDAR, soft_time_limit=soft_limit, time_limit=hard_limit)
    def sync_calendar(calendar_id: str) -> None:
        syncing.sync_calendar(runtime(), UUID(calendar_id))

    @app.task(name=jobs.SETTLE)
    def settle() -> None:
        settling.settle(runtime())

    @app.task(name=jobs.RECONCILE)
    def reconcile(slot_id: str) -> None:
        reconciling.reconcile(runtime(), UUID(slot_id))

    @app.task(name=jobs.RELAY)
    def relay() -> None:
        outbox.relay(runtime())

    @app.task(name=jobs.POST)
    def post(endpoint_id: str) -> None:
        posting.post_waiting(runtime(), UUID(endpoint_id))
