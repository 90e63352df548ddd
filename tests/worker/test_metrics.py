"""What is declared is counted, and counted right."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import httpx
import pytest
from celery import Celery
from prometheus_client import Counter, Histogram
from sqlalchemy import Engine

from models.sealing import Vault
from tests.builders import a_calendar, a_found
from tests.publishers.kit import tell
from tests.worker.world import World
from worker import metrics
from worker.errors import Refused
from worker.outbox import number_new
from worker.ports import Unreadable
from worker.reconciling import reconcile
from worker.reviving import revive
from worker.working import JobClock

ROOT = Path(__file__).parents[2]


@pytest.fixture
def world(db: Engine, vault: Vault) -> World:
    a_calendar(db)
    return World(db, vault)


def value(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(name, labels) or 0.0


def test_whatever_is_declared_is_counted_somewhere() -> None:
    declared = {name for name, what in vars(metrics).items() if isinstance(what, Counter | Histogram)}
    source = "\n".join(
        path.read_text() for folder in ("worker", "webhooks") for path in (ROOT / folder).rglob("*.py")
    )
    counted = set(re.findall(r"\b([A-Z_]+)(?:\.labels\([^\n]*\))?\.(?:inc|observe)\(", source))
    handed_on = set(re.findall(r"metrics\.([A-Z_]+)\.labels\(", source))

    assert declared <= counted | handed_on


def test_a_call_to_a_provider_is_counted_with_its_time() -> None:
    labels = {"provider": "recall", "operation": "made_up"}

    metrics.count_provider_request("recall", "made_up", "200", 0.3)

    assert value("punctual_provider_requests_total", **labels, status="200") == 1
    assert value("punctual_provider_request_seconds_sum", **labels) == 0.3


def test_an_event_is_counted_as_unreadable_once_however_often_it_is_seen(world: World) -> None:
    before = value("punctual_events_unreadable_total", provider="recall")

    for _ in range(3):
        world.store(unreadable=(Unreadable("event-1", "cal-anna", "no start"),))

    assert value("punctual_events_unreadable_total", provider="recall") == before + 1


def test_steps_at_the_provider_are_counted_by_how_they_ended(world: World) -> None:
    done = {"step": "create", "outcome": "done"}
    refused = {"step": "create", "outcome": "refused"}
    before = value("punctual_bot_steps_total", **done), value("punctual_bot_steps_total", **refused)
    world.store(a_found())
    world.bots.fail(Refused("no such meeting"))

    reconcile(world.rt)
    revive(world.rt, "bots", [world.slot_id()])
    world.reconcile_all()

    assert value("punctual_bot_steps_total", **refused) == before[1] + 1
    assert value("punctual_bot_steps_total", **done) == before[0] + 1


def test_domain_events_are_counted_when_they_enter_the_feed(db: Engine) -> None:
    before = value("punctual_events_emitted_total", type="bot.scheduled")
    tell(db, "bot/a", "bot/b")

    with db.begin() as tx:
        number_new(tx)
    with db.begin() as tx:
        number_new(tx)

    assert value("punctual_events_emitted_total", type="bot.scheduled") == before + 2


def test_jobs_are_counted_by_how_they_ended() -> None:
    app = Celery("test", broker="memory://", set_as_current=False)
    JobClock().connect()

    @app.task(name="job_of_this_test")
    def job(*, fails: bool) -> None:
        if fails:
            raise ValueError

    for fails in (False, False, True):
        job.apply(kwargs={"fails": fails})

    assert value("punctual_jobs_total", job="job_of_this_test", outcome="done") == 2
    assert value("punctual_jobs_total", job="job_of_this_test", outcome="failed") == 1
    assert value("punctual_job_seconds_count", job="job_of_this_test") == 3


def test_a_process_serves_what_it_counts_until_the_block_ends() -> None:
    port = free_port()
    metrics.JOBS_RUN.labels("job_on_a_page", "done").inc()

    with metrics.served("127.0.0.1", port):
        page = httpx.get(f"http://127.0.0.1:{port}/metrics").text

    assert 'punctual_jobs_total{job="job_on_a_page",outcome="done"} 1.0' in page
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/metrics")


def test_a_port_that_is_taken_costs_the_metrics_alone() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        metrics.served("127.0.0.1", other.getsockname()[1]),
    ):
        is_working = True

    assert is_working


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
