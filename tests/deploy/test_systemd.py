"""The units: hardened alike, stopped in order, with time to do so."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.reading import DEPLOY
from worker.cli import main
from worker.processes import STOP_WITHIN_S

UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
HARDENED = {
    "NoNewPrivileges=yes",
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "CapabilityBoundingSet=",
    "StateDirectory=punctual",
    "User=punctual",
    "KillSignal=SIGTERM",
    "TimeoutStopSec=30",
    "SystemCallFilter=@system-service",
    "RestrictSUIDSGID=yes",
}


def lines_of(unit: Path) -> set[str]:
    return set(unit.read_text(encoding="utf-8").splitlines())


def command_of(unit: Path) -> str:
    (start,) = [line for line in lines_of(unit) if line.startswith("ExecStart=")]
    return start.split("/punctual ", 1)[1].split()[0]


def test_there_is_a_unit_for_each_way_to_run() -> None:
    assert [unit.name for unit in UNITS] == [
        "punctual-migrate.service",
        "punctual-serve.service",
        "punctual-work.service",
        "punctual.service",
    ]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_it_is_hardened(unit: Path) -> None:
    assert lines_of(unit) >= HARDENED
    assert any(line.startswith("MemoryMax=") for line in lines_of(unit))


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_it_starts_a_command_there_is(unit: Path) -> None:
    assert command_of(unit) in main.commands


def test_supervisors_wait_longer_than_we_take() -> None:
    assert STOP_WITHIN_S < 30


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_understands_it(unit: Path, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd-analyze")
    copy = tmp_path / unit.name
    copy.write_text(
        unit.read_text(encoding="utf-8").replace("/opt/punctual/.venv/bin/punctual", "/bin/true")
    )

    verified = subprocess.run(
        [analyze, "verify", "--man=no", str(copy)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert unit.name not in verified.stderr
    assert str(copy) not in verified.stderr
