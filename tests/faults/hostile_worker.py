"""
A worker whose broker settings are all turned against it: `python -m tests.faults.hostile_worker`.

Messages are acknowledged before they are worked on, a hundred are hoarded at once, nothing is confirmed,
and Redis hands out again after five seconds what is still being worked on.
"""

from __future__ import annotations

from celery import Celery

from worker import working
from worker.app import make_celery
from worker.logs import set_up_logs
from worker.settings import Settings, load_settings


def make_hostile(settings: Settings) -> Celery:
    """Make the app as usual, and spoil it."""
    app = make_celery(settings)
    options = {**app.conf.broker_transport_options, "visibility_timeout": 5, "confirm_publish": False}
    app.conf.update(
        task_acks_late=False,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=50,
        broker_transport_options=options,
        broker_heartbeat=0,
    )
    return app


def main() -> None:
    """Consume until told to stop or killed."""
    vars(working)["make_celery"] = make_hostile
    settings = load_settings(may_embed=False)
    set_up_logs(settings.log_format)
    working.work_in_processes(settings, 2)


if __name__ == "__main__":
    main()
