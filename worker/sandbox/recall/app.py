"""The emulator as an ASGI application: Recall's own surface, and the control API beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from worker.sandbox.recall import control, gate
from worker.sandbox.recall.clock import Clock
from worker.sandbox.recall.world import World

DEFAULT_KEY = "sandbox-key"
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def create_recall(
    *, base_url: str, clock: Clock | None = None, api_key: str = DEFAULT_KEY
) -> Starlette:
    """
    Build the emulator; its `World` is at `app.state.world`.

    *base_url* is where it can be reached, for `next` links. *api_key* names the first workspace. Webhooks
    are sent and time passes only while the application's lifespan runs.
    """
    world = World(base_url, clock or Clock(), api_key)

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
        routes=[*_api(world), *control.routes(world)],
        lifespan=lifespan,
        exception_handlers={404: _missing},
    )
    app.router.redirect_slashes = False  # official samples omit the slash and are answered
    app.state.world = world
    return app


def _api(world: World) -> list[Route]:
    routes = []
    for template in gate.SURFACE:
        endpoint = _endpoint(world, template)
        routes += [Route(path, endpoint, methods=METHODS) for path in (template, template.rstrip("/"))]
    return routes


def _endpoint(world: World, template: str) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        response = await gate.answer(world.workspaces, request, template)
        world.wake()
        return response

    return endpoint


async def _missing(_request: Request, _error: Exception) -> Response:
    return JSONResponse({"code": "not_found", "detail": "Not found."}, 404)
