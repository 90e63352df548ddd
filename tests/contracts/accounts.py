"""The contract of AccountCalendars: readings that go on where the last one ended, and push channels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID, uuid4

import pytest

from tests.contracts.bots import HOUR, NOON
from worker.errors import AlreadyGone, ConsentLost, CursorGone, TryLater
from worker.ports import FoundEvent
from worker.ports_direct import AccountCalendars, ChannelTaken, OpenChannel, Reading, Window

DAY, WEEK = timedelta(days=1), timedelta(weeks=1)
WINDOW = Window(NOON - DAY, NOON + 5 * WEEK)
SECRET, OTHER_SECRET = "s" * 109, "t" * 109


class AccountsWorld(Protocol):
    """A platform's calendars and their outside: it is noon, and Anna keeps one of her own."""

    @property
    def calendars(self) -> AccountCalendars: ...

    @property
    def renews(self) -> bool:
        """Say whether channels can be renewed here."""
        ...

    def token(self) -> str: ...

    def own(self) -> str:
        """Return the id of Anna's calendar."""
        ...

    def removed_calendar(self) -> str:
        """Return the id of a calendar that was and is no more."""
        ...

    def put(self, title: str, start: datetime, *, weeks: int = 0) -> str:
        """Have an hour's meeting, or a weekly series of them; its id, or the series', is returned."""
        ...

    def retitle(self, event: str, title: str) -> None:
        """Give an event or a whole series another title."""
        ...

    def remove(self, event: str, *, on: datetime | None = None) -> None:
        """Have an event or a series no more; *on* names one occurrence by its start."""
        ...

    def spoil(self, event: str) -> None:
        """Change an event into something that makes no sense."""
        ...

    def small_pages(self) -> None:
        """Give two rows a page from now on."""
        ...

    def forget_cursors(self) -> None: ...

    def unknown_cursor(self) -> str:
        """Return a cursor that nobody gave out."""
        ...

    def lose_consent(self) -> None:
        """Refuse the token from now on."""
        ...

    def be_busy(self) -> None:
        """Refuse the next call because there were too many."""
        ...

    def be_away(self) -> None:
        """Have the next call meet somebody who knows nothing of calendars."""
        ...

    def secrets(self) -> list[str]:
        """List what open channels send with every push."""
        ...


def read(world: AccountsWorld) -> list[Reading]:
    calendars = world.calendars
    return list(calendars.read_all(world.token(), world.own(), WINDOW, email="anna@example.com"))


def changes(world: AccountsWorld, cursor: str) -> list[Reading]:
    found = world.calendars.read_changes(
        world.token(), world.own(), cursor, WINDOW, email="anna@example.com"
    )
    return list(found)


def open_channel(
    world: AccountsWorld,
    channel_id: UUID = UUID(int=1),  # noqa: B008  # a value
    *,
    calendar: str | None = None,
    secret: str = SECRET,
) -> OpenChannel:
    return world.calendars.open_channel(
        world.token(),
        calendar or world.own(),
        channel_id=channel_id,
        secret=secret,
        until=NOON + 2 * DAY,
    )


Call = Callable[[AccountsWorld], object]

#: Every call that needs the account's consent.
CALLS: dict[str, Call] = {
    "calendars": lambda world: world.calendars.calendars(world.token()),
    "read_all": read,
    "open_channel": open_channel,
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


class AccountCalendarsContract:
    """Inherit, and provide a fixture `world`."""

    def test_an_accounts_own_calendar_is_listed_first(self, world: AccountsWorld) -> None:
        found = world.calendars.calendars(world.token())

        assert [one.is_primary for one in found] == [True, *[False] * (len(found) - 1)]
        assert (found[0].external_id, found[0].may_read) == (world.own(), True)

    def test_every_event_of_the_window_is_read_and_no_other(self, world: AccountsWorld) -> None:
        world.small_pages()
        put = {world.put(f"Meeting {n}", NOON + n * HOUR): f"Meeting {n}" for n in range(5)}
        world.put("Long past", NOON - 3 * DAY)
        world.put("Far away", NOON + 6 * WEEK)

        found = events_of(read(world))

        assert {one.event.external_id: one.event.title for one in found} == put
        assert {one.calendar_ref for one in found} == {world.own()}
        assert sorted(one.event.start for one in found) == [NOON + n * HOUR for n in range(5)]

    def test_the_last_part_alone_brings_the_cursor(self, world: AccountsWorld) -> None:
        world.small_pages()
        for number in range(5):
            world.put(f"Meeting {number}", NOON + number * HOUR)

        *parts, last = read(world)

        assert len(parts) >= 1
        assert {part.cursor for part in parts} == {None}
        assert last.cursor is not None

    def test_an_empty_calendar_has_a_cursor_too(self, world: AccountsWorld) -> None:
        cursor = cursor_of(read(world))
        event = world.put("First", NOON)

        assert ids_of(changes(world, cursor)) == [event]

    def test_a_cursor_goes_on_with_what_changed_since(self, world: AccountsWorld) -> None:
        world.put("Kept", NOON)
        changed = world.put("Changed", NOON + HOUR)
        cursor = cursor_of(read(world))
        world.retitle(changed, "Changed indeed")
        new = world.put("New", NOON + 2 * HOUR)

        readings = changes(world, cursor)

        titles = {one.event.external_id: one.event.title for one in events_of(readings)}
        assert titles == {changed: "Changed indeed", new: "New"}
        assert events_of(changes(world, cursor_of(readings))) == []

    def test_what_changes_while_changes_are_read_is_told_by_the_next_cursor_at_the_latest(
        self, world: AccountsWorld
    ) -> None:
        world.small_pages()
        cursor = cursor_of(read(world))
        for number in range(5):
            world.put(f"Meeting {number}", NOON + number * HOUR)
        reading = world.calendars.read_changes(
            world.token(), world.own(), cursor, WINDOW, email="anna@example.com"
        )
        first = next(reading)
        late = world.put("Late", NOON + 6 * HOUR)
        readings = [first, *reading]

        told = {*ids_of(readings), *ids_of(changes(world, cursor_of(readings)))}

        assert late in told

    def test_a_cursor_may_be_used_again(self, world: AccountsWorld) -> None:
        cursor = cursor_of(read(world))
        event = world.put("New", NOON)

        assert ids_of(changes(world, cursor)) == ids_of(changes(world, cursor)) == [event]

    def test_what_is_removed_is_told(self, world: AccountsWorld) -> None:
        world.put("Kept", NOON)
        gone = world.put("Gone", NOON + HOUR)
        cursor = cursor_of(read(world))
        world.remove(gone)

        readings = changes(world, cursor)

        assert removed_of(readings) == {gone}
        assert events_of(readings) == []
        assert removed_of(changes(world, cursor_of(readings))) == set()

    def test_what_came_and_went_between_two_looks_is_no_event(self, world: AccountsWorld) -> None:
        cursor = cursor_of(read(world))
        world.remove(world.put("Passing", NOON))

        assert events_of(changes(world, cursor)) == []

    def test_a_series_is_read_as_its_occurrences(self, world: AccountsWorld) -> None:
        series = world.put("Weekly", NOON, weeks=3)

        found = events_of(read(world))

        assert sorted(one.event.start for one in found) == [NOON + n * WEEK for n in range(3)]
        assert {one.event.series_id for one in found} == {series}
        assert len({one.event.external_id for one in found}) == 3

    def test_of_a_changed_series_every_occurrence_is_read(self, world: AccountsWorld) -> None:
        series = world.put("Weekly", NOON, weeks=3)
        before = read(world)
        world.retitle(series, "Weekly indeed")

        readings = changes(world, cursor_of(before))

        (whole,) = [part for part in readings if series in part.replaced]
        assert [one.event.title for one in whole.events] == ["Weekly indeed"] * 3
        assert set(ids_of([whole])) == set(ids_of(before))

    def test_a_removed_occurrence_is_missing_from_its_series(self, world: AccountsWorld) -> None:
        series = world.put("Weekly", NOON, weeks=3)
        cursor = cursor_of(read(world))
        world.remove(series, on=NOON + WEEK)

        readings = changes(world, cursor)

        (whole,) = [part for part in readings if series in part.replaced]
        assert sorted(one.event.start for one in whole.events) == [NOON, NOON + 2 * WEEK]

    def test_a_removed_series_is_told(self, world: AccountsWorld) -> None:
        series = world.put("Weekly", NOON, weeks=3)
        before = read(world)
        world.remove(series)

        readings = changes(world, cursor_of(before))

        assert events_of(readings) == []
        gone = removed_of(readings) | {name for part in readings for name in part.replaced}
        assert series in gone or set(ids_of(before)) <= gone

    def test_what_stands_alone_has_no_occurrences(self, world: AccountsWorld) -> None:
        """It may have been a series when we last looked."""
        cursor = cursor_of(read(world))
        event = world.put("Alone", NOON)

        readings = changes(world, cursor)

        assert event in {name for part in readings for name in part.replaced}

    def test_a_forgotten_cursor_is_gone(self, world: AccountsWorld) -> None:
        cursor = cursor_of(read(world))
        world.forget_cursors()

        with pytest.raises(CursorGone):
            changes(world, cursor)

        assert changes(world, cursor_of(read(world)))

    def test_a_cursor_that_nobody_gave_out_is_gone(self, world: AccountsWorld) -> None:
        with pytest.raises(CursorGone):
            changes(world, world.unknown_cursor())

    def test_what_makes_no_sense_is_told_and_the_rest_is_read(self, world: AccountsWorld) -> None:
        odd = world.put("Odd", NOON)
        world.put("Readable", NOON + HOUR)
        world.spoil(odd)

        readings = read(world)

        assert [one.event.title for one in events_of(readings)] == ["Readable"]
        assert unreadable_of(readings) == [(odd, world.own())]
        assert cursor_of(readings)

    def test_a_change_that_makes_no_sense_is_told_and_the_rest_is_read(
        self, world: AccountsWorld
    ) -> None:
        odd = world.put("Odd", NOON)
        cursor = cursor_of(read(world))
        world.spoil(odd)
        world.put("Readable", NOON + HOUR)

        readings = changes(world, cursor)

        assert [one.event.title for one in events_of(readings)] == ["Readable"]
        assert unreadable_of(readings) == [(odd, world.own())]
        assert removed_of(readings) == set()
        assert cursor_of(readings)

    @every_call
    def test_a_token_that_is_refused_is_a_lost_consent(self, world: AccountsWorld, call: Call) -> None:
        world.token()
        world.own()
        world.lose_consent()

        with pytest.raises(ConsentLost):
            call(world)

    @every_call
    def test_too_many_calls_are_put_off_without_blame(self, world: AccountsWorld, call: Call) -> None:
        world.token()
        world.own()
        world.be_busy()

        with pytest.raises(TryLater) as raised:
            call(world)

        assert raised.value.after is not None
        assert raised.value.after > timedelta()
        assert not raised.value.counts
        assert raised.value.is_definite

    @every_call
    def test_somebody_elses_answer_proves_nothing(self, world: AccountsWorld, call: Call) -> None:
        world.token()
        world.own()
        world.be_away()

        with pytest.raises(TryLater):
            call(world)

    def test_a_calendar_that_is_no_more_is_gone(self, world: AccountsWorld) -> None:
        gone = world.removed_calendar()

        with pytest.raises(AlreadyGone):
            list(world.calendars.read_all(world.token(), gone, WINDOW, email=None))
        with pytest.raises(AlreadyGone):
            open_channel(world, calendar=gone)

    def test_a_channel_ends_when_it_was_asked_to_and_sends_its_secret(
        self, world: AccountsWorld
    ) -> None:
        opened = open_channel(world)

        assert abs(opened.expires_at - (NOON + 2 * DAY)) < timedelta(minutes=1)
        assert world.secrets() == [SECRET]

    def test_of_one_id_there_is_one_channel(self, world: AccountsWorld) -> None:
        """The first may have been opened by a call whose answer was lost."""
        open_channel(world, UUID(int=7))

        try:
            open_channel(world, UUID(int=7), secret=OTHER_SECRET)
        except ChannelTaken:
            assert world.secrets() == [SECRET]
        else:
            assert world.secrets() == [OTHER_SECRET]

    def test_a_renewed_channel_lives_longer_or_cannot(self, world: AccountsWorld) -> None:
        opened = open_channel(world)
        until = NOON + 4 * DAY

        renewed = world.calendars.renew_channel(world.token(), opened.external_id, until=until)

        assert (renewed is not None) is world.renews
        if renewed is not None:
            assert renewed.external_id == opened.external_id
            assert abs(renewed.expires_at - until) < timedelta(minutes=1)
        assert world.secrets() == [SECRET]

    def test_renewing_what_is_gone_says_so(self, world: AccountsWorld) -> None:
        opened, until = open_channel(world, UUID(int=7)), NOON + 4 * DAY
        world.calendars.close_channel(world.token(), UUID(int=7), opened.external_id)

        if not world.renews:
            assert world.calendars.renew_channel(world.token(), opened.external_id, until=until) is None
            return
        with pytest.raises(AlreadyGone):
            world.calendars.renew_channel(world.token(), opened.external_id, until=until)

    def test_a_closed_channel_sends_nothing_and_closing_twice_is_fine(
        self, world: AccountsWorld
    ) -> None:
        opened = open_channel(world, UUID(int=7))

        for _ in range(2):
            world.calendars.close_channel(world.token(), UUID(int=7), opened.external_id)

        assert world.secrets() == []

    def test_closing_what_never_was_is_fine(self, world: AccountsWorld) -> None:
        world.calendars.close_channel(world.token(), uuid4(), "made-up")


def cursor_of(readings: list[Reading]) -> str:
    cursor = readings[-1].cursor
    assert cursor is not None
    return cursor


def events_of(readings: Iterable[Reading]) -> list[FoundEvent]:
    """List the events of a reading, each as it was read last."""
    by_id = {found.event.external_id: found for part in readings for found in part.events}
    return list(by_id.values())


def ids_of(readings: Iterable[Reading]) -> list[str]:
    return [found.event.external_id for found in events_of(readings)]


def removed_of(readings: Iterable[Reading]) -> set[str]:
    return {name for part in readings for name in part.removed}


def unreadable_of(readings: Iterable[Reading]) -> list[tuple[str, str | None]]:
    return [(row.external_id, row.calendar_ref) for part in readings for row in part.unreadable]
