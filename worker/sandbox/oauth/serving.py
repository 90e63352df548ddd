"""Carry out one call under the faults ordered for it, and turn the outcome into a response."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime

from starlette.requests import Request
from starlette.responses import Response

from worker.sandbox.oauth.faults import Fault, Faults, Target
from worker.sandbox.recall.answers import Answer
from worker.sandbox.recall.gate import CUT, ConnectionCut

JSON_TYPE = "application/json; charset=UTF-8"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call came to. *status* is what was really done, 0 if the call never reached that point."""

    answer: Answer | bytes
    fault: Fault | None
    status: int
    took_ms: float

    @property
    def is_cut(self) -> bool:
        return self.fault is not None and self.fault.kind in ("drop", "lost_answer")

    @property
    def shown_status(self) -> int:
        """Return the status the caller saw; 0 for a connection that was cut."""
        if self.is_cut:
            return 0
        return self.answer.status if isinstance(self.answer, Answer) else self.status

    def facts(self) -> dict[str, object]:
        """Return what a history says of the fault that struck."""
        if self.fault is None:
            return {}
        return {"fault": self.fault.kind, "carried_out": self.status != 0, "real_status": self.status}


async def carry_out(
    call: Target,
    faults: Faults,
    chance: random.Random,
    *,
    act: Callable[[], Answer] | Callable[[], Awaitable[Answer]],
    refuse: Callable[[Fault], Answer],
) -> Outcome:
    """Run *act* unless a fault forbids it; *refuse* words a fault in the provider's own form."""
    began = time.perf_counter()
    fault = faults.next_hit(call, chance)
    if fault is not None and fault.delay_ms:
        await asyncio.sleep(fault.delay_ms / 1000)
    answer: Answer | bytes
    if fault is not None and not fault.carries_out:
        answer, status = _instead(fault, refuse), 0
    else:
        done = act()
        answer = done if isinstance(done, Answer) else await done
        status = answer.status
        if fault is not None:
            is_replaced = fault.kind in ("status", "refuse", "html", "empty")
            answer = _instead(fault, refuse) if is_replaced else fault.spoilt_answer(answer)
    return Outcome(answer, fault, status, round((time.perf_counter() - began) * 1000, 2))


async def respond(request: Request, outcome: Outcome, now: datetime) -> Response:
    """Return the response; for a cut, close the connection instead where our own server allows it."""
    if outcome.is_cut:
        cut = request.scope.get("extensions", {}).get(CUT)
        if cut is None:
            raise ConnectionCut("the sandbox cut the connection")
        cut()
        await asyncio.sleep(
            0.01
        )  # lets the server notice that nobody is there; it then ignores the answer
    headers = {"date": format_datetime(now, usegmt=True)}
    if isinstance(outcome.answer, bytes):
        return Response(outcome.answer, outcome.status, headers, JSON_TYPE)
    return response_of(outcome.answer, headers)


def response_of(answer: Answer, headers: dict[str, str] | None = None) -> Response:
    """Write an answer: text as HTML, None as nothing, the rest as JSON."""
    said = {**(headers or {}), **answer.headers}
    if answer.body is None:
        return Response(b"", answer.status, said)
    if isinstance(answer.body, str):
        return Response(answer.body, answer.status, said, "text/html; charset=utf-8")
    body = json.dumps(answer.body, separators=(",", ":"), ensure_ascii=False)
    return Response(body, answer.status, said, JSON_TYPE)


def _instead(fault: Fault, refuse: Callable[[Fault], Answer]) -> Answer:
    if fault.kind in ("html", "empty") or fault.body is not None:
        return fault.instead()
    refused = refuse(fault)
    headers = {**refused.headers, **fault.instead().headers}
    return Answer(fault.status or refused.status, refused.body, headers)
