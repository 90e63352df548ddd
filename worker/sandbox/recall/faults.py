"""Faults to order: which calls they hit, how often, and what they do to the answer."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from worker.sandbox.recall.answers import Answer

HTML = "<!doctype html><html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"

# Kinds that let the call be carried out before the answer is spoilt.
AFTERWARDS = frozenset({"truncate", "wrong_type", "lost_answer", "foreign_next", "repeated_next"})
KINDS = AFTERWARDS | {"status", "drop", "delay", "html", "empty"}


@dataclass(slots=True)
class Fault:
    """
    One order. *path* is a regular expression searched in path and query; None hits every call.

    status: answer *status* without carrying the call out (*execute*: carry it out first), with any
    *headers*; *retry_after* is seconds, a date or nonsense. drop: cut the
    connection, nothing done. lost_answer: carry out, then cut. delay: wait, then serve. html/empty: such a
    body, nothing done. truncate, wrong_type: spoil the real answer. foreign_next, repeated_next: lead paging
    astray.
    """

    id: int
    kind: str
    method: str | None = None
    path: str | None = None
    status: int | None = None
    retry_after: int | str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_ms: int = 0
    times: int | None = None
    probability: float = 1.0
    skip: int = 0
    execute: bool = False
    body: Any = None
    hits: int = 0

    def fits(self, method: str, target: str) -> bool:
        if self.times is not None and self.hits >= self.times:
            return False
        if self.method is not None and self.method.upper() != method:
            return False
        return self.path is None or re.search(self.path, target) is not None

    @property
    def carries_out(self) -> bool:
        return self.kind in AFTERWARDS or self.kind == "delay" or self.execute

    def instead(self) -> Answer:
        """Return the answer given in place of the real one."""
        headers = dict(self.headers)
        if self.retry_after is not None:
            headers["retry-after"] = str(self.retry_after)
        status = self.status or {"html": 502, "empty": 200}.get(self.kind, 500)
        if self.kind == "html":
            return Answer(status, HTML.format(title=f"{status} Bad Gateway"), headers)
        if self.kind == "empty":
            return Answer(status, None, headers)
        body = (
            {"code": "fault", "detail": f"Fault {self.id} of the sandbox."}
            if self.body is None
            else self.body
        )
        return Answer(status, body, headers)

    def spoilt(self, answer: Answer, target_url: str) -> tuple[Answer, bytes | None]:
        """Return the answer as *kind* leaves it, and raw bytes when it is no longer JSON."""
        body = answer.body
        match self.kind:
            case "truncate":
                text = json.dumps(body).encode()
                return answer, text[: len(text) // 2]
            case "wrong_type" if isinstance(body, dict):
                return Answer(
                    answer.status, {name: _wrong(value) for name, value in body.items()}, answer.headers
                ), None
            case "foreign_next" if isinstance(body, dict) and "next" in body:
                return Answer(
                    answer.status,
                    body | {"next": "https://evil.example/api/v2/?cursor=1"},
                    answer.headers,
                ), None
            case "repeated_next" if isinstance(body, dict) and "next" in body:
                return Answer(answer.status, body | {"next": target_url}, answer.headers), None
            case "status" | "html" | "empty":
                return self.instead(), None
            case _:
                return answer, None


def _wrong(value: object) -> object:
    match value:
        case bool() | None:
            return "perhaps"
        case str():
            return 42
        case list():
            return {"0": value[0] if value else None}
        case dict():
            return [value]
        case _:
            return str(value)


@dataclass(slots=True)
class Faults:
    orders: list[Fault] = field(default_factory=list)
    count: int = 0

    def order(self, wish: Mapping[str, Any]) -> Fault:
        """
        Add a fault.

        Raises:
            ValueError: no such kind, or a pattern that is none.
        """
        wish = dict(wish)
        kind = wish.pop("kind", "status" if "status" in wish else None)
        if kind not in KINDS:
            raise ValueError(f"kind is one of {', '.join(sorted(KINDS))}")
        re.compile(wish.get("path") or "")
        self.count += 1
        try:
            fault = Fault(id=self.count, kind=kind, **wish)
        except TypeError as error:
            raise ValueError(str(error)) from error
        self.orders.append(fault)
        return fault

    def next_hit(self, method: str, target: str, chance: random.Random) -> Fault | None:
        """Return the first fault that strikes this call, counted as used."""
        for fault in self.orders:
            if not fault.fits(method, target):
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            if fault.probability < 1.0 and chance.random() >= fault.probability:
                continue
            fault.hits += 1
            return fault
        return None
