"""Notifications: what is told, retried, lost and late; and the notices about a subscription's own life."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.sandbox.microsoft.driving import DAILY, NOW, Endpoint, Remote
from worker.sandbox.microsoft.pushes import Health
from worker.sandbox.microsoft.switches import Limits

START = "2026-11-24T10:00:00Z"


def test_a_change_is_told_with_ids_and_state_and_without_content(
    remote: Remote, endpoint: Endpoint
) -> None:
    subscription = remote.subscribe(endpoint)
    made = remote.put_event(start=START)
    remote.advance()

    item = endpoint.items[0]
    account = remote.control("GET", "/accounts")[0]
    assert item["subscriptionId"] == subscription["id"]
    assert (item["changeType"], item["clientState"]) == ("created", "state")
    assert item["resource"] == f"Users/{account['id']}/Events/{made['id']}"
    assert item["resourceData"] == {
        "@odata.type": "#Microsoft.Graph.Event",
        "@odata.id": item["resource"],
        "@odata.etag": made["@odata.etag"],
        "id": made["id"],
    }
    assert item["tenantId"] == account["tenant_id"]
    assert item["subscriptionExpirationDateTime"] == "2026-11-25T09:00:00.0000000Z"


def test_only_what_was_asked_for_is_told(remote: Remote, endpoint: Endpoint) -> None:
    remote.subscribe(endpoint, changeType="deleted")
    made = remote.put_event(start=START)
    remote.control("PATCH", f"/events/{made['id']}", {"title": "New"})
    remote.control("DELETE", f"/events/{made['id']}")
    remote.advance()

    assert endpoint.kinds == ["deleted"]


def test_a_subscription_made_with_immutable_ids_is_told_them(
    remote: Remote, endpoint: Endpoint
) -> None:
    remote.graph("POST", "/subscriptions", a_body(endpoint), prefer='IdType="ImmutableId"')
    made = remote.put_event(start=START)
    remote.advance()

    assert endpoint.items[0]["resourceData"]["id"] == made["_emulator"]["immutable_id"]


def a_body(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "changeType": "created,updated,deleted",
        "notificationUrl": endpoint.url,
        "resource": "me/events",
        "expirationDateTime": "2026-11-25T09:00:00Z",
    }


def test_a_deleted_occurrence_is_told_as_an_update_of_its_series(
    remote: Remote, endpoint: Endpoint
) -> None:
    made = remote.put_event(start=START, recurrence=DAILY)
    remote.subscribe(endpoint)
    remote.control("DELETE", f"/events/{made['id']}?on=2026-11-25")
    remote.advance()

    assert [(item["changeType"], item["resourceData"]["id"]) for item in endpoint.items] == [
        ("updated", made["id"])
    ]


def test_one_post_may_carry_notifications_of_several_subscriptions(
    remote: Remote, endpoint: Endpoint
) -> None:
    remote.subscribe(endpoint)
    remote.subscribe(endpoint, changeType="created")
    endpoint.posts.clear()
    remote.put_event(start=START)
    remote.advance()

    assert [len(post["value"]) for post in endpoint.posts] == [2]
    assert len({item["subscriptionId"] for item in endpoint.items}) == 2

    remote.control("PATCH", "/weather", {"mixes": False})
    endpoint.posts.clear()
    remote.put_event(start=START)
    remote.advance()
    assert [len(post["value"]) for post in endpoint.posts] == [1, 1]


def test_an_edit_may_be_told_more_than_once(remote: Remote, endpoint: Endpoint) -> None:
    remote.control("PATCH", "/switches", {"updates_per_edit": 3, "create_sends_updated_too": True})
    remote.subscribe(endpoint)
    made = remote.put_event(start=START)
    remote.control("PATCH", f"/events/{made['id']}", {"title": "New"})
    remote.advance()

    assert sorted(endpoint.kinds) == ["created", *["updated"] * 4]


def test_what_is_not_answered_well_is_tried_again_with_growing_distances(
    remote: Remote, endpoint: Endpoint
) -> None:
    remote.subscribe(endpoint)
    endpoint.statuses = [500, 404, 302]
    remote.put_event(start=START)
    remote.advance(120)

    notice = remote.control("GET", "/notifications")[0]
    assert [attempt["status"] for attempt in notice["attempts"]] == [500, 404, 302, 202]
    assert [attempt["at"][14:19] for attempt in notice["attempts"]] == [
        "00:00",
        "00:10",
        "00:30",
        "01:10",
    ]
    assert notice["state"] == "delivered"


def test_an_endpoint_that_is_away_for_a_while_is_told_later(remote: Remote, endpoint: Endpoint) -> None:
    remote.subscribe(endpoint)
    [known] = remote.app.state.world.announcer.subscriptions.alive()
    known.url = "http://127.0.0.1:9/hook"
    remote.put_event(start=START)
    remote.advance()

    notice = remote.control("GET", "/notifications?state=pending")[0]
    assert notice["attempts"][0]["error"].startswith("ConnectionRefusedError")
    assert notice["next_attempt_at"] is not None


def test_after_four_hours_a_notification_is_given_up_and_missed_is_told(
    remote: Remote, endpoint: Endpoint
) -> None:
    remote.control("PATCH", "/switches", {"notifications_need_live_token": False})
    remote.control("PATCH", "/limits", {"first_retry_s": 3600, "longest_retry_s": 7200})
    remote.subscribe(endpoint)
    endpoint.statuses = [500] * 3
    remote.put_event(start=START)
    remote.advance(6 * 3600)

    assert endpoint.kinds == ["created"] * 3 + ["missed"]
    assert remote.control("GET", "/notifications?state=given_up")[0]["kind"] == "created"


def test_a_first_answer_after_three_seconds_is_too_late_and_a_later_one_has_ten(
    remote: Remote, endpoint: Endpoint
) -> None:
    remote.control("PATCH", "/limits", {"answer_s": 0.05, "retry_answer_s": 1.0})
    remote.subscribe(endpoint)
    endpoint.slow_s = 0.1
    remote.put_event(start=START)
    remote.advance(60)

    notice = remote.control("GET", "/notifications")[0]
    assert [attempt["status"] for attempt in notice["attempts"]] == [202, 202]


@pytest.mark.parametrize(
    ("took_s", "bad", "state"),
    [(1.0, 100, "well"), (4.0, 10, "well"), (4.0, 11, "slow"), (11.0, 15, "slow"), (11.0, 16, "drop")],
)
def test_an_endpoint_is_judged_by_its_slow_answers(took_s: float, bad: int, state: str) -> None:
    health, limits = Health(NOW), Limits()
    for _ in range(100 - bad):
        health.note(0.1, NOW, limits)
    for _ in range(bad):
        health.note(took_s, NOW, limits)

    assert health.state(NOW) == state
    assert health.state(NOW + timedelta(minutes=10)) == "well"


def test_a_slow_endpoint_waits_for_new_notifications_and_a_worse_one_loses_them(
    remote: Remote, endpoint: Endpoint
) -> None:
    remote.control("PATCH", "/limits", {"answers_judged": 1, "answer_s": 0.05, "retry_answer_s": 0.3})
    remote.subscribe(endpoint)
    endpoint.slow_s = 0.1
    remote.put_event(start=START)
    remote.advance(1)
    endpoint.slow_s = 0.0
    endpoint.posts.clear()
    remote.put_event(start=START)
    remote.advance(500)

    assert set(remote.control("GET", "/state")["endpoints"].values()) == {"slow"}
    assert endpoint.posts == []

    remote.advance(600)
    assert endpoint.kinds.count("created") == 2

    remote.control("PATCH", "/limits", {"answer_s": 0.01, "retry_answer_s": 0.02})
    endpoint.slow_s = 0.1
    remote.put_event(start=START)
    remote.advance(1)
    remote.put_event(start=START)

    assert remote.control("GET", "/notifications")[0]["state"] == "dropped"


def test_bad_weather_loses_doubles_and_delays(remote: Remote, endpoint: Endpoint) -> None:
    remote.subscribe(endpoint)
    remote.control("PATCH", "/weather", {"drop": 1})
    remote.put_event(start=START)
    remote.control("PATCH", "/weather", {"drop": 0, "duplicate": 1, "copies": 3})
    remote.put_event(start=START)
    remote.advance()
    assert len(endpoint.items) == 3

    remote.control("PATCH", "/weather", {"duplicate": 0, "delay_ms": 5000})
    remote.put_event(start=START)
    remote.advance(4)
    assert len(endpoint.items) == 3
    remote.advance(2)
    assert len(endpoint.items) == 4


def test_shuffled_notifications_arrive_out_of_order(remote: Remote, endpoint: Endpoint) -> None:
    remote.subscribe(endpoint)
    remote.control("PATCH", "/weather", {"shuffle_ms": 60_000, "seed": 4})
    made = [remote.put_event(start=START)["id"] for _ in range(8)]
    remote.advance(60)

    arrived = [item["resourceData"]["id"] for item in endpoint.items]
    assert sorted(arrived) == sorted(made)
    assert arrived != made


def test_a_silent_subscription_looks_alive(remote: Remote, endpoint: Endpoint) -> None:
    made = remote.subscribe(endpoint)
    remote.control("POST", f"/subscriptions/{made['id']}/silence", {})
    remote.put_event(start=START)
    remote.advance(600)

    assert remote.graph("GET", f"/subscriptions/{made['id']}").is_success
    assert endpoint.posts == []


def test_shortly_before_the_token_ends_reauthorisation_is_asked_for(
    remote: Remote, endpoint: Endpoint
) -> None:
    made = remote.subscribe(endpoint)
    remote.advance(3599 - 901)
    assert endpoint.kinds == []

    remote.advance(2)
    assert endpoint.kinds == ["reauthorizationRequired"]
    assert endpoint.items[0] == {
        "subscriptionId": made["id"],
        "subscriptionExpirationDateTime": "2026-11-25T09:00:00.0000000Z",
        "tenantId": remote.control("GET", "/accounts")[0]["tenant_id"],
        "clientState": "state",
        "lifecycleEvent": "reauthorizationRequired",
    }


def renewed_token(remote: Remote) -> None:
    """Let the client go on with a fresh access token."""
    token = remote.control(
        "POST",
        "/oauth/tokens",
        {"account": "anna@corp.example", "client_id": "app", "scopes": ["Calendars.Read"]},
    )["access_token"]
    remote.client.headers["authorization"] = f"Bearer {token}"


@pytest.mark.parametrize("way", ["reauthorize", "renew"])
def test_notifications_pause_at_the_end_of_the_token_until_it_is_renewed(
    remote: Remote, endpoint: Endpoint, way: str
) -> None:
    made = remote.subscribe(endpoint)
    remote.advance(3700)
    endpoint.posts.clear()
    remote.put_event(start=START)
    remote.advance(300)
    assert endpoint.posts == []

    renewed_token(remote)
    path = f"/subscriptions/{made['id']}"
    if way == "reauthorize":
        assert remote.graph("POST", f"{path}/reauthorize").status_code == 204
    else:
        remote.graph("PATCH", path, {"expirationDateTime": "2026-11-26T09:00:00Z"}).raise_for_status()
    remote.advance(120)

    assert endpoint.kinds == ["created"]


def test_paused_notifications_may_be_lost_and_are_told_of_as_missed(
    remote: Remote, endpoint: Endpoint
) -> None:
    remote.control("PATCH", "/switches", {"paused_notifications": "lost"})
    made = remote.subscribe(endpoint)
    remote.advance(3700)
    endpoint.posts.clear()
    remote.put_event(start=START)
    remote.advance(60)

    renewed_token(remote)
    remote.graph("POST", f"/subscriptions/{made['id']}/reauthorize").raise_for_status()
    remote.advance(60)

    assert endpoint.kinds == ["missed"]


def test_tokens_may_end_unnoticed(remote: Remote, endpoint: Endpoint) -> None:
    remote.control("PATCH", "/switches", {"notifications_need_live_token": False})
    remote.subscribe(endpoint)
    remote.advance(4 * 3600)
    remote.put_event(start=START)
    remote.advance(1)

    assert endpoint.kinds == ["created"]


@pytest.mark.parametrize("event", ["missed", "reauthorizationRequired", "subscriptionRemoved"])
def test_lifecycle_notices_are_sent_on_demand(remote: Remote, endpoint: Endpoint, event: str) -> None:
    made = remote.subscribe(endpoint)
    remote.control("POST", f"/subscriptions/{made['id']}/lifecycle", {"event": event})
    remote.advance()

    is_gone = remote.graph("GET", f"/subscriptions/{made['id']}").status_code == 404
    assert endpoint.kinds == [event]
    assert is_gone == (event == "subscriptionRemoved")


def test_without_a_lifecycle_url_nothing_is_told_of_a_subscriptions_life(
    remote: Remote, endpoint: Endpoint
) -> None:
    remote.subscribe(endpoint, lifecycleNotificationUrl=None)
    remote.advance(3700)

    assert endpoint.posts == []


def test_the_token_behind_a_subscription_can_be_ended(remote: Remote, endpoint: Endpoint) -> None:
    made = remote.subscribe(endpoint)
    remote.control("POST", f"/subscriptions/{made['id']}/unauthorize", {"in_seconds": 60})
    remote.advance(61)
    remote.put_event(start=START)
    remote.advance(1)

    assert endpoint.kinds == ["reauthorizationRequired"]
    assert remote.control("GET", "/notifications")[0]["state"] == "paused"


def test_a_subscription_can_vanish_without_a_word(remote: Remote, endpoint: Endpoint) -> None:
    made = remote.subscribe(endpoint)
    remote.control("DELETE", f"/subscriptions/{made['id']}")
    remote.put_event(start=START)
    remote.advance()

    assert remote.graph("GET", f"/subscriptions/{made['id']}").status_code == 404
    assert endpoint.posts == []


def test_an_expired_subscription_tells_nothing_more(remote: Remote, endpoint: Endpoint) -> None:
    remote.control("PATCH", "/weather", {"delay_ms": 3_000_000})
    remote.subscribe(endpoint, expirationDateTime="2026-11-23T09:45:00Z", lifecycleNotificationUrl=None)
    remote.put_event(start=START)
    remote.advance(3600)

    assert endpoint.posts == []
    assert remote.control("GET", "/notifications")[0]["state"] == "lost"


def test_notifications_can_be_sent_again(remote: Remote, endpoint: Endpoint) -> None:
    remote.subscribe(endpoint)
    remote.put_event(start=START)
    remote.advance()
    remote.control("POST", "/notifications/replay", {})
    remote.advance()

    assert endpoint.kinds == ["created", "created"]
