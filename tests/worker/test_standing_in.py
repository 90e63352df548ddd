"""What nobody hears is done all the same, a little later, and beside those who hear again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine

from models.sealing import Vault
from tests.builders import a_calendar
from tests.worker.world import World
from worker import intake, jobs, outbox
from worker.reconciling import reconcile
from worker.settling import settle
from worker.standing_in import ALONE_FOR, UNHEARD_AFTER, StandIn
from worker.syncing import sync_calendar, sync_workspace


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def wait(self, span: timedelta) -> None:
        self.now += span.total_seconds()


@pytest.fixture
def world(db: Engine, vault: Vault) -> World:
    a_calendar(db, external_id="cal-anna")
    return World(db, vault)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stand_in(world: World, clock: Clock) -> StandIn:
    use_cases: dict[str, Callable[[Any], object]] = {
        jobs.TAKE_IN: lambda _: intake.take_in(world.rt),
        jobs.SYNC_WORKSPACE: lambda _: sync_workspace(world.rt),
        jobs.SYNC_CALENDAR: lambda row: sync_calendar(world.rt, UUID(row)),
        jobs.SETTLE: lambda _: settle(world.rt),
        jobs.RECONCILE: lambda _: reconcile(world.rt),
        jobs.RELAY: lambda _: outbox.relay(world.rt),
    }
    return StandIn(world.rt, lambda job, row: use_cases.get(job, lambda _: None)(row), clock)


def help_out(stand_in: StandIn) -> list[str]:
    """Do what nobody has heard of and return the jobs."""
    unheard = stand_in.unheard()
    for job, row_id in unheard:
        stand_in.perform(job, row_id)
    return [job for job, _ in unheard]


def test_without_anybody_to_hear_a_notified_meeting_still_gets_its_bot(
    world: World, stand_in: StandIn, clock: Clock
) -> None:
    world.put()
    world.notify()

    for _ in range(12):
        help_out(stand_in)
        clock.wait(UNHEARD_AFTER / 5)

    assert len(world.live()) == 1


def test_what_has_just_become_due_is_left_to_those_who_were_rung(
    world: World, stand_in: StandIn, clock: Clock
) -> None:
    world.put()
    world.notify()

    help_out(stand_in)
    clock.wait(UNHEARD_AFTER / 2)

    assert help_out(stand_in) == []


def test_what_was_done_meanwhile_is_not_counted_as_unheard(
    world: World, stand_in: StandIn, clock: Clock
) -> None:
    world.notify()
    for _ in range(10):
        stand_in.unheard()
        for job, row_id in stand_in.since:  # as consumers do who were rung
            stand_in.perform(job, row_id)
    assert not stand_in.since

    clock.wait(UNHEARD_AFTER * 2)
    world.notify()

    assert help_out(stand_in) == []


def test_after_standing_in_it_steps_back_again(world: World, stand_in: StandIn, clock: Clock) -> None:
    world.notify()
    stand_in.unheard()
    clock.wait(UNHEARD_AFTER)
    assert help_out(stand_in)
    clock.wait(ALONE_FOR * 2)
    stand_in.unheard()

    world.notify()
    stand_in.unheard()
    clock.wait(UNHEARD_AFTER / 2)

    assert help_out(stand_in) == []
