"""How a calendar's connection stands, who is told, and what it means for events."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, RowMapping, func, select, update

from models.sealing import Vault
from models.tables.calendars import Calendar
from models.tables.due import table_of
from models.tables.events import CalendarEvent
from models.tables.outbox import OutboxEvent
from tests.builders import NOON, a_calendar, a_found, an_event, an_installation
from worker.calendars import adopt_row, mark_deleted, set_status
from worker.looked import Looked, next_fetch
from worker.ports import Page
from worker.settling import settle_batch
from worker.storing import store_page

CALENDARS = table_of(Calendar)
YESTERDAY = NOON - timedelta(days=1)


@pytest.fixture
def calendar_id(db: Engine, vault: Vault) -> UUID:
    """A connected calendar with an event to come and one that is over, both settled."""
    an_installation(db)
    calendar_id = a_calendar(db)
    with db.begin() as tx:
        looked = Looked("recall", next_fetch(tx), uuid4(), YESTERDAY)
        over = a_found(an_event("over", start=NOON - timedelta(days=3)))
        store_page(tx, Page(events=(a_found(), over)), looked, vault=vault)
        settle_batch(tx, now=YESTERDAY, vault=vault, limit=500)
    return calendar_id


def put(db: Engine, calendar_id: UUID, status: str, reason: str | None = None, **known: str) -> bool:
    with db.begin() as tx:
        return set_status(tx, calendar_id, status, reason, now=YESTERDAY, **known)


def told(db: Engine, calendar_id: UUID) -> list[tuple[str, dict[str, Any]]]:
    with db.begin() as tx:
        rows = tx.execute(
            select(OutboxEvent.type, OutboxEvent.data)
            .where(OutboxEvent.subject == f"calendar/{calendar_id}")
            .order_by(OutboxEvent.sequence)
        )
        return [(row.type, row.data) for row in rows]


def unsettled(db: Engine) -> list[str]:
    with db.begin() as tx:
        rows = tx.execute(select(CalendarEvent.external_id).where(CalendarEvent.unsettled))
        return list(rows.scalars())


def the_calendar(db: Engine) -> RowMapping:
    with db.begin() as tx:
        return tx.execute(select(CALENDARS)).mappings().one()


def test_every_change_of_status_is_told_exactly_once(db: Engine, calendar_id: UUID) -> None:
    for status in (
        "connected",
        "needs_reauth",
        "needs_reauth",
        "connecting",
        "connected",
        "disconnected",
    ):
        put(db, calendar_id, status)
        put(db, calendar_id, status)

    types = [event_type for event_type, _ in told(db, calendar_id)]
    assert types == ["calendar.needs_reauth", "calendar.connected", "calendar.disconnected"]


def test_what_is_told_is_the_calendar_and_what_it_was_before(db: Engine, calendar_id: UUID) -> None:
    is_changed = put(db, calendar_id, "needs_reauth", "invalid_grant", email="Ben@Example.com")

    ((_, data),) = told(db, calendar_id)
    assert is_changed
    assert (data["id"], data["status"], data["status_reason"]) == (
        str(calendar_id),
        "needs_reauth",
        "invalid_grant",
    )
    assert data["email"] == "ben@example.com"
    assert set(data["changed"]) == {"status", "status_reason", "email"}
    assert data["previous"]["status"] == "connected"


def test_another_reason_alone_is_stored_and_not_told(db: Engine, calendar_id: UUID) -> None:
    put(db, calendar_id, "needs_reauth", "invalid_grant")
    is_changed = put(db, calendar_id, "needs_reauth", "invalid_scope")

    assert not is_changed
    assert the_calendar(db)["status_reason"] == "invalid_scope"
    assert len(told(db, calendar_id)) == 1


@pytest.mark.parametrize(
    ("status", "known", "again"),
    [
        ("disconnected", {}, ["event-1"]),
        ("needs_reauth", {}, []),
        ("connecting", {}, []),
        ("connected", {}, []),
        ("connected", {"email": "anna@example.org"}, ["event-1"]),
        ("connected", {"email": "anna@example.com"}, []),
        ("connected", {"platform": "microsoft_outlook"}, []),
    ],
)
def test_upcoming_events_are_decided_again_when_it_matters_to_them(
    db: Engine, calendar_id: UUID, status: str, known: dict[str, str], again: list[str]
) -> None:
    put(db, calendar_id, status, **known)

    assert unsettled(db) == again


def test_a_calendar_that_comes_back_gets_its_bots_back(
    db: Engine, vault: Vault, calendar_id: UUID
) -> None:
    reasons = []
    for status in ("disconnected", "connected"):
        put(db, calendar_id, status)
        with db.begin() as tx:
            settle_batch(tx, now=YESTERDAY, vault=vault, limit=500)
            wanted = select(CalendarEvent.reason).where(CalendarEvent.external_id == "event-1")
            reasons.append(tx.execute(wanted).scalar_one())

    assert reasons == ["disconnected", "recorded"]


def test_news_of_a_deleted_calendar_changes_nothing(db: Engine, calendar_id: UUID) -> None:
    with db.begin() as tx:
        mark_deleted(tx, calendar_id, now=YESTERDAY, reason="test")
    before = the_calendar(db)

    is_changed = put(db, calendar_id, "connected")

    assert not is_changed
    assert the_calendar(db) == before
    assert [event_type for event_type, _ in told(db, calendar_id)] == ["calendar.deleted"]


def test_deleting_twice_is_told_once(db: Engine, calendar_id: UUID) -> None:
    for _ in range(2):
        with db.begin() as tx:
            mark_deleted(tx, calendar_id, now=YESTERDAY, reason="test")

    assert len(told(db, calendar_id)) == 1
    assert unsettled(db) == ["event-1"]


def test_nothing_is_told_when_the_change_is_not_committed(db: Engine, calendar_id: UUID) -> None:
    with db.connect() as connection:
        transaction = connection.begin()
        set_status(connection, calendar_id, "disconnected", None, now=YESTERDAY)
        transaction.rollback()

    assert told(db, calendar_id) == []
    assert the_calendar(db)["status"] == "connected"


def test_a_deleted_calendar_is_not_adopted_by_accident(db: Engine, calendar_id: UUID) -> None:
    with db.begin() as tx:
        mark_deleted(tx, calendar_id, now=YESTERDAY, reason="test")
        asked = the_wanted(tx)

    with db.begin() as tx:
        found = adopt_row(tx, "cal-anna")
        by_accident = the_wanted(tx)
    with db.begin() as tx:
        revived = adopt_row(tx, "cal-anna", revive=True)

    assert (found, by_accident) == ((calendar_id, False), asked)
    assert revived == (calendar_id, True)
    assert (the_calendar(db)["status"], the_calendar(db)["deleted_at"]) == ("connecting", None)


def test_a_calendar_adopted_by_many_at_once_is_one_calendar(db: Engine) -> None:
    def adopt(_nth: int) -> UUID:
        with db.begin() as tx:
            return adopt_row(tx, "cal-anna")[0]

    with ThreadPoolExecutor(8) as threads:
        ids = set(threads.map(adopt, range(8)))

    assert ids == {the_calendar(db)["id"]}
    assert the_calendar(db)["wanted"] == 8


def the_wanted(tx: Any) -> int:
    return int(tx.execute(select(func.sum(CALENDARS.c.wanted))).scalar_one())


def test_an_unknown_calendar_has_no_status(db: Engine) -> None:
    assert not put(db, uuid4(), "connected")
    with db.begin() as tx:
        assert tx.execute(update(CALENDARS).values(status="connected")).rowcount == 0
