"""Single events: what is written comes back as Graph shows it, and what makes no sense is refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.microsoft.driving import WEEK, Graph, Person, an_event, invited, times

ALL_DAY = {
    "isAllDay": True,
    **times("2026-11-24T00:00:00", "2026-11-25T00:00:00", "Tokyo Standard Time"),
}


def test_a_created_event_says_what_was_written(anna: Person) -> None:
    made = anna.event(
        subject="Plan",
        body={"contentType": "html", "content": "<p>Bring <b>ideas</b></p>"},
        location={"displayName": "Room 1"},
        sensitivity="private",
        showAs="oof",
        importance="high",
        categories=["Red category"],
        reminderMinutesBeforeStart=5,
    )

    found = anna.get(f"/me/events/{made['id']}")

    assert found["bodyPreview"] == "Bring ideas"
    assert found["locations"] == [found["location"]]
    assert found["location"]["displayName"] == "Room 1"
    assert (found["sensitivity"], found["showAs"], found["importance"]) == ("private", "oof", "high")
    assert (found["categories"], found["reminderMinutesBeforeStart"]) == (["Red category"], 5)
    assert (found["type"], found["isOrganizer"], found["seriesMasterId"]) == (
        "singleInstance",
        True,
        None,
    )
    assert found["responseStatus"] == {"response": "organizer", "time": "0001-01-01T00:00:00Z"}
    assert found["organizer"]["emailAddress"] == {"name": "Anna Ash", "address": "anna@corp.example"}


def test_times_are_shown_in_utc_with_seven_digits_and_the_zone_is_remembered_by_its_windows_name(
    anna: Person,
) -> None:
    made = anna.event(**times("2026-11-24T10:00:00", "2026-11-24T11:00:00", "Europe/Paris"))

    assert made["start"] == {"dateTime": "2026-11-24T09:00:00.0000000", "timeZone": "UTC"}
    assert made["originalStartTimeZone"] == "Romance Standard Time"


def test_a_header_chooses_the_zone_that_times_are_shown_in(anna: Person) -> None:
    made = anna.event()

    answer = anna.call(
        "GET", f"/me/events/{made['id']}", headers={"prefer": 'outlook.timezone="Tokyo Standard Time"'}
    )

    assert answer.json()["start"] == {
        "dateTime": "2026-11-24T19:00:00.0000000",
        "timeZone": "Tokyo Standard Time",
    }
    assert answer.headers["preference-applied"] == 'outlook.timezone="Tokyo Standard Time"'


def test_times_may_stand_in_their_own_zone_where_nobody_asks(graph: Graph, anna: Person) -> None:
    graph.switch(own_zone_by_default=True)
    made = anna.event(**times("2026-11-24T10:00:00", "2026-11-24T11:00:00", "Romance Standard Time"))

    asked = anna.get(f"/me/events/{made['id']}", prefer='outlook.timezone="UTC"')

    assert made["start"] == {
        "dateTime": "2026-11-24T10:00:00.0000000",
        "timeZone": "Romance Standard Time",
    }
    assert asked["start"]["timeZone"] == "UTC"


@pytest.mark.parametrize("zone", ["Europe/Vienna", "Customized Time Zone", "Greenwich Mean Time"])
def test_a_zone_that_is_not_listed_is_refused(anna: Person, zone: str) -> None:
    body = an_event(**times("2026-11-24T10:00:00", "2026-11-24T11:00:00", zone))

    assert anna.refused("POST", "/me/events", json=body) == (400, "TimeZoneNotSupportedException")
    assert anna.refused("GET", "/me/events", headers={"prefer": f'outlook.timezone="{zone}"'}) == (
        400,
        "TimeZoneNotSupportedException",
    )


def test_an_event_of_a_custom_zone_does_not_tell_its_rules(graph: Graph, anna: Person) -> None:
    wish = {"start": "2026-11-24T10:00:00", "time_zone": "Europe/Vienna", "custom_zone": True}
    made = graph.control("POST", f"/calendars/{anna.email}/events", wish)

    assert made["originalStartTimeZone"] == "tzone://Microsoft/Custom"
    assert made["start"] == {"dateTime": "2026-11-24T09:00:00.0000000", "timeZone": "UTC"}


def test_the_midnights_of_an_all_day_event_float(graph: Graph, anna: Person) -> None:
    made = anna.event(**ALL_DAY)
    there = anna.get(f"/me/events/{made['id']}", prefer='outlook.timezone="Pacific Standard Time"')

    assert made["start"] == {"dateTime": "2026-11-24T00:00:00.0000000", "timeZone": "UTC"}
    assert there["end"] == {
        "dateTime": "2026-11-25T00:00:00.0000000",
        "timeZone": "Pacific Standard Time",
    }

    graph.switch(all_day_floats=False)
    there = anna.get(f"/me/events/{made['id']}", prefer='outlook.timezone="Pacific Standard Time"')

    assert there["start"]["dateTime"] == "2026-11-23T16:00:00.0000000"


@pytest.mark.parametrize(
    "fields",
    [
        times("2026-11-24T11:00:00", "2026-11-24T10:00:00"),
        {**ALL_DAY, "end": {"dateTime": "2026-11-24T12:00:00", "timeZone": "Tokyo Standard Time"}},
        {"recurrence": {"pattern": {"type": "weekly", "interval": 1}, "range": {"type": "noEnd"}}},
        {"start": None},
    ],
)
def test_values_that_make_no_sense_together_are_refused(anna: Person, fields: dict[str, Any]) -> None:
    assert anna.refused("POST", "/me/events", json=an_event(**fields)) == (
        400,
        "ErrorPropertyValidationFailure",
    )


@pytest.mark.parametrize(
    "fields", [{"uid": "x"}, {"subject": 4}, {"showAs": "away"}, {"start": {"dateTime": "soon"}}]
)
def test_what_the_type_does_not_have_is_refused(anna: Person, fields: dict[str, Any]) -> None:
    assert anna.refused("POST", "/me/events", json=an_event(**fields)) == (400, "RequestBodyRead")


def test_a_whole_event_that_was_read_can_be_written_back(anna: Person) -> None:
    made = anna.event(attendees=invited("guest@else.example"))

    written = anna.patch(f"/me/events/{made['id']}", {**made, "subject": "New"})

    assert written["subject"] == "New"
    assert written["changeKey"] != made["changeKey"]
    assert written["@odata.etag"] == f'W/"{written["changeKey"]}"'


def test_a_patch_replaces_the_list_of_attendees_and_keeps_the_answers_of_those_who_stay(
    graph: Graph, anna: Person
) -> None:
    made = anna.event(attendees=invited("one@else.example", "two@else.example"))
    answer = {"email": "one@else.example", "response": "accepted"}
    graph.control("POST", f"/events/{made['id']}/respond", answer)

    changed = anna.patch(
        f"/me/events/{made['id']}", {"attendees": invited("one@else.example", "three@else.example")}
    )

    assert [
        (each["emailAddress"]["address"], each["status"]["response"]) for each in changed["attendees"]
    ] == [("one@else.example", "accepted"), ("three@else.example", "none")]


def test_an_online_meeting_has_a_link_that_the_body_must_keep(anna: Person) -> None:
    made = anna.event(isOnlineMeeting=True, onlineMeetingProvider="teamsForBusiness")
    link = made["onlineMeeting"]["joinUrl"]
    still = anna.patch(f"/me/events/{made['id']}", {"isOnlineMeeting": False})
    kept = anna.patch(
        f"/me/events/{made['id']}", {"body": {"contentType": "html", "content": f"Agenda {link}"}}
    )
    lost = anna.patch(
        f"/me/events/{made['id']}", {"body": {"contentType": "html", "content": "Agenda"}}
    )

    assert link in made["body"]["content"]
    assert still["isOnlineMeeting"]
    assert kept["onlineMeeting"] == {"joinUrl": link}
    assert (lost["isOnlineMeeting"], lost["onlineMeeting"]) == (False, None)


def test_two_online_meetings_have_two_links(anna: Person) -> None:
    links = {anna.event(isOnlineMeeting=True)["onlineMeeting"]["joinUrl"] for _ in range(2)}

    assert len(links) == 2


def test_a_personal_account_has_no_teams(graph: Graph) -> None:
    pat = graph.person("pat@outlook.com")

    made = pat.event(isOnlineMeeting=True)

    assert (made["isOnlineMeeting"], made["onlineMeeting"]) == (False, None)
    assert pat.get("/me/calendar")["allowedOnlineMeetingProviders"] == []


def test_a_repeated_create_with_one_transaction_id_makes_one_event(graph: Graph, anna: Person) -> None:
    first, second = (anna.event(transactionId="once") for _ in range(2))

    assert first["id"] == second["id"]
    assert first["transactionId"] == "once"
    assert "transactionId" not in anna.event()
    assert anna.refused(
        "POST", "/me/events", json=an_event(transactionId="once", subject="Another")
    ) == (
        409,
        "ErrorDuplicateTransactionId",
    )

    graph.switch(repeated_transaction="refused")
    assert anna.refused("POST", "/me/events", json=an_event(transactionId="once")) == (
        409,
        "ErrorDuplicateTransactionId",
    )


def test_a_transaction_id_is_forgotten_in_the_end(graph: Graph, anna: Person) -> None:
    first = anna.event(transactionId="once")
    graph.pass_(minutes=50)
    graph.control("PATCH", "/limits", {"transaction_memory_s": 60})

    assert anna.event(transactionId="once")["id"] != first["id"]


def test_a_deleted_event_is_not_found_any_more(anna: Person) -> None:
    made = anna.event()
    anna.delete(f"/me/events/{made['id']}")

    for method in ("GET", "DELETE"):
        assert anna.refused(method, f"/me/events/{made['id']}") == (404, "ErrorItemNotFound")
    assert anna.refused("GET", "/me/events/nonsense") == (400, "ErrorInvalidIdMalformed")


def test_ids_are_case_sensitive(anna: Person) -> None:
    made = anna.event()

    assert anna.refused("GET", f"/me/events/{made['id'].swapcase()}")[0] in (400, 404)


def test_a_move_between_calendars_changes_the_default_id_and_not_the_immutable_one(
    graph: Graph, anna: Person
) -> None:
    immutable = 'IdType="ImmutableId"'
    other = graph.control("POST", f"/accounts/{anna.email}/calendars", {"name": "Other"})["id"]
    made = anna.event()
    lasting = anna.get(f"/me/events/{made['id']}", prefer=immutable)["id"]

    moved = graph.control("POST", f"/events/{made['id']}/move", {"calendar_id": other})

    assert moved["id"] != made["id"]
    assert anna.refused("GET", f"/me/events/{made['id']}") == (404, "ErrorItemNotFound")
    assert anna.get(f"/me/events/{lasting}")["id"] == moved["id"]
    assert anna.get(f"/me/events/{moved['id']}", prefer=immutable)["id"] == lasting
    assert anna.get(f"/me/calendars/{other}/events/{moved['id']}")["subject"] == "Plan"


def test_an_extended_property_is_found_by_filter_and_shown_only_when_expanded(anna: Person) -> None:
    name = "String {66f5a359-4659-4830-9070-00047ec6ac6e} Name Mark"
    made = anna.event(singleValueExtendedProperties=[{"id": name, "value": "mine's"}])
    anna.event(subject="Other")

    found = anna.get(
        "/me/events",
        _filter=f"singleValueExtendedProperties/Any(ep: ep/id eq '{name}' and ep/value eq 'mine''s')",
        _expand=f"singleValueExtendedProperties($filter=id eq '{name}')",
    )["value"]

    assert [row["id"] for row in found] == [made["id"]]
    assert found[0]["singleValueExtendedProperties"] == [{"id": name, "value": "mine's"}]
    assert "singleValueExtendedProperties" not in made


def test_paths_are_read_in_any_case_and_spelling(anna: Person) -> None:
    made = anna.event()

    assert anna.get(f"/Me/Events/{made['id']}")["id"] == made["id"]
    assert anna.get(f"/me/events('{made['id']}')")["id"] == made["id"]
    assert anna.get(f"/users/{anna.email}/events/{made['id']}")["id"] == made["id"]
    assert (
        len(anna.get("/me/calendarview", **{name.lower(): at for name, at in WEEK.items()})["value"])
        == 1
    )


def test_a_patch_of_raw_payload_makes_hostile_events(graph: Graph, anna: Person) -> None:
    wish = {"start": "2026-11-24T10:00:00Z", "raw": {"subject": 42, "organizer": None}}
    made = graph.control("POST", f"/calendars/{anna.email}/events", wish)

    found = anna.get(f"/me/events/{made['id']}")

    assert found["subject"] == 42
    assert "organizer" not in found
