"""What asks the provider now and then: one worker at a time, for as long as it takes, again if it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, RowMapping, select, text, update

from models.sealing import Vault
from models.tables.due import table_of
from models.tables.installation import Duty
from tests.builders import NOON, a_calendar, a_found
from tests.worker.world import World
from worker import jobs, sweeping
from worker.duties import ask_for_duties, perform
from worker.errors import AuthorizationLost, Reaction, Refused, TryLater
from worker.ports import FoundBot
from worker.turns import Outcome


@pytest.fixture
def world(db: Engine, vault: Vault) -> World:
    world = World(db, vault)
    ask(world)
    return world


def ask(world: World) -> None:
    with world.db.begin() as tx:
        ask_for_duties(tx, world.rt)


def duty(world: World, name: str) -> RowMapping:
    table = table_of(Duty)
    with world.db.begin() as tx:
        return tx.execute(select(table).where(table.c.name == name)).mappings().one()


def change_duties(world: World, **values: object) -> None:
    with world.db.begin() as tx:
        tx.execute(update(table_of(Duty)).values(**values))


def test_calendars_nobody_told_us_of_are_found(world: World) -> None:
    world.source.put_calendar("cal-new")

    assert perform(world.rt, jobs.FIND_CALENDARS) is Outcome.FINISHED

    assert world.count("calendars", "external_id = 'cal-new'") == 1


def test_bots_are_swept(world: World) -> None:
    a_calendar(world.db)
    world.store(a_found())
    world.reconcile_all()
    world.bots._make(uuid4(), world.rt.install_id, "https://zoom.us/j/1", NOON, {}, None)

    assert perform(world.rt, jobs.SWEEP_BOTS) is Outcome.FINISHED

    assert len(world.live()) == 1


def test_a_duty_just_done_is_not_done_again(world: World) -> None:
    perform(world.rt, jobs.SWEEP_BOTS)
    ask(world)

    assert perform(world.rt, jobs.SWEEP_BOTS) is Outcome.NOTHING_DUE
    assert duty(world, jobs.SWEEP_BOTS)["performed_at"] is not None


def test_two_workers_never_perform_one_duty_at_once(world: World) -> None:
    outcomes: list[Outcome] = []
    sweep_in_between(world, lambda: outcomes.append(perform(world.rt, jobs.SWEEP_BOTS)))

    assert perform(world.rt, jobs.SWEEP_BOTS) is Outcome.FINISHED

    assert outcomes == [Outcome.NOTHING_DUE]


def test_a_worker_that_was_overtaken_ends_its_sweep_and_claims_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "GO_ON_EVERY_S", -1.0)
    stray = world.bots._make(uuid4(), world.rt.install_id, "https://zoom.us/j/1", NOON, {}, None)
    sweep_in_between(world, lambda: change_duties(world, fence=Duty.fence + 1))

    assert perform(world.rt, jobs.SWEEP_BOTS) is Outcome.LOST

    assert stray.bot_id in world.bots.bots
    assert duty(world, jobs.SWEEP_BOTS)["performed_at"] is None


def test_a_long_listing_keeps_its_lease(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "GO_ON_EVERY_S", -1.0)
    world.bots._make(uuid4(), world.rt.install_id, "https://zoom.us/j/1", NOON, {}, None)
    leases: list[datetime] = []
    sweep_in_between(world, lambda: leases.append(duty(world, jobs.SWEEP_BOTS)["lease_until"]))

    perform(world.rt, jobs.SWEEP_BOTS)

    assert leases == sorted(set(leases))
    assert len(leases) == 1


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [
        (TryLater("503"), Outcome.PUT_OFF),
        (AuthorizationLost("401"), Outcome.PUT_OFF),
        (Refused("no such endpoint"), Outcome.PARKED),
    ],
)
def test_a_duty_that_fails_is_done_another_time(
    world: World, failure: Reaction, outcome: Outcome
) -> None:
    world.source.put_calendar("cal-new")
    world.source.fail(failure)

    assert perform(world.rt, jobs.FIND_CALENDARS) is outcome

    assert duty(world, jobs.FIND_CALENDARS)["performed_at"] is None
    change_duties(world, due_at=text("now()"), parked_at=text("parked_at - interval '2 hours'"))
    ask(world)
    assert perform(world.rt, jobs.FIND_CALENDARS) is Outcome.FINISHED
    assert world.count("calendars") == 1


def test_without_a_recall_key_there_are_no_duties(db: Engine, vault: Vault) -> None:
    world = World(db, vault)
    object.__setattr__(world.rt, "recall", None)
    object.__setattr__(world.rt, "bots", None)

    ask(world)

    assert world.count("duties") == 0


def sweep_in_between(world: World, happen: Callable[[], object]) -> None:
    """Have something happen while the provider's bots are being listed."""

    class Slow(type(world.bots)):  # type: ignore[misc]  # a class of the moment
        def ours(self, install_id: UUID, *, since: datetime) -> Iterator[FoundBot]:
            happen()
            yield from super().ours(install_id, since=since)

    world.bots.__class__ = Slow
