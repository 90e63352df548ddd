"""Due rows: what is asked for is served, whoever dies, whoever is late."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine, select, update

from models.tables import due
from models.tables.calendars import Calendar
from models.tables.due import table_of
from tests.builders import a_calendar

CALENDARS = table_of(Calendar)


@pytest.fixture
def row_id(db: Engine) -> UUID:
    return a_calendar(db)


def ask(db: Engine, row_id: UUID, *, now: bool = False) -> None:
    with db.begin() as tx:
        due.ask(tx, Calendar, [row_id], now=now)


def claim(db: Engine, row_id: UUID, lease: timedelta = due.LEASE) -> due.Claim | None:
    with db.begin() as tx:
        return due.claim(tx, Calendar, row_id, lease=lease)


def claimed(db: Engine, row_id: UUID, lease: timedelta = due.LEASE) -> due.Claim:
    mine = claim(db, row_id, lease)
    assert mine is not None
    return mine


def finish(db: Engine, mine: due.Claim) -> bool:
    with db.begin() as tx:
        return due.finish(tx, Calendar, mine)


def is_due(db: Engine, row_id: UUID) -> bool:
    with db.begin() as tx:
        return row_id in due.list_due(tx, Calendar, limit=10)


def test_nothing_is_claimed_that_nobody_asked_for(db: Engine, row_id: UUID) -> None:
    assert claim(db, row_id) is None


def test_what_was_asked_for_is_claimed_once(db: Engine, row_id: UUID) -> None:
    ask(db, row_id)

    claimed(db, row_id)

    assert claim(db, row_id) is None


def test_ten_asks_become_one_run(db: Engine, row_id: UUID) -> None:
    for _ in range(10):
        ask(db, row_id)

    assert finish(db, claimed(db, row_id))

    assert not is_due(db, row_id)


def test_an_ask_during_a_run_keeps_the_row_due(db: Engine, row_id: UUID) -> None:
    ask(db, row_id)
    mine = claimed(db, row_id)
    ask(db, row_id)

    assert finish(db, mine)

    assert is_due(db, row_id)


def test_a_run_that_lost_its_lease_finishes_nothing_and_asks_again(db: Engine, row_id: UUID) -> None:
    ask(db, row_id)
    late = claimed(db, row_id, lease=timedelta(0))
    thief = claimed(db, row_id)
    assert finish(db, thief)

    assert not finish(db, late)

    assert is_due(db, row_id)


def test_a_stale_claim_no_longer_holds(db: Engine, row_id: UUID) -> None:
    ask(db, row_id)
    late = claimed(db, row_id, lease=timedelta(0))
    thief = claimed(db, row_id)

    with db.begin() as tx:
        assert not due.holds(tx, Calendar, late)
        assert due.holds(tx, Calendar, thief)


def test_a_run_that_slept_and_was_given_up_for_dead_puts_the_row_back(db: Engine, row_id: UUID) -> None:
    ask(db, row_id)
    runs = [claimed(db, row_id, lease=timedelta(0)) for _ in range(due.MOST_CRASHES)]
    with db.begin() as tx:
        due.park_crashed(tx, Calendar)

    assert finish(db, runs[-1])
    ask(db, row_id)

    assert is_due(db, row_id)


def test_the_sixth_run_after_five_that_died_is_not_begun(db: Engine, row_id: UUID) -> None:
    ask(db, row_id)
    for _ in range(due.MOST_CRASHES):
        claimed(db, row_id, lease=timedelta(0))

    assert claim(db, row_id) is None
    with db.begin() as tx:
        assert list(due.park_crashed(tx, Calendar)) == [row_id]
    assert not is_due(db, row_id)


def test_an_orderly_failure_is_not_a_crash(db: Engine, row_id: UUID) -> None:
    ask(db, row_id)
    for _ in range(due.MOST_CRASHES + 1):
        mine = claimed(db, row_id)
        with db.begin() as tx:
            due.put_off(tx, Calendar, mine, after=timedelta(0), error="busy")

    assert is_due(db, row_id)


def test_the_twentieth_failure_parks_the_row_until_somebody_insists(db: Engine, row_id: UUID) -> None:
    ask(db, row_id)
    for _ in range(due.MOST_TRIES):
        mine = claimed(db, row_id)
        with db.begin() as tx:
            due.put_off(tx, Calendar, mine, after=timedelta(0), error="busy")
    assert not is_due(db, row_id)
    ask(db, row_id)
    assert not is_due(db, row_id)

    ask(db, row_id, now=True)

    assert is_due(db, row_id)


def test_waiting_ones_turn_never_parks(db: Engine, row_id: UUID) -> None:
    ask(db, row_id)
    for _ in range(due.MOST_TRIES + 1):
        mine = claimed(db, row_id)
        with db.begin() as tx:
            due.put_off(tx, Calendar, mine, after=timedelta(0), error="budget", counts=False)

    assert is_due(db, row_id)


def test_an_ask_does_not_cut_a_wait_short(db: Engine, row_id: UUID) -> None:
    ask(db, row_id)
    mine = claimed(db, row_id)
    with db.begin() as tx:
        due.put_off(tx, Calendar, mine, after=timedelta(hours=1), error="busy")

    ask(db, row_id)

    assert not is_due(db, row_id)


def test_asked_at_is_the_first_ask_not_yet_served(db: Engine, row_id: UUID) -> None:
    ask(db, row_id)
    asked = select(CALENDARS.c.asked_at).where(CALENDARS.c.id == row_id)
    with db.begin() as tx:
        first = tx.execute(asked).scalar_one()

    ask(db, row_id)

    with db.begin() as tx:
        assert tx.execute(asked).scalar_one() == first


def test_a_dead_workers_row_is_claimed_again_when_its_lease_is_over(db: Engine, row_id: UUID) -> None:
    ask(db, row_id)
    claimed(db, row_id)
    with db.begin() as tx:
        tx.execute(update(CALENDARS).values(lease_until=CALENDARS.c.lease_until - timedelta(minutes=2)))

    assert claim(db, row_id) is not None


def test_an_ask_that_came_during_a_refused_run_is_not_parked_away(db: Engine, row_id: UUID) -> None:
    ask(db, row_id)
    mine = claimed(db, row_id)
    ask(db, row_id, now=True)

    with db.begin() as tx:
        due.park(tx, Calendar, mine, error="refused")

    assert is_due(db, row_id)
