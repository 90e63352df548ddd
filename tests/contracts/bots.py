"""The contract of BotProvider: steps carried out until none is left bring about exactly the seat."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID, uuid4

import pytest

from models.domain.bots import BotState, Operation, Seat, Standing, Step
from models.domain.times import rfc3339
from worker.errors import TooLate, TryLater
from worker.ports import BotProvider

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ZOOM = "https://zoom.us/j/5550001?pwd=abc"
INSTALL = UUID(int=1)
SLOT = UUID(int=42)


@dataclass(frozen=True, slots=True)
class SeenBot:
    """A live bot as the outside world sees it."""

    bot_id: str
    slot_id: str | None
    meeting_url: str
    join_at: datetime
    name: str | None
    config: dict[str, Any]


class BotWorld(Protocol):
    """A provider and its outside: what tests may do to it, and what is to be seen of it."""

    @property
    def provider(self) -> BotProvider: ...

    def now(self) -> datetime: ...

    def pass_time(self, by: timedelta) -> None: ...

    def event(self, start: datetime, link: str) -> str:
        """Have a calendar event in a calendar of its own; its id is returned."""
        ...

    def move_event(self, event: str, start: datetime) -> None: ...

    def live_bots(self) -> list[SeenBot]: ...

    def dispatch(self, bot_id: str) -> None:
        """Send a bot into its call."""
        ...

    def put_foreign_bot(self) -> str: ...

    def lose_answers(self) -> None:
        """Carry out what is asked from now on, but answer nothing."""
        ...

    def refuse_connections(self) -> None:
        """Do nothing that is asked from now on, and say so by no answer at all or a 507."""
        ...

    def recover(self) -> None:
        """End the two above."""
        ...

    def calls(self) -> int:
        """Tell how many calls reached the provider so far."""
        ...


def a_seat(
    *events: str,
    slot_id: UUID = SLOT,
    start: datetime = NOON + HOUR,
    early: timedelta = timedelta(seconds=60),
    link: str = ZOOM,
    **config: Any,  # a bot configuration is anything
) -> Seat:
    return Seat(
        slot_id=slot_id,
        install_id=INSTALL,
        dedup_key=f"{rfc3339(start)}-{link.partition('?')[0]}",
        meeting_url=link,
        start_at=start,
        ends_at=start + HOUR,
        join_at=start - early,
        config={"bot_name": "Notetaker", **config},
        events=tuple(sorted(events)),
    )


def settle(
    world: BotWorld,
    seat: Seat | None,
    standing: Standing | None = None,
    *,
    key: Callable[[Step], UUID] = lambda _: uuid4(),
) -> Standing:
    """Carry out steps until there is none."""
    now_standing = standing or Standing()
    for _ in range(20):
        step = world.provider.next_step(seat, now_standing, now=world.now())
        if step is None:
            return now_standing
        now_standing = world.provider.carry_out(step, key=key(step))
    pytest.fail("steps without end")


def send_out(world: BotWorld, standing: Standing) -> None:
    """Let a bot for one o'clock be on its way."""
    assert standing.bot_id is not None
    world.pass_time(timedelta(minutes=57))
    world.dispatch(standing.bot_id)


class BotProviderContract:
    """Inherit, and provide a fixture `world`."""

    def test_a_seat_is_taken_by_exactly_one_bot(self, world: BotWorld) -> None:
        seat = a_seat(world.event(NOON + HOUR, ZOOM), chat={"on_bot_join": {}})

        standing = settle(world, seat)

        (bot,) = world.live_bots()
        assert bot.bot_id == standing.bot_id
        assert bot.slot_id == str(seat.slot_id)
        assert bot.meeting_url == ZOOM
        assert bot.join_at == standing.join_at == seat.join_at
        assert bot.name == "Notetaker"
        assert bot.config["chat"] == {"on_bot_join": {}}
        assert standing.state is BotState.SCHEDULED
        assert standing.digest == seat.digest

    def test_without_a_seat_there_is_nothing_to_do(self, world: BotWorld) -> None:
        assert world.provider.next_step(None, Standing(), now=world.now()) is None

    def test_a_seat_that_is_taken_costs_no_call(self, world: BotWorld) -> None:
        seat = a_seat(world.event(NOON + HOUR, ZOOM))
        standing = settle(world, seat)
        before = world.calls()

        again = settle(world, seat, standing)

        assert again == standing
        assert world.calls() == before

    def test_a_step_repeated_under_its_key_makes_no_second_bot(self, world: BotWorld) -> None:
        seat = a_seat(world.event(NOON + HOUR, ZOOM))
        step = world.provider.next_step(seat, Standing(), now=world.now())
        assert step is not None

        first = world.provider.carry_out(step, key=UUID(int=9))
        second = world.provider.carry_out(step, key=UUID(int=9))

        assert first.bot_id == second.bot_id
        assert len(world.live_bots()) == 1

    def test_without_a_seat_the_bot_goes(self, world: BotWorld) -> None:
        standing = settle(world, a_seat(world.event(NOON + HOUR, ZOOM)))

        empty = settle(world, None, standing)

        assert world.live_bots() == []
        assert empty.bot_id is None
        assert not empty.state.is_over

    def test_a_bot_that_went_can_come_back(self, world: BotWorld) -> None:
        seat = a_seat(world.event(NOON + HOUR, ZOOM))
        empty = settle(world, None, settle(world, seat))

        settle(world, seat, empty)

        assert len(world.live_bots()) == 1

    def test_removing_a_bot_twice_is_fine(self, world: BotWorld) -> None:
        standing = settle(world, a_seat(world.event(NOON + HOUR, ZOOM)))
        step = world.provider.next_step(None, standing, now=world.now())
        assert step is not None

        world.provider.carry_out(step, key=uuid4())
        world.provider.carry_out(step, key=uuid4())

        assert world.live_bots() == []

    def test_a_moved_seat_moves_the_bot(self, world: BotWorld) -> None:
        event = world.event(NOON + HOUR, ZOOM)
        standing = settle(world, a_seat(event))
        world.move_event(event, NOON + 3 * HOUR)
        moved = a_seat(event, start=NOON + 3 * HOUR)

        standing = settle(world, moved, standing)

        (bot,) = world.live_bots()
        assert bot.bot_id == standing.bot_id
        assert bot.join_at == moved.join_at
        assert standing.digest == moved.digest

    def test_a_seat_moved_there_and_back_is_where_it_was(self, world: BotWorld) -> None:
        event = world.event(NOON + HOUR, ZOOM)
        home = a_seat(event)
        standing = settle(world, home)
        world.move_event(event, NOON + 3 * HOUR)
        standing = settle(world, a_seat(event, start=NOON + 3 * HOUR), standing)
        world.move_event(event, NOON + HOUR)

        settle(world, home, standing)

        assert [bot.join_at for bot in world.live_bots()] == [home.join_at]

    def test_a_seat_moved_close_moves_the_bot(self, world: BotWorld) -> None:
        soon = NOON + timedelta(minutes=4)
        event = world.event(NOON + HOUR, ZOOM)
        standing = settle(world, a_seat(event))
        world.move_event(event, soon)

        settle(world, a_seat(event, start=soon), standing)

        assert [bot.join_at for bot in world.live_bots()] == [soon - timedelta(seconds=60)]

    def test_a_seat_moved_away_at_the_last_minute_moves_the_bot(self, world: BotWorld) -> None:
        event = world.event(NOON + HOUR, ZOOM)
        standing = settle(world, a_seat(event))
        world.pass_time(timedelta(minutes=55))
        world.move_event(event, NOON + 3 * HOUR)
        moved = a_seat(event, start=NOON + 3 * HOUR)

        settle(world, moved, standing)

        assert [bot.join_at for bot in world.live_bots()] == [moved.join_at]

    def test_another_link_sends_the_bot_there(self, world: BotWorld) -> None:
        event = world.event(NOON + HOUR, ZOOM)
        standing = settle(world, a_seat(event))
        other = a_seat(event, link="https://zoom.us/j/5550002")

        settle(world, other, standing)

        assert [bot.meeting_url for bot in world.live_bots()] == [other.meeting_url]

    def test_another_configuration_replaces_the_whole_old_one(self, world: BotWorld) -> None:
        event = world.event(NOON + HOUR, ZOOM)
        standing = settle(world, a_seat(event, chat={"on_bot_join": {}}))
        changed = replace(a_seat(event), config={"bot_name": "Scribe", "zoom": {"user_email": "a@b.c"}})

        settle(world, changed, standing)

        (bot,) = world.live_bots()
        assert bot.name == "Scribe"
        assert bot.config["zoom"] == {"user_email": "a@b.c"}
        assert not bot.config.get("chat")

    def test_a_meeting_that_has_begun_is_joined_at_once(self, world: BotWorld) -> None:
        event = world.event(NOON + HOUR, ZOOM)
        world.pass_time(HOUR + timedelta(minutes=5))
        seat = a_seat(event)

        standing = settle(world, seat)

        (bot,) = world.live_bots()
        assert bot.join_at == world.now()
        assert world.provider.next_step(seat, standing, now=world.now()) is None

    def test_two_events_share_one_bot(self, world: BotWorld) -> None:
        anna, ben = (world.event(NOON + HOUR, ZOOM) for _ in range(2))

        standing = settle(world, a_seat(anna, ben))

        assert [bot.bot_id for bot in world.live_bots()] == [standing.bot_id]

    def test_one_event_less_keeps_the_bot(self, world: BotWorld) -> None:
        anna, ben = (world.event(NOON + HOUR, ZOOM) for _ in range(2))
        standing = settle(world, a_seat(anna, ben))

        less = settle(world, a_seat(ben), standing)

        assert [bot.bot_id for bot in world.live_bots()] == [standing.bot_id]
        assert less.bot_id == standing.bot_id

    def test_the_last_event_takes_the_bot_with_it(self, world: BotWorld) -> None:
        anna, ben = (world.event(NOON + HOUR, ZOOM) for _ in range(2))
        standing = settle(world, a_seat(anna, ben))
        standing = settle(world, a_seat(ben), standing)

        settle(world, None, standing)

        assert world.live_bots() == []

    def test_shared_seats_move_together(self, world: BotWorld) -> None:
        events = [world.event(NOON + HOUR, ZOOM) for _ in range(3)]
        standing = settle(world, a_seat(*events))
        for event in events:
            world.move_event(event, NOON + 3 * HOUR)
        moved = a_seat(*events, start=NOON + 3 * HOUR)

        settle(world, moved, standing)

        assert [bot.join_at for bot in world.live_bots()] == [moved.join_at]

    def test_slots_do_not_touch_each_other(self, world: BotWorld) -> None:
        one = a_seat(world.event(NOON + HOUR, ZOOM), slot_id=UUID(int=1))
        link = "https://zoom.us/j/5550003"
        other = a_seat(world.event(NOON + HOUR, link), slot_id=UUID(int=2), link=link)
        standing = settle(world, one)
        settle(world, other)

        settle(world, None, standing)

        assert [bot.slot_id for bot in world.live_bots()] == [str(other.slot_id)]

    def test_a_lost_answer_is_found_by_looking(self, world: BotWorld) -> None:
        seat = a_seat(world.event(NOON + HOUR, ZOOM))
        with unknown_outcome(world):
            settle(world, seat)

        found = world.provider.look(seat.slot_id, seat, Standing())
        settle(world, seat, found)

        assert [bot.bot_id for bot in world.live_bots()] == [found.bot_id]
        assert found.state is BotState.SCHEDULED

    def test_a_lost_answer_is_made_good_by_repeating(self, world: BotWorld) -> None:
        seat = a_seat(world.event(NOON + HOUR, ZOOM))
        with unknown_outcome(world):
            settle(world, seat, key=lambda _: UUID(int=5))

        settle(world, seat, key=lambda _: UUID(int=5))

        assert len(world.live_bots()) == 1

    def test_a_lost_move_is_found_by_looking(self, world: BotWorld) -> None:
        event = world.event(NOON + HOUR, ZOOM)
        standing = settle(world, a_seat(event))
        world.move_event(event, NOON + 3 * HOUR)
        moved = a_seat(event, start=NOON + 3 * HOUR)
        with unknown_outcome(world):
            settle(world, moved, standing)

        found = world.provider.look(moved.slot_id, moved, standing)
        settle(world, moved, found)

        assert [bot.join_at for bot in world.live_bots()] == [moved.join_at]

    def test_a_lost_removal_is_found_by_looking(self, world: BotWorld) -> None:
        seat = a_seat(world.event(NOON + HOUR, ZOOM))
        standing = settle(world, seat)
        with unknown_outcome(world):
            settle(world, None, standing)

        found = world.provider.look(seat.slot_id, None, standing)

        assert found.bot_id is None
        assert world.provider.next_step(None, found, now=world.now()) is None
        assert world.live_bots() == []

    def test_a_seat_given_up_after_a_lost_answer_leaves_no_bot(self, world: BotWorld) -> None:
        event = world.event(NOON + HOUR, ZOOM)
        seat = a_seat(event)
        with unknown_outcome(world):
            settle(world, seat)

        found = world.provider.look(seat.slot_id, seat, Standing())
        settle(world, None, found)

        assert world.live_bots() == []

    def test_a_bot_is_found_even_when_its_event_is_forgotten(self, world: BotWorld) -> None:
        seat = a_seat(world.event(NOON + HOUR, ZOOM))
        with unknown_outcome(world):
            settle(world, seat)

        found = world.provider.look(seat.slot_id, None, Standing())
        settle(world, None, found)

        assert found.bot_id is not None
        assert world.live_bots() == []

    def test_looking_at_nothing_finds_nothing(self, world: BotWorld) -> None:
        world.put_foreign_bot()
        seat = a_seat(world.event(NOON + HOUR, ZOOM))

        assert world.provider.look(seat.slot_id, seat, Standing()) == Standing()

    def test_looking_sees_the_bots_state(self, world: BotWorld) -> None:
        seat = a_seat(world.event(NOON + HOUR, ZOOM))
        standing = settle(world, seat)
        send_out(world, standing)

        assert world.provider.look(seat.slot_id, seat, standing).state is BotState.JOINING

    def test_a_provider_that_cannot_now_is_asked_again_later(self, world: BotWorld) -> None:
        seat = a_seat(world.event(NOON + HOUR, ZOOM))
        world.refuse_connections()
        with pytest.raises(TryLater) as raised:
            settle(world, seat)
        world.recover()

        settle(world, seat)

        assert raised.value.is_definite
        assert len(world.live_bots()) == 1

    def test_a_dispatched_bot_cannot_be_taken_back(self, world: BotWorld) -> None:
        standing = settle(world, a_seat(world.event(NOON + HOUR, ZOOM)))
        send_out(world, standing)

        with pytest.raises(TooLate):
            settle(world, None, standing)

    def test_a_dispatched_bot_that_nobody_wants_leaves(self, world: BotWorld) -> None:
        standing = settle(world, a_seat(world.event(NOON + HOUR, ZOOM)))
        send_out(world, standing)

        left = settle(world, None, replace(standing, state=BotState.JOINING))

        assert world.live_bots() == []
        assert left.state.is_over

    def test_leaving_twice_is_fine(self, world: BotWorld) -> None:
        standing = settle(world, a_seat(world.event(NOON + HOUR, ZOOM)))
        send_out(world, standing)
        joining = replace(standing, state=BotState.JOINING)
        step = world.provider.next_step(None, joining, now=world.now())
        assert step is not None

        for _ in range(2):
            world.provider.carry_out(step, key=uuid4())

        assert world.live_bots() == []

    def test_a_dispatched_bot_is_left_alone_whatever_moves(self, world: BotWorld) -> None:
        event = world.event(NOON + HOUR, ZOOM)
        joining = replace(settle(world, a_seat(event)), state=BotState.JOINING)

        step = world.provider.next_step(a_seat(event, bot_name="Other"), joining, now=world.now())

        assert step is None

    def test_a_bot_that_is_over_is_over(self, world: BotWorld) -> None:
        event = world.event(NOON + HOUR, ZOOM)
        standing = settle(world, a_seat(event))

        for state in (BotState.DONE, BotState.FAILED, BotState.CANCELLED):
            over = replace(standing, state=state)
            assert world.provider.next_step(a_seat(event), over, now=world.now()) is None
            assert world.provider.next_step(None, over, now=world.now()) is None

    def test_the_next_step_asks_nobody(self, world: BotWorld) -> None:
        seat = a_seat(world.event(NOON + HOUR, ZOOM))
        before = world.calls()

        world.provider.next_step(seat, Standing(), now=world.now())
        world.provider.next_step(None, Standing(bot_id="x"), now=world.now())

        assert world.calls() == before

    def test_our_bots_are_told_from_others(self, world: BotWorld) -> None:
        world.put_foreign_bot()
        seat = a_seat(world.event(NOON + HOUR, ZOOM))
        standing = settle(world, seat)

        (found,) = world.provider.ours(INSTALL, since=NOON)

        assert found.bot_id == standing.bot_id
        assert found.slot_id == str(seat.slot_id)
        assert found.join_at == seat.join_at
        assert found.state == "scheduled"
        assert list(world.provider.ours(UUID(int=99), since=NOON)) == []

    def test_our_bots_in_a_call_are_found_too(self, world: BotWorld) -> None:
        standing = settle(world, a_seat(world.event(NOON + HOUR, ZOOM)))
        send_out(world, standing)

        assert [bot.bot_id for bot in world.provider.ours(INSTALL, since=NOON)] == [standing.bot_id]

    def test_a_bot_astray_can_be_removed_by_its_id_alone(self, world: BotWorld) -> None:
        standing = settle(world, a_seat(world.event(NOON + HOUR, ZOOM)))
        step = Step(Operation.DELETE, standing=Standing(standing.bot_id), bot_id=standing.bot_id)

        world.provider.carry_out(step, key=uuid4())
        world.provider.carry_out(step, key=uuid4())

        assert world.live_bots() == []


@contextmanager
def unknown_outcome(world: BotWorld) -> Iterator[None]:
    """Inside, answers are lost: a TryLater is expected that does not say that nothing happened."""
    world.lose_answers()
    with pytest.raises(TryLater) as raised:
        yield
    world.recover()
    assert not raised.value.is_definite
