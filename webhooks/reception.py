"""
One HTTP connection: uvicorn's protocol on httptools, which refuses what two readers could read apart.

Refused here, before any application sees it: requests that do not arrive in time (408), heads that
are too long (414, 431), and framing a proxy in front might understand differently (400).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from types import MappingProxyType
from typing import ClassVar, cast

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from webhooks.problems import problem_body
from webhooks.shortcut import SHORT_BYTES, Reply, Shortcut, ShortCycle, Wording
from worker import metrics

#: Headers that say how a request is framed, or whose it is.
_FRAMING = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect"})


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one client may take of us; spans in seconds, sizes in bytes."""

    receipt_s: float = 9.0  # looked at twice a second, so that ten are kept
    keep_alive_s: int = 30
    head_bytes: int = 16 * 1024
    headers: int = 64
    url_bytes: int = 8 * 1024
    connections: int = 1000
    linger_s: float = 3.0
    linger_bytes: int = 4 * 1024 * 1024
    grace_s: int = 6  # + closing the writer: ten from SIGTERM to the end

    def with_connections(self, connections: int) -> Bounds:
        """Return the same bounds with another number of connections."""
        return replace(self, connections=connections)


class _Refusal(Exception):
    """Raised from within the parser's callbacks, which is how parsing stops."""


class Reception(HttpToolsProtocol):
    """
    One connection.

    A request is *arriving* from the moment we wait for it until its last byte is there. Closed before
    that, the connection *lingers*: no more is sent and what still comes is thrown away, so that the
    answer is read before the line goes dead. Between two requests it *rests*.
    """

    bounds: ClassVar[Bounds] = Bounds()
    wording: ClassVar[Wording]

    arriving_since: float | None = None
    resting_since: float | None = None
    _line: asyncio.Transport
    _discarded_bytes: int | None = None
    is_lingering = False
    _fed_bytes = 0
    _head_bytes = 0
    _hosts = 0
    _is_in_head = True
    _status = HTTPStatus.BAD_REQUEST
    _length: bytes | None = None
    _shortcuts: Mapping[bytes, Shortcut] = MappingProxyType({})

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
        self._line = transport
        self._shortcuts = getattr(self.app, "shortcuts", self._shortcuts)
        self.arriving_since = self.loop.time()
        has_room = len(self.connections) < self.bounds.connections or self._make_room()
        # The requests of a connection close it through this stand-in.
        super().connection_made(cast("asyncio.Transport", _Line(transport, self)))
        if not has_room:
            self.drop()

    def data_received(self, data: bytes) -> None:
        if self._discarded_bytes is not None:
            self._discarded_bytes += len(data)
            if self._discarded_bytes > self.bounds.linger_bytes:
                self.drop()
            return
        self.resting_since = None
        if self.arriving_since is None:
            self.arriving_since = self.loop.time()
        self._fed_bytes += len(data)
        try:
            self.parser.feed_data(data)
            if self._is_in_head and self._fed_bytes > self.bounds.head_bytes + self.bounds.url_bytes:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        except httptools.HttpParserUpgrade:
            if self.cycle is not None:
                self.cycle.keep_alive = False  # answered as the plain request it also is, then closed
        except httptools.HttpParserError:
            self._refuse(self._status)

    def shutdown(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self._line.close()
        else:
            self.cycle.keep_alive = False

    def drop(self) -> None:
        """Cut the connection at once."""
        self._line.abort()

    def end_if_overdue(self) -> None:
        """Close what has rested for too long; answer 408 to what has been arriving for too long."""
        if self.resting_since is not None:
            if self.loop.time() - self.resting_since > self.bounds.keep_alive_s:
                self._line.close()
            return
        if self.arriving_since is None or self._discarded_bytes is not None:
            return
        if self.loop.time() - self.arriving_since > self.bounds.receipt_s:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
            if self.is_lingering:
                self._line.close()

    def linger(self) -> None:
        """Send nothing more, throw away what comes, close when the other side has or has had its time."""
        if not self.is_lingering:
            self.is_lingering = True
            self._discarded_bytes = self._discarded_bytes or 0
            self.resting_since = None
            self.flow.resume_reading()
            with contextlib.suppress(OSError, RuntimeError):
                self._line.write_eof()
            self.loop.call_later(self.bounds.linger_s, self._line.close)

    # The request

    def on_message_begin(self) -> None:
        # Without the scope, which uvicorn would make here: the short way needs none.
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self.arriving_since = self.loop.time()
        self._is_in_head = True
        self._fed_bytes = self._head_bytes = self._hosts = 0
        self._length = None

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > self.bounds.url_bytes:
            self._stop(HTTPStatus.REQUEST_URI_TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_in_head:
            return  # a trailer: nothing we believe may come after the body
        name = name.lower()
        headers = self.headers
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > self.bounds.head_bytes or len(headers) >= self.bounds.headers:
            self._stop(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        if name in _FRAMING:
            self._note_framing(name, value)
        headers.append((name, value))

    def on_headers_complete(self) -> None:
        version = self.parser.get_http_version()
        is_misread = self._hosts > 1 or (self._hosts == 0 and version == "1.1")
        # Absolute-form and `*` are for proxies.
        if is_misread or version not in {"1.0", "1.1"} or not self.url.startswith(b"/"):
            self._stop(HTTPStatus.BAD_REQUEST)
        shortcut = self._shortcuts.get(self.url)
        if shortcut is None or version != "1.1" or not self._go_short(shortcut):
            self._go_long()
        self._is_in_head = False

    def on_body(self, body: bytes) -> None:
        cycle = self.cycle
        if isinstance(cycle, ShortCycle):
            cycle.body += body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self.arriving_since = None
        self._is_in_head = True
        self._fed_bytes = 0
        cycle = self.cycle
        if isinstance(cycle, ShortCycle):
            cycle.more_body = False
            cycle.shortcut.answer_to(
                cycle.ticket, self.client, cycle.body, functools.partial(self._answer, cycle)
            )
            return
        super().on_message_complete()
        if cycle.response_complete and not self.is_lingering:
            # Answered before it was all there: only now does the connection rest.
            self.resting_since = self.loop.time()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self.arriving_since is None:
            self.resting_since = self.loop.time()

    # The short way and the long

    def _go_short(self, shortcut: Shortcut) -> bool:
        """Begin a request on the short way, or say that it is none for it."""
        if self._length is None or int(self._length) > SHORT_BYTES or self.expect_100_continue:
            return False
        if self.cycle is not None and not self.cycle.response_complete:
            return False  # it waits behind another
        parser = self.parser
        if parser.get_method() != b"POST" or parser.should_upgrade():
            return False
        ticket = shortcut.admit(self.headers)
        if ticket is None:
            return False
        cycle = ShortCycle(shortcut, ticket, keep_alive=parser.should_keep_alive())
        self.cycle = cycle  # type: ignore[assignment]  # it has what is read of a cycle
        return True

    def _go_long(self) -> None:
        """Begin a request uvicorn's way, which starts with a scope."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers += headers  # the list that the scope has too
        super().on_headers_complete()

    def _answer(self, cycle: ShortCycle, answer: Reply) -> None:
        if cycle.disconnected or cycle.response_complete:
            return
        cycle.response_complete = True
        transport = self.transport
        headers = self.server_state.default_headers
        transport.write(self.wording.of(answer, headers, keep_alive=cycle.keep_alive))
        if not cycle.keep_alive:
            transport.close()
        self.on_response_complete()

    def _note_framing(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            self._hosts += 1
        elif name == b"content-length":
            self._length = value  # two of them the parser refuses
        elif name == b"transfer-encoding":
            if value.lower() != b"chunked":
                self._stop(HTTPStatus.BAD_REQUEST)
        elif value.lower() == b"100-continue":
            self.expect_100_continue = True

    # Refusing

    def _stop(self, status: HTTPStatus) -> None:
        self._status = status
        raise _Refusal

    def _refuse(self, status: HTTPStatus) -> None:
        metrics.REQUESTS_REFUSED.labels(str(int(status))).inc()
        if self.pipeline:
            self.drop()  # no answer may overtake those that are still to come
            return
        cycle = self.cycle
        has_request = not self._is_in_head  # and then `cycle` is its
        if not has_request and cycle is not None and not cycle.response_complete:
            # The fault is in what follows a request that is being answered.
            cycle.keep_alive = False
            self._discarded_bytes = 0
            return
        is_answered = has_request and cycle.response_started
        if has_request:
            cycle.disconnected = True
            cycle.message_event.set()
        if not is_answered:
            self._line.write(_refusal_text(status))
        self.linger()

    def _make_room(self) -> bool:
        waiting = [
            connection
            for connection in self.connections
            if isinstance(connection, Reception)
            and (
                connection.cycle is None
                or connection.cycle.response_complete
                or connection.cycle.more_body
            )
        ]
        if not waiting:
            return False
        # Whoever has been arriving longest; who rests between two requests counts as just come.
        min(waiting, key=lambda connection: connection.arriving_since or self.loop.time()).drop()
        return True


class _Line:
    """A transport whose `close` lets the other side read the answer first."""

    def __init__(self, transport: asyncio.Transport, reception: Reception) -> None:
        self._transport = transport
        self._reception = reception
        self.write = transport.write
        self.get_extra_info = transport.get_extra_info
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading

    def is_closing(self) -> bool:
        return self._reception.is_lingering or self._transport.is_closing()

    def close(self) -> None:
        if self._reception.arriving_since is not None:
            self._reception.linger()
        else:
            self._transport.close()


def _refusal_text(status: HTTPStatus) -> bytes:
    content = problem_body(status)
    return b"".join(
        (
            STATUS_LINE[status],
            b"content-type: application/problem+json\r\n",
            b"content-length: %d\r\n" % len(content),
            b"connection: close\r\n\r\n",
            content,
        )
    )
