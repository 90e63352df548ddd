"""Verbs beside `punctual up`: they share its embedded database and leave it running."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import NullPool, create_engine, text

from models.db import driver_url
from worker.commands.session import beside_up
from worker.oauth_clients import default_app
from worker.ports_direct import OAuthApp
from worker.settings import Settings
from worker.standing_up import environment_for_tree

CODE = Path(__file__).resolve().parents[2]
UP = Settings.model_validate({"admin_api_key": "an-admin-key-of-the-tests"})


@pytest.fixture
def data_dir() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="punctual-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def begin(data_dir: Path, *arguments: str) -> subprocess.Popen[str]:
    around = {name: value for name, value in os.environ.items() if not name.startswith("PUNCTUAL_")}
    return subprocess.Popen(
        [sys.executable, "-m", "worker.cli", *arguments],
        env={**around, "PUNCTUAL_DATA_DIR": str(data_dir), "PYTHONPATH": str(CODE)},
        cwd=data_dir,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(data_dir: Path, *arguments: str) -> str:
    process = begin(data_dir, *arguments)
    said, wrong = process.communicate(timeout=60)
    assert process.returncode == 0, wrong
    return said


def wait_until_attached(data_dir: Path, pid: int) -> None:
    handles = data_dir / "postgres" / ".handle_pids.json"
    end = time.monotonic() + 30
    while pid not in json.loads(handles.read_text() or "[]") and time.monotonic() < end:
        time.sleep(0.05)


def answers(url: str) -> bool:
    engine = create_engine(driver_url(url), poolclass=NullPool)
    with engine.connect() as connection:
        return bool(connection.execute(text("SELECT true")).scalar_one())


def test_verbs_share_the_database_of_a_running_installation(data_dir: Path) -> None:
    settings = UP.model_copy(update={"data_dir": data_dir})
    with environment_for_tree(settings) as environment:
        keys = json.loads(run(data_dir, "keys", "api", "list", "--json"))
        tail = begin(data_dir, "events", "tail", "--after", "0")
        wait_until_attached(data_dir, tail.pid)
        tail.terminate()
        tail.communicate(timeout=20)

        assert [key["name"] for key in keys] == ["PUNCTUAL_ADMIN_API_KEY"]
        assert tail.returncode == 143
        assert answers(environment["PUNCTUAL_DATABASE_URL"])

    assert not (data_dir / "postgres" / "postmaster.pid").exists()


def test_a_verb_alone_starts_the_database_and_stops_it_again(data_dir: Path) -> None:
    settings = UP.model_copy(update={"data_dir": data_dir})
    with environment_for_tree(settings):
        pass

    rules = json.loads(run(data_dir, "rules", "show", "--json"))

    assert rules["select"] == []
    assert not (data_dir / "postgres" / "postmaster.pid").exists()


def test_verbs_beside_a_sandbox_know_what_it_emulates(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.commands.session._listens", lambda *_: True)
    own = {"microsoft_client_id": "ours", "microsoft_client_secret": "hush"}

    sandboxed = Settings(_env_file=None).model_copy(
        update=beside_up(Settings(_env_file=None), data_dir, "postgresql://")
    )
    partly = beside_up(Settings(_env_file=None, **own), data_dir, "postgresql://")  # type: ignore[arg-type]  # parsed

    assert sandboxed.recall_base_url == "http://127.0.0.1:8090"
    assert sandboxed.google_api_url == sandboxed.google_oauth_url == "http://127.0.0.1:8091"
    assert sandboxed.microsoft_graph_url == "http://127.0.0.1:8092"
    assert default_app(sandboxed, "google") == OAuthApp("google", "sandbox-client", "sandbox-secret")
    assert not any(name.startswith("microsoft") for name in partly)
