"""An installation that knows no provider but the proof's own server, and people who connect their accounts."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import httpx
from pydantic import SecretStr
from sqlalchemy import select

from models.tables.connections import Connection
from models.tables.due import table_of
from tests.system.rig import ENCRYPTION_KEYS, KEY
from tests.tokens.server import CLIENT_ID, CLIENT_SECRET
from worker.consenting import connect_account
from worker.linking import NewLink, come_back, make_link, set_out
from worker.runtime import Runtime
from worker.settings import Settings

PLATFORM = "microsoft"
PUBLIC_URL = "https://punctual.example.com"
REDIRECT_URI = f"{PUBLIC_URL}/oauth/{PLATFORM}/callback"
#: To the consent page, from there to the server, and from there to us.
MOST_REDIRECTS = 5
CONNECTIONS = table_of(Connection)


def settings_for(database_url: str, authority_url: str) -> Settings:
    """Return the settings of an installation whose Microsoft is that server."""
    return Settings(
        _env_file=None,
        database_url=SecretStr(database_url),
        encryption_keys=SecretStr(ENCRYPTION_KEYS),
        admin_api_key=SecretStr(KEY),
        public_url=PUBLIC_URL,
        microsoft_client_id=CLIENT_ID,
        microsoft_client_secret=SecretStr(CLIENT_SECRET),
        microsoft_login_url=authority_url,
        microsoft_graph_url=authority_url,
    )


def connect_people(rt: Runtime, count: int) -> list[UUID]:
    """Have so many people connect their accounts; return the connections."""
    for number in range(count):
        _connect(rt, f"person{number}@example.com")
    with rt.db.begin() as tx:
        found = list(tx.execute(select(CONNECTIONS.c.id).order_by(CONNECTIONS.c.id)).scalars())
    assert len(found) == count
    return found


def _connect(rt: Runtime, email: str) -> None:
    """Go all the way from a link to a connected calendar: the code flow with PKCE, over HTTP."""
    link = make_link(rt, NewLink(PLATFORM, "direct", login_hint=email))
    departure = set_out(rt, link["url"].rpartition("/")[2])
    told = parse_qs(urlsplit(_agree(departure.url)).query)
    arrival = come_back(rt, PLATFORM, told["state"][0], departure.browser)
    connect_account(rt, arrival, told["code"][0])


def _agree(consent_url: str) -> str:
    """Follow the server's redirects, with a browser's cookies, until one leads back to us."""
    with httpx.Client(trust_env=False) as browser:
        answer = browser.get(consent_url)
        for _ in range(MOST_REDIRECTS):
            assert answer.is_redirect, f"{answer.request.url.path}: {answer.status_code} {answer.text}"
            target = answer.headers["location"]
            if target.startswith(REDIRECT_URI):
                return target
            answer = browser.get(answer.request.url.join(target))
    raise AssertionError("the consent leads nowhere")
