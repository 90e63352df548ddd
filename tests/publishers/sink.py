"""A subscriber on loopback that answers as it is told and remembers what it was sent."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SHUT_RDWR
from typing import Any


@dataclass(frozen=True)
class Received:
    """One request as it came."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float

    @property
    def event(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass(frozen=True)
class Reply:
    """What to say: *raw* bytes are written instead of an HTTP answer, *reset* cuts the line."""

    status: int = 204
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Iterable[bytes] = ()
    raw: Iterable[bytes] | None = None
    wait_s: float = 0
    reset: bool = False


class Sink:
    """The server; *reply* decides for each request."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.reply: Callable[[Received], Reply] = lambda _: Reply()
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Received(self.path, headers, body, time.monotonic())
                with sink._lock:
                    sink.received.append(request)
                self._answer(sink.reply(request))

            def _answer(self, reply: Reply) -> None:
                sink.stopping.wait(reply.wait_s)
                try:
                    if reply.reset:
                        self.connection.shutdown(SHUT_RDWR)
                    elif reply.raw is not None:
                        for piece in reply.raw:
                            self.wfile.write(piece)
                            self.wfile.flush()
                    else:
                        self._answer_politely(reply)
                except OSError:
                    self.close_connection = True
                if reply.reset or reply.raw is not None:
                    self.close_connection = True

            def _answer_politely(self, reply: Reply) -> None:
                body = list(reply.body) if not isinstance(reply.body, Iterator) else reply.body
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                if isinstance(body, list) and "content-length" not in reply.headers:
                    self.send_header("content-length", str(sum(map(len, body))))
                self.end_headers()
                for piece in body:
                    self.wfile.write(piece)

            def log_message(self, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False
            request_queue_size = 64

            def handle_error(self, request: object, client_address: object) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def wrap(self, tls: ssl.SSLContext) -> None:
        """Speak TLS from now on."""
        self._server.socket = tls.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def a_sink(reply: Callable[[Received], Reply] | None = None) -> Iterator[Sink]:
    sink = Sink()
    if reply is not None:
        sink.reply = reply
    sink.start()
    try:
        yield sink
    finally:
        sink.stop()
