"""Turns the table of operations, and the documents made from it, into routes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from webhooks.api.asyncapi import asyncapi_document
from webhooks.api.docs import CONTENT_SECURITY_POLICY, docs_page
from webhooks.api.openapi import openapi_document
from webhooks.api.problems import PROBLEM_JSON, Problem, as_json
from webhooks.api.schemas import TYPES, data_schema
from webhooks.api.serving import Desk, Resource, security_headers
from webhooks.api.table import OPERATIONS
from worker.runtime import Runtime

_FOR_A_WHILE = "public, max-age=300"


def routes(rt: Runtime) -> list[BaseRoute]:
    """
    Return every route of the management API and its documents.

    What is under /v1 and unknown answers as a problem too, so these come last where they are mounted
    beside others.
    """
    desk = Desk(rt)
    paths = dict.fromkeys(operation.path for operation in OPERATIONS)
    resources: list[BaseRoute] = [
        Route(
            path,
            Resource(desk, [operation for operation in OPERATIONS if operation.path == path]),
            name=path,
        )
        for path in paths
    ]
    unknown = Resource(desk, [])
    return [
        *resources,
        Route("/v1", unknown, name="unknown"),
        Route("/v1/{rest:path}", unknown, name="unknown below"),
        *_documents(rt),
    ]


def _documents(rt: Runtime) -> list[BaseRoute]:
    base_url = rt.settings.base_url
    openapi = openapi_document(base_url)
    asyncapi = asyncapi_document(base_url, exchange=rt.settings.events_exchange)
    page = docs_page(openapi)
    headers = {**security_headers(base_url), "Cache-Control": _FOR_A_WHILE}
    schemas = {str(name): as_json(data_schema(name, base_url)) for name in TYPES}

    async def schema(request: Request) -> Response:
        body = schemas.get(request.path_params["type"])
        if body is None:
            missing = Problem("not_found").body(base_url=base_url, request_id="")
            return Response(as_json(missing), 404, headers, PROBLEM_JSON)
        return Response(body, 200, headers, "application/schema+json")

    return [
        Route("/openapi.json", _fixed(as_json(openapi), "application/json", headers)),
        Route("/asyncapi.json", _fixed(as_json(asyncapi), "application/json", headers)),
        Route(
            "/docs",
            _fixed(
                page.encode(),
                "text/html; charset=utf-8",
                {**headers, "Content-Security-Policy": CONTENT_SECURITY_POLICY},
            ),
        ),
        Route("/schemas/{type}.json", schema),
    ]


def _fixed(
    body: bytes, media_type: str, headers: dict[str, str]
) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_request: Request) -> Response:
        return Response(body, 200, headers, media_type)

    return answer
