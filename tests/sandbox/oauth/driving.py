"""Drive an authorisation server in tests: a browser that reads and posts pages, and token calls."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import httpx
from starlette.applications import Starlette

from worker.sandbox.oauth.control import oauth_control
from worker.sandbox.oauth.flavours import GOOGLE, MICROSOFT, Flavour
from worker.sandbox.oauth.grants import Client
from worker.sandbox.oauth.routes import routes
from worker.sandbox.oauth.server import AuthorizationServer
from worker.sandbox.recall.clock import Clock

BASE_URL = "http://accounts.test"
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
BACK = "https://app.example/oauth/callback"
CLIENT = Client("client-1", "secret-1", (BACK,))
READ_EVENTS = "https://www.googleapis.com/auth/calendar.events.readonly"
READ_LIST = "https://www.googleapis.com/auth/calendar.calendarlist.readonly"
READ_GRAPH = "https://graph.microsoft.com/Calendars.Read"


class Forms(HTMLParser):
    """Read the first form of a page: where it goes, what a browser would send, and links."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action = ""
        self.fields: list[tuple[str, str]] = []
        self.choices: list[tuple[str, str]] = []
        self.disabled: list[str] = []
        self.buttons: list[tuple[str, str]] = []
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        facts = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.action = facts.get("action", "")
        elif tag == "a":
            self.links.append(facts.get("href", ""))
        elif tag == "button" and facts.get("name"):
            self.buttons.append((facts["name"], facts.get("value", "")))
        elif tag == "input" and facts.get("name"):
            pair = (facts["name"], facts.get("value", ""))
            if facts.get("type") in ("checkbox", "radio"):
                self.choices.append(pair)
            if "disabled" in facts:
                self.disabled.append(facts["value"])
            elif facts.get("type") not in ("checkbox", "radio") or "checked" in facts:
                self.fields.append(pair)


@dataclass(slots=True)
class Provider:
    """An authorisation server whose clock moves only by `pass_`."""

    flavour: Flavour = GOOGLE
    clock: Clock = field(default_factory=lambda: Clock(NOW))
    server: AuthorizationServer = field(init=False)
    app: Any = None
    authorize_path: str = "/authorize"
    token_path: str = "/token"

    def __post_init__(self) -> None:
        self.server = AuthorizationServer(self.flavour, self.clock)
        self.server.chance.seed(1)
        self.server.add_client(CLIENT)
        self.server.add_account("anna@example.com", name="Anna Berg")
        if self.flavour is MICROSOFT:
            self.authorize_path = "/common/oauth2/v2.0/authorize"
            self.token_path = "/common/oauth2/v2.0/token"
            listed = routes(
                self.server,
                authorize="/{tenant}/oauth2/v2.0/authorize",
                token="/{tenant}/oauth2/v2.0/token",
                userinfo="/oidc/userinfo",
                admin_consent="/{tenant}/v2.0/adminconsent",
            )
        else:
            listed = routes(
                self.server,
                authorize="/authorize",
                token="/token",
                revoke="/revoke",
                userinfo=("/oauth2/v3/userinfo", "/v1/userinfo"),
            )
        self.app = Starlette(routes=[*listed, *oauth_control(self.server)])

    def call(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def one() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client:
                return await client.request(method, path, **more)

        return asyncio.run(one())

    def control(self, method: str, path: str, json: Any = None) -> Any:
        return self.call(method, f"/_emulator/oauth{path}", json=json).raise_for_status().json()

    def pass_(self, **span: float) -> None:
        self.clock.at = self.clock.now() + timedelta(**span)

    def asking(self, **more: str) -> str:
        """Return the URL an application sends a browser to; "" leaves a parameter out."""
        scopes = f"openid {READ_GRAPH} offline_access" if self.flavour is MICROSOFT else READ_EVENTS
        wish = {
            "client_id": CLIENT.client_id,
            "redirect_uri": BACK,
            "response_type": "code",
            "scope": scopes,
            "state": "s t/1",
            "access_type": "offline",
        } | more
        path = wish.pop("path", self.authorize_path)
        return f"{path}?{urlencode({name: value for name, value in wish.items() if value})}"

    def page(self, **more: str) -> Forms:
        answer = self.call("GET", self.asking(**more))
        assert answer.status_code == 200, answer.text
        return Forms(answer.text)

    def submit(
        self, form: Forms, decision: str = "allow", *, without: tuple[str, ...] = (), account: str = ""
    ) -> httpx.Response:
        """Post a page as a browser does, after unticking *without* and picking *account*."""
        sent = [pair for pair in form.fields if pair[1] not in without]
        if account:
            sent = [pair for pair in sent if pair[0] != "account"] + [("account", account)]
        sent.append(("decision", decision))
        body = urlencode(sent)
        kind = {"content-type": "application/x-www-form-urlencoded"}
        return self.call("POST", urljoin(BASE_URL, form.action), content=body, headers=kind)

    def code(self, **more: str) -> str:
        """Go through consent and return the code the browser comes back with."""
        answer = self.call("GET", self.asking(**more))
        if answer.status_code == 200:
            answer = self.submit(Forms(answer.text))
        return came_back(answer)["code"]

    def token(self, **form: str) -> httpx.Response:
        wish = {"client_id": CLIENT.client_id, "client_secret": CLIENT.client_secret} | form
        sent = {name: value for name, value in wish.items() if value}
        return self.call("POST", self.token_path, data=sent)

    def redeem(self, code: str, /, **form: str) -> httpx.Response:
        return self.token(
            **({"grant_type": "authorization_code", "code": code, "redirect_uri": BACK} | form)
        )

    def refresh(self, refresh_token: str, **form: str) -> httpx.Response:
        return self.token(**({"grant_type": "refresh_token", "refresh_token": refresh_token} | form))

    def tokens(self, **more: str) -> dict[str, Any]:
        """Connect once and return the tokens."""
        answer: dict[str, Any] = self.redeem(self.code(**more)).raise_for_status().json()
        return answer


def came_back(answer: httpx.Response) -> dict[str, str]:
    """Return what an application learns from the redirect it gets."""
    assert answer.status_code == 302, answer.text
    location = answer.headers["location"]
    assert location.startswith(BACK)
    return {name: values[-1] for name, values in parse_qs(urlsplit(location).query).items()}


def challenge_of(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def claims_in(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return claims
