"""A few faults in their quick form with every run of the suite; `make faults` runs all of them in full."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import broker_faults, database_faults
from tests.faults.fault import Fault, Ground
from tests.faults.servers import PROGRAMS, Postgres

#: The whole module stays under a minute and a half; each of these is a kind of its own.
QUICK = ("F19", "F31")
FAULTS = {fault.name: fault for fault in (*database_faults.FAULTS, *broker_faults.FAULTS)}

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres.running() as postgres:
        yield postgres


@pytest.mark.parametrize("fault", [FAULTS[name] for name in QUICK], ids=QUICK)
def test_what_must_hold_under_a_fault_holds(fault: Fault, postgres: Postgres, tmp_path: Path) -> None:
    missing = [program for program in fault.needs if shutil.which(program, path=PROGRAMS) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    folder = tmp_path / fault.name
    folder.mkdir()

    result = fault.run(Ground(folder, postgres.fresh_database, short=True))

    assert result.passed, f"{fault.what}: {result.remarks} {dict(result.figures)}"
