"""Subscriptions: proof of the endpoints, duplicates, lives, renewals, and who sees which."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.microsoft.driving import Endpoint, Remote, a_subscription


def refused(remote: Remote, method: str, path: str, body: Any = None) -> tuple[int, str]:
    answer = remote.graph(method, path, body)
    return answer.status_code, answer.json()["error"]["code"]


def test_both_endpoints_prove_themselves_before_a_subscription_lives(
    remote: Remote, endpoint: Endpoint
) -> None:
    made = remote.subscribe(endpoint)

    assert len(endpoint.tokens) == 2
    assert all(token.startswith("Validation: Testing client application") for token in endpoint.tokens)
    assert made["expirationDateTime"] == "2026-11-25T09:00:00.0000000Z"
    assert (made["clientState"], made["applicationId"]) == ("state", "app")
    assert remote.graph("GET", f"/subscriptions/{made['id']}").json()["id"] == made["id"]


@pytest.mark.parametrize("proof", ["", "Validation%3A", "something else"])
def test_an_endpoint_that_echoes_anything_else_gets_no_subscription(
    remote: Remote, endpoint: Endpoint, proof: str
) -> None:
    endpoint.proof = proof

    assert refused(remote, "POST", "/subscriptions", a_subscription(endpoint)) == (
        400,
        "ValidationError",
    )
    assert remote.graph("GET", "/subscriptions").json()["value"] == []


def test_an_endpoint_that_is_late_or_not_there_gets_no_subscription(
    remote: Remote, endpoint: Endpoint
) -> None:
    remote.control("PATCH", "/limits", {"validation_timeout_s": 0.2})
    nowhere = a_subscription(endpoint, notificationUrl="http://127.0.0.1:9/hook")
    endpoint.slow_s = 1.0

    late = remote.graph("POST", "/subscriptions", a_subscription(endpoint))

    assert late.json()["error"]["message"] == "Subscription validation request timed out."
    assert refused(remote, "POST", "/subscriptions", nowhere) == (400, "ValidationError")


def test_the_query_of_an_endpoint_is_kept(remote: Remote, endpoint: Endpoint) -> None:
    made = remote.subscribe(endpoint, notificationUrl=f"{endpoint.url}?tenant=a%20b")

    assert made["notificationUrl"].endswith("?tenant=a%20b")
    assert len(endpoint.tokens) == 2


def test_the_same_cannot_be_watched_twice_unless_a_switch_lets_it(
    remote: Remote, endpoint: Endpoint
) -> None:
    made = remote.subscribe(endpoint)
    again = a_subscription(endpoint, resource="/me/events", changeType="deleted,created,updated")

    answer = remote.graph("POST", "/subscriptions", again)
    assert answer.status_code == 409
    assert answer.json()["error"]["message"] == (
        f"Subscription Id {made['id']} already exists for the requested combination"
    )
    assert remote.graph(
        "POST", "/subscriptions", a_subscription(endpoint, changeType="created")
    ).is_success

    remote.control("PATCH", "/switches", {"duplicate_subscriptions_refused": False})
    assert remote.graph("POST", "/subscriptions", again).status_code == 201


@pytest.mark.parametrize(
    ("fields", "answer"),
    [
        ({"changeType": "moved"}, (400, "InvalidRequest")),
        ({"resource": "me/messages"}, (400, "InvalidRequest")),
        ({"resource": "users/nobody@corp.example/events"}, (404, "ErrorItemNotFound")),
        ({"expirationDateTime": "2026-11-30T09:00:01Z"}, (400, "ExtensionError")),
        ({"expirationDateTime": None}, (400, "InvalidRequest")),
        ({"notificationUrl": "ftp://127.0.0.1/hook"}, (400, "InvalidRequest")),
        ({"clientState": "x" * 129}, (400, "InvalidRequest")),
        ({"includeResourceData": True}, (400, "InvalidRequest")),
        ({"secret": "x"}, (400, "RequestBodyRead")),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused(
    remote: Remote, endpoint: Endpoint, fields: dict[str, Any], answer: tuple[int, str]
) -> None:
    assert refused(remote, "POST", "/subscriptions", a_subscription(endpoint, **fields)) == answer
    assert endpoint.tokens == []


@pytest.mark.parametrize(
    ("wished", "got"),
    [
        ("2026-11-23T09:05:00Z", "2026-11-23T09:45:00.0000000Z"),
        ("2026-11-30T09:00:00Z", "2026-11-30T09:00:00.0000000Z"),
    ],
)
def test_a_life_is_at_least_45_minutes_and_at_most_seven_days(
    remote: Remote, endpoint: Endpoint, wished: str, got: str
) -> None:
    assert remote.subscribe(endpoint, expirationDateTime=wished)["expirationDateTime"] == got


def test_a_renewal_proves_the_endpoints_again(remote: Remote, endpoint: Endpoint) -> None:
    made = remote.subscribe(endpoint)
    path, wish = f"/subscriptions/{made['id']}", {"expirationDateTime": "2026-11-26T09:00:00Z"}

    renewed = remote.graph("PATCH", path, wish)
    endpoint.proof = "no"
    failed = remote.graph("PATCH", path, {"expirationDateTime": "2026-11-27T09:00:00Z"})

    assert renewed.json()["expirationDateTime"] == "2026-11-26T09:00:00.0000000Z"
    assert len(endpoint.tokens) > 2
    assert failed.status_code == 400
    assert remote.graph("GET", path).json()["expirationDateTime"] == "2026-11-26T09:00:00.0000000Z"

    remote.control("PATCH", "/switches", {"renewal_validates": False})
    assert remote.graph("PATCH", path, {"expirationDateTime": "2026-11-27T09:00:00Z"}).is_success


def test_a_lifecycle_url_cannot_be_patched_in(remote: Remote, endpoint: Endpoint) -> None:
    made = remote.subscribe(endpoint, lifecycleNotificationUrl=None)
    wish = {"expirationDateTime": "2026-11-26T09:00:00Z", "lifecycleNotificationUrl": endpoint.url}

    assert refused(remote, "PATCH", f"/subscriptions/{made['id']}", wish) == (400, "InvalidRequest")


def test_an_expired_or_deleted_subscription_is_not_found(remote: Remote, endpoint: Endpoint) -> None:
    made = remote.subscribe(endpoint)
    path = f"/subscriptions/{made['id']}"

    assert remote.graph("DELETE", path).status_code == 204
    for method in ("GET", "PATCH", "DELETE"):
        assert refused(remote, method, path, {}) == (404, "ResourceNotFound")

    later = remote.subscribe(endpoint, expirationDateTime="2026-11-23T09:45:00Z")
    remote.advance(45 * 60)
    assert refused(remote, "GET", f"/subscriptions/{later['id']}") == (404, "ResourceNotFound")


def test_the_client_state_may_be_shown_to_its_creator_once(remote: Remote, endpoint: Endpoint) -> None:
    remote.control("PATCH", "/switches", {"client_state_shown": False})
    made = remote.subscribe(endpoint)

    assert made["clientState"] == "state"
    assert remote.graph("GET", "/subscriptions").json()["value"][0]["clientState"] is None


def test_an_application_sees_its_own_subscriptions_alone(remote: Remote, endpoint: Endpoint) -> None:
    made = remote.subscribe(endpoint)
    server = remote.app.state.world.server
    account = server.account("anna@corp.example")
    remote.control("POST", "/oauth/clients", {"client_id": "other", "client_secret": "s"})
    token = server.mint(account, server.clients["other"], ("Calendars.Read",))["access_token"]
    remote.client.headers["authorization"] = f"Bearer {token}"

    assert remote.graph("GET", "/subscriptions").json()["value"] == []
    assert refused(remote, "GET", f"/subscriptions/{made['id']}")[0] == 404
    assert remote.graph("POST", "/subscriptions", a_subscription(endpoint)).status_code == 201


def test_a_mailbox_has_room_for_so_many(remote: Remote, endpoint: Endpoint) -> None:
    remote.control("PATCH", "/limits", {"subscriptions_per_mailbox": 1})
    remote.subscribe(endpoint)

    assert refused(
        remote, "POST", "/subscriptions", a_subscription(endpoint, changeType="created")
    ) == (
        403,
        "ExtensionError",
    )


def test_one_calendar_may_be_watched_if_the_switch_lets_it(remote: Remote, endpoint: Endpoint) -> None:
    calendar = remote.graph("GET", "/me/calendar").json()["id"]
    wish = a_subscription(endpoint, resource=f"me/calendars/{calendar}/events")

    assert remote.graph("POST", "/subscriptions", wish).status_code == 201

    remote.control("PATCH", "/switches", {"calendar_subscriptions": False})
    assert refused(remote, "POST", "/subscriptions", {**wish, "changeType": "created"})[0] == 400
