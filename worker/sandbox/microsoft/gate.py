"""
What every call to Graph passes before and after its own rules: faults, token, mailbox, throttle, history.

Sources: learn.microsoft.com/graph/errors, /graph/throttling; the order of the checks is a guess.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Awaitable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from worker.sandbox.microsoft import faults, refusals
from worker.sandbox.microsoft.asking import Asked, Prefer
from worker.sandbox.microsoft.refusals import Refused
from worker.sandbox.microsoft.store import Store
from worker.sandbox.microsoft.surface import VERSION, Operation, Place, Surface
from worker.sandbox.microsoft.throttle import Throttle
from worker.sandbox.oauth.faults import Target
from worker.sandbox.oauth.grants import Grant
from worker.sandbox.oauth.server import AuthorizationServer
from worker.sandbox.oauth.serving import carry_out, respond
from worker.sandbox.recall.answers import Answer

JSON_TYPE = (
    "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8"
)
WITH_BODY = frozenset({"POST", "PATCH", "PUT"})


@dataclass(slots=True)
class Call:
    """One request on its way through."""

    request: Request
    request_id: str
    grant: Grant | None
    place: Place | None = None
    params: dict[str, str] = field(default_factory=dict)
    prefer: Prefer = field(default_factory=Prefer)

    @property
    def target(self) -> str:
        url = self.request.url
        return f"{url.path}?{url.query}" if url.query else url.path

    @property
    def operation(self) -> str:
        known = self.place.operations.get(self.request.method) if self.place else None
        return known[0] if known else "unknown"

    @property
    def is_of_mailbox(self) -> bool:
        return self.place is not None and self.place.is_of_mailbox

    @property
    def client_request_id(self) -> str:
        return self.request.headers.get("client-request-id", self.request_id)

    def aim(self) -> Target:
        """Return what a fault may be aimed at."""
        plain = Target(self.operation, self.request.method, self.target)
        if self.grant is None:
            return plain
        who = self.grant.account
        return replace(plain, account=who.id, email=who.email, client_id=self.grant.client_id)

    def found(self) -> Operation:
        """Raises Refused: nothing stands behind this path or method."""
        if self.place is None:
            segment = self.request.url.path.rpartition("/")[2]
            raise Refused(400, "BadRequest", f"Resource not found for the segment '{segment}'.")
        known = self.place.operations.get(self.request.method)
        if known is None:
            text = f"The HTTP method '{self.request.method}' is not allowed here."
            raise Refused(405, "ErrorInvalidRequest", text)
        return known[1]


@dataclass(slots=True)
class Gate:
    store: Store
    surface: Surface
    server: AuthorizationServer
    throttle: Throttle = field(default_factory=Throttle)

    async def answer(self, request: Request) -> Response:
        """Serve one call from its first check to its last fault."""
        store = self.store
        store.tick()
        call = self._call(request)

        async def act() -> Answer:
            store.tick()
            return self._dressed(call, await self._carried_out(call))

        target = call.aim()
        outcome = await carry_out(target, store.faults, store.random, act=act, refuse=faults.refused)
        outcome = faults.astray(outcome, store.base_url + call.target)
        store.history.note_call(
            store.now(),
            operation=call.operation,
            status=outcome.shown_status,
            method=request.method,
            path=call.target,
            account=target.email,
            client_id=target.client_id,
            request_id=call.request_id,
            duration_ms=outcome.took_ms,
            **outcome.facts(),
        )
        return await respond(request, outcome, store.now())

    def _call(self, request: Request) -> Call:
        made_up = str(uuid.UUID(int=self.store.random.getrandbits(128), version=4))
        call = Call(request, made_up, self.server.grant_of(_token(request)))
        found = self.surface.find(request.url.path.removeprefix(VERSION))
        if found is not None:
            call.place, call.params = found
        return call

    async def _carried_out(self, call: Call) -> Answer:
        try:
            grant = self._granted(call)
            operation = call.found()
            asked = await self._asked(call, grant)
            limits, pair = self.store.limits, (grant.client_id, asked.mailbox.account.id)
            free = nullcontext()
            with (
                self.throttle.place_for(pair, self.store.now(), limits) if call.is_of_mailbox else free
            ):
                if call.is_of_mailbox and limits.latency_ms:
                    await asyncio.sleep(limits.latency_ms / 1000)
                result = operation(asked)
                return result if isinstance(result, Answer) else await _awaited(result)
        except Refused as error:
            return self._refusal(call, error)

    def _granted(self, call: Call) -> Grant:
        if not _token(call.request):
            raise refusals.unauthorized("Access token is empty.")
        if call.grant is None:
            raise refusals.unauthorized("Access token has expired or is not yet valid.")
        return call.grant

    async def _asked(self, call: Call, grant: Grant) -> Asked:
        own = self.store.open_mailbox(grant.account)
        params = dict(call.params)
        name = params.pop("user", None)
        mailbox = own if name is None else self.store.mailbox_of(name)
        if mailbox is None:
            raise Refused(404, "ErrorInvalidUser", f"The requested user '{name}' is invalid.")
        if call.is_of_mailbox and not mailbox.is_enabled:
            raise refusals.mailbox_missing()
        call.prefer = Prefer.read(call.request.headers.getlist("prefer"))
        url = call.request.url
        return Asked(
            store=self.store,
            grant=grant,
            mailbox=mailbox,
            authority=self.store.base_url,
            path=url.path,
            token_ends_at=self.server.ledger.access_tokens[_token(call.request)].expires_at,
            params=params,
            query={key.lower(): value for key, value in parse_qsl(url.query, keep_blank_values=True)},
            body=await _body(call.request),
            prefer=call.prefer,
        )

    def _refusal(self, call: Call, error: Refused) -> Answer:
        inner = {
            "date": self.store.now().strftime("%Y-%m-%dT%H:%M:%S"),
            "request-id": call.request_id,
            "client-request-id": call.client_request_id,
        }
        body = {"error": {"code": error.code, "message": error.message, "innerError": inner}}
        return Answer(error.status, body, error.headers)

    def _dressed(self, call: Call, result: Answer) -> Answer:
        """Add the headers that every answer of Graph has."""
        headers = {
            "request-id": call.request_id,
            "client-request-id": call.client_request_id,
            "cache-control": "private",
            **({} if result.body is None else {"content-type": JSON_TYPE}),
            **result.headers,
        }
        applied = [
            *call.prefer.applied,
            *(["odata.track-changes"] if call.operation == "delta" else []),
        ]
        if applied and result.status < 400:
            headers["preference-applied"] = ", ".join(applied)
        return Answer(result.status, result.body, headers)


def _token(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


async def _awaited(result: Awaitable[Answer]) -> Answer:
    return await result


async def _body(request: Request) -> Mapping[str, Any]:
    raw = await request.body()
    if request.method not in WITH_BODY or not raw:
        return {}
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise refusals.unreadable("Unable to read JSON request payload.") from error
    if not isinstance(body, dict):
        raise refusals.unreadable("Empty Payload. JSON content expected.")
    return body
