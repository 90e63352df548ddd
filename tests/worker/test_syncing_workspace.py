"""One listing for the whole workspace: nothing that changed is missed, nothing is listed twice for nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine, update

from models.sealing import Vault
from tests.builders import a_calendar, an_event
from tests.fakes import FakeCalendarSource
from tests.worker.world import SOURCES, World, provider_clock, real_now
from worker import jobs
from worker.errors import AuthorizationLost, TryLater
from worker.ports import Page
from worker.turns import Outcome

WHOLE = "changes workspace"


@pytest.fixture
def world(db: Engine, vault: Vault) -> World:
    world = World(db, vault)
    world.source.put_calendar("cal-anna")
    return world


@pytest.fixture
def anna(world: World) -> UUID:
    return a_calendar(world.db)


def listings(world: World) -> int:
    return world.source.calls.count(WHOLE)


def test_a_notified_change_is_applied_and_its_delivery_is_done_by_the_run(
    world: World, anna: UUID
) -> None:
    world.put(an_event(title="New"))
    delivery = world.notify()

    assert world.list_changes() is Outcome.FINISHED

    assert world.titles() == {"event-1": "New"}
    assert world.delivery(delivery) == ("done", None)
    event = world.events()["event-1"]
    assert event["run_id"] == world.delivery_row(delivery)["run_id"] is not None
    assert not world.is_due(anna)


def test_a_change_reaches_its_slot_without_another_job(world: World, anna: UUID) -> None:
    world.put()
    world.notify()

    world.list_changes()

    assert world.slot()["is_wanted"]
    assert (jobs.RECONCILE, str(world.slot_id())) in world.bell.take()


def test_ten_asks_for_five_calendars_are_one_listing(world: World) -> None:
    ids = [a_calendar(world.db, f"cal-{n}") for n in range(5)]
    for n in range(5):
        world.put(an_event(f"e{n}"), f"cal-{n}")
        world.notify(f"cal-{n}")
        world.notify(f"cal-{n}")

    world.list_changes()

    assert listings(world) == 1
    assert len(world.titles()) == 5
    assert not any(world.is_due(calendar_id) for calendar_id in ids)
    assert world.list_changes() is Outcome.NOTHING_DUE


def test_an_ask_during_the_listing_is_served_by_the_next_one(world: World, anna: UUID) -> None:
    late: list[UUID] = []

    def change_again() -> None:
        world.put(an_event(title="Second"))
        late.append(world.notify())

    world.put(an_event(title="First"))
    world.notify()
    world.during_page(change_again)

    world.list_changes()

    assert world.is_due(anna)
    assert world.delivery(late[0]) == ("stored", None)
    assert world.titles() == {"event-1": "First"}
    world.list_changes()
    assert world.titles() == {"event-1": "Second"}
    assert world.delivery(late[0]) == ("done", None)
    assert not world.is_due(anna)


def test_a_listing_cut_in_the_middle_leaves_the_cursor_and_loses_nothing(
    world: World, anna: UUID
) -> None:
    world.list_changes()
    world.source.page_size = 1
    for n in range(3):
        world.put(an_event(f"e{n}", start=an_event().start + timedelta(hours=n)))
    delivery = world.notify()
    world.source.fail(TryLater("503"), at_page=2)

    assert world.list_changes() is Outcome.PUT_OFF

    assert world.workspace()["cursor_at"] is None
    assert list(world.titles()) == ["e0"]
    assert world.is_due(anna)
    world.wait_out()
    assert world.list_changes() is Outcome.FINISHED
    assert sorted(world.titles()) == ["e0", "e1", "e2"]
    assert world.delivery(delivery) == ("done", None)


def test_a_put_off_listing_waits_although_more_asks_come(world: World, anna: UUID) -> None:
    world.notify()
    world.source.fail(TryLater("429", after=timedelta(minutes=1)))
    world.list_changes()

    world.notify()

    assert world.list_changes() is Outcome.NOTHING_DUE
    assert listings(world) == 1


def test_lost_authorisation_puts_off_and_deletes_nothing(world: World, anna: UUID) -> None:
    world.put()
    world.notify()
    world.list_changes()
    world.notify()
    world.source.fail(AuthorizationLost("401"))

    assert world.list_changes() is Outcome.PUT_OFF

    assert world.titles() == {"event-1": "Weekly"}
    assert world.workspace()["tries"] == 0


@dataclass(slots=True)
class SlippingSource(FakeCalendarSource):
    """Pages are cut from what there is when each is asked for, as an offset into a live table is."""

    def changes(
        self, since: datetime | None, *, calendar: str | None = None, live_only: bool = False
    ) -> Iterator[Page]:
        self.calls.append(f"changes {calendar or 'workspace'}")
        number = 0
        while True:
            pages = list(FakeCalendarSource.changes(self, since, calendar=calendar))
            self.calls.pop()
            if number >= len(pages):
                return
            yield pages[number]
            number += 1
            self.on_page(-number)


def test_a_change_that_slipped_to_a_page_already_read_is_found_by_the_next_listing(
    world: World, anna: UUID
) -> None:
    clock = [real_now().replace(microsecond=0)]
    source = SlippingSource(page_size=1, now=lambda: clock[0])
    object.__setattr__(world.rt, "recall", source)
    begun = clock[0]
    start = an_event().start
    for n in range(3):
        event = an_event(f"e{n}", start=start + timedelta(hours=n))
        source.put("cal-anna", event, updated_at=begun - timedelta(seconds=1))

    def slip(page: int) -> None:
        if page == -1:
            # A long listing: between the first page and the second much time goes by.
            clock[0] = begun + timedelta(seconds=20)
            first = an_event("e2", start=start - timedelta(hours=1), title="Slipped")
            source.put("cal-anna", first, updated_at=begun + timedelta(seconds=5))
            last = an_event("e1", start=start + timedelta(hours=9), title="Seen")
            source.put("cal-anna", last, updated_at=begun + timedelta(seconds=15))

    source.on_page = slip
    world.notify()
    world.list_changes()
    assert world.titles()["e1"] == "Seen"
    assert world.titles().get("e2") != "Slipped"

    source.on_page = lambda _: None
    world.notify()
    world.list_changes()

    assert world.titles()["e2"] == "Slipped"


def test_a_change_that_was_stored_late_with_an_older_version_is_found(world: World, anna: UUID) -> None:
    cursor = real_now() - timedelta(seconds=30)
    world.put(an_event("e1"), updated_at=cursor)
    world.notify()
    world.list_changes()
    assert world.workspace()["cursor_at"] == cursor

    world.put(an_event("late"), updated_at=cursor - timedelta(seconds=1.9))
    world.notify()
    world.list_changes()

    assert "late" in world.titles()


def test_the_cursor_is_the_newest_change_seen(world: World, anna: UUID) -> None:
    newest = real_now() - timedelta(seconds=40)
    world.put(an_event("e1"), updated_at=newest - timedelta(minutes=3))
    world.put(an_event("e2"), updated_at=newest)
    world.put(an_event("e3"), updated_at=newest - timedelta(minutes=7))
    world.notify()

    world.list_changes()

    assert world.workspace()["cursor_at"] == newest


def test_a_listing_without_news_does_not_move_the_cursor_back(world: World, anna: UUID) -> None:
    world.put()
    world.notify()
    world.list_changes()
    cursor = world.workspace()["cursor_at"]
    world.source.vanish("event-1")

    world.notify()
    world.list_changes()

    assert world.workspace()["cursor_at"] == cursor


def test_a_version_from_the_future_does_not_take_the_cursor_along(world: World, anna: UUID) -> None:
    world.put(an_event("odd"), updated_at=datetime(2036, 1, 1, tzinfo=UTC))
    world.notify()
    world.list_changes()
    assert "odd" in world.titles()
    assert world.workspace()["cursor_at"] <= provider_clock() + timedelta(seconds=1)

    world.put(an_event("next"))
    world.notify()
    world.list_changes()

    assert "next" in world.titles()


def test_a_version_from_the_future_teaches_nothing_about_the_providers_clock(
    world: World, anna: UUID
) -> None:
    world.put(an_event("odd"), updated_at=datetime(2036, 1, 1, tzinfo=UTC))
    world.notify()

    world.list_changes()

    assert (world.workspace()["clock_ahead_s"] or 0) < 2


def test_a_provider_whose_clock_goes_ten_minutes_ahead_is_followed(world: World, anna: UUID) -> None:
    ahead = timedelta(minutes=10)
    world.source.now = lambda: provider_clock() + ahead
    for n in range(3):
        world.put(an_event(f"e{n}"), updated_at=real_now() + ahead)
        world.notify()
        world.list_changes()

    assert sorted(world.titles()) == ["e0", "e1", "e2"]
    assert world.workspace()["cursor_at"] <= real_now() + ahead


def test_a_provider_whose_clock_goes_ten_minutes_behind_is_followed(world: World, anna: UUID) -> None:
    behind = timedelta(minutes=10)
    world.source.now = lambda: provider_clock() - behind
    for n in range(3):
        world.put(an_event(f"e{n}"), updated_at=real_now() - behind)
        world.notify()
        world.list_changes()

    assert sorted(world.titles()) == ["e0", "e1", "e2"]


def test_a_provider_that_shows_no_clock_is_followed(world: World, anna: UUID) -> None:
    world.source.now = lambda: None
    for n in range(3):
        world.put(an_event(f"e{n}"))
        world.notify()
        world.list_changes()

    assert sorted(world.titles()) == ["e0", "e1", "e2"]


def test_older_versions_never_replace_newer_ones(world: World, anna: UUID) -> None:
    world.put(an_event(title="New"))
    world.notify()
    world.list_changes()

    world.put(an_event(title="Old"), updated_at=real_now() - timedelta(seconds=1))
    world.notify()
    world.list_changes()

    assert world.titles() == {"event-1": "New"}


def test_events_of_calendars_we_do_not_follow_are_passed_over(world: World, anna: UUID) -> None:
    world.put(an_event("theirs"), "cal-unknown")
    world.put(an_event("ours"))
    world.notify()

    world.list_changes()

    assert list(world.titles()) == ["ours"]


def test_one_malformed_row_does_not_stop_the_others_nor_the_cursor(world: World, anna: UUID) -> None:
    world.put(an_event("e1"))
    world.source.unreadable("broken", "cal-anna")
    world.put(an_event("e2"))
    world.notify()

    assert world.list_changes() is Outcome.FINISHED

    assert sorted(world.titles()) == ["e1", "e2"]
    assert world.count("quarantined_events") == 1
    assert world.workspace()["cursor_at"] is not None


def test_of_two_runs_at_once_one_lists(world: World, anna: UUID) -> None:
    outcomes: list[Outcome] = []
    world.put()
    world.notify()
    world.during_page(lambda: outcomes.append(world.list_changes()))

    outcomes.append(world.list_changes())

    assert outcomes == [Outcome.NOTHING_DUE, Outcome.FINISHED]
    assert listings(world) == 1


def test_a_run_that_was_overtaken_stores_nothing_more_and_is_made_good(
    world: World, anna: UUID
) -> None:
    world.source.page_size = 1
    world.put(an_event("e1"))
    world.put(an_event("e2", start=an_event().start + timedelta(hours=1)))
    delivery = world.notify()
    world.during_page(world.be_overtaken, 2)

    assert world.list_changes() is Outcome.LOST

    assert list(world.titles()) == ["e1"]
    assert world.workspace()["cursor_at"] is None
    assert world.delivery(delivery)[0] == "stored"
    with world.db.begin() as tx:
        tx.execute(update(SOURCES).values(lease_until=None))
    assert world.list_changes() is Outcome.FINISHED
    assert sorted(world.titles()) == ["e1", "e2"]
    assert world.delivery(delivery) == ("done", None)
    assert not world.is_due(anna)


def test_a_worker_that_dies_while_listing_is_followed_by_one_that_lists(
    world: World, anna: UUID
) -> None:
    def die() -> None:
        raise KeyboardInterrupt

    world.put()
    delivery = world.notify()
    world.during_page(die)
    with pytest.raises(KeyboardInterrupt):
        world.list_changes()
    with world.db.begin() as tx:
        tx.execute(update(SOURCES).values(lease_until=real_now() - timedelta(seconds=1)))

    assert world.list_changes() is Outcome.FINISHED

    assert world.titles() == {"event-1": "Weekly"}
    assert world.delivery(delivery) == ("done", None)


@pytest.mark.parametrize(
    "columns", [{"needs_check": True}, {"needs_full": True}, {"status": "needs_reauth"}]
)
def test_a_calendar_that_needs_a_look_of_its_own_is_rung_for_and_not_listed(
    world: World, anna: UUID, columns: dict[str, object]
) -> None:
    world.ask(anna, **columns)

    assert world.list_changes() is Outcome.NOTHING_DUE

    assert world.bell.take() == [(jobs.SYNC_CALENDAR, str(anna))]
    assert world.source.calls == []
    assert world.is_due(anna)


def test_a_calendar_with_a_look_of_its_own_ahead_does_not_hold_up_the_others(
    world: World, anna: UUID
) -> None:
    ben = a_calendar(world.db, "cal-ben", needs_full=True)
    world.ask(ben)
    world.put()
    world.notify()

    world.list_changes()

    assert world.titles() == {"event-1": "Weekly"}
    assert (world.is_due(anna), world.is_due(ben)) == (False, True)


def test_a_check_asked_for_during_the_listing_is_not_served_by_it(world: World, anna: UUID) -> None:
    world.notify()
    world.during_page(lambda: world.notify(kind="calendar.update"))

    world.list_changes()

    row = world.calendar(anna)
    assert (row["wanted"] > row["done"], row["needs_check"]) == (True, True)


def test_a_look_nobody_asked_for_goes_back_further(world: World, anna: UUID) -> None:
    cursor = real_now() - timedelta(minutes=20)
    world.put(an_event("e1"), updated_at=cursor)
    world.notify()
    world.list_changes()
    with world.db.begin() as tx:
        tx.execute(
            update(SOURCES).values(listed_at=cursor, cursor_at=cursor, wanted=SOURCES.c.wanted + 1)
        )
    world.put(an_event("hidden"), updated_at=cursor - timedelta(minutes=9))

    world.list_changes()

    assert "hidden" in world.titles()


def test_a_look_nobody_asked_for_that_failed_is_made_again(world: World, anna: UUID) -> None:
    world.notify()
    world.list_changes()
    long_ago = real_now() - timedelta(hours=2)
    with world.db.begin() as tx:
        tx.execute(update(SOURCES).values(listed_at=long_ago, wanted=SOURCES.c.wanted + 1))
    world.put(an_event("unheard"))
    world.source.fail(TryLater("503"))
    assert world.list_changes() is Outcome.PUT_OFF

    world.wait_out()
    world.list_changes()

    assert "unheard" in world.titles()


def test_in_a_long_outage_the_listing_is_tried_every_minute_and_never_set_aside(
    world: World, anna: UUID
) -> None:
    world.put(an_event(title="During the outage"))
    world.notify()
    for _ in range(30):
        world.source.fail(TryLater("503"))
        assert world.list_changes() is Outcome.PUT_OFF
        row = world.workspace()
        assert row["parked_at"] is None
        assert row["due_at"] - real_now() <= timedelta(minutes=1)
        world.wait_out()

    assert world.list_changes() is Outcome.FINISHED
    assert world.titles() == {"event-1": "During the outage"}


def test_a_look_that_was_served_by_somebody_else_costs_no_call(world: World, anna: UUID) -> None:
    world.notify()
    world.list_changes()
    with world.db.begin() as tx:
        tx.execute(update(SOURCES).values(wanted=SOURCES.c.wanted + 1))

    assert world.list_changes() is Outcome.FINISHED

    assert listings(world) == 1


def test_the_same_listing_again_emits_nothing(world: World, anna: UUID) -> None:
    world.put()
    world.notify()
    world.list_changes()
    before = world.told("")

    world.notify()
    world.list_changes()

    assert world.told("") == before == ["calendar_event.created"]


def test_without_a_recall_key_nothing_is_listed(world: World, anna: UUID) -> None:
    object.__setattr__(world.rt, "recall", None)
    world.notify()

    assert world.list_changes() is Outcome.NOTHING_DUE
    assert world.is_due(anna)
