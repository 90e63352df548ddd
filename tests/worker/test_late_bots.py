"""Meetings under way: what is wanted does not move with the clock, and nothing learned is taken back."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Engine

from models.domain.bots import BotState
from models.sealing import Vault
from tests.builders import NOON, a_calendar, a_found, a_link, an_event
from tests.worker.world import World
from worker.reconciling import reconcile
from worker.turns import Outcome

MEET = a_link().url
HALF_PAST = NOON + timedelta(minutes=30)


@pytest.fixture
def world(db: Engine, vault: Vault) -> World:
    a_calendar(db)
    return World(db, vault)


@pytest.fixture
def scheduled(world: World) -> World:
    """A world with one meeting tomorrow whose bot is scheduled."""
    world.store(a_found())
    world.reconcile_all()
    return world


def retitled(world: World) -> None:
    world.store(a_found(an_event(title="Another title"), updated_at=NOON))


def test_a_meeting_under_way_is_not_moved_because_somebody_looks(scheduled: World) -> None:
    calls = list(scheduled.bots.calls)
    scheduled.at = HALF_PAST

    retitled(scheduled)
    scheduled.reconcile_all()

    assert scheduled.bots.calls == calls
    assert scheduled.told() == ["bot.scheduled"]
    assert scheduled.slot()["join_at"] == NOON


def test_a_meeting_first_seen_under_way_is_wanted_from_its_start_on(world: World) -> None:
    world.at = HALF_PAST

    world.store(a_found())
    world.reconcile_all()
    seat = world.slot()["seat_hash"]
    world.at += timedelta(minutes=5)
    retitled(world)
    world.reconcile_all()

    assert world.slot()["join_at"] == NOON
    assert world.slot()["seat_hash"] == seat
    assert len(world.bots.steps) == 1


def test_a_bot_nobody_wants_any_more_goes_although_its_meeting_has_ended(scheduled: World) -> None:
    scheduled.store(a_found(an_event(deleted=True), updated_at=NOON))
    scheduled.at = NOON + timedelta(hours=3)

    scheduled.reconcile_all()

    assert scheduled.live() == []


def test_news_that_arrives_during_a_call_outlives_the_calls_answer(scheduled: World) -> None:
    (bot,) = scheduled.bots.live
    scheduled.store(a_found(an_event(start=NOON + timedelta(hours=1)), updated_at=NOON))
    scheduled.during_the_next_call(lambda: scheduled.hear_of_bot(bot.bot_id, "joining"))

    reconcile(scheduled.rt)

    assert scheduled.slot()["bot_state"] == BotState.JOINING


def test_an_answer_that_comes_after_the_lease_was_lost_is_not_written_down(scheduled: World) -> None:
    later, latest = NOON + timedelta(hours=3), NOON + timedelta(hours=6)
    scheduled.store(a_found(an_event(start=later), updated_at=NOON))

    def be_overtaken() -> None:
        scheduled.store(a_found(an_event(start=latest), updated_at=NOON + timedelta(minutes=1)))
        scheduled.change_slot(lease_until=NOON - timedelta(days=9), due_at=NOON - timedelta(days=9))
        assert reconcile(scheduled.rt) is Outcome.FINISHED

    scheduled.during_the_next_call(be_overtaken)

    assert reconcile(scheduled.rt) is Outcome.LOST

    assert scheduled.slot()["bot_join_at"] == latest
    assert scheduled.live() == [(MEET, latest)]
    assert scheduled.told() == ["bot.scheduled", "bot.rescheduled"]


def test_a_slot_whose_bot_may_be_in_the_making_stays_open_for_the_meeting_to_come_back(
    world: World,
) -> None:
    world.store(a_found())
    world.bots.lose_answer()
    reconcile(world.rt)

    world.store(a_found(an_event(deleted=True), updated_at=NOON))
    assert world.slot()["closed_at"] is None
    world.store(a_found(updated_at=NOON + timedelta(minutes=1)))
    world.reconcile_all()

    assert world.live() == [(MEET, NOON)]
    assert len(world.bots.bots) == world.count("slots") == 1
