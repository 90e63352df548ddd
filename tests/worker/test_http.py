"""The door for provider calls: what it tries again, what it bounds, what it never says."""

from __future__ import annotations

import gzip
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
import pytest
import structlog

from worker import http as door
from worker.errors import TryLater
from worker.http import Answer, build_client, call

KEY = UUID(int=7)
OK = httpx.Response(200, json={})


class Script:
    """A network that gives prepared answers, one a call, and remembers the requests."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self._answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def ask(
    script: Callable[[httpx.Request], httpx.Response],
    method: str = "GET",
    *,
    key: UUID | None = None,
    body: dict[str, object] | None = None,
    permit: Callable[[], None] = lambda: None,
    count: door.Count = door.count_nothing,
    waits: list[float] | None = None,
) -> Answer:
    with build_client(transport=httpx.MockTransport(script)) as http:
        return call(
            http,
            method,
            "https://provider.test/things/?secret=1",
            provider="recall",
            operation="list_things",
            key=key,
            body=body,
            permit=permit,
            count=count,
            sleep=(waits if waits is not None else []).append,
        )


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_read_is_tried_again_when_a_gateway_fails(status: int) -> None:
    script = Script(httpx.Response(status), OK)

    answer = ask(script)

    assert answer.status == 200
    assert len(script.requests) == 2


@pytest.mark.parametrize("status", [200, 400, 401, 404, 409, 429, 500, 507])
def test_no_other_answer_is_tried_again(status: int) -> None:
    script = Script(httpx.Response(status), OK)

    answer = ask(script)

    assert answer.status == status
    assert len(script.requests) == 1


def test_three_tries_are_all() -> None:
    script = Script(*[httpx.Response(503) for _ in range(5)])

    answer = ask(script)

    assert answer.status == 503
    assert len(script.requests) == 3


def test_a_post_without_a_key_is_never_repeated() -> None:
    script = Script(httpx.Response(503), OK)

    answer = ask(script, "POST", body={"a": 1})

    assert answer.status == 503
    assert len(script.requests) == 1


def test_a_post_with_a_key_is_repeated_under_that_key() -> None:
    script = Script(httpx.ReadError("reset"), OK)

    ask(script, "POST", key=KEY, body={"a": 1})

    assert [request.headers["idempotency-key"] for request in script.requests] == [str(KEY)] * 2
    assert [request.content for request in script.requests] == [b'{"a": 1}'] * 2


def test_a_short_retry_after_is_waited_for() -> None:
    waits: list[float] = []

    ask(Script(httpx.Response(503, headers={"retry-after": "3"}), OK), waits=waits)

    assert 3 <= waits[0] < 4


def test_a_long_retry_after_is_left_to_the_row() -> None:
    script = Script(httpx.Response(503, headers={"retry-after": "6"}), OK)

    answer = ask(script)

    assert answer.status == 503
    assert answer.retry_after == timedelta(seconds=6)


def test_trying_ends_before_eight_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(*[httpx.Response(503, headers={"retry-after": "5"}) for _ in range(3)])
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def wait(seconds: float) -> None:
        clock[0] += seconds

    with build_client(transport=httpx.MockTransport(script)) as http:
        call(http, "GET", "https://provider.test/", provider="p", operation="o", sleep=wait)

    assert len(script.requests) == 2
    assert clock[0] < 8


def test_a_read_never_has_a_body() -> None:
    with pytest.raises(ValueError, match="no body"):
        ask(Script(OK), "GET", body={})

    script = Script(OK)
    ask(script, "GET")

    assert script.requests[0].content == b""
    assert "content-type" not in script.requests[0].headers


@pytest.mark.parametrize(
    ("failure", "is_definite"),
    [
        (httpx.ConnectError("refused"), True),
        (httpx.ConnectTimeout("slow"), True),
        (httpx.PoolTimeout("busy"), True),
        (httpx.ReadTimeout("slow"), False),
        (httpx.WriteError("reset"), False),
        (httpx.ReadError("reset"), False),
        (httpx.RemoteProtocolError("cut off"), False),
    ],
)
def test_only_a_connection_that_was_never_made_surely_did_nothing(
    failure: httpx.TransportError, *, is_definite: bool
) -> None:
    with pytest.raises(TryLater) as raised:
        ask(Script(failure), "POST", body={})

    assert raised.value.is_definite is is_definite
    assert "secret" not in str(raised.value)


def test_an_earlier_try_that_may_have_arrived_makes_the_whole_call_doubtful() -> None:
    script = Script(httpx.ReadError("reset"), *[httpx.ConnectError("refused")] * 2)

    with pytest.raises(TryLater) as raised:
        ask(script, "POST", key=KEY, body={})

    assert not raised.value.is_definite


def test_a_refusal_after_a_lost_answer_is_doubtful() -> None:
    lost_first = ask(Script(httpx.ReadError("reset"), httpx.Response(429)))
    at_once = ask(Script(httpx.Response(429)))

    assert lost_first.is_doubtful
    assert not at_once.is_doubtful


def test_every_try_asks_for_permission() -> None:
    asked: list[int] = []

    ask(Script(httpx.Response(502), OK), permit=lambda: asked.append(1))

    assert len(asked) == 2


def test_a_call_without_permission_is_not_made() -> None:
    script = Script(OK)

    def permit() -> None:
        msg = "no budget"
        raise TryLater(msg, after=timedelta(seconds=9), counts=False)

    with pytest.raises(TryLater) as raised:
        ask(script, permit=permit)

    assert script.requests == []
    assert raised.value.is_definite
    assert not raised.value.counts
    assert raised.value.after == timedelta(seconds=9)


def test_a_repeat_without_permission_leaves_the_outcome_open() -> None:
    permits = iter([True, False])

    def permit() -> None:
        if not next(permits):
            msg = "no budget"
            raise TryLater(msg, counts=False, is_definite=True)

    with pytest.raises(TryLater) as raised:
        ask(Script(httpx.Response(502), OK), "DELETE", permit=permit)

    assert not raised.value.is_definite


def test_every_answer_is_counted() -> None:
    counted: list[tuple[str, str, str, float]] = []

    ask(
        Script(httpx.Response(502), httpx.ConnectError("refused"), OK),
        count=lambda *seen: counted.append(seen),
    )

    assert [seen[:3] for seen in counted] == [
        ("recall", "list_things", "502"),
        ("recall", "list_things", "unreachable"),
        ("recall", "list_things", "200"),
    ]
    assert all(0 <= seconds < 5 for *_, seconds in counted)


def test_a_retry_is_one_log_line_without_the_query() -> None:
    with structlog.testing.capture_logs() as lines:
        ask(Script(httpx.Response(502), httpx.Response(502), OK))

    assert [line["event"] for line in lines] == ["call_tried_again"] * 2
    assert "secret" not in repr(lines)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        ("2.5", 2.5),
        ("-5", 0),
        ("86400", 86400),
        ("1e999", None),
        ("soon", None),
        ("nan", None),
        ("", None),
        ("Sat, 21 Nov 2026 12:00:30 GMT", 30),
        ("Sat, 21 Nov 2026 11:00:00 GMT", 0),
        ("Sat, 99 Nov 2026 11:00:00 GMT", None),
    ],
)
def test_retry_after_is_read_or_ignored(text: str, seconds: float | None) -> None:
    headers = httpx.Headers({"retry-after": text, "date": "Sat, 21 Nov 2026 12:00:00 GMT"})

    wait = Answer(429, headers, b"").retry_after

    assert wait == (None if seconds is None else timedelta(seconds=seconds))


@pytest.mark.parametrize("text", ["", "yesterday", "Sat, 21 Nov 99999 12:00:00 GMT"])
def test_a_senseless_date_is_no_clock(text: str) -> None:
    assert Answer(200, httpx.Headers({"date": text}), b"").served_at is None


def test_the_servers_clock_is_read() -> None:
    answer = Answer(200, httpx.Headers({"date": "Sat, 21 Nov 2026 12:00:00 GMT"}), b"")

    assert answer.served_at == datetime(2026, 11, 21, 12, tzinfo=UTC)


def test_redirects_and_cookies_lead_nowhere() -> None:
    script = Script(
        httpx.Response(302, headers={"location": "https://evil.test/", "set-cookie": "a=b"}), OK
    )

    with build_client(transport=httpx.MockTransport(script)) as http:
        first = call(http, "GET", "https://provider.test/", provider="p", operation="o")
        call(http, "GET", "https://provider.test/", provider="p", operation="o")

    assert first.status == 302
    assert [request.url.host for request in script.requests] == ["provider.test"] * 2
    assert "cookie" not in script.requests[1].headers


def test_the_environments_proxy_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")

    with served(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi") as url:
        assert over_the_network(url).body == b"hi"


def test_a_dripping_answer_ends_with_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "TOTAL_TIMEOUT_S", 0.4)

    with served(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n" + b"x" * 900, drip_s=0.05) as url:
        begun = time.monotonic()
        with pytest.raises(TryLater, match="ReadTimeout"):
            over_the_network(url)

    assert time.monotonic() - begun < 2


def test_dripping_headers_end_with_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "TOTAL_TIMEOUT_S", 0.4)

    head = b"HTTP/1.1 200 OK\r\nx-long: " + b"x" * 900

    with served(head, drip_s=0.05) as url, pytest.raises(TryLater, match="ReadTimeout"):
        over_the_network(url)


def test_a_truncated_answer_is_no_answer() -> None:
    half = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf"

    with served(half) as url, pytest.raises(TryLater, match="RemoteProtocolError") as raised:
        over_the_network(url)

    assert not raised.value.is_definite


def test_an_answer_that_ends_in_a_reset_is_no_answer() -> None:
    half = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf"

    with served(half, resets=True) as url, pytest.raises(TryLater, match="ReadError") as raised:
        over_the_network(url)

    assert not raised.value.is_definite


def test_an_endless_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "LARGEST_BODY_BYTES", 10_000)
    endless = b"HTTP/1.1 200 OK\r\ncontent-length: 20000\r\n\r\n" + b"x" * 20_000

    with served(endless) as url, pytest.raises(TryLater, match="larger than 10000 bytes"):
        over_the_network(url)


def test_a_compressed_answer_is_read() -> None:
    packed = gzip.compress(b'{"a": 1}', mtime=0)

    with served(gzipped(packed)) as url:
        assert over_the_network(url).body == b'{"a": 1}'


def test_a_bomb_is_not_unpacked_beyond_the_cap() -> None:
    packed = gzip.compress(b"\0" * (door.LARGEST_BODY_BYTES + 1), mtime=0)

    with served(gzipped(packed)) as url, pytest.raises(TryLater, match="larger than"):
        over_the_network(url)


@pytest.mark.parametrize("packed", [b"no gzip at all", gzip.compress(b"x" * 999, mtime=0)[:-12]])
def test_garbled_compression_is_no_answer(packed: bytes) -> None:
    with served(gzipped(packed)) as url, pytest.raises(TryLater, match="decompressed") as raised:
        over_the_network(url)

    assert not raised.value.is_definite


def test_connections_are_reused() -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"

    with served(answer, keep_open=True) as url, build_client() as http:
        ports = []
        for _ in range(3):
            call(http, "GET", url, provider="p", operation="o")
            ports.append(len(http._transport._pool.connections))  # type: ignore[attr-defined]  # of any transport

    assert ports == [1, 1, 1]


def over_the_network(url: str) -> Answer:
    with build_client() as http:
        return call(http, "POST", url, provider="recall", operation="list_things", body={})


def read_request(connection: socket.socket) -> bool:
    """Read one request, body and all; False when there is none to come."""
    told = b""
    while b"\r\n\r\n" not in told:
        some = connection.recv(65536)
        if not some:
            return False
        told += some
    head, _, body = told.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
    missing = int(length[1]) - len(body) if length else 0
    while missing > 0:
        missing -= len(connection.recv(missing)) or missing
    return True


def gzipped(packed: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {len(packed)}\r\n\r\n"
    return head.encode() + packed


@contextmanager
def served(
    answer: bytes, *, drip_s: float = 0.0, keep_open: bool = False, resets: bool = False
) -> Iterator[str]:
    """
    A server on loopback that answers every request with the same bytes, a byte at a time if told.

    It reads a request to its end and lets the client hang up first, unless it *resets*: closing with
    something unread would be a reset on some machines and an end of file on others.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.1)
    ended = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection:
            while not ended.is_set() and read_request(connection):
                pieces = [bytes([byte]) for byte in answer] if drip_s else [answer]
                for piece in pieces:
                    connection.sendall(piece)
                    if ended.wait(drip_s):
                        return
                if resets:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return
                if not keep_open:
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass
                    return

    def accept() -> None:
        while not ended.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            try:
                serve(connection)
            except OSError:  # the client has had enough
                continue

    thread = threading.Thread(target=accept)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    ended.set()
    thread.join()
    listener.close()
