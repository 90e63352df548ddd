"""
What every API call passes before and after its own rules: firewall, key, faults, limits, idempotency, history.

Sources: docs.recall.ai authentication, errors, idempotency; the order of the checks is a guess.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from email.parser import BytesParser
from email.policy import HTTP
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from worker.sandbox.recall import api_bots, api_calendars, api_events
from worker.sandbox.recall.answers import Answer, ApiError, Call, refusal
from worker.sandbox.recall.faults import HTML, Fault
from worker.sandbox.recall.store import Workspace

Operation = Callable[[Workspace, Call], Answer] | Callable[[Workspace, Call], Awaitable[Answer]]

# path -> method -> (name in Recall's own reference, what it does)
SURFACE: Mapping[str, Mapping[str, tuple[str, Operation]]] = {
    "/api/v2/calendars/": {
        "GET": ("calendars_list", api_calendars.list_),
        "POST": ("calendars_create", api_calendars.create),
    },
    "/api/v2/calendars/{id}/": {
        "GET": ("calendars_retrieve", api_calendars.retrieve),
        "PATCH": ("calendars_partial_update", api_calendars.update),
        "DELETE": ("calendars_destroy", api_calendars.delete),
    },
    "/api/v2/calendars/{id}/access-token/": {
        "POST": ("calendars_access_token_create", api_calendars.access_token),
    },
    "/api/v2/calendar-events/": {"GET": ("calendar_events_list", api_events.list_)},
    "/api/v2/calendar-events/{id}/": {"GET": ("calendar_events_retrieve", api_events.retrieve)},
    "/api/v2/calendar-events/{id}/bot/": {
        "POST": ("calendar_events_bot_create", api_events.schedule),
        "DELETE": ("calendar_events_bot_destroy", api_events.unschedule),
    },
    "/api/v1/bot/": {"GET": ("bot_list", api_bots.list_), "POST": ("bot_create", api_bots.create)},
    "/api/v1/bot/{id}/": {
        "GET": ("bot_retrieve", api_bots.retrieve),
        "PATCH": ("bot_partial_update", api_bots.update),
        "DELETE": ("bot_destroy", api_bots.delete),
    },
    "/api/v1/bot/{id}/leave_call/": {"POST": ("bot_leave_call_create", api_bots.leave_call)},
    "/api/v1/bot/{id}/delete_media/": {"POST": ("bot_delete_media_create", api_bots.delete_media)},
}

LOCALHOST = re.compile(rb"(?:https?|wss?):\\?/\\?/localhost\b", re.IGNORECASE)
BLOCKED = ApiError(403, HTML.format(title="403 Forbidden"))
CUT = "punctual.cut"  # ASGI extension of our own server: closes the connection without an answer


class ConnectionCut(ConnectionResetError):
    """A fault cut the connection; reaches the client as an exception when no server stands between."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A request as it came in."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def target(self) -> str:
        return f"{self.path}?{self.query}" if self.query else self.path


async def answer(workspaces: Mapping[str, Workspace], request: Request, template: str) -> Response:
    """Serve one API call from the firewall to the last fault."""
    path = request.url.path if request.url.path.endswith("/") else request.url.path + "/"
    arrived = Arrived(request.method, path, request.url.query, request.headers, await request.body())
    try:
        _pass_firewall(arrived)
        ws = _workspace(workspaces, request.headers.get("authorization"))
    except ApiError as error:
        return _response(error.answer)
    ws.tick()
    began = time.perf_counter()
    name, operation = SURFACE[template].get(arrived.method, ("", None))
    fault = ws.faults.next_hit(arrived.method, arrived.target, ws.random)
    spoilt: bytes | None = None
    if fault is not None and fault.delay_ms:
        await asyncio.sleep(fault.delay_ms / 1000)
        ws.tick()
    if fault is not None and not fault.carries_out:
        result = fault.instead()
    else:
        call_id = str(request.path_params.get("id", "")).lower()
        result = await _carried_out(ws, arrived, name, operation, call_id)
        if fault is not None:
            result, spoilt = fault.spoilt(result, ws.base_url.rstrip("/") + arrived.target)
    is_cut = fault is not None and fault.kind in ("drop", "lost_answer")
    ws.history.note_call(
        ws.now(),
        operation=name or "unknown",
        status=0 if is_cut else result.status,
        method=arrived.method,
        path=arrived.target,
        duration_ms=round((time.perf_counter() - began) * 1000, 2),
        **_fault_facts(fault, result),
    )
    if is_cut:
        await _cut(request)
    response = _response(result, spoilt)
    response.headers.setdefault("date", _date(ws))
    return response


def _date(ws: Workspace) -> str:
    shown = ws.clock.now() + timedelta(seconds=ws.switches.date_ahead_s)
    return format_datetime(shown, usegmt=True)


def _fault_facts(fault: Fault | None, result: Answer) -> dict[str, Any]:
    if fault is None:
        return {}
    return {"fault": fault.kind, "carried_out": fault.carries_out} | (
        {"real_status": result.status} if fault.carries_out else {}
    )


async def _carried_out(
    ws: Workspace, arrived: Arrived, name: str, operation: Operation | None, call_id: str
) -> Answer:
    if operation is None:
        return refusal(405, "method_not_allowed", f'Method "{arrived.method}" not allowed.').answer
    if wait_s := ws.throttle.wait_s(name, ws.now(), ws.limits):
        text = f"Request was throttled. Expected available in {wait_s} seconds."
        return refusal(429, "throttled", text, retry_after_s=wait_s).answer
    key = arrived.headers.get("idempotency-key")
    if not key or arrived.method not in ("POST", "PUT", "PATCH") or ws.switches.idempotency_key_ignored:
        return await _performed(ws, arrived, operation, call_id)
    try:
        stored = ws.idempotency.stored(key, arrived.path, ws.now(), ws.limits.idempotency_ttl_s)
    except ApiError as error:
        return error.answer
    if stored is not None:
        return stored
    try:
        result = await _performed(ws, arrived, operation, call_id)
        ws.idempotency.store(key, arrived.path, ws.now(), result)
        return result
    finally:
        ws.idempotency.release(key, arrived.path)


async def _performed(ws: Workspace, arrived: Arrived, operation: Operation, call_id: str) -> Answer:
    if ws.limits.latency_ms:
        await asyncio.sleep(ws.limits.latency_ms / 1000)
        ws.tick()
    try:
        call = Call(
            arrived.method,
            arrived.path,
            parse_qs(arrived.query, keep_blank_values=True),
            _body(arrived),
            call_id,
        )
        result = operation(ws, call)
        return result if isinstance(result, Answer) else await result
    except ApiError as error:
        return error.answer


def _pass_firewall(arrived: Arrived) -> None:
    """Raises ApiError: 403 with a page of HTML, for a body on GET or a localhost URL in the payload."""
    if (arrived.method == "GET" and arrived.body) or LOCALHOST.search(arrived.body):
        raise BLOCKED


def _workspace(workspaces: Mapping[str, Workspace], authorization: str | None) -> Workspace:
    if not authorization:
        raise refusal(401, "not_authenticated", "Authentication credentials were not provided.")
    scheme, _, rest = authorization.strip().partition(" ")
    key = rest.strip() if scheme.lower() == "token" else authorization.strip()
    if key not in workspaces:
        text = "Invalid API token. Check that the key belongs to this region."
        raise refusal(401, "authentication_failed", text)
    return workspaces[key]


def _body(arrived: Arrived) -> dict[str, Any]:
    """Read a JSON object or a form; forms may carry JSON in their values."""
    if not arrived.body:
        return {}
    kind = arrived.headers.get("content-type", "application/json").lower()
    if kind.startswith("application/x-www-form-urlencoded"):
        return {
            name: _form_value(value) for name, value in parse_qsl(arrived.body.decode(errors="replace"))
        }
    if kind.startswith("multipart/form-data"):
        head = f"content-type: {arrived.headers['content-type']}\r\n\r\n".encode()
        parts = BytesParser(policy=HTTP).parsebytes(head + arrived.body).iter_parts()
        return {
            str(part.get_param("name", header="content-disposition")): _form_value(
                part.get_content().rstrip("\r\n")
            )
            for part in parts
        }
    try:
        body = json.loads(arrived.body)
    except ValueError as error:
        raise refusal(400, "parse_error", f"JSON parse error - {error}") from error
    if not isinstance(body, dict):
        raise refusal(400, "parse_error", "Invalid data. Expected a dictionary.")
    return body


def _form_value(text: str) -> object:
    if text.startswith(("{", "[")):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


async def _cut(request: Request) -> None:
    cut = request.scope.get("extensions", {}).get(CUT)
    if cut is not None:
        cut()
        await asyncio.sleep(
            0.01
        )  # lets the server notice that nobody is there; it then ignores the answer
        return
    raise ConnectionCut("the sandbox cut the connection")


def _response(result: Answer, raw: bytes | None = None) -> Response:
    headers = dict(result.headers)
    if raw is not None:
        return Response(raw, result.status, headers, "application/json")
    if result.body is None:
        return Response(b"", result.status, headers)
    if isinstance(result.body, str):
        return Response(result.body, result.status, headers, "text/html")
    return Response(
        json.dumps(result.body, separators=(",", ":")), result.status, headers, "application/json"
    )
