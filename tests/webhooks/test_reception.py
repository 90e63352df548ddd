"""Framing, over raw sockets: what a proxy might read otherwise, what is too long, and who dawdles."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy import Engine

from tests.webhooks.sending import (
    PATH,
    Sender,
    a_runtime,
    deliveries,
    raw_post,
    signed_headers,
    status_of,
    sync_events,
)
from webhooks.app import create_app
from webhooks.reception import Bounds
from webhooks.server import serving

BODY = sync_events()
LENGTH = f"Content-Length: {len(BODY)}"
CHUNKED = "Transfer-Encoding: chunked"
IN_CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)


@pytest.fixture
def hasty(db: Engine) -> Iterator[Sender]:
    """A receiver that waits for nobody: a second for a request, twenty connections."""
    bounds = Bounds(receipt_s=0.6, keep_alive_s=1, connections=20, linger_s=0.5)
    with (
        serving(create_app(a_runtime(db)), bounds=bounds) as url,
        httpx.Client(base_url=url, timeout=10) as client,
    ):
        yield Sender(url, client)


def test_the_requests_these_tests_spoil_are_good(sender: Sender, db: Engine) -> None:
    assert status_of(sender.say(raw_post(BODY, headers=[LENGTH]))) == 204
    assert status_of(sender.say(raw_post(BODY, headers=[CHUNKED])[: -len(BODY)] + IN_CHUNKS)) == 204


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([LENGTH, CHUNKED], id="R66 length and chunked"),
        pytest.param([CHUNKED, LENGTH], id="R66 chunked and length"),
        pytest.param([LENGTH, LENGTH], id="R66 the same length twice"),
        pytest.param([LENGTH, "Content-Length: 5"], id="R66 two lengths"),
        pytest.param([f"Content-Length: +{len(BODY)}"], id="R66 a sign"),
        pytest.param(["Content-Length: -1"], id="R66 negative"),
        pytest.param([f"Content-Length: {len(BODY)}, {len(BODY)}"], id="R66 a list of lengths"),
        pytest.param(["Content-Length: 0x10"], id="R66 hexadecimal"),
        pytest.param(["Content-Length: " + "9" * 40], id="R66 a length beyond numbers"),
        pytest.param(["Transfer-Encoding: xchunked"], id="R66 xchunked"),
        pytest.param(["Transfer-Encoding: gzip, chunked"], id="R66 gzip, chunked"),
        pytest.param(["Transfer-Encoding: identity"], id="R66 identity"),
        pytest.param([CHUNKED, CHUNKED], id="R66 chunked twice"),
        pytest.param([LENGTH, "X-Folded: a\r\n b"], id="R67 obs-fold"),
        pytest.param([LENGTH, "X-Spaced : a"], id="R67 space before colon"),
        pytest.param([LENGTH, "X-Nul: a\0b"], id="R67 NUL"),
        pytest.param([LENGTH, "X-Bare: a\rb"], id="R67 bare CR"),
        pytest.param([LENGTH, "No colon"], id="R67 no colon"),
        pytest.param([LENGTH, ": nameless"], id="R67 no name"),
        pytest.param([LENGTH, "Host: y"], id="R67 a second host"),
    ],
)
def test_framing_two_readers_could_read_apart_is_refused(
    sender: Sender, db: Engine, headers: list[str]
) -> None:
    request = raw_post(BODY, headers=headers)
    if CHUNKED in headers or any("chunked" in header for header in headers):
        request = request[: -len(BODY)] + IN_CHUNKS

    assert status_of(sender.say(request)) == 400
    assert deliveries(db) == []


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(raw_post(BODY, headers=[LENGTH]).replace(b"\r\n", b"\n"), id="R67 bare LF"),
        pytest.param(raw_post(BODY, headers=[LENGTH]).replace(b"Host: x\r\n", b""), id="R67 no host"),
        pytest.param(raw_post(BODY, headers=[LENGTH], path="http://x" + PATH), id="R67 absolute-form"),
        pytest.param(raw_post(b"", path="*"), id="asterisk-form"),
        pytest.param(b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", id="CONNECT"),
        pytest.param(
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(64), id="R71 TLS hello"
        ),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="R71 HTTP/2"),
        pytest.param(b"\x00\xff\xfe garbage\r\n\r\n", id="R71 garbage"),
        pytest.param(b"GET /\r\n\r\n", id="R71 HTTP/0.9"),
        pytest.param(b"POST / HTTP/9.9\r\nHost: x\r\n\r\n", id="R71 HTTP/9.9"),
        pytest.param(b"BREW /pot HTTP/1.1\r\nHost: x\r\n\r\n", id="a method nobody knows"),
        pytest.param(
            raw_post(b"", headers=[CHUNKED]) + b"%x;\0\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY),
            id="R66 bad chunk extension",
        ),
        pytest.param(raw_post(b"", headers=[CHUNKED]) + b"zz\r\n", id="R66 chunk size"),
        pytest.param(
            raw_post(b"", headers=[CHUNKED])
            + b"%x\r\n%s\r\n0\r\nbad trailer\r\n\r\n" % (len(BODY), BODY),
            id="R66 bad trailer",
        ),
        pytest.param(
            raw_post(b"", headers=[CHUNKED]) + b"%x\r\n%sXX0\r\n\r\n" % (len(BODY), BODY),
            id="R66 chunk without end",
        ),
    ],
)
def test_what_is_not_clean_http_is_refused(sender: Sender, db: Engine, request_bytes: bytes) -> None:
    assert status_of(sender.say(request_bytes)) == 400
    assert deliveries(db) == []


def test_a_signature_in_a_trailer_is_not_looked_at(sender: Sender, db: Engine) -> None:
    trailer = "".join(f"{name}: {value}\r\n" for name, value in signed_headers(BODY).items()).encode()
    request = raw_post(b"", headers=[CHUNKED], signed=False)
    request += b"%x\r\n%s\r\n0\r\n%s\r\n" % (len(BODY), BODY, trailer)

    assert status_of(sender.say(request)) == 401


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        pytest.param(
            raw_post(BODY, headers=[LENGTH, "X-Long: " + "x" * 81_920]), 431, id="R68 80 KB header"
        ),
        pytest.param(
            raw_post(BODY, headers=[LENGTH, *(f"X-{n}: 1" for n in range(2_000))]),
            431,
            id="R68 2,000 headers",
        ),
        pytest.param(
            raw_post(BODY, headers=[LENGTH], path="/" + "x" * 65_536), 414, id="R68 64 KB URL"
        ),
        pytest.param(
            raw_post(BODY, headers=[LENGTH, "svix-signature: " + "v1,A " * 100_000]),
            431,
            id="R18 signatures",
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nX-Endless: " + b"x" * 200_000, 431, id="a header without end"
        ),
        pytest.param(b"POST /" + b"x" * 200_000, 414, id="a URL without end"),
        pytest.param(
            b"POST / HTTP/1.1\r\nX-Endless: " + b"x" * 3_000_000, 431, id="and heard to its end"
        ),
    ],
)
def test_a_head_that_is_too_long_is_refused(
    sender: Sender, db: Engine, request_bytes: bytes, status: int
) -> None:
    assert status_of(sender.say(request_bytes)) == status


def test_who_is_still_sending_when_refused_is_heard_out_for_a_while(hasty: Sender, db: Engine) -> None:
    """RFC 9112, 9.6: closing at once would reset the line before the answer has been read."""
    with hasty.dial() as line:
        line.settimeout(5)
        line.sendall(b"POST / HTTP/1.1\r\nX-Endless: " + b"x" * 30_000)
        time.sleep(0.1)
        for _ in range(8):
            line.sendall(b"x" * 30_000)
            time.sleep(0.02)
        heard = b"".join(iter(lambda: line.recv(65536), b""))

    assert status_of(heard) == 431


def test_a_gigabyte_is_refused_before_it_is_sent(sender: Sender, db: Engine) -> None:
    """R64."""
    began = time.monotonic()

    answer = sender.say(raw_post(b"", headers=["Content-Length: 1073741824"]))

    assert status_of(answer) == 413
    assert time.monotonic() - began < 2


def test_a_body_that_grows_too_long_is_refused_and_the_connection_closed(
    hasty: Sender, db: Engine
) -> None:
    """R65."""
    with hasty.dial() as line:
        line.settimeout(5)
        line.sendall(raw_post(b"", headers=[CHUNKED]))
        for _ in range(5):
            line.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        heard = b"".join(iter(lambda: line.recv(65536), b""))

    assert status_of(heard) == 413
    assert b"connection: close" in heard


@pytest.mark.parametrize(
    "drops",
    [
        pytest.param(raw_post(BODY, headers=[LENGTH])[:40], id="R69 the head"),
        pytest.param(raw_post(b"", headers=[LENGTH]) + BODY[:30], id="R69 the body"),
        pytest.param(b"\r\n" * 20, id="only line feeds"),
    ],
)
def test_who_sends_a_byte_at_a_time_is_told_the_time(hasty: Sender, db: Engine, drops: bytes) -> None:
    heard = b""
    with hasty.dial() as line:
        line.settimeout(0.05)
        began = time.monotonic()
        for at in range(len(drops)):
            try:
                line.sendall(drops[at : at + 1])
                more = line.recv(65536)
            except TimeoutError:
                continue
            except (ConnectionResetError, BrokenPipeError):
                break
            heard += more
            if not more:
                break
        took = time.monotonic() - began

    assert status_of(heard) == 408
    assert 0.5 < took < 2


def test_who_says_nothing_is_told_the_time(hasty: Sender, db: Engine) -> None:
    """R69."""
    began = time.monotonic()

    heard = hasty.say(b"")

    assert status_of(heard) == 408
    assert time.monotonic() - began < 2


def test_a_connection_rests_between_requests_but_not_for_ever(hasty: Sender, db: Engine) -> None:
    request = raw_post(BODY, headers=[LENGTH]).replace(b"Connection: close\r\n", b"")
    with hasty.dial() as line:
        line.settimeout(5)
        line.sendall(request)
        first = line.recv(65536)
        time.sleep(0.7)  # longer than a request may take
        line.sendall(request)
        second = line.recv(65536)
        rest = line.recv(65536)

    assert (status_of(first), status_of(second), rest) == (204, 204, b"")


def test_requests_sent_in_one_go_are_answered_in_order(sender: Sender, db: Engine) -> None:
    good = raw_post(BODY, headers=[LENGTH]).replace(b"Connection: close\r\n", b"")
    bad = raw_post(BODY, headers=[LENGTH], signed=False).replace(b"Connection: close\r\n", b"")

    heard = sender.say(good + bad + good + raw_post(BODY, headers=[LENGTH]))

    assert [int(part[:3]) for part in heard.split(b"HTTP/1.1 ")[1:]] == [204, 401, 204, 204]


def test_garbage_after_a_request_does_not_cost_its_answer(sender: Sender, db: Engine) -> None:
    good = raw_post(BODY, headers=[LENGTH]).replace(b"Connection: close\r\n", b"")

    heard = sender.say(good + b"\x00garbage\r\n\r\n")

    assert status_of(heard) == 204
    assert len(deliveries(db)) == 1


def test_many_idle_connections_do_not_keep_a_sender_out(hasty: Sender, db: Engine) -> None:
    """R70, with a cap of twenty."""
    idle = [hasty.dial() for _ in range(60)]
    try:
        statuses = [hasty.post(BODY).status_code for _ in range(5)]
    finally:
        for line in idle:
            line.close()

    assert statuses == [204] * 5


def test_who_waits_for_a_go_ahead_and_is_refused_does_not_hang(sender: Sender, db: Engine) -> None:
    """R72."""
    body = b"x" * 200_000
    request = raw_post(
        b"",
        headers=["Expect: 100-continue", f"Content-Length: {len(body)}", "svix-id: m"],
        signed=False,
    )
    with sender.dial() as line:
        line.settimeout(5)
        line.sendall(request)
        heard = b"".join(iter(lambda: line.recv(65536), b""))

    assert status_of(heard) == 401
    assert b"connection: close" in heard


def test_who_waits_for_a_go_ahead_gets_it(sender: Sender, db: Engine) -> None:
    with sender.dial() as line:
        line.settimeout(5)
        signed = "".join(f"{name}: {value}\r\n" for name, value in signed_headers(BODY).items())
        line.sendall(
            f"POST {PATH} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n{LENGTH}\r\n{signed}\r\n".encode()
        )
        go_ahead = line.recv(65536)
        line.sendall(BODY)
        answer = line.recv(65536)

    assert (status_of(go_ahead), status_of(answer)) == (100, 204)


def test_a_refused_request_leaves_the_connection_in_order(sender: Sender, db: Engine) -> None:
    """The head is refused before the body is there; the body must not be taken for the next request."""
    bad = raw_post(b"", headers=[LENGTH], signed=False).replace(b"Connection: close\r\n", b"")
    with sender.dial() as line:
        line.settimeout(5)
        line.sendall(bad)
        first = line.recv(65536)
        line.sendall(BODY)
        line.sendall(raw_post(BODY, headers=[LENGTH]))
        second = line.recv(65536)

    assert (status_of(first), status_of(second)) == (401, 204)


def test_a_client_that_leaves_in_the_middle_disturbs_nobody(sender: Sender, db: Engine) -> None:
    for cut in (1, 30, 200, len(raw_post(BODY, headers=[LENGTH])) - 5):
        with sender.dial() as line:
            line.sendall(raw_post(BODY, headers=[LENGTH])[:cut])
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    assert sender.post(BODY).status_code == 204


def test_told_to_stop_the_server_answers_what_it_was_asked_and_ends_well(
    database_url: str, db: Engine, tmp_path_factory: pytest.TempPathFactory
) -> None:
    program = (
        "import sys\n"
        "from models.db import make_engine\n"
        "from tests.webhooks.sending import a_runtime\n"
        "from webhooks.app import create_app\n"
        "from webhooks.server import serve\n"
        "serve(create_app(a_runtime(make_engine(sys.argv[1]))), host='127.0.0.1', port=int(sys.argv[2]))\n"
        "print('ended well')\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-c", program, database_url, str(port)], stdout=subprocess.PIPE, text=True
    )
    try:
        url = f"http://127.0.0.1:{port}"
        until = time.monotonic() + 20
        with httpx.Client(base_url=url) as client:
            while True:
                try:
                    client.get("/healthz")
                    break
                except httpx.ConnectError:
                    assert time.monotonic() < until
                    time.sleep(0.05)
            asleep = socket.create_connection(("127.0.0.1", port))
            in_the_middle = socket.create_connection(("127.0.0.1", port))
            in_the_middle.sendall(raw_post(BODY, headers=[LENGTH])[:-3])
            time.sleep(0.2)
            asked_at = time.monotonic()
            process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
        in_the_middle.sendall(BODY[-3:])
        answer = in_the_middle.recv(65536)
        output, _ = process.communicate(timeout=15)
        took = time.monotonic() - asked_at
    finally:
        process.kill()
        asleep.close()
        in_the_middle.close()

    assert status_of(answer) == 204
    assert output == "ended well\n"
    assert process.returncode == 0
    assert took < 10
