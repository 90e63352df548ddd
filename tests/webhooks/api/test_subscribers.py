"""Endpoints and the feed over HTTP."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest

from tests.builders import a_calendar
from tests.webhooks.api.fakes import BASE_URL, Api, code_of

URL = "https://hooks.example.com/punctual"


def an_endpoint(api: Api, **fields: Any) -> dict[str, Any]:
    response = api.call("POST", "/v1/endpoints", {"url": URL, **fields})
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


def make_news(api: Api) -> None:
    """Have three domain events about one calendar event and its calendar."""
    calendar_id = a_calendar(api.rt.db)
    api.store_event()
    api.settle()
    api.call("PUT", "/v1/rules", {"select": ["all"]})
    api.settle()
    api.call("DELETE", f"/v1/calendars/{calendar_id}")


def test_a_secret_is_shown_once(api: Api) -> None:
    made = an_endpoint(api, types=["bot.*"], description="Our CRM")

    assert made["secret"].startswith("whsec_")
    shown = api.get(f"/v1/endpoints/{made['id']}")
    assert shown == {name: value for name, value in made.items() if name != "secret"}
    assert api.get("/v1/endpoints")["data"] == [shown]


def test_a_subscriber_can_be_changed_tested_and_removed(api: Api) -> None:
    path = f"/v1/endpoints/{an_endpoint(api)['id']}"

    disabled = api.call("PATCH", path, {"state": "disabled"})
    enabled = api.call("PATCH", path, {"state": "active", "types": ["bot.failed"], "description": None})
    tested = api.call("POST", f"{path}/test")
    attempts = api.get(f"{path}/attempts")["data"]
    rotated = api.call("POST", f"{path}/rotate-secret")
    removed = api.call("DELETE", path)

    assert (disabled.json()["state"], enabled.json()["state"]) == ("disabled", "active")
    assert (enabled.json()["url"], enabled.json()["types"]) == (URL, ["bot.failed"])
    assert tested.json()["succeeded"] is True
    assert attempts == [tested.json()]
    assert json.loads(api.poster.posts[0].body)["type"] == "punctual.test"
    assert rotated.json()["secret"].startswith("whsec_")
    assert (removed.status_code, api.call("GET", path).status_code) == (204, 404)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"url": "ftp://example.com"}, "invalid_endpoint"),
        ({"url": "https://a@127.0.0.1/"}, "invalid_endpoint"),
        ({"url": "javascript:alert(1)"}, "invalid_endpoint"),
        ({"url": URL, "types": ["bot.unknown"]}, "invalid_endpoint"),
        ({"url": URL, "types": ["*"]}, "invalid_request"),
        ({"url": "https://x\r\ny"}, "invalid_request"),
        ({"url": ""}, "invalid_request"),
        ({}, "invalid_request"),
        ({"url": URL, "secret": "whsec_x"}, "invalid_request"),
        ({"url": URL, "state": "disabled"}, "invalid_request"),
    ],
)
def test_a_subscriber_that_cannot_be_posted_to_is_refused(
    api: Api, body: dict[str, Any], code: str
) -> None:
    response = api.call("POST", "/v1/endpoints", body)

    assert (response.status_code, code_of(response)) == (422, code)


def test_subscribers_and_attempts_are_paged(api: Api) -> None:
    ids = [an_endpoint(api)["id"] for _ in range(3)]
    path = f"/v1/endpoints/{ids[0]}"
    tests = [api.call("POST", f"{path}/test").json()["id"] for _ in range(3)]

    for listing, expected in (("/v1/endpoints", ids), (f"{path}/attempts", tests[::-1])):
        first = api.get(f"{listing}?limit=2")
        rest = api.get(f"{listing}?limit=2&cursor={first['next']}")
        assert [one["id"] for one in first["data"] + rest["data"]] == expected
        assert rest["next"] is None
        assert code_of(api.call("GET", f"{listing}?cursor={uuid4()}")) == "invalid_cursor"


def test_domain_events_can_be_posted_again(api: Api) -> None:
    endpoint = an_endpoint(api)
    make_news(api)
    news = api.get("/v1/feed")["data"]

    by_time = api.call(
        "POST", f"/v1/endpoints/{endpoint['id']}/replay", {"since": "2020-01-01T00:00:00Z"}
    )
    by_id = api.call("POST", f"/v1/endpoints/{endpoint['id']}/replay", {"event_ids": [news[0]["id"]]})
    neither = api.call("POST", f"/v1/endpoints/{endpoint['id']}/replay", {})

    assert (by_time.status_code, by_time.json()) == (202, {"replayed": len(news)})
    assert by_id.json() == {"replayed": 1}
    assert neither.status_code == 422


def test_the_feed_is_complete_in_order_and_goes_on_from_a_cursor(api: Api) -> None:
    empty = api.get("/v1/feed")
    make_news(api)

    read: list[dict[str, Any]] = []
    after = empty["next"]
    while page := api.get(f"/v1/feed?limit=1&after={after}")["data"]:
        read += page
        after = api.get(f"/v1/feed?limit=1&after={after}")["next"]

    assert empty["data"] == []
    assert read == api.get("/v1/feed")["data"]
    assert [event["type"] for event in read] == [
        "calendar_event.created",
        "calendar_event.updated",
        "calendar.deleted",
    ]
    assert {event["source"] for event in read} == {BASE_URL}
    assert api.get(f"/v1/feed?after={after}") == {"data": [], "next": after}


def test_the_feed_can_be_narrowed_to_types(api: Api) -> None:
    make_news(api)

    some = api.get("/v1/feed?types=calendar.*,bot.failed")["data"]

    assert [event["type"] for event in some] == ["calendar.deleted"]
    for types in ("bot.lost", "", ",", "*", "bot.*,", "bot.%"):
        assert code_of(api.call("GET", f"/v1/feed?types={types}")) == "invalid_request"


def test_a_place_in_the_feed_outlives_the_encryption_keys(api: Api) -> None:
    from models.sealing import Vault

    make_news(api)
    after = api.get("/v1/feed?limit=1")["next"]
    rest = api.get(f"/v1/feed?after={after}")
    api.restart(vault=Vault([b"n" * 32, b"k" * 32]))
    assert api.get(f"/v1/feed?after={after}") == rest
    api.restart(vault=Vault([b"n" * 32]))

    assert api.get(f"/v1/feed?after={after}") == rest


def test_a_place_in_the_feed_cannot_be_made_up(api: Api) -> None:
    after = api.get("/v1/feed")["next"]

    for forged in (
        after[:-1] + ("A" if after[-1] != "A" else "B"),
        "1",
        "0",
        "AAAA",
        after + after,
        after[1:],
    ):
        assert code_of(api.call("GET", f"/v1/feed?after={forged}")) == "invalid_cursor"


def test_an_unreadable_page_ends_nowhere(api: Api) -> None:
    assert code_of(api.call("GET", "/v1/feed?limit=0")) == "invalid_request"
    assert code_of(api.call("GET", "/v1/feed?cursor=x")) == "invalid_request"
