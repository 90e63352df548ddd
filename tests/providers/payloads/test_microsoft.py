"""Graph's events as ours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from models.domain.events import EventStatus, Person, Response
from tests.providers.payloads.builders import (
    ANNA,
    MEET,
    ZOOM,
    a_graph_event,
    graph_guest,
    read_graph,
)
from worker.providers.payloads.fields import UnreadableEvent

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_an_event_is_read_whole() -> None:
    event = read_graph()

    assert event.external_id == "event-1"
    assert event.ical_uid == "040000"
    assert event.title == "Standup"
    assert (event.start, event.end) == (NOON, NOON + timedelta(hours=1))
    assert event.organizer == Person("ben@acme.test", Response.ACCEPTED)
    assert event.attendees == (
        Person(ANNA, Response.TENTATIVE, is_self=True),
        Person("clara@customer.test", Response.NEEDS_ACTION),
    )
    assert event.own_response is Response.TENTATIVE
    assert not (event.all_day)
    assert not (event.is_organizer)
    assert not (event.is_private)
    assert not (event.deleted)
    assert event.link is not None
    assert event.link.platform == "microsoft_teams"


@pytest.mark.parametrize(
    ("when", "instant"),
    [
        ({"dateTime": "2026-11-23T12:00:00.0000000", "timeZone": "UTC"}, NOON),
        ({"dateTime": "2026-11-23T12:00:00.0000000"}, NOON),
        ({"dateTime": "2026-11-23T04:00:00.0000000", "timeZone": "Pacific Standard Time"}, NOON),
        ({"dateTime": "2026-11-23T13:00:00.0000000", "timeZone": "Europe/Berlin"}, NOON),
        ({"dateTime": "2026-11-23T12:00:00", "timeZone": "tzone://Microsoft/Utc"}, NOON),
    ],
)
def test_naive_digits_are_read_in_their_zone(when: dict[str, str], instant: datetime) -> None:
    assert read_graph(a_graph_event(start=when)).start == instant


@pytest.mark.parametrize("zone", ["Customized Time Zone", "tzone://Microsoft/Custom"])
def test_a_custom_zone_tells_no_time_unless_the_caller_knows_it(zone: str) -> None:
    raw = a_graph_event(start={"dateTime": "2026-11-23T12:00:00", "timeZone": zone})

    with pytest.raises(UnreadableEvent):
        read_graph(raw)
    assert read_graph(raw, start=NOON).start == NOON


def test_an_all_day_event_keeps_its_dates_in_any_zone() -> None:
    event = read_graph(
        a_graph_event(
            isAllDay=True,
            start={"dateTime": "2026-11-23T00:00:00.0000000", "timeZone": "Tokyo Standard Time"},
            end={"dateTime": "2026-11-24T00:00:00.0000000", "timeZone": "Tokyo Standard Time"},
        )
    )

    assert event.all_day
    assert event.start == datetime(2026, 11, 23, tzinfo=UTC)
    assert event.end == datetime(2026, 11, 24, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changes", "platform"),
    [
        ({"location": {"displayName": ZOOM}}, "microsoft_teams"),
        (
            {"onlineMeeting": None, "location": {"displayName": ZOOM}, "body": {"content": MEET}},
            "zoom",
        ),
        ({"onlineMeeting": {}, "locations": [{"locationUri": ZOOM}]}, "zoom"),
        (
            {"onlineMeeting": None, "onlineMeetingUrl": MEET, "body": {"content": ZOOM}},
            "google_meet",
        ),
        (
            {
                "onlineMeeting": None,
                "body": {"content": f"<a href='{MEET}'>x</a>"},
                "subject": ZOOM,
            },
            "google_meet",
        ),
        ({"onlineMeeting": None, "subject": ZOOM}, "zoom"),
        ({"onlineMeeting": None}, None),
    ],
)
def test_the_most_telling_link_is_taken(changes: dict[str, Any], platform: str | None) -> None:
    link = read_graph(a_graph_event(**changes)).link

    assert (link.platform if link else None) == platform


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"responseStatus": {"response": "accepted"}}, Response.ACCEPTED),
        ({"responseStatus": {"response": "declined"}}, Response.DECLINED),
        ({"responseStatus": {"response": "notResponded"}}, Response.NEEDS_ACTION),
        ({"responseStatus": {"response": "organizer"}}, Response.ACCEPTED),
        ({"responseStatus": {"response": "none"}}, Response.TENTATIVE),  # the guest list tells
        ({"responseStatus": None, "attendees": []}, None),
        ({"responseStatus": None, "attendees": [], "isOrganizer": True}, Response.ACCEPTED),
    ],
)
def test_the_users_own_answer_is_read(changes: dict[str, Any], answer: Response | None) -> None:
    assert read_graph(a_graph_event(**changes)).own_response is answer


def test_a_user_who_organises_is_the_organiser_even_unnamed() -> None:
    event = read_graph(a_graph_event(isOrganizer=True, organizer=None))

    assert event.is_organizer
    assert event.organizer is not None
    assert event.organizer.email == ANNA


def test_rooms_are_not_people() -> None:
    guests = [graph_guest("room4@acme.test", kind="resource"), graph_guest("ben@acme.test")]

    event = read_graph(a_graph_event(attendees=guests))

    assert [guest.email for guest in event.attendees] == ["ben@acme.test"]


def test_an_address_inside_exchange_is_no_email() -> None:
    event = read_graph(a_graph_event(attendees=[graph_guest("/o=ExchangeLabs/cn=anna")]))

    assert [guest.email for guest in event.attendees] == [""]
    assert [person.email for person in event.people()] == ["ben@acme.test"]


@pytest.mark.parametrize(
    ("changes", "series_id"),
    [
        ({"type": "occurrence", "seriesMasterId": "master"}, "master"),
        ({"type": "exception", "seriesMasterId": "master"}, "master"),
        ({"type": "seriesMaster"}, "AAMk"),
        ({}, None),
    ],
)
def test_occurrences_of_a_series_share_its_id(changes: dict[str, Any], series_id: str | None) -> None:
    assert read_graph(a_graph_event(**changes)).series_id == series_id


def test_a_cancelled_event_is_cancelled() -> None:
    assert read_graph(a_graph_event(isCancelled=True)).status is EventStatus.CANCELLED


def test_a_removed_row_is_deleted() -> None:
    event = read_graph({"id": "AAMk", "@removed": {"reason": "deleted"}}, start=NOON)

    assert event.deleted


@pytest.mark.parametrize(
    ("sensitivity", "is_private"),
    [("private", True), ("confidential", True), ("personal", True), ("normal", False), (1, False)],
)
def test_sensitive_events_are_private(sensitivity: object, is_private: bool) -> None:
    assert read_graph(a_graph_event(sensitivity=sensitivity)).is_private is is_private
