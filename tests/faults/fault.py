"""
What a fault is: a name, what is done, what must hold, and the function that does it and judges.

A module named `…_faults` exports `FAULTS`, a list of `Fault`; `python -m tests.faults` runs them all.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

Figure = int | float | str


@dataclass(frozen=True)
class Ground:
    """
    Where a fault is tried.

    `folder` is the fault's own, kept when it fails. `fresh_database` returns the URL of an empty,
    migrated database on a server that is thrown away afterwards. `short` asks for the quickest form
    that can still fail; `seed` fixes what is random.
    """

    folder: Path
    fresh_database: Callable[[], str]
    short: bool = False
    seed: int = 1


@dataclass(frozen=True)
class Result:
    """
    How a fault ended: whether everything held, what was measured, what is to be said about it.

    With `impossible`, the reason why this machine cannot do such a fault, nothing was judged.
    """

    passed: bool
    figures: Mapping[str, Figure] = field(default_factory=dict)
    remarks: str = ""
    impossible: str = ""
    seconds: float = 0.0

    @property
    def verdict(self) -> str:
        """One word for the table."""
        if self.impossible:
            return "impossible"
        return "held" if self.passed else "FAILED"


@dataclass(frozen=True)
class Fault:
    """
    Something that goes wrong in the world, and what must hold all the same.

    `run` does it on a ground and judges; an AssertionError or any other exception is a failure.
    `short` puts it into the quick selection; `needs` names what has to be installed for it, by the
    name of its program (`rabbitmq-server`, `redis-server`, `faketime`, …).
    """

    name: str
    what: str
    expected: str
    run: Callable[[Ground], Result]
    short: bool = False
    needs: tuple[str, ...] = ()


def try_fault(fault: Fault, ground: Ground) -> Result:
    """Run one fault and return its result; whatever it raises is a failed result that says what."""
    began = time.monotonic()
    try:
        result = fault.run(ground)
    except Exception as broken:
        (ground.folder / "failure.txt").write_text(traceback.format_exc())
        result = Result(passed=False, remarks=f"{type(broken).__name__}: {str(broken)[:500]}")
    return replace(result, seconds=time.monotonic() - began)


def impossible(why: str) -> Result:
    """Say that this machine cannot do the fault; nothing was judged."""
    return Result(passed=True, impossible=why)
