"""
Local times, through both platforms: nine o'clock stays nine o'clock, and a day stays that day.

What is expected is worked out here, from the zone's own rules; neither emulator nor adapter is asked.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.providers.accounts.following import DAY, HOUR, WEEK, Diary, Follower
from tests.providers.accounts.kit import Platform, cursor_of, titles
from worker.ports_direct import Reading, Window

BERLIN, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")
#: The first of five meetings at nine, a week apart; clocks change between the first and the second.
OVER_A_CHANGE = {
    "end of summer in Berlin": datetime(2026, 10, 20, 9, tzinfo=BERLIN),
    "beginning of summer in Berlin": datetime(2027, 3, 23, 9, tzinfo=BERLIN),
    "end of summer in New York": datetime(2026, 10, 27, 9, tzinfo=NEW_YORK),
    "beginning of summer in New York": datetime(2027, 3, 9, 9, tzinfo=NEW_YORK),
}
over_a_change = pytest.mark.parametrize("first", OVER_A_CHANGE.values(), ids=OVER_A_CHANGE)


def at_nine(first: datetime, weeks: int = 5) -> list[datetime]:
    """List the instants at which the clock on the wall says what it says at *first*, week by week."""
    return [(first + n * WEEK).astimezone(UTC) for n in range(weeks)]


def noon_before(first: datetime) -> datetime:
    day = first.astimezone(UTC).date() - DAY
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)


@over_a_change
def test_the_instants_expected_are_an_hour_apart_from_equal_weeks(first: datetime) -> None:
    """Else nothing below would notice a series that is read without its zone."""
    before, *after = at_nine(first)

    assert after[0] - before in {WEEK + HOUR, WEEK - HOUR}
    assert after[1] - after[0] == WEEK


@over_a_change
def test_a_weekly_meeting_keeps_its_hour_over_the_change_of_clocks(
    follower: Follower, diary: Diary, first: datetime
) -> None:
    follower.be_at(noon_before(first))
    diary.live_in(str(first.tzinfo))
    diary.plan(start=first, weekly=5)

    follower.connect()

    assert follower.starts() == list(follower.joins()) == at_nine(first)


@over_a_change
@pytest.mark.parametrize("whole", [False, True], ids=["what changed", "everything"])
def test_looking_again_after_the_change_of_clocks_moves_nothing(
    follower: Follower, diary: Diary, first: datetime, *, whole: bool
) -> None:
    follower.be_at(noon_before(first))
    diary.live_in(str(first.tzinfo))
    diary.plan(start=first, weekly=5)
    follower.connect()
    before = follower.trace()
    follower.be_at(noon_before(first) + WEEK - timedelta(minutes=1))

    follower.look(whole=whole)
    follower.look(told=True, whole=whole)

    assert follower.trace() == before
    assert follower.starts() == at_nine(first)


@over_a_change
def test_an_exception_after_the_change_of_clocks_moves_by_what_it_was_moved(
    follower: Follower, diary: Diary, first: datetime
) -> None:
    follower.be_at(noon_before(first))
    series = diary.plan(start=first, weekly=5)
    follower.connect()
    diary.change(series, on=first + 2 * WEEK, start=first + 2 * WEEK + HOUR)

    follower.look()

    expected = at_nine(first)
    expected[2] += HOUR
    assert follower.starts() == list(follower.joins()) == expected


def test_a_series_that_moves_to_another_zone_keeps_the_hour_of_that_zone(
    follower: Follower, diary: Diary
) -> None:
    in_berlin = datetime(2026, 10, 20, 9, tzinfo=BERLIN)
    in_new_york = in_berlin.replace(tzinfo=NEW_YORK)
    follower.be_at(noon_before(in_berlin))
    series = diary.plan(start=in_berlin, weekly=5)
    follower.connect()
    diary.change(series, start=in_new_york)

    follower.look()

    assert follower.starts() == list(follower.joins()) == at_nine(in_new_york)


@pytest.mark.parametrize("zone", ["Pacific/Auckland", "Pacific/Honolulu", "Asia/Kolkata"])
def test_the_zone_a_calendar_is_shown_in_moves_no_meeting(
    follower: Follower, diary: Diary, zone: str
) -> None:
    diary.live_in(zone)
    first = datetime(2026, 10, 20, 9, tzinfo=BERLIN)
    follower.be_at(noon_before(first))
    diary.plan(start=first, weekly=5)

    follower.connect()

    assert follower.starts() == at_nine(first)


@pytest.mark.parametrize("zone", ["Pacific/Auckland", "Pacific/Honolulu", "Europe/Berlin"])
def test_a_day_is_that_day_wherever_the_calendar_is(
    follower: Follower, diary: Diary, zone: str
) -> None:
    """Clocks change on the 25th in Berlin: the day has 25 hours there, and is a day."""
    diary.live_in(zone)
    follower.be_at(datetime(2026, 10, 22, 12, tzinfo=UTC))
    diary.plan_day("Offsite", date(2026, 10, 25))

    follower.connect()

    (event,) = follower.events()
    assert event["all_day"] is True
    assert event["start_at"] == datetime(2026, 10, 25, tzinfo=UTC)
    assert event["end_at"] == datetime(2026, 10, 26, tzinfo=UTC)


def test_a_series_of_days_keeps_its_days_over_the_change_of_clocks(
    follower: Follower, diary: Diary
) -> None:
    diary.live_in("Europe/Berlin")
    follower.be_at(datetime(2026, 10, 19, 12, tzinfo=UTC))
    weekly = diary.weekly_rule(datetime(2026, 10, 20, tzinfo=UTC), 3)
    diary.plan_day("Market", date(2026, 10, 20), recurrence=weekly)

    follower.connect()

    assert follower.starts() == [datetime(2026, 10, 20, tzinfo=UTC) + n * WEEK for n in range(3)]


#: A name that Graph may give, and the zone that it means.
NAMES = {
    "W. Europe Standard Time": "Europe/Berlin",
    "Europe/Berlin": "Europe/Berlin",
    "Eastern Standard Time": "America/New_York",
    "India Standard Time": "Asia/Kolkata",
    "UTC": "UTC",
    "tzone://Microsoft/Utc": "UTC",
}


@pytest.mark.parametrize("day", [date(2026, 10, 20), date(2026, 11, 10)], ids=["summer", "winter"])
@pytest.mark.parametrize(("name", "zone"), NAMES.items())
def test_digits_are_read_in_the_zone_that_graph_names(
    microsoft: Platform, name: str, zone: str, day: date
) -> None:
    """What we asked for is UTC; should Graph answer in a zone of its own, that one counts."""
    reading = _read_written_as(microsoft, day, name)

    (found,) = reading.events
    assert found.event.start == datetime(day.year, day.month, day.day, 9, tzinfo=ZoneInfo(zone))
    assert found.event.end - found.event.start == HOUR


@pytest.mark.parametrize("name", ["tzone://Microsoft/Custom", "Customized Time Zone", "Mars/Phobos"])
def test_digits_of_a_zone_that_nobody_knows_are_told_and_guessed_by_nobody(
    microsoft: Platform, name: str
) -> None:
    day = date(2026, 10, 20)
    Diary(microsoft).plan("Readable", start=datetime(2026, 10, 21, 9, tzinfo=UTC))

    reading = _read_written_as(microsoft, day, name)

    assert titles([reading]) == ["Readable"]
    assert len(reading.unreadable) == 1
    assert "time zone" in reading.unreadable[0].reason


def test_a_meeting_of_a_custom_zone_is_read_in_utc_as_asked_for(microsoft: Platform) -> None:
    """Its zone is `tzone://Microsoft/Custom`: only Graph knows its rules."""
    first = datetime(2026, 10, 20, 9, tzinfo=BERLIN)
    utc = first.astimezone(UTC)
    Diary(microsoft).plan(start=utc, weekly=5, time_zone="Europe/Berlin", custom_zone=True)

    reading = _read(microsoft, noon_before(first))

    assert sorted(found.event.start for found in reading.events) == at_nine(first)


def _read_written_as(platform: Platform, day: date, zone_name: str) -> Reading:
    """Read a meeting from nine to ten whose times Graph writes in a zone, whatever was asked for."""
    times = {
        name: {"dateTime": f"{day.isoformat()}T{hour}:00:00.0000000", "timeZone": zone_name}
        for name, hour in (("start", "09"), ("end", "10"))
    }
    start = datetime(day.year, day.month, day.day, 9, tzinfo=UTC)
    Diary(platform).plan(start=start, raw=times)
    return _read(platform, start - DAY)


def _read(platform: Platform, since: datetime) -> Reading:
    """Read five weeks as one part."""
    parts = list(
        platform.calendars.read_all(
            platform.token(), platform.primary, Window(since, since + 5 * WEEK), email=None
        )
    )
    assert cursor_of(parts)
    return Reading(
        tuple(found for part in parts for found in part.events),
        tuple(row for part in parts for row in part.unreadable),
    )
