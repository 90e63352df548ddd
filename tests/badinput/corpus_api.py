"""
A1 to A25: what may reach the management API, and what has to come of it.

The policy. 401: no valid key, whatever is wrong with it; the answers differ in nothing but their
request id. 403: a key that may not do this. 404: an id that names nothing, or nothing of this kind.
400: a body that is no clean JSON, framing two readers could read apart. 409: still being carried
out. 413, 414, 415, 431 as HTTP says. 422: understood, and refused with every field that does not
fit. 429: somebody is guessing keys. Never 500, never a redirect. Errors are problems in JSON that
repeat nothing of what was sent; nothing that was refused has changed anything.

There is one workspace per installation: where the table speaks of another tenant (A2, A3) the form
that applies is a key without the scope, an id of another kind, a cursor of another list. The rows
about OAuth (A16 to A18) are about pages, which have tests of their own (test_oauth_rows.py); here
stands that nothing like them is where others have it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.badinput.seeded import Seeded
from webhooks.api.operations import Operation
from webhooks.api.table import OPERATIONS

#: Where the pages are tried on the way to a connected calendar.
_PAGES = "tests/badinput/test_oauth_rows.py"
POLICY = frozenset({200, 201, 202, 204, 400, 401, 403, 404, 405, 409, 413, 414, 415, 422, 429, 431})
NEVER = frozenset({410, 500, *range(300, 400)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """
    One request to the API, written when it is needed.

    *path* may name seeded ids in braces. *key* is the name of a seeded key, None for no key at all;
    *more* are header lines as they are. *said* goes as JSON, *body* as it is.
    """

    method: str = "GET"
    path: str | Callable[[Seeded], str] = "/v1/calendars"
    key: str | None = "settings"
    more: Sequence[bytes] = ()
    said: Any = None
    body: bytes | None = None
    host: bytes = b"x"

    def write(self, seeded: Seeded) -> bytes:
        """Write the request."""
        path = self.path(seeded) if callable(self.path) else self.path
        for kind, row_id in seeded.ids.items():
            path = path.replace("{" + kind + "}", row_id)
        lines = [f"{self.method} {path} HTTP/1.1".encode(), b"Host: " + self.host, b"Connection: close"]
        if self.key is not None:
            lines.append(f"Authorization: Bearer {seeded.keys[self.key]}".encode())
        body = self.body
        if body is None and self.said is not None:
            body = json.dumps(self.said).encode()
        if body is not None:
            named = {line.partition(b":")[0].lower() for line in self.more}
            lines += [] if b"content-type" in named else [b"Content-Type: application/json"]
            lines.append(b"Content-Length: %d" % len(body))
        return b"\r\n".join([*lines, *self.more]) + b"\r\n\r\n" + (body or b"")


@dataclass(frozen=True, slots=True)
class ApiRow:
    """
    One kind of bad input, and everything concrete that is of that kind.

    Every input is a number of requests of which each is judged. *first* are good ones sent before.
    *codes* are the problems that are right, *changes* the tables that may look different afterwards.
    """

    name: str
    about: str
    answers: frozenset[int] = frozenset()
    codes: frozenset[str] = frozenset()
    inputs: Mapping[str, Sequence[Ask]] = field(default_factory=dict)
    first: Sequence[Ask] = ()
    changes: frozenset[str] = frozenset()
    elsewhere: tuple[str, ...] = ()


def fitting_path(operation: Operation, *, kind: str | None = None) -> str:
    """Return an operation's path with an id of the kind it is about, or of another *kind*."""
    kinds = {
        "calendars": "calendar",
        "events": "event",
        "bots": "bot",
        "endpoints": "endpoint",
        "deliveries": "delivery",
        "api-keys": "key",
    }
    own = kinds.get(operation.path.split("/")[2], "nobody")
    return operation.path.replace("{id}", "{" + (kind or own) + "}")


def _everywhere(**how: Any) -> tuple[Ask, ...]:
    """Ask every operation there is."""
    return tuple(
        Ask(method=operation.method, path=fitting_path(operation), **how) for operation in OPERATIONS
    )


def _authorization(value: bytes) -> tuple[Ask, ...]:
    return _everywhere(key=None, more=[b"Authorization: " + value])


def _calendar_with(**fields: Any) -> dict[str, Any]:
    return {"source": "recall", "external_id": "cal", **fields}


def _adding(*bodies: tuple[str, bytes]) -> dict[str, tuple[Ask, ...]]:
    return {
        label: (
            Ask(method="POST", body=body),
            Ask(method="PUT", path="/v1/rules", body=body),
            Ask(method="POST", path="/v1/endpoints", body=body),
        )
        for label, body in bodies
    }


def _urls(*urls: str) -> dict[str, tuple[Ask, ...]]:
    """Try to have domain events posted there, by a new subscriber and by an old one."""
    return {
        ascii(url)[1:60]: (
            Ask(method="POST", path="/v1/endpoints", said={"url": url}),
            Ask(method="PATCH", path="/v1/endpoints/{endpoint}", said={"url": url}),
        )
        for url in urls
    }


def _rules(**by_label: Any) -> dict[str, tuple[Ask, ...]]:
    return {
        label.replace("_", " "): (
            Ask(method="PUT", path="/v1/rules", said=rules),
            Ask(method="PUT", path="/v1/calendars/{calendar}/rules", said=rules),
            Ask(method="POST", path="/v1/rules/simulate", said={"rules": rules}),
        )
        for label, rules in by_label.items()
    }


def _queries(path: str, *queries: str) -> dict[str, tuple[Ask, ...]]:
    return {query: (Ask(path=f"{path}?{query}"),) for query in queries}


_LISTS = sorted({operation.path for operation in OPERATIONS if "limit" in operation.query.model_fields})
_WITH_ID = [operation for operation in OPERATIONS if "{id}" in operation.path]
_SCOPED = [operation for operation in OPERATIONS if str(operation.scope) != "read"]


def _flipped(cursor: str, place: int) -> str:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = alphabet[alphabet.index(cursor[place]) ^ 1]
    return cursor[:place] + other + cursor[place:][1:]


def _cursor(change: Callable[[str], str], *, path: str = "/v1/calendars") -> tuple[Ask, ...]:
    return (Ask(path=lambda seeded: f"{path}?limit=1&cursor={change(seeded.ids['cursor'])}"),)


def _nested(depth: int) -> bytes:
    return (
        b'{"source":"recall","external_id":"x","metadata":'
        + b'{"a":' * depth
        + b"1"
        + b"}" * depth
        + b"}"
    )


_ANY_ID = {"record": True}
_BODY_BY_PATH: Mapping[tuple[str, str], Any] = {
    ("PATCH", "/v1/calendars/{id}"): {},
    ("PATCH", "/v1/events/{id}"): _ANY_ID,
    ("PATCH", "/v1/endpoints/{id}"): {},
    ("PUT", "/v1/calendars/{id}/rules"): {},
    ("PUT", "/v1/connections/{id}/calendars"): {"external_ids": []},
    ("POST", "/v1/endpoints/{id}/replay"): {"event_ids": ["5f1c1d1c-0d2f-4ee2-9a2e-4f0e57a0f001"]},
}


def _about(name: str) -> tuple[Ask, ...]:
    """Ask every operation on one thing about *name*."""
    return tuple(
        Ask(
            method=operation.method,
            path=operation.path.replace("{id}", name),
            said=_BODY_BY_PATH.get((operation.method, operation.path)),
        )
        for operation in _WITH_ID
    )


def _of_another_kind() -> tuple[Ask, ...]:
    return tuple(
        Ask(
            method=operation.method,
            path=fitting_path(
                operation, kind="delivery" if "calendars" in operation.path else "calendar"
            ),
            said=_BODY_BY_PATH.get((operation.method, operation.path)),
        )
        for operation in _WITH_ID
    )


KEYS: tuple[ApiRow, ...] = (
    ApiRow(
        "A1",
        "a key that is missing, wrong, expired, revoked or cut, on every operation",
        frozenset({401}),
        frozenset({"unauthorized"}),
        {
            "none": _everywhere(key=None),
            "wrong": _authorization(b"Bearer pk_wrong"),
            "expired": _everywhere(key="expired"),
            "revoked": _everywhere(key="revoked"),
            "prefix only": _authorization(b"Bearer pk_badinput"),
            "10 KB": _authorization(b"Bearer " + b"x" * 10_240),
            "another scheme": _authorization(b"Basic cGtfYmFkaW5wdXQ6"),
            "no scheme": _authorization(b"pk_badinput"),
            "bytes": _authorization(b"Bearer \xff\xfe"),
            "empty": _authorization(b""),
        },
        elsewhere=(
            "tests/webhooks/api/test_keys.py::test_nobody_gets_in_anywhere_without_a_valid_key",
            "tests/webhooks/api/test_keys.py::test_the_database_knows_no_key",
        ),
    ),
    ApiRow(
        "A1",
        "a key of a megabyte is a head without end",
        frozenset({431}),
        inputs={"1 MB": (Ask(key=None, more=[b"Authorization: Bearer " + b"x" * 1_000_000]),)},
    ),
    ApiRow(
        "A2",
        "a key without the scope, on every operation that needs more",
        frozenset({403}),
        frozenset({"forbidden"}),
        {
            "read": tuple(
                Ask(method=operation.method, path=fitting_path(operation), key="read")
                for operation in _SCOPED
            ),
            "write": tuple(
                Ask(method=operation.method, path=fitting_path(operation), key="write")
                for operation in _SCOPED
                if str(operation.scope) == "admin"
            ),
        },
        elsewhere=(
            "tests/webhooks/api/test_keys.py::test_a_key_does_what_its_scope_covers_and_no_more",
        ),
    ),
    ApiRow(
        "A2",
        "an id that nobody has, or that names something of another kind, on every operation",
        frozenset({404}),
        frozenset({"not_found"}),
        {"nobody's": _about("{nobody}"), "another kind": _of_another_kind()},
    ),
    ApiRow(
        "A3",
        "somebody else's tenant in body or query",
        frozenset({422}),
        frozenset({"invalid_request", "invalid_rules"}),
        {
            "query": tuple(
                Ask(path=f"{path.replace('{id}', '{endpoint}')}?tenant_id=1") for path in _LISTS
            ),
            "body": (
                Ask(method="POST", said=_calendar_with(tenant_id="other")),
                Ask(method="PUT", path="/v1/rules", said={"tenant_id": "other"}),
                Ask(method="POST", path="/v1/api-keys", said={"name": "x", "tenant_id": "other"}),
                Ask(method="PATCH", path="/v1/calendars/{calendar}", said={"tenant_id": "other"}),
            ),
        },
    ),
)

SHAPES: tuple[ApiRow, ...] = (
    ApiRow(
        "A4",
        "fields that are ours alone",
        frozenset({422}),
        frozenset({"invalid_request", "invalid_rules"}),
        {
            name: (
                Ask(method="POST", said=_calendar_with(**{name: value})),
                Ask(method="PATCH", path="/v1/calendars/{calendar}", said={name: value}),
                Ask(method="PATCH", path="/v1/endpoints/{endpoint}", said={name: value}),
                Ask(method="PATCH", path="/v1/events/{event}", said={"record": True, name: value}),
                Ask(method="POST", path="/v1/api-keys", said={"name": "x", name: value}),
                Ask(method="PUT", path="/v1/rules", said={name: value}),
            )
            for name, value in (
                ("status", "connected"),
                ("fence", 7),
                ("id", "5f1c1d1c-0d2f-4ee2-9a2e-4f0e57a0f001"),
                ("created_at", "2020-01-01T00:00:00Z"),
                ("wanted", 9),
                ("secret", "whsec_AAAA"),
                ("__proto__", {}),
                ("digest", "x"),
            )
        },
    ),
    ApiRow(
        "A5",
        "a limit that is none",
        frozenset({422}),
        frozenset({"invalid_request"}),
        {
            limit or "empty": tuple(
                Ask(path=f"{path.replace('{id}', '{endpoint}')}?limit={limit}") for path in _LISTS
            )
            for limit in (
                "-1",
                "0",
                "201",
                "1000000000",
                "abc",
                "1.5",
                "",
                "%205",
                "%D9%A3",
                "0x10",
                "1e2",
            )
        },
    ),
    ApiRow(
        "A5",
        "a cursor that is forged, of another list, or changed in a bit",
        frozenset({422}),
        frozenset({"invalid_cursor", "invalid_request"}),
        {
            "bit at the front": _cursor(lambda cursor: _flipped(cursor, 0)),
            "bit in the middle": _cursor(lambda cursor: _flipped(cursor, len(cursor) // 2)),
            "bit at the end": _cursor(lambda cursor: _flipped(cursor, len(cursor) - 1)),
            "cut": _cursor(lambda cursor: cursor[:-1]),
            "longer": _cursor(lambda cursor: cursor + "A"),
            "padded": _cursor(lambda cursor: cursor + "="),
            "of another list": _cursor(str, path="/v1/events"),
            "of the same list, filtered": _cursor(lambda cursor: cursor + "&status=connected"),
            "made up": _cursor(lambda _: "AAAA"),
            "1 KB": _cursor(lambda _: "x" * 1_001),
            "NUL": _cursor(lambda _: "%00"),
        },
        elsewhere=(
            "tests/webhooks/api/test_strictness.py::test_a_cursor_is_refused_when_it_is_not_ours_or_was_changed_in_a_single_bit",
        ),
    ),
    ApiRow(
        "A6",
        "sorting and filters nobody described",
        frozenset({422}),
        frozenset({"invalid_request"}),
        {
            **_queries(
                "/v1/calendars",
                "sort=id;drop",
                "order_by=created_at",
                "__proto__=1",
                "%00=1",
                "owner=%00",
                "owner=a%0Ab",
                "LIMIT=5",
                "limit=5&limit=5",
                "status=id;drop",
            ),
            **_queries(
                "/v1/events",
                "calendar_id=1%20OR%201=1",
                "start_gte=yesterday",
                "start_gte=2026-01-01",
                "start_lt=99999-01-01T00:00:00Z",
                "start_lt=9999-12-31T23:59:59-14:00",
                "deleted=1",
                "recorded=id;drop",
            ),
        },
    ),
    ApiRow(
        "A7",
        "an id that is none",
        frozenset({404}),
        frozenset({"not_found"}),
        {
            name[:20]: _about(name)
            for name in (
                "1",
                "..%2F..%2Fetc",
                "%00",
                "{id}",
                "0190a1b2c3d47e5f8a9b0c1d2e3f4a5b",
                "%7B5f1c1d1c-0d2f-4ee2-9a2e-4f0e57a0f001%7D",
                "%D9%A3",
                "x" * 4_096,
            )
        },
    ),
    ApiRow(
        "A7",
        "an id of ten kilobytes is a URL without end",
        frozenset({414}),
        inputs={"10 KB": _about("x" * 10_240)},
    ),
    ApiRow(
        "A8",
        "an Idempotency-Key that was used for something else",
        frozenset({422}),
        frozenset({"idempotency_key_reused"}),
        {
            "another body": (
                Ask(
                    method="POST",
                    path="/v1/api-keys",
                    said={"name": "another"},
                    more=[b"Idempotency-Key: once"],
                ),
            ),
            "another path": (
                Ask(
                    method="POST",
                    path="/v1/endpoints",
                    said={"url": "https://hooks.example.com"},
                    more=[b"Idempotency-Key: once"],
                ),
            ),
        },
        first=(
            Ask(
                method="POST",
                path="/v1/api-keys",
                said={"name": "one"},
                more=[b"Idempotency-Key: once"],
            ),
        ),
        changes=frozenset({"api_keys", "idempotent_requests"}),
        elsewhere=(
            "tests/badinput/test_api_rows.py::test_a_request_that_is_still_being_carried_out_is_not_begun_again",
        ),
    ),
    ApiRow(
        "A8",
        "an Idempotency-Key that cannot be one",
        frozenset({400}),
        frozenset({"invalid_idempotency_key"}),
        {
            label: (
                Ask(method="POST", path="/v1/api-keys", said={"name": "x"}, more=more),
                Ask(method="POST", path="/v1/calendars/{calendar}/sync", more=more),
            )
            for label, more in (
                ("256", [b"Idempotency-Key: " + b"x" * 256]),
                ("empty", [b"Idempotency-Key: "]),
                ("two words", [b"Idempotency-Key: two words"]),
                ("beyond ASCII", [b"Idempotency-Key: caf\xe9"]),
                ("twice", [b"Idempotency-Key: a", b"Idempotency-Key: b"]),
            )
        },
    ),
    ApiRow(
        "A9",
        "a body of ten megabytes",
        frozenset({413}),
        frozenset({"body_too_large"}),
        _adding(("10 MB", b'{"a":"' + b"x" * 10_000_000 + b'"}')),
    ),
    ApiRow(
        "A9",
        "a body that is no clean JSON",
        frozenset({400}),
        frozenset({"invalid_json"}),
        _adding(
            ("empty", b""),
            ("open", b"{"),
            ("1,000 levels", _nested(1_000)),
            ("40 levels", _nested(40)),
            ("100,000 lists", b"[" * 100_000),
            ("a name twice", b'{"source":"recall","source":"recall","external_id":"x"}'),
            ("NaN", b'{"source":"recall","external_id":NaN}'),
            ("Infinity", b'{"metadata":{"a":-Infinity}}'),
            ("1e400", b'{"metadata":{"a":1e400}}'),
            ("5,000 digits", b'{"a":' + b"9" * 5_000 + b"}"),
            ("NUL", b'{"external_id":"a\\u0000b"}'),
            ("half a pair", b'{"external_id":"\\ud800"}'),
            ("not UTF-8", b"\xff\xfe{}"),
            ("byte order mark", b"\xef\xbb\xbf{}"),
            ("two values", b"{} {}"),
        ),
    ),
    ApiRow(
        "A9",
        "a body in another form",
        frozenset({415}),
        frozenset({"unsupported_media_type"}),
        {
            line.decode(): (Ask(method="POST", body=b"{}", more=[line]),)
            for line in (
                b"Content-Type: text/plain",
                b"Content-Type: application/x-www-form-urlencoded",
                b"Content-Type: application/json; charset=latin-1",
                b"Content-Encoding: gzip",
            )
        },
    ),
)

OUTWARD: tuple[ApiRow, ...] = (
    ApiRow(
        "A10",
        "subscribers inside our own network",
        frozenset({422}),
        frozenset({"invalid_endpoint"}),
        _urls(
            "http://127.0.0.1/",
            "http://0.0.0.0/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://169.254.169.254/latest/meta-data/",
            "http://10.0.0.1/",
            "http://172.16.0.1/",
            "http://192.168.1.1/",
            "http://100.64.0.1/",
            "http://198.18.0.1/",
            "http://192.0.0.1/",
            "http://224.0.0.1/",
            "http://240.0.0.1/",
            "http://255.255.255.255/",
            "http://[fc00::1]/",
            "http://[fe80::1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://[2002:7f00:1::]/",
            "http://[fd00:ec2::254]/",
        ),
        elsewhere=(
            "tests/badinput/test_api_rows.py::test_an_endpoint_that_came_to_point_inside_is_not_connected_to",
            "tests/publishers/test_egress.py::test_addresses_are_judged_in_urls_too",
        ),
    ),
    ApiRow(
        "A11",
        "the same, spelt otherwise",
        frozenset({422}),
        frozenset({"invalid_endpoint"}),
        _urls(
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0x7f000001/",
            "http://0177.0.0.1/",
            "http://127.1/",
            "http://localhost./",
            "http://LOCALHOST/",
            "http://x.localhost/",
            "http://①②⑦.0.0.1/",
            "http://127。0。0。1/",
            "http://metadata.google.internal/",
        ),
    ),
    ApiRow(
        "A12",
        "URLs two readers could read apart",
        frozenset({422}),
        frozenset({"invalid_endpoint", "invalid_request"}),
        _urls(
            "http://a@127.0.0.1/",
            "http://good.example.com@evil.example.com/",
            "http://good.example.com#@evil.example.com/",
            "http://good.example.com\\@evil.example.com/",
            "http://good.example.com/\r\nHost: evil.example.com",
            "http://good\t.example.com/",
            "http://good\n.example.com/",
            "http://gооd.example.com/",
            "http://good.example.com:80:80/",
            "http://good.example.com /",
            "//good.example.com/",
            "https:good.example.com",
            "",
            "https://" + "a" * 2_100 + ".example.com/",
        ),
    ),
    ApiRow(
        "A13",
        "schemes and ports that are not the web",
        frozenset({422}),
        frozenset({"invalid_endpoint"}),
        _urls(
            "file:///etc/passwd",
            "gopher://example.com/_x",
            "ftp://example.com/",
            "javascript:alert(1)",
            "data:text/plain,x",
            *(f"http://example.com:{port}/" for port in (22, 25, 6379, 5432, 11211, 5672, 0, 65536)),
        ),
    ),
    ApiRow(
        "A14",
        "a name that resolves to us the second time, or to us as well",
        elsewhere=(
            "tests/publishers/test_webhooks.py::test_a_name_is_resolved_once_and_the_judged_address_is_connected_to",
            "tests/publishers/test_webhooks.py::test_a_name_with_one_forbidden_address_is_not_reached",
            "tests/badinput/test_api_rows.py::test_an_endpoint_that_came_to_point_inside_is_not_connected_to",
        ),
    ),
    ApiRow(
        "A15",
        "a redirect to the inside",
        elsewhere=(
            "tests/badinput/test_api_rows.py::test_a_redirect_is_a_failure_and_nobody_goes_there",
            "tests/publishers/test_webhooks.py::test_a_redirect_is_not_followed",
        ),
    ),
    ApiRow(
        "A16",
        "an OAuth callback where others have theirs, whatever it carries",
        frozenset({404}),
        inputs={
            path: (
                Ask(path=f"{path}?code=x&state=y", key=None),
                Ask(method="POST", path=path, key=None),
            )
            for path in ("/oauth/callback", "/v1/oauth/callback", "/callback", "/v1/connect/google")
        },
        elsewhere=(
            f"{_PAGES}::test_a16_a_callback_that_is_not_whole_ends_on_a_page_and_gets_no_tokens",
            f"{_PAGES}::test_a16_a_callback_is_a_question_of_a_browser_and_takes_no_posts",
        ),
    ),
    ApiRow(
        "A17",
        "a redirect to where the caller says: nothing of the API redirects",
        frozenset({200, 401, 404, 422}),
        inputs={
            path: (Ask(path=path, key=None),)
            for path in (
                "/?next=https://evil.example",
                "/docs?redirect_uri=https://evil.example",
                "/v1/calendars?next=//evil.example",
                "//evil.example/%2e%2e",
                "/docs/",
                "/https://evil.example",
            )
        },
        elsewhere=(
            f"{_PAGES}::test_a17_a_link_that_would_lead_astray_is_not_made",
            f"{_PAGES}::test_a17_nothing_in_an_address_says_where_to_go",
            f"{_PAGES}::test_a17_a_redirect_uri_that_is_not_the_registered_one_to_the_letter_leads_nowhere",
        ),
    ),
    ApiRow(
        "A18",
        "a PKCE verifier that is missing or plain, at a token endpoint that we do not have",
        frozenset({404}),
        inputs={
            "token": (
                Ask(
                    method="POST", path="/oauth/token", key=None, body=b"grant_type=authorization_code"
                ),
                Ask(path="/oauth/authorize?code_challenge_method=plain", key=None),
            )
        },
        elsewhere=(
            f"{_PAGES}::test_a18_every_consent_is_asked_for_with_a_hashed_verifier_of_its_own",
            f"{_PAGES}::test_a18_a_plain_verifier_is_refused_and_nobody_asks_for_tokens",
            f"{_PAGES}::test_a18_a_stolen_code_is_worth_nothing_without_its_verifier",
        ),
    ),
)

_WORDS = ["{{7*7}}", "${jndi:ldap://x}", "{0.__class__}", "(a+)+$", "<script>", "%s%n"]
_CHANGED_BY_RULES = frozenset(
    {"installation", "calendars", "calendar_events", "outbox", "slots", "duties"}
)

TEXTS: tuple[ApiRow, ...] = (
    ApiRow(
        "A19",
        "rules that are patterns, recursion, or without end",
        frozenset({422}),
        frozenset({"invalid_rules"}),
        _rules(
            a_pattern={"title_matches": "(a+)+$"},
            a_long_word={"title_contains": ["x" * 1_000]},
            ten_thousand_words={"title_contains": ["x"] * 10_000},
            an_unknown_selector={"select": ["all", "some"]},
            an_operator={"select": {"$gt": ""}},
            rules_in_rules={"rules": [{"rules": []}]},
            a_list=[],
            a_number_as_text={"min_minutes": "5"},
            a_huge_number={"min_minutes": 1e300},
        ),
        elsewhere=("tests/domain/test_rules.py::test_any_json_is_read_or_refused_with_its_faults",),
    ),
    ApiRow(
        "A19",
        "a rule of a megabyte is a body of a megabyte",
        frozenset({413}),
        frozenset({"body_too_large"}),
        {"1 MB": (Ask(method="PUT", path="/v1/rules", said={"title_contains": ["x" * 1_100_000]}),)},
    ),
    ApiRow(
        "A20",
        "templates and patterns in rules are plain words",
        frozenset({200}),
        inputs={
            word: (
                Ask(
                    method="PUT",
                    path="/v1/rules",
                    said={"title_contains": [word], "bot": {"name": word}},
                ),
            )
            for word in _WORDS
        },
        changes=_CHANGED_BY_RULES,
        elsewhere=("tests/badinput/test_api_rows.py::test_templates_come_back_as_they_were_written",),
    ),
    ApiRow(
        "A21",
        "a time zone: nobody asks for one, so nobody may say one",
        frozenset({422}),
        frozenset({"invalid_rules", "invalid_request"}),
        {
            zone: (
                Ask(method="PUT", path="/v1/rules", said={"time_zone": zone}),
                Ask(method="PATCH", path="/v1/calendars/{calendar}", said={"time_zone": zone}),
                Ask(path=f"/v1/events?time_zone={zone.replace('/', '%2F')}"),
            )
            for zone in ("../../etc/passwd", "Mars/Phobos", "localtime")
        },
        elsewhere=("tests/domain/test_zones.py::test_a_custom_or_unknown_zone_is_none",),
    ),
    ApiRow(
        "A22",
        "a bot's name that would garble a list or a log",
        frozenset({422}),
        frozenset({"invalid_rules"}),
        {
            label: (Ask(method="PUT", path="/v1/rules", said={"bot": {"name": name}}),)
            for label, name in (
                ("bell", "a\u0007b"),
                ("line", "a\nb"),
                ("5 KB", "x" * 5_120),
                ("right to left", "\u202egnp.exe"),
                ("line separator", "a\u2028b"),
                ("empty", ""),
                ("spaces", "   "),
                ("a number", 7),
            )
        },
    ),
    ApiRow(
        "A23",
        "line feeds and escape sequences on their way to a log",
        frozenset({404, 422}),
        inputs={
            "path": (
                Ask(path='/v1/calendars/x%0d%0a{"level":"error"}'),
                Ask(path="/v1/%1b[31mred", key="settings"),
                Ask(path="/nothing%0d%0aX:1", key=None),
            ),
            "query": (Ask(path="/v1/calendars?%0d%0a=%1b[31m"), Ask(path="/v1/calendars?a%00b=1")),
            "body": (
                Ask(method="POST", said=_calendar_with(owner="two\r\nlines")),
                Ask(method="POST", said=_calendar_with(owner="\x1b[31mred")),
                Ask(method="POST", said=_calendar_with(**{"na\nme": 1})),
            ),
        },
    ),
    ApiRow(
        "A23",
        "the same in headers that nobody reads",
        frozenset({200}),
        inputs={
            "header": (
                Ask(more=[b"User-Agent: red%1b[31m", b"X-Request-Id: forged"]),
                Ask(more=[b"Referer: \xff\xfe", b"X-Request-Id: a%0d%0ab"]),
            )
        },
    ),
    ApiRow(
        "A23",
        "an escape character in a header is a malformed one",
        frozenset({400}),
        inputs={"header": (Ask(more=[b"User-Agent: \x1b[31mred"]),)},
    ),
    ApiRow(
        "A24",
        "a hundred guesses at a key",
        elsewhere=(
            "tests/badinput/test_api_rows.py::test_guessing_keys_is_slowed_down_for_the_guesser_alone",
            "tests/webhooks/api/test_keys.py::test_guessing_keys_is_slowed_down",
        ),
    ),
    ApiRow(
        "A25",
        "pages for everybody hold nothing for somebody",
        frozenset({200, 503}),
        inputs={
            "without a key": tuple(
                Ask(path=path, key=None)
                for path in (
                    "/",
                    "/healthz",
                    "/readyz",
                    "/metrics",
                    "/docs",
                    "/openapi.json",
                    "/asyncapi.json",
                    "/schemas/bot.scheduled.json",
                )
            )
        },
    ),
    ApiRow(
        "A25",
        "somebody else's host name, or origin",
        frozenset({200, 401, 404, 405}),
        inputs={
            "host": (
                Ask(path="/v1/calendars/nothing", host=b"evil.example"),
                Ask(path="/docs", host=b"evil.example", key=None),
                Ask(path="/openapi.json", host=b"evil.example", key=None),
                Ask(path="/v1/calendars", more=[b"X-Forwarded-Host: evil.example"]),
            ),
            "origin": (
                Ask(method="OPTIONS", more=[b"Origin: https://evil.example"], key=None),
                Ask(more=[b"Origin: https://evil.example"]),
                Ask(
                    method="OPTIONS",
                    path="/docs",
                    key=None,
                    more=[b"Origin: https://evil.example", b"Access-Control-Request-Method: PUT"],
                ),
            ),
        },
    ),
)

ROWS: tuple[ApiRow, ...] = (*KEYS, *SHAPES, *OUTWARD, *TEXTS)
