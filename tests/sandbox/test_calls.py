"""What every API call passes: keys, firewall, limits, idempotency, faults."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime

import httpx
import pytest

from tests.sandbox.driving import MEET, NOW, Sandbox, iso
from worker.sandbox.recall.app import create_recall
from worker.sandbox.recall.clock import Clock
from worker.sandbox.server import running

LIST = "/api/v2/calendar-events/"
BOTS = "/api/v1/bot/"
SOON = {"meeting_url": MEET, "join_at": iso(NOW + timedelta(hours=1))}


@pytest.mark.parametrize("authorization", ["Token sandbox-key", "sandbox-key", "token sandbox-key"])
def test_a_key_counts_with_and_without_its_prefix(sandbox: Sandbox, authorization: str) -> None:
    assert sandbox.call("GET", LIST, headers={"authorization": authorization}).status_code == 200


@pytest.mark.parametrize("authorization", ["Token wrong", "Bearer sandbox-key", "wrong"])
def test_a_wrong_key_is_told_that_it_failed(sandbox: Sandbox, authorization: str) -> None:
    answer = sandbox.call("GET", LIST, headers={"authorization": authorization})

    assert (answer.status_code, answer.json()["code"]) == (401, "authentication_failed")


def test_no_key_is_told_that_none_came(sandbox: Sandbox) -> None:
    sandbox.key = None

    answer = sandbox.call("GET", LIST)

    assert answer.status_code == 401
    assert answer.json() == {
        "code": "not_authenticated",
        "detail": "Authentication credentials were not provided.",
    }


def test_a_get_with_a_body_is_blocked_with_a_page(sandbox: Sandbox) -> None:
    answer = sandbox.call("GET", LIST, content=b"null")

    assert answer.status_code == 403
    assert answer.headers["content-type"].startswith("text/html")


def test_a_payload_that_names_localhost_is_blocked(sandbox: Sandbox) -> None:
    config = {"recording_config": {"realtime_endpoints": [{"url": "https://localhost:8080/hook"}]}}

    answer = sandbox.call("POST", BOTS, json=SOON | config)

    assert (answer.status_code, answer.text[:5]) == (403, "<!doc")


def test_a_path_without_its_last_slash_is_served(sandbox: Sandbox) -> None:
    assert sandbox.call("GET", "/api/v1/bot").status_code == 200


def test_a_method_that_is_not_there_is_405(sandbox: Sandbox) -> None:
    assert sandbox.call("PUT", BOTS, json={}).json()["code"] == "method_not_allowed"


def test_forms_are_read_like_json(sandbox: Sandbox) -> None:
    event = sandbox.an_event()

    answer = sandbox.call(
        "POST",
        f"{LIST}{event['id']}/bot/",
        data={"deduplication_key": "k", "bot_config": '{"bot_name": "N"}'},
    )

    assert answer.status_code == 200
    assert sandbox.live_bots()[0]["bot_name"] == "N"


def test_multipart_forms_are_read_too(sandbox: Sandbox) -> None:
    fields = {"platform": "google_calendar", "oauth_client_id": "a", "oauth_client_secret": "b"}
    form = {
        name: (None, value) for name, value in (fields | {"oauth_refresh_token": "rt:a@b.c"}).items()
    }

    answer = sandbox.call("POST", "/api/v2/calendars/", files=form)

    assert (answer.status_code, answer.json()["oauth_client_secret"]) == (201, "b")


def test_workspaces_do_not_see_each_other(sandbox: Sandbox) -> None:
    sandbox.an_event()
    sandbox.post("/_emulator/calendars?workspace=other", {"email": "x@example.com"})
    sandbox.key = "other"

    assert sandbox.get(LIST)["results"] == []
    assert len(sandbox.get("/api/v2/calendars/")["results"]) == 1


def test_the_sixty_first_listing_of_a_minute_has_to_wait(sandbox: Sandbox) -> None:
    for _ in range(60):
        assert sandbox.call("GET", LIST).status_code == 200
    sandbox.pass_(seconds=20)

    refused = sandbox.call("GET", LIST)
    sandbox.pass_(seconds=40)

    assert (refused.status_code, refused.headers["retry-after"]) == (429, "40")
    assert sandbox.call("GET", LIST).status_code == 200


def test_limits_count_by_endpoint_and_can_be_widened_or_lifted(sandbox: Sandbox) -> None:
    sandbox.patch("/_emulator/limits", {"multiplier": 1 / 60})
    sandbox.call("GET", LIST)

    assert sandbox.call("GET", LIST).status_code == 429
    assert sandbox.call("GET", BOTS).status_code == 200
    sandbox.patch("/_emulator/limits", {"enabled": False})
    assert sandbox.call("GET", LIST).status_code == 200


def test_a_repeated_idempotency_key_replays_the_answer(sandbox: Sandbox) -> None:
    first = sandbox.call("POST", BOTS, json=SOON, headers={"idempotency-key": "a"})
    second = sandbox.call(
        "POST", BOTS, json=SOON | {"bot_name": "Other"}, headers={"idempotency-key": "a"}
    )

    assert first.json() == second.json()
    assert len(sandbox.live_bots()) == 1


def test_an_idempotency_key_is_forgotten_after_an_hour(sandbox: Sandbox) -> None:
    late = SOON | {"join_at": iso(NOW + timedelta(hours=5))}
    sandbox.call("POST", BOTS, json=late, headers={"idempotency-key": "a"})
    sandbox.pass_(hours=1)
    sandbox.call("POST", BOTS, json=late, headers={"idempotency-key": "a"})

    assert len(sandbox.live_bots()) == 2


def test_an_idempotency_key_counts_on_its_path_alone(sandbox: Sandbox) -> None:
    calendar = sandbox.a_calendar()
    one, other = sandbox.an_event(calendar), sandbox.an_event(calendar)
    for event in (one, other):
        sandbox.schedule(event["id"], headers={"idempotency-key": "a"})

    assert sandbox.live_bots()[0]["event_ids"] == [one["id"], other["id"]]


def test_a_stored_507_is_replayed_until_a_new_key_comes(sandbox: Sandbox) -> None:
    sandbox.patch("/_emulator/limits", {"pool_size": 0})
    now = {"meeting_url": MEET}
    first = sandbox.call("POST", BOTS, json=now, headers={"idempotency-key": "a"})
    sandbox.patch("/_emulator/limits", {"pool_size": 5})

    again = sandbox.call("POST", BOTS, json=now, headers={"idempotency-key": "a"})
    fresh = sandbox.call("POST", BOTS, json=now, headers={"idempotency-key": "b"})

    assert (first.status_code, first.headers["retry-after"]) == (507, "30")
    assert (again.status_code, again.headers["retry-after"]) == (507, "30")
    assert fresh.status_code == 201


def test_an_idempotency_key_in_use_is_a_conflict(sandbox: Sandbox) -> None:
    sandbox.patch("/_emulator/limits", {"latency_ms": 30})
    asked = ("POST", BOTS, {"json": SOON, "headers": {"idempotency-key": "a"}})

    answers = sandbox.calls(asked, asked)

    assert sorted(answer.status_code for answer in answers) == [201, 409]


def test_a_dumb_provider_ignores_idempotency_keys(sandbox: Sandbox) -> None:
    sandbox.patch("/_emulator/switches", {"idempotency_key_ignored": True})
    for _ in range(2):
        sandbox.call("POST", BOTS, json=SOON, headers={"idempotency-key": "a"})

    assert len(sandbox.live_bots()) == 2


def test_a_status_fault_strikes_as_often_as_ordered(sandbox: Sandbox) -> None:
    sandbox.post(
        "/_emulator/faults", {"path": "calendar-events", "status": 503, "times": 2, "retry_after": 7}
    )

    answers = [sandbox.call("GET", LIST) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [503, 503, 200]
    assert answers[0].headers["retry-after"] == "7"


@pytest.mark.parametrize("text", ["soon", "-5", "Sat, 21 Nov 2026 12:00:20 GMT"])
def test_a_fault_may_ask_to_come_again_in_any_words(sandbox: Sandbox, text: str) -> None:
    sandbox.post("/_emulator/faults", {"status": 429, "retry_after": text})

    assert sandbox.call("GET", LIST).headers["retry-after"] == text


def test_a_fault_may_send_its_caller_elsewhere(sandbox: Sandbox) -> None:
    there = "http://169.254.169.254/"
    sandbox.post("/_emulator/faults", {"status": 301, "headers": {"location": there}})

    answer = sandbox.call("GET", LIST)

    assert (answer.status_code, answer.headers["location"]) == (301, there)


def test_answers_are_dated_by_the_emulators_clock(sandbox: Sandbox) -> None:
    on_time = sandbox.call("GET", LIST).headers["date"]
    sandbox.patch("/_emulator/switches", {"date_ahead_s": -600})

    assert on_time == format_datetime(NOW, usegmt=True)
    assert sandbox.call("GET", LIST).headers["date"] == format_datetime(
        NOW - timedelta(minutes=10), usegmt=True
    )


def test_over_the_network_an_answer_has_one_date() -> None:
    with (
        running(lambda url: create_recall(base_url=url, clock=Clock(NOW))) as url,
        httpx.Client(base_url=url, headers={"authorization": "sandbox-key"}) as client,
    ):
        assert client.get(LIST).headers.get_list("date") == [format_datetime(NOW, usegmt=True)]


def test_a_real_clock_can_be_wrong_for_rows_and_dates_alike(sandbox: Sandbox) -> None:
    told = sandbox.post("/_emulator/clock", {"ahead_seconds": 300})
    event = sandbox.an_event(start=iso(datetime.now(UTC) + timedelta(hours=2)))

    off = parsedate_to_datetime(sandbox.call("GET", LIST).headers["date"]) - datetime.now(UTC)
    stamped = datetime.fromisoformat(event["updated_at"]) - datetime.now(UTC)

    assert told["ahead_seconds"] == 300
    assert abs(off - timedelta(minutes=5)) < timedelta(seconds=10)
    assert abs(stamped - timedelta(minutes=5)) < timedelta(seconds=10)


def test_a_status_fault_can_strike_after_the_deed(sandbox: Sandbox) -> None:
    sandbox.post("/_emulator/faults", {"method": "POST", "status": 500, "execute": True, "times": 1})

    assert sandbox.call("POST", BOTS, json=SOON).status_code == 500
    assert len(sandbox.live_bots()) == 1


@pytest.mark.parametrize(("kind", "live"), [("drop", 0), ("lost_answer", 1)])
def test_a_cut_connection_happens_before_or_after_the_deed(
    sandbox: Sandbox, kind: str, live: int
) -> None:
    sandbox.post("/_emulator/faults", {"path": BOTS, "kind": kind, "times": 1})

    with pytest.raises(ConnectionResetError):
        sandbox.call("POST", BOTS, json=SOON)

    assert len(sandbox.live_bots()) == live
    assert sandbox.get("/_emulator/requests")["bot_create"] == {"0": 1}


def test_a_real_connection_is_really_cut() -> None:
    with (
        running(lambda url: create_recall(base_url=url)) as url,
        httpx.Client(base_url=url, headers={"authorization": "sandbox-key"}) as client,
    ):
        client.post("/_emulator/faults", json={"kind": "lost_answer", "times": 1})

        with pytest.raises(httpx.RemoteProtocolError):
            client.post(BOTS, json={"meeting_url": MEET})

        assert len(client.get("/_emulator/bots?live=true").json()) == 1


@pytest.mark.parametrize("kind", ["html", "empty", "truncate"])
def test_some_faults_leave_no_json(sandbox: Sandbox, kind: str) -> None:
    sandbox.post("/_emulator/faults", {"kind": kind, "times": 1})

    with pytest.raises(ValueError):
        sandbox.call("GET", LIST).json()


def test_wrong_types_and_strange_links_are_on_offer(sandbox: Sandbox) -> None:
    for kind in ("wrong_type", "foreign_next", "repeated_next"):
        sandbox.post("/_emulator/faults", {"kind": kind, "times": 1})

    wrong, foreign, repeated = (sandbox.get(LIST + "?is_deleted=false") for _ in range(3))

    assert isinstance(wrong["results"], dict)
    assert foreign["next"].startswith("https://evil.example/")
    assert repeated["next"] == "http://recall.test" + LIST + "?is_deleted=false"


def test_faults_are_withdrawn(sandbox: Sandbox) -> None:
    sandbox.post("/_emulator/faults", {"status": 500})
    sandbox.call("DELETE", "/_emulator/faults")

    assert sandbox.call("GET", LIST).status_code == 200


def test_every_call_leaves_a_numbered_record(sandbox: Sandbox) -> None:
    sandbox.get(LIST + "?is_deleted=false")
    sandbox.get(BOTS)

    history = sandbox.get("/_emulator/history?after=0&kind=call")
    later = sandbox.get("/_emulator/history?after=1&kind=call")

    assert [record["operation"] for record in history["records"]] == [
        "calendar_events_list",
        "bot_list",
    ]
    assert history["records"][0]["path"] == LIST + "?is_deleted=false"
    assert [record["n"] for record in later["records"]] == [2]


def test_unknown_settings_are_refused_with_the_known_ones(sandbox: Sandbox) -> None:
    for path, wish in (("switches", {"nonsense": True}), ("limits", {"pool_size": "many"})):
        answer = sandbox.call("PATCH", f"/_emulator/{path}", json=wish)

        assert (answer.status_code, "error" in answer.json()) == (400, True)


def test_a_reset_empties_the_workspace_and_a_seed_repeats_it(sandbox: Sandbox) -> None:
    ids = []
    for _ in range(2):
        sandbox.post("/_emulator/reset", {"seed": 7})
        ids.append(sandbox.a_calendar())

    assert ids[0] == ids[1]
    assert len(sandbox.get("/api/v2/calendars/")["results"]) == 1
