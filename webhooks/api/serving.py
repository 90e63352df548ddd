"""
Carries out operations over HTTP: admit, understand, run, answer.

Handlers are synchronous and run in a few threads of their own, so that the receiver's event loop
never waits for the management API.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import anyio
import structlog
from anyio.to_thread import run_sync
from pydantic import BaseModel, ValidationError
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from models.domain.rules import InvalidRules
from models.tables.base import new_id
from webhooks.api.bodies import check_media_type, parse_json, read_body
from webhooks.api.guarding import Guard, require
from webhooks.api.operations import Answer, Call, Operation
from webhooks.api.problems import PROBLEM_JSON, Fault, Problem, as_json
from webhooks.api.shapes import Nothing, parse_uuid
from worker import access
from worker.errors import (
    AlreadyGone,
    AuthorizationLost,
    ConfigError,
    ConsentLost,
    Refused,
    TryLater,
)
from worker.runtime import Runtime

log = structlog.get_logger(__name__)

#: Threads for the whole API; fewer than the database connections a process has.
THREADS = 6
MOST_FAULTS = 50
#: Longer than the database gives any statement. A server that hangs cuts nothing short, nor does the network.
ANSWERED_WITHIN_S = 20.0
_RETRY_DATABASE_S = 2
_RETRY_PROVIDER_S = 5
_LONGEST_RETRY_S = 900
_T = TypeVar("_T")
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class Reply:
    """A finished answer."""

    status: int
    body: bytes | None
    headers: Mapping[str, str] = field(default_factory=dict)


class Desk:
    """What all resources of one process share."""

    def __init__(self, rt: Runtime, guard: Guard | None = None) -> None:
        self.rt = rt
        self.guard = guard or Guard(rt)
        self.threads = anyio.CapacityLimiter(THREADS)
        self.headers = security_headers(rt.settings.base_url)

    def problem(self, problem: Problem, request_id: str) -> Reply:
        """Render a problem."""
        body = problem.body(base_url=self.rt.settings.base_url, request_id=request_id)
        return Reply(problem.kind.status, as_json(body), problem.headers)


class Resource:
    """Every operation of one path, as an ASGI application."""

    def __init__(self, desk: Desk, operations: Sequence[Operation]) -> None:
        self._desk = desk
        self._operations = {operation.method: operation for operation in operations}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        request_id = str(new_id())
        started = time.perf_counter()
        try:
            reply = await self._reply(request, request_id)
        except Problem as problem:
            reply = self._desk.problem(problem, request_id)
        except Exception as error:
            problem_met = problem_of(error)
            if problem_met.code == "internal_error":
                log.exception("request_failed", request_id=request_id)
            reply = self._desk.problem(problem_met, request_id)
        log.info(
            "request_answered",
            request_id=request_id,
            method=request.method,
            route=next(iter(self._operations.values())).path if self._operations else "unknown",
            status=reply.status,
            duration_ms=round((time.perf_counter() - started) * 1000),
        )
        response = to_response(request, reply, {**self._desk.headers, "X-Request-Id": request_id})
        await response(scope, receive, send)

    async def _reply(self, request: Request, request_id: str) -> Reply:
        desk, rt = self._desk, self._desk.rt
        operation = self._operation(request.method)
        client = request.client.host if request.client else None
        caller = await self._in_time(
            partial(desk.guard.admit, request.headers.getlist("authorization"), client)
        )
        require(caller, operation.scope)
        ids = read_ids(request.path_params)
        query = read_query(operation, request)
        # What comes with a GET or a DELETE means nothing and is not even read (RFC 9110, 9.3.1).
        raw = await read_body(request) if operation.method in {"POST", "PUT", "PATCH"} else b""
        value = _read_value(operation, request, raw)
        call = Call(
            rt=rt,
            caller=caller,
            url=request.url,
            ids=ids,
            query=query,
            body=None if operation.body is None else read_model(operation.body, value, at="body"),
        )
        keys = request.headers.getlist("idempotency-key") if operation.is_repeatable else []
        if operation.method == "GET":
            return await self._in_time(partial(carry_out, operation, call))
        if not keys:
            return await run_sync(carry_out, operation, call, limiter=desk.threads)
        if len(keys) > 1 or not _IDEMPOTENCY_KEY.fullmatch(keys[0]):
            raise Problem("invalid_idempotency_key")
        asked = [request.method, request.url.path, request.url.query, value]
        digest = hashlib.sha256(as_json(asked)).digest()
        return await run_sync(
            self._once, operation, call, keys[0], digest, request_id, limiter=desk.threads
        )

    async def _in_time(self, ask: Callable[[], _T]) -> _T:
        """Run what only reads in a thread; whoever asked waits no longer than `ANSWERED_WITHIN_S`."""
        with anyio.move_on_after(ANSWERED_WITHIN_S):
            return await run_sync(ask, limiter=self._desk.threads, abandon_on_cancel=True)
        raise _without_database()

    def _operation(self, method: str) -> Operation:
        asked: Any = "GET" if method == "HEAD" else method  # any word may stand there
        operation = self._operations.get(asked)
        if operation is None and not self._operations:
            raise Problem("not_found")
        if operation is None:
            allowed = sorted(self._operations) + (["HEAD"] if "GET" in self._operations else [])
            raise Problem("method_not_allowed", headers={"Allow": ", ".join(allowed)})
        found: Operation = operation
        return found

    def _once(
        self, operation: Operation, call: Call, key: str, digest: bytes, request_id: str
    ) -> Reply:
        """Carry out a request that has an Idempotency-Key: the first time only."""
        rt = self._desk.rt
        with rt.db.begin() as tx:
            opened = access.open_request(tx, call.caller, key, digest=digest, vault=rt.vault)
        match opened:
            case access.Repeated(status=status, body=body):
                return Reply(status, body.encode() or None, {"Idempotency-Replayed": "true"})
            case access.Opened.DIFFERENT:
                raise Problem("idempotency_key_reused")
            case access.Opened.IN_FLIGHT:
                raise Problem("request_in_flight", headers={"Retry-After": "1"})
            case _:
                pass
        try:
            reply = carry_out(operation, call)
        except Exception as error:
            problem = error if isinstance(error, Problem) else problem_of(error)
            reply = self._desk.problem(problem, request_id)
            if problem.kind.status >= 500 or problem.kind.status in {409, 429}:
                with rt.db.begin() as tx:
                    access.drop_request(tx, call.caller, key)
                raise
        body_text = (reply.body or b"").decode()
        with rt.db.begin() as tx:
            access.close_request(
                tx, call.caller, key, status=reply.status, body=body_text, vault=rt.vault
            )
        return reply


def carry_out(operation: Operation, call: Call) -> Reply:
    """Run an operation and write down its answer."""
    answer: Answer = operation.carry_out(call)
    status = answer.status or operation.status
    return Reply(status, None if answer.body is None else as_json(answer.body), answer.headers)


def problem_of(error: Exception) -> Problem:
    """Translate what a use-case raised into what the caller is told."""
    match error:
        case InvalidRules(faults=lines):
            split = [line.partition(": ") for line in lines]
            return Problem("invalid_rules", faults=[Fault(at, says) for at, _, says in split])
        case ConfigError():
            return Problem("provider_not_configured", str(error)[:300])
        case TryLater(after=after):
            seconds = _RETRY_PROVIDER_S if after is None else int(after.total_seconds()) + 1
            seconds = min(max(seconds, 1), _LONGEST_RETRY_S)
            return Problem("provider_unavailable", headers={"Retry-After": str(seconds)})
        case ConsentLost():
            return Problem("needs_reauth")
        case AuthorizationLost():
            return Problem("provider_rejected_us")
        case AlreadyGone():
            return Problem("conflict", "the provider does not know it any more")
        case Refused():
            return Problem("provider_refused", str(error)[:300])
        case OperationalError() | InterfaceError() | InternalError() | PoolExhausted():
            # An InternalError is a session of the wrong kind: read-only after a fail-over, say.
            return _without_database()
        case _:
            return Problem("internal_error")


def read_ids(path_params: Mapping[str, Any]) -> dict[str, UUID]:
    """Read the ids in the path; one that is none names nothing."""
    ids: dict[str, UUID] = {}
    for name, text in path_params.items():
        found = parse_uuid(str(text))
        if found is None:
            raise Problem("not_found")
        ids[name] = found
    return ids


def read_query(operation: Operation, request: Request) -> BaseModel:
    """Read the query strictly: no parameter is unknown or said twice."""
    pairs = request.query_params.multi_items()
    counts = Counter(name for name, _ in pairs)
    twice = [
        Fault(f"query.{_shown(name)}", "said twice") for name, count in counts.items() if count > 1
    ]
    if twice:
        raise Problem("invalid_request", faults=twice[:MOST_FAULTS])
    return read_model(operation.query, dict(pairs), at="query")


def read_model(model: type[BaseModel], value: object, *, at: str) -> BaseModel:
    """Read a value as a model; a Problem that lists everything that does not fit."""
    try:
        return model.model_validate(value)
    except ValidationError as wrong:
        errors = wrong.errors(include_url=False, include_input=False, include_context=False)
        faults = [
            Fault(".".join([at, *(_shown(str(part)) for part in error["loc"])]), error["msg"])
            for error in errors[:MOST_FAULTS]
        ]
        raise Problem("invalid_request", faults=faults) from None


def to_response(request: Request, reply: Reply, headers: Mapping[str, str]) -> Response:
    """Make the HTTP response; a HEAD gets the same one without its body."""
    body = reply.body or b""
    media_type = None
    if reply.body is not None:
        media_type = PROBLEM_JSON if reply.status >= 400 else "application/json"
    response = Response(
        b"" if request.method == "HEAD" else body,
        status_code=reply.status,
        media_type=media_type,
        headers={**headers, **reply.headers},
    )
    if request.method == "HEAD":
        response.headers["content-length"] = str(len(body))
    return response


def security_headers(base_url: str) -> dict[str, str]:
    """Headers that keep a browser from doing anything with an answer but show it."""
    headers = {
        "Cache-Control": "no-store",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }
    if base_url.startswith("https://"):
        headers["Strict-Transport-Security"] = "max-age=31536000"
    return headers


def _read_value(operation: Operation, request: Request, raw: bytes) -> Any:  # noqa: ANN401  # JSON
    if operation.body is None:
        if not raw:
            return None
        check_media_type(request)
        return read_model(Nothing, parse_json(raw), at="body").model_dump()
    if raw or "content-type" in request.headers:
        check_media_type(request)
    if not raw:
        raise Problem("invalid_json", "the body is empty")
    return parse_json(raw)


def _without_database() -> Problem:
    return Problem("database_unavailable", headers={"Retry-After": str(_RETRY_DATABASE_S)})


def _shown(name: str) -> str:
    return ascii(name[:60])[1:-1]
