"""The emulator as an ASGI application: Google's own surface, and the control API beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from worker.sandbox.google import batch, control, gate
from worker.sandbox.google.world import World
from worker.sandbox.oauth.control import oauth_control
from worker.sandbox.oauth.routes import routes as oauth_routes
from worker.sandbox.recall.clock import Clock

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
# Google has these on four hosts; here all are one.
AUTHORIZE, TOKEN, REVOKE = "/o/oauth2/v2/auth", "/token", "/revoke"
USERINFO = ("/oauth2/v3/userinfo", "/v1/userinfo")


def create_google(*, base_url: str, clock: Clock | None = None) -> Starlette:
    """
    Build the emulator; its `World` is at `app.state.world`.

    *base_url* is where it can be reached. Notifications are sent and time passes only while the application's
    lifespan runs.
    """
    world = World(base_url.rstrip("/"), clock or Clock())

    async def calendar(request: Request) -> Response:
        response = await gate.answer(world, request)
        world.wake()
        return response

    async def batched(request: Request) -> Response:
        response = await batch.answer(world, request)
        world.wake()
        return response

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        world.channels.is_open = True
        running = asyncio.create_task(world.run())
        try:
            yield
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    app = Starlette(
        routes=[
            *oauth_routes(
                world.oauth, authorize=AUTHORIZE, token=TOKEN, revoke=REVOKE, userinfo=USERINFO
            ),
            Route("/calendar/v3/{rest:path}", calendar, methods=METHODS),
            Route("/batch/calendar/v3", batched, methods=["POST"]),
            *oauth_control(world.oauth),
            *control.routes(world),
        ],
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.world = world
    return app
