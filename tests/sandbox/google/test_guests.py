"""Copies of an event on the calendars of its guests: who sees what, who may change what, who hears of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.google.driving import (
    ANNA,
    BEN,
    CARLA,
    MEET,
    Google,
    answers,
    guests,
    reason_of,
)

EVENTS = "calendars/primary/events"
OWN_ID = "0123456789abcdefghijklmnopqrstuv"


@pytest.fixture
def google() -> Google:
    return Google()


def test_guests_get_a_copy_with_the_same_id_and_uid(google: Google) -> None:
    event = google.insert(attendees=guests(BEN, CARLA), reminders={"useDefault": False})

    copy = google.event(event, by=BEN)

    assert (copy["id"], copy["iCalUID"]) == (event["id"], event["iCalUID"])
    assert copy["organizer"] == {"email": ANNA, "displayName": "Anna"}
    assert event["organizer"] == {"email": ANNA, "self": True}
    assert [each.get("self") for each in copy["attendees"]] == [True, None]
    assert copy["reminders"] == {"useDefault": True}


def test_the_organizer_is_marked_among_the_attendees(google: Google) -> None:
    event = google.insert(attendees=guests(ANNA, BEN))

    own = event["attendees"][0]

    assert (own["email"], own["organizer"], own["self"]) == (ANNA, True, True)


def test_the_organizer_s_changes_reach_the_guests(google: Google) -> None:
    event = google.insert(attendees=guests(BEN))
    token = google.everything(by=BEN).token

    google.patch(event, summary="Renamed")

    [copy] = google.everything(by=BEN, syncToken=token).items
    assert copy["summary"] == "Renamed"


def test_an_answer_reaches_the_organizer_and_the_other_guests(google: Google) -> None:
    event = google.insert(attendees=guests(BEN, CARLA))

    google.patch(
        event, by=BEN, attendees=[{"email": BEN, "responseStatus": "accepted"}, *guests(CARLA)]
    )

    assert answers(google.event(event)) == {BEN: "accepted", CARLA: "needsAction"}
    assert answers(google.event(event, by=BEN)) == {BEN: "accepted", CARLA: "needsAction"}


def test_with_attendees_omitted_only_the_own_answer_changes(google: Google) -> None:
    event = google.insert(attendees=guests(BEN, CARLA))

    google.patch(
        event,
        by=BEN,
        attendeesOmitted=True,
        attendees=[{"email": BEN, "responseStatus": "tentative"}],
    )

    assert answers(google.event(event)) == {BEN: "tentative", CARLA: "needsAction"}


def test_beyond_two_hundred_guests_answers_are_not_passed_on(google: Google) -> None:
    google.limit(responses_up_to=1)
    google.world.oauth.add_account(CARLA)
    event = google.insert(attendees=guests(BEN, CARLA))

    google.control("POST", f"/calendars/{BEN}/events/{event['id']}/respond", {"response": "accepted"})

    assert answers(google.event(event, by=BEN))[BEN] == "accepted"
    assert answers(google.event(event, by=CARLA))[BEN] == "needsAction"


@pytest.mark.parametrize("body", [{"summary": "Mine"}, {"attendees": []}, {"status": "tentative"}])
def test_a_guest_cannot_change_what_is_shared(google: Google, body: dict[str, Any]) -> None:
    event = google.insert(attendees=guests(BEN))

    answer = google.call("PATCH", f"{EVENTS}/{event['id']}", by=BEN, json=body)

    assert reason_of(answer) == (403, "forbiddenForNonOrganizer")


def test_a_guest_s_colour_and_properties_are_the_guest_s_own(google: Google) -> None:
    event = google.insert(attendees=guests(BEN))

    google.patch(event, by=BEN, colorId="5", extendedProperties={"private": {"bot": "1"}})

    mine, theirs = google.event(event, by=BEN), google.event(event)
    assert (mine["colorId"], mine["extendedProperties"]) == ("5", {"private": {"bot": "1"}})
    assert "colorId" not in theirs
    assert "extendedProperties" not in theirs


def test_guests_may_modify_where_the_organizer_lets_them(google: Google) -> None:
    event = google.insert(attendees=guests(BEN), guestsCanModify=True)

    google.patch(event, by=BEN, summary="Ben's")

    assert google.event(event)["summary"] == "Ben's"


def test_guests_may_invite_others_unless_forbidden(google: Google) -> None:
    event = google.insert(attendees=guests(BEN))
    closed = google.insert(attendees=guests(BEN), guestsCanInviteOthers=False)
    body: dict[str, Any] = {"attendees": guests(BEN, CARLA)}

    google.patch(event, by=BEN, **body)
    refused = google.call("PATCH", f"{EVENTS}/{closed['id']}", by=BEN, json=body)

    assert list(answers(google.event(event))) == [BEN, CARLA]
    assert reason_of(refused) == (403, "forbiddenForNonOrganizer")


def test_a_guest_who_is_no_longer_invited_loses_the_event(google: Google) -> None:
    event = google.insert(attendees=guests(BEN))
    token = google.everything(by=BEN).token

    google.patch(event, attendees=[])

    assert google.everything(by=BEN, syncToken=token).statuses == {event["id"]: "cancelled"}


def test_a_guest_who_deletes_the_event_declines_it(google: Google) -> None:
    event = google.insert(attendees=guests(BEN))

    google.delete(event, by=BEN)

    assert answers(google.event(event)) == {BEN: "declined"}
    assert google.event(event)["status"] == "confirmed"
    assert google.event(event, by=BEN)["status"] == "cancelled"


def test_the_organizer_s_deletion_cancels_for_all(google: Google) -> None:
    event = google.insert(attendees=guests(BEN))

    google.delete(event)

    assert google.event(event, by=BEN)["status"] == "cancelled"


def test_an_event_by_somebody_elsewhere_can_arrive_change_and_be_called_off(google: Google) -> None:
    event = google.control(
        "POST",
        f"/calendars/{ANNA}/events",
        {"summary": "Demo", "organizer": CARLA, "start": "2026-11-23T12:00:00Z", "link": MEET},
    )
    path = f"/calendars/{ANNA}/events/{event['id']}"

    moved = google.control("PATCH", path, {"start": "2026-11-23T13:00:00Z"})
    refused = google.call("PATCH", f"{EVENTS}/{event['id']}", json={"summary": "Mine"})
    google.control("DELETE", path, {"by_organizer": True})

    assert event["organizer"] == {"email": CARLA}
    assert event["hangoutLink"] == MEET
    assert moved["end"]["dateTime"] == "2026-11-23T13:30:00Z"
    assert reason_of(refused) == (403, "forbiddenForNonOrganizer")
    assert google.event(event)["status"] == "cancelled"


def test_somebody_may_hide_invitations_until_they_are_answered(google: Google) -> None:
    google.control("POST", "/accounts", {"email": CARLA, "hides_invitations": True})
    event = google.insert(attendees=guests(CARLA))

    hidden = google.everything(by=CARLA).ids
    shown = google.everything(by=CARLA, showHiddenInvitations="true").ids
    google.control("POST", f"/calendars/{CARLA}/events/{event['id']}/respond", {"response": "accepted"})

    assert (hidden, shown) == ([], [event["id"]])
    assert google.everything(by=CARLA).ids == [event["id"]]


def test_too_many_attendees_leave_only_oneself(google: Google) -> None:
    event = google.insert(attendees=guests(ANNA, BEN, CARLA))

    few, enough = google.event(event, maxAttendees=2), google.event(event, maxAttendees=3)

    assert few["attendeesOmitted"] is True
    assert list(answers(few)) == [ANNA]
    assert "attendeesOmitted" not in enough


def test_mail_goes_to_whom_the_caller_says(google: Google) -> None:
    google.insert(attendees=guests(BEN, CARLA))
    google.insert(attendees=guests(BEN, CARLA), query={"sendUpdates": "all"})
    google.insert(attendees=guests(BEN, CARLA), query={"sendUpdates": "externalOnly"})

    mails = google.control("GET", "/history?kind=mail")["records"]

    assert [mail["to"] for mail in mails] == [[BEN, CARLA], [CARLA]]


def test_what_is_written_for_somebody_is_organised_by_that_one(google: Google) -> None:
    google.control("PUT", f"/calendars/{ANNA}/entries/{BEN}", {"role": "writer"})

    event = google.insert(by=BEN, calendar=ANNA)

    assert event["organizer"]["email"] == ANNA
    assert event["creator"]["email"] == BEN


def test_a_guest_may_send_back_the_whole_event_with_an_answer(google: Google) -> None:
    event = google.insert(attendees=guests(BEN, CARLA), location="Room 1", description="Long")
    body = google.event(event, by=BEN) | {"guestsCanModify": False, "transparency": "opaque"}
    body["attendees"][0]["responseStatus"] = "accepted"

    answer = google.call("PUT", f"{EVENTS}/{event['id']}", by=BEN, json=body)

    assert answer.status_code == 200
    assert answers(google.event(event)) == {BEN: "accepted", CARLA: "needsAction"}
