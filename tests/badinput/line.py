"""Raw sockets to a server, each from a loopback address of its own, and what was heard on them."""

from __future__ import annotations

import itertools
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

#: No request may be without an answer, or at least without an end, for longer.
LONGEST_S = 10.0

_numbers = itertools.count(os.getpid() % 100 * 250 * 250 + 257)


def next_address() -> str:
    """
    Name a loopback address nobody else calls from, so that one row's bad signatures are not counted
    against the next.
    """
    number = next(_numbers)
    return f"127.{1 + number // 62_500 % 250}.{1 + number // 250 % 250}.{1 + number % 250}"


@dataclass(frozen=True, slots=True)
class Answer:
    """One response: header names in lower case, the body as bytes."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Heard:
    """Everything one connection said, whether it was closed by the other side, and after how long."""

    raw: bytes
    is_closed: bool
    seconds: float

    @property
    def answers(self) -> list[Answer]:
        """Every complete response but `100 Continue`."""
        return [answer for answer in _read(self.raw) if answer.status >= 200]

    @property
    def status(self) -> int:
        """The status of the first answer, 0 when there was none."""
        return next((answer.status for answer in self.answers), 0)


def dial(
    base_url: str, *, source: str | None = None, timeout_s: float = LONGEST_S + 1
) -> socket.socket:
    """Open a connection from an address of its own."""
    parts = urlsplit(base_url)
    return socket.create_connection(
        (str(parts.hostname), int(parts.port or 80)), timeout_s, (source or next_address(), 0)
    )


def exchange(
    base_url: str,
    raw: bytes,
    *,
    source: str | None = None,
    pace_s: float = 0.0,
    patience_s: float = LONGEST_S + 1,
) -> Heard:
    """
    Send bytes as they are and listen until the other side closes or *patience_s* is over.

    With *pace_s* they are sent one at a time, so far apart, until somebody says something.
    """
    began = time.monotonic()
    with dial(base_url, source=source, timeout_s=patience_s) as line:
        heard, is_closed = b"", False
        try:
            if pace_s:
                heard, is_closed = _drip(line, raw, pace_s, until=began + patience_s)
            else:
                line.sendall(raw)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused in the middle; the answer may still be there to be read
        try:
            while not is_closed:
                line.settimeout(max(began + patience_s - time.monotonic(), 0.001))
                more = line.recv(65_536)
                heard += more
                is_closed = not more
        except TimeoutError:
            pass
        except ConnectionResetError:
            is_closed = True
    return Heard(heard, is_closed, time.monotonic() - began)


def _drip(line: socket.socket, raw: bytes, pace_s: float, *, until: float) -> tuple[bytes, bool]:
    line.settimeout(pace_s)
    for at in range(len(raw)):
        line.sendall(raw[at : at + 1])
        try:
            heard = line.recv(65_536)
        except TimeoutError:
            if time.monotonic() > until:
                break
            continue
        return heard, not heard
    return b"", False


def _read(raw: bytes) -> Iterator[Answer]:
    while raw.startswith(b"HTTP/1.1 "):
        head, separator, rest = raw.partition(b"\r\n\r\n")
        if not separator:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
        }
        size = int(headers.get("content-length", "0"))
        if "content-length" not in headers and headers.get("transfer-encoding") != "chunked":
            size = 0
        elif "content-length" not in headers:
            size = len(rest)
        size = min(size, len(rest))  # a HEAD announces what it does not send
        yield Answer(int(first.split(" ")[1]), headers, rest[:size])
        raw = rest[size:]
