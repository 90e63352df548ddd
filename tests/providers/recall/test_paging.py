"""Paging stays at home, ends, and believes nothing."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.providers.recall.scripted import BASE, Scripted, ok, page, saying
from worker.errors import TryLater
from worker.providers.recall import client as client_module
from worker.providers.recall.client import EVENTS, LIST

HOME = f"{BASE}{EVENTS}"


def rows_of(recall: Scripted, **params: str) -> list[object]:
    pages = recall.client.pages(EVENTS, operation="list_events", budget=LIST, params=params)
    return [row for rows, _ in pages for row in rows]


def test_pages_are_followed_to_the_end() -> None:
    with saying(page(1, 2, following=f"{HOME}?cursor=a%3D&is_deleted=false"), page(3)) as recall:
        assert rows_of(recall, is_deleted="false") == [1, 2, 3]

        assert dict(recall.requests[1].url.params) == {"cursor": "a=", "is_deleted": "false"}
        assert recall.allowance.taken == {LIST: 2}


def test_filters_stay_those_that_were_sent() -> None:
    with saying(page(1, following=f"{HOME}?cursor=a&calendar_id=other&x=1"), page(2)) as recall:
        rows_of(recall, calendar_id="mine")

        assert dict(recall.requests[1].url.params) == {"cursor": "a", "calendar_id": "mine"}


def test_a_link_that_lost_its_tls_is_followed_over_tls() -> None:
    with saying(page(1, following=HOME.replace("https", "http") + "?cursor=a"), page(2)) as recall:
        assert rows_of(recall) == [1, 2]

        assert recall.requests[1].url.scheme == "https"


@pytest.mark.parametrize(
    "following",
    [
        "https://evil.test/api/v2/calendar-events/?cursor=a",
        f"https://us-west-2.recall.test.evil.test{EVENTS}?cursor=a",
        f"https://us-west-2.recall.test@evil.test{EVENTS}?cursor=a",
        f"https://user@us-west-2.recall.test{EVENTS}?cursor=a",
        f"https://:pass@us-west-2.recall.test{EVENTS}?cursor=a",
        f"https://us-west-2.recall.test:8443{EVENTS}?cursor=a",
        f"ftp://us-west-2.recall.test{EVENTS}?cursor=a",
        "file:///etc/passwd?cursor=a",
        "javascript:alert(1)",
        f"{BASE}/api/v1/bot/?cursor=a",
        f"{BASE}{EVENTS}../../admin/?cursor=a",
        "?cursor=a",
        f"{EVENTS}?cursor=a",
        f"//us-west-2.recall.test{EVENTS}?cursor=a",
        "https://[::1?cursor=a",
        "https://us-west-2.recall.test:port/?cursor=a",
        f"{HOME}?page_size=1",
        HOME,
        "",
        7,
        True,
        {"cursor": "a"},
        ["a"],
    ],
)
def test_a_link_to_elsewhere_ends_the_listing_with_an_error(following: object) -> None:
    with saying(page(1, following=following), page(2)) as recall:
        with pytest.raises(TryLater):
            rows_of(recall)

        assert len(recall.requests) == 1


def test_a_plain_workspace_is_not_led_to_tls_or_another_port() -> None:
    base = "http://127.0.0.1:9999"
    for elsewhere in ("http://127.0.0.1:80", "https://127.0.0.1:9999", "http://127.0.0.2:9999"):
        first = page(1, following=f"{elsewhere}{EVENTS}?cursor=a")
        with saying(first, base_url=base) as recall, pytest.raises(TryLater):
            rows_of(recall)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_circle_is_noticed(length: int) -> None:
    circle = [page(n, following=f"{HOME}?cursor={n % length}") for n in range(length * 2 + 2)]

    with saying(*circle) as recall:
        with pytest.raises(TryLater, match="already"):
            rows_of(recall)

        assert len(recall.requests) <= length + 1


def test_a_listing_without_end_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MOST_PAGES", 20)
    served = []

    def answer(_request: httpx.Request) -> httpx.Response:
        served.append(1)
        return page(1, following=f"{HOME}?cursor={len(served)}")

    with saying(answer) as recall, pytest.raises(TryLater, match="more than 20 pages"):
        rows_of(recall)
    assert len(served) == 20


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "page",
        7,
        {},
        {"results": None},
        {"results": {}},
        {"results": "rows"},
        {"results": [0] * 10_001},
    ],
    ids=lambda body: json.dumps(body)[:20],
)
def test_what_is_no_page_is_no_empty_page(body: object) -> None:
    with saying(ok(body)) as recall, pytest.raises(TryLater):
        rows_of(recall)


def test_an_empty_body_is_no_empty_page() -> None:
    with saying(httpx.Response(204)) as recall, pytest.raises(TryLater):
        rows_of(recall)


def test_a_page_that_vanished_meanwhile_breaks_the_listing_off() -> None:
    gone = ok({"code": "not_found", "detail": "Invalid page."}, 404)

    first = page(1, following=f"{HOME}?page=2")

    with saying(first, gone) as recall, pytest.raises(TryLater, match="shrank"):
        rows_of(recall)


def test_an_id_never_becomes_another_path() -> None:
    with saying(ok({"id": "../x"})) as recall:
        recall.client.item(EVENTS, "../x", operation="get_event")

        assert recall.requests[0].url.raw_path == b"/api/v2/calendar-events/..%2Fx/"
        for no_id in ("", ".", ".."):
            with pytest.raises(ValueError, match="no id"):
                recall.client.item(EVENTS, no_id, operation="get_event")


def test_an_answer_about_something_else_is_no_answer() -> None:
    with saying(ok({"id": "other"})) as recall, pytest.raises(TryLater, match="something else"):
        recall.client.item(EVENTS, "mine", operation="get_event")
