"""Everybody locks rows in one order, and who is chosen as the victim of a deadlock tries again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import OperationalError

from models.sealing import Vault
from models.tables import due
from models.tables.calendars import Calendar
from models.tables.due import table_of
from models.tables.slots import Slot
from tests.builders import NOON, a_calendar, a_found, an_event
from tests.worker.world import World
from worker.calendars import change, set_status
from worker.looked import Looked, next_fetch
from worker.ports import Page
from worker.reconciling import reconcile
from worker.settling import settle
from worker.storing import store_page
from worker.turns import Outcome, again_if_deadlocked

CHANGED = an_event(title="Changed")


@pytest.fixture
def world(db: Engine, vault: Vault) -> World:
    a_calendar(db)
    world = World(db, vault)
    world.store(a_found())
    return world


def beside(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.3)  # until it waits for a lock
    return thread


def calendar_id(world: World) -> UUID:
    with world.db.begin() as tx:
        found: UUID = tx.execute(select(table_of(Calendar).c.id)).scalar_one()
    return found


@pytest.mark.parametrize("what", ["disconnected", "another address", "paused"])
def test_a_listing_and_a_change_of_its_calendar_do_not_deadlock(world: World, what: str) -> None:
    one = calendar_id(world)
    failures: list[Exception] = []

    def alter() -> None:
        try:
            if what == "paused":
                change(world.rt, one, paused=True)
                return
            status = "disconnected" if what == "disconnected" else "connected"
            email = "new@example.com" if what == "another address" else None
            with world.db.begin() as tx:
                set_status(tx, one, status, None, now=world.at, email=email)
        except OperationalError as failed:
            failures.append(failed)

    with world.db.begin() as tx:
        looked = Looked("recall", next_fetch(tx), uuid4(), world.at)
        page = Page((a_found(CHANGED, updated_at=NOON),))
        store_page(tx, page, looked, vault=world.vault)
        other = beside(alter)
        due.ask(tx, Calendar, [one])
    other.join()

    assert failures == []
    assert world.titles() == {"event-1": "Changed"}


def test_placing_a_meeting_and_putting_its_bot_right_do_not_deadlock(world: World) -> None:
    world.reconcile_all()
    world.change_slot(wanted=Slot.wanted + 1, bot_hash=None)
    outcomes: list[Outcome] = []
    with world.db.begin() as tx:
        tx.execute(text("SELECT id FROM calendar_events FOR UPDATE"))
        other = beside(lambda: outcomes.append(reconcile(world.rt)))
        tx.execute(text("SELECT id FROM slots FOR UPDATE"))
        tx.execute(text("UPDATE calendar_events SET unsettled = true"))
    other.join()
    settle(world.rt)

    assert outcomes == [Outcome.FINISHED]


class Orig(Exception):
    """What the driver raises."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


def failing(times: int, sqlstate: str = "40P01") -> tuple[list[int], Callable[[], None]]:
    runs: list[int] = []

    def work() -> None:
        runs.append(1)
        if len(runs) <= times:
            raise OperationalError("UPDATE", {}, Orig(sqlstate))

    return runs, work


@pytest.mark.parametrize("sqlstate", ["40P01", "40001"])
def test_the_victim_of_a_deadlock_tries_again_twice(sqlstate: str) -> None:
    runs, work = failing(2, sqlstate)

    again_if_deadlocked(work)

    assert len(runs) == 3


def test_a_third_deadlock_is_a_failure() -> None:
    runs, work = failing(3)

    with pytest.raises(OperationalError):
        again_if_deadlocked(work)

    assert len(runs) == 3


def test_what_is_no_deadlock_is_not_tried_again() -> None:
    runs, work = failing(1, "57014")

    with pytest.raises(OperationalError):
        again_if_deadlocked(work)

    assert len(runs) == 1


def test_a_turn_that_meets_a_deadlock_ends_well_and_has_one_bot(world: World) -> None:
    world.at = NOON - timedelta(hours=1)
    left = [1]

    def meet_a_deadlock() -> None:
        if left:
            left.pop()
            raise OperationalError("UPDATE", {}, Orig("40P01"))

    world.during_the_next_call(meet_a_deadlock)

    assert reconcile(world.rt) is Outcome.FINISHED

    assert len(world.live()) == 1
    assert world.slot()["tries"] == 0
