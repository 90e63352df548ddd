"""Free and busy times."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.microsoft.driving import Graph, Person, times


def asked(*people: str, **fields: Any) -> dict[str, Any]:
    return {
        "schedules": list(people),
        "startTime": {"dateTime": "2026-11-24T09:00:00", "timeZone": "UTC"},
        "endTime": {"dateTime": "2026-11-24T13:00:00", "timeZone": "UTC"},
        "availabilityViewInterval": 60,
        **fields,
    }


def busy(person: Person, hour: int, shown_as: str) -> None:
    person.event(**times(f"2026-11-24T{hour:02}:00:00", f"2026-11-24T{hour:02}:30:00"), showAs=shown_as)


def test_each_slot_says_the_least_free_thing_in_it(anna: Person, ben: Person) -> None:
    for hour, shown_as in (
        (9, "free"),
        (9, "workingElsewhere"),
        (10, "tentative"),
        (11, "busy"),
        (11, "free"),
    ):
        busy(ben, hour, shown_as)
    busy(ben, 12, "oof")

    found = anna.post("/me/calendar/getSchedule", asked(ben.email))["value"][0]

    assert found["availabilityView"] == "0123"
    assert len(found["scheduleItems"]) == 6
    assert "subject" not in found["scheduleItems"][0]


def test_the_own_schedule_says_what_it_is_about(anna: Person) -> None:
    anna.event(sensitivity="private", location={"displayName": "Room 1"})

    item = anna.post("/me/calendar/getSchedule", asked(anna.email))["value"][0]["scheduleItems"][0]

    assert (item["subject"], item["location"], item["isPrivate"], item["status"]) == (
        "Plan",
        "Room 1",
        True,
        "busy",
    )


def test_somebody_unknown_is_an_error_inside_the_answer(anna: Person, ben: Person) -> None:
    found = anna.post("/me/calendar/getSchedule", asked("x@else.example", ben.email))["value"]

    assert found[0]["error"]["responseCode"] == "ErrorMailRecipientNotFound"
    assert found[0]["availabilityView"] == ""
    assert found[1]["availabilityView"] == "0000"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        (
            {"endTime": {"dateTime": "2027-01-26T09:00:00", "timeZone": "UTC"}},
            "ErrorTimeIntervalTooBig",
        ),
        ({"schedules": ["a@b.example"] * 101}, "ErrorMailboxDataArrayTooBig"),
        ({"availabilityViewInterval": 4}, "ErrorPropertyValidationFailure"),
        (
            {"endTime": {"dateTime": "2026-11-24T10:00:00", "timeZone": "Mars"}},
            "TimeZoneNotSupportedException",
        ),
        ({"endTime": None}, "ErrorPropertyValidationFailure"),
    ],
)
def test_too_much_at_once_is_refused(anna: Person, fields: dict[str, Any], code: str) -> None:
    body = asked(anna.email, **fields)

    assert anna.refused("POST", "/me/calendar/getSchedule", json=body) == (400, code)


def test_a_window_with_too_many_entries_is_an_error_of_its_schedule(graph: Graph, anna: Person) -> None:
    graph.control("PATCH", "/limits", {"schedule_items": 0})
    anna.event()

    found = anna.post("/me/calendar/getSchedule", asked(anna.email))["value"][0]

    assert found["error"]["responseCode"] == "5006"


def test_a_personal_account_has_no_schedules(graph: Graph) -> None:
    pat = graph.person("pat@outlook.com")

    assert pat.refused("POST", "/me/calendar/getSchedule", json=asked(pat.email))[0] == 403
