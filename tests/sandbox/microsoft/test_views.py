"""Reading stretches of time: windows, pages, order, choice, and whose calendars one may read."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.microsoft.driving import WEEK, Graph, Person, an_event, times

READ_ONLY = ("https://graph.microsoft.com/Calendars.Read",)


def hours(person: Person, *wanted: int) -> None:
    """Create half an hour at each of the hours wanted, named for it."""
    for hour in wanted:
        person.event(
            subject=str(hour), **times(f"2026-11-24T{hour:02}:00:00", f"2026-11-24T{hour:02}:30:00")
        )


def window(start: str, end: str) -> dict[str, str]:
    return {"startDateTime": start, "endDateTime": end}


@pytest.mark.parametrize(
    ("span", "seen"),
    [
        (("2026-11-24T10:29:59Z", "2026-11-24T11:00:00Z"), ["10"]),
        (("2026-11-24T10:30:00Z", "2026-11-24T11:00:00Z"), []),
        (("2026-11-24T09:00:00Z", "2026-11-24T10:00:00Z"), []),
        (("2026-11-24T11:00:00+01:00", "2026-11-24T11:10:00+01:00"), ["10"]),
        (("2026-11-24T10:00:00", "2026-11-24T10:10:00"), ["10"]),
    ],
)
def test_a_view_shows_what_overlaps_it(anna: Person, span: tuple[str, str], seen: list[str]) -> None:
    hours(anna, 10)

    rows = anna.get("/me/calendarView", **window(*span))["value"]

    assert [row["subject"] for row in rows] == seen


def test_an_event_of_no_length_is_seen_where_it_stands(anna: Person) -> None:
    anna.event(**times("2026-11-24T10:00:00", "2026-11-24T10:00:00"))

    spans = [("09", "10"), ("10", "11")]
    seen = [
        len(
            anna.get("/me/calendarView", **window(f"2026-11-24T{a}:00:00Z", f"2026-11-24T{b}:00:00Z"))[
                "value"
            ]
        )
        for a, b in spans
    ]

    assert seen == [0, 1]


def test_a_window_is_not_read_in_the_zone_asked_for(anna: Person) -> None:
    hours(anna, 10)

    rows = anna.get(
        "/me/calendarView",
        prefer='outlook.timezone="Tokyo Standard Time"',
        **window("2026-11-24T10:00:00", "2026-11-24T10:10:00"),
    )["value"]

    assert len(rows) == 1


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({}, "ErrorInvalidParameter"),
        (window("soon", "later"), "ErrorInvalidParameter"),
        (window("2026-01-01T00:00:00Z", "2031-01-01T00:00:00Z"), "ErrorInvalidRequest"),
        ({**WEEK, "$top": "1001"}, "ErrorInvalidUrlQuery"),
        ({**WEEK, "$orderby": "body"}, "ErrorInvalidUrlQuery"),
        ({**WEEK, "$apply": "x"}, "ErrorInvalidUrlQuery"),
        ({**WEEK, "$filter": "body eq 'x'"}, "ErrorInvalidUrlQueryFilter"),
        ({**WEEK, "$filter": "subject eq 'x' or subject eq 'y'"}, "ErrorInvalidUrlQueryFilter"),
    ],
)
def test_a_view_that_makes_no_sense_is_refused(anna: Person, params: dict[str, Any], code: str) -> None:
    assert anna.refused("GET", "/me/calendarView", params=params) == (400, code)


def test_pages_hold_ten_unless_asked_and_their_links_are_whole(anna: Person) -> None:
    hours(anna, *range(8, 20))

    first = anna.get("/me/calendarView", **WEEK, _orderby="start/dateTime")
    second = anna.get(first["@odata.nextLink"])

    assert (len(first["value"]), len(second["value"])) == (10, 2)
    assert first["@odata.nextLink"].startswith("http://graph.test/v1.0/me/calendarView?")
    assert "@odata.nextLink" not in second
    assert len(anna.get("/me/calendarView", prefer="odata.maxpagesize=5", **WEEK)["value"]) == 5


def test_rows_are_ordered_chosen_and_counted_on_request(anna: Person) -> None:
    hours(anna, 9, 11, 10)

    found = anna.get(
        "/me/calendarView",
        **WEEK,
        _orderby="start/dateTime desc",
        _select="subject,lastModifiedDateTime",
        _count="true",
        _filter="start/dateTime ge '2026-11-24T10:00:00'",
    )

    assert [row["subject"] for row in found["value"]] == ["11", "10"]
    assert found["@odata.count"] == 2
    assert set(found["value"][0]) == {"@odata.etag", "id", "subject"}


@pytest.mark.parametrize(
    "text",
    [
        "subject eq '10'",
        "startswith(subject,'1')",
        "isCancelled eq false and start/dateTime lt '2026-11-24T11:00:00Z'",
        "createdDateTime ge 2026-11-23T09:00:00Z and type eq 'singleInstance'",
    ],
)
def test_a_filter_of_a_known_kind_chooses(anna: Person, text: str) -> None:
    hours(anna, 10)

    assert len(anna.get("/me/events", _filter=text)["value"]) == 1


def test_an_event_is_found_by_its_uid(anna: Person) -> None:
    hours(anna, 9, 10)
    wanted = anna.view()[1]

    found = anna.get("/me/events", _filter=f"iCalUId eq '{wanted['iCalUId']}'")["value"]

    assert [row["id"] for row in found] == [wanted["id"]]


def test_bodies_come_as_text_on_request(anna: Person) -> None:
    made = anna.event(body={"contentType": "html", "content": "<p>One &amp; two</p>"})

    found = anna.get(f"/me/events/{made['id']}", prefer='outlook.body-content-type="text"')

    assert found["body"] == {"contentType": "text", "content": "One & two"}


def test_each_calendar_has_its_own_view_and_me_means_the_default_one(
    graph: Graph, anna: Person
) -> None:
    other = graph.control("POST", f"/accounts/{anna.email}/calendars", {"name": "Other"})["id"]
    anna.post(f"/me/calendars/{other}/events", an_event(subject="There"))
    hours(anna, 10)

    there = anna.get(f"/me/calendars/{other}/calendarView", **WEEK)["value"]

    assert [row["subject"] for row in there] == ["There"]
    assert [row["subject"] for row in anna.view()] == ["10"]
    assert len(anna.get("/me/events")["value"]) == 1
    assert anna.get(f"/me/events/{there[0]['id']}")["subject"] == "There"

    graph.switch(me_events_spans_mailbox=True)
    assert len(anna.get("/me/events")["value"]) == 2


def shared_with(graph: Graph, owner: Person, other: Person, **how: Any) -> str:
    """Share the owner's calendar and return the id it has with the other."""
    share = {"with": other.email, **how}
    there: str = graph.control("POST", f"/calendars/{owner.email}/share", share)["id_there"]
    return there


def test_a_shared_calendar_is_read_through_itself_alone(
    graph: Graph, anna: Person, ben: Person
) -> None:
    there = shared_with(graph, anna, ben)
    hours(anna, 10)
    reader = graph.with_scopes(ben.email, "Calendars.Read", "Calendars.Read.Shared")

    rows = reader.get(f"/me/calendars/{there}/calendarView", **WEEK)["value"]
    event_id = rows[0]["id"]

    assert [row["id"] for row in reader.get("/me/calendars")["value"]][1:] == [there]
    assert reader.get(f"/me/calendars/{there}")["canEdit"] is False
    assert [row["name"] for row in reader.get(f"/users/{anna.email}/calendars")["value"]] == [
        "Calendar"
    ]
    assert reader.get(f"/me/calendars/{there}/events/{event_id}")["subject"] == "10"
    assert reader.refused("GET", f"/me/events/{event_id}") == (404, "ErrorItemNotFound")
    assert reader.get(f"/users/{anna.email}/events/{event_id}")["subject"] == "10"
    assert reader.refused("PATCH", f"/me/calendars/{there}/events/{event_id}", json={})[0] == 403
    assert ben.refused("GET", f"/me/calendars/{there}/calendarView", params=WEEK) == (
        403,
        "ErrorAccessDenied",
    )

    graph.switch(shared_events_by_id=True)
    assert reader.get(f"/me/events/{event_id}")["subject"] == "10"

    shared_with(graph, anna, ben, access="none")
    assert len(reader.get("/me/calendars")["value"]) == 1


def test_an_editor_of_a_shared_calendar_writes_into_it(graph: Graph, anna: Person, ben: Person) -> None:
    there = shared_with(graph, anna, ben, can_edit=True)
    writer = graph.with_scopes(ben.email, "Calendars.ReadWrite.Shared", "Calendars.ReadWrite")

    made = writer.post(f"/me/calendars/{there}/events", an_event(subject="For Anna"))

    assert made["organizer"]["emailAddress"]["address"] == anna.email
    assert [row["subject"] for row in anna.view()] == ["For Anna"]


def test_private_events_of_others_show_their_times_only(
    graph: Graph, anna: Person, ben: Person
) -> None:
    there = shared_with(graph, anna, ben)
    anna.event(subject="Secret", sensitivity="private", location={"displayName": "Here"})
    reader = graph.with_scopes(ben.email, "Calendars.Read", "Calendars.Read.Shared")

    row = reader.get(f"/me/calendars/{there}/calendarView", **WEEK)["value"][0]

    assert row["subject"] == "Private Appointment"
    assert row["location"]["displayName"] == ""
    assert row["start"]["dateTime"] == "2026-11-24T10:00:00.0000000"


def test_other_peoples_calendars_are_closed(anna: Person, ben: Person) -> None:
    assert anna.refused("GET", f"/users/{ben.email}/calendarView", params=WEEK) == (
        403,
        "ErrorAccessDenied",
    )
    assert anna.refused("GET", "/users/nobody@corp.example/calendars") == (404, "ErrorInvalidUser")


def test_scopes_decide_what_a_token_may_do(graph: Graph, anna: Person) -> None:
    reader = graph.with_scopes(anna.email, *READ_ONLY)
    basic = graph.with_scopes(anna.email, "Calendars.ReadBasic")
    none = graph.with_scopes(anna.email, "Mail.Read")
    hours(anna, 10)

    assert reader.refused("POST", "/me/events", json=an_event()) == (403, "ErrorAccessDenied")
    assert reader.refused("GET", "/me") == (403, "Authorization_RequestDenied")
    assert "body" in reader.view()[0]
    assert "body" not in basic.view()[0]
    assert none.refused("GET", "/me/calendarView", params=WEEK) == (403, "ErrorAccessDenied")
