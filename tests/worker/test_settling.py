"""Events become wants and slots: shared, moved, joined, left."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, RowMapping, select, update

from models.domain.events import Response
from models.sealing import Vault
from models.tables.due import table_of
from models.tables.events import CalendarEvent
from models.tables.outbox import OutboxEvent
from models.tables.slots import Slot, Want
from tests.builders import NOON, a_calendar, a_found, a_link, an_event, an_installation
from worker.looked import Looked, next_fetch
from worker.ports import FoundEvent, Page, Unreadable
from worker.settling import settle_batch
from worker.storing import store_page

SLOTS = table_of(Slot)
YESTERDAY = NOON - timedelta(days=1)
Store = Callable[..., None]


@pytest.fixture
def store(db: Engine, vault: Vault) -> Store:
    """Apply one page of a listing and settle what it changed."""
    an_installation(db)

    def store_now(*found: FoundEvent, now: datetime = YESTERDAY, unreadable: Any = ()) -> None:
        with db.begin() as tx:
            looked = Looked("recall", next_fetch(tx), uuid4(), now)
            store_page(tx, Page(events=found, unreadable=tuple(unreadable)), looked, vault=vault)
        with db.begin() as tx:
            settle_batch(tx, now=now, vault=vault, limit=500)

    return store_now


def open_slots(db: Engine) -> list[RowMapping]:
    with db.begin() as tx:
        rows = tx.execute(select(SLOTS).where(SLOTS.c.closed_at.is_(None)).order_by(SLOTS.c.start_at))
        return list(rows.mappings())


def wants(db: Engine) -> int:
    with db.begin() as tx:
        return len(tx.execute(select(table_of(Want))).all())


def emitted(db: Engine) -> list[str]:
    with db.begin() as tx:
        rows = tx.execute(select(OutboxEvent.type, OutboxEvent.subject, OutboxEvent.sequence))
        return [row.type for row in rows]


def version(days: float) -> datetime:
    return YESTERDAY + timedelta(days=days)


def give_bots(db: Engine, state: str = "scheduled") -> None:
    with db.begin() as tx:
        tx.execute(update(SLOTS).values(bot_id=SLOTS.c.key, bot_state=state))


def test_a_meeting_with_a_link_gets_one_slot(db: Engine, store: Store) -> None:
    a_calendar(db)

    store(a_found())

    (slot,) = open_slots(db)
    assert (slot["start_at"], slot["is_wanted"], slot["wanted"] > slot["done"]) == (NOON, True, True)


def test_copies_of_a_meeting_in_two_calendars_share_a_slot(db: Engine, store: Store) -> None:
    a_calendar(db, "cal-anna")
    a_calendar(db, "cal-ben")

    store(a_found(an_event("a")), a_found(an_event("b"), calendar="cal-ben"))

    assert len(open_slots(db)) == 1
    assert wants(db) == 2


def test_one_link_at_two_times_is_two_slots(db: Engine, store: Store) -> None:
    a_calendar(db)

    store(a_found(an_event("a")), a_found(an_event("b", start=NOON + timedelta(hours=2))))

    assert len(open_slots(db)) == 2


def test_a_moved_meeting_moves_its_slot(db: Engine, store: Store) -> None:
    a_calendar(db)
    store(a_found())
    (before,) = open_slots(db)

    store(a_found(an_event(start=NOON + timedelta(hours=3)), updated_at=version(1)))

    (after,) = open_slots(db)
    assert after["id"] == before["id"]
    assert after["start_at"] == NOON + timedelta(hours=3)


def test_both_copies_of_a_moved_meeting_keep_their_one_slot(db: Engine, store: Store) -> None:
    a_calendar(db, "cal-anna")
    a_calendar(db, "cal-ben")
    store(a_found(an_event("a")), a_found(an_event("b"), calendar="cal-ben"))
    (before,) = open_slots(db)
    later = NOON + timedelta(hours=3)

    store(
        a_found(an_event("a", start=later), updated_at=version(1)),
        a_found(an_event("b", start=later), calendar="cal-ben", updated_at=version(1)),
    )

    (after,) = open_slots(db)
    assert after["id"] == before["id"]


def test_copies_that_move_one_after_the_other_end_in_one_slot(db: Engine, store: Store) -> None:
    a_calendar(db, "cal-anna")
    a_calendar(db, "cal-ben")
    store(a_found(an_event("a")), a_found(an_event("b"), calendar="cal-ben"))
    later = NOON + timedelta(hours=3)

    store(a_found(an_event("a", start=later), updated_at=version(1)))
    assert len(open_slots(db)) == 2
    store(a_found(an_event("b", start=later), calendar="cal-ben", updated_at=version(1)))

    wanted = [slot for slot in open_slots(db) if slot["is_wanted"]]
    assert len(wanted) == 1
    assert wants(db) == 2


def test_the_last_want_leaving_closes_a_slot_that_never_had_a_bot(db: Engine, store: Store) -> None:
    a_calendar(db)
    store(a_found())

    store(a_found(an_event(deleted=True), updated_at=version(1)))

    assert open_slots(db) == []
    assert "bot.cancelled" not in emitted(db)


def test_a_slot_with_a_bot_stays_open_until_the_bot_is_gone(db: Engine, store: Store) -> None:
    a_calendar(db)
    store(a_found())
    give_bots(db)

    store(a_found(an_event(deleted=True), updated_at=version(1)))

    (slot,) = open_slots(db)
    assert (slot["is_wanted"], slot["wanted"] > slot["done"]) == (False, True)


def test_a_declined_copy_leaves_and_the_other_stays(db: Engine, store: Store) -> None:
    a_calendar(db, "cal-anna")
    a_calendar(db, "cal-ben")
    store(a_found(an_event("a")), a_found(an_event("b"), calendar="cal-ben"))

    declined = an_event("a", own_response=Response.DECLINED, is_organizer=False)
    store(a_found(declined, updated_at=version(1)))

    (slot,) = open_slots(db)
    assert slot["is_wanted"]
    assert wants(db) == 1


def test_another_link_moves_the_slot(db: Engine, store: Store, vault: Vault) -> None:
    a_calendar(db)
    store(a_found())
    (before,) = open_slots(db)

    store(a_found(an_event(link="new-room-abc"), updated_at=version(1)))

    (after,) = open_slots(db)
    assert after["id"] == before["id"]
    assert after["link_key"] == a_link("new-room-abc").key


def test_a_meeting_that_ended_keeps_its_bot_where_it_is(db: Engine, store: Store) -> None:
    a_calendar(db)
    store(a_found())
    give_bots(db, "in_call")
    with db.begin() as tx:
        tx.execute(update(table_of(CalendarEvent)).values(unsettled=True))

    store(now=NOON + timedelta(hours=2))

    (slot,) = open_slots(db)
    assert slot["is_wanted"]


def test_a_meeting_moved_into_the_past_gives_its_bot_back(db: Engine, store: Store) -> None:
    a_calendar(db)
    store(a_found())
    give_bots(db)

    past = an_event(start=NOON - timedelta(days=3))
    store(a_found(past, updated_at=version(1)))

    (slot,) = open_slots(db)
    assert not slot["is_wanted"]


def test_a_past_meeting_moved_into_the_future_gets_a_slot(db: Engine, store: Store) -> None:
    a_calendar(db)
    store(a_found(an_event(start=NOON - timedelta(days=3))))
    assert open_slots(db) == []

    store(a_found(an_event(), updated_at=version(1)))

    assert len(open_slots(db)) == 1


def test_the_same_page_again_changes_and_emits_nothing(db: Engine, store: Store) -> None:
    a_calendar(db)
    store(a_found())
    before = emitted(db)

    store(a_found())

    assert emitted(db) == before == ["calendar_event.created"]


def test_an_older_version_never_replaces_a_newer_one(db: Engine, store: Store) -> None:
    a_calendar(db)
    store(a_found(an_event(start=NOON + timedelta(hours=3)), updated_at=version(2)))

    store(a_found(an_event(), updated_at=version(1)))

    (slot,) = open_slots(db)
    assert slot["start_at"] == NOON + timedelta(hours=3)


def test_one_unreadable_row_is_kept_aside_and_ninety_nine_are_stored(db: Engine, store: Store) -> None:
    a_calendar(db)
    good = [a_found(an_event(f"e{n}", start=NOON + timedelta(hours=n))) for n in range(99)]

    store(*good, unreadable=[Unreadable("broken", "cal-anna", "no start")])

    assert len(open_slots(db)) == 99


def test_a_change_tells_what_changed_and_what_it_was(db: Engine, store: Store) -> None:
    a_calendar(db)
    store(a_found())

    store(a_found(an_event(title="Monthly"), updated_at=version(1)))

    with db.begin() as tx:
        data = tx.execute(
            select(OutboxEvent.data).where(OutboxEvent.type == "calendar_event.updated")
        ).scalar_one()
    assert (data["changed"], data["previous"], data["title"]) == (
        ["title"],
        {"title": "Weekly"},
        "Monthly",
    )
