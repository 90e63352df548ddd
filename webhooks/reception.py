"""
One HTTP connection: uvicorn's protocol on httptools, which refuses what two readers could read apart.

Refused here, before any application sees it: requests that do not arrive in time (408), heads that
are too long (414, 431), and framing a proxy in front might understand differently (400).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

import httptools
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from webhooks.problems import problem_body
from worker import metrics

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

#: uvicorn stops reading a body of more than 64 KiB until somebody takes what there is.
SHORT_BYTES = 32 * 1024


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


class Reply(Protocol):
    """A whole answer, ready to be sent."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]: ...
    @property
    def content(self) -> bytes: ...


class Shortcut(Protocol):
    """
    Answers whole small requests by a callback instead of a task: for the one path that has to be fast.

    An application names them by path in `shortcuts`. What `admit` turns down goes the long way through
    the application, which answers the same.
    """

    def admit(self, scope: Scope) -> Any | None: ...  # noqa: ANN401  # its own ticket
    def answer_to(
        self,
        ticket: Any,  # noqa: ANN401  # what admit returned
        scope: Scope,
        body: bytes,
        reply: Callable[[Any], None],
        /,
    ) -> None: ...


class _Refusal(Exception):
    """Raised from within the parser's callbacks, which is how parsing stops."""


class Reception(HttpToolsProtocol):
    """
    One connection.

    A request is *arriving* from the moment we wait for it until its last byte is there. Closed before
    that, the connection *lingers*: no more is sent and what still comes is thrown away, so that the
    answer is read before the line goes dead.
    """

    bounds: ClassVar[Bounds] = Bounds()

    arriving_since: float | None = None
    _line: asyncio.Transport
    _discarded_bytes: int | None = None
    is_lingering = False
    _fed_bytes = 0
    _head_bytes = 0
    _hosts = 0
    _is_in_head = True
    _status = HTTPStatus.BAD_REQUEST
    _shortcuts: Mapping[bytes, Shortcut] = MappingProxyType({})
    _admitted: tuple[Shortcut, Any] | None = None

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
        self._unset_keepalive_if_required()
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
        """Answer 408 and close if the request has been arriving for too long."""
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
            self._unset_keepalive_if_required()
            self.flow.resume_reading()
            with contextlib.suppress(OSError, RuntimeError):
                self._line.write_eof()
            self.loop.call_later(self.bounds.linger_s, self._line.close)

    # The request

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.arriving_since = self.loop.time()
        self._is_in_head = True
        self._fed_bytes = self._head_bytes = self._hosts = 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > self.bounds.url_bytes:
            self._stop(HTTPStatus.REQUEST_URI_TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_in_head:
            return  # a trailer: nothing we believe may come after the body
        name = name.lower()
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > self.bounds.head_bytes or len(self.headers) >= self.bounds.headers:
            self._stop(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        if name == b"host":
            self._hosts += 1
        elif name == b"transfer-encoding" and value.lower() != b"chunked":
            self._stop(HTTPStatus.BAD_REQUEST)
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        version = self.parser.get_http_version()
        is_misread = self._hosts > 1 or (self._hosts == 0 and version == "1.1")
        # Absolute-form and `*` are for proxies.
        if is_misread or version not in {"1.0", "1.1"} or not self.url.startswith(b"/"):
            self._stop(HTTPStatus.BAD_REQUEST)
        super().on_headers_complete()
        self._is_in_head = False

    def on_message_complete(self) -> None:
        self.arriving_since = None
        self._is_in_head = True
        self._fed_bytes = 0
        super().on_message_complete()
        if self._admitted is not None:
            (shortcut, ticket), self._admitted = self._admitted, None
            cycle = self.cycle
            body = bytes(cycle.body)
            scope = cast("Scope", cycle.scope)
            shortcut.answer_to(ticket, scope, body, functools.partial(self._answer, cycle))
            return
        if self.cycle.response_complete and not self.is_lingering:
            # Answered before it was all there: only now does the connection rest.
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    # The short way

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        shortcut = self._shortcuts.get(cycle.scope["raw_path"])
        # One that was waiting behind another may have arrived whole already: then it is not `more_body`.
        if shortcut is not None and cycle.more_body and cycle is self.cycle and self._is_short():
            ticket = shortcut.admit(cast("Scope", cycle.scope))
            if ticket is not None:
                self._admitted = (shortcut, ticket)
                return
        super()._start_asgi_task(cycle, app)

    def _is_short(self) -> bool:
        """Say whether the body will be there in one piece, announced and below what stops the reading."""
        if self.expect_100_continue:
            return False
        lengths = [value for name, value in self.headers if name == b"content-length"]
        return len(lengths) == 1 and int(lengths[0]) <= SHORT_BYTES

    def _answer(self, cycle: RequestResponseCycle, answer: Reply) -> None:
        """Answer as the cycle would have: see `RequestResponseCycle.send`."""
        if cycle.disconnected or cycle.response_started:
            return
        cycle.response_started = cycle.response_complete = True
        lines = [STATUS_LINE[answer.status]]
        for name, value in (*self.server_state.default_headers, *answer.headers):
            lines += (name, b": ", value, b"\r\n")
        lines.append(b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n")
        lines.append(answer.content)
        cycle.transport.write(b"".join(lines))
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()
        cycle.on_response = _nothing

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


def _nothing() -> None:
    pass


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
