"""
The provider's side: the emulator without a network, and all that can go wrong on the way to it.

Calls of the real adapters end here; the emulator answers at once, at whatever instant the virtual
clock shows. Its webhooks are carried to the receiver's one statement, and carried again as Svix does.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import httpx
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from tests.simulation.turns import Crash
from webhooks.arrivals import Arrival, Inbox, Stored
from webhooks.receive import arrival_of
from worker.sandbox.recall import gate
from worker.sandbox.recall import outgoing as svix
from worker.sandbox.recall.faults import Fault

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

#: What may happen to a call, by weight.
CALL_FAULTS = {
    "crash": 2, "crash_after": 3, "pause": 2, "refused": 2, "lost_answer": 4, "ghost": 2, "500": 1,
    "500_done": 2, "502": 1, "503": 1, "429": 2, "409": 1, "507": 1, "html": 1, "truncate": 1,
    "wrong_type": 1, "empty": 1,
}  # fmt: skip
PAGE_FAULTS = {"repeated_next": 1, "foreign_next": 1}
#: What may happen to a webhook.
HOOK_FAULTS = {"lost": 3, "doubled": 3, "late": 3, "unanswered": 2, "down": 2}
READ_TIMEOUT_S = 10.0

_ROUTES = [
    (re.compile("^" + template.replace("{id}", "(?P<id>[^/]+)") + "$"), template)
    for template in gate.SURFACE
]


class Provider(httpx.BaseTransport):
    """The network between us and the emulator."""

    def __init__(self, sim: Simulation, receiver: Inbox) -> None:
        self.sim = sim
        self.acked: dict[str, datetime] = {}
        self._receiver = receiver
        self._loop = asyncio.Runner()
        self._out_until: datetime | None = None
        #: Requests of callers that have given up; they arrive later.
        self.ghosts = 0

    def fail_for(self, span: timedelta) -> None:
        """Have every call fail for a while."""
        if not self.sim.decisions.is_quiet:
            self._out_until = self.sim.now() + span
            self.sim.last_fault_at = self._out_until

    def recover(self) -> None:
        self._out_until = None

    def end(self) -> None:
        """Let go of what the story needed; nothing is delivered any more."""
        self._loop.close()

    # Calls

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        sim = self.sim
        turn = sim.stage.current
        operation = str(request.extensions.get("operation", "")).rpartition(".")[2]
        operation = operation or f"{request.method} {request.url.path.split('/')[3]}"
        if operation == "list_events" and turn is not None:
            turn.notes.setdefault("first_list_at", None)
        faults = CALL_FAULTS | (PAGE_FAULTS if request.method == "GET" else {})
        fault = sim.fault(f"http.{operation}", sim.rate * 4, faults)
        sim.wait(sim.decisions.between("latency", 0.01, 0.25))
        if self._out_until is not None and sim.now() < self._out_until:
            raise httpx.ConnectError("the provider is out")
        if fault in {"crash", "crash_after", "pause", "refused", "ghost", None}:
            return self._sent(request, fault, operation)
        return self._spoilt(request, str(fault))

    def _sent(self, request: httpx.Request, fault: str | None, operation: str) -> httpx.Response:
        sim = self.sim
        match fault:
            case "crash":
                sim.die()
            case "refused":
                raise httpx.ConnectError("refused")
            case "ghost":
                # It arrives when nobody waits for the answer any more.
                self.ghosts += 1
                sim.after(
                    READ_TIMEOUT_S + sim.decisions.between("ghost", 0, 90),
                    lambda: self._serve_ghost(request),
                )
                sim.wait(READ_TIMEOUT_S)
                raise httpx.ReadTimeout("no answer")
            case "pause":
                # Stopped after the last look at the clock: sent long after it should have been.
                sim.wait(sim.decisions.between("pause", 5, 120))
                self._serve(request)
                raise httpx.ReadTimeout("the call's time was over")
        response = self._serve(request)
        if fault == "crash_after":
            sim.die()
        sim.wait(sim.decisions.between("latency", 0.005, 0.1))
        return response

    def _serve_ghost(self, request: httpx.Request) -> None:
        self.ghosts -= 1
        self._serve(request)

    def _spoilt(self, request: httpx.Request, fault: str) -> httpx.Response:
        orders = self.sim.ws.faults.orders
        wish: dict[str, Fault] = {
            "500_done": Fault(0, "status", status=500, execute=True),
            "429": Fault(
                0, "status", status=429, retry_after=1 + int(20 * self.sim.decisions.value("429"))
            ),
        }
        kind = "status" if fault.isdecimal() else fault
        order = wish.get(fault) or Fault(0, kind, status=int(fault) if fault.isdecimal() else None)
        orders.append(order)
        try:
            response = self._serve(request)
        finally:
            orders.remove(order)
        self.sim.wait(self.sim.decisions.between("latency", 0.005, 0.1))
        return response

    def _serve(self, request: httpx.Request) -> httpx.Response:
        """Have the emulator answer now."""
        ws = self.sim.ws
        turn = self.sim.stage.current
        if turn is not None and turn.notes.get("first_list_at", 1) is None:
            turn.notes["first_list_at"] = self.sim.now()
        path = request.url.path
        path = path if path.endswith("/") else path + "/"
        for pattern, template in _ROUTES:
            if found := pattern.match(path):
                try:
                    response = _at_once(
                        gate.answer({ws.key: ws}, _request(request, found.groupdict()), template)
                    )
                except gate.ConnectionCut as cut:
                    raise httpx.ReadError("cut") from cut
                self.sim.note(
                    f"{request.method} {request.url.raw_path.decode()} {response.status_code}"
                )
                return httpx.Response(
                    response.status_code,
                    headers=list(response.headers.items()),
                    content=bytes(response.body),
                )
        return httpx.Response(404, json={"code": "not_found"})

    # Webhooks

    def carry_webhooks(self) -> None:
        """Send every webhook that is due, for better or worse."""
        sim, outgoing = self.sim, self.sim.ws.outgoing
        while (message := outgoing.take(sim.now())) is not None:
            fault = sim.fault("hook", min(0.6, sim.rate * 12), HOOK_FAULTS)
            wait_s = sim.decisions.between("hook.latency", 0.005, 0.2)
            if fault == "late":
                wait_s += sim.decisions.between("hook.late", 1, 240)
            sim.after(wait_s, lambda message=message, fault=fault: self._deliver(message, fault))  # type: ignore[misc]  # bound now
            if fault == "doubled":
                outgoing.in_flight += 1
                again_s = wait_s + sim.decisions.between("hook.again", 0, 30)
                sim.after(again_s, lambda message=message: self._deliver(message, None))  # type: ignore[misc]  # bound now

    def receive(self, inbox: Inbox, arrival: Arrival) -> Stored:
        """Have the receiver's statement take in one notification, whoever sends it."""
        return self._loop.run(_store(inbox, arrival))

    def _deliver(self, message: svix.Message, fault: str | None) -> None:
        sim = self.sim
        status: int | None = 204
        if fault == "down":
            status = 503
        elif fault != "lost":
            stored = self.receive(self._receiver, arrival_of(message.id, message.body))
            if fault == "unanswered":
                status = None
                self._receiver.close()
            else:
                self.acked[message.id] = sim.now()
                for job in sorted(stored.rings):
                    sim.bell.ring(job, None)
        sim.ws.outgoing.settle(
            message, sim.now(), status=status, error=None if status else "no answer", took_ms=1
        )


async def _store(inbox: Inbox, arrival: Arrival) -> Stored:
    line = await inbox.open()
    line._connection.execute("SELECT 1")  # a statement through psycopg tells the session the time
    return await inbox.store([arrival])


def _request(request: httpx.Request, path_params: Mapping[str, str]) -> Request:
    scope = {
        "type": "http",
        "method": request.method,
        "scheme": "https",
        "server": (request.url.host, 443),
        "path": request.url.path,
        "query_string": request.url.query,
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "path_params": dict(path_params),
    }
    body = request.read()

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request(scope, receive)


def _at_once(answer: object) -> Response:
    """Drive a coroutine that never waits for anything."""
    try:
        answer.send(None)  # type: ignore[attr-defined]  # a coroutine
    except StopIteration as done:
        response: Response = done.value
        return response
    raise AssertionError("the emulator waits")


__all__ = ["Crash", "Provider"]
