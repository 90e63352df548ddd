"""Watch channels: what they answer, what arrives, how often, in which order, and what is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from tests.sandbox.driving import Receiver, receiving
from tests.sandbox.google.driving import (
    ANNA,
    BEN,
    CLIENT,
    NOW,
    SCOPES,
    Google,
    an_event,
    reason_of,
)
from worker.sandbox.google.app import create_google
from worker.sandbox.google.switches import Switches
from worker.sandbox.google.world import World
from worker.sandbox.recall.clock import Clock
from worker.sandbox.server import running


@dataclass(slots=True)
class Remote:
    """An emulator on a socket of its own, with a virtual clock, and a receiver for its notifications."""

    client: httpx.Client
    receiver: Receiver
    world: World
    channels: dict[str, Any] = field(default_factory=dict)

    def api(self, method: str, path: str, *, by: str = ANNA, **more: Any) -> httpx.Response:
        account = self.world.oauth.account(by)
        assert account is not None
        token = self.world.oauth.mint(account, CLIENT, (SCOPES + "calendar",))["access_token"]
        headers = {"authorization": f"Bearer {token}"}
        return self.client.request(method, f"/calendar/v3/{path}", headers=headers, **more)

    def watch(self, channel_id: str = "c-1", **more: Any) -> Any:
        body = {"id": channel_id, "type": "web_hook", "address": self.receiver.url} | more
        opened = self.api("POST", "calendars/primary/events/watch", json=body)
        return opened.raise_for_status().json()

    def insert(self) -> None:
        self.api("POST", "calendars/primary/events", json=an_event()).raise_for_status()

    def control(self, method: str, path: str, json: Any = None) -> Any:
        return self.client.request(method, f"/_emulator{path}", json=json).raise_for_status().json()

    def advance(self, seconds: float) -> None:
        self.control("POST", "/clock", {"advance_seconds": seconds})

    def heard(self, number: int) -> list[dict[str, str]]:
        """Wait for so many notifications and return the headers of all."""
        until(lambda: len(self.receiver.posts) >= number)
        return [headers for headers, _ in self.receiver.posts]

    def states(self, number: int) -> list[str]:
        return [headers["x-goog-resource-state"] for headers in self.heard(number)]


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread brings about."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[httpx.Client, Receiver, World]]:
    """One emulator and one receiver on sockets of their own; starting them takes longer than a test."""
    app = create_google(base_url="http://google.test", clock=Clock(NOW))
    world: World = app.state.world
    with (
        receiving() as receiver,
        running(lambda _: app) as url,
        httpx.Client(base_url=url) as client,
    ):
        yield client, receiver, world


@pytest.fixture
def remote(served: tuple[httpx.Client, Receiver, World]) -> Remote:
    """An emulator as good as new, with a virtual clock and two people in it."""
    client, receiver, world = served
    remote = Remote(client, receiver, world)
    remote.control("POST", "/reset", {"seed": 1})
    remote.control("PATCH", "/switches", asdict(Switches()))
    remote.control("POST", "/clock", {"now": NOW.isoformat()})
    uris = list(CLIENT.redirect_uris)
    remote.control(
        "POST",
        "/oauth/clients",
        {
            "client_id": CLIENT.client_id,
            "client_secret": CLIENT.client_secret,
            "redirect_uris": uris,
        },
    )
    for email in (ANNA, BEN):
        remote.control("POST", "/accounts", {"email": email})
    receiver.posts.clear()
    receiver.statuses.clear()
    return remote


def test_a_channel_answers_with_what_it_became(remote: Remote) -> None:
    opened = remote.watch(token="secret")

    assert (opened["id"], opened["token"], opened["kind"]) == ("c-1", "secret", "api#channel")
    assert int(opened["expiration"]) == int(NOW.timestamp() + 604_800) * 1000
    assert "/calendars/anna%40example.com/events?" in opened["resourceUri"]


def test_the_first_message_is_sync_and_has_no_body(remote: Remote) -> None:
    opened = remote.watch(token="secret")

    [headers] = remote.heard(1)
    assert headers["x-goog-resource-state"] == "sync"
    assert headers["x-goog-message-number"] == "1"
    assert headers["x-goog-channel-id"] == "c-1"
    assert headers["x-goog-channel-token"] == "secret"
    assert headers["x-goog-channel-expiration"] == "Mon, 30 Nov 2026 09:00:00 GMT"
    assert headers["x-goog-resource-id"] == opened["resourceId"]
    assert headers["x-goog-resource-uri"] == opened["resourceUri"]
    assert headers["user-agent"].startswith("APIs-Google")
    assert headers["content-length"] == "0"
    assert remote.receiver.posts[0][1] == b""


def test_without_a_token_there_is_no_token_header(remote: Remote) -> None:
    remote.watch()

    assert "x-goog-channel-token" not in remote.heard(1)[0]


def test_the_sync_message_may_come_before_the_answer(remote: Remote) -> None:
    remote.control("PATCH", "/switches", {"sync_before_answer": True})

    remote.watch()

    assert [h["x-goog-resource-state"] for h, _ in remote.receiver.posts] == ["sync"]


def test_changes_are_announced_with_rising_numbers(remote: Remote) -> None:
    remote.watch()
    remote.states(1)
    for _ in range(10):
        remote.insert()

    messages = remote.heard(11)

    numbers = sorted(int(headers["x-goog-message-number"]) for headers in messages)
    assert [headers["x-goog-resource-state"] for headers in messages[1:]] == ["exists"] * 10
    assert numbers[0] == 1
    assert len(set(numbers)) == 11
    assert numbers[-1] > 11


def test_every_open_channel_is_told(remote: Remote) -> None:
    remote.watch("old")
    remote.watch("new")
    remote.insert()

    ids = [h["x-goog-channel-id"] for h in remote.heard(4) if h["x-goog-resource-state"] == "exists"]
    assert sorted(ids) == ["new", "old"]


def test_a_client_may_be_spared_its_own_writes(remote: Remote) -> None:
    remote.control("PATCH", "/switches", {"own_writes_announced": False})
    remote.watch()
    remote.insert()
    remote.control("POST", f"/calendars/{ANNA}/events", {"start": "2026-11-24T09:00:00Z"})

    assert remote.states(2) == ["sync", "exists"]


def test_an_id_is_taken_once(remote: Remote) -> None:
    remote.watch()
    body = {"id": "c-1", "type": "web_hook", "address": remote.receiver.url}

    again = remote.api("POST", "calendars/primary/events/watch", json=body)

    assert reason_of(again) == (400, "channelIdNotUnique")


def test_a_stopped_channel_is_silent(remote: Remote) -> None:
    opened = remote.watch()
    remote.heard(1)
    wrong = remote.api("POST", "channels/stop", json={"id": "c-1", "resourceId": "x"})
    stranger = remote.api(
        "POST", "channels/stop", by=BEN, json={"id": "c-1", "resourceId": opened["resourceId"]}
    )

    stopped = remote.api(
        "POST", "channels/stop", json={"id": "c-1", "resourceId": opened["resourceId"]}
    )

    remote.insert()
    assert (reason_of(wrong), reason_of(stranger)) == ((404, "notFound"), (404, "notFound"))
    assert (stopped.status_code, stopped.content) == (204, b"")
    assert remote.control("GET", "/state")["notices"] == {"delivered": 1}


def test_an_expired_channel_is_silent(remote: Remote) -> None:
    remote.watch(params={"ttl": "60"})
    remote.heard(1)

    remote.advance(60)
    remote.insert()

    assert remote.control("GET", "/state")["notices"] == {"delivered": 1}


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ({"params": {"ttl": "60"}}, 60),
        ({"params": {"ttl": "9999999"}}, 604_800),
        ({"expiration": str(int((NOW.timestamp() + 90) * 1000))}, 90),
        ({"expiration": str(int((NOW.timestamp() + 90) * 1000)), "params": {"ttl": "30"}}, 30),
    ],
)
def test_the_shorter_life_wins(remote: Remote, wish: dict[str, Any], expected: int) -> None:
    opened = remote.watch(**wish)

    ends_at = datetime.fromtimestamp(int(opened["expiration"]) / 1000, UTC)
    assert (ends_at - NOW).total_seconds() == expected


def test_a_failed_delivery_is_repeated_for_some_answers_only(remote: Remote) -> None:
    remote.receiver.statuses = [503, 500, 204, 400]
    remote.watch()
    remote.heard(1)
    remote.advance(10)
    remote.insert()
    until(lambda: len(remote.receiver.posts) == 4)
    remote.advance(600)

    outcomes = [(n["outcome"], n["statuses"]) for n in remote.control("GET", "/notices")]
    assert outcomes == [("delivered", [503, 500, 204]), ("failed", [400])]
    assert len(remote.receiver.posts) == 4


def test_repeats_end_some_day(remote: Remote) -> None:
    remote.receiver.statuses = [502] * 100
    remote.watch()
    remote.heard(1)

    remote.advance(3600)

    [notice] = remote.control("GET", "/notices")
    assert notice["outcome"] == "failed"
    assert len(notice["statuses"]) == 8


def test_notifications_get_lost(remote: Remote) -> None:
    remote.watch()
    remote.heard(1)
    remote.control("PUT", "/push", {"drop": 1.0})

    remote.insert()

    assert remote.control("GET", "/state")["notices"] == {"delivered": 1, "dropped": 1}


def test_notifications_come_twice_with_one_number(remote: Remote) -> None:
    remote.watch()
    remote.heard(1)
    remote.control("PUT", "/push", {"duplicate": 1.0})

    remote.insert()

    numbers = [headers["x-goog-message-number"] for headers in remote.heard(3)]
    assert numbers[1] == numbers[2]


def test_notifications_come_late_and_out_of_order(remote: Remote) -> None:
    remote.watch()
    remote.heard(1)
    remote.control("PUT", "/push", {"delay_ms": 1000, "shuffle_ms": 10_000})
    for _ in range(8):
        remote.insert()
    early = len(remote.receiver.posts)

    remote.advance(12)

    numbers = [int(headers["x-goog-message-number"]) for headers in remote.heard(9)]
    assert early == 1
    assert numbers != sorted(numbers)


def test_notifications_can_be_held_back(remote: Remote) -> None:
    remote.control("PUT", "/push", {"paused": True})
    remote.watch()
    remote.insert()
    before = len(remote.receiver.posts)

    remote.control("PUT", "/push", {"paused": False})

    assert before == 0
    assert sorted(remote.states(2)) == ["exists", "sync"]


def test_a_channel_can_be_dead_without_expiring(remote: Remote) -> None:
    remote.watch()
    remote.heard(1)
    remote.control("PATCH", "/channels/c-1", {"dead": True})

    remote.insert()

    [channel] = remote.control("GET", "/channels")
    assert (channel["live"], channel["dead"]) == (True, True)
    assert remote.control("GET", "/state")["notices"] == {"delivered": 1, "unsent": 1}


def test_lists_of_calendars_and_settings_can_be_watched(remote: Remote) -> None:
    body = {"type": "web_hook", "address": remote.receiver.url}
    remote.api("POST", "users/me/calendarList/watch", json=body | {"id": "l"}).raise_for_status()
    remote.api("POST", "users/me/settings/watch", json=body | {"id": "s"}).raise_for_status()
    remote.heard(2)

    remote.control("POST", "/calendars", {"account": ANNA, "summary": "Team"})
    remote.heard(3)
    remote.control("PATCH", f"/accounts/{ANNA}/settings", {"locale": "de"})

    assert [headers["x-goog-channel-id"] for headers in remote.heard(4)][2:] == ["l", "s"]


def test_a_deleted_calendar_says_not_exists(remote: Remote) -> None:
    team = remote.control("POST", "/calendars", {"account": ANNA, "summary": "Team"})["id"]
    body = {"id": "t", "type": "webhook", "address": remote.receiver.url}
    remote.api("POST", f"calendars/{team}/events/watch", json=body).raise_for_status()
    remote.heard(1)

    remote.control("DELETE", f"/calendars/{team}")

    assert remote.states(2) == ["sync", "not_exists"]


@pytest.mark.parametrize(
    "wish",
    [
        {"id": ""},
        {"id": "x" * 65},
        {"id": "with space"},
        {"type": "carrier_pigeon"},
        {"address": ""},
        {"token": "t" * 257},
        {"expiration": "1000"},
        {"params": {"ttl": "soon"}},
    ],
)
def test_a_channel_that_makes_no_sense_is_refused(wish: dict[str, Any]) -> None:
    google = Google()
    body = {"id": "c", "type": "web_hook", "address": "http://127.0.0.1:1/"} | wish

    answer = google.call("POST", "calendars/primary/events/watch", json=body)

    assert answer.status_code == 400


def test_addresses_may_have_to_be_https() -> None:
    google = Google()
    google.switch(https_required=True)
    body = {"id": "c", "type": "web_hook", "address": "http://127.0.0.1:1/"}

    answer = google.call("POST", "calendars/primary/events/watch", json=body)

    assert reason_of(answer) == (400, "push.webhookUrlNotHttps")


def test_a_connection_can_be_cut_before_and_after_the_effect(remote: Remote) -> None:
    def insert(event_id: str) -> httpx.Response:
        return remote.api("POST", "calendars/primary/events", json=an_event(id=event_id))

    for kind, event_id in (("drop", "before"), ("lost_answer", "after")):
        remote.control("POST", "/faults", {"operation": "insert", "kind": kind, "times": 1})
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            insert(event_id)

    assert insert("before").status_code == 200
    assert reason_of(insert("after")) == (409, "duplicate")
    calls = remote.control("GET", "/requests")["events.insert"]
    assert calls == {"0": 2, "200": 1, "409": 1}


def test_the_id_of_a_stopped_channel_may_be_taken_for_good(remote: Remote) -> None:
    opened = remote.watch()
    remote.api("POST", "channels/stop", json={"id": "c-1", "resourceId": opened["resourceId"]})
    remote.watch()
    remote.api("POST", "channels/stop", json={"id": "c-1", "resourceId": opened["resourceId"]})
    remote.control("PATCH", "/switches", {"stopped_channel_ids_reusable": False})
    body = {"id": "c-1", "type": "web_hook", "address": remote.receiver.url}

    again = remote.api("POST", "calendars/primary/events/watch", json=body)

    assert reason_of(again) == (400, "channelIdNotUnique")


@pytest.mark.parametrize(("retried", "attempts"), [(True, 8), (False, 1)])
def test_an_address_where_nobody_is_may_be_tried_again(
    remote: Remote, retried: bool, attempts: int
) -> None:
    remote.control("PATCH", "/switches", {"unreachable_is_retried": retried})
    remote.watch(address="http://127.0.0.1:9/")

    remote.advance(3600)

    [notice] = remote.control("GET", "/notices")
    assert (notice["outcome"], len(notice["statuses"])) == ("failed", attempts)


def test_deleted_events_may_be_announced_as_such(remote: Remote) -> None:
    remote.control("PATCH", "/switches", {"deletions_say_not_exists": True})
    remote.watch()
    remote.heard(1)
    remote.api("POST", "calendars/primary/events", json=an_event(id="going")).raise_for_status()
    remote.heard(2)

    remote.api("DELETE", "calendars/primary/events/going").raise_for_status()

    assert remote.states(3) == ["sync", "exists", "not_exists"]
