"""One turn on one due row: however it ends, the row is given back the way the outcome asks for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine, RowMapping, func, select, update

from models.sealing import Vault
from models.tables import due
from models.tables.calendars import Calendar
from models.tables.due import table_of
from tests.builders import a_calendar
from tests.worker.world import World
from worker.errors import AuthorizationLost, Refused, TryLater
from worker.turns import LeaseLost, Outcome, still_mine, take_turn

CALENDARS = table_of(Calendar)


@pytest.fixture
def world(db: Engine, vault: Vault) -> World:
    return World(db, vault)


@pytest.fixture
def row_id(world: World) -> UUID:
    calendar_id = a_calendar(world.db)
    world.ask(calendar_id)
    return calendar_id


def turn(world: World, row_id: UUID, work: Callable[[due.Claim], None]) -> Outcome:
    return take_turn(world.rt, Calendar, row_id, work)


def row(world: World) -> RowMapping:
    with world.db.begin() as tx:
        return tx.execute(select(CALENDARS)).mappings().one()


def finished(world: World, claimed: due.Claim) -> None:
    with world.db.begin() as tx:
        still_mine(tx, Calendar, claimed)
        due.finish(tx, Calendar, claimed)


def taken_over(world: World) -> None:
    """Have somebody else claim the row, serve everything asked for, and be done."""
    with world.db.begin() as tx:
        tx.execute(update(CALENDARS).values(lease_until=func.now() - timedelta(seconds=1)))
        thief = due.claim(tx, Calendar)
        assert thief is not None
        due.finish(tx, Calendar, thief)


def raises(error: Exception) -> Callable[[due.Claim], None]:
    def work(_claimed: due.Claim) -> None:
        raise error

    return work


def test_a_row_that_was_worked_on_is_no_longer_due(world: World, row_id: UUID) -> None:
    assert turn(world, row_id, lambda claimed: finished(world, claimed)) is Outcome.FINISHED

    assert turn(world, row_id, lambda claimed: finished(world, claimed)) is Outcome.NOTHING_DUE


def test_what_was_lost_to_somebody_else_is_looked_at_once_more(world: World, row_id: UUID) -> None:
    def work(claimed: due.Claim) -> None:
        taken_over(world)
        finished(world, claimed)

    assert turn(world, row_id, work) is Outcome.LOST

    assert world.is_due(row_id)


def test_nothing_of_a_step_is_kept_once_the_lease_is_lost(world: World, row_id: UUID) -> None:
    def work(claimed: due.Claim) -> None:
        taken_over(world)
        with world.db.begin() as tx:
            tx.execute(update(CALENDARS).values(status_reason="written by the late one"))
            still_mine(tx, Calendar, claimed)

    turn(world, row_id, work)

    assert row(world)["status_reason"] is None


def test_a_step_that_is_still_ours_renews_the_lease(world: World, row_id: UUID) -> None:
    def work(claimed: due.Claim) -> None:
        with world.db.begin() as tx:
            tx.execute(update(CALENDARS).values(lease_until=func.now() - timedelta(seconds=1)))
        with world.db.begin() as tx:
            still_mine(tx, Calendar, claimed)
        with world.db.begin() as tx:
            assert due.claim(tx, Calendar, row_id) is None
        finished(world, claimed)

    assert turn(world, row_id, work) is Outcome.FINISHED


@pytest.mark.parametrize(
    ("error", "outcome", "tries", "is_parked"),
    [
        (TryLater("busy"), Outcome.PUT_OFF, 1, False),
        (TryLater("its turn comes", counts=False), Outcome.PUT_OFF, 0, False),
        (AuthorizationLost("the key"), Outcome.PUT_OFF, 0, False),
        (Refused("never"), Outcome.PARKED, 0, True),
    ],
    ids=["later", "in turn", "no authorisation", "refused"],
)
def test_a_reaction_says_how_the_row_is_given_back(
    world: World, row_id: UUID, error: Exception, outcome: Outcome, tries: int, is_parked: bool
) -> None:
    assert turn(world, row_id, raises(error)) is outcome

    given_back = row(world)
    assert (given_back["tries"], given_back["parked_at"] is not None) == (tries, is_parked)
    assert given_back["lease_until"] is None
    assert world.is_due(row_id)


def test_a_bug_is_counted_and_raised_again(world: World, row_id: UUID) -> None:
    with pytest.raises(ZeroDivisionError):
        turn(world, row_id, raises(ZeroDivisionError("a token in it")))

    assert row(world)["tries"] == 1
    assert row(world)["last_error"] == "unexpected ZeroDivisionError"


def test_whatever_a_late_run_raises_it_gives_nothing_back(world: World, row_id: UUID) -> None:
    for error in (TryLater("busy"), AuthorizationLost("the key"), Refused("never"), LeaseLost("mine")):

        def work(_claimed: due.Claim, error: Exception = error) -> None:
            taken_over(world)
            world.ask(row_id)
            with world.db.begin() as tx:
                assert due.claim(tx, Calendar, row_id) is not None
            raise error

        turn(world, row_id, work)

        assert row(world)["lease_until"] is not None
        assert row(world)["parked_at"] is None
        with world.db.begin() as tx:
            tx.execute(update(CALENDARS).values(lease_until=None))
