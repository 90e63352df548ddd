"""
Our adapters' way to consents and tokens, beside somebody else's emulator of both platforms.

npm's `emulate` knows nothing of cursors, channels or Graph calendars, and answers any bearer; its
consent pages and token endpoints are what it is asked about.
"""

from __future__ import annotations

import re
import socket
import subprocess
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.node import Packages
from worker.errors import ConsentLost
from worker.ports_direct import Authority, Consent, OAuthApp
from worker.providers.oauth import GoogleAuthority, MicrosoftAuthority

REDIRECT = "http://127.0.0.1:9/oauth/callback"
VERIFIER = "v" * 64
CHALLENGE = urlsafe_b64encode(sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
SEED = f"""
{{name}}:
  users: [{{{{email: anna@example.com, name: Anna}}}}]
  oauth_clients: [{{{{client_id: client, client_secret: secret, redirect_uris: ["{REDIRECT}"]}}}}]
"""


@dataclass(frozen=True, slots=True)
class Foreign:
    """One platform as `emulate` has it, our adapter for it, and a browser."""

    name: str
    url: str
    authority: Authority
    app: OAuthApp
    browser: httpx.Client

    def agree(self) -> str:
        """Choose the first account on the consent page; the code is returned."""
        scopes = ("openid", "email", "offline_access")
        asked = Consent("our state", CHALLENGE, REDIRECT, scopes)
        page = self.browser.get(self.authority.consent_url(self.app, asked))
        assert page.is_success, page.text[-300:]
        fields = dict(re.findall(r'<input[^>]*name="([^"]+)"[^>]*value="([^"]*)"', page.text))
        (action, *_) = re.findall(r'<form[^>]*action="([^"]+)"', page.text)
        back = self.browser.post(f"{self.url}{action}", data=fields)
        answer = parse_qs(urlsplit(back.headers["location"]).query)
        assert answer["state"] == ["our state"]
        return answer["code"][0]


@pytest.fixture(scope="module", params=["google", "microsoft"])
def foreign(
    request: pytest.FixtureRequest, packages: Packages, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Foreign]:
    name: str = request.param
    folder = tmp_path_factory.mktemp(name)
    with _emulating(packages, name, folder) as url, httpx.Client(timeout=20, trust_env=False) as http:
        tenantless = httpx.Client(timeout=20, trust_env=False, event_hooks={"request": [_tenantless]})
        authority: Authority = (
            GoogleAuthority(url, f"{url}/oauth2", url, http)
            if name == "google"
            else MicrosoftAuthority(url, url, tenantless)
        )
        yield Foreign(name, url, authority, OAuthApp(name, "client", "secret"), tenantless)
        tenantless.close()


def test_a_code_becomes_tokens_that_can_be_refreshed(foreign: Foreign) -> None:
    tokens = foreign.authority.redeem(
        foreign.app, foreign.agree(), redirect_uri=REDIRECT, verifier=VERIFIER
    )

    assert tokens.refresh_token
    fresh = foreign.authority.refresh(foreign.app, tokens.refresh_token)

    assert fresh.access_token != tokens.access_token
    assert fresh.expires_in.total_seconds() > 0


def test_whoever_rotates_refresh_tokens_refuses_the_old_one(foreign: Foreign) -> None:
    tokens = foreign.authority.redeem(
        foreign.app, foreign.agree(), redirect_uri=REDIRECT, verifier=VERIFIER
    )
    assert tokens.refresh_token
    fresh = foreign.authority.refresh(foreign.app, tokens.refresh_token)

    if foreign.name == "google":
        assert fresh.refresh_token is None
        return
    assert fresh.refresh_token not in {None, tokens.refresh_token}
    with pytest.raises(ConsentLost):
        foreign.authority.refresh(foreign.app, tokens.refresh_token)


def test_a_code_works_once(foreign: Foreign) -> None:
    code = foreign.agree()
    foreign.authority.redeem(foreign.app, code, redirect_uri=REDIRECT, verifier=VERIFIER)

    with pytest.raises(ConsentLost):
        foreign.authority.redeem(foreign.app, code, redirect_uri=REDIRECT, verifier=VERIFIER)


def test_a_code_without_its_verifier_is_refused(foreign: Foreign) -> None:
    with pytest.raises(ConsentLost):
        foreign.authority.redeem(foreign.app, foreign.agree(), redirect_uri=REDIRECT, verifier="w" * 64)


def test_a_refresh_token_that_nobody_gave_is_refused(foreign: Foreign) -> None:
    with pytest.raises(ConsentLost):
        foreign.authority.refresh(foreign.app, "never given")


def test_a_consent_is_given_back_where_the_platform_lets_us(foreign: Foreign) -> None:
    tokens = foreign.authority.redeem(
        foreign.app, foreign.agree(), redirect_uri=REDIRECT, verifier=VERIFIER
    )
    assert tokens.refresh_token

    foreign.authority.revoke(foreign.app, tokens.refresh_token)

    if foreign.name == "microsoft":  # has no revocation
        assert foreign.authority.refresh(foreign.app, tokens.refresh_token).access_token
        return
    with pytest.raises(ConsentLost):
        foreign.authority.refresh(foreign.app, tokens.refresh_token)


def _tenantless(request: httpx.Request) -> None:
    """Leave the tenant out of paths: `emulate` has Microsoft's endpoints without one."""
    path = request.url.raw_path.decode()
    request.url = request.url.copy_with(raw_path=path.replace("/common/", "/", 1).encode())


@contextmanager
def _emulating(packages: Packages, name: str, folder: Path) -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    seed = folder / "seed.yaml"
    seed.write_text(SEED.format(name=name))
    script = packages.home / "node_modules" / "emulate" / "dist" / "index.js"
    log = folder / "emulate.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [packages.node, str(script), "start", "-s", name, "-p", str(port), "--seed", str(seed)],
            stdout=said,
            stderr=said,
            cwd=folder,
        )
        try:
            _wait_for(port, process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 40
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(log.read_text())
