"""Refusals at the gate: tokens, throttles, mailboxes that are not there, and the form of every error."""

from __future__ import annotations

from tests.sandbox.microsoft.driving import WEEK, Graph, Person, an_event


def test_an_error_carries_code_message_and_request_ids(anna: Person) -> None:
    made = anna.event()
    anna.delete(f"/me/events/{made['id']}")

    answer = anna.call("GET", f"/me/events/{made['id']}", headers={"client-request-id": "mine"})

    error = answer.json()["error"]
    assert (error["code"], error["message"]) == (
        "ErrorItemNotFound",
        "The specified object was not found in the store.",
    )
    assert error["innerError"] == {
        "date": "2026-11-23T09:00:00",
        "request-id": answer.headers["request-id"],
        "client-request-id": "mine",
    }
    assert answer.headers["client-request-id"] == "mine"
    assert answer.headers["date"] == "Mon, 23 Nov 2026 09:00:00 GMT"


def test_without_a_good_token_nobody_gets_in(graph: Graph, anna: Person) -> None:
    for token in (None, "made up"):
        answer = graph.call("GET", "/v1.0/me/calendars", token)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "InvalidAuthenticationToken"
        assert answer.headers["www-authenticate"].startswith("Bearer")

    graph.pass_(hours=2)
    assert anna.refused("GET", "/me/calendars") == (401, "InvalidAuthenticationToken")


def test_a_mailbox_that_is_inactive_or_elsewhere_is_said_to_be(graph: Graph, anna: Person) -> None:
    graph.control("PATCH", f"/accounts/{anna.email}", {"enabled": False})

    assert anna.refused("GET", "/me/calendars") == (404, "MailboxNotEnabledForRESTAPI")
    assert anna.get("/me")["mail"] == anna.email

    graph.control("PATCH", f"/accounts/{anna.email}", {"enabled": True})
    assert anna.get("/me/calendars")["value"]


def test_the_fifth_call_at_the_same_time_is_throttled_per_application_and_mailbox(
    graph: Graph, anna: Person, ben: Person
) -> None:
    graph.control("PATCH", "/limits", {"latency_ms": 50})
    other_app = graph.with_scopes(anna.email, "Calendars.Read", client_id="other")
    people = [anna] * 6 + [ben, other_app]

    answers = graph.calls(*(("GET", "/v1.0/me/calendar", person.token, {}) for person in people))

    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) == 2
    assert [answer.status_code for answer in answers[6:]] == [200, 200]
    assert refused[0].headers["retry-after"] == "1"
    assert refused[0].json()["error"]["code"] == "ApplicationThrottled"
    assert refused[0].json()["error"]["message"] == "Application is over its MailboxConcurrency limit."
    assert anna.get("/me/calendar")


def test_too_many_calls_in_ten_minutes_are_told_when_to_come_back(graph: Graph, anna: Person) -> None:
    graph.control("PATCH", "/limits", {"requests_per_window": 2})
    anna.get("/me/calendar")
    graph.pass_(minutes=4)
    anna.get("/me/calendar")

    refused = anna.call("GET", "/me/calendar")

    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "360"

    graph.pass_(minutes=6)
    assert anna.get("/me/calendar")


def test_throttling_can_be_switched_off(graph: Graph, anna: Person) -> None:
    graph.control("PATCH", "/limits", {"requests_per_window": 0, "throttling": False})

    assert anna.get("/me/calendar")


def test_paths_methods_and_bodies_that_are_not_there_are_refused(anna: Person) -> None:
    assert anna.refused("GET", "/me/messages") == (400, "BadRequest")
    assert anna.refused("DELETE", "/me/calendar") == (405, "ErrorInvalidRequest")
    assert anna.refused("POST", "/me/events", content=b"{") == (400, "RequestBodyRead")
    assert anna.refused("POST", "/me/events", content=b"[]") == (400, "RequestBodyRead")


def test_the_list_of_calendars_comes_in_pages(graph: Graph, anna: Person) -> None:
    for n in range(11):
        graph.control("POST", f"/accounts/{anna.email}/calendars", {"name": f"Calendar {n}"})

    first = anna.get("/me/calendars")
    second = anna.get(first["@odata.nextLink"])

    assert (len(first["value"]), len(second["value"])) == (10, 2)
    assert [row["isDefaultCalendar"] for row in first["value"]].count(True) == 1


def test_more_attendees_than_allowed_are_refused(graph: Graph, anna: Person) -> None:
    graph.control("PATCH", "/limits", {"most_attendees": 1})
    people = [{"emailAddress": {"address": f"{n}@else.example"}} for n in range(2)]

    assert anna.refused("POST", "/me/events", json=an_event(attendees=people))[0] == 400


def test_a_page_size_below_one_is_refused(anna: Person) -> None:
    headers = {"prefer": "odata.maxpagesize=0"}

    assert anna.refused("GET", "/me/calendarView", params=WEEK, headers=headers)[0] == 400
