"""Drive the emulator in tests: calls without a socket, a clock that stands still, a receiver for webhooks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from worker.sandbox.recall.app import create_recall
from worker.sandbox.recall.clock import Clock
from worker.sandbox.recall.store import Workspace
from worker.sandbox.recall.world import World
from worker.sandbox.server import running

BASE_URL = "http://recall.test"
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
MEET = "https://meet.google.com/abc-defg-hij"
ZOOM = "https://zoom.us/j/123456789?pwd=secret"
SECRET = "whsec_plJ3nmyCDGBKInavdOK15jsl"


@dataclass(slots=True)
class Sandbox:
    """An emulator whose clock moves only by `pass_`; every call runs in a short loop of its own."""

    clock: Clock = field(default_factory=lambda: Clock(NOW))
    key: str | None = "sandbox-key"
    app: Any = None

    def __post_init__(self) -> None:
        self.app = create_recall(base_url=BASE_URL, clock=self.clock)

    @property
    def world(self) -> World:
        world: World = self.app.state.world
        return world

    @property
    def ws(self) -> Workspace:
        return self.world.workspace()

    def call(self, method: str, path: str, **more: Any) -> httpx.Response:
        return self.calls((method, path, more))[0]

    def calls(self, *asked: tuple[str, str, dict[str, Any]]) -> list[httpx.Response]:
        """Make several calls at the same time."""

        async def all_of_them() -> list[httpx.Response]:
            transport = httpx.ASGITransport(app=self.app)
            headers = {"authorization": f"Token {self.key}"} if self.key else {}
            async with httpx.AsyncClient(
                transport=transport, base_url=BASE_URL, headers=headers
            ) as client:
                return await asyncio.gather(*(client.request(m, p, **more) for m, p, more in asked))

        return asyncio.run(all_of_them())

    def get(self, path: str, **more: Any) -> Any:
        return self.call("GET", path, **more).raise_for_status().json()

    def post(self, path: str, json: Any = None, **more: Any) -> Any:
        return (
            self.call("POST", path, json={} if json is None else json, **more).raise_for_status().json()
        )

    def patch(self, path: str, json: Any) -> Any:
        return self.call("PATCH", path, json=json).raise_for_status().json()

    def pass_(self, **span: float) -> None:
        """Let time pass, everything due on the way included."""
        self.clock.at = self.clock.now() + timedelta(**span)
        self.ws.tick()

    def a_calendar(self, email: str = "anna@example.com", platform: str = "google_calendar") -> str:
        made: str = self.post("/_emulator/calendars", {"email": email, "platform": platform})["id"]
        return made

    def an_event(self, calendar_id: str | None = None, **wish: Any) -> dict[str, Any]:
        wish = {"start": iso(NOW + timedelta(hours=2)), "link": MEET} | wish
        made: dict[str, Any] = self.post(
            f"/_emulator/calendars/{calendar_id or self.a_calendar()}/events", wish
        )
        return made

    def schedule(
        self, event_id: str, key: str = "key", config: Any = None, **more: Any
    ) -> httpx.Response:
        body = {"deduplication_key": key, "bot_config": config or {}}
        return self.call("POST", f"/api/v2/calendar-events/{event_id}/bot/", json=body, **more)

    def live_bots(self) -> list[dict[str, Any]]:
        bots: list[dict[str, Any]] = self.get("/_emulator/bots?live=true")
        return bots

    def sent(self, event: str = "") -> list[dict[str, Any]]:
        """List bodies of webhooks, oldest first, whether or not anybody receives them."""
        return [each["body"] for each in reversed(self.get(f"/_emulator/deliveries?event={event}"))]


def iso(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


@dataclass(slots=True)
class Receiver:
    """Keep what was posted; answer with *statuses* in turn, then with 204."""

    url: str = ""
    posts: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()

    async def take(request: Request) -> Response:
        receiver.posts.append((dict(request.headers), await request.body()))
        return Response(status_code=receiver.statuses.pop(0) if receiver.statuses else 204)

    with running(lambda _: Starlette(routes=[Route("/hook", take, methods=["POST"])])) as url:
        receiver.url = f"{url}/hook"
        yield receiver
