"""One slot, one bot: scheduled, moved, cancelled, whatever dies or lies in between."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Engine, func, select, update

from models.domain.bots import BotState
from models.sealing import Vault
from models.tables.calendars import Calendar
from models.tables.due import table_of
from models.tables.slots import Slot
from tests.builders import NOON, a_calendar, a_found, a_link, an_event
from tests.worker.world import SLOTS, World
from worker.errors import Refused, TryLater
from worker.ports import Attachment
from worker.reconciling import reconcile
from worker.sweeping import sweep_bots
from worker.turns import Outcome

MEET = a_link().url
LATER = NOON + timedelta(hours=3)


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


def cancelled(world: World) -> None:
    world.store(a_found(an_event(deleted=True), updated_at=NOON))


def moved(world: World) -> None:
    world.store(a_found(an_event(start=LATER), updated_at=NOON))


def test_a_wanted_bot_is_scheduled_and_told_about_once(scheduled: World) -> None:
    assert scheduled.live() == [(MEET, NOON)]
    assert scheduled.told() == ["bot.scheduled"]


def test_what_already_stands_costs_no_call(scheduled: World) -> None:
    calls = list(scheduled.bots.calls)
    scheduled.change_slot(wanted=Slot.wanted + 1)

    scheduled.reconcile_all()

    assert scheduled.bots.calls == calls
    assert scheduled.told() == ["bot.scheduled"]


def test_a_moved_meeting_moves_its_bot(scheduled: World) -> None:
    moved(scheduled)

    scheduled.reconcile_all()

    assert scheduled.live() == [(MEET, LATER)]
    assert scheduled.told() == ["bot.scheduled", "bot.rescheduled"]


def test_a_cancelled_meeting_loses_its_bot(scheduled: World) -> None:
    cancelled(scheduled)

    scheduled.reconcile_all()

    assert scheduled.live() == []
    assert scheduled.told() == ["bot.scheduled", "bot.cancelled"]
    assert scheduled.slot()["closed_at"] is not None


def test_moved_there_and_back_before_anybody_looked_costs_no_call(scheduled: World) -> None:
    calls = list(scheduled.bots.calls)
    moved(scheduled)
    scheduled.store(a_found(an_event(), updated_at=NOON + timedelta(minutes=1)))

    scheduled.reconcile_all()

    assert scheduled.bots.calls == calls
    assert scheduled.told() == ["bot.scheduled"]


def test_a_lost_answer_ends_in_one_bot(world: World) -> None:
    world.store(a_found())
    world.bots.lose_answer(2)

    world.reconcile_all()

    assert world.live() == [(MEET, NOON)]
    assert world.told() == ["bot.scheduled"]


def test_a_lost_answer_whose_key_the_provider_has_forgotten_ends_in_one_bot(world: World) -> None:
    world.store(a_found())
    world.bots.lose_answer()
    reconcile(world.rt)
    world.at += timedelta(hours=2)
    world.bots._answers.clear()

    world.reconcile_all()

    assert world.live() == [(MEET, NOON)]
    assert "look" in world.bots.calls


def test_a_bot_whose_answer_was_lost_goes_when_the_meeting_is_cancelled(world: World) -> None:
    world.store(a_found())
    world.bots.lose_answer()
    reconcile(world.rt)
    cancelled(world)

    world.reconcile_all()

    assert world.live() == []


def test_a_meeting_cancelled_while_its_bot_is_being_made_has_none_in_the_end(world: World) -> None:
    world.store(a_found())
    world.during_the_next_call(lambda: cancelled(world))

    world.reconcile_all()

    assert world.live() == []
    assert world.told() == ["bot.scheduled", "bot.cancelled"]


def test_a_run_that_lost_its_lease_during_a_call_writes_nothing_and_is_made_good(world: World) -> None:
    world.store(a_found())

    def steal() -> None:
        world.change_slot(lease_until=NOON - timedelta(days=9), due_at=NOON - timedelta(days=9))
        assert reconcile(world.rt) is Outcome.FINISHED

    world.during_the_next_call(steal)

    assert reconcile(world.rt) is Outcome.LOST
    world.reconcile_all()
    assert world.live() == [(MEET, NOON)]
    assert world.told() == ["bot.scheduled"]


def test_a_worker_that_died_after_the_call_is_followed_by_one_that_adopts(world: World) -> None:
    world.store(a_found())

    def die() -> None:
        raise KeyboardInterrupt

    world.during_the_next_call(die)
    with pytest.raises(KeyboardInterrupt):
        reconcile(world.rt)
    world.change_slot(lease_until=NOON - timedelta(days=9))

    world.reconcile_all()

    assert world.live() == [(MEET, NOON)]
    assert len(world.bots.bots) == 1


def test_a_definite_no_gets_a_new_key(world: World) -> None:
    world.store(a_found())
    keys = []
    world.bots.fail(TryLater("the pool is empty", is_definite=True))
    reconcile(world.rt)
    keys.append(world.slot()["op_round"])

    world.reconcile_all()

    assert world.slot()["op_round"] > keys[0] > 0
    assert len(world.live()) == 1


def test_a_refused_bot_has_failed_and_is_not_tried_again(world: World) -> None:
    world.store(a_found())
    world.bots.fail(Refused("the link is no meeting"))

    world.reconcile_all()

    assert world.told() == ["bot.failed"]
    assert world.slot()["parked_at"] is not None
    assert len(world.bots.calls) == 1


def test_another_link_revives_a_refused_bot(world: World) -> None:
    world.store(a_found())
    world.bots.fail(Refused("the link is no meeting"))
    world.reconcile_all()

    world.store(a_found(an_event(link="new-room-abc"), updated_at=NOON))
    world.reconcile_all()

    assert [url for url, _ in world.live()] == [a_link("new-room-abc").url]


def test_a_bot_on_its_way_leaves_when_its_meeting_is_cancelled(scheduled: World) -> None:
    (bot,) = scheduled.bots.live
    bot.state = BotState.JOINING
    cancelled(scheduled)

    scheduled.reconcile_all()

    assert scheduled.live() == []
    assert scheduled.told()[-1] == "bot.cancelled"


def test_a_meeting_that_is_over_gets_no_bot(world: World) -> None:
    world.store(a_found())
    world.at = NOON + timedelta(hours=2)

    world.reconcile_all()

    assert world.bots.calls == []


def test_news_of_a_bot_goes_forward_only(scheduled: World) -> None:
    (bot,) = scheduled.bots.live
    for code in ("joining", "in_call", "joining", "done", "in_call"):
        scheduled.hear_of_bot(bot.bot_id, code)

    assert scheduled.slot()["bot_state"] == "done"
    assert scheduled.told() == ["bot.scheduled", *["bot.status_changed"] * 3]


def test_a_bot_that_dies_before_its_meeting_is_replaced_a_bounded_number_of_times(
    scheduled: World,
) -> None:
    for _ in range(4):
        for bot in scheduled.bots.live:
            bot.state = BotState.FAILED
            scheduled.hear_of_bot(bot.bot_id, "failed")
        scheduled.reconcile_all()

    assert len(scheduled.bots.bots) == 3
    assert scheduled.told().count("bot.failed") == 3


def test_news_of_a_bot_that_was_replaced_changes_nothing(scheduled: World) -> None:
    (first,) = scheduled.bots.live
    first.state = BotState.FAILED
    scheduled.hear_of_bot(first.bot_id, "failed")
    scheduled.reconcile_all()

    scheduled.hear_of_bot(first.bot_id, "done")

    assert scheduled.slot()["bot_state"] == "scheduled"


def test_losing_authorisation_removes_no_bot_and_makes_none(scheduled: World) -> None:
    with scheduled.db.begin() as tx:
        tx.execute(update(table_of(Calendar)).values(status="needs_reauth"))
    calls = list(scheduled.bots.calls)
    scheduled.change_slot(wanted=Slot.wanted + 1)

    scheduled.reconcile_all()

    assert len(scheduled.live()) == 1
    assert scheduled.bots.calls == calls


def test_the_sweep_removes_a_bot_that_no_slot_wants(scheduled: World) -> None:
    (bot,) = scheduled.bots.live
    scheduled.change_slot(bot_id=None, bot_state="cancelled", closed_at=scheduled.at)
    scheduled.at += timedelta(days=3650)
    bot.join_at = scheduled.at

    assert sweep_bots(scheduled.rt) == 1

    assert scheduled.live() == []


def test_the_sweep_has_a_bot_adopted_that_its_slot_forgot(scheduled: World) -> None:
    scheduled.change_slot(bot_id=None, bot_hash=None, bot_state="wanted")

    sweep_bots(scheduled.rt)
    scheduled.reconcile_all()

    assert len(scheduled.bots.bots) == 1
    assert scheduled.slot()["bot_id"] == next(iter(scheduled.bots.bots))


def test_the_sweep_never_touches_a_foreign_bot(scheduled: World) -> None:
    scheduled.bots.put_foreign(join_at=NOON)

    sweep_bots(scheduled.rt)

    assert len(scheduled.live()) == 2


def test_the_sweep_replaces_a_bot_that_vanished(scheduled: World) -> None:
    scheduled.bots.bots.clear()
    scheduled.change_slot(updated_at=scheduled.at - timedelta(hours=1))

    sweep_bots(scheduled.rt)
    scheduled.reconcile_all()

    assert scheduled.live() == [(MEET, NOON)]


def test_an_event_that_arrives_with_a_foreign_bot_is_left_to_it_when_unwanted(world: World) -> None:
    foreign = Attachment("their bot", "their key", NOON)

    world.store(a_found(an_event(link=None), attachments=(foreign,)))
    world.reconcile_all()

    assert world.bots.calls == []


def test_after_an_outage_each_bot_that_goes_through_brings_others_forward(world: World) -> None:
    hours = [timedelta(hours=n) for n in (5, 1, 9, 3, 7, 2)]
    world.store(*[a_found(an_event(f"e{h}", start=NOON + h, link=f"room-{h}")) for h in hours])
    world.bots.fail(*[TryLater("503", is_definite=True) for _ in hours])
    for _ in hours:
        reconcile(world.rt)
    world.change_slot(due_at=NOON + timedelta(days=999))
    with world.db.begin() as tx:
        soonest = select(func.min(SLOTS.c.start_at)).scalar_subquery()
        tx.execute(update(SLOTS).where(SLOTS.c.start_at == soonest).values(due_at=func.now()))

    while reconcile(world.rt) is not Outcome.NOTHING_DUE:
        pass

    assert [step.seat.start_at - NOON for step in world.bots.steps if step.seat] == sorted(hours)


def test_a_bot_that_goes_through_at_once_brings_nobody_forward(world: World) -> None:
    late = an_event("late", start=LATER, link="late-room-abc")
    world.store(a_found(late))
    world.bots.fail(TryLater("503", is_definite=True))
    reconcile(world.rt)
    world.store(a_found())

    reconcile(world.rt)

    assert reconcile(world.rt) is Outcome.NOTHING_DUE
