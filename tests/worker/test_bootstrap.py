"""Building an installation's ports, and letting go of them when that fails."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # it has no types
import pytest
from sqlalchemy import Engine, text

from models.db import make_engine
from worker import bootstrap
from worker.bootstrap import build, embedded_database
from worker.errors import ConfigError
from worker.settings import Settings
from worker.working import node_name

HOLDING = """
import sys, time
from pathlib import Path
from worker.bootstrap import embedded_database
with embedded_database(Path(sys.argv[1])):
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="punctual-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def kill_one_that_holds(data_dir: Path) -> None:
    """Have a process use the embedded database and die without a word."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(data_dir)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()


def postmaster(data_dir: Path) -> int:
    return int((data_dir / "postgres" / "postmaster.pid").read_text().split()[0])


def is_running(pid: int) -> bool:
    """Say whether a process runs; one that has died and was never collected does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_who_was_killed_does_not_keep_the_database_from_being_stopped(data_dir: Path) -> None:
    kill_one_that_holds(data_dir)
    pid = postmaster(data_dir)
    assert is_running(pid)

    with embedded_database(data_dir):
        assert postmaster(data_dir) == pid

    assert not is_running(pid)


def test_nor_does_who_was_killed_meanwhile(data_dir: Path) -> None:
    with embedded_database(data_dir):
        pid = postmaster(data_dir)
        kill_one_that_holds(data_dir)

    assert not is_running(pid)


def test_who_lives_keeps_the_database(data_dir: Path) -> None:
    with embedded_database(data_dir):
        listed = data_dir / "postgres" / ".handle_pids.json"
        assert json.loads(listed.read_text()) == [os.getpid()]
        bootstrap._forget_the_dead(data_dir / "postgres")

        assert json.loads(listed.read_text()) == [os.getpid()]


def test_ports_that_cannot_all_be_built_leave_no_connection(
    db: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with db.begin() as tx:
        tx.execute(text("DELETE FROM installation"))
    engines: list[Engine] = []

    def remember(url: str, **options: Any) -> Engine:
        engines.append(make_engine(url, **options))
        return engines[-1]

    monkeypatch.setattr("worker.bootstrap.make_engine", remember)
    key = base64.b64encode(b"k" * 32).decode()
    settings = Settings.model_validate({"database_url": database_url, "encryption_keys": key})

    with pytest.raises(ConfigError, match="punctual migrate"):
        build(settings)

    (engine,) = engines
    assert engine.pool.checkedin() == 0  # type: ignore[attr-defined]  # a queue pool has it


def test_a_worker_is_named_after_its_machine() -> None:
    assert node_name() == f"punctual@{socket.gethostname()}-{os.getpid()}"
