"""
The HTTP application: the receiver, the management API, health, metrics, and a page that says where
they are. The only place in `webhooks` that knows all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus

import structlog
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from webhooks import api
from webhooks.health import health_routes
from webhooks.metrics import metrics_route
from webhooks.pages import page_routes
from webhooks.problems import problem
from webhooks.pushes import push_routes
from webhooks.receive import RETRY_AFTER_S, Receiver
from webhooks.shortcut import Shortcut
from webhooks.writer import Writer
from worker.runtime import Runtime
from worker.settings import signing_key

log = structlog.get_logger(__name__)

RECALL_PATH = b"/webhooks/recall"

_FRONT_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Punctual</title>
<h1>Punctual</h1>
<p>Keeps exactly one bot in every meeting that should have one.</p>
<ul>
<li><a href="/docs">Documentation of the API</a>
<li><a href="/healthz">Is it alive?</a> <a href="/readyz">Is it ready?</a>
<li><a href="/metrics">Metrics</a>
</ul>
"""


class App(Starlette):
    """Starlette, past which the receiver's one path goes: its exact bytes, on the shortest way."""

    receiver: Receiver
    #: The server answers these itself where it can: without a task and the long way through ASGI.
    shortcuts: Mapping[bytes, Shortcut]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope.get("raw_path") == RECALL_PATH:
            await self.receiver(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_app(rt: Runtime, *, ring: Callable[[str, str | None], None] | None = None) -> App:
    """
    Build the application; the writer runs while its lifespan does.

    *ring* is the runtime's bell unless given. With the `memory://` broker nobody is rung: the commit
    itself wakes the workers.
    """
    notify = rt.settings.broker_url.get_secret_value().startswith("memory://")
    ring = ring or rt.bell.ring
    writer = Writer(rt.db, source="recall", ring=ring, notify=notify)
    google = Writer(rt.db, source="google", ring=ring, notify=notify, by_id=True)
    microsoft = Writer(rt.db, source="microsoft", ring=ring, notify=notify, by_id=True)
    secrets = rt.settings.recall_webhook_secrets
    keys = [signing_key(secret.get_secret_value()) for secret in secrets]
    receiver = Receiver(source="recall", keys=keys, writer=writer, now=rt.now)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        writers = (writer, google, microsoft)
        for each in writers:
            each.start()
        yield
        await asyncio.gather(*(each.stop() for each in writers))

    routes: list[BaseRoute] = [
        Route("/", _front_page, methods=["GET"]),
        *health_routes(rt, is_writing=lambda: writer.is_writing),
        metrics_route(rt),
        *push_routes(rt.vault, google=google, microsoft=microsoft),
        *page_routes(rt),
        *api.routes(rt),
    ]
    app = App(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={HTTPException: _refuse, Exception: _fail},
    )
    app.router.redirect_slashes = False
    app.receiver = receiver
    app.shortcuts = {RECALL_PATH: receiver}
    return app


def _front_page(_request: Request) -> Response:
    return HTMLResponse(_FRONT_PAGE)


def _refuse(_request: Request, refused: Exception) -> Response:
    assert isinstance(refused, HTTPException)
    response = problem(HTTPStatus(refused.status_code))
    response.headers.update(refused.headers or {})
    return response


def _fail(request: Request, failure: Exception) -> Response:
    if isinstance(failure, OperationalError | InterfaceError | InternalError | PoolExhausted):
        response = problem(HTTPStatus.SERVICE_UNAVAILABLE, code="database_unavailable")
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
        return response
    log.error("request_failed", path=request.url.path, exc_info=failure)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, code="internal_error")
