"""Series: the dates of every pattern, and what instants those are."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sandbox.microsoft.driving import Person, times
from worker.sandbox.microsoft.recurrence import DAYS, read

MONDAY = date(2026, 11, 23)


def a_pattern(kind: str, count: int, **pattern: Any) -> dict[str, Any]:
    return {
        "pattern": {"type": kind, "interval": 1, **pattern},
        "range": {"type": "numbered", "numberOfOccurrences": count, "startDate": "2026-11-23"},
    }


@pytest.mark.parametrize(
    ("wish", "dates"),
    [
        (a_pattern("daily", 3, interval=2), ["2026-11-23", "2026-11-25", "2026-11-27"]),
        (
            a_pattern("weekly", 4, daysOfWeek=["monday", "wednesday"]),
            ["2026-11-23", "2026-11-25", "2026-11-30", "2026-12-02"],
        ),
        # A week that starts on Sunday puts the Sunday before the Monday of the same second week.
        (
            a_pattern(
                "weekly", 4, interval=2, daysOfWeek=["sunday", "monday"], firstDayOfWeek="sunday"
            ),
            ["2026-11-23", "2026-12-06", "2026-12-07", "2026-12-20"],
        ),
        (
            a_pattern(
                "weekly", 4, interval=2, daysOfWeek=["sunday", "monday"], firstDayOfWeek="monday"
            ),
            ["2026-11-23", "2026-11-29", "2026-12-07", "2026-12-13"],
        ),
        (a_pattern("absoluteMonthly", 3, dayOfMonth=24), ["2026-11-24", "2026-12-24", "2027-01-24"]),
        (
            a_pattern("absoluteMonthly", 4, dayOfMonth=31),
            ["2026-11-30", "2026-12-31", "2027-01-31", "2027-02-28"],
        ),
        (
            a_pattern("relativeMonthly", 2, daysOfWeek=["thursday", "friday"], index="second"),
            ["2026-12-04", "2027-01-07"],
        ),
        (
            a_pattern("relativeMonthly", 2, daysOfWeek=list(DAYS), index="last"),
            ["2026-11-30", "2026-12-31"],
        ),
        (a_pattern("absoluteYearly", 2, dayOfMonth=29, month=2), ["2027-02-28", "2028-02-29"]),
        (
            a_pattern("relativeYearly", 2, daysOfWeek=["monday"], month=3, index="first"),
            ["2027-03-01", "2028-03-06"],
        ),
    ],
)
def test_a_pattern_names_its_dates(wish: dict[str, Any], dates: list[str]) -> None:
    assert [str(day) for day in read(wish, MONDAY).dates()] == dates


def test_an_end_date_belongs_to_the_series() -> None:
    wish = {
        "pattern": {"type": "daily", "interval": 1},
        "range": {"type": "endDate", "startDate": "2026-11-23", "endDate": "2026-11-25"},
    }

    assert len(list(read(wish, MONDAY).dates())) == 3


@given(start=st.integers(0, 400), length=st.integers(0, 60), interval=st.integers(1, 9))
def test_a_stretch_of_a_series_is_the_part_of_it_that_lies_inside(
    start: int, length: int, interval: int
) -> None:
    series = read(
        {"pattern": {"type": "weekly", "interval": interval, "daysOfWeek": ["monday", "friday"]}},
        MONDAY,
    )
    first, last = (
        date.fromordinal(MONDAY.toordinal() + start),
        date.fromordinal(MONDAY.toordinal() + start + length),
    )

    inside = list(series.dates(first, last))

    assert inside == [day for day in series.dates(None, last) if day >= first]


@pytest.mark.parametrize(
    "wish",
    [
        a_pattern("fortnightly", 1),
        a_pattern("weekly", 1),
        a_pattern("weekly", 1, daysOfWeek=["Montag"]),
        a_pattern("daily", 0),
        a_pattern("daily", 1, interval=0),
        a_pattern("absoluteMonthly", 1, dayOfMonth=32),
        a_pattern("absoluteYearly", 1, dayOfMonth=1),
    ],
)
def test_nonsense_is_no_series(wish: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(wish, MONDAY)


def test_a_series_keeps_its_reading_of_the_clock_when_summer_time_ends(anna: Person) -> None:
    master = anna.event(
        **times("2026-10-30T09:00:00", "2026-10-30T09:30:00", "Eastern Standard Time"),
        recurrence={
            "pattern": {"type": "weekly", "interval": 1, "daysOfWeek": ["friday"]},
            "range": {"type": "noEnd", "startDate": "2026-10-30"},
        },
    )

    found = anna.get(
        f"/me/events/{master['id']}/instances",
        startDateTime="2026-10-30T00:00:00Z",
        endDateTime="2026-11-07T00:00:00Z",
    )["value"]

    assert [row["start"]["dateTime"] for row in found] == [
        "2026-10-30T13:00:00.0000000",
        "2026-11-06T14:00:00.0000000",
    ]


def test_a_series_starts_with_its_first_occurrence(anna: Person) -> None:
    master = anna.event(
        **times("2026-11-24T10:00:00", "2026-11-24T10:30:00"),
        recurrence={
            "pattern": {"type": "weekly", "interval": 1, "daysOfWeek": ["thursday"]},
            "range": {"type": "noEnd", "startDate": "2026-11-24"},
        },
    )

    assert master["start"]["dateTime"] == "2026-11-26T10:00:00.0000000"
    assert master["recurrence"]["range"] == {
        "type": "noEnd",
        "startDate": "2026-11-24",
        "endDate": "0001-01-01",
        "recurrenceTimeZone": "UTC",
        "numberOfOccurrences": 0,
    }
