"""Posting to subscribers that misbehave in every way there is."""

from __future__ import annotations

import itertools
import json
import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import standardwebhooks
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.contracts.messaging import PosterContract, PosterWorld
from tests.publishers.sink import Reply, Sink, a_sink
from worker.clock import utc_now
from worker.ports import PostAnswer
from worker.publishers.egress import Resolve, resolve
from worker.publishers.signing import new_secret
from worker.publishers.webhooks import HttpPoster, seconds_from

SECRET = new_secret()
BODY = json.dumps({"id": "m-1", "data": "é"}, ensure_ascii=False).encode()
SHORT = timedelta(seconds=1)


@pytest.fixture
def sink() -> Iterator[Sink]:
    with a_sink() as started:
        yield started


def post(
    url: str,
    *,
    allow_private: bool = True,
    resolver: Resolve = resolve,
    limit: timedelta = SHORT,
    tls: ssl.SSLContext | None = None,
    secrets: Iterable[str] = (SECRET,),
) -> PostAnswer:
    poster = HttpPoster(allow_private=allow_private, resolver=resolver, limit=limit, tls=tls)
    try:
        return poster.post(url, BODY, message_id="m-1", secrets=list(secrets))
    finally:
        poster.close()


def test_a_post_is_a_signed_structured_cloud_event(sink: Sink) -> None:
    answer = post(sink.url)

    (received,) = sink.received
    assert (answer.status, answer.error) == (204, None)
    assert received.body == BODY
    assert received.headers["content-type"] == "application/cloudevents+json"
    assert received.headers["webhook-id"] == received.headers["svix-id"] == "m-1"
    standardwebhooks.Webhook(SECRET).verify(received.body, dict(received.headers))


def test_connections_are_used_again(sink: Sink) -> None:
    poster = HttpPoster(allow_private=True)

    answers = [poster.post(sink.url, BODY, message_id=str(nth), secrets=[SECRET]) for nth in range(5)]
    poster.close()

    assert [answer.status for answer in answers] == [204] * 5


@pytest.mark.parametrize("status", [200, 202, 299, 400, 404, 410, 418, 429, 500, 503])
def test_the_status_is_told_as_it_is(sink: Sink, status: int) -> None:
    sink.reply = lambda _: Reply(status)

    assert post(sink.url).status == status


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(sink: Sink, status: int) -> None:
    sink.reply = lambda _: Reply(status, {"location": f"{sink.url}/secret"})

    answer = post(sink.url)

    assert answer.status == status
    assert len(sink.received) == 1


def test_a_slow_answer_is_no_answer(sink: Sink) -> None:
    sink.reply = lambda _: Reply(200, wait_s=5)
    began = time.monotonic()

    answer = post(sink.url)

    assert (answer.status, answer.error) == (None, "no answer in time")
    assert time.monotonic() - began < 2


def test_headers_that_drip_are_no_answer(sink: Sink) -> None:
    def drip() -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\n"
        while not sink.stopping.wait(0.05):
            yield b"x-a: b\r\n"

    sink.reply = lambda _: Reply(raw=drip())

    assert post(sink.url).error == "no answer in time"


def test_a_flood_of_1xx_is_no_answer(sink: Sink) -> None:
    flood = itertools.repeat(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * 50)
    sink.reply = lambda _: Reply(raw=flood)

    assert post(sink.url).error == "no answer in time"


def test_a_gigabyte_of_answer_is_not_read(sink: Sink) -> None:
    sent = 0

    def gigabyte() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(16_384):
            sent += 65_536
            yield b"x" * 65_536

    sink.reply = lambda _: Reply(200, {"content-length": str(1 << 30)}, gigabyte())
    began = time.monotonic()

    answer = post(sink.url, limit=timedelta(seconds=10))

    assert answer.status == 200
    assert time.monotonic() - began < 3
    assert sent < 1 << 28


def test_a_body_that_drips_does_not_undo_the_status(sink: Sink) -> None:
    def drip() -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"
        while not sink.stopping.wait(0.05):
            yield b"x"

    sink.reply = lambda _: Reply(raw=drip())

    assert post(sink.url).status == 200


def test_a_thousand_headers_and_cookies_do_no_harm(sink: Sink) -> None:
    headers = {f"x-{nth}": "y" for nth in range(90)} | {"set-cookie": "session=1; Path=/"}
    sink.reply = lambda _: Reply(200, headers)
    poster = HttpPoster(allow_private=True)

    for _ in range(2):
        assert poster.post(sink.url, BODY, message_id="m-1", secrets=[SECRET]).status == 200
    poster.close()

    assert all("cookie" not in received.headers for received in sink.received)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(reset=True),
        Reply(raw=[b""]),
        Reply(raw=[b"hello\r\n\r\n"]),
        Reply(raw=[b"HTTP/1.1 999999 ?\r\n\r\n"]),
        Reply(raw=[b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n"]),
        Reply(raw=[b"HTTP/1.1 200 OK\r\nx: " + b"y" * 300_000 + b"\r\n\r\n"]),
        Reply(raw=[b"SSH-2.0-OpenSSH_9.2\r\n"]),
    ],
    ids=["reset", "nothing", "words", "status", "length", "header", "ssh"],
)
def test_no_readable_answer_is_an_error(sink: Sink, reply: Reply) -> None:
    sink.reply = lambda _: reply

    answer = post(sink.url)

    assert answer.status is None
    assert answer.error


def test_a_closed_port_is_an_error() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        answer = post(f"http://127.0.0.1:{unused.getsockname()[1]}/")

    assert answer.status is None
    assert answer.error


def test_a_private_address_is_not_reached_without_the_switch(sink: Sink) -> None:
    answer = post(sink.url, allow_private=False)

    assert answer.error == "forbidden: 127.0.0.1 is a private address"
    assert sink.received == []


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["8.8.8.8", "127.0.0.1"],
        ["127.0.0.1", "2606:4700::1111"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["169.254.169.254"],
        ["64:ff9b::7f00:1"],
        ["fe80::1%lo"],
    ],
)
def test_a_name_with_one_forbidden_address_is_not_reached(sink: Sink, addresses: list[str]) -> None:
    url = f"http://hooks.example.com:{sink.port}/"

    answer = post(url, allow_private=False, resolver=lambda *_: addresses)

    assert str(answer.error).startswith("forbidden: hooks.example.com: ")
    assert sink.received == []


def test_a_name_is_resolved_once_and_the_judged_address_is_connected_to(sink: Sink) -> None:
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])

    answer = post(f"http://rebind.example.com:{sink.port}/hook", resolver=lambda *_: next(answers))

    assert answer.status == 204
    assert sink.received[0].headers["host"] == f"rebind.example.com:{sink.port}"
    assert next(answers) == ["169.254.169.254"]


def test_the_next_address_is_tried_when_the_first_refuses(sink: Sink) -> None:
    answer = post(
        f"http://two.example.com:{sink.port}/", resolver=lambda *_: ["127.0.0.9", "127.0.0.1"]
    )

    assert answer.status == 204


def test_an_unknown_name_is_an_error() -> None:
    def unknown(_host: str, _port: int) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    assert "not resolved" in str(post("http://nobody.example.com/", resolver=unknown).error)


def test_a_name_server_that_hangs_holds_nobody_up() -> None:
    def hang(_host: str, _port: int) -> list[str]:
        time.sleep(3)
        return []

    began = time.monotonic()
    answer = post("http://slow.example.com/", resolver=hang)

    assert answer.error == "no answer in time"
    assert time.monotonic() - began < 2


def test_proxies_of_the_environment_are_ignored(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    assert post(sink.url).status == 204


def test_a_malformed_secret_is_an_error_not_an_exception(sink: Sink) -> None:
    answer = post(sink.url, secrets=["broken"])

    assert str(answer.error).startswith("could not be sent")
    assert "broken" not in str(answer.error)


def a_certificate(folder: Path, name: str) -> tuple[Path, ssl.SSLContext]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(utc_now() - timedelta(days=1))
        .not_valid_after(utc_now() + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    return path, server


def test_the_certificate_is_the_names_not_the_addresses(sink: Sink, tmp_path: Path) -> None:
    path, server = a_certificate(tmp_path, "hooks.example.com")
    asked_for: list[str] = []
    server.sni_callback = lambda _sock, name, _context: asked_for.append(name)
    sink.wrap(server)
    trusting = ssl.create_default_context(cafile=str(path))

    def to_sink(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    good = post(f"https://hooks.example.com:{sink.port}/", resolver=to_sink, tls=trusting)
    wrong = post(f"https://other.example.com:{sink.port}/", resolver=to_sink, tls=trusting)
    unknown = post(f"https://hooks.example.com:{sink.port}/", resolver=to_sink)

    assert good.status == 204
    assert asked_for[0] == "hooks.example.com"
    assert (wrong.status, unknown.status) == (None, None)
    assert len(sink.received) == 1


NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("120", 120),
        ("0", None),
        ("-5", None),
        ("1.5", 1.5),
        ("86400", 86_400),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("", None),
        (format_datetime(NOW + timedelta(minutes=2), usegmt=True), 120),
        (format_datetime(NOW - timedelta(minutes=2), usegmt=True), None),
        ("Sat, 99 Nov 2026 12:00:00 GMT", None),
    ],
)
def test_retry_after_is_read_as_seconds(header: str | None, seconds: float | None) -> None:
    assert seconds_from(header, now=NOW) == seconds


class TestHttpPoster(PosterContract):
    """The adapter keeps the contract of its port."""

    @pytest.fixture
    def world(self, sink: Sink) -> Iterator[PosterWorld]:
        def answer(status: int | None) -> None:
            sink.reply = lambda _: Reply(reset=True) if status is None else Reply(status)

        poster = HttpPoster(allow_private=True)
        yield PosterWorld(
            poster, sink.url, answer, lambda: [received.body for received in sink.received]
        )
        poster.close()
