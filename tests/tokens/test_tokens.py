"""Both forms of the proof, short, with every run of the suite; `make tokens` runs them in full."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.fault import Ground, Result
from tests.faults.servers import Postgres
from tests.node import Unavailable, installed
from tests.tokens.proof import Size, in_peace, with_kills
from tests.tokens.server import SOURCES

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.timeout(240)]


@pytest.fixture(scope="module", autouse=True)
def _server() -> None:
    try:
        installed(SOURCES)
    except Unavailable as why:
        pytest.skip(str(why))


@pytest.fixture(scope="module")
def postgres(_server: None) -> Iterator[Postgres]:
    with Postgres.running() as postgres:
        yield postgres


def test_workers_that_share_accounts_are_refused_nothing(postgres: Postgres, tmp_path: Path) -> None:
    ground = Ground(tmp_path, postgres.fresh_database, short=True)

    result = in_peace(ground, Size(workers=4, connections=8, seconds=4))

    assert result.passed, _said(result)


def test_a_killed_worker_costs_one_clean_reconnect_at_most(postgres: Postgres, tmp_path: Path) -> None:
    ground = Ground(tmp_path, postgres.fresh_database, short=True)

    size = Size(workers=4, connections=8, seconds=4, kill_every_s=0.5, slowest_ms=400)
    result = with_kills(ground, size)

    assert result.passed, _said(result)
    assert result.figures["needs_reauth_events"]  # one at least was killed at the worst moment


def _said(result: Result) -> str:
    return f"{result.remarks} {dict(result.figures)}"
