"""The contract of CalendarSource: complete listings, tombstones, and calendars that come and go."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID, uuid4

import pytest

from tests.contracts.bots import HOUR, NOON
from worker.errors import AlreadyGone, TryLater
from worker.ports import CalendarSource, FoundEvent, NewCalendar, Page

NEW = NewCalendar("google_calendar", "client", "a-secret", "a-refresh-token", "anna@acme.test")


class SourceWorld(Protocol):
    """A source and its outside."""

    @property
    def source(self) -> CalendarSource: ...

    def calendar(self, email: str) -> str:
        """Have a connected calendar."""
        ...

    def put(self, calendar: str, title: str, start: datetime) -> str:
        """Have an event with a meeting link."""
        ...

    def retitle(self, event: str, title: str) -> None: ...

    def remove(self, event: str) -> None: ...

    def lose_authorisation(self, calendar: str) -> None: ...

    def small_pages(self, size: int) -> None: ...

    def fail_next(self) -> None:
        """Have the next call fail once in passing."""
        ...

    def pages_served(self) -> int: ...


class CalendarSourceContract:
    """Inherit, and provide a fixture `world`."""

    def test_every_calendar_is_listed_once(self, world: SourceWorld) -> None:
        world.small_pages(2)
        put = {world.calendar(f"user{number}@acme.test") for number in range(5)}

        found = list(world.source.calendars())

        assert sorted(calendar.external_id for calendar in found) == sorted(put)
        assert {calendar.email for calendar in found} == {f"user{n}@acme.test" for n in range(5)}
        assert {calendar.status for calendar in found} == {"connected"}
        assert {calendar.platform for calendar in found} == {"google_calendar"}

    def test_one_calendar_can_be_read(self, world: SourceWorld) -> None:
        external_id = world.calendar("anna@acme.test")

        found = world.source.calendar(external_id)

        assert (found.external_id, found.email) == (external_id, "anna@acme.test")

    def test_a_calendar_that_is_not_there_is_gone(self, world: SourceWorld) -> None:
        with pytest.raises(AlreadyGone):
            world.source.calendar(str(uuid4()))

    def test_connecting_twice_under_one_key_connects_once(self, world: SourceWorld) -> None:
        first = world.source.connect(NEW, key=UUID(int=3))
        second = world.source.connect(NEW, key=UUID(int=3))

        assert first.external_id == second.external_id
        assert first.status in {"connecting", "connected"}
        assert len(list(world.source.calendars())) == 1

    def test_lost_authorisation_shows_with_its_reason(self, world: SourceWorld) -> None:
        external_id = world.calendar("anna@acme.test")
        world.lose_authorisation(external_id)

        found = world.source.calendar(external_id)

        assert found.status == "needs_reauth"
        assert found.reason is not None
        assert "invalid_grant" in found.reason

    def test_reconnecting_keeps_the_calendar(self, world: SourceWorld) -> None:
        external_id = world.calendar("anna@acme.test")
        world.lose_authorisation(external_id)

        found = world.source.reconnect(external_id, NEW)

        assert found.external_id == external_id
        assert found.status in {"connecting", "connected"}

    def test_reconnecting_what_is_gone_says_so(self, world: SourceWorld) -> None:
        with pytest.raises(AlreadyGone):
            world.source.reconnect(str(uuid4()), NEW)

    def test_disconnecting_twice_is_fine(self, world: SourceWorld) -> None:
        external_id = world.calendar("anna@acme.test")

        world.source.disconnect(external_id)
        world.source.disconnect(external_id)

        assert list(world.source.calendars()) == []

    def test_no_answer_holds_a_credential(self, world: SourceWorld) -> None:
        found = world.source.connect(NEW, key=UUID(int=3))

        told = repr([found, *world.source.calendars(), NEW])
        assert "a-secret" not in told
        assert "a-refresh-token" not in told

    def test_an_empty_workspace_is_one_empty_page(self, world: SourceWorld) -> None:
        pages = list(world.source.changes(None))

        assert [page.events for page in pages] == [()]

    def test_a_listing_holds_every_event(self, world: SourceWorld) -> None:
        world.small_pages(2)
        anna, ben = world.calendar("anna@acme.test"), world.calendar("ben@acme.test")
        put = {world.put(anna, f"Meeting {n}", NOON + n * HOUR): anna for n in range(3)}
        put |= {world.put(ben, f"Meeting {n}", NOON + n * HOUR): ben for n in range(4)}

        found = all_events(world.source.changes(None))

        assert {event.event.external_id: event.calendar_ref for event in found} == put

    def test_an_event_is_read_through_its_calendars_eyes(self, world: SourceWorld) -> None:
        anna = world.calendar("anna@acme.test")
        world.put(anna, "Stand-up", NOON + HOUR)

        (found,) = all_events(world.source.changes(None))

        assert found.event.title == "Stand-up"
        assert found.event.start == NOON + HOUR
        assert found.event.end == NOON + 2 * HOUR
        assert found.event.is_organizer
        assert found.event.link is not None
        assert not found.event.deleted
        assert found.attachments == ()

    def test_one_calendar_can_be_listed_alone(self, world: SourceWorld) -> None:
        anna, ben = world.calendar("anna@acme.test"), world.calendar("ben@acme.test")
        world.put(anna, "Hers", NOON + HOUR)
        world.put(ben, "His", NOON + HOUR)

        found = all_events(world.source.changes(None, calendar=ben))

        assert [event.event.title for event in found] == ["His"]

    def test_only_changes_at_or_after_an_instant_are_listed(self, world: SourceWorld) -> None:
        anna = world.calendar("anna@acme.test")
        first = world.put(anna, "First", NOON + HOUR)
        second = world.put(anna, "Second", NOON + HOUR)
        before = {
            event.event.external_id: event.updated_at
            for event in all_events(world.source.changes(None))
        }
        world.retitle(first, "First again")

        since_second = all_events(world.source.changes(before[second]))
        after_second = all_events(world.source.changes(before[second] + timedelta(microseconds=1)))

        assert {event.event.external_id for event in since_second} == {first, second}
        assert [event.event.title for event in after_second] == ["First again"]

    def test_a_deleted_event_leaves_a_tombstone(self, world: SourceWorld) -> None:
        anna = world.calendar("anna@acme.test")
        event = world.put(anna, "Stand-up", NOON + HOUR)
        world.put(anna, "Other", NOON + HOUR)
        world.remove(event)

        found = all_events(world.source.changes(None))
        live = all_events(world.source.changes(None, live_only=True))

        assert {one.event.external_id for one in found if one.event.deleted} == {event}
        assert event not in {one.event.external_id for one in live}
        assert len(live) == 1

    def test_pages_are_fetched_when_asked_for(self, world: SourceWorld) -> None:
        world.small_pages(1)
        anna = world.calendar("anna@acme.test")
        for number in range(4):
            world.put(anna, f"Meeting {number}", NOON + number * HOUR)
        before = world.pages_served()

        listing = iter(world.source.changes(None))
        next(listing)

        assert world.pages_served() == before + 1

    def test_a_listing_that_breaks_off_raises(self, world: SourceWorld) -> None:
        world.small_pages(1)
        anna = world.calendar("anna@acme.test")
        for number in range(3):
            world.put(anna, f"Meeting {number}", NOON + number * HOUR)
        listing = iter(world.source.changes(None))
        next(listing)
        world.fail_next()

        with pytest.raises(TryLater):
            list(listing)


def all_events(pages: Iterable[Page]) -> list[FoundEvent]:
    found: list[FoundEvent] = []
    for page in pages:
        assert page.unreadable == ()
        found.extend(page.events)
    return found
