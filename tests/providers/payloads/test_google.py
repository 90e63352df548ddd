"""Google's events as ours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from models.domain.events import EventStatus, Person, Response
from tests.providers.payloads.builders import (
    ANNA,
    MEET,
    ZOOM,
    a_google_event,
    read_google,
)
from worker.providers.payloads.fields import UnreadableEvent

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_an_event_is_read_whole() -> None:
    event = read_google()

    assert event.external_id == "event-1"
    assert event.ical_uid == "abc@google.com"
    assert event.title == "Standup"
    assert (event.start, event.end) == (NOON, NOON + timedelta(hours=1))
    assert event.start.tzinfo is UTC
    assert event.organizer == Person("ben@acme.test", Response.ACCEPTED)
    assert event.attendees == (
        Person(ANNA, Response.TENTATIVE, is_self=True),
        Person("ben@acme.test", Response.ACCEPTED),
        Person("clara@customer.test", Response.NEEDS_ACTION),
    )
    assert event.own_response is Response.TENTATIVE
    assert event.status is EventStatus.CONFIRMED
    assert not (event.all_day)
    assert not (event.is_organizer)
    assert not (event.is_private)
    assert not (event.deleted)
    assert event.series_id is None
    assert event.link is not None
    assert event.link.url == MEET


def test_what_the_caller_knows_wins_over_the_payload() -> None:
    start = datetime(2026, 12, 1, 9, tzinfo=UTC)

    event = read_google(
        start=start,
        end=start + timedelta(minutes=5),
        ical_uid="known",
        meeting_url=ZOOM,
        deleted=True,
    )

    assert (event.start, event.end) == (start, start + timedelta(minutes=5))
    assert event.ical_uid == "known"
    assert event.link is not None
    assert event.link.url == ZOOM
    assert event.deleted


def test_a_known_link_of_no_meeting_leaves_the_payloads() -> None:
    event = read_google(meeting_url="https://zoom.us.evil.com/j/1")

    assert event.link is not None
    assert event.link.url == MEET


VIDEO = {"entryPoints": [{"entryPointType": "video", "uri": ZOOM}]}
PHONE = {"entryPoints": [{"entryPointType": "phone", "uri": "tel:+1"}, 7, {"uri": ZOOM}]}


@pytest.mark.parametrize(
    ("changes", "platform"),
    [
        ({"conferenceData": VIDEO}, "zoom"),
        ({"conferenceData": PHONE}, "google_meet"),
        ({"location": ZOOM}, "google_meet"),
        ({"hangoutLink": None, "location": ZOOM, "description": MEET}, "zoom"),
        (
            {"hangoutLink": None, "description": f'<a href="{MEET}">x</a>', "summary": ZOOM},
            "google_meet",
        ),
        ({"hangoutLink": None, "summary": f"Call {ZOOM}"}, "zoom"),
        ({"hangoutLink": None}, None),
        ({"eventType": "workingLocation"}, None),
        ({"eventType": "focusTime", "location": ZOOM}, None),
        ({"eventType": "fromGmail"}, "google_meet"),
        ({"eventType": "somethingNew"}, "google_meet"),
    ],
)
def test_the_most_telling_link_is_taken(changes: dict[str, Any], platform: str | None) -> None:
    link = read_google(a_google_event(**changes)).link

    assert (link.platform if link else None) == platform


@pytest.mark.parametrize(
    ("when", "instant"),
    [
        ({"dateTime": "2026-11-23T12:00:00Z"}, NOON),
        ({"dateTime": "2026-11-23T07:00:00-05:00", "timeZone": "Asia/Tokyo"}, NOON),
        ({"dateTime": "2026-11-23T13:00:00", "timeZone": "Europe/Berlin"}, NOON),
        ({"dateTime": "2026-11-23T13:00", "timeZone": "europe/berlin"}, NOON),
        (
            {"dateTime": "2026-11-23T13:00:00.9999999", "timeZone": "W. Europe Standard Time"},
            NOON + timedelta(microseconds=999_999),
        ),
        # summer time begins: 02:30 is skipped and means 03:30; ends: 02:30 happens twice, the first
        (
            {"dateTime": "2026-03-29T02:30:00", "timeZone": "Europe/Berlin"},
            datetime(2026, 3, 29, 1, 30, tzinfo=UTC),
        ),
        (
            {"dateTime": "2026-10-25T02:30:00", "timeZone": "Europe/Berlin"},
            datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
        ),
        ({"date": "2026-11-23"}, datetime(2026, 11, 23, tzinfo=UTC)),
    ],
)
def test_a_start_is_read_in_its_zone(when: dict[str, str], instant: datetime) -> None:
    assert read_google(a_google_event(start=when, end=None)).start == instant


def test_a_weekly_meeting_keeps_its_local_hour_over_the_change_of_clocks() -> None:
    def start_on(day: str) -> datetime:
        when = {"dateTime": f"{day}T10:00:00", "timeZone": "America/New_York"}
        return read_google(a_google_event(start=when, end=None)).start

    assert start_on("2026-10-29").hour == 14
    assert start_on("2026-11-05").hour == 15


@pytest.mark.parametrize(
    "when",
    [
        None,
        "2026-11-23",
        {},
        {"dateTime": None},
        {"dateTime": 7},
        {"dateTime": "tomorrow"},
        {"dateTime": "2026-02-30T12:00:00Z"},
        {"dateTime": "2026-11-23T12:00:00"},
        {"dateTime": "2026-11-23T12:00:00", "timeZone": "Mars/Phobos"},
        {"dateTime": "2026-11-23T12:00:00", "timeZone": "../../etc/passwd"},
        {"dateTime": "9999-06-01T12:00:00Z"},
        {"dateTime": "0001-01-01T00:00:00", "timeZone": "Asia/Tokyo"},
        {"dateTime": "٢٠٢٦-11-23T12:00:00", "timeZone": "UTC"},
        {"date": "2026-13-01"},
    ],
)
def test_an_event_without_a_start_is_unreadable_unless_the_caller_knows_it(when: object) -> None:
    raw = a_google_event(start=when)

    with pytest.raises(UnreadableEvent, match="start"):
        read_google(raw)
    assert read_google(raw, start=NOON).start == NOON


@pytest.mark.parametrize(
    "end", [None, {}, {"dateTime": "2026-11-23T11:00:00Z"}, {"dateTime": "2026-11-23T12:00:00Z"}]
)
def test_an_end_that_is_missing_or_not_after_the_start_is_an_hour_later(end: object) -> None:
    assert read_google(a_google_event(end=end)).end == NOON + timedelta(hours=1)


def test_an_all_day_event_runs_from_midnight_utc_of_its_dates() -> None:
    event = read_google(a_google_event(start={"date": "2026-11-23"}, end={"date": "2026-11-25"}))

    assert event.all_day
    assert event.start == datetime(2026, 11, 23, tzinfo=UTC)
    assert event.end == datetime(2026, 11, 25, tzinfo=UTC)


def test_an_all_day_event_without_an_end_lasts_its_day() -> None:
    event = read_google(a_google_event(start={"date": "2026-11-23"}, end=None))

    assert event.end - event.start == timedelta(days=1)


def test_a_guest_without_a_mark_is_the_user_by_address() -> None:
    guests = [{"email": "ANNA@acme.test", "responseStatus": "declined"}, {"email": "ben@acme.test"}]

    event = read_google(a_google_event(attendees=guests))

    assert event.own_response is Response.DECLINED
    assert [guest.is_self for guest in event.attendees] == [True, False]


def test_the_providers_mark_tells_the_user_better_than_the_address() -> None:
    guests = [
        {"email": "alias@acme.test", "self": True, "responseStatus": "accepted"},
        {"email": ANNA, "responseStatus": "declined"},
    ]

    assert read_google(a_google_event(attendees=guests)).own_response is Response.ACCEPTED


def test_a_user_who_is_no_guest_has_no_answer() -> None:
    event = read_google(a_google_event(attendees=[{"email": "ben@acme.test"}]))

    assert event.own_response is None


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (None, Response.ACCEPTED),
        ("needsAction", Response.ACCEPTED),
        ("declined", Response.DECLINED),
    ],
)
def test_an_organiser_has_accepted_unless_they_say_otherwise(
    said: str | None, answer: Response
) -> None:
    guests = [{"email": ANNA, "self": True, "responseStatus": said}] if said else None

    event = read_google(a_google_event(organizer={"email": ANNA, "self": True}, attendees=guests))

    assert event.is_organizer
    assert event.own_response is answer


def test_rooms_are_not_people() -> None:
    guests = [
        {"email": "room@acme.test", "resource": True},
        {"email": "acme_room4@resource.calendar.google.com"},
        {"email": "ben@acme.test"},
    ]

    event = read_google(a_google_event(attendees=guests))

    assert [guest.email for guest in event.attendees] == ["ben@acme.test"]


def test_an_event_of_a_shared_calendar_is_its_users_own() -> None:
    calendar = {"email": "x123@group.calendar.google.com", "self": True}

    event = read_google(a_google_event(organizer=calendar, attendees=None))

    assert event.is_organizer
    assert event.organizer is not None
    assert event.organizer.email == ANNA


def test_an_organiser_google_made_up_is_nobody() -> None:
    unknown = {"email": "unknownorganizer@calendar.google.com"}

    assert read_google(a_google_event(organizer=unknown)).organizer is None


@pytest.mark.parametrize(
    ("changes", "series_id"),
    [
        ({"recurringEventId": "abc"}, "abc"),
        ({"recurrence": ["RRULE:FREQ=DAILY"]}, "abc"),
        ({"recurrence": []}, None),
        ({"recurrence": "RRULE"}, None),
        ({"id": "abc_20261123T120000Z", "status": "cancelled"}, "abc"),
        ({"id": "abc_20261123", "status": "cancelled"}, "abc"),
        ({"id": "abc_20261123T120000Z"}, None),
    ],
)
def test_occurrences_of_a_series_share_its_id(changes: dict[str, Any], series_id: str | None) -> None:
    assert read_google(a_google_event(**changes)).series_id == series_id


def test_a_cancelled_occurrence_may_come_with_nothing_but_its_original_start() -> None:
    sparse = {
        "id": "abc_20261123T120000Z",
        "status": "cancelled",
        "recurringEventId": "abc",
        "originalStartTime": {"dateTime": "2026-11-23T12:00:00Z"},
    }

    event = read_google(sparse)

    assert event.status is EventStatus.CANCELLED
    assert event.start == NOON
    assert event.link is None


def test_a_cancelled_row_with_only_an_id_needs_a_start_from_the_caller() -> None:
    sparse = {"id": "abc", "status": "cancelled"}

    with pytest.raises(UnreadableEvent):
        read_google(sparse)
    assert read_google(sparse, start=NOON).status is EventStatus.CANCELLED


@pytest.mark.parametrize(
    ("visibility", "is_private"),
    [("private", True), ("confidential", True), ("public", False), (None, False), (7, False)],
)
def test_hidden_events_are_private(visibility: object, is_private: bool) -> None:
    assert read_google(a_google_event(visibility=visibility)).is_private is is_private
