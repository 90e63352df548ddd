"""A worker's metrics, scraped over a real socket from real processes."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine

from tests.system.rig import free_port, running, until
from tests.system.test_brokers import REDIS_URL, skip_unless_reachable

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.timeout(180)]


def jobs_done(port: int) -> set[str]:
    try:
        page = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False)
    except httpx.TransportError:
        return set()
    return set(re.findall(r'^punctual_jobs_total{job="(\w+)",outcome="done"}', page.text, re.MULTILINE))


def test_a_worker_in_one_process_serves_its_metrics(
    tmp_path: Path, database_url: str, db: Engine
) -> None:
    port = free_port()
    with running(tmp_path, database_url, settings={"PUNCTUAL_METRICS_PORT": str(port)}) as rig:
        rig.calendar("anna@example.com")

        assert until(lambda: "sync_calendar" in jobs_done(port))


@pytest.mark.redis
def test_a_worker_of_several_processes_serves_what_all_of_them_have_counted(
    tmp_path: Path, database_url: str, db: Engine
) -> None:
    skip_unless_reachable(REDIS_URL)
    port = free_port()
    with running(tmp_path, database_url, broker_url=REDIS_URL) as rig:
        rig.stop("work")
        del rig.environment["PROMETHEUS_MULTIPROC_DIR"]
        rig.environment |= {"PUNCTUAL_METRICS_PORT": str(port)}
        rig.start("work", "work")
        rig.calendar("anna@example.com")

        assert until(lambda: "sync_calendar" in jobs_done(port), within=40)
    assert (tmp_path / f"metrics-{port}").is_dir()
