"""A run that lost its lease gives nothing back, and a lease is neither too short nor too long."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine, RowMapping, select

from models.tables import due
from models.tables.calendars import Calendar
from models.tables.due import table_of
from tests.builders import a_calendar
from worker import budgets, http, upkeep

CALENDARS = table_of(Calendar)
#: What the product promises about a worker that was killed.
RUN_AGAIN_WITHIN = timedelta(seconds=30)


@pytest.fixture
def claims(db: Engine) -> tuple[due.Claim, due.Claim]:
    """Two claims on one row: one whose lease was lost, and that of whoever took it over."""
    row_id = a_calendar(db)
    with db.begin() as tx:
        due.ask(tx, Calendar, [row_id])
    return claimed(db, row_id, timedelta(0)), claimed(db, row_id, due.LEASE)


def claimed(db: Engine, row_id: UUID, lease: timedelta) -> due.Claim:
    with db.begin() as tx:
        claim = due.claim(tx, Calendar, row_id, lease=lease)
    assert claim is not None
    return claim


def row(db: Engine) -> RowMapping:
    with db.begin() as tx:
        return tx.execute(select(CALENDARS)).mappings().one()


def test_whoever_lost_a_lease_cannot_put_the_row_off(
    db: Engine, claims: tuple[due.Claim, due.Claim]
) -> None:
    late, thief = claims

    with db.begin() as tx:
        assert not due.put_off(tx, Calendar, late, after=timedelta(hours=1), error="busy")

    assert (row(db)["lease_until"] is None, row(db)["tries"], row(db)["last_error"]) == (False, 0, None)
    with db.begin() as tx:
        assert due.finish(tx, Calendar, thief)
    assert row(db)["wanted"] > row(db)["done"]  # what the late one did is looked at again


def test_whoever_lost_a_lease_cannot_park_the_row(
    db: Engine, claims: tuple[due.Claim, due.Claim]
) -> None:
    late, thief = claims

    with db.begin() as tx:
        assert not due.park(tx, Calendar, late, error="refused")

    assert (row(db)["parked_at"], row(db)["lease_until"] is None) == (None, False)
    with db.begin() as tx:
        assert due.finish(tx, Calendar, thief)
    assert row(db)["wanted"] > row(db)["done"]


def test_a_lease_outlasts_the_longest_call_and_the_wait_for_it() -> None:
    longest = budgets.LISTING_PATIENCE + timedelta(seconds=http.TOTAL_TIMEOUT_S)

    assert longest < due.LEASE


def test_a_killed_workers_row_is_run_again_within_half_a_minute() -> None:
    assert due.LEASE + 2 * upkeep.TICK <= RUN_AGAIN_WITHIN
