"""What nobody thought of: the rows of the receiver's table as seeds, spoiled further by Hypothesis."""

from __future__ import annotations

import json
import os
import socket
import string
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from tests.badinput.corpus_receiver import NEVER, POLICY, ROWS, SYNC_IN_CHUNKS
from tests.badinput.line import LONGEST_S, Heard, dial
from tests.badinput.posts import SYNC, Post
from tests.badinput.served import Served
from tests.webhooks.sending import (
    CALENDAR,
    OTHER_SECRET,
    SECRET,
    bot_status,
    calendar_update,
    deliveries,
    legacy_bot_status,
)

pytestmark = [pytest.mark.xdist_group("badinput"), pytest.mark.timeout(0)]

EXAMPLES = int(os.environ.get("PUNCTUAL_TEST_FUZZ_EXAMPLES", "150"))
#: A request spoiled beyond its own end can reach other pages of the server.
ANSWERS = POLICY | {200, 403, 422}
#: Silence for so long may be right: the request may still go on. It is looked after at the end.
SILENCE_S = 0.15
MOST_PARKED = 300

SEEDS = [
    post
    for row in ROWS
    if row.to == "usual"
    for post in row.inputs.values()
    if isinstance(post, Post) and len(post.body) <= 20_000 and len(post.wire or b"") <= 20_000
]
BODIES = [SYNC, calendar_update(), bot_status(), legacy_bot_status()]
NAMES = [
    "svix-id", "svix-timestamp", "svix-signature", "webhook-id", "webhook-timestamp", "webhook-signature",
    "content-encoding", "content-type", "content-length", "transfer-encoding", "expect",
    "connection", "host", "upgrade", "trailer", "te", "cookie", "x-forwarded-for", "x-\x7f", "",
]  # fmt: skip
VALUES = [
    b"chunked", b"gzip, chunked", b"identity", b"0", b"-1", b"5", b"9" * 30, b"100-continue", b"close",
    b"keep-alive", b"websocket", b"h2c", b"x", b"", b"v1,", b"\xff", b"a, b", b"\t", b"1;2", b"\x00",
]  # fmt: skip
ODD: list[Any] = [
    None, True, False, 0, -1, 1.5, 2**63, 10**70, "", "x", "\0", "\ud800", "x" * 5_000, [], {}, [[]], CALENDAR,
    CALENDAR.upper(), "../x", "2026-02-30T00:00:00Z", "infinity", "calendar.update", "bot.done", "bot.log",
]  # fmt: skip
SCRAPS = st.binary(max_size=8) | st.sampled_from(
    [
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b"\r",
        b": ",
        b" ",
        b"\0",
        b"0\r\n\r\n",
        b"ff\r\n",
        b"HTTP/1.1",
        b"[" * 40,
        b"\xff",
    ]
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A body we know with a part of its structure, or some of its bytes, made odd."""
    message = json.loads(draw(st.sampled_from(BODIES)))
    for _ in range(draw(st.integers(0, 3))):
        _spoil(draw, message)
    text = json.dumps(message, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    return _spliced(draw, text) if draw(st.integers(0, 3)) == 0 else text


def _spoil(draw: st.DrawFn, message: Any) -> None:
    where = message
    while isinstance(where, dict) and where:
        name = draw(st.sampled_from(sorted(where)))
        if draw(st.booleans()) and isinstance(where[name], dict):
            where = where[name]
            continue
        match draw(st.integers(0, 3)):
            case 0:
                del where[name]
            case 1:
                where[draw(st.sampled_from([name.upper(), name + " ", "__proto__", "\0"]))] = where[
                    name
                ]
            case _:
                where[name] = draw(st.sampled_from(ODD))
        return


def _spliced(draw: st.DrawFn, text: bytes) -> bytes:
    at = draw(st.integers(0, len(text)))
    taken = draw(st.integers(0, 12))
    return text[:at] + draw(SCRAPS) + text[at + taken :]


@st.composite
def posts(draw: st.DrawFn) -> Post:
    """A seed of the table with a few of its parts changed for others."""
    post = draw(st.sampled_from(SEEDS))
    changes: list[Callable[[Post], Post]] = [
        lambda p: replace(p, body=draw(bodies())),
        lambda p: replace(p, secret=draw(st.sampled_from([SECRET, OTHER_SECRET]))),
        lambda p: replace(p, age_s=draw(st.sampled_from([0, 200, -200, 400, -400, 1e9]))),
        lambda p: replace(p, spoiled={draw(st.sampled_from(NAMES[:6])): draw(VALUE)}),
        lambda p: replace(p, more=[*p.more, draw(HEADER)]),
        lambda p: replace(p, framing=draw(FRAMING), wire=draw(st.none() | st.just(SYNC_IN_CHUNKS))),
        lambda p: replace(p, method=draw(st.sampled_from([b"GET", b"PUT", b"post", b"M-SEARCH"]))),
        lambda p: replace(
            p, path=p.path + draw(st.sampled_from([b"?", b"/", b"%00", b"#x", b"?a=%ff"]))
        ),
        lambda p: replace(p, version=draw(st.sampled_from([b"HTTP/1.0", b"HTTP/1.2", b"http/1.1"]))),
        lambda p: replace(p, is_signed=False),
        lambda p: replace(p, message_id=draw(ID)),
    ]
    for change in draw(st.lists(st.sampled_from(changes), max_size=3)):
        post = change(post)
    return post


@st.composite
def spliced_posts(draw: st.DrawFn) -> bytes:
    """Such a request with some of its bytes taken out and others put in, wherever."""
    request = draw(posts())()
    for _ in range(draw(st.integers(1, 3))):
        request = _spliced(draw, request)
    return request


VALUE = st.sampled_from(VALUES) | st.binary(max_size=20)
HEADER = st.builds(lambda name, value: name.encode() + b": " + value, st.sampled_from(NAMES), VALUE)
FRAMING = (
    st.none() | HEADER | st.sampled_from([b"", b"Transfer-Encoding: chunked", b"Content-Length: 3"])
)
ID = st.text(string.ascii_letters + string.digits + "-_. ", min_size=1, max_size=140).map(str.encode)


@dataclass
class Parked:
    """Connections nobody has ended yet; each has to be within ten seconds of its last byte."""

    lines: list[tuple[socket.socket, float, bytes]] = field(default_factory=list)

    def hear(self, server: Served, request: bytes) -> Heard:
        """Send a request; when nobody ends the connection soon, keep it for later."""
        line = dial(server.base_url)
        heard, is_closed = b"", False
        with suppress(BrokenPipeError, ConnectionResetError):  # refused in the middle
            line.sendall(request)
        sent_at = time.monotonic()
        try:
            while not is_closed:
                line.settimeout(SILENCE_S)
                more = line.recv(65_536)
                heard += more
                is_closed = not more
        except TimeoutError:
            pass
        except ConnectionResetError:
            is_closed = True
        if is_closed or heard or len(self.lines) >= MOST_PARKED:
            line.close()
        else:
            self.lines.append((line, sent_at, request))
        return Heard(heard, is_closed, time.monotonic() - sent_at)

    def end(self) -> None:
        """Fail unless everybody is answered in time."""
        for line, sent_at, request in self.lines:
            with line:
                line.settimeout(max(sent_at + LONGEST_S + 0.5 - time.monotonic(), 0.05))
                try:
                    heard = line.recv(65_536)
                except ConnectionResetError:
                    heard = b""
                except TimeoutError:
                    raise AssertionError(f"nobody ended {request[:500]!r}") from None
            judge(Heard(heard, is_closed=True, seconds=0))


def judge(heard: Heard) -> None:
    """Fail unless every answer is one of the policy's."""
    statuses = {answer.status for answer in heard.answers}
    assert not statuses & NEVER, heard.raw[:500]
    assert statuses <= ANSWERS, heard.raw[:500]
    for answer in heard.answers:
        assert b"Traceback" not in answer.body


bounded = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def test_whatever_is_said_is_answered_by_the_policy_and_kept_if_it_was_accepted(
    usual: Served, clean: Engine
) -> None:
    parked, accepted = Parked(), set()

    @bounded
    @given(post=posts())
    def say(post: Post) -> None:
        heard = parked.hear(usual, post())
        judge(heard)
        if heard.status in {202, 204}:
            assert post.is_signed or post.more
            assert post.secret == SECRET
            accepted.add(heard.status)

    before = len(deliveries(clean))
    say()
    parked.end()

    assert accepted == {202, 204}
    assert len(deliveries(clean)) > before
    check_alive(usual)


def test_whatever_the_bytes_on_the_line_the_server_answers_and_lives(usual: Served) -> None:
    parked = Parked()

    @bounded
    @given(request=spliced_posts())
    def send(request: bytes) -> None:
        judge(parked.hear(usual, request))

    send()
    parked.end()

    check_alive(usual)


def check_alive(server: Served) -> None:
    """Fail unless a good request is answered and the log tells of nothing that went wrong inside."""
    assert server.hear(Post()()).status == 204
    assert server.process.poll() is None
    odd = [
        line
        for line in server.new_lines()
        if line["level"] in {"error", "critical"} or "exception" in line
    ]
    assert odd == []
