"""The benchmarks run, at a size that says nothing about speed; and no recurring search reads a whole table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import sleep

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from models.db import driver_url
from tests.bench import growth, publishing, receiving
from tests.bench.growth import Filled, fresh_database
from tests.bench.memory import Memory
from tests.bench.outcome import Demand, Measured, read, report
from worker.upkeep import Upkeep

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.timeout(240)]

CALENDARS = 400


@pytest.fixture
def own_url(server_url: str) -> Iterator[str]:
    """A database of this test's own: benchmarks fill theirs."""
    with fresh_database(server_url) as url:
        yield url


def test_the_receivers_are_compared_and_all_of_them_answer(own_url: str) -> None:
    measured = receiving.measure(own_url, scale=0.05)

    assert measured.figures["durable/s at 16"] > 0
    assert measured.figures["durable / verify_only at 16"] > 0
    assert measured.figures["accepted share at 200/s"] == 1


def test_domain_events_are_published_and_posted(own_url: str) -> None:
    measured = publishing.measure(own_url, scale=0.005)

    assert measured.figures["posted/s over HTTP"] > 0
    assert ("published/s over AMQP (confirmed)" in measured.figures) is publishing.is_reachable(
        publishing.AMQP_URL
    )


def test_the_memory_that_something_takes_is_seen_though_it_is_given_back() -> None:
    held = bytearray(60_000_000)
    del held
    memory = Memory.watched()
    held = bytearray(40_000_000)
    sleep(0.1)  # the watcher looks every two milliseconds
    del held

    assert 35 < memory.grown_mb() < 50


def test_no_recurring_search_reads_a_growing_table_from_end_to_end(own_url: str) -> None:
    filled = Filled.make(own_url, CALENDARS)
    for nth in range(2):
        filled.change(nth)
    upkeep = Upkeep(filled.world.rt)
    upkeep.tick()
    upkeep.tick()

    searches = filled.whole_table_searches()
    filled.close()

    assert len(filled.statements) > 50
    assert not searches, "\n\n".join(searches)


def test_what_a_notification_costs_does_not_depend_on_the_number_of_calendars(own_url: str) -> None:
    """Counted in rows, which no other load on the machine changes."""
    rows = []
    for size in (CALENDARS, 4 * CALENDARS):
        with fresh_database(own_url) as url:
            avoid_whole_tables(url)
            filled = Filled.make(url, size)
            filled.change(0)
            before = filled.touched()
            for nth in range(1, 4):
                filled.change(nth)
            rows.append((filled.touched() - before) / 3)
            filled.close()

    few, many = rows
    assert many < few * 1.5, rows


def avoid_whole_tables(url: str) -> None:
    """Have indexes used where there are any: tables this small are cheaper to read whole."""
    admin = create_engine(driver_url(url), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        for way in ("seqscan", "hashjoin", "mergejoin"):
            connection.execute(
                text(f'ALTER DATABASE "{make_url(url).database}" SET enable_{way} = off')
            )
    admin.dispose()


def test_a_result_is_compared_with_the_baseline_and_held_to_its_demands(tmp_path: Path) -> None:
    demands = (Demand("ratio", at_least=0.6), Demand("p99 ms", at_most=20))
    measured = Measured("sample", {"ratio": 0.5, "p99 ms": 12.3456}, demands)

    measured.write(tmp_path, scale=1)

    stored = read("sample", tmp_path)
    assert stored is not None
    assert stored["figures"] == {"ratio": 0.5, "p99 ms": 12.3}
    assert [str(demand) for demand in measured.unmet()] == ["ratio >= 0.6"]
    assert "NOT MET ratio >= 0.6" in report(measured)


def test_every_plan_check_is_of_tables_that_exist(own_url: str) -> None:
    from models.tables.base import Base

    assert set(growth.GROWING) <= set(Base.metadata.tables)
