"""Series, as people change them: whatever is done to one, its bots are where its meetings are."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.builders import NOON
from tests.providers.accounts.following import DAY, HOUR, WEEK, Diary, Follower
from tests.providers.accounts.kit import Platform

only_google = pytest.mark.parametrize("platform", ["google"], indirect=True)
FOUR = [NOON + n * WEEK for n in range(4)]

#: Each is one answer to a question that the vendors' pages leave open.
TOLD: list[tuple[str, dict[str, object]]] = [
    ("google", {}),
    ("google", {"cancelled_exceptions_bare": True}),
    ("google", {"windowed_token": "inside"}),
    ("google", {"windowed_token": "cancels_leavers"}),
    ("google", {"deleted_series_as": "master"}),
    ("google", {"deleted_series_as": "both"}),
    ("microsoft", {"deleted_occurrence_in_delta": "silent"}),
    ("microsoft", {"deleted_occurrence_in_delta": "series"}),
    ("microsoft", {"deleted_occurrence_in_delta": "removed"}),
    ("microsoft", {"removed_series_lists_occurrences": True}),
    ("microsoft", {"series_split_over_pages": True, "delta_repeats_rows": True}),
    ("microsoft", {"empty_delta_pages": True, "removed_rows_for_strangers": False}),
]
however_it_is_told = pytest.mark.parametrize(
    ("platform", "switches"),
    TOLD,
    indirect=["platform"],
    ids=[
        " ".join([name, *(f"{key}={said}" for key, said in switches.items())])
        for name, switches in TOLD
    ],
)


def four_weeks(follower: Follower, diary: Diary) -> str:
    """Have Anna meet at noon on four Mondays, and her calendar connected."""
    series = diary.plan(start=NOON, weekly=4)
    follower.connect()
    assert follower.starts() == list(follower.joins()) == FOUR
    return series


@however_it_is_told
def test_an_occurrence_that_is_moved_takes_its_bot_along(
    follower: Follower, diary: Diary, switches: dict[str, object]
) -> None:
    diary.platform.control("PATCH", "/switches", switches)
    series = four_weeks(follower, diary)
    bots = follower.joins()
    later = FOUR[1] + 3 * HOUR
    diary.change(series, on=FOUR[1], start=later)

    follower.look()

    assert follower.starts() == [FOUR[0], later, FOUR[2], FOUR[3]]
    assert follower.joins() == {
        FOUR[0]: bots[FOUR[0]],
        later: bots[FOUR[1]],
        FOUR[2]: bots[FOUR[2]],
        FOUR[3]: bots[FOUR[3]],
    }
    assert follower.told("bot.r") == ["bot.rescheduled"]


@however_it_is_told
def test_a_cancelled_occurrence_loses_its_bot_and_no_other_does(
    follower: Follower, diary: Diary, switches: dict[str, object]
) -> None:
    diary.platform.control("PATCH", "/switches", switches)
    series = four_weeks(follower, diary)
    bots = follower.joins()
    diary.delete(series, on=FOUR[1])

    # Of what a round keeps quiet about, the push that nothing comes with tells.
    is_silent = switches.get("deleted_occurrence_in_delta", "silent") == "silent"
    follower.look(told=is_silent and not diary.is_google)

    kept = [FOUR[0], FOUR[2], FOUR[3]]
    assert follower.starts() == kept
    assert follower.joins() == {start: bots[start] for start in kept}
    assert follower.told("calendar_event.d") == ["calendar_event.deleted"]


@however_it_is_told
def test_a_deleted_series_takes_all_its_bots_along(
    follower: Follower, diary: Diary, switches: dict[str, object]
) -> None:
    diary.platform.control("PATCH", "/switches", switches)
    series = four_weeks(follower, diary)
    diary.delete(series)

    follower.look()

    assert follower.starts() == []
    assert follower.joins() == {}
    assert follower.told("calendar_event.d") == ["calendar_event.deleted"] * 4


@pytest.mark.parametrize("shift", [timedelta(), 2 * HOUR], ids=["at the same time", "two hours later"])
def test_this_and_following_ends_one_series_and_begins_another(
    follower: Follower, diary: Diary, shift: timedelta
) -> None:
    series = four_weeks(follower, diary)
    bots = follower.joins()
    diary.split(series, first=NOON, before=2, after=2, start=FOUR[2] + shift)

    follower.look()

    assert follower.starts() == [FOUR[0], FOUR[1], FOUR[2] + shift, FOUR[3] + shift]
    joins = follower.joins()
    assert list(joins) == follower.starts()
    assert [joins[start] for start in FOUR[:2]] == [bots[start] for start in FOUR[:2]]
    if not shift:
        assert joins == bots
        assert follower.told("bot.c") == []


def test_an_exception_that_is_undone_is_where_it_was(follower: Follower, diary: Diary) -> None:
    series = four_weeks(follower, diary)
    bots = follower.joins()
    diary.change(series, on=FOUR[1], start=FOUR[1] + 3 * HOUR)
    follower.look()
    diary.change(series, on=FOUR[1], start=FOUR[1])

    follower.look()

    assert follower.starts() == FOUR
    assert follower.joins() == bots


def test_a_new_time_for_the_series_is_one_for_its_exceptions_too(
    follower: Follower, diary: Diary
) -> None:
    series = four_weeks(follower, diary)
    diary.change(series, on=FOUR[1], start=FOUR[1] + 3 * HOUR)
    follower.look()
    diary.change(series, start=NOON + HOUR)

    follower.look()

    assert follower.starts() == list(follower.joins()) == [start + HOUR for start in FOUR]


def test_a_shorter_series_loses_its_last_bots_and_a_longer_one_gets_them(
    follower: Follower, diary: Diary
) -> None:
    series = four_weeks(follower, diary)
    diary.repeat(series, NOON, weekly=2)
    follower.look()
    assert follower.starts() == list(follower.joins()) == FOUR[:2]
    diary.repeat(series, NOON, weekly=3)

    follower.look()

    assert follower.starts() == list(follower.joins()) == FOUR[:3]


@only_google
@pytest.mark.parametrize("is_bare", [False, True], ids=["with its series", "id alone"])
def test_a_cancelled_occurrence_that_takes_place_after_all_has_its_bot_again(
    follower: Follower, diary: Diary, *, is_bare: bool
) -> None:
    diary.platform.control("PATCH", "/switches", {"cancelled_exceptions_bare": is_bare})
    series = four_weeks(follower, diary)
    diary.delete(series, on=FOUR[1])
    follower.look()
    diary.restore(series, on=FOUR[1])

    follower.look()

    assert follower.starts() == list(follower.joins()) == FOUR


def test_a_meeting_that_becomes_a_series_is_its_first_occurrence(
    follower: Follower, diary: Diary
) -> None:
    event = diary.plan(start=NOON)
    follower.connect()
    bots = follower.joins()
    diary.repeat(event, NOON, weekly=3)
    follower.look()
    assert follower.starts() == FOUR[:3]
    assert follower.joins()[NOON] == bots[NOON]

    diary.change(event, start=NOON + HOUR)
    follower.look()

    assert follower.starts() == list(follower.joins()) == [start + HOUR for start in FOUR[:3]]


@pytest.mark.parametrize("has_exception", [False, True], ids=["as planned", "with an exception"])
def test_a_series_that_becomes_a_meeting_leaves_one_bot(
    follower: Follower, diary: Diary, *, has_exception: bool
) -> None:
    series = four_weeks(follower, diary)
    if has_exception:
        diary.change(series, on=FOUR[1], start=FOUR[1] + 3 * HOUR)
        follower.look()
    diary.repeat_no_more(series)

    follower.look()

    assert follower.starts() == list(follower.joins()) == [NOON]


@only_google
def test_a_guest_of_one_occurrence_keeps_it_whatever_becomes_of_it(
    follower: Follower, diary: Diary
) -> None:
    """The series itself is not in the guest's calendar: asked for, it is not found."""
    diary.platform.control("POST", "/accounts", {"email": "ben@example.com"})
    bens = Diary(diary.platform, "ben@example.com")
    follower.connect()
    series = bens.plan(start=NOON, weekly=4)
    for start in FOUR[1:3]:
        bens.change(series, on=start, attendees=[diary.email])

    follower.look()
    assert follower.starts() == list(follower.joins()) == FOUR[1:3]

    bens.change(series, on=FOUR[1], start=FOUR[1] + HOUR)
    follower.look()
    assert follower.starts() == list(follower.joins()) == [FOUR[1] + HOUR, FOUR[2]]

    bens.delete(series, on=FOUR[1])
    follower.look()
    assert follower.starts() == list(follower.joins()) == [FOUR[2]]


@pytest.mark.parametrize("told", [False, True], ids=["unasked", "told"])
def test_a_series_that_leaves_the_window_leaves_no_bot_behind(
    follower: Follower, diary: Diary, *, told: bool
) -> None:
    """Graph says `@removed` of it, and yet it is there when it is asked for."""
    series = four_weeks(follower, diary)
    far = NOON + 60 * DAY
    diary.change(series, start=far, recurrence=diary.weekly_rule(far, 4))
    diary.plan("Another", start=NOON + DAY, link="https://meet.google.com/xyz-abcd-efg")

    follower.look(told=told)

    assert list(follower.joins()) == [NOON + DAY]


def test_an_occurrence_moved_beyond_the_window_is_not_taken_for_deleted(
    follower: Follower, diary: Diary
) -> None:
    series = four_weeks(follower, diary)
    bots = follower.joins()
    far = FOUR[3] + 4 * WEEK
    diary.change(series, on=FOUR[3], start=far)

    follower.look()
    follower.look(whole=True)

    assert follower.starts() == [*FOUR[:3], far]
    assert follower.joins()[far] == bots[FOUR[3]]
    assert follower.told("calendar_event.d") == []


def test_a_meeting_moved_beyond_the_window_is_not_taken_for_deleted(
    follower: Follower, diary: Diary
) -> None:
    event = diary.plan(start=NOON)
    follower.connect()
    bots = follower.joins()
    far = NOON + 90 * DAY
    diary.change(event, start=far)

    follower.look()
    follower.look(whole=True)

    assert follower.joins() == {far: bots[NOON]}
    assert follower.told("calendar_event.d") == []

    diary.delete(event)
    follower.look()

    assert follower.joins() == {}


@pytest.mark.parametrize("answer", ["all", "inside", "cancels_leavers"])
@only_google
def test_a_meeting_moved_away_leaves_no_bot_behind_whatever_a_windowed_token_tells(
    follower: Follower, diary: Diary, answer: str
) -> None:
    diary.platform.control("PATCH", "/switches", {"windowed_token": answer})
    event = diary.plan(start=NOON)
    follower.connect()
    diary.change(event, start=NOON + 90 * DAY)

    follower.look(told=True)

    assert NOON not in follower.joins()


def test_a_series_that_cannot_be_found_yet_is_not_taken_for_deleted(
    follower: Follower, platform: Platform, diary: Diary
) -> None:
    """What was just put in may not be found for a moment. Source: "Handle API errors", 404."""
    follower.connect()
    diary.plan(start=NOON, weekly=4)
    code = {"google": {"reason": "notFound"}, "microsoft": {"code": "ErrorItemNotFound"}}[platform.name]
    platform.control("POST", "/faults", {"status": 404, "path": "/instances", "times": 1, **code})

    follower.look()

    assert follower.starts() == list(follower.joins()) == FOUR
