"""Single events: ids, versions, copies of guests, kinds, conferences, and what a body may say."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.google.driving import (
    ANNA,
    BEN,
    CARLA,
    Google,
    a_series,
    an_event,
    answers,
    guests,
    reason_of,
)

EVENTS = "calendars/primary/events"
OWN_ID = "0123456789abcdefghijklmnopqrstuv"


@pytest.fixture
def google() -> Google:
    return Google()


def test_an_own_id_is_kept_and_taken_once(google: Google) -> None:
    made = google.insert(id=OWN_ID)

    again = google.call("POST", EVENTS, json=an_event(id=OWN_ID))

    assert (made["id"], made["iCalUID"]) == (OWN_ID, f"{OWN_ID}@google.com")
    assert reason_of(again) == (409, "duplicate")


def test_a_deleted_event_keeps_its_id_and_can_be_restored(google: Google) -> None:
    google.insert(id=OWN_ID)
    google.delete(OWN_ID)

    again = google.call("POST", EVENTS, json=an_event(id=OWN_ID))
    restored = google.patch(OWN_ID, status="confirmed")

    assert reason_of(again) == (409, "duplicate")
    assert (restored["status"], restored["summary"]) == ("confirmed", "Standup")


@pytest.mark.parametrize("event_id", ["abc", "ABCDEF", "with-dash", "wxyz1", "a" * 1025])
def test_an_own_id_has_its_alphabet_and_length(google: Google, event_id: str) -> None:
    answer = google.call("POST", EVENTS, json=an_event(id=event_id))

    assert reason_of(answer) == (400, "invalid")


def test_deleting_twice_is_gone_and_a_stranger_is_not_found(google: Google) -> None:
    event = google.insert()

    codes = [google.delete(event).status_code for _ in range(2)]

    assert codes == [204, 410]
    assert reason_of(google.delete(event)) == (410, "deleted")
    assert reason_of(google.delete("nobody")) == (404, "notFound")


def test_a_deleted_event_can_still_be_read(google: Google) -> None:
    event = google.insert()
    google.delete(event)

    read = google.event(event)

    assert (read["status"], read["summary"]) == ("cancelled", "Standup")


def test_a_stale_etag_changes_nothing(google: Google) -> None:
    event = google.insert()
    google.patch(event, summary="Newer")
    path = f"{EVENTS}/{event['id']}"
    stale = {"if-match": event["etag"]}

    refused = [
        google.call("PATCH", path, json={"summary": "Mine"}, headers=stale),
        google.call("PUT", path, json=an_event(), headers=stale),
        google.call("DELETE", path, headers=stale),
    ]

    assert [reason_of(each) for each in refused] == [(412, "conditionNotMet")] * 3
    assert google.event(event)["summary"] == "Newer"


def test_a_fitting_etag_changes_it(google: Google) -> None:
    event = google.insert()

    answer = google.call(
        "PATCH",
        f"{EVENTS}/{event['id']}",
        json={"summary": "Mine"},
        headers={"if-match": event["etag"]},
    )

    assert answer.json()["summary"] == "Mine"
    assert answer.json()["etag"] != event["etag"]


def test_what_has_not_changed_is_not_sent_again(google: Google) -> None:
    event = google.insert()

    answer = google.call("GET", f"{EVENTS}/{event['id']}", headers={"if-none-match": event["etag"]})

    assert (answer.status_code, answer.content) == (304, b"")


def test_a_patch_keeps_what_it_does_not_name_and_null_clears(google: Google) -> None:
    event = google.insert(location="Room 1", extendedProperties={"private": {"a": "1", "b": "2"}})

    patched = google.patch(
        event, summary="New", location=None, extendedProperties={"private": {"a": None, "c": "3"}}
    )

    assert patched["summary"] == "New"
    assert "location" not in patched
    assert patched["extendedProperties"] == {"private": {"b": "2", "c": "3"}}


def test_a_patch_replaces_arrays_whole(google: Google) -> None:
    event = google.insert(attendees=guests(BEN, CARLA))

    patched = google.patch(event, attendees=guests(CARLA))

    assert list(answers(patched)) == [CARLA]


def test_an_update_clears_what_it_does_not_name(google: Google) -> None:
    event = google.insert(location="Room 1", description="Long")

    updated = google.call("PUT", f"{EVENTS}/{event['id']}", json=an_event(summary="Only this")).json()

    assert updated["summary"] == "Only this"
    assert "location" not in updated
    assert "description" not in updated


def test_rescheduling_raises_the_sequence_and_a_stale_one_is_refused(google: Google) -> None:
    event = google.insert()
    renamed = google.patch(event, summary="Renamed")

    moved = google.patch(event, end={"dateTime": "2026-11-23T12:00:00Z"})
    stale = google.call("PATCH", f"{EVENTS}/{event['id']}", json={"sequence": 0, "summary": "x"})

    assert [each["sequence"] for each in (event, renamed, moved)] == [0, 0, 1]
    assert reason_of(stale) == (400, "invalid")


def test_reminders_do_not_count_as_an_update(google: Google) -> None:
    event = google.insert()
    google.pass_(minutes=1)

    reminded = google.patch(
        event, reminders={"useDefault": False, "overrides": [{"method": "popup", "minutes": 5}]}
    )

    assert reminded["updated"] == event["updated"]
    assert reminded["etag"] != event["etag"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"end": None}, "required"),
        ({"start": {"date": "2026-11-23"}}, "invalid"),
        ({"start": {"date": "2026-11-23", "dateTime": "2026-11-23T11:00:00Z"}}, "invalid"),
        ({"start": {"dateTime": "2026-11-23T11:00:00"}}, "required"),
        ({"start": {"dateTime": "2026-11-23T11:00:00", "timeZone": "Mars/Olympus"}}, "invalid"),
        ({"end": {"dateTime": "2026-11-23T10:00:00Z"}}, "timeRangeEmpty"),
        ({"status": "maybe"}, "invalid"),
        ({"visibility": "secret"}, "invalid"),
        ({"attendees": [{"displayName": "Nobody"}]}, "required"),
        ({"attendees": [{"email": "nobody"}]}, "invalid"),
        ({"attendees": [{"email": "a@b.c", "responseStatus": "perhaps"}]}, "invalid"),
        (
            {"reminders": {"useDefault": False, "overrides": [{"method": "fax", "minutes": 1}]}},
            "invalid",
        ),
        ({"source": {"url": "ftp://x"}}, "invalid"),
        ({"summary": 7}, "parseError"),
    ],
)
def test_a_body_that_makes_no_event_is_refused(
    google: Google, body: dict[str, Any], reason: str
) -> None:
    answer = google.call("POST", EVENTS, json=an_event(**body))

    assert reason_of(answer) == (400, reason)


def test_a_time_may_be_given_in_its_zone_and_is_shown_in_the_calendar_s(google: Google) -> None:
    start = {"dateTime": "2026-11-23T12:00:00", "timeZone": "Europe/Berlin"}

    event = google.insert(start=start)

    assert event["start"] == {"dateTime": "2026-11-23T11:00:00Z", "timeZone": "Europe/Berlin"}
    assert google.event(event, timeZone="Asia/Tokyo")["start"] == {
        "dateTime": "2026-11-23T20:00:00+09:00",
        "timeZone": "Europe/Berlin",
    }


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"eventType": "outOfOffice", "outOfOfficeProperties": {}}, 200),
        ({"eventType": "outOfOffice", "transparency": "transparent"}, 400),
        (
            {"eventType": "focusTime", "start": {"date": "2026-11-23"}, "end": {"date": "2026-11-24"}},
            400,
        ),
        (
            {
                "eventType": "workingLocation",
                "visibility": "public",
                "transparency": "transparent",
                "workingLocationProperties": {"type": "homeOffice", "homeOffice": {}},
            },
            200,
        ),
        ({"eventType": "workingLocation", "workingLocationProperties": {"type": "homeOffice"}}, 400),
        ({"eventType": "fromGmail"}, 400),
    ],
)
def test_status_events_have_rules_of_their_own(
    google: Google, body: dict[str, Any], status: int
) -> None:
    assert google.call("POST", EVENTS, json=an_event(**body)).status_code == status


def test_status_events_live_on_primary_calendars(google: Google) -> None:
    calendar = google.control("POST", "/calendars", {"account": ANNA, "summary": "Team"})["id"]
    body = an_event(eventType="outOfOffice")

    answer = google.call("POST", f"calendars/{calendar}/events", json=body)

    assert reason_of(answer) == (400, "eventTypeRestriction")


def test_the_type_of_an_event_cannot_be_changed(google: Google) -> None:
    event = google.insert()

    answer = google.call("PATCH", f"{EVENTS}/{event['id']}", json={"eventType": "focusTime"})

    assert reason_of(answer) == (400, "eventTypeRestriction")


def test_lists_can_be_kept_to_some_types(google: Google) -> None:
    plain, away = google.insert(), google.insert(eventType="outOfOffice")

    assert google.everything(eventTypes="outOfOffice").ids == [away["id"]]
    assert google.everything(eventTypes=["default", "outOfOffice"]).ids == [plain["id"], away["id"]]


def test_properties_that_are_too_long_are_dropped_or_refused(google: Google) -> None:
    body = an_event(extendedProperties={"private": {"k" * 45: "v", "long": "x" * 2000}})

    dropped = google.call("POST", EVENTS, json=body).json()
    google.switch(oversized_properties="refused")
    refused = google.call("POST", EVENTS, json=body)

    assert dropped["extendedProperties"]["private"] == {"long": "x" * 1024}
    assert reason_of(refused) == (400, "invalid")


def test_events_are_found_by_words_uid_and_properties(google: Google) -> None:
    google.insert()
    wanted = google.insert(
        summary="Budget review",
        location="Room 5",
        extendedProperties={"private": {"bot": "7"}, "shared": {"team": "x"}},
    )

    for query in (
        {"q": "room budget"},
        {"iCalUID": wanted["iCalUID"]},
        {"privateExtendedProperty": "bot=7"},
        {"sharedExtendedProperty": "team=x", "privateExtendedProperty": "bot=7"},
    ):
        assert google.everything(**query).ids == [wanted["id"]]
    assert google.everything(q="budget garden").ids == []


def test_an_import_is_a_private_copy_that_the_same_uid_changes(google: Google) -> None:
    body = an_event(iCalUID="outside@example.org", organizer={"email": CARLA}, attendees=guests(BEN))

    made = google.call("POST", f"{EVENTS}/import", json=body).json()
    again = google.call("POST", f"{EVENTS}/import", json=body | {"summary": "Again"}).json()

    assert made["privateCopy"] is True
    assert made["organizer"]["email"] == CARLA
    assert (again["id"], again["summary"]) == (made["id"], "Again")
    assert google.everything(by=BEN).items == []
    assert reason_of(google.call("POST", f"{EVENTS}/import", json=an_event())) == (400, "required")


def test_a_moved_event_leaves_a_bare_row_behind(google: Google) -> None:
    team = google.control("POST", "/calendars", {"account": ANNA, "summary": "Team"})["id"]
    event = google.insert()
    path = f"{EVENTS}/{event['id']}/move"

    moved = google.call("POST", path, params={"destination": team}).json()

    assert moved["id"] == event["id"]
    assert moved["organizer"] == {"email": team, "displayName": "Team", "self": True}
    [left] = google.everything(showDeleted="true").items
    assert left.keys() == {"kind", "etag", "id", "status"}
    assert google.everything(calendar=team).ids == [event["id"]]


def test_a_moved_series_takes_its_exceptions_along(google: Google) -> None:
    team = google.control("POST", "/calendars", {"account": ANNA, "summary": "Team"})["id"]
    series = google.insert(**a_series())
    google.patch(f"{series['id']}_20261124T080000Z", summary="Other")

    google.call("POST", f"{EVENTS}/{series['id']}/move", params={"destination": team})

    summaries = [
        item["summary"] for item in google.everything(calendar=team, singleEvents="true").items
    ]
    assert sorted(summaries) == ["Daily"] * 4 + ["Other"]
    assert google.everything(singleEvents="true").items == []


def test_only_default_events_can_be_moved(google: Google) -> None:
    team = google.control("POST", "/calendars", {"account": ANNA, "summary": "Team"})["id"]
    event = google.insert(eventType="outOfOffice")

    answer = google.call("POST", f"{EVENTS}/{event['id']}/move", params={"destination": team})

    assert reason_of(answer) == (400, "eventTypeRestriction")


def test_a_new_event_may_be_missing_for_a_moment(google: Google) -> None:
    google.limit(get_lag_ms=1000)
    event = google.insert()

    early = google.call("GET", f"{EVENTS}/{event['id']}")
    google.pass_(seconds=1)

    assert reason_of(early) == (404, "notFound")
    assert google.event(event)["id"] == event["id"]


def test_the_source_of_an_event_is_its_creator_s_alone(google: Google) -> None:
    event = google.insert(source={"url": "https://x.example/1"}, attendees=guests(BEN))

    assert event["source"] == {"url": "https://x.example/1"}
    assert "source" not in google.event(event, by=BEN)


def test_the_same_written_back_changes_nothing(google: Google) -> None:
    event = google.insert(attendees=guests(BEN), location="Room 1", colorId="4")
    token = google.everything().token

    google.call("PUT", f"{EVENTS}/{event['id']}", json=google.event(event))
    google.patch(event, summary="Standup")

    assert google.everything(syncToken=token).items == []
