"""Drive the emulated Google in tests: calls without a socket, and a clock that stands still."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx

from worker.sandbox.google.app import create_google
from worker.sandbox.google.world import World
from worker.sandbox.oauth.grants import Client
from worker.sandbox.recall.clock import Clock

BASE_URL = "http://google.test"
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
SCOPES = "https://www.googleapis.com/auth/"
ALL = ("calendar",)
CLIENT = Client("client-1", "secret-1", ("https://app.example/oauth/callback",))
MEET = "https://meet.google.com/abc-defg-hij"
ANNA, BEN, CARLA = "anna@example.com", "ben@example.com", "carla@other.example"


@dataclass(slots=True)
class Google:
    """An emulator with Anna and Ben in it; every call runs in a short loop of its own."""

    clock: Clock = field(default_factory=lambda: Clock(NOW))
    app: Any = None
    tokens: dict[tuple[str, tuple[str, ...], str], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.app = create_google(base_url=BASE_URL, clock=self.clock)
        self.world.chance.seed(1)
        self.world.oauth.add_client(CLIENT)
        for email in (ANNA, BEN):
            self.world.mailbox(self.world.oauth.add_account(email))

    @property
    def world(self) -> World:
        world: World = self.app.state.world
        return world

    def token(self, email: str = ANNA, scopes: tuple[str, ...] = ALL, client: Client = CLIENT) -> str:
        key = (email, scopes, client.client_id)
        if key not in self.tokens:
            account = self.world.oauth.account(email)
            assert account is not None
            full = tuple(SCOPES + scope for scope in scopes)
            self.tokens[key] = self.world.oauth.mint(account, client, full)["access_token"]
        return self.tokens[key]

    def raw(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def one() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client:
                return await client.request(method, path, **more)

        return asyncio.run(one())

    def call(
        self,
        method: str,
        path: str,
        *,
        by: str = ANNA,
        scopes: tuple[str, ...] = ALL,
        headers: dict[str, str] | None = None,
        **more: Any,
    ) -> httpx.Response:
        """Call the Calendar API below its root."""
        said = {"authorization": f"Bearer {self.token(by, scopes)}"} | (headers or {})
        return self.raw(method, f"/calendar/v3/{path}", headers=said, **more)

    def get(self, path: str, *, by: str = ANNA, **query: Any) -> Any:
        return self.call("GET", path, by=by, params=query).raise_for_status().json()

    def list(self, *, by: str = ANNA, calendar: str = "primary", **query: Any) -> Any:
        """Return one answer of events.list."""
        return self.get(f"calendars/{quote(calendar, safe='')}/events", by=by, **query)

    def everything(self, *, by: str = ANNA, calendar: str = "primary", **query: Any) -> Sync:
        """Follow all pages of a list."""
        items: list[dict[str, Any]] = []
        page = self.list(by=by, calendar=calendar, **query)
        items += page["items"]
        while "nextPageToken" in page:
            page = self.list(by=by, calendar=calendar, **query, pageToken=page["nextPageToken"])
            items += page["items"]
        return Sync(items, page.get("nextSyncToken", ""))

    def insert(
        self, *, by: str = ANNA, calendar: str = "primary", query: Any = None, **body: Any
    ) -> Any:
        made = self.call(
            "POST",
            f"calendars/{quote(calendar, safe='')}/events",
            by=by,
            params=query or {},
            json=an_event(**body),
        )
        return made.raise_for_status().json()

    def patch(
        self, event: Any, *, by: str = ANNA, calendar: str = "primary", query: Any = None, **body: Any
    ) -> Any:
        path = f"calendars/{quote(calendar, safe='')}/events/{id_of(event)}"
        return self.call("PATCH", path, by=by, json=body, params=query or {}).raise_for_status().json()

    def delete(self, event: Any, *, by: str = ANNA, calendar: str = "primary") -> httpx.Response:
        path = f"calendars/{quote(calendar, safe='')}/events/{id_of(event)}"
        return self.call("DELETE", path, by=by)

    def event(self, event: Any, *, by: str = ANNA, calendar: str = "primary", **query: Any) -> Any:
        return self.get(f"calendars/{quote(calendar, safe='')}/events/{id_of(event)}", by=by, **query)

    def control(self, method: str, path: str, json: Any = None) -> Any:
        return self.raw(method, f"/_emulator{path}", json=json).raise_for_status().json()

    def switch(self, **switches: Any) -> None:
        self.control("PATCH", "/switches", switches)

    def limit(self, **limits: Any) -> None:
        self.control("PATCH", "/limits", limits)

    def pass_(self, **span: float) -> None:
        """Let time pass."""
        self.clock.at = self.clock.now() + timedelta(**span)


@dataclass(frozen=True, slots=True)
class Sync:
    items: list[dict[str, Any]]
    token: str

    @property
    def ids(self) -> list[str]:
        return [item["id"] for item in self.items]

    @property
    def statuses(self) -> dict[str, str]:
        return {item["id"]: item["status"] for item in self.items}


def an_event(**body: Any) -> dict[str, Any]:
    """Return a body for an event in two hours, half an hour long."""
    return {
        "summary": "Standup",
        "start": {"dateTime": "2026-11-23T11:00:00Z"},
        "end": {"dateTime": "2026-11-23T11:30:00Z"},
    } | body


def a_series(rule: str = "RRULE:FREQ=DAILY;COUNT=5", **body: Any) -> dict[str, Any]:
    """Return a body for a series at nine in Berlin, from the 23rd of November on."""
    return {
        "summary": "Daily",
        "start": {"dateTime": "2026-11-23T09:00:00", "timeZone": "Europe/Berlin"},
        "end": {"dateTime": "2026-11-23T09:15:00", "timeZone": "Europe/Berlin"},
        "recurrence": [rule],
    } | body


def id_of(event: Any) -> str:
    return quote(event if isinstance(event, str) else event["id"], safe="")


def reason_of(answer: httpx.Response) -> tuple[int, str]:
    """Return status and reason of a refusal."""
    error = answer.json()["error"]
    assert error["code"] == answer.status_code
    return answer.status_code, error["errors"][0]["reason"]


def guests(*emails: str) -> list[dict[str, str]]:
    return [{"email": email} for email in emails]


def answers(event: Any) -> dict[str, str]:
    return {each["email"]: each["responseStatus"] for each in event.get("attendees", [])}
