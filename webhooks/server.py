"""
Serves an ASGI application: uvicorn with bounds on everything a stranger controls.

uvicorn alone waits for ever for a request that never ends, and takes headers of any size and number.
Here a request has to arrive whole within a deadline, and who holds a connection without using it
makes room for others. Nobody's `X-Forwarded-*` is believed. Knows nothing of what is served.
"""

from __future__ import annotations

import contextlib
import resource
import socket
import threading
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from webhooks.reception import Bounds, Reception
from webhooks.shortcut import Wording
from worker.heap import set_heap_aside


class Server(uvicorn.Server):
    """uvicorn's server, which also looks at the clock for connections that keep us waiting."""

    async def on_tick(self, counter: int) -> bool:
        if counter % 5 == 0:  # twice a second
            for connection in list(self.server_state.connections):
                if isinstance(connection, Reception):
                    connection.end_if_overdue()
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        with super().capture_signals():
            yield
            self._captured_signals.clear()  # we have stopped as asked: whoever called us goes on


def serve(app: ASGIApp, *, host: str, port: int, bounds: Bounds | None = None) -> None:
    """Serve until SIGTERM or SIGINT, answer what has been asked, and return; within ten seconds."""
    set_heap_aside()
    _server(app, bounds or Bounds(), host=host, port=port).run()


@contextlib.contextmanager
def serving(
    app: ASGIApp, *, host: str = "127.0.0.1", port: int = 0, bounds: Bounds | None = None
) -> Iterator[str]:
    """Serve from a thread of this process; the base URL is yielded once requests are answered."""
    listener = socket.create_server((host, port), backlog=2048)
    server = _server(app, bounds or Bounds(), host=host, port=port)
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [listener]}, name="http", daemon=True
    )
    thread.start()
    try:
        while not server.started:
            thread.join(0.01)
            if not thread.is_alive():
                msg = "the HTTP server did not start"
                raise RuntimeError(msg)
        yield f"http://{host}:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def _server(app: ASGIApp, bounds: Bounds, *, host: str, port: int) -> Server:
    open_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = min(bounds.connections, max(open_files - 128, 16))  # the database and the logs need some
    ours = {"bounds": bounds.with_connections(room), "wording": Wording()}
    protocol = type("BoundedReception", (Reception,), ours)
    return Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            loop="uvloop",
            http=protocol,
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=bounds.grace_s,
        )
    )
