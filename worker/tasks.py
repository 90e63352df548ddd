"""The jobs as Celery tasks: each calls one use-case and knows nothing else."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from celery import Celery

from worker import (
    channels,
    duties,
    intake,
    jobs,
    outbox,
    posting,
    reconciling,
    settling,
    syncing,
    tokens,
)
from worker.merging import Merged
from worker.runtime import Runtime
from worker.turns import again_if_deadlocked


def add_tasks(app: Celery, runtime: Callable[[], Runtime], *, in_threads: bool = False) -> None:
    """
    Register every job; *runtime* gives the process's ports when a job runs, not before.

    Where jobs run *in threads* of one process, those that serve everything at once run in one of them.
    With this app alone: Celery would otherwise hand the same functions to every other app of the process.
    """

    @app.task(shared=False, name=jobs.TAKE_IN)
    def take_in() -> None:
        again_if_deadlocked(lambda: intake.take_in(runtime()))

    once: Callable[[Callable[[], object]], Callable[[], object]] = (
        Merged if in_threads else lambda work: work
    )
    sync = once(lambda: syncing.sync_workspace(runtime()))
    settle_all = once(lambda: again_if_deadlocked(lambda: settling.settle(runtime())))
    relay_all = once(lambda: again_if_deadlocked(lambda: outbox.relay(runtime())))
    soft_limit = int(jobs.LISTING_SOFT_LIMIT.total_seconds())
    hard_limit = int(jobs.LISTING_HARD_LIMIT.total_seconds())

    @app.task(shared=False, name=jobs.SYNC_WORKSPACE, soft_time_limit=soft_limit, time_limit=hard_limit)
    def sync_workspace() -> None:
        sync()

    @app.task(shared=False, name=jobs.SYNC_CALENDAR, soft_time_limit=soft_limit, time_limit=hard_limit)
    def sync_calendar(calendar_id: str) -> None:
        syncing.sync_calendar(runtime(), UUID(calendar_id))

    @app.task(shared=False, name=jobs.SETTLE)
    def settle() -> None:
        settle_all()

    @app.task(shared=False, name=jobs.RECONCILE)
    def reconcile(_slot_id: str) -> None:
        reconciling.reconcile(runtime())  # whichever slot starts soonest

    @app.task(shared=False, name=jobs.RELAY)
    def relay() -> None:
        relay_all()

    @app.task(shared=False, name=jobs.POST)
    def post(endpoint_id: str) -> None:
        posting.post_waiting(runtime(), UUID(endpoint_id))

    @app.task(shared=False, name=jobs.FIND_CALENDARS, soft_time_limit=soft_limit, time_limit=hard_limit)
    def find_calendars() -> None:
        duties.perform(runtime(), jobs.FIND_CALENDARS)

    @app.task(shared=False, name=jobs.SWEEP_BOTS, soft_time_limit=soft_limit, time_limit=hard_limit)
    def sweep_bots() -> None:
        duties.perform(runtime(), jobs.SWEEP_BOTS)

    @app.task(shared=False, name=jobs.REFRESH)
    def refresh(connection_id: str) -> None:
        tokens.refresh(runtime(), UUID(connection_id))

    @app.task(shared=False, name=jobs.KEEP_CHANNEL)
    def keep_channel(channel_id: str) -> None:
        channels.keep_channel(runtime(), UUID(channel_id))

    @app.task(shared=False, name=jobs.SYNC_DIRECTLY)
    def sync_directly() -> None:
        syncing.ring_for_calendars(runtime())
