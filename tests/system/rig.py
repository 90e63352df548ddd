"""A running Punctual beside a running Recall emulator: real processes on free loopback ports."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx

T = TypeVar("T")

KEY = "pk_" + "k" * 40
SECRET = "whsec_" + b64encode(b"system test secret bytes").decode()
SANDBOX_KEY = "sandbox-key"
ENCRYPTION_KEYS = b64encode(b"e" * 32).decode()


@dataclass
class Rig:
    """What a system test talks to: our API, the emulator's control API, and the processes behind them."""

    api: httpx.Client
    emulator: httpx.Client
    processes: dict[str, subprocess.Popen[bytes]]
    environment: dict[str, str]
    logs: Path
    base_url: str
    emulator_url: str
    started: list[str] = field(default_factory=list)

    def start(self, name: str, *arguments: str) -> None:
        """Start a `punctual` process; what it says goes to a file."""
        with (self.logs / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "worker.cli", *arguments],
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self, name: str, signum: signal.Signals = signal.SIGTERM, within: float = 25) -> int:
        """Signal a process, wait for its end and return its exit code."""
        process = self.processes.pop(name)
        process.send_signal(signum)
        return process.wait(within)

    def start_and_read(self, *arguments: str) -> str:
        """Run a `punctual` command to its end and return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "worker.cli", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stdout + done.stderr

    def rules(self, **rules: Any) -> None:
        """Set the workspace's rules."""
        answer(self.api.put("/v1/rules", json={"select": ["all"], **rules}))

    def calendar(self, email: str, platform: str = "google_calendar") -> str:
        """Connect a calendar at the emulator and return Recall's id for it."""
        made = answer(self.emulator.post("/calendars", json={"email": email, "platform": platform}))
        return str(made["id"])

    def live_bots(self) -> list[dict[str, Any]]:
        """List the bots that live at the emulator."""
        bots: list[dict[str, Any]] = answer(self.emulator.get("/bots", params={"live": "true"}))
        return bots

    def requests(self) -> dict[str, dict[str, int]]:
        """Count the calls the emulator has answered, by operation and status."""
        counts: dict[str, dict[str, int]] = answer(self.emulator.get("/requests"))
        return counts

    def feed(self) -> list[dict[str, Any]]:
        """Read the whole feed of domain events."""
        events: list[dict[str, Any]] = []
        after: str | None = None
        while True:
            params = {"limit": "200", **({"after": after} if after else {})}
            page = answer(self.api.get("/v1/feed", params=params))
            if not page["data"]:
                return events
            events += page["data"]
            after = str(page["next"])

    def every(self, path: str, **params: str) -> list[dict[str, Any]]:
        """Read every page of a listing."""
        rows: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            more = {"cursor": cursor} if cursor else {}
            page = answer(self.api.get(path, params={"limit": "200", **params, **more}))
            rows += page["data"]
            cursor = page["next"]
            if not cursor:
                return rows

    def is_quiet(self) -> bool:
        """Say whether nothing is due and nothing waits to go out."""
        ready = self.api.get("/readyz").json()
        return not any(ready.get("due_oldest_seconds", {"?": 1}).values())


def answer(response: httpx.Response) -> Any:
    """Return a successful answer's JSON; anything else fails the test with what was said."""
    assert response.is_success, f"{response.request.method} {response.request.url}: {response.text}"
    return response.json() if response.content else None


def until(question: Callable[[], T], *, within: float = 20, every: float = 0.02) -> T:
    """Ask until the answer is true and return it; fail when it does not become true in time."""
    end = time.monotonic() + within
    while True:
        found = question()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not so within {within} s: last answer {found!r}")
        time.sleep(every)


@contextmanager
def running(
    folder: Path,
    database_url: str,
    *,
    broker_url: str = "memory://",
    settings: Mapping[str, str] | None = None,
    embedded: bool = False,
) -> Iterator[Rig]:
    """Run emulator, receiver and worker for the length of a `with` block."""
    port, emulator_port = free_port(), free_port()
    base_url, emulator_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{emulator_port}"
    (folder / "metrics").mkdir(parents=True, exist_ok=True)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PUNCTUAL_")},
        "PUNCTUAL_DATA_DIR": str(folder),
        "PUNCTUAL_DATABASE_URL": database_url,
        "PUNCTUAL_BROKER_URL": broker_url,
        "PUNCTUAL_HTTP_PORT": str(port),
        "PUNCTUAL_ENCRYPTION_KEYS": ENCRYPTION_KEYS,
        "PUNCTUAL_ADMIN_API_KEY": KEY,
        "PUNCTUAL_RECALL_API_KEY": SANDBOX_KEY,
        "PUNCTUAL_RECALL_BASE_URL": emulator_url,
        "PUNCTUAL_RECALL_WEBHOOK_SECRETS": SECRET,
        "PUNCTUAL_LOG_FORMAT": "json",
        "PUNCTUAL_WORK_CONCURRENCY": "4",
        "PUNCTUAL_ALLOW_PRIVATE_ENDPOINTS": "true",
        "PUNCTUAL_SANDBOX_WEBHOOK_SECRET": SECRET,
        "PROMETHEUS_MULTIPROC_DIR": str(folder / "metrics"),
        **(settings or {}),
    }
    with (
        httpx.Client(
            base_url=base_url, headers={"Authorization": f"Bearer {KEY}"}, timeout=15, trust_env=False
        ) as api,
        httpx.Client(base_url=f"{emulator_url}/_emulator", timeout=15, trust_env=False) as emulator,
    ):
        rig = Rig(api, emulator, {}, environment, folder, base_url, emulator_url)
        try:
            rig.start(
                "sandbox",
                *("sandbox", "--port", str(emulator_port)),
                *("--webhook-url", f"{base_url}/webhooks/recall"),
            )
            rig.start("migrate", "migrate")
            assert rig.processes.pop("migrate").wait(60) == 0, (folder / "migrate.log").read_text()
            in_tree = ["--in-tree"] if broker_url.startswith("memory") else []
            rig.start("serve", "serve", *in_tree)
            rig.start("work", "work", *in_tree)
            until(lambda: _answers(api, "/readyz") and _has_worker(api), within=90)
            until(lambda: _answers(emulator, "/state"), within=60)
            yield rig
        finally:
            for process in rig.processes.values():
                process.terminate()
            for process in rig.processes.values():
                try:
                    process.wait(25)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def free_port() -> int:
    """Find a port nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _answers(client: httpx.Client, path: str) -> bool:
    try:
        return client.get(path).is_success
    except httpx.TransportError:
        return False


def _has_worker(api: httpx.Client) -> bool:
    return api.get("/readyz").json().get("worker_seen_seconds_ago") is not None
