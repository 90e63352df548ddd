"""Seats, states and steps."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.domain.bots import BotState, Operation, Seat, Step, may_follow
from tests.builders import NOON

STATES = st.sampled_from(BotState)
SEAT = Seat(
    slot_id=UUID(int=1),
    install_id=UUID(int=2),
    dedup_key="key",
    meeting_url="https://meet.google.com/abc-defg-hij",
    start_at=NOON,
    ends_at=NOON + timedelta(hours=1),
    join_at=NOON,
    config={"bot_name": "Notetaker"},
    events=("event-1",),
)


@given(STATES, st.lists(STATES))
def test_a_bot_never_goes_back(state: BotState, news: list[BotState]) -> None:
    seen = [state]
    for told in news:
        if may_follow(seen[-1], told):
            seen.append(told)

    assert len(seen) == len(set(seen))
    assert all(not earlier.is_over for earlier in seen[:-1])


@pytest.mark.parametrize(
    "change",
    [
        {"dedup_key": "other"},
        {"meeting_url": "https://meet.google.com/new-room-abc"},
        {"join_at": NOON + timedelta(minutes=1)},
        {"config": {"bot_name": "Scribe"}},
    ],
)
def test_whatever_the_provider_is_told_changes_the_digest(change: dict[str, object]) -> None:
    assert replace(SEAT, **change).digest != SEAT.digest  # type: ignore[arg-type]  # any field


def test_who_wants_a_bot_and_until_when_does_not_change_the_digest() -> None:
    other = replace(SEAT, events=("event-2",), ends_at=NOON + timedelta(hours=9))

    assert other.digest == SEAT.digest


def test_attaching_to_another_seat_is_no_repeat() -> None:
    moved = replace(SEAT, join_at=NOON + timedelta(hours=1))

    names = {Step(Operation.ATTACH, seat=seat, event="event-1").name for seat in (SEAT, moved)}

    assert len(names) == 2
