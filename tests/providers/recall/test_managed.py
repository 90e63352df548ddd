"""Managed bots keep the contract whatever Recall's open questions turn out to be."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import httpx
import pytest

from models.domain.bots import Attached, Standing
from tests.contracts.bots import HOUR, NOON, ZOOM, BotProviderContract, BotWorld, a_seat, settle
from tests.contracts.emulated import EmulatedBots, Emulator
from tests.providers.recall.scripted import ok, saying
from worker.errors import AlreadyGone, Refused, TooLate, TryLater
from worker.providers.recall import ManagedBots
from worker.providers.recall.client import SCHEDULE

SWITCHES: list[dict[str, object]] = [
    {},
    {"adopt_stable_keys": False, "bot_ref_start_is_join_at": False, "timestamps_with_z": False},
    {"shared_bot_config_last_writer_wins": False, "scheduled_bot_has_ready_status": True},
    {"unschedule_forgets_dispatched": True, "auto_reschedule": True, "null_sub_codes": False},
    {"delete_on_managed_bot": "leaves_reference", "schedule_bumps_updated_at": True},
]


class TestManagedBots(BotProviderContract):
    @pytest.fixture(params=SWITCHES, ids=lambda switches: next(iter(switches), "likely"))
    def world(self, request: pytest.FixtureRequest, recall: Emulator) -> BotWorld:
        recall.reset(request.param)
        return EmulatedBots(recall, ManagedBots(recall.client(), now=recall.clock.now))


@pytest.fixture
def world(recall: Emulator) -> EmulatedBots:
    return EmulatedBots(recall, ManagedBots(recall.client(), now=recall.clock.now))


def test_a_bot_on_its_way_unseen_is_not_doubled_by_a_new_configuration(
    recall: Emulator, world: EmulatedBots
) -> None:
    event = world.event(NOON + HOUR, ZOOM)
    standing = settle(world, a_seat(event))
    send_out_unseen(recall, world)

    with pytest.raises(TooLate):
        settle(world, replace(a_seat(event), config={"bot_name": "Scribe"}), standing)

    assert [bot.bot_id for bot in world.live_bots()] == [standing.bot_id]


def test_a_bot_on_its_way_unseen_leaves_when_its_meeting_has_moved(
    recall: Emulator, world: EmulatedBots
) -> None:
    event = world.event(NOON + HOUR, ZOOM)
    standing = settle(world, a_seat(event))
    send_out_unseen(recall, world)
    world.move_event(event, NOON + 3 * HOUR)
    moved = a_seat(event, start=NOON + 3 * HOUR)

    standing = settle(world, moved, standing)

    assert [(bot.bot_id, bot.join_at) for bot in world.live_bots()] == [
        (standing.bot_id, moved.join_at)
    ]


@pytest.mark.parametrize("forgets", [False, True])
def test_a_bot_on_its_way_unseen_is_not_taken_for_removed(
    recall: Emulator, world: EmulatedBots, forgets: bool
) -> None:
    recall.ask("PATCH", "/switches", {"unschedule_forgets_dispatched": forgets})
    standing = settle(world, a_seat(world.event(NOON + HOUR, ZOOM)))
    send_out_unseen(recall, world)

    with pytest.raises(TooLate):
        settle(world, None, standing)


def test_a_failed_bot_of_the_same_seat_does_not_stop_its_successor(
    recall: Emulator, world: EmulatedBots
) -> None:
    event = world.event(NOON + HOUR, ZOOM)
    standing = settle(world, a_seat(event))
    recall.ask("POST", f"/bots/{standing.bot_id}/state", {"code": "fatal"})
    forgotten = replace(standing, attached=(Attached(event, standing.bot_id, None),))

    again = settle(world, a_seat(event), forgotten)

    assert again.bot_id != standing.bot_id
    assert [bot.bot_id for bot in world.live_bots()] == [again.bot_id]


def test_a_bot_that_somebody_else_hung_on_our_event_is_not_ours(
    recall: Emulator, world: EmulatedBots
) -> None:
    event = world.event(NOON + HOUR, ZOOM)
    recall.client().ask(
        "POST",
        f"/api/v2/calendar-events/{event}/bot/",
        operation="schedule_bot",
        budget=SCHEDULE,
        body={"deduplication_key": "theirs", "bot_config": {}},
    )
    seat = a_seat(event)

    found = world.provider.look(seat.slot_id, None, Standing(attached=(Attached(event, None, None),)))

    assert found == Standing()


def test_an_events_bot_is_found_by_its_mark_when_nothing_else_is_known(
    recall: Emulator, world: EmulatedBots
) -> None:
    event = world.event(NOON + HOUR, ZOOM)
    seat = a_seat(event)
    standing = settle(world, seat)
    in_doubt = Standing(attached=(Attached(event, None, None),))

    found = world.provider.look(seat.slot_id, None, in_doubt)
    settle(world, None, found)

    assert found.bot_id == standing.bot_id
    assert world.live_bots() == []


def test_a_deleted_event_needs_no_call(recall: Emulator, world: EmulatedBots) -> None:
    event = world.event(NOON + HOUR, ZOOM)
    standing = settle(world, a_seat(event))
    (entry,) = standing.attached

    for attached in (replace(entry, is_deleted=True), replace(entry, is_elsewhere=True)):
        elsewhere = replace(standing, attached=(attached,))
        assert world.provider.next_step(None, elsewhere, now=NOON) is None


def test_an_event_that_vanished_says_so_when_a_bot_is_to_hang_on_it(world: EmulatedBots) -> None:
    with pytest.raises(AlreadyGone):
        settle(world, a_seat("0d9c6f1e-0000-4000-8000-000000000001"))


def test_a_meeting_that_has_ended_takes_no_bot(world: EmulatedBots) -> None:
    event = world.event(NOON + HOUR, ZOOM)
    world.pass_time(3 * HOUR)

    with pytest.raises(Refused):
        settle(world, a_seat(event))


@pytest.mark.parametrize(
    "answer",
    [
        ok({}),
        ok(None),
        ok({"id": "other", "bots": [{"bot_id": "b1", "deduplication_key": a_seat("e1").dedup_key}]}),
        ok({"id": "e1", "bots": []}),
        ok({"id": "e1", "bots": [{"bot_id": "b1", "deduplication_key": "theirs"}]}),
        ok({"id": "e1", "bots": [{"bot_id": 7, "deduplication_key": a_seat("e1").dedup_key}]}),
        httpx.Response(204),
    ],
)
def test_a_schedule_answer_without_our_bot_leaves_the_outcome_open(answer: httpx.Response) -> None:
    with saying(answer) as script, pytest.raises(TryLater) as raised:
        bots = ManagedBots(script.client, now=lambda: NOON)
        step = bots.next_step(a_seat("e1"), Standing(), now=NOON)
        assert step is not None
        bots.carry_out(step, key=UUID(int=1))

    assert not raised.value.is_definite


def test_a_schedule_call_says_everything() -> None:
    seat = replace(
        a_seat("e1"),
        config={
            "bot_name": "N" * 150,
            "metadata": {"team": "sales", "size": 3, "punctual_slot": "forged"},
            "join_at": "never",
        },
    )
    answer = ok({"id": "e1", "bots": [{"bot_id": "b1", "deduplication_key": seat.dedup_key}]})
    with saying(answer) as script:
        bots = ManagedBots(script.client, now=lambda: NOON)
        step = bots.next_step(seat, Standing(), now=NOON)
        assert step is not None
        bots.carry_out(step, key=UUID(int=1))

        assert script.told == [
            {
                "deduplication_key": seat.dedup_key,
                "bot_config": {
                    "bot_name": "N" * 100,
                    "meeting_url": ZOOM,
                    "join_at": "2026-11-21T12:59:00Z",
                    "metadata": {
                        "team": "sales",
                        "size": "3",
                        "punctual_slot": str(seat.slot_id),
                        "punctual_install": str(seat.install_id),
                    },
                },
            }
        ]
        assert script.requests[0].headers["idempotency-key"] == str(UUID(int=1))
        assert script.allowance.taken == {SCHEDULE: 1}


def send_out_unseen(recall: Emulator, world: EmulatedBots) -> None:
    """Let the bots for one o'clock be dispatched before any of their states says so."""
    recall.ask("PATCH", "/limits", {"dispatch_before_s": 300})
    for bot in recall.bots():
        recall.ask("POST", f"/bots/{bot['id']}/state", {"code": "dispatched"})
    world.pass_time(timedelta(minutes=58))
