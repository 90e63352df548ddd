"""Self-managed bots keep the contract whatever Recall's open questions turn out to be."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import httpx
import pytest

from models.domain.bots import BotState, Operation, Seat, Standing
from models.domain.times import rfc3339
from tests.contracts.bots import (
    HOUR,
    INSTALL,
    NOON,
    BotProviderContract,
    BotWorld,
    a_seat,
    settle,
)
from tests.contracts.emulated import EmulatedBots, Emulator
from tests.providers.recall.scripted import Scripted, ok, page, saying
from worker.errors import TooLate, TryLater
from worker.providers.recall import SelfManagedBots, bot_state
from worker.providers.recall.bots import read_bot
from worker.sandbox.recall.app import DEFAULT_KEY

SWITCHES: list[dict[str, object]] = [
    {},
    {"past_join_at_refused": True, "scheduled_bot_has_ready_status": True},
    {"timestamps_with_z": False, "null_sub_codes": False, "bots_order": "join_at"},
]


class TestSelfManagedBots(BotProviderContract):
    @pytest.fixture(params=SWITCHES, ids=lambda switches: next(iter(switches), "likely"))
    def world(self, request: pytest.FixtureRequest, recall: Emulator) -> BotWorld:
        recall.reset(request.param)
        return EmulatedBots(recall, SelfManagedBots(recall.client(), now=recall.clock.now))


def test_a_bot_that_somebody_moved_is_put_back_once_it_was_looked_at(recall: Emulator) -> None:
    recall.reset()
    world = EmulatedBots(recall, SelfManagedBots(recall.client(), now=recall.clock.now))
    seat = a_seat()
    standing = settle(world, seat)
    recall.http.patch(
        f"{recall.url}/api/v1/bot/{standing.bot_id}/",
        headers={"Authorization": f"Token {DEFAULT_KEY}"},
        json={"join_at": rfc3339(seat.join_at + HOUR)},
    )

    found = world.provider.look(seat.slot_id, seat, standing)
    settle(world, seat, found)

    (bot,) = world.live_bots()
    assert found.join_at == seat.join_at + HOUR
    assert (bot.bot_id, bot.join_at) == (standing.bot_id, seat.join_at)


MOVED = a_seat(start=NOON + 3 * HOUR)


def a_bot(seat: Seat, **changes: object) -> dict[str, object]:
    """Answer as Recall does about a bot of *seat*."""
    return {
        "id": "b1",
        "meeting_url": {"meeting_id": "5550001", "platform": "zoom"},
        "join_at": "2026-11-21T12:59:00Z",
        "status_changes": [],
        "metadata": {
            "punctual_slot": str(seat.slot_id),
            "punctual_install": str(seat.install_id),
            "punctual_seat": seat.digest.hex(),
            "punctual_options": "bot_name",
        },
        **changes,
    }


def carry_out(script: Scripted, seat: Seat | None, standing: Standing) -> Standing:
    bots = SelfManagedBots(script.client, now=lambda: NOON)
    step = bots.next_step(seat, standing, now=NOON)
    assert step is not None
    return bots.carry_out(step, key=UUID(int=1))


@pytest.mark.parametrize("status", [200, 201, 202])
def test_any_success_with_an_id_is_a_bot(status: int) -> None:
    with saying(ok(a_bot(a_seat()), status)) as script:
        assert carry_out(script, a_seat(), Standing()).bot_id == "b1"


@pytest.mark.parametrize(
    "answer",
    [
        ok({}, 201),
        ok(None, 201),
        ok([], 201),
        ok({"id": None}, 201),
        ok({"id": 7}, 201),
        httpx.Response(204),
        ok(a_bot(a_seat(slot_id=UUID(int=77))), 201),
    ],
)
def test_a_success_without_our_bot_leaves_the_outcome_open(answer: httpx.Response) -> None:
    with saying(answer) as script, pytest.raises(TryLater) as raised:
        carry_out(script, a_seat(), Standing())

    assert not raised.value.is_definite


@pytest.mark.parametrize("operation", ["create", "change"])
def test_an_answer_that_repeats_an_earlier_seat_is_not_taken_for_the_present_one(
    operation: str,
) -> None:
    old = a_seat()
    repeated = ok(a_bot(old), 201 if operation == "create" else 200)
    is_first = operation == "create"
    standing = Standing() if is_first else Standing("b1", BotState.SCHEDULED, old.join_at, b"older")

    with saying(*([] if is_first else [ok(a_bot(old))]), repeated) as script:
        after = carry_out(script, MOVED, standing)
        bots = SelfManagedBots(script.client, now=lambda: NOON)
        step = bots.next_step(MOVED, after, now=NOON)

    assert after.digest == old.digest
    assert step is not None
    assert step.operation is Operation.CHANGE


def test_a_bot_that_has_not_set_out_after_all_is_deleted_instead_of_leaving() -> None:
    seat = a_seat()
    sent_out = Standing("b1", BotState.JOINING, seat.join_at, seat.digest)
    unstarted = ok({"code": "cannot_command_unstarted_bot", "detail": "not started"}, 400)

    with saying(unstarted, httpx.Response(204)) as script:
        after = carry_out(script, None, sent_out)

        assert [request.method for request in script.requests] == ["POST", "DELETE"]
    assert after.state is BotState.CANCELLED


def test_a_bot_that_begins_at_once_is_given_no_time() -> None:
    begun = a_seat(start=NOON - HOUR / 4)
    with saying(ok(a_bot(begun, join_at=None), 201)) as script:
        carry_out(script, begun, Standing())

        (told,) = script.told
        assert "join_at" not in told


def test_a_change_recall_has_no_time_for_deletes_the_bot_to_make_it_anew() -> None:
    seat = a_seat()
    standing = Standing("b1", BotState.SCHEDULED, seat.join_at, seat.digest)
    no_time = ok({"code": "update_bot_failed", "detail": "Not enough time to launch new bot"}, 400)

    with saying(ok(a_bot(seat)), no_time, httpx.Response(204)) as script:
        after = carry_out(script, MOVED, standing)

        assert [request.method for request in script.requests] == ["GET", "PATCH", "DELETE"]
    assert after == Standing()


def test_a_change_that_takes_an_option_away_makes_the_bot_anew() -> None:
    seat = replace(a_seat(), config={"chat": {}})
    standing = Standing("b1", BotState.SCHEDULED, seat.join_at, seat.digest)
    marked = {"punctual_slot": str(seat.slot_id), "punctual_options": "bot_name,chat"}

    with saying(ok(a_bot(seat, metadata=marked)), httpx.Response(204)) as script:
        after = carry_out(script, MOVED, standing)

        assert [request.method for request in script.requests] == ["GET", "DELETE"]
    assert after == Standing()


@pytest.mark.parametrize("code", ["joining_call", "in_waiting_room", "in_call_recording"])
def test_a_change_that_finds_the_bot_in_its_call_is_too_late(code: str) -> None:
    seat = a_seat()
    standing = Standing("b1", BotState.SCHEDULED, seat.join_at, seat.digest)
    joining = a_bot(seat, status_changes=[{"code": code, "created_at": "2026-11-21T11:00:00Z"}])

    with saying(ok(joining)) as script, pytest.raises(TooLate):
        carry_out(script, MOVED, standing)


def test_a_change_of_a_bot_that_is_gone_leaves_none() -> None:
    seat = a_seat()
    standing = Standing("b1", BotState.SCHEDULED, seat.join_at, seat.digest)

    with saying(httpx.Response(404)) as script:
        assert carry_out(script, MOVED, standing) == Standing()


@pytest.mark.parametrize(
    ("old_minutes", "new_minutes", "operation"),
    [
        (60, 120, Operation.CHANGE),
        (11, 120, Operation.CHANGE),
        (10, 120, Operation.DELETE),
        (120, 10, Operation.DELETE),
        (120, 11, Operation.CHANGE),
        (-1, 120, Operation.DELETE),
    ],
)
def test_only_a_bot_with_time_before_and_after_is_changed(
    old_minutes: int, new_minutes: int, operation: Operation
) -> None:
    with saying(ok({})) as script:
        bots = SelfManagedBots(script.client, now=lambda: NOON)
        old, new = (
            a_seat(start=NOON + timedelta(minutes=minutes), early=timedelta())
            for minutes in (old_minutes, new_minutes)
        )
        standing = Standing("b1", BotState.SCHEDULED, old.join_at, old.digest)

        step = bots.next_step(new, standing, now=NOON)

    assert step is not None
    assert step.operation is operation


def test_of_several_bots_of_a_slot_the_one_with_the_right_seat_is_kept(recall: Emulator) -> None:
    world = EmulatedBots(recall, SelfManagedBots(recall.client(), now=recall.clock.now))
    seat = a_seat()
    for one in (a_seat(start=NOON + 2 * HOUR), seat, a_seat(start=NOON + 3 * HOUR)):
        settle(world, one)

    found = world.provider.look(seat.slot_id, seat, Standing())

    assert found.digest == seat.digest
    assert found.join_at == seat.join_at
    assert len(list(world.provider.ours(INSTALL, since=NOON))) == 3


def test_a_bot_in_the_call_is_kept_before_one_that_waits(recall: Emulator) -> None:
    world = EmulatedBots(recall, SelfManagedBots(recall.client(), now=recall.clock.now))
    seat = a_seat()
    in_call = settle(world, a_seat(start=NOON + 2 * HOUR))
    settle(world, seat)
    assert in_call.bot_id is not None
    world.dispatch(in_call.bot_id)

    assert world.provider.look(seat.slot_id, seat, Standing()).bot_id == in_call.bot_id


def test_a_list_that_ignores_its_filters_shows_no_foreign_bot() -> None:
    seat = a_seat()
    foreign: list[object] = [
        a_bot(seat, id="f1", metadata={}),
        a_bot(seat, id="f2", metadata=None),
        a_bot(seat, id="f3", metadata={"punctual_slot": "x", "punctual_install": "y"}),
        a_bot(a_seat(slot_id=UUID(int=77)), id="f4"),
        a_bot(replace(seat, install_id=UUID(int=88)), id="f5"),
        {"id": None},
        None,
    ]

    with saying(page(*foreign)) as script:
        bots = SelfManagedBots(script.client, now=lambda: NOON)
        found = bots.look(seat.slot_id, seat, Standing())
        ours = [bot.bot_id for bot in bots.ours(INSTALL, since=NOON)]

    assert found == Standing()
    assert ours == ["f4"]


def test_bots_are_found_on_every_page(recall: Emulator) -> None:
    recall.ask("PATCH", "/limits", {"bots_page_size": 2})
    world = EmulatedBots(recall, SelfManagedBots(recall.client(), now=recall.clock.now))
    for number in range(5):
        settle(world, a_seat(slot_id=UUID(int=100 + number)))

    assert len(list(world.provider.ours(INSTALL, since=NOON))) == 5


def test_ended_and_past_bots_are_not_live(recall: Emulator) -> None:
    world = EmulatedBots(recall, SelfManagedBots(recall.client(), now=recall.clock.now))
    ended = settle(world, a_seat(slot_id=UUID(int=100)))
    recall.ask("POST", f"/bots/{ended.bot_id}/state", {"code": "fatal"})
    settle(world, a_seat(slot_id=UUID(int=101)))

    assert list(world.provider.ours(INSTALL, since=NOON + 2 * HOUR)) == []


@pytest.mark.parametrize(
    ("codes", "state"),
    [
        ([], BotState.SCHEDULED),
        (["ready"], BotState.SCHEDULED),
        (["ready", "joining_call"], BotState.JOINING),
        (["joining_call", "something_new"], BotState.JOINING),
        (["joining_call", "in_call_recording", "call_ended", "done"], BotState.DONE),
        (["joining_call", "fatal"], BotState.FAILED),
    ],
)
def test_a_bots_state_is_its_newest_known_one(codes: list[str], state: BotState) -> None:
    changes: list[object] = [
        {"code": code, "created_at": f"2026-11-21T11:00:0{position}Z"}
        for position, code in enumerate(codes)
    ]

    for history in (changes, changes[::-1], [None, 7, {"code": 7}, *changes]):
        found = read_bot({"id": "b1", "status_changes": history})
        assert found is not None
        assert found.state is state


def test_an_unknown_status_code_is_no_news() -> None:
    assert bot_state("in_call_dancing") is None
    assert bot_state("in_waiting_room") is BotState.JOINING
