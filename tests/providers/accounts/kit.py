"""Emulators on loopback, and our adapters before them: what an account's owner would do, in short."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import httpx
from starlette.applications import Starlette

from models.domain.scopes import scopes_to_ask
from models.domain.times import rfc3339
from tests.fakes import FakeAllowance
from worker.clock import utc_now
from worker.http import build_client
from worker.ports_direct import AccountCalendars, Authority, Consent, OAuthApp, Reading, Window
from worker.providers.google import GoogleCalendars
from worker.providers.microsoft import MicrosoftCalendars
from worker.providers.oauth import GoogleAuthority, MicrosoftAuthority
from worker.sandbox.google.app import create_google
from worker.sandbox.microsoft.app import create_microsoft
from worker.sandbox.server import running

ANNA = "anna@example.com"
REDIRECT = "http://127.0.0.1:9/oauth/callback"
VERIFIER = "v" * 50
MEET = "https://meet.google.com/abc-defg-hij"


@dataclass
class Platform:
    """One emulated platform with Anna on it, and our adapters for it."""

    name: str
    url: str
    http: httpx.Client
    authority: Authority
    calendars: AccountCalendars
    allowance: FakeAllowance
    app: OAuthApp
    tokens: dict[str, str] = field(default_factory=dict)
    _usual: Mapping[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self._usual = {what: self.control("GET", what) for what in ("/switches", "/limits")}

    def control(self, method: str, path: str, body: object = None) -> Any:
        answer = self.http.request(method, f"{self.url}/_emulator{path}", json=body)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def reset(self) -> None:
        """Begin anew: the machine's clock, usual manners, Anna, our client, and people who always agree."""
        self.control("POST", "/clock", {"mode": "real"})
        self.control("POST", "/reset", {"seed": 1})
        for what in ("/faults", "/oauth/faults", "/oauth/manners"):
            self.control("DELETE", what)
        for what, usual in self._usual.items():
            self.control("PATCH", what, usual)
        client = {"client_id": self.app.client_id, "client_secret": self.app.client_secret}
        self.control("POST", "/oauth/clients", {**client, "redirect_uris": [REDIRECT]})
        self.control("POST", "/accounts", {"email": ANNA})
        self.control("PUT", "/oauth/manners", {"auto_consent": True})
        self.tokens.clear()

    def freeze(self, at: datetime) -> None:
        """Let the platform's clock stand still."""
        self.control("POST", "/clock", {"now": rfc3339(at)})

    def agree(self, via: str = "direct", state: str = "state-1") -> str:
        """Send Anna's browser to the consent page; the code that it brings back is returned."""
        asked = Consent(state, _challenge(), REDIRECT, scopes_to_ask(self.name, via), ANNA)
        answer = self.http.get(self.authority.consent_url(self.app, asked))
        assert answer.status_code in {302, 303}, answer.text
        told = parse_qs(urlsplit(answer.headers["location"]).query)
        assert told["state"] == [state]
        return told["code"][0]

    def token(self) -> str:
        """Return an access token of Anna's."""
        if "anna" not in self.tokens:
            given = self.authority.redeem(
                self.app, self.agree(), redirect_uri=REDIRECT, verifier=VERIFIER
            )
            self.tokens["anna"] = given.access_token
        return self.tokens["anna"]

    @property
    def primary(self) -> str:
        return next(one.external_id for one in self.calendars.calendars(self.token()) if one.is_primary)

    def put(self, title: str = "Weekly", *, start: datetime | None = None, **wish: Any) -> str:
        """Put an hour's meeting into Anna's calendar; its id is returned."""
        begin = start or (utc_now() + timedelta(days=1)).replace(microsecond=0)
        body = {
            ("summary" if self.name == "google" else "title"): title,
            "start": rfc3339(begin),
            "end": rfc3339(begin + timedelta(hours=1)),
            "link": MEET,
            **wish,
        }
        made = self.control("POST", f"/calendars/{quote(self.primary, safe='')}/events", body)
        return str(made["id"])

    def change(self, event: str, **wish: Any) -> None:
        self.control("PATCH", self._path_of(event), wish)

    def delete(self, event: str) -> None:
        self.control("DELETE", self._path_of(event))

    def _path_of(self, event: str) -> str:
        of_calendar = f"/calendars/{quote(self.primary, safe='')}" if self.name == "google" else ""
        return f"{of_calendar}/events/{quote(event, safe='')}"

    def read_all(self) -> list[Reading]:
        return list(self.calendars.read_all(self.token(), self.primary, window(), email=ANNA))

    def read_changes(self, cursor: str) -> list[Reading]:
        found = self.calendars.read_changes(self.token(), self.primary, cursor, window(), email=ANNA)
        return list(found)


def window() -> Window:
    now = utc_now()
    return Window(now - timedelta(days=1), now + timedelta(days=35))


def titles(readings: list[Reading]) -> list[str]:
    return sorted(found.event.title for reading in readings for found in reading.events)


def cursor_of(readings: list[Reading]) -> str:
    cursor = readings[-1].cursor
    assert cursor is not None
    return cursor


def _nobody_listens(app: Starlette) -> Starlette:
    return app


@contextmanager
def running_google(listening: Callable[[Starlette], Starlette] = _nobody_listens) -> Iterator[Platform]:
    """Serve Google; whoever is *listening* hears everything that is said to it, and what it says."""
    allowance = FakeAllowance()
    with running(lambda url: listening(create_google(base_url=url))) as url, build_client() as http:
        authority = GoogleAuthority(accounts_url=url, oauth_url=url, api_url=url, http=http)
        calendars = GoogleCalendars(
            api_url=url, http=http, allowance=allowance, notify_url="http://127.0.0.1:9/push"
        )
        app = OAuthApp("google", "client-1", "secret-1")
        yield Platform("google", url, http, authority, calendars, allowance, app)


@contextmanager
def running_microsoft(
    listening: Callable[[Starlette], Starlette] = _nobody_listens,
) -> Iterator[Platform]:
    """Serve Microsoft, likewise."""
    allowance = FakeAllowance()
    with running(lambda url: listening(create_microsoft(base_url=url))) as url, build_client() as http:
        authority = MicrosoftAuthority(login_url=url, graph_url=url, http=http)
        calendars = MicrosoftCalendars(
            graph_url=url, http=http, allowance=allowance, notify_url="http://127.0.0.1:9/push"
        )
        app = OAuthApp("microsoft", "client-2", "secret-2", "common")
        yield Platform("microsoft", url, http, authority, calendars, allowance, app)


def _challenge() -> str:
    digest = hashlib.sha256(VERIFIER.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
