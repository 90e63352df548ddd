"""Bells: nobody waits for them, and who ends lets them ring out."""

from __future__ import annotations

import threading
from time import monotonic, sleep

import psycopg
import pytest
from sqlalchemy import Engine

from models.db import make_engine
from tests.worker.test_metrics import free_port, value
from worker import app, jobs
from worker.app import CeleryBell, DatabaseBell, make_celery
from worker.settings import Settings


def heard(listening: psycopg.Connection[object], size: int) -> list[str]:
    return [notice.payload for notice in listening.notifies(timeout=5, stop_after=size)]


def test_a_bell_that_is_closed_has_rung_for_everything(db: Engine, database_url: str) -> None:
    bell = DatabaseBell(db)
    with psycopg.connect(database_url, autocommit=True) as listening:
        listening.execute("LISTEN punctual")

        for nth in range(20):
            bell.ring(jobs.RECONCILE, str(nth))
        bell.close()

        assert heard(listening, 20) == [f"reconcile:{nth}" for nth in range(20)]


def test_rings_that_the_database_does_not_take_are_counted() -> None:
    away = make_engine(f"postgresql://127.0.0.1:{free_port()}/nowhere", pool_size=1)
    bell = DatabaseBell(away)
    before = value("punctual_rings_dropped_total")

    bell.ring(jobs.RELAY)
    bell.close()

    assert value("punctual_rings_dropped_total") == before + 1


def test_rings_that_the_broker_does_not_take_are_counted() -> None:
    settings = Settings.model_validate({"broker_url": f"redis://127.0.0.1:{free_port()}/0"})
    bell = CeleryBell(make_celery(settings))
    before = value("punctual_rings_dropped_total")

    bell.ring(jobs.RELAY)
    bell.close()

    assert value("punctual_rings_dropped_total") == before + 1


def test_rings_beyond_the_bound_are_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    class Slow(app._Bell):
        def _send(self, job: str, row_id: str | None) -> None:
            go_on.wait(5)

    monkeypatch.setattr(app, "MOST_WAITING_RINGS", 2)
    bell = Slow()
    before = value("punctual_rings_dropped_total")

    for nth in range(5):
        bell.ring(jobs.RECONCILE, str(nth))
    go_on.set()
    bell.close()

    assert 2 <= value("punctual_rings_dropped_total") - before <= 3


def test_rings_for_the_same_that_wait_are_one() -> None:
    go_on = threading.Event()
    sent: list[tuple[str, str | None]] = []

    class Slow(app._Bell):
        def _send(self, job: str, row_id: str | None) -> None:
            sent.append((job, row_id))
            is_sending.set()
            go_on.wait(5)

    is_sending = threading.Event()
    bell = Slow()
    bell.ring(jobs.RELAY)
    assert is_sending.wait(5)

    for _ in range(50):
        bell.ring(jobs.RELAY)  # one of them comes after what the first one was about
        bell.ring(jobs.RECONCILE, "a")
    go_on.set()
    bell.close()

    assert sorted(sent, key=str) == [(jobs.RECONCILE, "a"), (jobs.RELAY, None), (jobs.RELAY, None)]


def test_a_burst_of_rings_for_everything_is_a_few_and_one_comes_after_the_last() -> None:
    happened = 0
    seen: list[int] = []

    class Seeing(app._Bell):
        def _send(self, job: str, row_id: str | None) -> None:
            seen.append(happened)

    bell = Seeing()
    began = monotonic()
    while monotonic() - began < 20 * app.SPACING_S:
        happened += 1
        bell.ring(jobs.RELAY)
    took = monotonic() - began
    bell.close()

    assert seen[-1] == happened
    assert len(seen) <= took / app.SPACING_S + 2 < happened / 10


def test_a_ring_that_is_held_back_is_not_held_up_by_others() -> None:
    sent: list[str] = []

    class Slow(app._Bell):
        def _send(self, job: str, row_id: str | None) -> None:
            sent.append(job)
            sleep(app.SPACING_S / 10)

    bell = Slow()
    for nth in range(100):
        bell.ring(jobs.RECONCILE, str(nth))
        if nth in {0, 1}:
            bell.ring(jobs.SETTLE)
        while nth == 0 and jobs.SETTLE not in sent:
            sleep(0.001)
    bell.close()

    assert sent.index(jobs.SETTLE, sent.index(jobs.SETTLE) + 1) < 60
