"""POST /webhooks/recall over a real socket: what is answered, and what is in the database then."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine
from structlog.testing import capture_logs

from tests.webhooks.sending import (
    BOT,
    CALENDAR,
    OTHER_SECRET,
    PATH,
    SECRET,
    RememberingBell,
    Sender,
    a_runtime,
    add_calendar,
    bot_status,
    calendar,
    calendar_update,
    counted,
    deliveries,
    legacy_bot_status,
    sign,
    signed_headers,
    status_of,
    sync_events,
)
from webhooks.app import create_app
from webhooks.receive import LARGEST_BODY, MOST_STRIKES
from webhooks.server import serving
from worker.jobs import SYNC_WORKSPACE, TAKE_IN


@contextmanager
def a_receiver(engine: Engine, **settings: Any) -> Iterator[Sender]:
    """A receiver of one's own, with other settings."""
    with (
        serving(create_app(a_runtime(engine, **settings))) as url,
        httpx.Client(base_url=url, timeout=10) as client,
    ):
        yield Sender(url, client)


# Stored


@pytest.mark.parametrize("family", ["svix", "webhook"], ids=["R1 svix-*", "R2 webhook-*"])
def test_a_nudge_is_stored_and_asks_its_calendar(
    sender: Sender, db: Engine, bell: RememberingBell, family: str
) -> None:
    calendar_id = add_calendar(db)
    body = sync_events()

    answer = sender.post(body, headers=signed_headers(body, message_id="msg_1", family=family))

    assert (answer.status_code, answer.content) == (204, b"")
    (stored,) = deliveries(db)
    assert (stored["source"], stored["message_id"], stored["type"], stored["ref"]) == (
        "recall",
        "msg_1",
        "calendar.sync_events",
        CALENDAR,
    )
    assert (stored["body"], stored["state"], stored["reason"]) == (body, "stored", None)
    asked = calendar(db, calendar_id)
    assert (asked["wanted"], asked["done"], asked["needs_check"]) == (1, 0, False)
    assert asked["asked_at"] == stored["received_at"] == asked["due_at"]
    assert bell.rings == [(SYNC_WORKSPACE, None)]


def test_a_changed_calendar_is_to_be_checked_itself(
    sender: Sender, db: Engine, bell: RememberingBell
) -> None:
    calendar_id = add_calendar(db)

    answer = sender.post(calendar_update())

    assert answer.status_code == 204
    assert calendar(db, calendar_id)["needs_check"] is True
    assert calendar(db, calendar_id)["wanted"] == 1
    assert bell.rings == [(TAKE_IN, None)]


def test_a_nudge_takes_no_check_away(sender: Sender, db: Engine) -> None:
    calendar_id = add_calendar(db, needs_check=True)

    sender.post(sync_events())

    assert calendar(db, calendar_id)["needs_check"] is True


def test_a_calendar_that_waits_for_something_goes_on_waiting(sender: Sender, db: Engine) -> None:
    """As in `due.ask`: an ask neither shortens a put-off nor forgets who asked first."""
    calendar_id = add_calendar(db)
    sender.post(sync_events())
    first = calendar(db, calendar_id)

    sender.post(sync_events())

    second = calendar(db, calendar_id)
    assert second["wanted"] == 2
    assert (second["asked_at"], second["due_at"]) == (first["asked_at"], first["due_at"])


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        pytest.param(bot_status(), "bot.joining_call", id="R59 per status"),
        pytest.param(legacy_bot_status(), "bot.status_change", id="R59 older shape"),
        pytest.param(bot_status("levitating"), "bot.levitating", id="R57 unknown code"),
    ],
)
def test_news_of_any_bot_is_stored(
    sender: Sender, db: Engine, bell: RememberingBell, body: bytes, kind: str
) -> None:
    answer = sender.post(body)

    assert answer.status_code == 204
    (stored,) = deliveries(db)
    assert (stored["type"], stored["ref"], stored["state"]) == (kind, BOT, "stored")
    assert bell.rings == [(TAKE_IN, None)]


def test_a_nudge_for_an_unknown_calendar_is_stored_for_a_worker(
    sender: Sender, db: Engine, bell: RememberingBell
) -> None:
    """R49."""
    answer = sender.post(sync_events())

    assert answer.status_code == 204
    (stored,) = deliveries(db)
    assert (stored["state"], stored["reason"], stored["ref"]) == (
        "stored",
        "unknown_calendar",
        CALENDAR,
    )
    assert bell.rings == [(TAKE_IN, None)]


def test_an_unknown_type_is_stored_and_ignored(
    sender: Sender, db: Engine, bell: RememberingBell
) -> None:
    """R51."""
    before = counted("ignored")

    answer = sender.post(b'{"event":"calendar.foo","data":{}}')

    assert answer.status_code == 204
    (stored,) = deliveries(db)
    assert (stored["type"], stored["state"], stored["reason"]) == (
        "calendar.foo",
        "ignored",
        "unknown_type",
    )
    assert bell.rings == []
    assert counted("ignored") == before + 1


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", None, "application/json; charset=utf-16", "multipart/form-data"],
    ids=lambda value: f"R62 {value}",
)
def test_the_content_type_does_not_matter(sender: Sender, db: Engine, content_type: str | None) -> None:
    answer = sender.post(sync_events(), more={"Content-Type": content_type} if content_type else {})

    assert answer.status_code == 204
    assert deliveries(db)[0]["state"] == "stored"


def test_two_families_that_agree_are_accepted(sender: Sender, db: Engine) -> None:
    """R3."""
    body = sync_events()
    headers = signed_headers(body)

    answer = sender.post(
        body,
        headers=headers | {name.replace("svix", "webhook"): value for name, value in headers.items()},
    )

    assert answer.status_code == 204


def test_forwarding_headers_are_not_believed(sender: Sender, db: Engine) -> None:
    """R73: they change nothing, not even for whom bad signatures are counted."""
    forged = {
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Host": "evil.example",
        "Forwarded": "for=1",
    }

    assert sender.post(sync_events(), more=forged).status_code == 204


# Repeated


@pytest.mark.parametrize("age_s", [0, 240], ids=["R4 at once", "R29 captured and replayed"])
def test_a_repeat_has_no_effect(sender: Sender, db: Engine, bell: RememberingBell, age_s: int) -> None:
    calendar_id = add_calendar(db)
    body = sync_events()
    headers = signed_headers(body, age_s=age_s)
    sender.post(body, headers=headers)
    bell.rings.clear()

    answer = sender.post(body, headers=headers)

    assert answer.status_code == 204
    assert len(deliveries(db)) == 1
    assert calendar(db, calendar_id)["wanted"] == 1
    assert bell.rings == []


def test_of_two_bodies_under_one_id_the_first_is_kept_and_somebody_is_told(
    sender: Sender, db: Engine, bell: RememberingBell
) -> None:
    """R5."""
    calendar_id = add_calendar(db)
    first, second = sync_events(), calendar_update()
    sender.post(first, headers=signed_headers(first, message_id="msg_1"))
    bell.rings.clear()

    with capture_logs() as logs:
        answer = sender.post(second, headers=signed_headers(second, message_id="msg_1"))
        wait_until(lambda: any(line["event"] == "delivery_body_differs" for line in logs))

    assert answer.status_code == 204
    assert [stored["body"] for stored in deliveries(db)] == [first]
    assert (calendar(db, calendar_id)["wanted"], calendar(db, calendar_id)["needs_check"]) == (1, False)
    assert bell.rings == []


# Signed but unusable


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(b"", "not_json", id="R31 empty"),
        pytest.param(b"null", "not_an_object", id="R32 null"),
        pytest.param(b"[]", "not_an_object", id="R32 list"),
        pytest.param(sync_events()[:-2], "not_json", id="R33 truncated"),
        pytest.param(b"\xef\xbb\xbf" + sync_events(), "not_json", id="R35 byte order mark"),
        pytest.param(sync_events().decode().encode("utf-16"), "not_utf8", id="R36 UTF-16"),
        pytest.param(b'{"event":"\xff"}', "not_utf8", id="R37 not UTF-8"),
        pytest.param(b'{"event":"\xc0\xaf"}', "not_utf8", id="R38 overlong"),
        pytest.param(b'{"event":"a.b","event":"calendar.update"}', "duplicate_key", id="R39 twice"),
        pytest.param(b'{"event":NaN}', "bad_number", id="R41 NaN"),
        pytest.param(b'{"event":' + b"9" * 5000 + b"}", "bad_number", id="R42 digits"),
        pytest.param(b"[" * 100_000, "too_deep", id="R43 deep"),
        pytest.param(sync_events("\0"), "bad_characters", id="R45 NUL"),
        pytest.param(sync_events("\ud800"), "bad_characters", id="R45 surrogate"),
        pytest.param(sync_events(17), "bad_id", id="R47 number"),
        pytest.param(sync_events("../../x"), "bad_id", id="R48 path"),
        pytest.param(b'{"event":"Calendar.Update"}', "bad_type", id="R52 case"),
        pytest.param(b"\0\1\2", "not_json", id="binary"),
    ],
)
def test_what_is_signed_but_unusable_is_kept_aside(
    sender: Sender, db: Engine, bell: RememberingBell, body: bytes, reason: str
) -> None:
    before = counted("quarantined")

    answer = sender.post(body)

    assert answer.status_code == 202
    (stored,) = deliveries(db)
    assert (stored["body"], stored["state"], stored["reason"]) == (body, "quarantined", reason)
    assert (stored["type"], stored["ref"]) == (None, None)
    assert bell.rings == []
    assert counted("quarantined") == before + 1


# Not from anybody we know


def test_the_uniform_refusal_tells_nothing(sender: Sender, db: Engine) -> None:
    body = sync_events()
    unsigned = sender.post(body, headers={})
    forged = sender.post(body, headers=signed_headers(body, secret=OTHER_SECRET))
    stale = sender.post(body, headers=signed_headers(body, age_s=900))

    assert {answer.status_code for answer in (unsigned, forged, stale)} == {401}
    assert unsigned.content == forged.content == stale.content
    names = [set(answer.headers) for answer in (unsigned, forged, stale)]
    assert names[0] == names[1] == names[2]
    assert deliveries(db) == []


BODY = sync_events()
THREE = ("svix-id", "svix-timestamp", "svix-signature")


def without(missing: str) -> dict[str, str]:
    return {name: value for name, value in signed_headers(BODY).items() if name != missing}


def with_other(name: str, value: str) -> dict[str, str]:
    return signed_headers(BODY) | {name: value}


# Each signs when it runs: what was signed at collection would be refused for its age later on.
@pytest.mark.parametrize(
    ("sign_now", "status"),
    [
        pytest.param(dict, 401, id="R6 none"),
        *[pytest.param(partial(without, name), 401, id=f"R7 no {name}") for name in THREE],
        *[pytest.param(partial(with_other, name, ""), 401, id=f"R8 empty {name}") for name in THREE],
        *[
            pytest.param(partial(with_other, "svix-signature", wrong), 401, id=f"{row} {wrong[:9]!r}")
            for row, wrong in (
                ("R11", "v1"),
                ("R12", "v1,abc"),
                ("R14", "v1,a,b"),
                ("R16", "v2,AAAA"),
                ("R18", " ".join(["v1," + "A" * 43 + "="] * 200)),
            )
        ],
        pytest.param(partial(signed_headers, BODY, secret=OTHER_SECRET), 401, id="R20 another secret"),
        pytest.param(partial(signed_headers, BODY + b"\n"), 401, id="R21 a newline stripped"),
        pytest.param(partial(signed_headers, BODY.replace(b": ", b":")), 401, id="R22 written again"),
        *[
            pytest.param(
                lambda wrong=wrong: signed_headers(BODY, timestamp=wrong.format(now=int(time.time()))),
                401,
                id=f"{row} {wrong[:9]}",
            )
            for row, wrong in (
                ("R25", "{now}000"),
                ("R26/27", "NaN"),
                ("R26/27", "inf"),
                ("R26/27", "-1"),
                ("R26/27", "1e9"),
                ("R26/27", "1" * 400),
                ("R26/27", "{now}.9"),
                ("R26/27", "{now:_}"),
            )
        ],
        *[
            pytest.param(partial(signed_headers, BODY, message_id=wrong), 401, id=f"R28 {wrong[:9]!r}")
            for wrong in ("a.b", "a" * 300, "a b", "'; drop table deliveries")
        ],
        pytest.param(
            lambda: signed_headers(BODY) | signed_headers(BODY, family="webhook"),
            400,
            id="R3 differing",
        ),
    ],
)
def test_a_strangers_request_changes_nothing(
    sender: Sender, db: Engine, sign_now: Callable[[], dict[str, str]], status: int
) -> None:
    answer = sender.post(BODY, headers=sign_now())

    assert answer.status_code == status
    assert deliveries(db) == []


@pytest.mark.parametrize(
    ("age_s", "status"),
    [
        pytest.param(303, 401, id="R23 old"),
        pytest.param(-303, 401, id="R23 ahead"),
        pytest.param(297, 204, id="R24 old"),
        pytest.param(-297, 204, id="R24 ahead"),
        pytest.param(360, 401, id="R30 captured and replayed late"),
    ],
)
def test_a_signature_is_good_for_five_minutes(
    sender: Sender, db: Engine, age_s: float, status: int
) -> None:
    assert sender.post(BODY, headers=signed_headers(BODY, age_s=age_s)).status_code == status


@pytest.mark.parametrize(
    "name", ["svix-id", "svix-signature", "svix-timestamp"], ids=lambda n: f"R9/R10 {n}"
)
def test_a_header_sent_twice_is_refused(sender: Sender, db: Engine, name: str) -> None:
    headers = signed_headers(BODY)
    twice = [*headers.items(), (name.title(), headers[name])]

    answer = sender.client.post(PATH, content=BODY, headers=twice)

    assert answer.status_code == 400
    assert deliveries(db) == []


def test_a_signature_in_other_letters_than_ascii_is_refused(sender: Sender, db: Engine) -> None:
    """R15."""
    headers = signed_headers(BODY) | {"svix-signature": ""}
    lines = [f"{name}: {value}".encode() for name, value in headers.items()]
    lines[-1] += "v1,é".encode("latin-1")
    request = b"\r\n".join(
        [
            b"POST /webhooks/recall HTTP/1.1",
            b"Host: x",
            b"Connection: close",
            *lines,
            b"Content-Length: 0",
        ]
    )

    assert status_of(sender.say(request + b"\r\n\r\n")) == 401


def test_during_a_rotation_both_secrets_are_accepted_and_afterwards_one(db: Engine) -> None:
    """R19."""
    old, new = OTHER_SECRET, SECRET
    with a_receiver(db, recall_webhook_secrets=(new, old)) as both:
        assert both.post(BODY, headers=signed_headers(BODY, secret=old)).status_code == 204
        assert both.post(BODY, headers=signed_headers(BODY, secret=new)).status_code == 204
    with a_receiver(db, recall_webhook_secrets=(new,)) as only_new:
        assert only_new.post(BODY, headers=signed_headers(BODY, secret=old)).status_code == 401


def test_a_signature_beside_another_senders_is_found(sender: Sender, db: Engine) -> None:
    """R13."""
    headers = signed_headers(BODY)
    bad = sign(BODY, message_id="x", timestamp="1", secret=OTHER_SECRET)

    answer = sender.post(
        BODY, headers=headers | {"svix-signature": f"{bad}  {headers['svix-signature']}"}
    )

    assert answer.status_code == 204


def test_many_bad_signatures_are_slowed_down_and_good_ones_are_not(db: Engine) -> None:
    """R74."""
    with a_receiver(db) as sender:
        statuses = [sender.post(BODY, headers={}).status_code for _ in range(MOST_STRIKES + 5)]
        slowed = sender.post(BODY, headers={})
        honest = sender.post(BODY)

    assert statuses == [401] * MOST_STRIKES + [429] * 5
    assert slowed.headers["retry-after"] == "10"
    assert honest.status_code == 204


# Not a delivery at all


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "HEAD", "TRACE", "PATCH"])
def test_only_post_is_allowed(sender: Sender, db: Engine, method: str) -> None:
    """R60."""
    answer = sender.client.request(method, PATH)

    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    "path",
    [
        "/webhooks/recall/",
        "//webhooks/recall",
        "/webhooks//recall",
        "/webhooks%2frecall",
        "/webhooks/../webhooks/recall",
        "/webhooks/./recall",
        "/webhooks/recall%00",
        "/webhooks/recall;x",
        "/Webhooks/Recall",
        "/webhooks",
        "/webhooks/other",
    ],
)
def test_only_the_exact_path_is_known(sender: Sender, db: Engine, path: str) -> None:
    """R61."""
    headers = "".join(f"{name}: {value}\r\n" for name, value in signed_headers(BODY).items())
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(BODY)}\r\n"

    assert status_of(sender.say(f"{head}{headers}\r\n".encode() + BODY)) == 404
    assert deliveries(db) == []


def test_a_query_does_not_matter(sender: Sender, db: Engine) -> None:
    answer = sender.client.post(f"{PATH}?from=recall", content=BODY, headers=signed_headers(BODY))

    assert answer.status_code == 204


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "GZIP", "gzip, identity"])
def test_an_encoded_body_is_not_opened(sender: Sender, db: Engine, encoding: str) -> None:
    """R63."""
    answer = sender.post(BODY, more={"Content-Encoding": encoding})

    assert answer.status_code == 415
    assert deliveries(db) == []


def test_the_largest_body_is_read_and_one_byte_more_is_not(sender: Sender, db: Engine) -> None:
    largest = sync_events(x="")
    largest = sync_events(x="x" * (LARGEST_BODY - len(largest)))

    at_the_limit = sender.post(largest)
    beyond = sender.post(largest + b" ")

    assert len(largest) == LARGEST_BODY
    assert (at_the_limit.status_code, beyond.status_code) == (204, 413)
    assert "connection" not in at_the_limit.headers
    assert len(deliveries(db)) == 1


@pytest.mark.parametrize("size", [300 * 1024, 3 * 1024 * 1024])
def test_a_sender_of_too_much_reads_the_refusal(sender: Sender, db: Engine, size: int) -> None:
    """The rest of the body is thrown away, so that the answer does not die with the connection."""
    announced = sender.post(b"x" * size)
    chunked = sender.client.post(
        PATH, content=iter([b"x" * 65536] * (size // 65536 + 1)), headers=signed_headers(b"")
    )

    assert (announced.status_code, chunked.status_code) == (413, 413)
    assert announced.headers["connection"] == "close"


# Unable


def test_without_a_secret_nothing_is_accepted_and_somebody_is_told(db: Engine) -> None:
    """R76."""
    with capture_logs() as logs, a_receiver(db, recall_webhook_secrets=()) as sender:
        signed, unsigned = sender.post(BODY), sender.post(BODY, headers={})

    assert {signed.status_code, unsigned.status_code} == {503}
    assert int(signed.headers["retry-after"]) > 0
    assert deliveries(db) == []
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["no_webhook_secret"]


def test_what_nobody_foresaw_is_a_503(db: Engine) -> None:
    def broken_clock() -> Any:
        raise LookupError("no time")

    with capture_logs() as logs, a_receiver(db, now=broken_clock) as sender:
        answer = sender.post(BODY)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert b"no time" not in answer.content
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["receiver_failed"]


def test_no_answer_names_the_server_software(sender: Sender, db: Engine) -> None:
    for answer in (
        sender.post(BODY),
        sender.post(BODY, headers={}),
        sender.client.get("/nothing/here"),
    ):
        assert "server" not in answer.headers


def test_errors_are_problem_details(sender: Sender, db: Engine) -> None:
    answer = sender.post(BODY, headers={})

    assert answer.headers["content-type"] == "application/problem+json"
    assert json.loads(answer.content) == {
        "type": "about:blank",
        "title": "Unauthorized",
        "status": 401,
        "code": "unauthorized",
    }


def wait_until(condition: Any, *, within_s: float = 3.0) -> None:
    """Wait for something that happens after the answer."""
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.01)


# The short way and the long way


def _as_bytes(body: bytes, headers: dict[str, str], *, chunked: bool = False) -> bytes:
    lines = [
        f"POST {PATH} HTTP/1.1",
        "Host: x",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    if chunked:
        sent = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        return "\r\n".join([*lines, "Transfer-Encoding: chunked"]).encode() + b"\r\n\r\n" + sent
    return "\r\n".join([*lines, f"Content-Length: {len(body)}"]).encode() + b"\r\n\r\n" + body


def _answers(sender: Sender, *requests: bytes) -> list[bytes]:
    """Send requests in one go over one connection; the answers without their dates are returned."""
    closing = _as_bytes(b"", {"Connection": "close"})
    heard = sender.say(b"".join(requests) + closing)
    parts = heard.split(b"HTTP/1.1 ")[1:-1]
    return [
        b"\r\n".join(line for line in part.split(b"\r\n") if not line.startswith(b"date:"))
        for part in parts
    ]


@pytest.mark.parametrize(
    ("body", "change"),
    [
        (BODY, {}),
        (b"junk", {}),
        (b'{"event":"some.thing"}', {}),
        (BODY, {"svix-signature": "v1,AAAA"}),
        (BODY, {"svix-timestamp": "now"}),
        (BODY, {"Content-Encoding": "gzip"}),
    ],
    ids=["stored", "quarantined", "ignored", "wrongly signed", "malformed", "encoded"],
)
def test_a_request_in_one_piece_is_answered_as_one_in_chunks(
    sender: Sender, db: Engine, body: bytes, change: dict[str, str]
) -> None:
    short, long = (
        _as_bytes(body, signed_headers(body) | change, chunked=chunked) for chunked in (False, True)
    )

    first, second = (_answers(sender, request) for request in (short, long))

    assert first == second
    assert len(first) == 1


def test_requests_that_come_at_once_are_answered_in_their_order(sender: Sender, db: Engine) -> None:
    bodies = [sync_events(), b"junk", sync_events(), b'{"event":"some.thing"}'] * 3
    requests = [_as_bytes(body, signed_headers(body)) for body in bodies]

    answers = _answers(sender, *requests)

    assert [answer[:3] for answer in answers] == [b"204", b"202", b"204", b"204"] * 3
    assert len(deliveries(db)) == len(bodies)
