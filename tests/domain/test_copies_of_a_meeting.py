"""Whose link counts when copies of one meeting carry different ones."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from models.domain.meetings import Copy, speakers
from tests.builders import NOON

ANNA, BEN, EVE = UUID(int=101), UUID(int=102), UUID(int=103)


def a_copy(nth: int = 1, calendar: UUID = ANNA, link: str = "room", **fields: object) -> Copy:
    copy = Copy(
        event_id=UUID(int=nth),
        calendar_id=calendar,
        ical_uid="uid",
        start=NOON,
        organizer="anna@example.com",
        is_organizer=False,
        known_since=NOON + timedelta(seconds=nth),
        link_key=link,
        sharers=(),
    )
    return replace(copy, **fields)  # type: ignore[arg-type]  # any field of a Copy


def test_the_organisers_copy_speaks_for_a_guests() -> None:
    guest = a_copy(1, BEN, "old-room")
    organiser = a_copy(2, ANNA, "new-room", is_organizer=True)

    assert speakers([guest, organiser]) == {
        guest.event_id: organiser.event_id,
        organiser.event_id: organiser.event_id,
    }


def test_without_the_organiser_the_copy_known_longest_speaks() -> None:
    early, late = a_copy(1, BEN, "room"), a_copy(2, EVE, "elsewhere")

    assert set(speakers([late, early]).values()) == {early.event_id}


def test_copies_with_one_link_speak_for_themselves() -> None:
    early, late = a_copy(1, BEN), a_copy(2, EVE)

    assert speakers([late, early]) == {early.event_id: early.event_id, late.event_id: late.event_id}


def test_another_start_organiser_uid_or_circle_is_another_meeting() -> None:
    one = a_copy(1, ANNA, "room")
    others = [
        a_copy(2, BEN, "b", start=NOON + timedelta(days=1)),
        a_copy(3, BEN, "c", organizer="eve@example.com"),
        a_copy(4, BEN, "d", organizer=None),
        a_copy(5, BEN, "e", ical_uid="other"),
        a_copy(6, BEN, "f", sharers=("example.com",)),
    ]

    for other in others:
        assert speakers([one, other])[other.event_id] == other.event_id


def test_no_uid_names_no_meeting() -> None:
    one, other = a_copy(1, ANNA, "room", ical_uid=""), a_copy(2, BEN, "elsewhere", ical_uid="")

    assert speakers([one, other])[other.event_id] == other.event_id


def test_a_uid_that_names_two_meetings_of_one_calendar_tells_nothing() -> None:
    copies = [a_copy(1, ANNA, "room"), a_copy(2, ANNA, "elsewhere"), a_copy(3, BEN, "third")]

    assert all(event == speaker for event, speaker in speakers(copies).items())


def test_organisers_addresses_are_compared_without_case() -> None:
    one = a_copy(1, ANNA, "room", organizer="Anna@Example.com")
    other = a_copy(2, BEN, "elsewhere")

    assert speakers([one, other])[other.event_id] == one.event_id


@st.composite
def _some_copies(draw: st.DrawFn) -> list[Copy]:
    return [
        a_copy(
            nth,
            draw(st.sampled_from([ANNA, BEN, EVE])),
            draw(st.sampled_from(["room", "elsewhere", "third"])),
            ical_uid=draw(st.sampled_from(["uid", "uid", "other", ""])),
            is_organizer=draw(st.booleans()),
            known_since=NOON + timedelta(seconds=draw(st.integers(0, 3))),
        )
        for nth in range(1, draw(st.integers(1, 6)) + 1)
    ]


@given(copies=_some_copies(), data=st.data())
def test_who_speaks_does_not_depend_on_the_order_in_which_copies_are_seen(
    copies: list[Copy], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(copies))

    assert speakers(shuffled) == speakers(copies)


@given(copies=_some_copies())
def test_who_speaks_for_another_speaks_for_himself(copies: list[Copy]) -> None:
    spoken_for = speakers(copies)

    assert set(spoken_for) == {copy.event_id for copy in copies}
    assert all(spoken_for[speaker] == speaker for speaker in spoken_for.values())
