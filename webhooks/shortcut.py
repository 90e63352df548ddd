"""
The short way: whole small requests answered by a callback, without a task and without a scope.

For the one path that has to be fast. What a shortcut turns down goes the long way through the
application, which answers the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

#: Names in lower case, in the order they came.
Headers = Sequence[tuple[bytes, bytes]]

#: A longer body goes the long way, where reading stops until somebody takes what there is.
SHORT_BYTES = 32 * 1024


class Reply(Protocol):
    """A whole answer, ready to be sent; the same object each time it is given."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Headers: ...
    @property
    def content(self) -> bytes: ...


class Shortcut(Protocol):
    """Answers POSTs to one path; an application names its own by path in `shortcuts`."""

    def admit(self, headers: Headers) -> Any | None:  # noqa: ANN401  # its own ticket
        """Judge by the head alone; None sends the request the long way."""

    def answer_to(
        self,
        ticket: Any,  # noqa: ANN401  # what admit returned
        client: tuple[str, int] | None,
        body: bytes,
        reply: Callable[[Any], None],
        /,
    ) -> None:
        """Judge by the whole body; *reply* is called once, now or later."""


class _NobodyWaits:
    def set(self) -> None:
        """Wake nobody: a request on the short way has no task."""


class ShortCycle:
    """A request on the short way, as uvicorn's protocol knows requests: what it reads of a cycle."""

    __slots__ = (
        "body",
        "disconnected",
        "keep_alive",
        "more_body",
        "response_complete",
        "shortcut",
        "ticket",
    )

    message_event: Final = _NobodyWaits()

    def __init__(self, shortcut: Shortcut, ticket: object, *, keep_alive: bool) -> None:
        self.shortcut = shortcut
        self.ticket = ticket
        self.keep_alive = keep_alive
        self.body = b""
        self.more_body = True
        self.disconnected = False
        self.response_complete = False

    @property
    def response_started(self) -> bool:
        """Whether there is an answer: it is sent whole."""
        return self.response_complete


class Wording:
    """
    Answers as they go over the wire, put together once.

    The server's own headers are another list each second, for the `Date`.
    """

    def __init__(self) -> None:
        self._headers: Headers = ()
        self._texts: dict[Reply, bytes] = {}

    def of(self, answer: Reply, headers: Headers, *, keep_alive: bool) -> bytes:
        """Return status line, the server's headers, the answer's, and its content."""
        if headers is not self._headers:
            self._headers = headers
            self._texts.clear()
        if not keep_alive:
            return _text(answer, [*headers, *answer.headers, (b"connection", b"close")])
        text = self._texts.get(answer)
        if text is None:
            text = self._texts[answer] = _text(answer, [*headers, *answer.headers])
        return text


def _text(answer: Reply, headers: Headers) -> bytes:
    lines = [STATUS_LINE[answer.status]]
    for name, value in headers:
        lines += (name, b": ", value, b"\r\n")
    return b"".join([*lines, b"\r\n", answer.content])
