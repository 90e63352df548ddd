"""Deliveries that no listing serves: calendars unknown so far, and news of bots."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, update

from models.sealing import Vault
from models.tables.inbox import Delivery
from tests.builders import NOON, a_calendar, a_found
from tests.worker.world import DELIVERIES, World, real_now
from worker import intake, jobs
from worker.settings import Settings

OVER_TWO_MINUTES = timedelta(minutes=2, seconds=1)


@pytest.fixture
def world(db: Engine, vault: Vault) -> World:
    a_calendar(db)
    return World(db, vault)


@pytest.fixture
def bot_id(world: World) -> str:
    """The bot of one meeting, scheduled."""
    world.store(a_found())
    world.reconcile_all()
    world.bell.take()
    return str(world.slot()["bot_id"])


def not_adopting(world: World) -> None:
    settings = Settings(_env_file=None, recall_adopt=False)
    object.__setattr__(world.rt, "settings", settings)


def news(code: Any, at: Any = "2026-11-23T12:00:00Z") -> dict[str, Any]:
    return {"event": f"bot.{code}", "data": {"data": {"code": code, "updated_at": at}}}


def old_news(code: Any, at: Any = "2026-11-23T12:00:00Z") -> dict[str, Any]:
    return {"event": "bot.status_change", "data": {"status": {"code": code, "created_at": at}}}


def tell(world: World, bot_id: str, body: Any) -> UUID:
    return world.notify(bot_id, "bot.status_change", body)


def let_two_minutes_pass(world: World) -> None:
    with world.db.begin() as tx:
        tx.execute(update(DELIVERIES).values(received_at=real_now() - OVER_TWO_MINUTES))


def test_an_unknown_calendar_is_adopted_and_rung_for(world: World) -> None:
    delivery = world.notify("cal-new")

    assert intake.take_in(world.rt) == 1

    assert world.delivery(delivery) == ("done", "calendar_adopted")
    with world.db.begin() as tx:
        new = tx.exec_driver_sql(
            "SELECT id, status, needs_check, needs_full, wanted > done FROM calendars"
            " WHERE external_id = 'cal-new'"
        ).one()
    assert tuple(new)[1:] == ("connecting", True, True, True)
    assert (jobs.SYNC_CALENDAR, str(new.id)) in world.bell.take()


def test_an_adopted_calendar_is_listed_fully(world: World) -> None:
    world.source.put_calendar("cal-new")
    world.put(calendar="cal-new")
    world.notify("cal-new")
    intake.take_in(world.rt)
    (calendar_id,) = [UUID(ref) for job, ref in world.bell.take() if ref and job == jobs.SYNC_CALENDAR]

    world.look_at(calendar_id)

    assert world.titles() == {"event-1": "Weekly"}


def test_many_deliveries_of_one_unknown_calendar_adopt_it_once(world: World) -> None:
    deliveries = [world.notify("cal-new") for _ in range(3)]

    assert intake.take_in(world.rt) == 3

    assert world.count("calendars") == 2
    assert {world.delivery(one)[0] for one in deliveries} == {"done"}


def test_an_unknown_calendar_is_ignored_when_not_adopting(world: World) -> None:
    not_adopting(world)
    delivery = world.notify("cal-new")

    intake.take_in(world.rt)

    assert world.delivery(delivery) == ("ignored", "unknown_calendar")
    assert world.count("calendars") == 1


def test_word_of_a_calendar_we_follow_is_left_to_its_listing(world: World) -> None:
    delivery = world.notify()

    assert intake.take_in(world.rt) == 0

    assert world.delivery(delivery) == ("stored", None)


def test_more_deliveries_than_one_batch_are_all_taken_in(world: World) -> None:
    for n in range(intake.BATCH + 5):
        world.notify(f"cal-{n}")

    assert intake.take_in(world.rt) == intake.BATCH + 5

    assert world.count("calendars") == intake.BATCH + 6
    assert intake.take_in(world.rt) == 0


@pytest.mark.parametrize("shape", [news, old_news])
def test_news_of_a_bot_is_read_in_both_shapes(world: World, bot_id: str, shape: Any) -> None:
    delivery = tell(world, bot_id, shape("joining"))

    intake.take_in(world.rt)

    slot = world.slot()
    assert (slot["bot_state"], slot["bot_state_at"]) == ("joining", NOON)
    assert world.delivery(delivery) == ("done", None)
    assert world.told()[-1] == "bot.status_changed"


def test_the_same_news_twice_is_told_once(world: World, bot_id: str) -> None:
    deliveries = [tell(world, bot_id, news("joining")) for _ in range(2)]

    intake.take_in(world.rt)

    assert [world.delivery(one) for one in deliveries] == [("done", None), ("ignored", "old_news")]
    assert world.told().count("bot.status_changed") == 1


def test_news_that_goes_back_changes_nothing_anywhere(world: World, bot_id: str) -> None:
    for code in ("in_call", "done"):
        tell(world, bot_id, news(code))
    late = tell(world, bot_id, news("joining"))

    intake.take_in(world.rt)

    assert world.slot()["bot_state"] == "done"
    assert world.delivery(late) == ("ignored", "old_news")
    assert world.count("provider_bots", "state = 'done'") == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"data": None},
        {"data": []},
        {"data": {"data": "joining"}},
        {"event": "bot.status_change", "data": {"status": None}},
        {"event": ["bot.status_change"], "data": {"data": {"code": None}}},
        news("a_word_of_tomorrow"),
        news(""),
        news(7),
        news({"code": "joining"}),
        news("x" * 10_000),
        news("joining\u0000"),
    ],
    ids=str,
)
def test_garbage_about_a_bot_is_ignored_and_changes_nothing(
    world: World, bot_id: str, body: dict[str, Any]
) -> None:
    delivery = tell(world, bot_id, body)

    intake.take_in(world.rt)

    assert world.delivery(delivery) == ("ignored", "unknown_status")
    assert world.slot()["bot_state"] == "scheduled"


@pytest.mark.parametrize("at", [None, 7, "soon", "9999-12-31T23:59:59-14:00", "infinity", "0001-01-01"])
def test_news_with_an_impossible_time_is_dated_by_us(world: World, bot_id: str, at: Any) -> None:
    tell(world, bot_id, news("joining", at))

    intake.take_in(world.rt)

    assert (world.slot()["bot_state"], world.slot()["bot_state_at"]) == ("joining", world.at)


@pytest.mark.parametrize("body", [b"[]", b"null", b"not json", b"\xff"])
def test_a_body_that_is_no_object_does_not_hold_up_the_others(
    world: World, bot_id: str, body: bytes
) -> None:
    odd = tell(world, bot_id, {})
    with world.db.begin() as tx:
        tx.execute(update(Delivery).where(Delivery.id == odd).values(body=body))
    tell(world, bot_id, news("joining"))

    intake.take_in(world.rt)

    assert world.slot()["bot_state"] == "joining"
    assert world.delivery(odd) == ("ignored", "unknown_status")


def test_word_of_an_unknown_bot_waits_and_is_then_ignored(world: World) -> None:
    delivery = tell(world, "nobody", news("joining"))

    intake.take_in(world.rt)
    assert world.delivery(delivery) == ("stored", None)
    assert intake.take_in(world.rt) == 0

    let_two_minutes_pass(world)
    intake.take_in(world.rt)
    assert world.delivery(delivery) == ("ignored", "unknown_bot")


def test_word_of_a_bot_that_overtakes_the_answer_with_its_id_is_heard(world: World) -> None:
    world.store(a_found())
    early: list[UUID] = []

    def hear_first() -> None:
        (bot,) = world.bots.live
        early.append(tell(world, bot.bot_id, news("joining")))
        intake.take_in(world.rt)

    world.during_the_next_call(hear_first)
    world.reconcile_all()
    assert world.delivery(early[0])[0] == "stored"

    let_two_minutes_pass(world)
    intake.take_in(world.rt)

    assert world.slot()["bot_state"] == "joining"
    assert world.delivery(early[0]) == ("done", None)


def test_an_unknown_bot_does_not_keep_news_of_others_waiting(world: World, bot_id: str) -> None:
    for _ in range(3):
        tell(world, "nobody", news("joining"))
    tell(world, bot_id, news("joining"))

    intake.take_in(world.rt)

    assert world.slot()["bot_state"] == "joining"


def test_news_of_a_former_bot_is_ignored(world: World, bot_id: str) -> None:
    world.change_slot(bot_id="another")

    delivery = tell(world, bot_id, news("joining"))
    intake.take_in(world.rt)

    assert world.delivery(delivery) == ("ignored", "former_bot")
    assert world.slot()["bot_state"] == "scheduled"


def test_a_bot_on_its_way_that_nobody_wants_has_its_slot_looked_at(world: World, bot_id: str) -> None:
    world.change_slot(is_wanted=False)

    tell(world, bot_id, news("joining"))
    intake.take_in(world.rt)

    slot = world.slot()
    assert slot["wanted"] > slot["done"]


def test_a_bot_that_dies_during_its_meeting_is_not_replaced(world: World, bot_id: str) -> None:
    world.at = NOON + timedelta(minutes=5)

    tell(world, bot_id, news("failed"))
    intake.take_in(world.rt)
    world.reconcile_all()

    assert len(world.bots.bots) == 1
    assert world.told()[-1] == "bot.failed"


def test_what_a_delivery_says_is_stored_as_it_came(world: World, bot_id: str) -> None:
    delivery = tell(world, bot_id, news("joining"))

    intake.take_in(world.rt)

    assert json.loads(world.delivery_row(delivery)["body"]) == news("joining")


class Confused:
    """A provider that stumbles over one word."""

    def state_of(self, code: str) -> None:
        raise LookupError(code)


def test_a_delivery_that_breaks_something_is_set_aside_and_holds_up_no_other(
    world: World, bot_id: str
) -> None:
    object.__setattr__(world.rt, "bots", Confused())
    broken = tell(world, bot_id, news("joining"))
    other = world.notify("cal-new")

    intake.take_in(world.rt)

    assert world.delivery(broken) == ("parked", "unexpected LookupError")
    assert world.delivery(other) == ("done", "calendar_adopted")
