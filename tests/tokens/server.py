"""The authorisation server of the proof: how it runs, and the record it keeps."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.faults.servers import Server
from tests.node import installed

SOURCES = Path(__file__).parent / "authority"
CLIENT_ID, CLIENT_SECRET = "punctual", "the-secret-of-the-proof"


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
        self.packages = installed(SOURCES)
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
            [
                self.packages.node,
                str(SOURCES / "server.mjs"),
                self.packages.home,
                self.record,
                json.dumps(wish),
            ],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read a file of JSON lines that somebody may still be writing; nothing when it is not there yet."""
    whole, _, _ = path.read_text().rpartition("\n") if path.exists() else ("", "", "")
    return [json.loads(line) for line in whole.splitlines()]
