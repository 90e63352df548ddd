"""Faults in Graph's dress: its error bodies and paging links. Orders and kinds as at the other emulators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from worker.sandbox.oauth.faults import Fault, Faults
from worker.sandbox.oauth.serving import Outcome
from worker.sandbox.recall.answers import Answer

LINKS = ("@odata.nextLink", "@odata.deltaLink")
ASTRAY = "https://evil.example/v1.0/me/calendarView/delta?$skiptoken=MQ"
CODES = {
    401: "InvalidAuthenticationToken",
    403: "ErrorAccessDenied",
    404: "ErrorItemNotFound",
    410: "SyncStateNotFound",
    429: "ApplicationThrottled",
    503: "ErrorServerBusy",
    504: "ErrorTimeoutExpired",
}


def order(faults: Faults, wish: Mapping[str, Any]) -> Fault:
    """
    Add a fault; `code` is Graph's error code, one fitting the status if left out.

    Raises:
        ValueError: no such kind, an unknown field, or a pattern that is none.
    """
    taken = dict(wish)
    if "code" in taken:
        taken["reason"] = taken.pop("code")
    return faults.order(taken)


def refused(fault: Fault) -> Answer:
    """Word a fault as Graph would."""
    status = fault.status or 503
    code = fault.reason or CODES.get(status, "InternalServerError")
    return Answer(status, {"error": {"code": code, "message": "Ordered by the sandbox."}})


def astray(outcome: Outcome, target_url: str) -> Outcome:
    """Do to Graph's paging links what a fault orders: lead elsewhere, lead nowhere, lose the rows."""
    fault, answer = outcome.fault, outcome.answer
    if fault is None or not isinstance(answer, Answer) or not isinstance(answer.body, dict):
        return outcome
    body = dict(answer.body)
    match fault.kind:
        case "foreign_next" | "repeated_next":
            led = ASTRAY if fault.kind == "foreign_next" else target_url
            body |= {name: led for name in LINKS if name in body}
        case "lost_page":
            body.pop("@odata.nextLink", None)
        case "emptied_page" if "value" in body:
            body["value"] = []
        case _:
            return outcome
    return replace(outcome, answer=Answer(answer.status, body, answer.headers))
