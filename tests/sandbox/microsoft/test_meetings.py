"""Meetings: every attendee with a mailbox has a copy, which hears of changes, and answers travel back."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.microsoft.driving import DAILY, Graph, Person, invited, times

LATER = times("2026-11-25T10:00:00", "2026-11-25T10:30:00")


def answer_of(person: Person, event_id: str, guest: str) -> str:
    rows = person.get(f"/me/events/{event_id}")["attendees"]
    said: str = next(
        row["status"]["response"] for row in rows if row["emailAddress"]["address"] == guest
    )
    return said


def test_an_attendee_gets_a_copy_of_its_own_with_the_same_uid(anna: Person, ben: Person) -> None:
    made = anna.event(attendees=invited(ben.email, "cleo@else.example"))

    copy = ben.get(f"/me/events/{ben.event_id('Plan')}")

    assert copy["iCalUId"] == made["iCalUId"]
    assert copy["id"] != made["id"]
    assert (copy["isOrganizer"], copy["showAs"]) == (False, "tentative")
    assert copy["responseStatus"]["response"] == "notResponded"
    assert [row["emailAddress"]["address"] for row in copy["attendees"]] == [
        ben.email,
        "cleo@else.example",
    ]
    assert copy["organizer"]["emailAddress"]["address"] == anna.email
    assert ben.refused("GET", f"/me/events/{made['id']}")[0] == 404


def test_who_hides_the_attendees_shows_each_only_the_own_entry(anna: Person, ben: Person) -> None:
    anna.event(attendees=invited(ben.email, "cleo@else.example"), hideAttendees=True)

    copy = ben.get(f"/me/events/{ben.event_id('Plan')}")

    assert [row["emailAddress"]["address"] for row in copy["attendees"]] == [ben.email]


@pytest.mark.parametrize(
    ("action", "answer", "shown_as"),
    [("accept", "accepted", "busy"), ("tentativelyAccept", "tentativelyAccepted", "tentative")],
)
def test_an_answer_reaches_the_organiser(
    anna: Person, ben: Person, action: str, answer: str, shown_as: str
) -> None:
    made = anna.event(attendees=invited(ben.email))
    copy_id = ben.event_id("Plan")

    status = ben.call("POST", f"/me/events/{copy_id}/{action}", json={"Comment": "ok"}).status_code

    copy = ben.get(f"/me/events/{copy_id}")
    assert status == 202
    assert answer_of(anna, made["id"], ben.email) == answer
    assert copy["responseStatus"] == {"response": answer, "time": "2026-11-23T09:00:00.0000000Z"}
    assert copy["showAs"] == shown_as
    assert copy["attendees"][0]["status"]["response"] == "none"


def test_the_own_entry_of_a_copy_may_say_the_own_answer(
    graph: Graph, anna: Person, ben: Person
) -> None:
    graph.switch(own_answer_in_attendees=True)
    anna.event(attendees=invited(ben.email))
    copy_id = ben.event_id("Plan")

    ben.post(f"/me/events/{copy_id}/accept")

    assert answer_of(ben, copy_id, ben.email) == "accepted"


def test_an_answer_can_be_kept_from_the_organiser(anna: Person, ben: Person) -> None:
    made = anna.event(attendees=invited(ben.email))

    ben.post(f"/me/events/{ben.event_id('Plan')}/accept", {"sendResponse": False})

    assert answer_of(anna, made["id"], ben.email) == "none"


def test_a_declined_event_leaves_the_calendar_unless_a_switch_keeps_it(
    graph: Graph, anna: Person, ben: Person
) -> None:
    made = anna.event(attendees=invited(ben.email))
    ben.post(f"/me/events/{ben.event_id('Plan')}/decline")

    assert answer_of(anna, made["id"], ben.email) == "declined"
    assert ben.view() == []

    graph.switch(declined_events_stay=True)
    anna.event(subject="Again", attendees=invited(ben.email))
    ben.post(f"/me/events/{ben.event_id('Again')}/decline")

    assert [row["responseStatus"]["response"] for row in ben.view()] == ["declined"]


def test_the_organiser_has_nothing_to_answer_and_an_attendee_nothing_to_cancel(
    anna: Person, ben: Person
) -> None:
    made = anna.event(attendees=invited(ben.email))
    copy_id = ben.event_id("Plan")

    assert anna.refused("POST", f"/me/events/{made['id']}/accept") == (400, "ErrorInvalidRequest")
    assert ben.refused("POST", f"/me/events/{copy_id}/cancel") == (400, "ErrorInvalidRequest")


def test_a_change_by_the_organiser_reaches_the_copies_and_one_by_an_attendee_stays(
    anna: Person, ben: Person
) -> None:
    made = anna.event(attendees=invited(ben.email))
    copy_id = ben.event_id("Plan")

    ben.patch(f"/me/events/{copy_id}", {"showAs": "oof", "subject": "Mine"})
    assert anna.get(f"/me/events/{made['id']}")["subject"] == "Plan"

    anna.patch(f"/me/events/{made['id']}", {"subject": "Plan B"})
    copy = ben.get(f"/me/events/{copy_id}")
    assert (copy["subject"], copy["showAs"]) == ("Plan B", "oof")


def test_a_change_of_the_guest_list_alone_reaches_only_those_it_concerns(
    graph: Graph, anna: Person, ben: Person
) -> None:
    cleo = graph.person("cleo@corp.example")
    made = anna.event(attendees=invited(ben.email))
    copy_id = ben.event_id("Plan")
    before = ben.get(f"/me/events/{copy_id}")["changeKey"]

    anna.patch(f"/me/events/{made['id']}", {"attendees": invited(ben.email, cleo.email)})

    assert ben.get(f"/me/events/{copy_id}")["changeKey"] == before
    assert len(cleo.view()) == 1


def test_a_new_time_has_to_be_answered_again(anna: Person, ben: Person) -> None:
    made = anna.event(attendees=invited(ben.email))
    copy_id = ben.event_id("Plan")
    ben.post(f"/me/events/{copy_id}/accept")

    anna.patch(f"/me/events/{made['id']}", LATER)

    copy = ben.get(f"/me/events/{copy_id}")
    assert copy["start"]["dateTime"] == "2026-11-25T10:00:00.0000000"
    assert copy["responseStatus"]["response"] == "notResponded"
    assert answer_of(anna, made["id"], ben.email) == "none"


@pytest.mark.parametrize("way", ["cancel", "delete", "uninvite"])
def test_a_meeting_called_off_stays_in_the_copies_as_cancelled(
    anna: Person, ben: Person, way: str
) -> None:
    made = anna.event(attendees=invited(ben.email))
    match way:
        case "cancel":
            anna.post(f"/me/events/{made['id']}/cancel", {"comment": "sorry"})
        case "delete":
            anna.delete(f"/me/events/{made['id']}")
        case _:
            anna.patch(f"/me/events/{made['id']}", {"attendees": []})

    copy = ben.view()[0]

    assert (copy["isCancelled"], copy["subject"], copy["showAs"]) == (True, "Canceled: Plan", "free")
    assert len(anna.view()) == (1 if way == "uninvite" else 0)


def test_cancelled_copies_may_vanish(graph: Graph, anna: Person, ben: Person) -> None:
    graph.switch(cancelled_copies_stay=False)
    made = anna.event(attendees=invited(ben.email))

    anna.delete(f"/me/events/{made['id']}")

    assert ben.view() == []


def test_an_attendee_who_deletes_the_copy_leaves_the_meeting_alone(anna: Person, ben: Person) -> None:
    anna.event(attendees=invited(ben.email))

    ben.delete(f"/me/events/{ben.event_id('Plan')}")

    assert [row["isCancelled"] for row in anna.view()] == [False]


def test_one_occurrence_is_called_off_answered_and_moved_for_everybody(
    anna: Person, ben: Person
) -> None:
    made = anna.event(recurrence=DAILY, attendees=invited(ben.email))
    first, second, third = (row["id"] for row in anna.view()[:3])
    own = [row["id"] for row in ben.view()]

    anna.post(f"/me/events/{first}/cancel")
    ben.post(f"/me/events/{own[1]}/accept")
    anna.patch(f"/me/events/{third}", times("2026-11-25T15:00:00", "2026-11-25T15:30:00"))

    rows = {row["id"]: row for row in ben.view()}
    assert rows[own[0]]["isCancelled"]
    assert rows[own[1]]["responseStatus"]["response"] == "accepted"
    assert rows[own[2]]["start"]["dateTime"] == "2026-11-25T15:00:00.0000000"
    assert first not in {row["id"] for row in anna.view()}
    assert answer_of(anna, second, ben.email) == "accepted"
    assert answer_of(anna, made["id"], ben.email) == "none"


def test_who_is_invited_late_gets_the_series_with_what_was_changed_in_it(
    anna: Person, ben: Person
) -> None:
    made = anna.event(recurrence=DAILY, attendees=invited("cleo@else.example"))
    first, second = (row["id"] for row in anna.view()[:2])
    anna.delete(f"/me/events/{first}")
    anna.patch(f"/me/events/{second}", {"subject": "Other", "attendees": invited(ben.email)})

    anna.patch(f"/me/events/{made['id']}", {"attendees": invited("cleo@else.example", ben.email)})

    rows = ben.view()
    assert [row["subject"] for row in rows] == ["Other", *["Plan"] * 5]
    assert [each["emailAddress"]["address"] for each in rows[0]["attendees"]] == [ben.email]


def test_an_occurrence_called_off_may_vanish_from_the_copies(
    graph: Graph, anna: Person, ben: Person
) -> None:
    graph.switch(cancelled_copies_stay=False)
    anna.event(recurrence=DAILY, attendees=invited(ben.email))

    anna.delete(f"/me/events/{anna.view()[0]['id']}")

    assert len(ben.view()) == len(anna.view()) == 6


def test_an_event_of_an_organiser_elsewhere_is_changed_and_called_off_by_control(
    graph: Graph, anna: Person, ben: Person
) -> None:
    wish: dict[str, Any] = {
        "start": "2026-11-24T10:00:00Z",
        "organizer": "boss@else.example",
        "attendees": [anna.email, ben.email],
    }
    made = graph.control("POST", f"/calendars/{anna.email}/events", wish)
    graph.control("PATCH", f"/events/{made['id']}", {"title": "Changed"})

    assert made["isOrganizer"] is False
    assert [row["subject"] for row in (*anna.view(), *ben.view())] == ["Changed", "Changed"]

    graph.control("POST", f"/events/{made['id']}/cancel", {})
    assert [row["isCancelled"] for row in (*anna.view(), *ben.view())] == [True, True]


def test_control_lets_an_organiser_here_invite_from_the_own_mailbox(
    graph: Graph, anna: Person, ben: Person
) -> None:
    wish = {"start": "2026-11-24T10:00:00Z", "organizer": ben.email, "own_response": "accepted"}

    made = graph.control("POST", f"/calendars/{anna.email}/events", wish)

    assert made["_emulator"]["account"] == anna.email
    assert made["responseStatus"]["response"] == "accepted"
    assert ben.view()[0]["isOrganizer"]
    assert answer_of(ben, ben.view()[0]["id"], anna.email) == "accepted"
