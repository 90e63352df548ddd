"""Drive the emulated Graph in tests: people with tokens, a clock that stands still, an endpoint to notify."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from worker.sandbox.microsoft.app import create_microsoft
from worker.sandbox.microsoft.world import World
from worker.sandbox.oauth.grants import Client
from worker.sandbox.recall.clock import Clock
from worker.sandbox.server import running

BASE_URL = "http://graph.test"
ANNA = "anna@corp.example"
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)  # a Monday
SCOPES = (
    "https://graph.microsoft.com/Calendars.ReadWrite",
    "https://graph.microsoft.com/User.Read",
    "offline_access",
)
APP = Client("app", "secret", ("http://app.test/back",))
WEEK = {"startDateTime": "2026-11-23T00:00:00Z", "endDateTime": "2026-11-30T00:00:00Z"}
DAILY = {
    "pattern": {"type": "daily", "interval": 1},
    "range": {"type": "noEnd", "startDate": "2026-11-23"},
}


@dataclass(slots=True)
class Graph:
    """An emulator without a socket, whose clock moves only by `pass_`."""

    clock: Clock = field(default_factory=lambda: Clock(NOW))
    app: Any = None

    def __post_init__(self) -> None:
        self.app = create_microsoft(base_url=BASE_URL, clock=self.clock)

    @property
    def world(self) -> World:
        world: World = self.app.state.world
        return world

    def person(self, email: str, scopes: tuple[str, ...] = SCOPES, **more: Any) -> Person:
        """Return somebody with a mailbox and a token."""
        self.control("POST", "/accounts", {"email": email, **more})
        return self.with_scopes(email, *scopes)

    def with_scopes(self, email: str, *scopes: str, client_id: str = "app") -> Person:
        """Return somebody known, with a token for *scopes*."""
        return Person(self, email, token_of(self.world, email, scopes, client_id))

    def control(self, method: str, path: str, body: Any = None) -> Any:
        return self.call(method, "/_emulator" + path, json=body).raise_for_status().json()

    def call(self, method: str, path: str, token: str | None = None, **more: Any) -> httpx.Response:
        return self.calls((method, path, token, more))[0]

    def calls(self, *asked: tuple[str, str, str | None, dict[str, Any]]) -> list[httpx.Response]:
        """Make several calls at the same time."""

        async def all_of_them() -> list[httpx.Response]:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client:
                return await asyncio.gather(
                    *(
                        client.request(method, path, **_with_token(token, more))
                        for method, path, token, more in asked
                    )
                )

        return asyncio.run(all_of_them())

    def switch(self, **switches: Any) -> None:
        self.control("PATCH", "/switches", switches)

    def pass_(self, **span: float) -> None:
        self.clock.at = self.clock.now() + timedelta(**span)
        self.world.store.tick()


@dataclass(frozen=True, slots=True)
class Person:
    graph: Graph
    email: str
    token: str

    def call(self, method: str, path: str, **more: Any) -> httpx.Response:
        url = path if path.startswith("http") else f"/v1.0{path}"
        return self.graph.call(method, url, self.token, **more)

    def get(self, path: str, prefer: str = "", **params: Any) -> Any:
        headers = {"prefer": prefer} if prefer else {}
        more = (
            {"params": {name.replace("_", "$", 1): value for name, value in params.items()}}
            if params
            else {}
        )
        return self.call("GET", path, headers=headers, **more).raise_for_status().json()

    def post(self, path: str, body: Any = None) -> Any:
        answer = self.call("POST", path, json={} if body is None else body).raise_for_status()
        return answer.json() if answer.content else None

    def patch(self, path: str, body: Any) -> Any:
        return self.call("PATCH", path, json=body).raise_for_status().json()

    def delete(self, path: str) -> None:
        self.call("DELETE", path).raise_for_status()

    def refused(self, method: str, path: str, **more: Any) -> tuple[int, str]:
        """Return status and code of an error answer."""
        answer = self.call(method, path, **more)
        return answer.status_code, answer.json()["error"]["code"]

    def event(self, **fields: Any) -> Any:
        """Create an event through Graph."""
        return self.post("/me/events", an_event(**fields))

    def view(self, **more: Any) -> list[Any]:
        """List the occurrences of the week."""
        rows: list[Any] = self.get("/me/calendarView", **{**WEEK, "_top": 100, **more})["value"]
        return rows

    def begin(self, prefer: str = "", calendar: str = "") -> Round:
        """Read everything of the week by delta."""
        return self._followed(f"/me{calendar}/calendarView/delta", prefer, WEEK)

    def resume(self, link: str, prefer: str = "") -> Round:
        """Read what changed since a deltaLink."""
        return self._followed(link, prefer, None)

    def _followed(self, link: str, prefer: str, params: Mapping[str, str] | None) -> Round:
        found = Round()
        page = self.call(
            "GET", link, headers={"prefer": prefer}, **({"params": params} if params else {})
        )
        while True:
            body = page.raise_for_status().json()
            found.pages.append(body["value"])
            found.link = body.get("@odata.deltaLink", "")
            if "@odata.nextLink" not in body:
                return found
            page = self.call("GET", body["@odata.nextLink"], headers={"prefer": prefer})

    def event_id(self, subject: str) -> str:
        """Return the id that an event of this subject has in this mailbox."""
        found: str = next(
            row["id"] for row in self.get("/me/events", _top=100)["value"] if row["subject"] == subject
        )
        return found


@dataclass(slots=True)
class Round:
    """A round of delta: its pages, and the link for the next one."""

    pages: list[list[Any]] = field(default_factory=list)
    link: str = ""

    @property
    def rows(self) -> list[Any]:
        return [row for page in self.pages for row in page]

    @property
    def removed(self) -> set[str]:
        return {row["id"] for row in self.rows if "@removed" in row}

    def of_type(self, kind: str) -> list[Any]:
        return [row for row in self.rows if row.get("type") == kind]


def an_event(**fields: Any) -> dict[str, Any]:
    """Write the body of an event: tomorrow at ten, unless *fields* say otherwise."""
    body = {
        "subject": "Plan",
        "start": {"dateTime": "2026-11-24T10:00:00", "timeZone": "UTC"},
        "end": {"dateTime": "2026-11-24T10:30:00", "timeZone": "UTC"},
    }
    return {**body, **fields}


def times(start: str, end: str, zone: str = "UTC") -> dict[str, Any]:
    return {
        "start": {"dateTime": start, "timeZone": zone},
        "end": {"dateTime": end, "timeZone": zone},
    }


def invited(*emails: str) -> list[dict[str, Any]]:
    return [{"emailAddress": {"address": email}, "type": "required"} for email in emails]


def token_of(world: World, email: str, scopes: tuple[str, ...] = SCOPES, client_id: str = "app") -> str:
    client = Client(client_id, APP.client_secret, APP.redirect_uris)
    world.server.add_client(client)
    account = world.server.account(email)
    assert account is not None
    token: str = world.server.mint(account, client, scopes)["access_token"]
    return token


def _with_token(token: str | None, more: dict[str, Any]) -> dict[str, Any]:
    if token is None:
        return more
    return {**more, "headers": {**more.get("headers", {}), "authorization": f"Bearer {token}"}}


@dataclass(slots=True)
class Endpoint:
    """
    Keeps what was posted and proves itself when asked.

    *statuses* are answered in turn, then 202; *proof* instead of the token; *slow_s* is slept first.
    """

    url: str = ""
    posts: list[Any] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    proof: str | None = None
    slow_s: float = 0.0

    def forget(self) -> None:
        """Be as new."""
        self.posts, self.tokens, self.statuses, self.proof, self.slow_s = [], [], [], None, 0.0

    @property
    def items(self) -> list[Any]:
        return [item for post in self.posts for item in post["value"]]

    @property
    def kinds(self) -> list[str]:
        return [item.get("changeType") or item["lifecycleEvent"] for item in self.items]


@contextmanager
def listening() -> Iterator[Endpoint]:
    endpoint = Endpoint()

    async def take(request: Request) -> Response:
        await asyncio.sleep(endpoint.slow_s)
        if token := request.query_params.get("validationToken"):
            endpoint.tokens.append(token)
            return PlainTextResponse(token if endpoint.proof is None else endpoint.proof)
        endpoint.posts.append(json.loads(await request.body()))
        return Response(status_code=endpoint.statuses.pop(0) if endpoint.statuses else 202)

    with running(lambda _: Starlette(routes=[Route("/hook", take, methods=["POST"])])) as url:
        endpoint.url = f"{url}/hook"
        yield endpoint


@dataclass(slots=True)
class Remote:
    """An emulator on a socket of its own, under a virtual clock; somebody called anna has a token."""

    client: httpx.Client
    app: Starlette

    def begin(self) -> None:
        """Be as new, and let the client speak for anna."""
        self.control("POST", "/clock", {"now": NOW.isoformat()})
        self.control("POST", "/reset", {})
        self.control("POST", "/accounts", {"email": ANNA})
        self.client.headers["authorization"] = f"Bearer {token_of(self.app.state.world, ANNA)}"

    def control(self, method: str, path: str, body: Any = None) -> Any:
        return self.client.request(method, "/_emulator" + path, json=body).raise_for_status().json()

    def advance(self, seconds: float = 0.001) -> None:
        """Let time pass; everything owed on the way has been delivered, or put off, when this returns."""
        self.control("POST", "/clock", {"advance_seconds": seconds})

    def graph(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        return self.client.request(method, f"/v1.0{path}", json=body, headers=headers)

    def subscribe(self, endpoint: Endpoint, **fields: Any) -> Any:
        return (
            self.graph("POST", "/subscriptions", a_subscription(endpoint, **fields))
            .raise_for_status()
            .json()
        )

    def put_event(self, **wish: Any) -> Any:
        return self.control("POST", f"/calendars/{ANNA}/events", wish)


def a_subscription(endpoint: Endpoint, **fields: Any) -> dict[str, Any]:
    body = {
        "changeType": "created,updated,deleted",
        "notificationUrl": endpoint.url,
        "lifecycleNotificationUrl": endpoint.url,
        "resource": "me/events",
        "expirationDateTime": "2026-11-25T09:00:00Z",
        "clientState": "state",
    }
    return {name: value for name, value in {**body, **fields}.items() if value is not None}


@contextmanager
def serving() -> Iterator[Remote]:
    clock = Clock(NOW)
    apps: list[Starlette] = []

    def create(url: str) -> Starlette:
        apps.append(create_microsoft(base_url=url, clock=clock))
        return apps[0]

    with running(create) as url, httpx.Client(base_url=url) as client:
        yield Remote(client, apps[0])
