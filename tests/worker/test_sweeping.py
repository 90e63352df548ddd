"""The provider's inventory against ours: calendars nobody told us of, bots nobody claims."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine

from models.domain.bots import BotState
from models.sealing import Vault
from tests.builders import NOON, a_calendar, a_found, a_link
from tests.worker.world import World
from worker import jobs
from worker.errors import TryLater
from worker.settings import Settings
from worker.sweeping import find_calendars, sweep_bots

LONG_AGO = NOON - timedelta(days=30)


@pytest.fixture
def world(db: Engine, vault: Vault) -> World:
    a_calendar(db)
    return World(db, vault)


@pytest.fixture
def scheduled(world: World) -> World:
    world.store(a_found())
    world.reconcile_all()
    world.change_slot(updated_at=LONG_AGO)
    return world


def a_stray(world: World, slot_id: UUID | None) -> str:
    """Have a live bot with our mark that was made for a slot, or says so."""
    bot = world.bots._make(slot_id, world.rt.install_id, a_link().url, NOON, {}, b"other")
    return bot.bot_id


def test_every_calendar_of_the_workspace_is_followed_once(world: World) -> None:
    world.source.put_calendar("cal-anna")
    world.source.put_calendar("cal-ben")

    assert find_calendars(world.rt) == 1
    assert find_calendars(world.rt) == 0

    assert world.count("calendars") == 2
    assert [job for job, _ in world.bell.take()] == [jobs.SYNC_CALENDAR]


def test_a_calendar_deleted_here_is_not_found_again(world: World) -> None:
    a_calendar(world.db, "cal-gone", deleted_at=NOON)
    world.source.put_calendar("cal-gone")

    assert find_calendars(world.rt) == 0

    assert world.count("calendars", "deleted_at IS NOT NULL") == 1
    assert world.bell.take() == []


def test_no_calendar_is_looked_for_when_not_adopting(world: World) -> None:
    settings = Settings(_env_file=None, recall_adopt=False)
    object.__setattr__(world.rt, "settings", settings)
    world.source.put_calendar("cal-ben")

    assert find_calendars(world.rt) == 0

    assert world.source.calls == []


def test_calendars_that_cannot_be_listed_are_looked_for_another_time(world: World) -> None:
    world.source.put_calendar("cal-ben")
    world.source.fail(TryLater("503"))

    with pytest.raises(TryLater):
        find_calendars(world.rt)

    assert find_calendars(world.rt) == 1


def test_bots_in_their_places_are_left_alone(scheduled: World) -> None:
    before = list(scheduled.bots.steps)

    assert sweep_bots(scheduled.rt) == 0

    scheduled.reconcile_all()
    assert scheduled.bots.steps == before


def test_a_second_bot_of_a_slot_is_removed(scheduled: World) -> None:
    stray = a_stray(scheduled, scheduled.slot_id())

    assert sweep_bots(scheduled.rt) == 1

    assert stray not in scheduled.bots.bots
    assert len(scheduled.live()) == 1


def test_a_bot_of_a_slot_that_nobody_remembers_is_removed(scheduled: World) -> None:
    stray = a_stray(scheduled, uuid4())

    sweep_bots(scheduled.rt)

    assert stray not in scheduled.bots.bots


def test_an_astray_bot_that_is_in_a_call_leaves_it(scheduled: World) -> None:
    stray = a_stray(scheduled, uuid4())
    scheduled.bots.bots[stray].state = BotState.IN_CALL

    sweep_bots(scheduled.rt)

    assert scheduled.bots.bots[stray].state.is_over


def test_a_bot_astray_that_cannot_be_removed_now_is_removed_by_the_next_sweep(
    scheduled: World,
) -> None:
    stray, other = a_stray(scheduled, uuid4()), a_stray(scheduled, uuid4())
    scheduled.bots.fail(TryLater("503"))

    sweep_bots(scheduled.rt)
    assert (stray in scheduled.bots.bots, other in scheduled.bots.bots) == (True, False)

    sweep_bots(scheduled.rt)
    assert stray not in scheduled.bots.bots


def test_a_bot_whose_slot_has_just_changed_is_left_to_the_slot(scheduled: World) -> None:
    scheduled.change_slot(updated_at=scheduled.at)
    stray = a_stray(scheduled, scheduled.slot_id())

    sweep_bots(scheduled.rt)

    slot = scheduled.slot()
    assert stray in scheduled.bots.bots
    assert slot["wanted"] > slot["done"]


def test_a_sweep_between_intent_and_answer_makes_no_second_bot(world: World) -> None:
    world.store(a_found())
    world.during_the_next_call(lambda: sweep_bots(world.rt))

    world.reconcile_all()
    sweep_bots(world.rt)
    world.reconcile_all()

    assert len(world.bots.bots) == 1
    assert world.live() == [(a_link().url, NOON)]


def test_bots_that_cannot_be_listed_miss_nobody(scheduled: World) -> None:
    class Unlisted(type(scheduled.bots)):  # type: ignore[misc]  # a class of the moment
        def ours(self, install_id: UUID, *, since: object) -> object:
            msg = "429"
            raise TryLater(msg)

    scheduled.bots.__class__ = Unlisted

    with pytest.raises(TryLater):
        sweep_bots(scheduled.rt)

    assert scheduled.slot()["op"] is None


def test_a_missing_bot_is_looked_for_before_another_is_made(scheduled: World) -> None:
    (bot,) = scheduled.bots.bots.values()
    bot.install_id = None  # the list does not show it, asked for by its id it is there

    sweep_bots(scheduled.rt)
    scheduled.reconcile_all()

    assert "look" in scheduled.bots.calls
    assert len(scheduled.bots.bots) == 1


def test_a_bot_that_should_have_joined_already_is_not_missed(scheduled: World) -> None:
    scheduled.at = NOON + timedelta(minutes=5)
    scheduled.bots.bots.clear()

    sweep_bots(scheduled.rt)

    assert scheduled.slot()["op"] is None


def test_without_a_recall_key_nothing_is_swept(world: World) -> None:
    object.__setattr__(world.rt, "bots", None)
    object.__setattr__(world.rt, "recall", None)

    assert (sweep_bots(world.rt), find_calendars(world.rt)) == (0, 0)
