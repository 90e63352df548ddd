"""How long a listing waits for more notifications: what changes while it goes on has to be read again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import Engine, func, insert, update

from models.sealing import Vault
from tests.builders import a_calendar, an_event
from tests.worker.world import CALENDARS, DELIVERIES, World
from worker.syncing import RECALL, sync_workspace
from worker.turns import Outcome


@pytest.fixture
def world(db: Engine, vault: Vault) -> World:
    world = World(db, vault)
    world.source.put_calendar("cal-anna")
    a_calendar(db)
    return world


def notifications_came(world: World, count: int, *, ago: timedelta = timedelta(0)) -> None:
    """Store notifications that were received at one moment."""
    with world.db.begin() as tx:
        tx.execute(
            insert(DELIVERIES).values(
                source=RECALL, type="x", body=b"", received_at=func.clock_timestamp() - ago
            ),
            [{"message_id": f"earlier-{uuid4()}", "ref": "cal-anna"} for _ in range(count)],
        )


def waited_while(world: World, goes_on: Callable[[float], bool]) -> float:
    """List while new notifications come; for how many seconds the listing waited is returned."""
    waits: list[float] = []
    world.notify()
    # Never in the past, however slow this machine is: a pause is 60 ms.
    keep_coming(world, timedelta(milliseconds=400))

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if goes_on(sum(waits)):
            keep_coming(world, timedelta(milliseconds=400))
        else:
            let_pass(world, timedelta(seconds=2))

    assert sync_workspace(replace(world.rt, sleep=sleep)) is Outcome.FINISHED
    return round(sum(waits), 3)


def keep_coming(world: World, ahead: timedelta) -> None:
    newest = DELIVERIES.c.message_id.not_like("earlier-%")
    with world.db.begin() as tx:
        tx.execute(update(DELIVERIES).where(newest).values(received_at=func.clock_timestamp() + ahead))


def let_pass(world: World, time: timedelta) -> None:
    with world.db.begin() as tx:
        tx.execute(update(DELIVERIES).values(received_at=DELIVERIES.c.received_at - time))


def test_notifications_that_do_not_pause_hold_a_listing_up_for_three_seconds(world: World) -> None:
    assert 2.9 <= waited_while(world, lambda _: True) <= 3.0


def test_in_a_burst_a_listing_waits_for_its_end(world: World) -> None:
    notifications_came(world, 300)

    assert 8.0 <= waited_while(world, lambda seconds: seconds < 8) <= 9.5


def test_a_burst_without_an_end_holds_a_listing_up_for_fifteen_seconds(world: World) -> None:
    notifications_came(world, 300)

    assert 14.9 <= waited_while(world, lambda _: True) <= 15.0


def test_what_has_piled_up_earlier_is_no_burst(world: World) -> None:
    notifications_came(world, 300, ago=timedelta(minutes=10))

    assert 2.9 <= waited_while(world, lambda _: True) <= 3.0


@pytest.fixture
def overtaken(world: World) -> World:
    """A world with three pages of changes, where a burst begins while the first one is read."""
    world.source.page_size = 1
    for nth in range(3):
        world.put(an_event(f"event-{nth}"))

    def begin(page: int) -> None:
        if page == 1:
            notifications_came(world, 300)

    world.source.on_page = begin
    world.notify()
    return world


def test_a_listing_that_a_burst_overtakes_starts_over(overtaken: World) -> None:
    assert overtaken.list_changes() is Outcome.PUT_OFF
    assert overtaken.workspace()["cursor_at"] is None

    overtaken.source.on_page = lambda _: None
    overtaken.wait_out()
    assert overtaken.list_changes() is Outcome.FINISHED
    assert len(overtaken.events()) == 3
    assert not overtaken.workspace()["is_pending"]


def test_a_listing_is_not_put_off_for_a_burst_when_somebody_has_waited_long(overtaken: World) -> None:
    with overtaken.db.begin() as tx:
        tx.execute(update(CALENDARS).values(asked_at=func.now() - timedelta(seconds=13)))

    assert overtaken.list_changes() is Outcome.FINISHED


def test_a_burst_without_an_end_is_listed_in_its_middle(overtaken: World) -> None:
    notifications_came(overtaken, 300)

    assert overtaken.list_changes() is Outcome.FINISHED
