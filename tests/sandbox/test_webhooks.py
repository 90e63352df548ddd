"""Webhooks: signatures, retries, failures of the endpoint, and the knobs that make delivery bad."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import httpx
import pytest
from svix.webhooks import Webhook, WebhookVerificationError

from tests.sandbox.driving import NOW, SECRET, Receiver, iso, receiving
from worker.sandbox.recall.app import create_recall
from worker.sandbox.recall.clock import Clock
from worker.sandbox.recall.outgoing import Endpoint, Message, Outgoing
from worker.sandbox.recall.signing import signature, signed_headers
from worker.sandbox.server import running

OTHER_SECRET = "whsec_b3RoZXJvdGhlcm90aGVyb3RoZXI="


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def remote() -> Iterator[httpx.Client]:
    """An emulator on a socket of its own, with a virtual clock."""
    clock = Clock(NOW)
    with (
        running(lambda url: create_recall(base_url=url, clock=clock)) as url,
        httpx.Client(base_url=url, headers={"authorization": "sandbox-key"}) as client,
    ):
        yield client


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread brings about."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def listen(remote: httpx.Client, receiver: Receiver, **knobs: object) -> None:
    wish = {"url": receiver.url, "secrets": [SECRET], **knobs}
    remote.put("/_emulator/webhook", json=wish).raise_for_status()


def connect(remote: httpx.Client) -> str:
    made: str = remote.post("/_emulator/calendars", json={"email": "a@example.com"}).json()["id"]
    return made


def an_outgoing(**knobs: object) -> Outgoing:
    outgoing = Outgoing()
    outgoing.configure(Endpoint().with_changes({"url": "http://x.test/", **knobs}))
    return outgoing


def test_the_signature_is_the_known_one() -> None:
    body = b'{"event_type":"ping","data":{"success":true}}'

    made = signature(SECRET, "msg_loFOjxBNrRLzqYUf", 1731705121, body)

    assert made == "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0="


@pytest.mark.parametrize(
    ("family", "prefixes"), [("new", {"webhook"}), ("legacy", {"svix"}), ("both", {"webhook", "svix"})]
)
def test_the_library_of_svix_accepts_every_family_and_every_secret(
    family: str, prefixes: set[str]
) -> None:
    headers = signed_headers(family, [OTHER_SECRET, SECRET], "msg_1", int(time.time()), b"{}")

    for secret in (SECRET, OTHER_SECRET):
        Webhook(secret).verify(b"{}", headers)
    assert {name.split("-")[0] for name in headers} == prefixes


@pytest.mark.parametrize(("family", "secrets"), [("none", [SECRET]), ("new", [])])
def test_without_family_or_secret_nothing_is_signed(family: str, secrets: list[str]) -> None:
    assert signed_headers(family, secrets, "msg_1", 1, b"{}") == {}


@pytest.mark.parametrize("knob", ["wrong_signature", "stale_timestamp"])
def test_bad_signatures_are_on_offer(knob: str) -> None:
    outgoing = an_outgoing(secrets=[SECRET], **{knob: 1})
    message = outgoing.queue("calendar.update", {}, NOW, random.Random(1))

    headers = outgoing.headers(message, int(time.time()), random.Random(1))

    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(message.body, headers)


def test_eight_attempts_keep_their_distances_and_their_id() -> None:
    outgoing, now, waits = an_outgoing(), NOW, []
    queued = outgoing.queue("calendar.update", {}, now, random.Random(1))

    while (at := outgoing.next_at) is not None:
        waits.append((at - now).total_seconds())
        now = at
        message = outgoing.take(now)
        assert message is queued
        outgoing.settle(message, now, status=500, error=None, took_ms=1)

    assert waits == [0, 5, 300, 1800, 7200, 18_000, 36_000, 36_000]
    assert queued.state == "exhausted"


@pytest.mark.parametrize("status", [199, 302, 404, 500])
def test_anything_but_2xx_is_a_failure(status: int) -> None:
    outgoing = an_outgoing()
    message = take(outgoing)

    outgoing.settle(message, NOW, status=status, error=None, took_ms=1)

    assert (message.state, outgoing.next_at) == ("pending", NOW + timedelta(seconds=5))


def take(outgoing: Outgoing) -> Message:
    outgoing.queue("calendar.update", {}, NOW, random.Random(1))
    message = outgoing.take(NOW)
    assert message is not None
    return message


def fail_every_six_hours(outgoing: Outgoing, days: float) -> None:
    for hours in range(0, int(days * 24) + 1, 6):
        if outgoing.disabled_at is None:
            outgoing.settle(
                take(outgoing), NOW + timedelta(hours=hours), status=500, error=None, took_ms=1
            )


def test_five_days_of_failures_disable_the_endpoint_until_it_is_set_again() -> None:
    outgoing = an_outgoing()

    fail_every_six_hours(outgoing, 4.5)
    patient = outgoing.disabled_at
    fail_every_six_hours(outgoing, 6)
    unsent = outgoing.queue("calendar.update", {}, NOW, random.Random(1))
    outgoing.configure(outgoing.endpoint)

    assert (patient, unsent.state) == (None, "unsent")
    assert outgoing.queue("calendar.update", {}, NOW, random.Random(1)).state == "pending"


def test_one_success_starts_the_five_days_anew() -> None:
    outgoing = an_outgoing()
    fail_every_six_hours(outgoing, 4.5)

    outgoing.settle(take(outgoing), NOW, status=204, error=None, took_ms=1)
    fail_every_six_hours(outgoing, 4.5)

    assert outgoing.disabled_at is None


def test_drops_duplicates_and_subscriptions() -> None:
    dropped = an_outgoing(drop=1).queue("a", {}, NOW, random.Random(1))
    unwanted = an_outgoing(events=["b"]).queue("a", {}, NOW, random.Random(1))
    doubled = an_outgoing(duplicate=1)
    doubled.queue("a", {}, NOW, random.Random(1))

    assert (dropped.state, unwanted.state, doubled.waiting) == ("dropped", "unsent", 2)
    first, second = doubled.take(NOW), doubled.take(NOW)
    assert first is second is not None


def test_a_message_may_come_ten_times() -> None:
    tenfold = an_outgoing(duplicate=1, copies=10)
    tenfold.queue("a", {}, NOW, random.Random(1))

    assert tenfold.waiting == 10
    with pytest.raises(ValueError, match="at least 1"):
        an_outgoing(copies=0)


def test_shuffling_changes_the_order() -> None:
    outgoing, chance = an_outgoing(shuffle_ms=1000), random.Random(3)
    queued = [outgoing.queue("a", {}, NOW, chance).id for _ in range(20)]

    taken = [message.id for _ in queued if (message := outgoing.take(NOW + timedelta(seconds=1)))]

    assert sorted(taken) == sorted(queued)
    assert taken != queued


def test_a_connected_calendar_reaches_the_endpoint_signed(
    remote: httpx.Client, receiver: Receiver
) -> None:
    listen(remote, receiver, family="both")

    calendar = connect(remote)

    until(lambda: len(receiver.posts) == 2)
    bodies = []
    for headers, body in receiver.posts:
        Webhook(SECRET).verify(body, headers)
        assert headers["webhook-id"] == headers["svix-id"]
        bodies.append(json.loads(body))
    assert {body["event"] for body in bodies} == {"calendar.update", "calendar.sync_events"}
    assert {body["data"]["calendar_id"] for body in bodies} == {calendar}


def test_retries_come_when_the_virtual_clock_does(remote: httpx.Client, receiver: Receiver) -> None:
    receiver.statuses = [500, 503]
    listen(remote, receiver, events=["calendar.update"])
    connect(remote)
    until(lambda: len(receiver.posts) == 1)

    early = remote.post("/_emulator/clock", json={"advance_seconds": 4}).json()
    after_four = len(receiver.posts)
    remote.post("/_emulator/clock", json={"advance_seconds": 400})

    delivery = remote.get("/_emulator/deliveries?state=delivered").json()[0]
    assert (early["mode"], after_four, len(receiver.posts)) == ("virtual", 1, 3)
    assert len({headers["webhook-id"] for headers, _ in receiver.posts}) == 1
    assert [attempt["status"] for attempt in delivery["attempts"]] == [500, 503, 204]
    assert delivery["attempts"][2]["at"] == iso(NOW + timedelta(seconds=305))


def test_an_endpoint_that_is_not_there_is_a_failure(remote: httpx.Client) -> None:
    remote.put("/_emulator/webhook", json={"url": "http://127.0.0.1:9/hook"})
    connect(remote)

    until(lambda: all(each["attempts"] for each in remote.get("/_emulator/deliveries").json()))

    delivery = remote.get("/_emulator/deliveries").json()[0]
    assert (delivery["state"], delivery["attempts"][0]["status"]) == ("pending", None)


def test_a_slow_endpoint_times_out(remote: httpx.Client, receiver: Receiver) -> None:
    listen(remote, receiver, timeout_s=0.0001)
    connect(remote)

    until(lambda: all(each["attempts"] for each in remote.get("/_emulator/deliveries").json()))

    assert remote.get("/_emulator/deliveries").json()[0]["attempts"][0]["error"] == "timeout"


def test_a_pause_holds_everything_back(remote: httpx.Client, receiver: Receiver) -> None:
    listen(remote, receiver, paused=True)
    connect(remote)
    remote.post("/_emulator/clock", json={"advance_seconds": 60})
    held = len(receiver.posts)

    remote.put("/_emulator/webhook", json={"paused": False})

    until(lambda: len(receiver.posts) == 2)
    assert held == 0


def test_a_replay_sends_the_same_ids_again(remote: httpx.Client, receiver: Receiver) -> None:
    listen(remote, receiver)
    connect(remote)
    until(lambda: len(receiver.posts) == 2)
    sent = remote.get("/_emulator/deliveries").json()[0]["id"]

    answer = remote.post("/_emulator/deliveries/replay", json={"ids": [sent]}).json()

    until(lambda: len(receiver.posts) == 3)
    assert answer == {"replayed": 1}
    assert receiver.posts[2][0]["webhook-id"] == sent


def test_a_thousand_deliveries_do_not_hold_up_the_api(remote: httpx.Client, receiver: Receiver) -> None:
    calendar = connect(remote)
    remote.patch("/_emulator/limits", json={"enabled": False})
    events = [{"calendar_id": calendar} for _ in range(1)]
    made = remote.post("/_emulator/events:batch", json=events).json()[0]["id"]
    listen(remote, receiver, paused=True)
    for _ in range(100):
        remote.patch(f"/_emulator/events/{made}", json={"title": "x"})
    for _ in range(9):
        remote.post("/_emulator/deliveries/replay", json={"state": "pending"})
    listen(remote, receiver, paused=False)

    began = time.perf_counter()
    assert remote.get("/api/v2/calendar-events/").status_code == 200

    assert time.perf_counter() - began < 2
    until(lambda: len(receiver.posts) >= 1000)


def test_the_old_address_of_a_calendar_may_still_get_a_copy(
    remote: httpx.Client, receiver: Receiver
) -> None:
    remote.patch("/_emulator/switches", json={"webhook_url_still_posts": True})

    remote.post(
        "/_emulator/calendars",
        json={"email": "a@example.com", "webhook_url": receiver.url + "?token=1"},
    )

    until(lambda: len(receiver.posts) == 2)
    assert "webhook-signature" not in receiver.posts[0][0]


def test_advancing_without_settling_does_not_wait_for_the_endpoint(
    remote: httpx.Client, receiver: Receiver
) -> None:
    listen(remote, receiver, delay_ms=1000)
    connect(remote)

    answer = remote.post("/_emulator/clock", json={"advance_seconds": 5, "settle": False})

    assert answer.json()["now"] == iso(NOW + timedelta(seconds=5))
    until(lambda: len(receiver.posts) == 2)


def test_the_real_clock_connects_a_calendar_by_itself(receiver: Receiver) -> None:
    with (
        running(lambda url: create_recall(base_url=url)) as url,
        httpx.Client(base_url=url, headers={"authorization": "sandbox-key"}) as client,
    ):
        listen(client, receiver)
        credentials = {
            "oauth_client_id": "i",
            "oauth_client_secret": "s",
            "oauth_refresh_token": "rt:a@example.com",
        }
        client.post(
            "/api/v2/calendars/", json=credentials | {"platform": "google_calendar"}
        ).raise_for_status()

        until(lambda: len(receiver.posts) == 2)

        assert client.get("/_emulator/state").json()["calendars"] == {"connected": 1}
