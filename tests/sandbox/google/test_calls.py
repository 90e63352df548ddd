"""What holds for every call: partial answers, batches, faults, history; and the rest of the control API."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.sandbox.google.driving import ANNA, BEN, Google, a_series, an_event, guests, reason_of
from worker.sandbox.recall.gate import ConnectionCut

EVENTS = "calendars/primary/events"


@pytest.fixture
def google() -> Google:
    return Google()


def test_fields_select_parts_of_an_answer(google: Google) -> None:
    event = google.insert(attendees=guests(BEN))

    listed = google.list(fields="kind,nextSyncToken,items(id,start/dateTime,attendees(email))")

    assert listed.keys() == {"kind", "nextSyncToken", "items"}
    assert listed["items"] == [
        {
            "id": event["id"],
            "start": {"dateTime": "2026-11-23T11:00:00Z"},
            "attendees": [{"email": BEN}],
        }
    ]


@pytest.mark.parametrize("fields", ["items(", "items(id", "a,,b", "items)", "/a", "a b c!", "a/"])
def test_fields_that_select_nothing_sensible_are_refused(google: Google, fields: str) -> None:
    answer = google.call("GET", EVENTS, params={"fields": fields})

    assert reason_of(answer) == (400, "invalidParameter")


@pytest.mark.parametrize("body", [b"{", b"[1]", b'"text"', b"\xff"])
def test_a_body_that_is_no_object_is_refused(google: Google, body: bytes) -> None:
    assert reason_of(google.call("POST", EVENTS, content=body)) == (400, "parseError")


def test_unknown_fields_are_ignored_or_refused(google: Google) -> None:
    body = an_event(madeUp=1)

    ignored = google.call("POST", EVENTS, json=body).status_code
    google.switch(unknown_fields_refused=True)

    assert ignored == 200
    assert google.call("POST", EVENTS, json=body).status_code == 400


def test_a_long_question_may_come_as_a_post(google: Google) -> None:
    event = google.insert()
    headers = {"x-http-method-override": "GET", "content-type": "application/x-www-form-urlencoded"}

    answer = google.call("POST", EVENTS, content="q=standup&maxResults=5", headers=headers)

    assert [item["id"] for item in answer.json()["items"]] == [event["id"]]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"status": 503}, (503, "backendError")),
        ({"status": 429}, (429, "rateLimitExceeded")),
        ({"reason": "quotaExceeded"}, (403, "quotaExceeded")),
        ({"status": 403, "reason": "dailyLimitExceeded"}, (403, "dailyLimitExceeded")),
        ({"reason": "fullSyncRequired"}, (410, "fullSyncRequired")),
        ({"reason": "authError"}, (401, "authError")),
    ],
)
def test_calls_can_be_refused_on_order(
    google: Google, fault: dict[str, Any], expected: tuple[int, str]
) -> None:
    google.control("POST", "/faults", {"operation": r"events\.list", "times": 1, **fault})

    refused, served = google.call("GET", EVENTS), google.call("GET", EVENTS)

    assert reason_of(refused) == expected
    assert "retry-after" not in refused.headers
    assert served.status_code == 200


def test_a_fault_may_carry_retry_after_and_hit_one_person(google: Google) -> None:
    google.control("POST", "/faults", {"status": 503, "retry_after": 7, "account": BEN})

    assert google.call("GET", EVENTS, by=BEN).headers["retry-after"] == "7"
    assert google.call("GET", EVENTS).status_code == 200


def test_a_cut_before_the_effect_leaves_nothing_and_after_it_everything(google: Google) -> None:
    google.control("POST", "/faults", {"operation": "insert", "kind": "drop", "times": 1})
    with pytest.raises(ConnectionCut):
        google.insert(id="before")
    google.control("POST", "/faults", {"operation": "insert", "kind": "lost_answer", "times": 1})
    with pytest.raises(ConnectionCut):
        google.insert(id="after")

    assert google.everything().ids == ["after"]
    assert reason_of(google.call("POST", EVENTS, json=an_event(id="after"))) == (409, "duplicate")


def test_a_failure_may_be_reported_for_what_was_done(google: Google) -> None:
    google.control(
        "POST", "/faults", {"operation": "insert", "status": 503, "execute": True, "times": 1}
    )

    answer = google.call("POST", EVENTS, json=an_event(id="done0"))

    assert answer.status_code == 503
    assert google.everything().ids == ["done0"]


def test_html_and_torn_json_are_on_offer(google: Google) -> None:
    google.control("POST", "/faults", [{"kind": "html", "times": 1}, {"kind": "truncate", "times": 1}])

    html, torn = google.call("GET", EVENTS), google.call("GET", EVENTS)

    assert html.headers["content-type"].startswith("text/html")
    assert torn.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        torn.json()


def test_pages_can_get_lost(google: Google) -> None:
    for _ in range(4):
        google.insert()
    google.control(
        "POST", "/faults", [{"kind": kind, "times": 1} for kind in ("lost_page", "emptied_page")]
    )

    lost, emptied = google.list(maxResults=2), google.list(maxResults=2)

    assert len(lost["items"]) == 2
    assert not {"nextPageToken", "nextSyncToken"} & lost.keys()
    assert "items" not in emptied
    assert "nextPageToken" in emptied


def test_a_slow_call_is_served_in_the_end(google: Google) -> None:
    google.control("POST", "/faults", {"kind": "delay", "delay_ms": 5})

    assert google.call("GET", EVENTS).status_code == 200
    assert google.control("GET", "/faults")[0]["hits"] == 1
    assert google.control("DELETE", "/faults") == {"cleared": 1}


def batch_of(*requests: str) -> tuple[bytes, dict[str, str]]:
    parts = [
        f"--b\r\nContent-Type: application/http\r\nContent-ID: <{number}>\r\n\r\n{request}\r\n"
        for number, request in enumerate(requests)
    ]
    return ("".join(parts) + "--b--\r\n").encode(), {"content-type": "multipart/mixed; boundary=b"}


def test_a_batch_is_as_many_calls_as_it_has_parts(google: Google) -> None:
    body = json.dumps(an_event(id="batch"))
    insert = (
        f"POST /calendar/v3/{EVENTS}?alt=json HTTP/1.1\r\nContent-Type: application/json\r\n\r\n{body}"
    )
    content, headers = batch_of(
        insert, insert, "GET /calendar/v3/users/me/calendarList HTTP/1.1\r\n\r\n"
    )
    headers["authorization"] = f"Bearer {google.token()}"

    answer = google.raw("POST", "/batch/calendar/v3", content=content, headers=headers)

    lines = [line for line in answer.text.splitlines() if line.startswith(("HTTP/1.1", "Content-ID"))]
    assert lines == [
        "Content-ID: <response-0>",
        "HTTP/1.1 200 OK",
        "Content-ID: <response-1>",
        "HTTP/1.1 409 Conflict",
        "Content-ID: <response-2>",
        "HTTP/1.1 200 OK",
    ]
    assert google.control("GET", "/requests")["events.insert"] == {"200": 1, "409": 1}


def test_the_history_tells_calls_and_changes_in_order(google: Google) -> None:
    event = google.insert(attendees=guests(BEN))
    google.list()

    records = google.control("GET", "/history")["records"]

    assert [(r["kind"], r.get("operation"), r.get("calendar")) for r in records] == [
        ("event.created", None, ANNA),
        ("event.invited", None, BEN),
        ("call", "events.insert", None),
        ("call", "events.list", None),
    ]
    assert records[0]["id"] == event["id"]
    assert records[2]["account"] == ANNA
    assert google.token() not in json.dumps(records)


def test_events_can_be_written_in_short(google: Google) -> None:
    made = google.control(
        "POST",
        f"/calendars/{ANNA}/events",
        {
            "summary": "Demo",
            "start": "2026-11-24T10:00:00",
            "zone": "Europe/Berlin",
            "minutes": 45,
            "attendees": [BEN],
            "link": "https://zoom.us/j/1",
        },
    )
    day = google.control("POST", f"/calendars/{ANNA}/events", {"start": "2026-11-24"})

    assert (made["start"]["dateTime"], made["end"]["dateTime"]) == (
        "2026-11-24T09:00:00Z",
        "2026-11-24T09:45:00Z",
    )
    assert made["location"] == "https://zoom.us/j/1"
    assert day["end"] == {"date": "2026-11-25"}
    assert google.everything(by=BEN).ids == [made["id"]]


def test_many_changes_can_be_made_at_once(google: Google) -> None:
    kept, gone = google.insert(attendees=guests(BEN)), google.insert()

    google.control(
        "POST",
        "/events:batch",
        [
            {"calendar": ANNA, "start": "2026-11-24T10:00:00Z"},
            {"calendar": ANNA, "id": kept["id"], "summary": "Renamed"},
            {"calendar": BEN, "id": kept["id"], "response": "accepted"},
            {"calendar": ANNA, "id": gone["id"], "delete": True},
        ],
    )

    assert len(google.everything().items) == 2
    assert google.event(kept)["attendees"][0]["responseStatus"] == "accepted"


def test_a_pending_conference_can_be_settled(google: Google) -> None:
    google.switch(conference_requests="pending")
    request = {"createRequest": {"requestId": "r1", "conferenceSolutionKey": {"type": "hangoutsMeet"}}}
    event = google.insert(conferenceData=request, query={"conferenceDataVersion": 1})

    google.control("POST", f"/calendars/{ANNA}/events/{event['id']}/conference", {"outcome": "success"})

    assert "hangoutLink" not in event
    assert "hangoutLink" in google.event(event)


def test_the_clock_can_be_set_and_advanced(google: Google) -> None:
    google.control("POST", "/clock", {"now": "2027-01-01T00:00:00Z"})

    told = google.control("POST", "/clock", {"advance_seconds": 90})

    assert told == {"mode": "virtual", "now": "2027-01-01T00:01:30Z", "ahead_seconds": 0.0}


def test_a_reset_forgets_everything_and_keeps_the_switches(google: Google) -> None:
    google.insert(**a_series())
    google.switch(quota_is_429=True)

    google.control("POST", "/reset", {"seed": 7})

    state = google.control("GET", "/state")
    assert (state["accounts"], state["calendars"], state["events"]) == (0, 0, {})
    assert google.control("GET", "/switches")["quota_is_429"] is True


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/calendars/nobody/events", {}, 404),
        ("PATCH", f"/calendars/{ANNA}/events/nothing", {}, 404),
        ("POST", f"/calendars/{ANNA}/events", {"start": "soon"}, 400),
        ("PATCH", "/switches", {"unheard_of": True}, 400),
        ("PATCH", "/switches", {"windowed_token": "sometimes"}, 400),
        ("PATCH", "/limits", {"per_user": "many"}, 400),
        ("POST", "/faults", {"kind": "earthquake"}, 400),
        ("PUT", "/push", {"speed": 1}, 400),
        ("PATCH", "/channels/none", {}, 404),
        ("POST", "/clock", {"mode": "lunar"}, 400),
    ],
)
def test_the_control_api_says_what_it_does_not_understand(
    google: Google, method: str, path: str, body: Any, status: int
) -> None:
    answer = google.raw(method, f"/_emulator{path}", json=body)

    assert answer.status_code == status
    assert answer.json()["error"]


def test_an_unknown_address_is_not_found(google: Google) -> None:
    answer: httpx.Response = google.call("GET", "colors/of/the/wind")

    assert reason_of(answer) == (404, "notFound")


def test_changes_can_be_scripted_ahead(google: Google) -> None:
    google.control(
        "POST",
        "/events:batch",
        [
            {"calendar": ANNA, "create": True, "id": "later", "start": "2026-11-24T10:00:00Z"},
            {"calendar": ANNA, "id": "later", "summary": "Renamed", "after_seconds": 60},
            {"calendar": ANNA, "id": "nobody", "summary": "Lost", "after_seconds": 90},
        ],
    )
    early = google.event("later")

    google.control("POST", "/clock", {"advance_seconds": 120})

    failed = google.control("GET", "/history?kind=control.failed")["records"]
    assert "summary" not in early
    assert google.event("later")["summary"] == "Renamed"
    assert [record["at"] for record in failed] == ["2026-11-23T09:01:30Z"]


def test_labels_and_colours_depend_on_what_the_caller_understands(google: Google) -> None:
    both = {"colorId": "5", "eventLabelId": "label"}

    old = google.insert(**both)
    new = google.insert(**both, query={"eventLabelVersion": 1})
    kept = google.call("PUT", f"{EVENTS}/{new['id']}", json=an_event()).json()

    assert (old.get("colorId"), old.get("eventLabelId")) == ("5", None)
    assert (new.get("colorId"), new.get("eventLabelId")) == (None, "label")
    assert kept["eventLabelId"] == "label"


def test_a_token_for_free_and_busy_shows_no_details(google: Google) -> None:
    google.insert()

    listed = google.call("GET", EVENTS, scopes=("calendar.events.freebusy",)).json()

    assert "summary" not in listed["items"][0]
    assert listed["items"][0]["start"]["dateTime"] == "2026-11-23T11:00:00Z"
