"""The control API: state, time, history and scripted changes; and the OAuth that stands beside Graph."""

from __future__ import annotations

import httpx
import pytest

from tests.sandbox.microsoft.driving import DAILY, Graph, Person, Remote


def test_the_history_holds_every_request_with_who_asked_and_no_token(
    graph: Graph, anna: Person
) -> None:
    anna.event()
    anna.refused("GET", "/me/events/nonsense")

    found = graph.control("GET", "/history?kind=call")["records"]

    assert [(row["operation"], row["status"], row["account"]) for row in found] == [
        ("event_create", 201, anna.email),
        ("event_get", 400, anna.email),
    ]
    assert anna.token not in str(found)
    assert graph.control("GET", "/requests")["event_create"] == {"201": 1}


def test_the_state_is_told_in_numbers(graph: Graph, anna: Person, ben: Person) -> None:
    anna.event(attendees=[{"emailAddress": {"address": ben.email}}])

    state = graph.control("GET", "/state")

    assert (state["accounts"], state["calendars"], state["items"]) == (2, 2, 2)
    assert state["clock"] == "virtual"


def test_changes_happen_in_one_go_or_when_the_clock_gets_there(graph: Graph, anna: Person) -> None:
    master = graph.control(
        "POST",
        f"/calendars/{anna.email}/events",
        {"start": "2026-11-23T10:00:00Z", "recurrence": DAILY},
    )["id"]

    done = graph.control(
        "POST",
        "/events:batch",
        [
            {"calendar_id": anna.email, "title": "New", "start": "2026-11-24T12:00:00Z"},
            {"id": master, "on": "2026-11-24", "title": "Other"},
            {"id": master, "on": "2026-11-25", "delete": True, "at": "2026-11-23T09:30:00Z"},
        ],
    )

    assert [row["subject"] for row in done[:2]] == ["New", "Other"]
    assert done[2] == {"planned": "2026-11-23T09:30:00Z"}
    assert len(anna.view()) == 8
    graph.pass_(minutes=30)
    assert len(anna.view()) == 7


def test_a_batch_calls_off_answers_and_moves(graph: Graph, anna: Person, ben: Person) -> None:
    other = graph.control("POST", f"/accounts/{anna.email}/calendars", {"name": "Other"})["id"]
    at = {"start": "2026-11-24T10:00:00Z", "calendar_id": anna.email}
    made = graph.control(
        "POST",
        "/events:batch",
        [{**at, "title": title, "attendees": [ben.email]} for title in ("Off", "Asked", "Moved")],
    )
    off, asked, moved = (row["id"] for row in made)

    graph.control(
        "POST",
        "/events:batch",
        [
            {"id": off, "cancel": True},
            {"id": asked, "respond": {"email": ben.email, "response": "tentative"}},
            {"id": moved, "move_to": other},
        ],
    )

    assert [row["subject"] for row in anna.view()] == ["Asked"]
    assert anna.view()[0]["attendees"][0]["status"]["response"] == "tentativelyAccepted"
    assert {row["subject"] for row in ben.view()} == {"Canceled: Off", "Asked", "Moved"}
    assert len(graph.control("GET", f"/calendars/{other}/events")) == 1


def test_links_are_put_where_people_put_them(graph: Graph, anna: Person) -> None:
    zoom = "https://zoom.us/j/123"
    teams = "https://teams.microsoft.com/l/meetup-join/x/0?context=y"
    wishes: list[dict[str, object]] = [
        {"link": zoom},
        {"link": zoom, "link_in": "description"},
        {"link": zoom, "link_in": "online_url"},
        {"link": teams},
        {"online": True},
    ]

    made = [
        graph.control(
            "POST", f"/calendars/{anna.email}/events", {"start": "2026-11-24T10:00:00Z", **wish}
        )
        for wish in wishes
    ]

    assert made[0]["location"]["displayName"] == zoom
    assert zoom in made[1]["body"]["content"]
    assert made[2]["onlineMeetingUrl"] == zoom
    assert made[3]["onlineMeeting"]["joinUrl"] == teams
    assert made[4]["onlineMeetingProvider"] == "teamsForBusiness"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/events/nonsense", None, 404),
        ("POST", "/calendars/nobody@else.example/events", {}, 404),
        ("POST", "/calendars/anna@corp.example/events", {"colour": "red"}, 400),
        ("POST", "/calendars/anna@corp.example/events", {"time_zone": "Europe/Vienna"}, 400),
        ("PATCH", "/switches", {"dead_delta_token": "never"}, 400),
        ("PATCH", "/switches", {"unheard_of": True}, 400),
        ("PATCH", "/limits", {"page_size": "ten"}, 400),
        ("POST", "/faults", {"kind": "unheard_of"}, 400),
        ("POST", "/clock", {"mode": "backwards"}, 400),
    ],
)
def test_orders_that_make_no_sense_are_refused(
    graph: Graph, anna: Person, method: str, path: str, body: object, status: int
) -> None:
    assert graph.call(method, "/_emulator" + path, json=body).status_code == status


def test_a_reset_empties_mailboxes_and_keeps_people_and_grants(graph: Graph, anna: Person) -> None:
    anna.event()

    graph.control("POST", "/reset", {"seed": 7})

    assert anna.view() == []
    assert graph.control("GET", "/state")["accounts"] == 1


def test_calendars_come_and_go(graph: Graph, anna: Person) -> None:
    made = graph.control("POST", f"/accounts/{anna.email}/calendars", {"name": "Other"})["id"]
    graph.control("POST", f"/calendars/{made}/events", {"start": "2026-11-24T10:00:00Z"})

    graph.control("DELETE", f"/calendars/{made}")

    assert [row["name"] for row in graph.control("GET", f"/accounts/{anna.email}/calendars")] == [
        "Calendar"
    ]
    assert anna.refused("GET", f"/me/calendars/{made}") == (404, "ErrorItemNotFound")


def test_the_clock_is_set_and_let_go(remote: Remote) -> None:
    told = remote.control("POST", "/clock", {"now": "2027-01-01T00:00:00Z"})
    assert told == {"mode": "virtual", "now": "2027-01-01T00:00:00Z", "ahead_seconds": 0.0}

    assert remote.control("POST", "/clock", {"mode": "real"})["mode"] == "real"
    refused = remote.client.post("/_emulator/clock", json={"advance_seconds": 1})
    assert refused.status_code == 400


def test_a_consent_leads_to_a_token_that_graph_takes(remote: Remote) -> None:
    remote.control(
        "POST",
        "/oauth/clients",
        {"client_id": "web", "client_secret": "s", "redirect_uris": ["http://app.test/back"]},
    )
    remote.control("PATCH", "/oauth/switches", {"auto_consent": True})
    asked = {
        "client_id": "web",
        "response_type": "code",
        "redirect_uri": "http://app.test/back",
        "scope": "openid offline_access https://graph.microsoft.com/Calendars.Read",
        "state": "s",
        "login_hint": "anna@corp.example",
    }

    sent = remote.client.get("/common/oauth2/v2.0/authorize", params=asked)
    code = httpx.URL(sent.headers["location"]).params["code"]
    form = {
        "client_id": "web",
        "client_secret": "s",
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": "http://app.test/back",
    }
    tokens = remote.client.post("/common/oauth2/v2.0/token", data=form).json()
    remote.client.headers["authorization"] = f"Bearer {tokens['access_token']}"

    assert "refresh_token" in tokens
    assert remote.graph("GET", "/me/calendars").is_success
    operations = [
        row.get("operation") for row in remote.control("GET", "/history?kind=call")["records"]
    ]
    assert operations == ["oauth.authorize", "oauth.token", "calendars_list"]
