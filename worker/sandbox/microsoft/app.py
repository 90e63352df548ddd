"""The emulator as an ASGI application: Graph, the OAuth of Microsoft beside it, and the control API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from worker.sandbox.microsoft import control
from worker.sandbox.microsoft.surface import VERSION
from worker.sandbox.microsoft.world import World
from worker.sandbox.oauth.control import oauth_control
from worker.sandbox.oauth.flavours import MICROSOFT
from worker.sandbox.oauth.routes import routes
from worker.sandbox.oauth.server import AuthorizationServer
from worker.sandbox.recall.clock import Clock

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def create_microsoft(*, base_url: str, clock: Clock | None = None) -> Starlette:
    """
    Build the emulator; its `World` is at `app.state.world`.

    *base_url* is where it can be reached, for links in answers; it stands for graph.microsoft.com and
    login.microsoftonline.com both. Notifications are sent and time passes only while the lifespan runs.
    """
    clock = clock or Clock()
    server = AuthorizationServer(flavour=MICROSOFT, clock=clock)
    world = World(base_url, clock, server)

    async def graph(request: Request) -> Response:
        response = await world.gate.answer(request)
        world.wake()
        return response

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        running = asyncio.create_task(world.run())
        try:
            yield
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    app = Starlette(
        routes=[
            Route(VERSION + "/{rest:path}", graph, methods=METHODS),
            # Source: learn.microsoft.com/entra/identity-platform/v2-protocols, …/v2-admin-consent.
            *routes(
                server,
                authorize="/{tenant}/oauth2/v2.0/authorize",
                token="/{tenant}/oauth2/v2.0/token",
                userinfo="/oidc/userinfo",
                admin_consent=("/{tenant}/v2.0/adminconsent", "/{tenant}/adminconsent"),
            ),
            *oauth_control(server),
            *control.routes(world),
        ],
        lifespan=lifespan,
    )
    app.state.world = world
    return app
