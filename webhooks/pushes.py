"""
POST /webhooks/google and /webhooks/microsoft: who tells us that a calendar we read ourselves changed.

Neither signs anything. What is ours is known by the secret of its channel, which carries what it is about
under our own mark. Each notification is stored before it is answered, as everywhere.

Sources: Calendar API, "Get push notifications"; Graph, "Receive change notifications through webhooks",
"Reduce missing change notifications".
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from http import HTTPStatus

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from models.sealing import Vault
from models.tables.base import new_id
from webhooks.arrivals import Arrival, Ask
from webhooks.problems import problem
from webhooks.writer import Verdict, Writer
from worker import jobs, metrics
from worker.channels import ChannelMark, read_secret

log = structlog.get_logger(__name__)

LARGEST_BODY = 1024 * 1024
MOST_ITEMS = 1_000
LONGEST_TOKEN = 4_096
RETRY_AFTER_S = 5
#: Google's own, and all there are for calendars. Source: "Get push notifications", message headers.
_CONFIRMATION, _CHANGES = "sync", frozenset({"exists", "not_exists"})
_LIFECYCLE = frozenset({"reauthorizationRequired", "subscriptionRemoved", "missed"})


def push_routes(vault: Vault, *, google: Writer, microsoft: Writer) -> list[BaseRoute]:
    """Return the routes of both, each with the writer of its source."""
    return [
        Route("/webhooks/google", _guarded(_Google(vault, google)), methods=["POST"]),
        Route("/webhooks/microsoft", _guarded(_Microsoft(vault, microsoft)), methods=["POST"]),
    ]


class _Google:
    """Google's pushes: everything is in the headers, the body is empty."""

    def __init__(self, vault: Vault, writer: Writer) -> None:
        self._vault = vault
        self._writer = writer

    async def __call__(self, request: Request) -> Response:
        headers = request.headers
        mark = read_secret(self._vault, headers.get("x-goog-channel-token", ""))
        channel_id = headers.get("x-goog-channel-id", "")
        if mark is None or channel_id != str(mark.channel_id):
            # An unknown channel is answered kindly: anything else would be sent again and again.
            _count("google", "unauthenticated")
            return Response(status_code=HTTPStatus.OK)
        state = headers.get("x-goog-resource-state", "")
        if state == _CONFIRMATION or state not in _CHANGES:
            _count("google", "ignored")
            return Response(status_code=HTTPStatus.OK)
        number = headers.get("x-goog-message-number", "")
        is_number = number.isascii() and number.isdecimal() and len(number) < 20
        message_id = f"{mark.channel_id.hex}-{number}" if is_number else new_id().hex
        stored = await self._writer.store(_arrival(mark, message_id, f"google.{state}", b""))
        return _answer("google", [stored])


class _Microsoft:
    """Graph's notifications: several in one body, of several subscriptions, each judged by itself."""

    def __init__(self, vault: Vault, writer: Writer) -> None:
        self._vault = vault
        self._writer = writer

    async def __call__(self, request: Request) -> Response:
        token = request.query_params.get("validationToken")
        if token is not None:
            # Proves that we are here; plain text, so that nothing in it is ever more than text.
            echo = PlainTextResponse(token[:LONGEST_TOKEN])
            echo.headers["X-Content-Type-Options"] = "nosniff"
            return echo
        body = await _read(request)
        if body is None:
            return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        items = _items(body)
        if items is None:
            return problem(HTTPStatus.BAD_REQUEST)
        arrivals = list(self._ours(items))
        verdicts = await asyncio.gather(*map(self._writer.store, arrivals))
        return _answer("microsoft", list(verdicts))

    def _ours(self, items: list[object]) -> Iterator[Arrival]:
        for item in items:
            secret = item.get("clientState") if isinstance(item, dict) else None
            mark = read_secret(self._vault, secret) if isinstance(secret, str) else None
            if mark is None or not isinstance(item, dict):
                _count("microsoft", "unauthenticated")
                continue
            told = item.get("lifecycleEvent")
            kind = told if isinstance(told, str) and told in _LIFECYCLE else "changed"
            # Nothing in it tells a repeat from the next change of the same event.
            yield _arrival(mark, new_id().hex, f"microsoft.{kind}", _shown(item))


def _arrival(mark: ChannelMark, message_id: str, kind: str, body: bytes) -> Arrival:
    return Arrival(
        message_id=message_id,
        body=body,
        state="stored",
        type=kind,
        ref=str(mark.calendar_id),
        ask=Ask.SYNC,
        job=jobs.SYNC_DIRECTLY,
    )


def _answer(source: str, verdicts: list[Verdict]) -> Response:
    """Answer for all: one that could not be stored has the sender come again with every one of them."""
    for verdict in verdicts:
        _count(source, verdict.name.lower())
    if Verdict.UNAVAILABLE in verdicts:
        response = problem(HTTPStatus.SERVICE_UNAVAILABLE)
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
        return response
    return Response(status_code=HTTPStatus.ACCEPTED if source == "microsoft" else HTTPStatus.OK)


def _items(body: bytes) -> list[object] | None:
    """Read the notifications of a body; None when it is not what Graph sends."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    items = found.get("value") if isinstance(found, dict) else None
    return items if isinstance(items, list) and len(items) <= MOST_ITEMS else None


def _shown(item: Mapping[str, object]) -> bytes:
    """Keep of a notification what explains it: never the client state, which would let others write."""
    kept = ("subscriptionId", "changeType", "lifecycleEvent", "resource")
    return json.dumps({name: item[name] for name in kept if isinstance(item.get(name), str)}).encode()


async def _read(request: Request) -> bytes | None:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            return None
    return bytes(body)


def _guarded(
    answer: Callable[[Request], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    """Answer 503 whatever goes wrong on our side: the sender comes again."""

    async def guarded(request: Request) -> Response:
        try:
            return await answer(request)
        except ClientDisconnect:
            return Response(status_code=HTTPStatus.BAD_REQUEST)
        except Exception:
            log.exception("push_failed")
            response = problem(HTTPStatus.SERVICE_UNAVAILABLE)
            response.headers["Retry-After"] = str(RETRY_AFTER_S)
            return response

    return guarded


def _count(source: str, result: str) -> None:
    metrics.DELIVERIES.labels(source, result).inc()
