"""Health, readiness and metrics: what an orchestrator and Prometheus see."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, insert, text, update

from models.db import make_engine
from models.tables.base import new_id
from models.tables.calendars import Calendar
from models.tables.installation import Heartbeat
from models.tables.slots import Slot
from tests.webhooks.gate import gate_to
from tests.webhooks.sending import Sender, a_runtime, add_calendar, sync_events
from webhooks.app import create_app
from webhooks.metrics import FRESH_S
from webhooks.server import serving
from worker.clock import utc_now


@contextmanager
def a_receiver(url: str, **settings: Any) -> Iterator[httpx.Client]:
    engine = make_engine(url, pool_size=2, overflow=2)
    with (
        serving(create_app(a_runtime(engine, **settings))) as base_url,
        httpx.Client(base_url=base_url, timeout=15) as client,
    ):
        yield client
    engine.dispose()


@pytest.fixture
def fresh(database_url: str, db: Engine) -> Iterator[httpx.Client]:
    """A receiver that nobody has scraped yet."""
    with a_receiver(database_url) as client:
        yield client


def scraped(client: httpx.Client) -> dict[tuple[str, str], float]:
    """Scrape; samples by name and the value of their only label."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in families
        for sample in family.samples
    }


def add_slot(engine: Engine, **values: Any) -> None:
    """Add a wanted slot whose bot should join in five minutes."""
    now = utc_now()
    known = {
        "key": new_id().hex,
        "link_key": "x",
        "meeting_platform": "zoom",
        "meeting_url": b"x",
        "start_at": now + timedelta(minutes=5),
        "ends_at": now + timedelta(minutes=35),
        "join_at": now + timedelta(minutes=5),
        "config": {},
        "seat_hash": b"x",
    }
    with engine.begin() as tx:
        tx.execute(insert(Slot).values(id=new_id(), **(known | values)))


def test_a_living_process_says_so(sender: Sender) -> None:
    answer = sender.client.get("/healthz")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_a_ready_process_says_how_far_behind_the_work_is(sender: Sender, db: Engine) -> None:
    calendar_id = add_calendar(db)
    with db.begin() as tx:
        tx.execute(insert(Heartbeat).values(worker="w1"))
        tx.execute(
            update(Calendar)
            .where(Calendar.id == calendar_id)
            .values(wanted=1, due_at=text("now() - interval '90 seconds'"))
        )

    answer = sender.client.get("/readyz")

    assert answer.status_code == 200
    said = answer.json()
    assert said["status"] == "ok"
    assert 90 <= said["due_oldest_seconds"]["calendar"] < 100
    assert said["due_oldest_seconds"]["slot"] == 0
    assert 0 <= said["worker_seen_seconds_ago"] < 10


def test_without_a_database_a_process_lives_but_is_not_ready(database_url: str, db: Engine) -> None:
    with gate_to(database_url) as gate, a_receiver(gate.url) as client:
        gate.shut()
        alive, ready, scrape = (client.get(path) for path in ("/healthz", "/readyz", "/metrics"))
        gate.open()
        again = client.get("/readyz")

    assert (alive.status_code, ready.status_code, again.status_code) == (200, 503, 200)
    assert ready.headers["content-type"] == "application/problem+json"
    assert ready.json()["code"] == "database_unavailable"
    assert "retry-after" in ready.headers
    assert scrape.status_code == 200
    assert "punctual_database_up 0.0" in scrape.text


def test_a_schema_that_is_behind_is_not_ready_and_one_that_is_ahead_is(
    fresh: httpx.Client, db: Engine
) -> None:
    with db.begin() as tx:
        known = tx.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
    answers = {}
    try:
        for revision in ("0000", "9999"):
            with db.begin() as tx:
                tx.execute(text("UPDATE alembic_version SET version_num = :r"), {"r": revision})
            answers[revision] = fresh.get("/readyz")
    finally:
        with db.begin() as tx:
            tx.execute(text("UPDATE alembic_version SET version_num = :r"), {"r": known})

    assert answers["0000"].status_code == 503
    assert answers["0000"].json()["code"] == "schema_outdated"
    assert answers["9999"].status_code == 200


def test_the_gauges_describe_the_database(fresh: httpx.Client, db: Engine) -> None:
    now = utc_now()
    waiting = add_calendar(db)
    add_calendar(db, new_id().hex, status="needs_reauth", wanted=3, parked_at=now)
    with db.begin() as tx:
        tx.execute(
            update(Calendar)
            .where(Calendar.id == waiting)
            .values(wanted=1, due_at=text("now() - interval '60 seconds'"))
        )
        tx.execute(insert(Heartbeat).values(worker="w1"))
        tx.execute(
            text(
                "INSERT INTO outbox (id, subject, sequence, type, time, data, created_at)"
                " VALUES (:id, 'bot/1', 1, 'bot.scheduled', now(), '{}', now() - interval '30 seconds')"
            ),
            {"id": new_id()},
        )
        for state in ("stored", "quarantined", "quarantined"):
            tx.execute(
                text(
                    "INSERT INTO deliveries (id, source, message_id, body, state)"
                    " VALUES (:id, 'recall', :m, '', :s)"
                ),
                {"id": new_id(), "m": new_id().hex, "s": state},
            )
    add_slot(db)
    add_slot(db, bot_id="b1", bot_state="scheduled")
    add_slot(db, bot_state="failed")
    add_slot(db, bot_state="done")
    add_slot(db, is_wanted=False)
    add_slot(db, join_at=now + timedelta(minutes=30), ends_at=now + timedelta(hours=1))
    add_slot(db, join_at=now - timedelta(hours=2), ends_at=now - timedelta(hours=1))

    found = scraped(fresh)

    assert 60 <= found["punctual_due_oldest_seconds", "calendar"] < 70
    assert found["punctual_due_oldest_seconds", "endpoint"] == 0
    assert found["punctual_due_parked", "calendar"] == 1
    assert 30 <= found["punctual_outbox_oldest_seconds", ""] < 40
    assert found["punctual_bots_at_risk", ""] == 2
    assert found["punctual_inbox_deliveries", "quarantined"] == 2
    assert found["punctual_inbox_deliveries", "parked"] == 0
    assert found["punctual_calendars", "connected"] == 1
    assert found["punctual_calendars", "needs_reauth"] == 1
    assert found["punctual_workers_alive", ""] == 1
    assert found["punctual_database_up", ""] == 1


def test_scrapes_in_a_row_ask_the_database_once(fresh: httpx.Client, db: Engine) -> None:
    before = scraped(fresh)["punctual_calendars", "connected"]
    add_calendar(db)
    at_once = scraped(fresh)["punctual_calendars", "connected"]
    time.sleep(FRESH_S)
    later = scraped(fresh)["punctual_calendars", "connected"]

    assert (before, at_once, later) == (0, 0, 1)


def test_a_gauge_that_takes_too_long_does_not_cost_the_others(fresh: httpx.Client, db: Engine) -> None:
    with db.begin() as tx:
        tx.execute(text("LOCK TABLE slots"))
        began = time.monotonic()
        found = scraped(fresh)
        took = time.monotonic() - began

    assert ("punctual_bots_at_risk", "") not in found
    assert ("punctual_outbox_oldest_seconds", "") in found
    assert found["punctual_database_up", ""] == 1
    assert took < 8


def test_deliveries_are_counted_by_what_became_of_them(sender: Sender, db: Engine) -> None:
    before = scraped(sender.client)

    sender.post(sync_events())
    sender.post(b"junk")
    sender.post(sync_events(), headers={})

    page = sender.client.get("/metrics").text
    for result in ("stored", "quarantined", "unauthenticated"):
        assert f'punctual_deliveries_total{{result="{result}",source="recall"}}' in page
    after = scraped(sender.client)
    committed = ("punctual_receiver_commit_seconds_count", "")
    assert after[committed] == before[committed] + 2


UNIT_OF = re.compile(r"(milliseconds|millis|ms|minutes|hours|kilobytes|percent)$")


def test_the_metrics_page_keeps_the_rules_of_promtool(sender: Sender, db: Engine) -> None:
    """The checks of `promtool check metrics`, which is not on every machine."""
    page = sender.client.get("/metrics")
    lines = page.text.splitlines()
    helped = [line.split()[2] for line in lines if line.startswith("# HELP")]
    typed = {line.split()[2]: line.split()[3] for line in lines if line.startswith("# TYPE")}
    samples = [line.split(" ")[0] for line in lines if line and not line.startswith("#")]

    assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert [name for name, times in Counter(helped).items() if times > 1] == []
    assert [name for name, times in Counter(samples).items() if times > 1] == []
    assert set(helped) == set(typed)
    assert all(len(line.split(maxsplit=3)) == 4 for line in lines if line.startswith("# HELP"))
    for name, kind in typed.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name), name
        assert (kind == "counter") == name.endswith("_total"), name
        assert not name.endswith(("_count", "_sum", "_bucket", "_info", "_gauge", "_counter")), name
        assert not UNIT_OF.search(name.removesuffix("_total")), name
    for label in re.findall(r'[{,]([A-Za-z_]+)="', "\n".join(samples)):
        assert re.fullmatch(r"[a-z][a-z_]*", label)


def test_the_names_of_the_contract_are_there(sender: Sender, db: Engine) -> None:
    page = sender.client.get("/metrics").text

    for line in (
        "# TYPE punctual_deliveries_total counter",
        "# TYPE punctual_sync_lag_seconds histogram",
        "# TYPE punctual_bot_lag_seconds histogram",
        "# TYPE punctual_due_oldest_seconds gauge",
        "# TYPE punctual_outbox_oldest_seconds gauge",
        "# TYPE punctual_provider_requests_total counter",
        "# TYPE punctual_bots_at_risk gauge",
        'punctual_sync_lag_seconds_bucket{le="0.05"} ',
        'punctual_bot_lag_seconds_bucket{le="900.0"} ',
    ):
        assert line in page


def test_in_multi_process_mode_one_page_counts_for_all(
    database_url: str, db: Engine, tmp_path: Path
) -> None:
    """Two workers count and end; the receiver's page shows the sum, once."""
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    counting = "from worker import metrics; metrics.JOBS_RUN.labels('settle', 'done').inc(2)"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", counting], env=environment, check=True)
    scraping = (
        "import sys, httpx\n"
        "from models.db import make_engine\n"
        "from tests.webhooks.sending import a_runtime\n"
        "from webhooks.app import create_app\n"
        "from webhooks.server import serving\n"
        "with serving(create_app(a_runtime(make_engine(sys.argv[1])))) as url:\n"
        "    print(httpx.get(url + '/metrics').text)\n"
    )
    page = subprocess.run(
        [sys.executable, "-c", scraping, database_url],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout

    assert 'punctual_jobs_total{job="settle",outcome="done"} 4.0' in page
    assert page.count("# TYPE punctual_jobs_total") == 1
    assert "punctual_database_up 1.0" in page


def test_a_process_says_that_it_lives_however_many_wait_for_the_database(
    database_url: str, db: Engine
) -> None:
    """A server that hangs rather than refuses: whoever restarts what is silent must not restart us."""
    with (
        gate_to(database_url) as gate,
        a_receiver(gate.url) as client,
        ThreadPoolExecutor(80) as callers,
    ):
        gate.freeze()
        waiting = [callers.submit(client.get, "/readyz") for _ in range(80)]
        time.sleep(1)
        began = time.monotonic()
        alive = client.get("/healthz")
        took_s = time.monotonic() - began
        gate.open()
        for each in waiting:
            each.result()

    assert alive.status_code == 200
    assert took_s < 1
