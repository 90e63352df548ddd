"""Recall's workspace keeps the contract of a CalendarSource; then what is Recall's own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from models.domain.times import rfc3339
from tests.contracts.bots import HOUR, NOON, ZOOM, a_seat, settle
from tests.contracts.emulated import EmulatedBots, Emulator
from tests.contracts.sources import NEW, CalendarSourceContract, SourceWorld, all_events
from worker.errors import TryLater
from worker.providers.recall import ManagedBots, RecallSource

SWITCHES: list[dict[str, object]] = [
    {},
    {"timestamps_with_z": False, "http_next_links": True, "events_order": "-updated_at"},
    {"status_changes_newest_first": True, "unset_calendar_fields_null": False},
    {"rotated_token_echoed": True, "calendars_order": "created_at", "unknown_query_refused": True},
]


@dataclass(slots=True)
class EmulatedSource:
    """A SourceWorld on the emulator."""

    recall: Emulator
    source: RecallSource

    def calendar(self, email: str) -> str:
        return self.recall.a_calendar(email)

    def put(self, calendar: str, title: str, start: datetime) -> str:
        return self.recall.an_event(
            calendar,
            title=title,
            start=rfc3339(start),
            end=rfc3339(start + timedelta(hours=1)),
            link=ZOOM,
        )

    def retitle(self, event: str, title: str) -> None:
        self.recall.ask("PATCH", f"/events/{event}", {"title": title})

    def remove(self, event: str) -> None:
        self.recall.ask("DELETE", f"/events/{event}")

    def lose_authorisation(self, calendar: str) -> None:
        self.recall.ask("POST", f"/calendars/{calendar}/disconnect", {"reason": "bad_grant"})

    def small_pages(self, size: int) -> None:
        self.recall.ask("PATCH", "/limits", {"page_size": size, "calendars_page_size": size})

    def fail_next(self) -> None:
        self.recall.ask("POST", "/faults", {"kind": "status", "status": 500, "times": 1})

    def pages_served(self) -> int:
        return sum(operation == "list_events" for operation, _ in self.recall.counted)


def source_of(recall: Emulator) -> RecallSource:
    return RecallSource(recall.client(), email_of=lambda _: None)


class TestRecallSource(CalendarSourceContract):
    @pytest.fixture(params=SWITCHES, ids=lambda switches: next(iter(switches), "likely"))
    def world(self, request: pytest.FixtureRequest, recall: Emulator) -> SourceWorld:
        recall.reset(request.param)
        emails: dict[str, str] = {}

        def email_of(external_id: str) -> str | None:
            if not emails:
                emails.update(
                    {one["id"]: one["platform_email"] for one in recall.ask("GET", "/calendars")}
                )
            return emails.get(external_id)

        return EmulatedSource(recall, RecallSource(recall.client(), email_of=email_of))


def test_outlook_events_are_read_too(recall: Emulator) -> None:
    calendar = recall.a_calendar("anna@acme.test", platform="outlook")
    recall.an_event(calendar, title="Review", start=rfc3339(NOON + HOUR), link=ZOOM)

    (found,) = all_events(source_of(recall).changes(None))

    assert found.event.title == "Review"
    assert found.event.start == NOON + HOUR


def test_an_event_shows_the_bot_it_carries(recall: Emulator) -> None:
    world = EmulatedBots(recall, ManagedBots(recall.client(), now=recall.clock.now))
    seat = a_seat(world.event(NOON + HOUR, ZOOM))
    standing = settle(world, seat)

    (found,) = all_events(source_of(recall).changes(None))

    (attachment,) = found.attachments
    assert attachment.bot_id == standing.bot_id
    assert attachment.dedup_key == seat.dedup_key
    assert attachment.join_at == seat.join_at


def test_a_page_carries_the_providers_clock(recall: Emulator) -> None:
    (page,) = source_of(recall).changes(None)

    assert page.served_at is not None
    assert page.served_at.tzinfo is not None


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ("bad_grant", "needs_reauth"),
        ("no_scope", "needs_reauth"),
        ("bad_secret", "needs_reauth"),
        ("mailbox was moved", "disconnected"),
    ],
)
def test_a_reason_that_speaks_of_credentials_asks_for_consent(
    recall: Emulator, reason: str, status: str
) -> None:
    calendar = recall.a_calendar("anna@acme.test")
    recall.ask("POST", f"/calendars/{calendar}/disconnect", {"reason": reason})

    assert source_of(recall).calendar(calendar).status == status


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "html", "status": 200},
        {"kind": "empty"},
        {"kind": "truncate"},
        {"kind": "wrong_type"},
        {"kind": "foreign_next"},
        {"kind": "repeated_next"},
        {"kind": "status", "status": 500},
        {"kind": "html", "status": 503},
    ],
    ids=lambda fault: str(fault["kind"]),
)
def test_a_spoilt_listing_is_no_listing(recall: Emulator, fault: dict[str, object]) -> None:
    recall.ask("PATCH", "/limits", {"page_size": 1})
    calendar = recall.a_calendar("anna@acme.test")
    for number in range(3):
        recall.an_event(calendar, start=rfc3339(NOON + number * HOUR), link=ZOOM)
    recall.ask("POST", "/faults", fault)

    with pytest.raises(TryLater):
        list(source_of(recall).changes(None))


def test_connecting_tells_recall_everything(recall: Emulator) -> None:
    found = source_of(recall).connect(NEW, key=UUID(int=3))

    (known,) = recall.ask("GET", "/calendars")
    assert known["id"] == found.external_id
    assert known["oauth_email"] == "anna@acme.test"
    assert found.email == "anna@acme.test"
