"""The authorisation server of the proof: where it is installed, how it runs, and the record it keeps."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.faults.servers import Server

SOURCES = Path(__file__).parent / "authority"
CLIENT_ID, CLIENT_SECRET = "punctual", "the-secret-of-the-proof"
OLDEST_NODE = 20
INSTALL_WITHIN_S = 100
#: An offline machine shall know within seconds that it is one.
NPM = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=2")
NPM_WAITS = ("--fetch-retry-mintimeout=500", "--fetch-retry-maxtimeout=2000", "--fetch-timeout=20000")


class Unavailable(Exception):
    """The server cannot run on this machine; the text says why."""


@dataclass(frozen=True)
class Manners:
    """How the server behaves: seconds an access token lives, and how slow a refresh may be."""

    redirect_uri: str
    life_s: int = 2
    slowest_ms: int = 80


class AuthorityServer(Server):
    """node-oidc-provider with rotation and reuse detection, in a process of its own."""

    name = "authority"

    def __init__(self, folder: Path, manners: Manners) -> None:
        super().__init__(folder)
        self.manners = manners
        self.node, self.library = installed()
        self.record = folder / "authority.jsonl"

    @classmethod
    @contextmanager
    def running(cls, folder: Path, manners: Manners) -> Iterator[AuthorityServer]:
        """Run a server for the length of a `with` block."""
        server = cls(folder, manners)
        try:
            server.start()
            yield server
        finally:
            server.kill()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def records(self) -> list[dict[str, Any]]:
        """Read what the server has written down so far."""
        return read_lines(self.record)

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz", timeout=2, trust_env=False).is_success
        except httpx.TransportError:
            return False

    def _launch(self, log: Any) -> subprocess.Popen[bytes]:
        wish = {
            "port": self.port,
            "clientId": CLIENT_ID,
            "clientSecret": CLIENT_SECRET,
            "redirectUri": self.manners.redirect_uri,
            "life": self.manners.life_s,
            "slowestMs": self.manners.slowest_ms,
        }
        return subprocess.Popen(
            [self.node, str(SOURCES / "server.mjs"), self.library, self.record, json.dumps(wish)],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read a file of JSON lines that somebody may still be writing; nothing when it is not there yet."""
    whole, _, _ = path.read_text().rpartition("\n") if path.exists() else ("", "", "")
    return [json.loads(line) for line in whole.splitlines()]


def installed() -> tuple[str, Path]:
    """
    Return Node and the folder in which the locked packages are, installed there the first time.

    They are kept in the user's cache, by the lock's content. Unavailable when there is no Node, or
    no way to the packages.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise Unavailable("Node.js and npm are not installed")
    version = _said_by(node, "--version")
    found = re.match(r"v(\d+)", version)
    if found is None or int(found[1]) < OLDEST_NODE:
        raise Unavailable(f"Node.js {OLDEST_NODE} or newer is needed, this is {version}")
    digest = hashlib.sha256((SOURCES / "package-lock.json").read_bytes()).hexdigest()[:16]
    home = _cache() / f"authority-{digest}"
    if not home.exists():
        _install(npm, home)
    return node, home


def _install(npm: str, home: Path) -> None:
    """Install beside the place and move it there whole: a half of it would be taken for all."""
    beginning = Path(tempfile.mkdtemp(prefix="installing-", dir=home.parent))
    try:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(SOURCES / name, beginning)
        done = subprocess.run(
            [npm, *NPM, *NPM_WAITS],
            cwd=beginning,
            capture_output=True,
            text=True,
            timeout=INSTALL_WITHIN_S,
            check=False,
        )
        if done.returncode != 0:
            raise Unavailable(f"npm ci failed: {_first_error(done.stderr)}")
        try:
            beginning.rename(home)
        except OSError:
            if not home.exists():  # else somebody else was faster
                raise
    except subprocess.TimeoutExpired:
        raise Unavailable(f"npm ci did not end within {INSTALL_WITHIN_S} s") from None
    finally:
        shutil.rmtree(beginning, ignore_errors=True)


def _cache() -> Path:
    chosen = os.environ.get("XDG_CACHE_HOME")
    cache = (Path(chosen) if chosen else Path.home() / ".cache") / "punctual"
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="punctual-"))
    return cache


def _said_by(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout.strip()


def _first_error(said: str) -> str:
    errors = [line for line in said.splitlines() if line.startswith("npm error")]
    return " ".join(errors[:2])[:300] or "without a word"
