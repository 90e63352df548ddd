"""Both platforms' adapters, before their emulators, keep the contracts of the ports."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from urllib.parse import quote

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from models.domain.scopes import scopes_to_ask
from tests.contracts.accounts import AccountCalendarsContract, AccountsWorld
from tests.contracts.authorities import AuthorityContract, AuthorityWorld
from tests.contracts.bots import NOON
from tests.providers.accounts.following import Diary
from tests.providers.accounts.kit import ANNA, Platform
from worker.http import build_client
from worker.ports_direct import AccountCalendars, Authority, OAuthApp
from worker.providers.google import GoogleCalendars
from worker.providers.microsoft import MicrosoftCalendars
from worker.providers.oauth import GoogleAuthority, MicrosoftAuthority
from worker.sandbox.server import running


@dataclass
class Spoiling(httpx.BaseTransport):
    """A network that takes the start out of the rows of some events."""

    network: httpx.BaseTransport = field(default_factory=httpx.HTTPTransport)
    spoiled: set[str] = field(default_factory=set)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self.network.handle_request(request)
        if not self.spoiled or not response.headers.get("content-type", "").startswith(
            "application/json"
        ):
            return response
        body = json.loads(response.read())
        for row in body.get("items") or body.get("value") or []:
            if row.get("id") in self.spoiled:
                row["start"] = {"dateTime": "half past nine"}
        return httpx.Response(response.status_code, json=body)

    def close(self) -> None:
        self.network.close()


@contextmanager
def echoing() -> Iterator[str]:
    """Serve somebody who proves to Graph that it is there, and hears all; its URL is yielded."""

    def echo(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.query_params.get("validationToken", ""))

    routes = [Route("/push", echo, methods=["POST"])]
    with running(lambda _url: Starlette(routes=routes)) as url:
        yield f"{url}/push"


@pytest.fixture(scope="session")
def push_url() -> Iterator[str]:
    with echoing() as url:
        yield url


@dataclass
class EmulatedAccounts:
    """An AccountsWorld on an emulator."""

    platform: Platform
    calendars: AccountCalendars
    network: Spoiling
    _own: str = ""
    _names: dict[str, str] = field(default_factory=dict)

    @property
    def diary(self) -> Diary:
        return Diary(self.platform)

    @property
    def renews(self) -> bool:
        return self.platform.name == "microsoft"

    def token(self) -> str:
        return self.platform.token()

    def own(self) -> str:
        self._own = self._own or self.platform.primary
        return self._own

    def removed_calendar(self) -> str:
        calendar = self.diary.other("Team")
        self.platform.control("DELETE", f"/calendars/{quote(calendar, safe='')}")
        return calendar

    def put(self, title: str, start: datetime, *, weeks: int = 0) -> str:
        """Graph's ids that stay are others than those that its pages know events by."""
        name = self.diary.plan(title, start=start, weekly=weeks)
        if self.diary.is_google:
            return name
        shown = self.platform.control("GET", f"/events/{quote(name, safe='')}")
        return str(shown["_emulator"]["immutable_id"])

    def retitle(self, event: str, title: str) -> None:
        self.diary.change(event, title=title)

    def remove(self, event: str, *, on: datetime | None = None) -> None:
        self.diary.delete(event, on=on)

    def spoil(self, event: str) -> None:
        self.diary.change(event, title="Odd indeed")
        self.network.spoiled.add(event)

    def small_pages(self) -> None:
        raise NotImplementedError  # each platform has a way of its own

    def forget_cursors(self) -> None:
        self.diary.forget_cursors()

    def unknown_cursor(self) -> str:
        raise NotImplementedError  # each platform has a way of its own

    def lose_consent(self) -> None:
        self.platform.control("POST", "/oauth/revoke", {"account": ANNA, "access_too": True})

    def be_busy(self) -> None:
        raise NotImplementedError  # each platform has a way of its own

    def be_away(self) -> None:
        self.platform.control("POST", "/faults", {"kind": "html", "status": 502})

    def secrets(self) -> list[str]:
        raise NotImplementedError  # each platform has a way of its own


class GoogleWorld(EmulatedAccounts):
    def small_pages(self) -> None:
        self.platform.control("PATCH", "/limits", {"page_size_max": 2})

    def unknown_cursor(self) -> str:
        return "made-up"

    def be_busy(self) -> None:
        self.platform.control("POST", "/faults", {"status": 403, "reason": "rateLimitExceeded"})

    def secrets(self) -> list[str]:
        return [one["token"] for one in self.platform.control("GET", "/channels") if one["live"]]


class MicrosoftWorld(EmulatedAccounts):
    def small_pages(self) -> None:
        """Have us ask for two: Graph gives as many as are asked for."""

    def unknown_cursor(self) -> str:
        calendar = quote(self.own(), safe="")
        return f"{self.platform.url}/v1.0/me/calendars/{calendar}/calendarView/delta?$deltatoken=x"

    def be_busy(self) -> None:
        self.platform.control("POST", "/faults", {"status": 429, "retry_after": 7})

    def secrets(self) -> list[str]:
        return [one["clientState"] for one in self.platform.control("GET", "/subscriptions")]


@contextmanager
def emulated_accounts(platform: Platform, push_url: str) -> Iterator[EmulatedAccounts]:
    platform.freeze(NOON)
    platform.control("PATCH", "/switches", USUAL[platform.name])
    network = Spoiling()
    kind = {"google": GoogleWorld, "microsoft": MicrosoftWorld}[platform.name]
    with build_client(transport=network) as http:
        calendars = platform.calendars
        assert isinstance(calendars, GoogleCalendars | MicrosoftCalendars)
        yield kind(platform, replace(calendars, http=http, notify_url=push_url), network)


#: Whether a removed occurrence is told at all is a switch of its own; see the pitfalls.
USUAL: Mapping[str, Mapping[str, object]] = {
    "google": {},
    "microsoft": {"deleted_occurrence_in_delta": "series"},
}


class TestGoogleCalendars(AccountCalendarsContract):
    @pytest.fixture
    def world(self, google: Platform, push_url: str) -> Iterator[AccountsWorld]:
        with emulated_accounts(google, push_url) as world:
            yield world


class TestMicrosoftCalendars(AccountCalendarsContract):
    @pytest.fixture
    def world(
        self, microsoft: Platform, push_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[AccountsWorld]:
        monkeypatch.setattr("worker.providers.microsoft.PAGE_SIZE", 2)
        with emulated_accounts(microsoft, push_url) as world:
            yield world


@dataclass
class EmulatedConsents:
    """An AuthorityWorld on an emulator."""

    platform: Platform
    authority: Authority = field(init=False)
    _calls: int = 0

    def __post_init__(self) -> None:
        authority = self.platform.authority
        assert isinstance(authority, GoogleAuthority | MicrosoftAuthority)
        self.authority = replace(authority, count=self._count)

    @property
    def app(self) -> OAuthApp:
        return self.platform.app

    @property
    def takes_back(self) -> bool:
        return self.platform.name == "google"

    def scopes(self) -> tuple[str, ...]:
        return scopes_to_ask(self.platform.name, "direct")

    def agree(self) -> str:
        return self.platform.agree()

    def end_consents(self) -> None:
        self.platform.control("POST", "/oauth/revoke", {"account": ANNA})

    def be_away(self) -> None:
        for where in ("/faults", "/oauth/faults"):
            self.platform.control("POST", where, {"kind": "html", "status": 503})

    def calls(self) -> int:
        return self._calls

    def _count(self, _provider: str, _operation: str, _status: str, _seconds: float) -> None:
        self._calls += 1


class TestGoogleAuthority(AuthorityContract):
    @pytest.fixture
    def world(self, google: Platform) -> AuthorityWorld:
        return EmulatedConsents(google)


class TestMicrosoftAuthority(AuthorityContract):
    @pytest.fixture
    def world(self, microsoft: Platform) -> AuthorityWorld:
        return EmulatedConsents(microsoft)
