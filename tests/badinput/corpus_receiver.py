"""
R1 to R76: what may reach `POST /webhooks/recall`, and what has to come of it.

The policy. 204: stored now, or a repeat, or of a type we have no use for. 202: signed but unusable;
kept aside with its body, because sending it again cannot mend it. 401: whatever is not
authenticated, with one uniform body that gives no reason; nothing is stored. 400: framing or headers
two readers could read apart. 404, 405, 408, 413, 414, 415, 431 as HTTP says. 429: too many bad
signatures from one address; never for a good one. 503 with `Retry-After`: we cannot commit, or no
secret is set. Never 500, never a redirect, and never 410, upon which senders give an endpoint up.

There is one workspace per installation, so the rows about another tenant (R20, R50, R58) stand here
in the form that applies: somebody else's secret, another source's calendar, another installation's bot.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Callable, Iterable

from tests.badinput.posts import SYNC, Post, in_chunks
from tests.badinput.rows import Effect, Row
from tests.webhooks.sending import (
    BOT,
    CALENDAR,
    OTHER_SECRET,
    PATH,
    SECRET,
    bot_status,
    legacy_bot_status,
    sync_events,
)

POLICY = frozenset({202, 204, 400, 401, 404, 405, 408, 413, 414, 415, 429, 431, 503})
NEVER = frozenset({410, 500, *range(300, 400)})

#: The same external id, followed from another source; set up by the tests.
ELSEWHERE_CALENDAR = "5f1c1d1c-0d2f-4ee2-9a2e-4f0e57a0f0e1"
UNKNOWN_CALENDAR = "00000000-0d2f-4ee2-9a2e-4f0e57a0f001"

NO_TYPES: tuple[object, ...] = (
    "", "x." * 5_120, "Calendar.Update", None, 1, [], "calendar", "..", "a.b\n",
)  # fmt: skip

CHUNKED = b"Transfer-Encoding: chunked"
LENGTH = b"Content-Length: %d" % len(SYNC)
SYNC_IN_CHUNKS = in_chunks(SYNC)


def _bodies(*bodies: tuple[str, bytes]) -> dict[str, Callable[[], bytes]]:
    return {label: Post(body=body) for label, body in bodies}


def _about(values: Iterable[object]) -> dict[str, Callable[[], bytes]]:
    """Say something odd about when the calendar was last updated."""
    return {repr(value)[:40]: Post(body=sync_events(last_updated_ts=value)) for value in values}


def _of(values: Iterable[object]) -> dict[str, Callable[[], bytes]]:
    """Say something odd about which calendar it is."""
    return {ascii(value)[:40]: Post(body=sync_events(value)) for value in values}


def _signatures(*values: tuple[str, bytes]) -> dict[str, Callable[[], bytes]]:
    return {label: Post(spoiled={"svix-signature": value}) for label, value in values}


def _twice(**how: str) -> Callable[[], list[bytes]]:
    """Send the same bytes twice."""

    def requests() -> list[bytes]:
        request = Post(**how)()  # type: ignore[arg-type]  # of the fields that are text
        return [request, request]

    return requests


def _captured(age_s: float) -> Callable[[], list[bytes]]:
    """Send what was captured earlier, its signature of then."""

    def requests() -> list[bytes]:
        request = Post(age_s=age_s)()
        return [request, request]

    return requests


def _two_bodies() -> list[bytes]:
    message_id = b"msg_two_bodies_%s" % os.urandom(4).hex().encode()
    other = sync_events(CALENDAR, said="something else")
    return [Post(message_id=message_id)(), Post(message_id=message_id, body=other)()]


def _both_families(*, differ: bool) -> Callable[[], bytes]:
    def request() -> bytes:
        post = Post()
        headers = post.signature_headers()
        second = Post().signature_headers() if differ else headers
        lines = [b"%s: %s" % (name.encode(), value) for name, value in headers.items()]
        lines += [
            b"%s: %s" % (name.replace("svix", "webhook").encode(), value)
            for name, value in second.items()
        ]
        return Post(is_signed=False, more=lines)()

    return request


def _header_twice(name: str, *, other: bytes | None = None) -> Callable[[], bytes]:
    def request() -> bytes:
        headers = Post().signature_headers()
        lines = [b"%s: %s" % (key.encode(), value) for key, value in headers.items()]
        again = headers[name] if other is None else other
        return Post(is_signed=False, more=[*lines, b"%s: %s" % (name.title().encode(), again)])()

    return request


def _nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


MALFORMED: tuple[Row, ...] = (
    Row("R6", "no signature headers at all", frozenset({401}), inputs={"none": Post(is_signed=False)}),
    Row(
        "R7",
        "one of id, timestamp, signature is missing",
        frozenset({401}),
        inputs={
            f"{family}-{part}": Post(family=family, spoiled={f"{family}-{part}": None})
            for family in ("svix", "webhook")
            for part in ("id", "timestamp", "signature")
        },
    ),
    Row(
        "R8",
        "one of them is empty",
        frozenset({401}),
        inputs={part: Post(spoiled={f"svix-{part}": b""}) for part in ("id", "timestamp", "signature")},
    ),
    Row(
        "R9",
        "the id header twice",
        frozenset({400}),
        inputs={
            "two ids": _header_twice("svix-id", other=b"msg_b"),
            "the same id": _header_twice("svix-id"),
            "two timestamps": _header_twice("svix-timestamp"),
        },
    ),
    Row(
        "R10",
        "the signature header twice, one of them right",
        frozenset({400}),
        inputs={
            "right, wrong": _header_twice("svix-signature", other=b"v1,AAAA"),
            "right twice": _header_twice("svix-signature"),
        },
    ),
    Row("R11", "a signature without a comma", frozenset({401}), inputs=_signatures(("v1", b"v1"))),
    Row(
        "R12",
        "a signature that is no base64",
        frozenset({401}),
        inputs=_signatures(("bad padding", b"v1,abc"), ("one letter", b"v1,a"), ("empty", b"v1,")),
    ),
    Row(
        "R13",
        "two spaces between signatures, none of them ours",
        frozenset({401}),
        inputs=_signatures(("bad", b"v1,AAAA  v1,BBBB"), ("only spaces", b"   ")),
    ),
    Row("R14", "a signature with two commas", frozenset({401}), inputs=_signatures(("", b"v1,a,b"))),
    Row(
        "R15",
        "letters beyond ASCII in the signature",
        frozenset({401}),
        inputs=_signatures(
            ("latin-1", b"v1,\xe9\xe9"), ("UTF-8", "v1,дд".encode()), ("invalid", b"v1,\xff\xfe")
        ),
    ),
    Row(
        "R16",
        "only signatures of versions we do not know",
        frozenset({401}),
        inputs=_signatures(("V1", b"V1,AAAA"), ("v1a", b"v1a,AAAA"), ("v2", b"v2,AAAA")),
    ),
    Row(
        "R18",
        "more signatures than anybody has secrets",
        frozenset({401}),
        inputs=_signatures(("200", b" ".join([b"v1," + b"A" * 43 + b"="] * 200))),
    ),
    Row(
        "R18",
        "100,000 signatures",
        frozenset({431}),
        inputs=_signatures(("100,000", b" ".join([b"v1,A"] * 100_000))),
    ),
)


def _junk_inside() -> bytes:
    """Put what a lax decoder skips into a signature that is otherwise right."""
    headers = Post().signature_headers()
    right = headers["svix-signature"]
    lines = [b"%s: %s" % (name.encode(), value) for name, value in headers.items() if name[5] != "s"]
    lines.append(b"svix-signature: " + right[:20] + b"!*" + right[20:])
    return Post(is_signed=False, more=lines)()


def _beside(*others: bytes) -> Callable[[], bytes]:
    """Send a right signature among others, two spaces apart."""

    def request() -> bytes:
        headers = Post().signature_headers()
        headers["svix-signature"] = b"  ".join([*others, headers["svix-signature"]])
        lines = [b"%s: %s" % (name.encode(), value) for name, value in headers.items()]
        return Post(is_signed=False, more=lines)()

    return request


_ARABIC = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")


def _now_as(template: str) -> Callable[[int], bytes]:
    return lambda now: template.replace("{now}", str(now)).encode()


UNPROVEN: tuple[Row, ...] = (
    Row(
        "R17",
        "junk that a lax decoder would skip inside a right signature",
        frozenset({401}),
        inputs={"!*": _junk_inside},
    ),
    Row(
        "R19",
        "the old secret, after the rotation is over",
        frozenset({401}),
        inputs={"old": Post(secret=OTHER_SECRET)},
    ),
    Row(
        "R20",
        "somebody else's secret",
        frozenset({401}),
        inputs={
            "another endpoint's": Post(secret="whsec_c29tZWJvZHkgZWxzZSdzIHNlY3JldA=="),
            "ours, backwards": Post(secret="whsec_" + SECRET.removeprefix("whsec_")[-5::-1] + "AAAA"),
        },
    ),
    Row(
        "R21",
        "signed with a newline at the end that was then stripped, or the other way round",
        frozenset({401}),
        inputs={"stripped": Post(signs=SYNC + b"\n"), "added": Post(body=SYNC + b"\n", signs=SYNC)},
    ),
    Row(
        "R22",
        "the same JSON written differently",
        frozenset({401}),
        inputs={
            "no spaces": Post(signs=SYNC.replace(b": ", b":")),
            "other order": Post(signs=json.dumps(dict(reversed(json.loads(SYNC).items()))).encode()),
        },
    ),
    Row(
        "R23",
        "more than five minutes old or ahead",
        frozenset({401}),
        inputs={"old": Post(age_s=302), "ahead": Post(age_s=-303)},
    ),
    Row(
        "R25",
        "a timestamp in milliseconds",
        frozenset({401}),
        inputs={"ms": Post(timestamp="{now}000")},
    ),
    Row(
        "R26",
        "a timestamp that is no time",
        frozenset({401}),
        inputs={
            text[:12]: Post(timestamp=text)
            for text in ("NaN", "inf", "-1", "1e9", "1" * 400, "0", "9" * 10, "0000000000")
        },
    ),
    Row(
        "R27",
        "a timestamp only Python would read, signed as written or as the whole second",
        frozenset({401}),
        inputs={
            **{
                f"as written {template}": Post(timestamp=template)
                for template in ("{now}.9", "+{now}", "0{now}", "{now}.0e0")
            },
            "the second, a space behind it": Post(spoiled={"svix-timestamp": _now_as("{now} ")}),
            "the second, fraction": Post(spoiled={"svix-timestamp": _now_as("{now}.9")}),
            "the second, underscores": Post(
                spoiled={"svix-timestamp": lambda now: f"{now:_}".encode()}
            ),
            "the second, Arabic": Post(
                spoiled={"svix-timestamp": lambda now: str(now).translate(_ARABIC).encode()}
            ),
        },
    ),
    Row(
        "R27",
        "white space before the timestamp, which HTTP takes off before anybody sees it",
        frozenset({204}),
        Effect.ASKED,
        inputs={"spaces": Post(spoiled={"svix-timestamp": _now_as("  {now}")})},
    ),
    Row(
        "R28",
        "a message id that is none, signed",
        frozenset({401}),
        inputs={
            ascii(text)[:14]: Post(message_id=text)
            for text in (
                b"a.b",
                b"a" * 300,
                b"a" * 129,
                b"a b",
                b"'; drop table deliveries",
                b"\xc3\xa9",
                b"../x",
                b"a\tb",
            )
        },
    ),
    Row(
        "R28",
        "a message id with control characters is a malformed header",
        frozenset({400}),
        inputs={"NUL": Post(message_id=b"a\x00b"), "a bare CR": Post(message_id=b"a\rb")},
    ),
    Row(
        "R30",
        "captured, and sent again after six minutes",
        frozenset({401}),
        inputs={"6 min": Post(age_s=360)},
    ),
)

GOOD: tuple[Row, ...] = (
    Row("R1", "svix-* headers", frozenset({204}), Effect.ASKED, {"svix": Post()}),
    Row("R2", "webhook-* headers", frozenset({204}), Effect.ASKED, {"webhook": Post(family="webhook")}),
    Row(
        "R3",
        "both families, and they agree",
        frozenset({204}),
        Effect.ASKED,
        {"equal": _both_families(differ=False)},
    ),
    Row(
        "R3",
        "both families, and they differ",
        frozenset({400}),
        inputs={"differing": _both_families(differ=True)},
    ),
    Row("R4", "the same id and body again", frozenset({204}), Effect.ASKED, {"twice": _twice()}),
    Row(
        "R5",
        "the same id with another body: the first one is kept, and somebody is told",
        frozenset({204}),
        Effect.ASKED,
        {"differing": _two_bodies},
        alert="delivery_body_differs",
    ),
    Row(
        "R13",
        "a right signature among others, two spaces apart",
        frozenset({204}),
        Effect.ASKED,
        {"last": _beside(b"v1,AAAA", b"v2,x")},
    ),
    Row(
        "R19",
        "either secret, during a rotation",
        frozenset({204}),
        Effect.ASKED,
        {"old": Post(secret=OTHER_SECRET), "new": Post()},
        to="rotating",
    ),
    Row(
        "R24",
        "up to five minutes old or ahead",
        frozenset({204}),
        Effect.ASKED,
        {"old": Post(age_s=297), "ahead": Post(age_s=-298)},
    ),
    Row(
        "R29",
        "captured, and sent again after four minutes",
        frozenset({204}),
        Effect.ASKED,
        {"4 min": _captured(240)},
    ),
)

_CRLF_JSON = SYNC.replace(b" ", b"\r\n")
UNUSABLE: tuple[Row, ...] = (
    Row(
        "R31",
        "an empty body",
        frozenset({202}),
        Effect.QUARANTINED,
        {"": Post(body=b"")},
        reason="not_json",
    ),
    Row(
        "R32",
        "JSON, but no object",
        frozenset({202}),
        Effect.QUARANTINED,
        _bodies(*((body.decode(), body) for body in (b"null", b"[]", b'"x"', b"1", b"true"))),
        reason="not_an_object",
    ),
    Row(
        "R33",
        "JSON that ends too early",
        frozenset({202}),
        Effect.QUARANTINED,
        _bodies(("one brace", SYNC[:-1]), ("in a string", SYNC[:40]), ("one byte", SYNC[:1])),
        reason="not_json",
    ),
    Row(
        "R34",
        "JSON with more behind it, comments, single quotes",
        frozenset({202}),
        Effect.QUARANTINED,
        _bodies(
            ("garbage", SYNC + b"x"),
            ("a second one", SYNC + SYNC),
            ("comment", SYNC + b"//comment"),
            ("single quotes", SYNC.replace(b'"', b"'")),
            ("trailing comma", SYNC[:-1] + b",}"),
        ),
        reason="not_json",
    ),
    Row(
        "R35",
        "a byte order mark",
        frozenset({202}),
        Effect.QUARANTINED,
        _bodies(("UTF-8", b"\xef\xbb\xbf" + SYNC)),
        reason="not_json",
    ),
    Row(
        "R36",
        "another encoding that Python would guess",
        frozenset({202}),
        Effect.QUARANTINED,
        _bodies(*((name, SYNC.decode().encode(name)) for name in ("utf-16", "utf-32"))),
        reason="not_utf8",
    ),
    Row(
        "R36",
        "the same without a byte order mark: NULs between letters",
        frozenset({202}),
        Effect.QUARANTINED,
        _bodies(*((name, SYNC.decode().encode(name)) for name in ("utf-16-le", "utf-16-be"))),
        reason="not_json",
    ),
    Row(
        "R37",
        "bytes that are no UTF-8",
        frozenset({202}),
        Effect.QUARANTINED,
        _bodies(("\\xff", SYNC.replace(b"calendar_id", b"\xff")), ("cut", SYNC[:-1] + b"\xe2\x82")),
        reason="not_utf8",
    ),
    Row(
        "R38",
        "overlong UTF-8",
        frozenset({202}),
        Effect.QUARANTINED,
        _bodies(
            ("/", SYNC.replace(b"calendar_id", b"\xc0\xaf")), ("surrogate", b'{"event":"\xed\xa0\x80"}')
        ),
        reason="not_utf8",
    ),
    Row(
        "R39",
        "the type said twice",
        frozenset({202}),
        Effect.QUARANTINED,
        _bodies(
            (
                "differing",
                b'{"event":"calendar.sync_events",' + SYNC[1:].replace(b"sync_events", b"update"),
            ),
            ("the same", b'{"event":"calendar.sync_events",' + SYNC[1:]),
            ("spelt otherwise", b'{"\\u0065vent":"calendar.update",' + SYNC[1:]),
        ),
        reason="duplicate_key",
    ),
    Row(
        "R40",
        "the calendar said twice",
        frozenset({202}),
        Effect.QUARANTINED,
        _bodies(("two", SYNC.replace(b'{"cal', b'{"calendar_id":"x","cal'))),
        reason="duplicate_key",
    ),
    Row(
        "R41",
        "numbers JSON does not have, or nobody can hold",
        frozenset({202}),
        Effect.QUARANTINED,
        _bodies(
            *(
                (text, SYNC[:-1] + b',"n":' + text.encode() + b"}")
                for text in ("NaN", "Infinity", "-Infinity", "1e400", "-1e999")
            )
        ),
        reason="bad_number",
    ),
    Row(
        "R42",
        "an integer of 5,000 digits",
        frozenset({202}),
        Effect.QUARANTINED,
        _bodies(("5,000", SYNC[:-1] + b',"n":' + b"9" * 5_000 + b"}")),
        reason="bad_number",
    ),
    Row(
        "R43",
        "nesting without end",
        frozenset({202}),
        Effect.QUARANTINED,
        _bodies(
            ("1,000 lists", b"[" * 1_000),
            ("100,000 lists", b"[" * 100_000),
            ("1,000, closed", b"[" * 1_000 + b"]" * 1_000),
            ("33 objects", SYNC[:-1] + b',"deep":' + _nested(32) + b"}"),
            ("40,000 objects", _nested(40_000)),
        ),
        reason="too_deep",
    ),
    Row(
        "R44",
        "large and odd, within what is read",
        frozenset({202}),
        Effect.QUARANTINED,
        _bodies(
            (
                "18,000 names",
                json.dumps({f"n{number}": 0 for number in range(18_000)}).encode(),
            ),
            ("100,000 entries", b"[" + b"0," * 99_999 + b"0]"),
            ("a long text", b'"' + b"x" * 250_000 + b'"'),
            ("120,000 escapes", b'"' + b"\\n" * 120_000 + b'"'),
            ("quotes", b'"' * 250_000),
            ("backslashes", b'"' + b"\\" * 250_001),
            ("spaces", b" " * 250_000),
        ),
    ),
    Row(
        "R44",
        "a megabyte",
        frozenset({413}),
        inputs=_bodies(
            ("1 MB deep", _nested(170_000)),
            ("100,000 names", json.dumps({f"name{number}": 0 for number in range(100_000)}).encode()),
        ),
    ),
    Row(
        "R45",
        "text PostgreSQL cannot store",
        frozenset({202}),
        Effect.QUARANTINED,
        {
            **_of(["\0", "\ud800", "\udfff\ud800"]),
            "a name": Post(body=SYNC[:-1] + b',"\\u0000":1}'),
            "far away": Post(body=SYNC[:-1] + b',"x":[{"y":"\\ud800"}]}'),
        },
        reason="bad_characters",
    ),
    Row(
        "R46",
        "ids that only look like one",
        frozenset({202}),
        Effect.QUARANTINED,
        _of(
            [
                "\u202e" + CALENDAR,
                CALENDAR + "\u200b",
                CALENDAR.replace("c", "с"),
                "😀" * 36,
                CALENDAR.translate(str.maketrans("0123456789", "０１２３４５６７８９")),
            ]
        ),
        reason="bad_id",
    ),
    Row(
        "R47",
        "an id of the wrong type",
        frozenset({202}),
        Effect.QUARANTINED,
        _of([17, [], {}, None, True, [CALENDAR], {"id": CALENDAR}]),
        reason="bad_id",
    ),
    Row(
        "R48",
        "an id that is none; it never becomes a part of a URL",
        frozenset({202}),
        Effect.QUARANTINED,
        _of(
            [
                "x" * 10_240,
                "../../x",
                "?a=b",
                "%2e%2e",
                f"{CALENDAR}/",
                f" {CALENDAR}",
                f"{CALENDAR}\n",
                f"{{{CALENDAR}}}",
                CALENDAR.replace("-", ""),
                "",
                "'; DROP TABLE calendars; --",
            ]
        ),
        reason="bad_id",
    ),
    Row(
        "R52",
        "a type that is missing or is none",
        frozenset({202}),
        Effect.QUARANTINED,
        _bodies(
            ("missing", b'{"data":{}}'),
            *(
                (ascii(kind)[:20], json.dumps({"event": kind, "data": {}}).encode())
                for kind in NO_TYPES
            ),
        ),
        reason="bad_type",
    ),
    Row(
        "R52",
        "a type we know without what belongs to it",
        frozenset({202}),
        Effect.QUARANTINED,
        _bodies(
            ("no data", b'{"event":"calendar.sync_events"}'),
            ("data null", b'{"event":"calendar.update","data":null}'),
            ("data a list", b'{"event":"bot.done","data":[]}'),
            ("no bot", b'{"event":"bot.done","data":{"data":{"code":"done"}}}'),
            ("no code", bot_status(code=7)),  # type: ignore[arg-type]  # that is the point
        ),
        reason="bad_shape",
    ),
)

USABLE: tuple[Row, ...] = (
    Row(
        "R49",
        "a calendar we do not follow",
        frozenset({204}),
        Effect.UNKNOWN,
        {"unknown": Post(body=sync_events(UNKNOWN_CALENDAR))},
        elsewhere=(
            "tests/worker/test_intake.py::test_many_deliveries_of_one_unknown_calendar_adopt_it_once",
        ),
    ),
    Row(
        "R50",
        "somebody else's calendar: the same id, followed from another source",
        frozenset({204}),
        Effect.UNKNOWN,
        {"another source": Post(body=sync_events(ELSEWHERE_CALENDAR))},
    ),
    Row(
        "R51",
        "a type nobody has documented",
        frozenset({204}),
        Effect.IGNORED,
        _bodies(
            ("calendar.foo", b'{"event":"calendar.foo","data":{}}'),
            ("bot.log", b'{"event":"bot.log","data":{}}'),
            ("without data", b'{"event":"transcript.done"}'),
        ),
        reason="unknown_type",
    ),
    Row(
        "R53",
        "fields nobody has documented",
        frozenset({204}),
        Effect.ASKED,
        {
            "at the top": Post(body=SYNC[:-1] + b',"x":{"y":[1,2,{"z":null}]}}'),
            "in data": Post(body=sync_events(extra={"deep": {"deeper": []}})),
            "31 levels": Post(body=SYNC[:-1] + b',"deep":' + _nested(31) + b"}"),
            "__proto__": Post(body=SYNC[:-1] + b',"__proto__":{"admin":true}}'),
            "in lines": Post(body=_CRLF_JSON),
        },
    ),
    Row(
        "R54",
        "a time of the change that is missing or makes no sense: we have our own cursor",
        frozenset({204}),
        Effect.ASKED,
        {
            **_about(
                [
                    None,
                    0,
                    "",
                    -1,
                    1e300,
                    [],
                    {},
                    "2026-02-30T00:00:00Z",
                    "0000-01-01T00:00:00Z",
                    "10000-01-01T00:00:00Z",
                    "2026-06-30T23:59:60Z",
                    "2026-11-21T12:00:00",
                    "2026-11-21T12:00:00+23:59:59",
                    "2026-11-21t12:00:00z",
                    "2026-11-21T12:00:00.123456789Z",
                    "infinity",
                    "2026-W47-6",
                    "now'; --",
                    "x" * 10_000,
                ]
            ),
            "missing": Post(
                body=json.dumps(
                    {"event": "calendar.sync_events", "data": {"calendar_id": CALENDAR}}
                ).encode()
            ),
        },
    ),
    Row(
        "R55",
        "a time of the change ten years ahead: the cursor is ours alone",
        frozenset({204}),
        Effect.ASKED,
        _about(["2036-11-21T12:00:00Z", "9999-12-31T23:59:59Z"]),
    ),
    Row(
        "R56",
        "a time of the change in 1970",
        frozenset({204}),
        Effect.ASKED,
        _about(["1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z"]),
    ),
    Row(
        "R57",
        "news of a bot we do not know, out of order, or of a kind nobody has documented",
        frozenset({204}),
        Effect.STORED,
        {
            "unknown bot": Post(body=bot_status()),
            "backwards": Post(body=bot_status("joining_call", updated_at="1999-01-01T00:00:00Z")),
            "unknown code": Post(body=bot_status("levitating")),
            "odd time": Post(body=bot_status(updated_at="yesterday")),
            "long sub code": Post(body=bot_status(sub_code="x" * 5_000)),
        },
        elsewhere=(
            "tests/worker/test_intake.py::test_news_that_goes_back_changes_nothing_anywhere",
            "tests/worker/test_intake.py::test_word_of_an_unknown_bot_waits_and_is_then_ignored",
        ),
    ),
    Row(
        "R58",
        "news of a bot that carries another installation's marks",
        frozenset({204}),
        Effect.STORED,
        {
            "foreign metadata": Post(
                body=json.dumps(
                    {
                        "event": "bot.joining_call",
                        "data": {
                            "data": {"code": "joining_call"},
                            "bot": {
                                "id": BOT,
                                "metadata": {"punctual_slot": "00000000", "punctual": 7},
                            },
                        },
                    }
                ).encode()
            )
        },
        elsewhere=(
            "tests/worker/test_reconciling.py::test_the_sweep_never_touches_a_foreign_bot",
            "tests/worker/test_intake.py::test_word_of_an_unknown_bot_waits_and_is_then_ignored",
        ),
    ),
    Row(
        "R59",
        "the older and the newer shape of a status",
        frozenset({204}),
        Effect.STORED,
        {"newer": Post(body=bot_status()), "older": Post(body=legacy_bot_status())},
    ),
    Row(
        "R62",
        "any content type: bytes are what is signed",
        frozenset({204}),
        Effect.ASKED,
        {
            kind or "empty": Post(more=[f"Content-Type: {kind}".encode()])
            for kind in (
                "text/plain",
                "application/json; charset=utf-16",
                "multipart/form-data; boundary=x",
                "",
            )
        },
    ),
    Row(
        "R73",
        "forwarding headers from anybody",
        frozenset({204}),
        Effect.ASKED,
        {
            "forged": Post(
                more=[
                    b"X-Forwarded-For: 203.0.113.9",
                    b"X-Forwarded-Host: evil.example",
                    b"X-Forwarded-Proto: https",
                    b"Forwarded: for=203.0.113.9;host=evil.example",
                    b"X-Real-IP: 203.0.113.9",
                ]
            )
        },
        elsewhere=(
            "tests/badinput/test_crowds.py::test_a_flood_of_bad_signatures_is_slowed_down_and_costs_a_good_sender_nothing",
        ),
    ),
)

_ZEROS = b"\0" * 10_000_000
_BOMB = gzip.compress(gzip.compress(_ZEROS * 10))

FRAMES: tuple[Row, ...] = (
    Row(
        "R60",
        "another method",
        frozenset({405}),
        inputs={
            method: Post(method=method.encode())
            for method in ("GET", "PUT", "DELETE", "OPTIONS", "HEAD", "TRACE", "PATCH")
        },
    ),
    Row(
        "R61",
        "nearly the right path",
        frozenset({404}),
        inputs={
            path.decode(): Post(path=path)
            for path in (
                b"/webhooks/recall/",
                b"//webhooks/recall",
                b"/webhooks//recall",
                b"/webhooks%2frecall",
                b"/webhooks/../webhooks/recall",
                b"/webhooks/./recall",
                b"/webhooks/recall%00",
                b"/webhooks/recall;x",
                b"/Webhooks/Recall",
                b"/%77ebhooks/recall",
            )
        },
    ),
    Row(
        "R63",
        "an encoded body is not opened",
        frozenset({415}),
        inputs={
            "gzip": Post(body=gzip.compress(SYNC), more=[b"Content-Encoding: gzip"]),
            "a bomb in a bomb": Post(body=_BOMB, more=[b"Content-Encoding: gzip, gzip"]),
            "deflate": Post(body=zlib.compress(SYNC), more=[b"Content-Encoding: deflate"]),
            "br": Post(more=[b"Content-Encoding: br"]),
            "GZIP": Post(more=[b"Content-Encoding: GZIP"]),
            "unknown": Post(more=[b"Content-Encoding: x"]),
        },
    ),
    Row(
        "R64",
        "a gigabyte announced: refused before it is sent",
        frozenset({413}),
        inputs={
            "1 GB": Post(framing=b"Content-Length: 1073741824", wire=b""),
            "one byte too much": Post(framing=b"Content-Length: 262145", wire=b""),
        },
    ),
    Row(
        "R65",
        "chunks that grow beyond what is read",
        frozenset({413}),
        inputs={
            "320 KB": Post(framing=CHUNKED, wire=in_chunks(b"x" * 327_680)[:-5]),
            "small ones": Post(framing=CHUNKED, wire=in_chunks(b"x" * 300_000, 1_000)[:-5]),
        },
    ),
    Row(
        "R66",
        "a length two readers could read apart",
        frozenset({400}),
        inputs={
            **{
                label: Post(framing=framing, wire=SYNC_IN_CHUNKS)
                for label, framing in (
                    ("length and chunked", LENGTH + b"\r\n" + CHUNKED),
                    ("chunked and length", CHUNKED + b"\r\n" + LENGTH),
                    ("xchunked", b"Transfer-Encoding: xchunked"),
                    ("gzip, chunked", b"Transfer-Encoding: gzip, chunked"),
                    ("identity", b"Transfer-Encoding: identity"),
                    ("chunked twice", CHUNKED + b"\r\n" + CHUNKED),
                )
            },
            **{
                label: Post(framing=framing)
                for label, framing in (
                    ("two lengths", LENGTH + b"\r\nContent-Length: 5"),
                    ("the same twice", LENGTH + b"\r\n" + LENGTH),
                    ("a sign", b"Content-Length: +%d" % len(SYNC)),
                    ("negative", b"Content-Length: -1"),
                    ("a list", b"Content-Length: 5, 5"),
                    ("hexadecimal", b"Content-Length: 0x10"),
                    ("beyond numbers", b"Content-Length: " + b"9" * 40),
                    ("empty", b"Content-Length: "),
                )
            },
            **{
                label: Post(framing=CHUNKED, wire=wire)
                for label, wire in (
                    ("bad trailer", SYNC_IN_CHUNKS[:-2] + b"bad trailer\r\n\r\n"),
                    ("no size", b"zz\r\n"),
                    ("negative size", b"-1\r\n\r\n"),
                    ("size too large", b"f" * 20 + b"\r\n"),
                    ("no end of chunk", b"%x\r\n%sXX0\r\n\r\n" % (len(SYNC), SYNC)),
                    ("bad extension", b"%x;\0\r\n%s\r\n0\r\n\r\n" % (len(SYNC), SYNC)),
                )
            },
        },
    ),
    Row(
        "R67",
        "lines that are no header",
        frozenset({400}),
        inputs={
            **{
                label: Post(more=[line])
                for label, line in (
                    ("obs-fold", b"X-Folded: a\r\n b"),
                    ("space before colon", b"X-Spaced : a"),
                    ("NUL", b"X-Nul: a\0b"),
                    ("bare CR", b"X-Bare: a\rb"),
                    ("no colon", b"No colon"),
                    ("no name", b": nameless"),
                    ("a second host", b"Host: y"),
                    ("a control in the name", b"X-\x01: a"),
                )
            },
            "bare LF": lambda: Post()().replace(b"\r\n", b"\n"),
            "no host": Post(host=None),
            "absolute-form": Post(path=b"http://x" + PATH.encode()),
            "asterisk-form": Post(path=b"*"),
            "authority-form": Post(method=b"CONNECT", path=b"x:443"),
        },
    ),
    Row(
        "R68",
        "a head without end",
        frozenset({431}),
        inputs={
            "80 KB": Post(more=[b"X-Long: " + b"x" * 81_920]),
            "2,000 headers": Post(more=[b"X-%d: 1" % number for number in range(2_000)]),
            "never ending": lambda: b"POST / HTTP/1.1\r\nX-Endless: " + b"x" * 200_000,
        },
    ),
    Row(
        "R68",
        "a URL without end",
        frozenset({414}),
        inputs={
            "64 KB": Post(path=b"/" + b"x" * 65_536),
            "a query": Post(path=PATH.encode() + b"?" + b"x" * 65_536),
            "never ending": lambda: b"POST /" + b"x" * 200_000,
        },
    ),
    Row(
        "R69",
        "a byte at a time, or nothing at all: told the time within ten seconds",
        frozenset({408}),
        inputs={
            "the head": lambda: Post()()[:60],
            "the body": lambda: Post()()[: -len(SYNC) + 20],
            "a chunk": Post(framing=CHUNKED, wire=b"ff\r\nxxxxxxxxxxxxxx"),
            "line feeds": lambda: b"\r\n" * 40,
            "nothing": lambda: b"",
        },
        pace_s=1.0,
    ),
    Row(
        "R70",
        "2,000 idle connections",
        elsewhere=(
            "tests/badinput/test_crowds.py::test_two_thousand_idle_connections_do_not_keep_a_sender_out",
            "tests/webhooks/test_reception.py::test_many_idle_connections_do_not_keep_a_sender_out",
        ),
    ),
    Row(
        "R71",
        "not HTTP, or not a version of it that we speak",
        frozenset({400}),
        inputs={
            "TLS": lambda: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(64),
            "HTTP/2": lambda: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "garbage": lambda: b"\x00\xff\xfe garbage\r\n\r\n",
            "HTTP/0.9": lambda: b"GET /\r\n\r\n",
            "HTTP/9.9": Post(version=b"HTTP/9.9"),
            "a method nobody knows": Post(method=b"BREW"),
            "SSH": lambda: b"SSH-2.0-OpenSSH_9.6\r\n",
        },
    ),
    Row(
        "R72",
        "who waits for a go-ahead and is refused does not hang",
        frozenset({401}),
        inputs={
            "waiting": Post(
                is_signed=False,
                more=[b"Expect: 100-continue"],
                framing=b"Content-Length: 200000",
                wire=b"",
            ),
            "not waiting": Post(body=b"x" * 200_000, signs=b"", more=[b"Expect: 100-continue"]),
        },
    ),
    Row(
        "R74",
        "1,000 bad signatures a second from one address",
        elsewhere=(
            "tests/badinput/test_crowds.py::test_a_flood_of_bad_signatures_is_slowed_down_and_costs_a_good_sender_nothing",
            "tests/webhooks/test_receive.py::test_many_bad_signatures_are_slowed_down_and_good_ones_are_not",
        ),
    ),
    Row(
        "R75",
        "a good delivery while the database is down: come again, within three seconds",
        frozenset({503}),
        inputs={"good": Post()},
        to="cut off",
        alert="commit_failed",
    ),
    Row(
        "R76",
        "a good delivery while no secret is set: nobody is believed, and somebody is told",
        frozenset({503}),
        inputs={"good": Post(), "unsigned": Post(is_signed=False)},
        to="secretless",
    ),
)

ROWS: tuple[Row, ...] = (*GOOD, *MALFORMED, *UNPROVEN, *UNUSABLE, *USABLE, *FRAMES)
