"""
Rows A16 to A18: what comes back from a consent page, where it may lead to, and what has to prove it.

A server of its own between browsers and both platforms' emulators; whether anybody was asked for tokens
is what those say. Everything bad is sent as bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.badinput.line import LONGEST_S, Answer
from tests.badinput.served import ADMIN_KEY, Served, a_server, keep_keys_at_rest, state_of
from tests.system.accounts import Platforms, running_platforms, settings_of
from webhooks.pages.connecting import COOKIE
from worker.access import ensure_admin_key

pytestmark = pytest.mark.xdist_group("badinput")

INSIDES = ("Traceback", "psycopg", "sqlalchemy", "pydantic", '.py"', "SELECT ", "httpx")
EVIL = "evil.example"


@dataclass(frozen=True)
class Way:
    """A browser that has set out to a consent page: what it was told, and what it may bring back."""

    front: Front
    platform: str
    state: str
    cookie: str
    consent_url: str

    def agree(self) -> str:
        """Say yes at the provider; the code that the browser is to bring back is returned."""
        answer = self.front.http.get(self.consent_url)
        return parse_qs(urlsplit(answer.headers["location"]).query)["code"][0]

    def back(self, query: str = "", /, *, cookies: int = 1, **said: str) -> bytes:
        """Write a callback: *query* as it is, then what is *said*, with the browser's cookie."""
        written = "&".join(part for part in (query, urlencode(said)) if part)
        cookie = [f"Cookie: {COOKIE}={self.cookie}".encode()] * cookies
        return request(f"/oauth/{self.platform}/callback?{written}", *cookie)


@dataclass(frozen=True)
class Front:
    """The server, the platforms behind it, and its database."""

    server: Served
    platforms: Platforms
    db: Engine
    http: httpx.Client

    def link(self, platform: str = "google", **wish: Any) -> httpx.Response:
        """Ask for a link."""
        wanted = {"platform": platform, "via": "direct", **wish}
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
        return self.http.post(f"{self.server.base_url}/v1/connect-links", json=wanted, headers=headers)

    def path(self, platform: str = "google", **wish: Any) -> str:
        """Make a link; where on the server it leads is returned."""
        made = self.link(platform, **wish)
        assert made.status_code == 201, made.text
        return urlsplit(str(made.json()["url"])).path

    def set_out(self, platform: str = "google", **wish: Any) -> Way:
        """Open a link as a browser does."""
        answer = self.server.ask(request(self.path(platform, **wish)))
        url = answer.headers["location"]
        cookie = answer.headers["set-cookie"].partition(";")[0].partition("=")[2]
        return Way(self, platform, parse_qs(urlsplit(url).query)["state"][0], cookie, url)

    def token_calls(self) -> int:
        """Count how often a token endpoint was asked."""
        counts = (one.control("GET", "/requests") for one in self.platforms.values())
        return sum(sum(by_operation.get("oauth.token", {}).values()) for by_operation in counts)

    def age(self, table: str, column: str) -> None:
        """Let a day have passed for a table's rows."""
        with self.db.begin() as tx:
            tx.execute(text(f"UPDATE {table} SET {column} = {column} - interval '1 day'"))


@pytest.fixture(scope="module")
def front(
    tmp_path_factory: pytest.TempPathFactory, database_url: str, clean: Engine
) -> Iterator[Front]:
    with clean.begin() as tx:
        ensure_admin_key(tx, ADMIN_KEY)
    with running_platforms() as platforms, httpx.Client(trust_env=False, timeout=10) as http:
        settings = {
            # Nobody listens there: accounts that are handed to Recall are not handed over here.
            **settings_of(platforms, RECALL_API_KEY="key", RECALL_BASE_URL="http://127.0.0.1:9"),
        }
        plain = {name.removeprefix("PUNCTUAL_"): value for name, value in settings.items()}
        with a_server(tmp_path_factory.mktemp("oauth"), database_url, **plain) as server:
            for name, platform in platforms.items():
                platform.reset()
                platform.control("PATCH", "/oauth/switches", {"plain_pkce_refused": True})
                client = {
                    "client_id": platform.app.client_id,
                    "redirect_uris": [f"{server.base_url}/oauth/{name}/callback"],
                }
                platform.control("POST", "/oauth/clients", client)
            yield Front(server, platforms, clean, http)


def request(path: str, *headers: bytes, method: bytes = b"GET", host: bytes = b"x") -> bytes:
    """Write a request by hand."""
    lines = [b"%s %s HTTP/1.1" % (method, path.encode()), b"Host: " + host, b"Connection: close"]
    return b"\r\n".join([*lines, *headers]) + b"\r\n\r\n"


def judge(front: Front, raw: bytes, way: Way) -> tuple[Answer, int]:
    """
    Send a bad request and return its answer, and how many token calls it caused.

    Whatever it says, nothing of ours shows, nothing is stored but that an attempt was used, and the
    log says neither states nor codes.
    """
    keep_keys_at_rest(front.db)
    before, asked = state_of(front.db), front.token_calls()
    front.server.new_lines()

    heard = front.server.hear(raw)

    (answer,) = heard.answers
    after = state_of(front.db)
    shown = answer.body.decode() + str(answer.headers)
    logged = str(front.server.new_lines())
    assert heard.is_closed
    assert heard.seconds <= LONGEST_S
    assert not [word for word in INSIDES if word in shown]
    assert not [word for word in INSIDES if word in logged]
    assert EVIL not in shown + logged
    assert {name for name in after if after[name] != before.get(name)} <= {"connect_attempts"}
    for secret in (way.state, way.cookie):
        assert secret not in shown
        assert secret not in logged
    return answer, front.token_calls() - asked


@dataclass(frozen=True)
class Bad:
    """
    A callback that leads nowhere, written for a browser that has set out.

    *status* and *code* are what its page has; *asks* how many token calls it costs, all of them in vain.
    """

    status: int
    code: str
    write: Callable[[Way], bytes]
    asks: int = 0


def _after(*first: Callable[[Way], bytes], then: Callable[[Way], bytes]) -> Callable[[Way], bytes]:
    """Send some callbacks before the one that is judged."""

    def write(way: Way) -> bytes:
        for one in first:
            way.front.server.ask(one(way))
        return then(way)

    return write


def _aged(table: str, column: str) -> Callable[[Way], bytes]:
    def write(way: Way) -> bytes:
        raw = good(way)
        way.front.age(table, column)
        return raw

    return write


def good(way: Way) -> bytes:
    """Write the callback of somebody who agreed."""
    return way.back(state=way.state, code=way.agree())


def _by_another(way: Way) -> bytes:
    """Bring one browser's state in another browser that has set out as well."""
    return way.front.set_out().back(state=way.state, code=way.agree())


def _with_code_of_another(way: Way) -> bytes:
    """Bring a code that another consent led to."""
    return way.back(state=way.state, code=way.front.set_out().agree())


def _with_used_code(way: Way) -> bytes:
    """Bring a code that has connected an account already."""
    other = way.front.set_out()
    code = other.agree()
    done = way.front.server.ask(other.back(state=other.state, code=code))
    assert b"is connected" in done.body
    return way.back(state=way.state, code=code)


def _at(path: str, status: int, code: str) -> Bad:
    """Come back to another path than the registered one."""

    def write(way: Way) -> bytes:
        query = urlencode({"state": way.state, "code": way.agree()})
        return request(f"{path}?{query}", f"Cookie: {COOKIE}={way.cookie}".encode())

    return Bad(status, code, write)


def _saying(status: int, page: str, query: str = "", /, *, asks: int = 0, **said: str) -> Bad:
    """Come back with the right state, and this."""
    return Bad(status, page, lambda way: way.back(query, cookies=1, state=way.state, **said), asks)


def _of_issuer(issuer: Callable[[Way], str]) -> Bad:
    return Bad(
        400,
        "platform_differs",
        lambda way: way.back(state=way.state, code=way.agree(), iss=issuer(way)),
    )


UNKNOWN, BROWSER, REFUSED = "state_unknown", "browser_differs", "code_refused"
A16: dict[str, Bad] = {
    "no query": Bad(400, UNKNOWN, lambda way: way.back()),
    "no state": Bad(400, UNKNOWN, lambda way: way.back(code=way.agree())),
    "an empty state": Bad(400, UNKNOWN, lambda way: way.back(state="", code=way.agree())),
    "a made-up state": Bad(400, UNKNOWN, lambda way: way.back(state="x" * 43, code=way.agree())),
    "a state cut short": Bad(400, UNKNOWN, lambda way: way.back(state=way.state[:-1], code="x")),
    "a long state": Bad(400, UNKNOWN, lambda way: way.back(state="x" * 5_000, code="x")),
    "a state that is no text": Bad(400, UNKNOWN, lambda way: way.back("state=%ff%fe%00", code="x")),
    "a state with half a character": Bad(
        400, UNKNOWN, lambda way: way.back("state=%ed%a0%80", code="x")
    ),
    "two states": Bad(400, UNKNOWN, lambda way: way.back("state=x", state=way.state, code="x")),
    "the state of another browser": Bad(400, BROWSER, _by_another),
    "no cookie": Bad(400, BROWSER, lambda way: way.back(cookies=0, state=way.state, code=way.agree())),
    "a state that was declined": Bad(
        400, UNKNOWN, _after(lambda way: way.back(state=way.state, error="access_denied"), then=good)
    ),
    "a state that another browser used up": Bad(
        400, UNKNOWN, _after(lambda way: way.back(cookies=0, state=way.state, code="x"), then=good)
    ),
    "a state that has connected": Bad(400, UNKNOWN, _after(good, then=good)),
    "a state that is too old": Bad(400, "attempt_expired", _aged("connect_attempts", "created_at")),
    "a state whose link has expired": Bad(410, "link_expired", _aged("connect_links", "expires_at")),
    "the person said no": _saying(200, "access_denied", error="access_denied"),
    "an error nobody knows": _saying(503, "consent_refused", error="no_such_error"),
    "an error that is a page": _saying(503, "consent_refused", error=f"<a href=//{EVIL}>x</a>"),
    "an error that breaks lines": _saying(503, "consent_refused", "error=a%0d%0ab%1b[31m%00"),
    "an error of 5 KB": _saying(400, UNKNOWN, error="x" * 5_000),
    "an error and a code": _saying(200, "access_denied", error="access_denied", code="x"),
    "neither error nor code": _saying(400, UNKNOWN),
    "an empty code": _saying(400, UNKNOWN, "code="),
    "two codes": _saying(400, UNKNOWN, "code=a", code="b"),
    "a made-up code": _saying(400, REFUSED, code="x" * 60, asks=1),
    "a code with a line break": _saying(400, REFUSED, "code=a%0d%0aX-Y:%20b", asks=1),
    "a code that is no text": _saying(400, REFUSED, "code=%ff%00", asks=1),
    "a code of 4 KB": _saying(400, REFUSED, code="x" * 4_096, asks=1),
    "a code of 5 KB": _saying(400, UNKNOWN, code="x" * 5_000),
    "a code of 10 KB": _saying(414, "", code="x" * 10_000),
    "a code that was used": Bad(400, REFUSED, _with_used_code, asks=1),
    "the code of another consent": Bad(400, REFUSED, _with_code_of_another, asks=1),
    "another issuer": _of_issuer(lambda way: f"https://{EVIL}"),
    "an issuer that begins like ours": _of_issuer(lambda way: f"{way.front.platforms['google'].url}.{EVIL}"),
    "an issuer that names us as user": _of_issuer(lambda way: f"{way.front.platforms['google'].url}@{EVIL}"),
    "the issuer of the other platform": _of_issuer(lambda way: way.front.platforms["microsoft"].url),
    "no issuer": _of_issuer(lambda way: ""),
    "the callback of the other platform": _at("/oauth/microsoft/callback", 400, "platform_differs"),
    "the callback of no platform": _at(f"/oauth/{EVIL}/callback", 404, "link_unknown"),
}  # fmt: skip


@pytest.mark.parametrize("label", A16)
def test_a16_a_callback_that_is_not_whole_ends_on_a_page_and_gets_no_tokens(
    front: Front, label: str
) -> None:
    bad, way = A16[label], front.set_out()

    answer, asked = judge(front, bad.write(way), way)

    assert (answer.status, asked) == (bad.status, bad.asks)
    assert bad.code in answer.body.decode()
    assert "location" not in answer.headers
    if bad.code:
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"


def test_a16_a_callback_is_a_question_of_a_browser_and_takes_no_posts(front: Front) -> None:
    way = front.set_out()
    raw = good(way).replace(b"GET", b"POST", 1)

    answer, asked = judge(front, raw, way)

    assert (answer.status, asked) == (405, 0)


def test_a16_whoever_agreed_is_connected(front: Front) -> None:
    """The rows above are bad by what they say they are, and by nothing else."""
    for platform in front.platforms:
        asked = front.token_calls()
        way = front.set_out(platform)

        answer = front.server.ask(good(way))

        assert b"is connected" in answer.body
        assert front.token_calls() == asked + 1


#: Where a link's maker may not send people: nowhere absolute, or not where it seems to lead.
BAD_RETURNS = (
    "",
    "/done",
    "?done",
    f"//{EVIL}",
    f"///{EVIL}",
    f"/\\{EVIL}",
    f"\\\\{EVIL}",
    f"https:{EVIL}",
    f"https:/{EVIL}",
    f"https:///{EVIL}",
    f"https:\\\\{EVIL}",
    f"https://app.example\\.{EVIL}/",
    f"https://app.example\\@{EVIL}",
    f"https://app.example/\\{EVIL}",
    f"https://app.example@{EVIL}",
    f"https://app.example:443@{EVIL}",
    f"https://:@{EVIL}",
    f"https://@{EVIL}",
    f"https://app.example\r\nLocation: https://{EVIL}",
    "https://app.example/\nSet-Cookie: a=b",
    f"ht\ttps://{EVIL}",
    f" https://{EVIL}",
    f"https://{EVIL} ",
    f"https://app.example .{EVIL}",
    f"https://app.example\u2028.{EVIL}",
    f"https://app.example\u3002{EVIL}",
    f"https://\u0430pp.example.{EVIL}",
    "https://app.example:port/",
    "https://app.example:99999/",
    "https://[::1",
    "javascript:alert(1)//https://app.example",
    "JaVaScRiPt://app.example/%0aalert(1)",
    "data:text/html,x",
    "file:///etc/passwd",
)


@pytest.mark.parametrize("url", BAD_RETURNS, ids=ascii)
def test_a17_a_link_that_would_lead_astray_is_not_made(front: Front, url: str) -> None:
    keep_keys_at_rest(front.db)
    before = state_of(front.db)

    refused = front.link(return_url=url)

    assert refused.status_code == 422
    assert refused.json()["code"] == "invalid_request"
    assert EVIL not in refused.text
    assert state_of(front.db) == before


#: What people add to an address in the hope that somebody follows it.
ASTRAY = (
    f"next=//{EVIL}",
    f"next=https:{EVIL}",
    f"return_url=https://{EVIL}/",
    f"redirect_uri=https://{EVIL}/",
    f"url=/%5c{EVIL}",
    f"return_to=https://app.example%40{EVIL}",
    f"next=%0d%0aLocation:%20https://{EVIL}",
)


@pytest.mark.parametrize("query", ASTRAY)
def test_a17_nothing_in_an_address_says_where_to_go(front: Front, query: str) -> None:
    opened = front.server.ask(request(f"{front.path()}?{query}"))
    way = front.set_out(return_url="https://app.example/done?tab=2")
    done = front.server.ask(way.back(query, state=way.state, code=way.agree()))

    assert opened.status == 302
    assert opened.headers["location"].startswith(front.platforms["google"].url + "/")
    assert done.status == 302
    assert done.headers["location"].startswith("https://app.example/done?tab=2&status=connected&")
    for answer in (opened, done):
        assert EVIL not in str(answer.headers) + answer.body.decode()


@pytest.mark.parametrize(
    "path", [f"//{EVIL}", f"/connect//{EVIL}", f"/connect/%2f%2f{EVIL}", f"/connect/..%2f{EVIL}"]
)
def test_a17_no_path_is_a_way_out(front: Front, path: str) -> None:
    answer = front.server.ask(request(path))

    assert answer.status == 404
    assert "location" not in answer.headers
    assert EVIL not in answer.body.decode()


@pytest.mark.parametrize("platform", ["google", "microsoft"])
def test_a17_people_come_back_to_the_address_of_the_settings_whatever_the_request_says(
    front: Front, platform: str
) -> None:
    spoofed = [b"X-Forwarded-Host: " + EVIL.encode(), b"Forwarded: host=" + EVIL.encode()]
    raw = request(front.path(platform), *spoofed, host=EVIL.encode())

    asked = parse_qs(urlsplit(front.server.ask(raw).headers["location"]).query)

    assert asked["redirect_uri"] == [f"{front.server.base_url}/oauth/{platform}/callback"]


@pytest.mark.parametrize(
    "change",
    [
        lambda uri: f"{uri}/",
        lambda uri: f"{uri}?next=//{EVIL}",
        lambda uri: f"{uri}#x",
        lambda uri: f"{uri}/../../{EVIL}",
        lambda uri: uri.replace("callback", "Callback"),
        lambda uri: uri.replace("callback", "%63allback"),
        lambda uri: uri.replace("http://", "https://"),
        lambda uri: uri.replace("http://", f"http://{EVIL}@"),
        lambda uri: uri.replace("127.0.0.1", "localhost"),
        lambda uri: uri.replace("127.0.0.1", f"127.0.0.1.{EVIL}"),
        lambda uri: f"https://{EVIL}/",
        lambda uri: "",
    ],
    ids=[
        *("a slash more", "a query", "a fragment", "a way up", "capitals", "escapes", "another scheme"),
        *("a user", "another name", "a longer name", "somewhere else", "none"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("platform", ["google", "microsoft"])
def test_a17_a_redirect_uri_that_is_not_the_registered_one_to_the_letter_leads_nowhere(
    front: Front, platform: str, change: Callable[[str], str]
) -> None:
    way = front.set_out(platform)

    answer = front.http.get(with_other(way.consent_url, redirect_uri=change))

    assert answer.status_code == 400
    assert "location" not in answer.headers


@pytest.mark.parametrize(
    "spell",
    [
        lambda path: f"{path}/",
        lambda path: f"/{path}",
        lambda path: path.replace("callback", "Callback"),
        lambda path: f"{path};x",
        lambda path: f"{path}%2f",
        lambda path: f"{path}/..",
    ],
    ids=["a slash more", "two slashes", "capitals", "a parameter", "an escaped slash", "a way up"],
)
def test_a17_our_side_of_it_has_one_spelling(front: Front, spell: Callable[[str], str]) -> None:
    way = front.set_out()
    path = spell("/oauth/google/callback")
    query = urlencode({"state": way.state, "code": way.agree()})
    raw = request(f"{path}?{query}", f"Cookie: {COOKIE}={way.cookie}".encode())

    answer, asked = judge(front, raw, way)

    assert (answer.status, asked) == (404, 0)
    assert "location" not in answer.headers


@pytest.mark.parametrize("via", ["direct", "recall"])
@pytest.mark.parametrize("platform", ["google", "microsoft"])
def test_a18_every_consent_is_asked_for_with_a_hashed_verifier_of_its_own(
    front: Front, platform: str, via: str
) -> None:
    ways = [front.set_out(platform, via=via) for _ in range(2)]

    asked = [parse_qs(urlsplit(way.consent_url).query, strict_parsing=True) for way in ways]

    assert [one["code_challenge_method"] for one in asked] == [["S256"], ["S256"]]
    challenges = {one["code_challenge"][0] for one in asked}
    assert len(challenges) == 2
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", challenge) for challenge in challenges)


@pytest.mark.parametrize("platform", ["google", "microsoft"])
def test_a18_a_plain_verifier_is_refused_and_nobody_asks_for_tokens(
    front: Front, platform: str
) -> None:
    """Somebody in between made the question a weaker one; the provider's refusal ends on our page."""
    way = front.set_out(platform)
    weaker = with_other(way.consent_url, code_challenge_method=lambda _: "plain")

    refused = front.http.get(weaker)
    told = urlsplit(refused.headers["location"]).query
    answer, asked = judge(front, way.back(told), way)

    assert parse_qs(told)["error"] == ["invalid_request"]
    assert (answer.status, asked) == (503, 0)
    assert "consent_refused" in answer.body.decode()


@pytest.mark.parametrize("verifier", ["none", "empty", "the challenge itself", "another"])
@pytest.mark.parametrize("platform", ["google", "microsoft"])
def test_a18_a_stolen_code_is_worth_nothing_without_its_verifier(
    front: Front, platform: str, verifier: str
) -> None:
    """Not even to somebody who knows our client's secret; and it is not used up by trying."""
    way = front.set_out(platform)
    code, app = way.agree(), front.platforms[platform].app
    challenge = parse_qs(urlsplit(way.consent_url).query)["code_challenge"][0]
    said = {
        "none": {},
        "empty": {"code_verifier": ""},
        "the challenge itself": {"code_verifier": challenge},
    }
    form = {
        "grant_type": "authorization_code",
        "client_id": app.client_id,
        "client_secret": app.client_secret,
        "redirect_uri": f"{front.server.base_url}/oauth/{platform}/callback",
        "code": code,
        **said.get(verifier, {"code_verifier": "v" * 64}),
    }

    path = "/token" if platform == "google" else "/common/oauth2/v2.0/token"
    stolen = front.http.post(front.platforms[platform].url + path, data=form)
    ours = front.server.ask(way.back(state=way.state, code=code))

    assert (stolen.status_code, stolen.json()["error"]) == (400, "invalid_grant")
    assert b"is connected" in ours.body


def with_other(url: str, **changes: Callable[[str], str]) -> str:
    """Change parameters of an address."""
    parts = urlsplit(url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    query |= {name: change(query[name]) for name, change in changes.items()}
    return urlunsplit(parts._replace(query=urlencode(query)))
