"""A call to a control API as a value, and the route that answers it."""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


class Unknown(Exception):
    """There is nothing of that name."""


@dataclass(frozen=True, slots=True)
class Asked:
    body: Any
    path: Mapping[str, str]
    query: Mapping[str, str]

    def number(self, name: str, default: int) -> int:
        return int(self.query.get(name, default))


Action = Callable[[Asked], object] | Callable[[Asked], Awaitable[object]]


def control_routes(
    prefix: str,
    actions: tuple[tuple[str, str, Action], ...],
    *,
    before: Callable[[], None] | None = None,
    after: Callable[[], None] | None = None,
) -> list[Route]:
    """
    List routes for (method, path, action); *before* and *after* run around every action.

    Answers are JSON: 404 for `Unknown`, 400 for what an action cannot read, else 200.
    """
    by_path: dict[str, dict[str, Action]] = {}
    for method, path, action in actions:
        by_path.setdefault(path, {})[method] = action
    return [
        Route(prefix + path, _endpoint(chosen, before, after), methods=list(chosen))
        for path, chosen in by_path.items()
    ]


def _endpoint(
    actions: dict[str, Action], before: Callable[[], None] | None, after: Callable[[], None] | None
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        raw = await request.body()
        try:
            asked = Asked(json.loads(raw) if raw else {}, request.path_params, request.query_params)
            if before is not None:
                before()
            result = actions[request.method](asked)
            if inspect.isawaitable(result):
                result = await result
        except Unknown as error:
            return JSONResponse({"error": str(error)}, 404)
        except (ValueError, TypeError, KeyError) as error:
            return JSONResponse({"error": f"{type(error).__name__}: {error}"}, 400)
        if after is not None:
            after()
        return JSONResponse(result)

    return endpoint
