"""A real server on loopback that answers a test's own bytes, and says what it was asked."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate

#: The bytes of one answer, whole or piece by piece; or made from the request.
Say = bytes | Iterable[bytes] | Callable[[bytes], "bytes | Iterable[bytes]"]


@dataclass
class Line:
    """What went over the line: `url` is where to call, `requests` what came, head and body."""

    url: str
    requests: list[bytes] = field(default_factory=list)

    @property
    def asked(self) -> list[str]:
        """The first line of every request."""
        return [request.partition(b"\r\n")[0].decode() for request in self.requests]


def http(status: int = 200, body: object = b"", *head: str) -> bytes:
    """Write an answer: bytes as they are, anything else as JSON, with its length."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Said", f"content-length: {len(content)}", *head, "connection: close"]
    if not any(line.lower().startswith("date:") for line in lines):
        lines.append(f"date: {formatdate(usegmt=True)}")
    return "\r\n".join([*lines, "", ""]).encode() + content


@contextmanager
def answering(*says: Say, tls: ssl.SSLContext | None = None) -> Iterator[Line]:
    """Answer one connection after the other with what is to be said, the last for ever."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    listener.settimeout(0.05)
    ended = threading.Event()
    scheme, host = ("https", "localhost") if tls else ("http", "127.0.0.1")
    line = Line(f"{scheme}://{host}:{listener.getsockname()[1]}")
    left = list(says)

    def answer(connection: socket.socket) -> None:
        with connection:
            connection.settimeout(5)
            if tls is None:
                speak(connection)
            else:
                with tls.wrap_socket(connection, server_side=True) as sealed:
                    speak(sealed)

    def speak(connection: socket.socket) -> None:
        request = _request(connection)
        if not request:
            return
        line.requests.append(request)
        say = left.pop(0) if len(left) > 1 else left[0]
        said = say(request) if callable(say) else say
        for piece in [said] if isinstance(said, bytes) else said:
            connection.sendall(piece)
            if ended.is_set():
                return

    def accept() -> None:
        while not ended.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            try:
                answer(connection)
            except OSError:  # the client has had enough, or does not trust us
                continue

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield line
    finally:
        ended.set()
        thread.join()
        listener.close()


def dripping(answer: bytes, every_s: float) -> Callable[[bytes], Iterator[bytes]]:
    """Say an answer a byte at a time."""

    def drip(_request: bytes) -> Iterator[bytes]:
        for byte in answer:
            time.sleep(every_s)
            yield bytes([byte])

    return drip


def endless(head: bytes, piece: bytes) -> Callable[[bytes], Iterator[bytes]]:
    """Say a head and then the same piece until the client hangs up."""

    def flood(_request: bytes) -> Iterator[bytes]:
        yield head
        while True:
            yield piece

    return flood


def _request(connection: socket.socket) -> bytes:
    got = b""
    while b"\r\n\r\n" not in got:
        more = connection.recv(65536)
        if not more:
            return got
        got += more
    head, _, body = got.partition(b"\r\n\r\n")
    lengths = [
        int(text.partition(b":")[2])
        for text in head.lower().split(b"\r\n")
        if text.startswith(b"content-length:")
    ]
    while len(body) < (lengths[0] if lengths else 0):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body
