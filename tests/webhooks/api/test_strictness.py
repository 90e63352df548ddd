"""What the API refuses, and that it says so in one way (rows A4 to A9 and A19 to A23)."""

from __future__ import annotations

import json
from uuid import uuid4

import httpx
import pytest

from tests.builders import a_calendar
from tests.webhooks.api.fakes import Api, code_of
from webhooks.api.table import OPERATIONS

ADOPT = b'{"source":"recall","external_id":"cal-anna"}'
LISTS = sorted({op.path for op in OPERATIONS if "limit" in op.query.model_fields})
WITH_ID = [(op.method, op.path) for op in OPERATIONS if "{id}" in op.path]


def post(api: Api, content: bytes, **headers: str) -> httpx.Response:
    sent = {"Content-Type": "application/json"} | {
        name.replace("_", "-"): text for name, text in headers.items()
    }
    return api.call("POST", "/v1/calendars", content=content, headers=sent)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null x",
        b"\xff\xfe{}",
        b"\xef\xbb\xbf" + ADOPT,
        b'{"source":"recall","source":"recall","external_id":"x"}',
        b'{"source":"recall","external_id":NaN}',
        b'{"source":"recall","external_id":"x","metadata":{"a":-Infinity}}',
        b'{"source":"recall","external_id":"x","metadata":{"a":1e400}}',
        b'{"source":"recall","external_id":"a\\u0000b"}',
        b'{"source":"recall","external_id":"\\ud800"}',
        b'{"\\udfff":1}',
        b'{"a":' + b"9" * 5_000 + b"}",
        b'{"source":"recall","external_id":"x","metadata":' + b'{"a":' * 40 + b"1" + b"}" * 41,
        b"[" * 1_000 + b"]" * 1_000,
        b"[" * 100_000,
    ],
)
def test_a_body_that_is_not_clean_json_is_refused(api: Api, content: bytes) -> None:
    response = post(api, content)

    assert (response.status_code, code_of(response)) == (400, "invalid_json")


def test_a_large_body_is_refused_before_it_is_read(api: Api) -> None:
    response = post(api, b'{"a":"' + b"x" * 10_000_000 + b'"}')

    assert (response.status_code, code_of(response)) == (413, "body_too_large")


@pytest.mark.parametrize(
    "media_type",
    ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", ""],
)
def test_a_body_of_another_type_is_refused(api: Api, media_type: str) -> None:
    response = post(api, ADOPT, Content_Type=media_type)

    assert (response.status_code, code_of(response)) == (415, "unsupported_media_type")


def test_a_compressed_body_is_refused(api: Api) -> None:
    assert post(api, ADOPT, Content_Encoding="gzip").status_code == 415


@pytest.mark.parametrize(
    "media_type", ["application/json", "Application/JSON; charset=UTF-8", "application/vnd.x+json"]
)
def test_json_is_accepted_in_its_usual_spellings(api: Api, media_type: str) -> None:
    assert post(api, ADOPT, Content_Type=media_type).status_code == 201


@pytest.mark.parametrize(
    "extra",
    [
        {"status": "connected"},
        {"id": str(uuid4())},
        {"fence": 7},
        {"created_at": "2020-01-01T00:00:00Z"},
        {"tenant_id": "other"},
        {"rules": {"select": ["all"]}},
        {"__proto__": {}},
        {"owner": 7},
        {"owner": ["x"]},
        {"owner": "two\nlines"},
        {"owner": "\x1b[31mred"},
        {"owner": ""},
        {"owner": "x" * 201},
        {"metadata": []},
        {"metadata": {"a": "x" * 20_000}},
        {"source": "ical"},
        {"external_id": None},
        {"external_id": 5},
    ],
)
def test_fields_that_are_unknown_ours_or_misshapen_are_refused(
    api: Api, extra: dict[str, object]
) -> None:
    response = api.call("POST", "/v1/calendars", {"source": "recall", "external_id": "cal", **extra})

    assert (response.status_code, code_of(response)) == (422, "invalid_request")
    assert response.json()["errors"]


def test_a_patch_cannot_touch_what_is_ours(api: Api) -> None:
    path = f"/v1/calendars/{a_calendar(api.rt.db)}"
    before = api.get(path)

    for name, value in (
        ("status", "disconnected"),
        ("external_id", "x"),
        ("email", "x@y.z"),
        ("wanted", 9),
    ):
        assert api.call("PATCH", path, {name: value}).status_code == 422

    assert api.get(path) == before


@pytest.mark.parametrize(
    "limit", ["-1", "0", "201", "1000000000", "abc", "1.5", "", " 5", "٣", "0x10", "1e2"]
)
def test_a_limit_is_a_number_from_1_to_200(api: Api, limit: str) -> None:
    for path in LISTS:
        response = api.call("GET", path.replace("{id}", str(uuid4())), params={"limit": limit})
        assert (response.status_code, code_of(response)) == (422, "invalid_request")


@pytest.mark.parametrize(
    "query",
    [
        "tenant_id=1",
        "sort=id;drop",
        "__proto__=1",
        "limit=5&limit=5",
        "%00=1",
        "LIMIT=5",
        "cursor=",
        "cursor=%00",
    ],
)
def test_a_query_that_is_not_described_is_refused(api: Api, query: str) -> None:
    response = api.call("GET", f"/v1/calendars?{query}")

    assert (response.status_code, code_of(response)) == (422, "invalid_request")


@pytest.mark.parametrize(
    "query",
    [
        "calendar_id=1",
        "calendar_id=%00",
        "start_gte=yesterday",
        "start_gte=2026-01-01",
        "start_gte=2026-01-01T00:00:00",
        "start_lt=99999-01-01T00:00:00Z",
        "start_lt=9999-12-31T23:59:59-14:00",
        "deleted=1",
        "deleted=True",
        "recorded=id;drop",
    ],
)
def test_a_filter_that_makes_no_sense_is_refused(api: Api, query: str) -> None:
    response = api.call("GET", f"/v1/events?{query}")

    assert (response.status_code, code_of(response)) == (422, "invalid_request")


def test_a_time_with_a_plus_is_understood_even_unescaped(api: Api) -> None:
    for written in (
        "2026-11-21T12:00:00+02:00",
        "2026-11-21T12:00:00%2B02:00",
        "2026-11-21T10:00:00.5Z",
    ):
        assert api.call("GET", f"/v1/events?start_gte={written}").status_code == 200


def test_a_cursor_is_refused_when_it_is_not_ours_or_was_changed_in_a_single_bit(api: Api) -> None:
    for number in range(3):
        a_calendar(api.rt.db, f"cal-{number}")
    cursor = api.get("/v1/calendars?limit=1")["next"]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    flipped = [
        cursor[:place] + alphabet[alphabet.index(cursor[place]) ^ bit] + cursor[place + 1 :]
        for place in (0, 7, len(cursor) // 2, len(cursor) - 2, len(cursor) - 1)
        for bit in (1, 2, 4, 8, 16, 32)
    ]

    for forged in (*flipped, cursor + "=", cursor[:-1], "AAAA", "x" * 900, "!", cursor + "A"):
        response = api.call("GET", "/v1/calendars", params={"limit": "1", "cursor": forged})
        assert (response.status_code, code_of(response)) == (422, "invalid_cursor"), forged
    assert api.call("GET", "/v1/calendars", params={"cursor": cursor}).status_code == 200


def test_a_cursor_belongs_to_one_list_and_its_filters(api: Api) -> None:
    for number in range(3):
        a_calendar(api.rt.db, f"cal-{number}", owner="u")
    cursor = api.get("/v1/calendars?limit=1&owner=u")["next"]

    for path in ("/v1/calendars", "/v1/calendars?owner=v", "/v1/events", "/v1/bots", "/v1/endpoints"):
        separator = "&" if "?" in path else "?"
        assert code_of(api.call("GET", f"{path}{separator}cursor={cursor}")) == "invalid_cursor"


@pytest.mark.parametrize(
    "name", ["1", "x" * 10_000, "..%2F..%2Fetc", "%00", "{id}", "0190a1b2c3d47e5f8a9b0c1d2e3f4a5b"]
)
def test_what_is_no_id_names_nothing(api: Api, name: str) -> None:
    for method, path in WITH_ID:
        response = api.call(method, path.replace("{id}", name))
        assert response.status_code == 404
        assert code_of(response) == "not_found"


def test_an_id_that_nobody_has_names_nothing(api: Api) -> None:
    bodies: dict[str, dict[str, object]] = {"PATCH": {"record": True}, "PUT": {}}
    for method, path in WITH_ID:
        body = bodies.get(method) if "endpoints" not in path and path[3:] != "/calendars/{id}" else {}
        body = {"event_ids": [str(uuid4())]} if path.endswith("endpoints/{id}/replay") else body
        body = {"external_ids": []} if path.endswith("connections/{id}/calendars") else body
        response = api.call(method, path.replace("{id}", str(uuid4())), body)
        assert (response.status_code, code_of(response)) == (404, "not_found"), (
            method,
            path,
            response.text,
        )


def test_unknown_paths_and_methods_are_problems_too(api: Api) -> None:
    unknown = [
        api.call("GET", path)
        for path in ("/v1", "/v1/", "/v1/nothing", "/v1/calendars/", "/v1//calendars")
    ]
    wrong = api.call("DELETE", "/v1/calendars")
    options = api.call("OPTIONS", "/v1/calendars", headers={"Origin": "https://evil.example"})

    assert {(response.status_code, code_of(response)) for response in unknown} == {(404, "not_found")}
    assert (wrong.status_code, code_of(wrong)) == (405, "method_not_allowed")
    assert wrong.headers["allow"] == "GET, POST, HEAD"
    assert options.status_code == 405
    assert not [name for name in options.headers if name.startswith("access-control")]


def test_head_answers_as_get_without_the_body(api: Api) -> None:
    response = api.call("HEAD", "/v1/calendars")

    assert (response.status_code, response.content) == (200, b"")
    assert int(response.headers["content-length"]) > 0


def test_a_host_header_changes_nothing_we_write(api: Api) -> None:
    a_calendar(api.rt.db)

    response = api.call("GET", "/v1/calendars/nothing", headers={"Host": "evil.example"})

    assert "evil" not in response.text


def test_a_bodyless_operation_takes_no_fields(api: Api) -> None:
    path = f"/v1/calendars/{a_calendar(api.rt.db)}/sync"

    assert api.call("POST", path, {}).status_code == 202
    assert code_of(api.call("POST", path, {"full": True})) == "invalid_request"
    assert code_of(api.call("POST", path, content=b"x", headers={"Content-Type": "text/plain"})) == (
        "unsupported_media_type"
    )


@pytest.mark.parametrize(
    "rules",
    [
        {"title_matches": "(a+)+$"},
        {"title_contains": ["x" * 1_000]},
        {"title_contains": ["x"] * 10_000},
        {"select": ["all", "some"]},
        {"select": "all"},
        {"select": {"$gt": ""}},
        {"bot": {"name": "x" * 5_000}},
        {"bot": {"name": "a\u0007b"}},
        {"bot": {"name": "\u202egnp.exe"}},
        {"bot": {"join_early_seconds": -1}},
        {"min_minutes": 5, "max_minutes": 1},
        {"only_accepted": "yes"},
        {"rules": [{"rules": []}]},
        [],
        None,
        "all",
        7,
    ],
)
def test_rules_that_nobody_can_follow_are_refused_with_every_fault(api: Api, rules: object) -> None:
    calendar_id = a_calendar(api.rt.db)
    before = api.get("/v1/rules")

    content = json.dumps(rules).encode()
    refused = [
        api.call("PUT", "/v1/rules", content=content),
        api.call("PUT", f"/v1/calendars/{calendar_id}/rules", content=content),
        api.call("POST", "/v1/rules/simulate", {"rules": rules}),
    ]

    for response in refused:
        assert (response.status_code, code_of(response)) == (422, "invalid_rules")
        assert response.json()["errors"]
    assert api.get("/v1/rules") == before
    assert api.get(f"/v1/calendars/{calendar_id}")["rules"] is None


def test_templates_and_patterns_in_rules_are_plain_words(api: Api) -> None:
    words = ["{{7*7}}", "${jndi:ldap://x}", "{0.__class__}", "(a+)+$", "<script>"]

    response = api.call(
        "PUT", "/v1/rules", {"title_contains": words, "bot": {"name": "<script>{{7*7}}"}}
    )

    assert response.status_code == 200
    assert response.json()["title_contains"] == words
    assert response.json()["bot"]["name"] == "<script>{{7*7}}"
