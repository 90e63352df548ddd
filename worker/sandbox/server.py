"""Run an emulator on loopback: in the foreground, or beside a test."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from worker.sandbox.recall.gate import CUT


class CuttingProtocol(HttpToolsProtocol):
    """Uvicorn's own protocol, which also lets the application close a connection without an answer."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        extensions: dict[str, Any] = {**self.scope.get("extensions", {}), CUT: self._cut}
        self.scope["extensions"] = extensions

    def _cut(self) -> None:
        self.transport.abort()


def serve(host: str, port: int, app: Starlette) -> None:
    """Serve until SIGINT or SIGTERM."""
    uvicorn.Server(_config(app, host, port)).run()


@contextmanager
def running(
    create: Callable[[str], Starlette], *, host: str = "127.0.0.1", port: int = 0
) -> Iterator[str]:
    """
    Serve in a thread for the length of a `with` block and yield the base URL; port 0 takes a free one.

    *create* builds the application for that base URL.
    """
    # The protocol is named because asyncio turns off Nagle's delay (40 ms a call) only where it is.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        base_url = f"http://{host}:{listener.getsockname()[1]}"
        server = uvicorn.Server(_config(create(base_url), host, 0))
        thread = threading.Thread(target=server.run, args=([listener],), name="sandbox", daemon=True)
        thread.start()
        try:
            while not server.started and thread.is_alive():
                thread.join(0.01)
            yield base_url
        finally:
            server.should_exit = True
            thread.join(10)


def _config(app: Starlette, host: str, port: int) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=CuttingProtocol,
        ws="none",
        log_level="warning",
        access_log=False,
        date_header=False,  # the emulator's clock may be another than the machine's
        timeout_graceful_shutdown=3,
        backlog=2048,
    )
