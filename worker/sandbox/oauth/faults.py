"""Faults to order at a provider's endpoints: which calls they hit, and what they do to them."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from worker.sandbox.recall import faults as plain
from worker.sandbox.recall.answers import Answer

# Carried out before the answer is spoilt, beside those the other emulator has.
PAGING = frozenset({"lost_page", "emptied_page"})
KINDS = plain.KINDS | PAGING | {"refuse"}


@dataclass(frozen=True, slots=True)
class Target:
    """What a fault may be aimed at: one call and who makes it."""

    operation: str
    method: str = "GET"
    target: str = ""
    account: str | None = None
    email: str | None = None
    client_id: str | None = None


@dataclass(slots=True)
class Fault(plain.Fault):
    """
    One order, as for the other emulator, aimed by *operation* (a regular expression), account (id or
    address) and client too.

    refuse: the provider's own refusal *reason* in its own form, nothing done. lost_page: a page leads to no
    further one. emptied_page: it leads on, but its items are lost.
    """

    operation: str | None = None
    account: str | None = None
    client_id: str | None = None
    reason: str = ""

    def strikes(self, call: Target) -> bool:
        if self.operation is not None and re.search(self.operation, call.operation) is None:
            return False
        if self.account is not None and self.account not in (call.account, call.email):
            return False
        if self.client_id is not None and self.client_id != call.client_id:
            return False
        return self.fits(call.method, call.target)

    @property
    def carries_out(self) -> bool:
        afterwards = self.kind in PAGING or self.kind in plain.AFTERWARDS
        return afterwards or self.kind == "delay" or self.execute

    def spoilt_answer(self, answer: Answer) -> Answer | bytes:
        """Return the real answer as *kind* leaves it; bytes when it is no longer JSON."""
        body = answer.body
        if self.kind == "truncate":
            text = json.dumps(body).encode()
            return text[: len(text) // 2]
        if self.kind in PAGING and isinstance(body, dict):
            lost = "nextPageToken" if self.kind == "lost_page" else "items"
            kept = {name: value for name, value in body.items() if name != lost}
            return Answer(answer.status, kept, answer.headers)
        spoilt, _ = self.spoilt(answer, "")
        return spoilt


@dataclass(slots=True)
class Faults:
    orders: list[Fault] = field(default_factory=list)
    count: int = 0

    def order(self, wish: Mapping[str, Any]) -> Fault:
        """
        Add a fault.

        Raises:
            ValueError: no such kind, an unknown field, or a pattern that is none.
        """
        taken = dict(wish)
        kind = taken.pop(
            "kind", "status" if "status" in taken else "refuse" if "reason" in taken else None
        )
        if kind not in KINDS:
            raise ValueError(f"kind is one of {', '.join(sorted(KINDS))}")
        for pattern in (taken.get("path"), taken.get("operation")):
            re.compile(pattern or "")
        self.count += 1
        try:
            fault = Fault(id=self.count, kind=kind, **taken)
        except TypeError as error:
            raise ValueError(str(error)) from error
        self.orders.append(fault)
        return fault

    def next_hit(self, call: Target, chance: random.Random) -> Fault | None:
        """Return the first fault that strikes this call, counted as used."""
        for fault in self.orders:
            if not fault.strikes(call):
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            if fault.probability < 1.0 and chance.random() >= fault.probability:
                continue
            fault.hits += 1
            return fault
        return None
