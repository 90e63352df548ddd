"""
The stage of the demo: an installation of its own with real processes, in a folder that goes away.

It takes free ports and nothing from the settings around it, so a running instance is not disturbed.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from worker.processes import Child, ProcessTree
from worker.settings import Settings
from worker.standing_up import (
    SANDBOX_KEY,
    environment_for_tree,
    sandboxed_google,
    sandboxed_microsoft,
)

HOST = "127.0.0.1"
ANSWER_WITHIN_S = 10.0


class Interrupted(Exception):
    """Somebody asked the demo to stop."""


class Actor(Child):
    """A process of the stage: sees only the stage's settings, and writes into its log."""

    def start(self) -> None:
        """Start the process in the folder of its log."""
        self.started_at = time.monotonic()
        log = Path(self.environment["PUNCTUAL_DATA_DIR"]) / "processes.log"
        around = {name: value for name, value in os.environ.items() if not name.startswith("PUNCTUAL_")}
        code = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [code, around.get("PYTHONPATH")]))
        with log.open("ab") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "worker.cli", *self.arguments],
                env={**around, **self.environment, "PYTHONPATH": path},
                cwd=log.parent,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )


@dataclass(frozen=True, slots=True)
class Stage:
    """A running installation, and how to speak to it and to the sandbox behind it."""

    api: httpx.Client
    sandbox: httpx.Client
    platform: httpx.Client | None
    folder: Path
    api_key: str
    tree: ProcessTree

    def is_ready(self) -> bool:
        """Say whether receiver, database, worker and sandbox all answer."""
        try:
            ready = self.api.get("/readyz")
            self.sandbox.get("/_emulator/state").raise_for_status()
        except httpx.HTTPError:
            return False
        return (
            ready.status_code == httpx.codes.OK and ready.json()["worker_seen_seconds_ago"] is not None
        )

    def ask(self, method: str, path: str, **body: Any) -> Any:  # noqa: ANN401  # JSON
        """Make one call to the API and return what it says; raises httpx.HTTPError."""
        answer = self.api.request(method, path, json=body or None)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def control(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401  # JSON
        """Do at the sandbox what people do in their calendars; raises httpx.HTTPError."""
        answer = self.sandbox.request(method, f"/_emulator{path}", json=body)
        answer.raise_for_status()
        return answer.json()

    def control_platform(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401  # JSON
        """Do at the emulated Google or Microsoft what people do there; raises httpx.HTTPError."""
        assert self.platform is not None
        answer = self.platform.request(method, f"/_emulator{path}", json=body)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    @property
    def is_over(self) -> bool:
        return self.tree.is_stopping()

    def close(self) -> None:
        """Have every process stop."""
        self.tree.stop()

    def pause(self, seconds: float) -> None:
        """Wait a little; raises Interrupted when the demo is to stop."""
        if self.tree.is_stopping(within_s=seconds):
            raise Interrupted

    def last_words(self, lines: int = 15) -> list[str]:
        """Return the end of what the processes logged."""
        log = self.folder / "processes.log"
        return log.read_text(errors="replace").splitlines()[-lines:] if log.exists() else []


@contextmanager
def open_stage(provider: str = "recall") -> Iterator[Stage]:
    """
    Build a stage whose processes start with `run_beside`; the folder goes away at the end.

    *provider* says who holds the calendars: recall, google or microsoft.
    """
    folder = Path(tempfile.mkdtemp(prefix="punctual-"))
    try:
        settings = _settings(folder)
        (port,) = _free_ports(1)
        with environment_for_tree(settings) as known:
            environment = {**known, **_environment(settings), **_platform(provider, port)}
            key = environment["PUNCTUAL_ADMIN_API_KEY"]
            headers = {"Authorization": f"Bearer {key}"}
            with (
                httpx.Client(
                    base_url=settings.base_url,
                    headers=headers,
                    timeout=ANSWER_WITHIN_S,
                    trust_env=False,
                ) as api,
                httpx.Client(
                    base_url=settings.recall_url, timeout=ANSWER_WITHIN_S, trust_env=False
                ) as sandbox,
                httpx.Client(
                    base_url=f"http://{HOST}:{port}", timeout=ANSWER_WITHIN_S, trust_env=False
                ) as platform,
            ):
                more = [] if provider == "recall" else [f"--{provider}-port", str(port)]
                tree = ProcessTree(_actors(settings, environment, more))
                beside = None if provider == "recall" else platform
                yield Stage(api, sandbox, beside, folder, key, tree)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_beside(stage: Stage, story: threading.Thread) -> None:
    """Run the processes until the stage is closed or the program told to stop, with *story* beside them."""
    story.start()
    stage.tree.run()
    story.join()


def _settings(folder: Path) -> Settings:
    from models.sealing import new_key
    from worker.bootstrap import new_api_key

    receiver, sandbox = _free_ports(2)
    # Constructed, not validated: validating would fill the gaps from the environment and `.env`.
    return Settings.model_construct(
        data_dir=folder,
        http_host=HOST,
        http_port=receiver,
        encryption_keys=SecretStr(new_key()),
        admin_api_key=SecretStr(new_api_key()),
        recall_api_key=SecretStr(SANDBOX_KEY),
        recall_base_url=f"http://{HOST}:{sandbox}",
        recall_webhook_secrets=(SecretStr(f"whsec_{b64encode(secrets.token_bytes(24)).decode()}"),),
    )


def _environment(settings: Settings) -> dict[str, str]:
    assert settings.encryption_keys is not None
    assert settings.admin_api_key is not None
    return {
        "PUNCTUAL_DATA_DIR": str(settings.data_dir),
        "PUNCTUAL_HTTP_HOST": settings.http_host,
        "PUNCTUAL_HTTP_PORT": str(settings.http_port),
        "PUNCTUAL_ENCRYPTION_KEYS": settings.encryption_keys.get_secret_value(),
        "PUNCTUAL_ADMIN_API_KEY": settings.admin_api_key.get_secret_value(),
        "PUNCTUAL_RECALL_API_KEY": SANDBOX_KEY,
        "PUNCTUAL_RECALL_BASE_URL": settings.recall_url,
        "PUNCTUAL_RECALL_WEBHOOK_SECRETS": settings.recall_webhook_secrets[0].get_secret_value(),
        "PUNCTUAL_SANDBOX_WEBHOOK_SECRET": settings.recall_webhook_secrets[0].get_secret_value(),
        "PUNCTUAL_LOG_FORMAT": "json",
    }


def _platform(provider: str, port: int) -> dict[str, str]:
    match provider:
        case "google":
            return sandboxed_google(port)
        case "microsoft":
            return sandboxed_microsoft(port)
        case _:
            return {}


def _actors(settings: Settings, environment: dict[str, str], more: list[str]) -> list[Child]:
    webhooks = f"{settings.base_url}/webhooks/recall"
    port = settings.recall_url.rpartition(":")[2]
    for platform in ("google", "microsoft"):
        more = [*more, "--redirect-uri", f"{settings.base_url}/oauth/{platform}/callback"]
    return [
        Actor("sandbox", ["sandbox", "--port", port, "--webhook-url", webhooks, *more], environment),
        Actor("receiver", ["serve", "--in-tree"], environment),
        Actor("worker", ["work", "--in-tree"], environment),
    ]


def _free_ports(size: int) -> list[int]:
    listeners = [socket.create_server((HOST, 0)) for _ in range(size)]
    try:
        return [listener.getsockname()[1] for listener in listeners]
    finally:
        for listener in listeners:
            listener.close()
