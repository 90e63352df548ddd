"""
What every call passes before and after its own rules: token, scopes, faults, quota, fields, history.

Source: developers.google.com/workspace/calendar/api/guides/errors; the order of the checks is a guess.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs, unquote

from starlette.requests import Request
from starlette.responses import Response

from worker.sandbox.google.calls import Call
from worker.sandbox.google.partial import selected
from worker.sandbox.google.refusals import REALM, Refusal, refusal_by, scope_refusal
from worker.sandbox.google.surface import ROOT, Method, method_at
from worker.sandbox.google.world import World
from worker.sandbox.oauth.faults import Fault, Target
from worker.sandbox.oauth.grants import Grant
from worker.sandbox.oauth.serving import Outcome, carry_out, respond
from worker.sandbox.recall.answers import Answer


@dataclass(frozen=True, slots=True)
class Arrived:
    """A request as it came in; *path* is still percent-encoded."""

    verb: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def target(self) -> str:
        return f"{unquote(self.path)}?{self.query}" if self.query else unquote(self.path)


async def answer(world: World, request: Request) -> Response:
    """Serve one call."""
    raw_path = request.scope.get("raw_path") or request.url.path.encode()
    arrived = Arrived(
        request.method,
        raw_path.decode("ascii").partition("?")[0],
        request.url.query,
        request.headers,
        await request.body(),
    )
    outcome = await served(world, arrived)
    return await respond(request, outcome, world.now())


async def served(world: World, arrived: Arrived) -> Outcome:
    """Carry out a call and write it down."""
    world.pulse()
    arrived = _overridden(arrived)
    grant = _grant(world, arrived)
    found = method_at(arrived.verb, arrived.path.removeprefix(ROOT))
    name = found[0].name if found else "unknown"
    account, client_id = (grant.account, grant.client_id) if grant else (None, None)
    target = Target(
        name,
        arrived.verb,
        arrived.target,
        account.id if account else None,
        account.email if account else None,
        client_id,
    )

    async def act() -> Answer:
        try:
            return await _performed(world, arrived, grant, found)
        except Refusal as refusal:
            return refusal.answer()

    outcome = await carry_out(target, world.faults, world.chance, act=act, refuse=_worded)
    world.history.note_call(
        world.now(),
        operation=name,
        status=outcome.shown_status,
        method=arrived.verb,
        path=arrived.target,
        account=target.email,
        client_id=client_id,
        duration_ms=outcome.took_ms,
        **outcome.facts(),
    )
    return outcome


async def _performed(
    world: World, arrived: Arrived, grant: Grant | None, found: tuple[Method, dict[str, str]] | None
) -> Answer:
    """
    Check the caller and do what is asked.

    Raises:
        Refusal: whatever stands in the way.
    """
    if grant is None:
        return _unauthorized(arrived)
    if found is None:
        raise Refusal("notFound")
    method, parameters = found
    if not grant.scopes & method.scopes:
        return scope_refusal(f"calendar.{method.name}", method.scopes)
    reason = world.quota.exceeded(grant.client_id, grant.account.id, world.now(), world.limits)
    if reason:
        raise _over_quota(world, reason)
    if world.limits.latency_ms:
        await asyncio.sleep(world.limits.latency_ms / 1000)
        world.pulse()
    query = parse_qs(arrived.query, keep_blank_values=True)
    call = Call(world, grant, parameters, query, _body(arrived), arrived.headers)
    world.acting_client = grant.client_id
    try:
        done = method.act(call)
        result = done if isinstance(done, Answer) else await done
    finally:
        world.acting_client = None
    if call.one("fields") and result.body is not None:
        result = replace(result, body=selected(result.body, call.one("fields")))
    return result


def _grant(world: World, arrived: Arrived) -> Grant | None:
    scheme, _, token = arrived.headers.get("authorization", "").partition(" ")
    return world.oauth.grant_of(token.strip()) if scheme.lower() == "bearer" else None


def _unauthorized(arrived: Arrived) -> Answer:
    if arrived.headers.get("authorization"):
        return Refusal("authError", location="Authorization", location_type="header").answer()
    refused = Refusal(
        "required", "Login Required.", status=401, location="Authorization", location_type="header"
    )
    return replace(refused.answer(), headers={"www-authenticate": REALM})


def _over_quota(world: World, reason: str) -> Refusal:
    if world.switches.quota_is_429:
        return Refusal("rateLimitExceeded", status=429)
    return Refusal(reason)


def _worded(fault: Fault) -> Answer:
    return refusal_by(fault.status, fault.reason).answer()


def _overridden(arrived: Arrived) -> Arrived:
    """
    Read a GET that was too long for a URL and came as a POST.

    Source: googleapiclient sends X-HTTP-Method-Override beyond 2048 characters.
    """
    verb = arrived.headers.get("x-http-method-override", "").upper()
    if not verb or arrived.verb != "POST":
        return arrived
    if verb != "GET":
        return replace(arrived, verb=verb)
    query = "&".join(part for part in (arrived.query, arrived.body.decode(errors="replace")) if part)
    return replace(arrived, verb=verb, query=query, body=b"")


def _body(arrived: Arrived) -> Mapping[str, Any]:
    """Raises Refusal: a body that is no JSON object."""
    if not arrived.body.strip():
        return {}
    try:
        body = json.loads(arrived.body)
    except ValueError as error:
        raise Refusal("parseError") from error
    if not isinstance(body, dict):
        raise Refusal("parseError")
    return body
