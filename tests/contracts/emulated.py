"""Recall's emulator over real HTTP, as the world of the contract suites."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import httpx

from models.domain.times import parse_instant, rfc3339
from tests.contracts.bots import NOON, SeenBot
from tests.fakes import FakeAllowance
from worker.http import build_client
from worker.ports import BotProvider
from worker.providers.recall.client import RecallClient
from worker.sandbox.recall.app import DEFAULT_KEY, create_recall
from worker.sandbox.recall.clock import Clock
from worker.sandbox.server import running


@contextmanager
def running_recall() -> Iterator[Emulator]:
    """Serve an emulator on a port of its own; its clock stands still at noon."""
    clock = Clock(at=NOON)
    with (
        running(lambda url: create_recall(base_url=url, clock=clock)) as url,
        httpx.Client(base_url=url, trust_env=False) as control,
        build_client() as http,
    ):
        yield Emulator(url, control, http, clock)


@dataclass(slots=True)
class Emulator:
    """The control of a running emulator, and clients for it."""

    url: str
    control: httpx.Client
    http: httpx.Client
    clock: Clock
    counted: list[tuple[str, str]] = field(default_factory=list)

    def reset(self, switches: Mapping[str, object] | None = None) -> None:
        self.ask("POST", "/reset", {"seed": 7})
        self.clock.jump(NOON)
        self.ask("PATCH", "/switches", dict(switches or {}))
        self.counted.clear()

    def client(
        self, allowance: FakeAllowance | None = None, *, base_url: str | None = None
    ) -> RecallClient:
        return RecallClient(
            base_url=base_url or self.url,
            api_key=DEFAULT_KEY,
            http=self.http,
            allowance=allowance or FakeAllowance(),
            count=lambda _provider, operation, status, _s: self.counted.append((operation, status)),
        )

    def ask(self, method: str, path: str, body: object = None) -> Any:  # JSON
        """Call the control API."""
        answer = self.control.request(method, f"/_emulator{path}", json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def a_calendar(self, email: str, **wish: object) -> str:
        return str(self.ask("POST", "/calendars", {"email": email, **wish})["id"])

    def an_event(self, calendar_id: str, **wish: object) -> str:
        return str(self.ask("POST", f"/calendars/{calendar_id}/events", wish)["id"])

    def bots(self, *, live: bool = True) -> list[dict[str, Any]]:
        return list(self.ask("GET", f"/bots?live={str(live).lower()}"))


@dataclass(slots=True)
class EmulatedBots:
    """A BotWorld on the emulator."""

    emulator: Emulator
    provider: BotProvider
    _events: int = 0

    def now(self) -> datetime:
        return self.emulator.clock.now()

    def pass_time(self, by: timedelta) -> None:
        self.emulator.ask("POST", "/clock", {"advance_seconds": by.total_seconds()})

    def event(self, start: datetime, link: str) -> str:
        self._events += 1
        calendar = self.emulator.a_calendar(f"user{self._events}@acme.test")
        return self.emulator.an_event(
            calendar, start=rfc3339(start), end=rfc3339(start + timedelta(hours=1)), link=link
        )

    def move_event(self, event: str, start: datetime) -> None:
        self.emulator.ask("PATCH", f"/events/{event}", {"start": rfc3339(start)})

    def live_bots(self) -> list[SeenBot]:
        return [
            SeenBot(
                bot["id"],
                bot["metadata"].get("punctual_slot"),
                bot["meeting_url"],
                parse_instant(bot["join_at"]),
                bot["bot_name"],
                bot["config"],
            )
            for bot in self.emulator.bots()
            if bot["state"] != "call_ended" and "punctual_slot" in bot["metadata"]
        ]

    def dispatch(self, bot_id: str) -> None:
        self.emulator.ask("POST", f"/bots/{bot_id}/state", {"code": "joining_call"})

    def put_foreign_bot(self) -> str:
        join_at = rfc3339(NOON + timedelta(hours=1))
        return str(self.emulator.ask("POST", "/bots", {"join_at": join_at, "metadata": {}})["id"])

    def lose_answers(self) -> None:
        self.emulator.ask(
            "POST",
            "/faults",
            [{"kind": "lost_answer", "method": method} for method in ("POST", "PATCH", "DELETE")],
        )

    def refuse_connections(self) -> None:
        self.emulator.ask("POST", "/faults", {"kind": "status", "status": 507, "method": "POST"})

    def recover(self) -> None:
        self.emulator.ask("DELETE", "/faults")

    def calls(self) -> int:
        return len(self.emulator.counted)
