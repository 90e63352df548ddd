"""Run suites on a tree with a planted bug, and judge: killed, survived, stale, broken or skipped."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from tests.mutants.guard import REPORT, TREE
from tests.mutants.mutation import Mutation, Stale
from tests.mutants.trees import copy_of

#: One suite on one tree; the longest takes a quarter of it.
LONGEST_RUN_S = 240.0
LONGEST_TEST_S = 60
#: What the simulation and the crash points print of what they found wrong.
_NOTICED = re.compile(r"^(seed \d+: .{1,120}|  ?trouble.{1,120}|.* [1-9]\d* troubles)", re.MULTILINE)


class Verdict(StrEnum):
    """What became of a planted bug."""

    KILLED = "killed"
    SURVIVED = "SURVIVED"
    STALE = "stale"
    BROKEN = "broken"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict on one mutation by one suite, what decided it, and how long that took."""

    mutation: Mutation
    suite: str
    verdict: Verdict
    by: str
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Ran:
    """What a suite said: the exit code (None: it did not end), and the names in the guard's report."""

    code: int | None
    seconds: float
    passed: Sequence[str] = ()
    failed: Sequence[str] = ()
    broken: Sequence[str] = ()
    skipped: Sequence[str] = ()
    strangers: Sequence[str] = ()
    output: str = field(default="", repr=False)


def judge_by_tests(
    mutation: Mutation, tree: Path, *, database_url: str, flawed: Sequence[str] = ()
) -> Judged:
    """
    Plant a bug in a copy of *tree* and run the tests that must notice it.

    A test that fails is a kill. A test that cannot even begin, a module that does not import, and a
    test among *flawed* (it fails without any planted bug) are not.
    """
    return _judged_by_ids(mutation, tree, "tests", mutation.tests, database_url, flawed)


def judge_by_bad_input(
    mutation: Mutation, tree: Path, *, database_url: str, flawed: Sequence[str] = ()
) -> Judged:
    """Do the same with the tests of bad input over the wire."""
    return _judged_by_ids(mutation, tree, "bad input", mutation.badinput, database_url, flawed)


def judge_by_simulation(
    mutation: Mutation, tree: Path, *, database_url: str, seeds: int | None = None
) -> Judged:
    """Plant a bug in a copy of *tree* and simulate; a violated invariant is a kill."""
    number = mutation.seeds if seeds is None else seeds
    command = simulating(number, mutation.worlds)
    return _judged_by_command(mutation, tree, "simulation", command, database_url)


def judge_by_crashes(mutation: Mutation, tree: Path, *, database_url: str) -> Judged:
    """Plant a bug in a copy of *tree* and kill processes at its points; what is not made good is a kill."""
    return _judged_by_command(mutation, tree, "crash points", crashing(mutation.points), database_url)


def simulating(seeds: int, worlds: str) -> list[str]:
    """Return the command that simulates until the first violation."""
    how_many = ["--worlds", worlds, "--seeds", str(seeds)]
    return ["tests.simulation", *how_many, "--stop-after", "1", "--shrink", "0"]


def crashing(points: str) -> list[str]:
    """Return the command that kills a process once at each of some points."""
    return ["tests.faults.crash_points", "--mode", "recall_managed", "--alone", "--only", points]


def _judged_by_ids(
    mutation: Mutation,
    tree: Path,
    suite: str,
    tests: tuple[str, ...],
    database_url: str,
    flawed: Sequence[str],
) -> Judged:
    if spoilt := [test for test in flawed if test.startswith(tests)]:
        return Judged(mutation, suite, Verdict.BROKEN, f"fails without the bug: {spoilt[0]}")
    try:
        with planted(mutation, tree) as copy:
            ran = run_tests(copy, tests, database_url=database_url, is_first_enough=True)
    except (Stale, SyntaxError) as unusable:
        return _unusable(mutation, suite, unusable)
    return Judged(mutation, suite, *_verdict(ran), ran.seconds)


def _judged_by_command(
    mutation: Mutation, tree: Path, suite: str, command: Sequence[str], database_url: str
) -> Judged:
    try:
        with planted(mutation, tree) as copy:
            ran = run_command(copy, command, database_url=database_url)
    except (Stale, SyntaxError) as unusable:
        return _unusable(mutation, suite, unusable)
    return Judged(mutation, suite, *_verdict_of_command(ran, command), ran.seconds)


def _unusable(mutation: Mutation, suite: str, reason: Exception) -> Judged:
    if isinstance(reason, Stale):
        return Judged(mutation, suite, Verdict.STALE, str(reason))
    return Judged(mutation, suite, Verdict.BROKEN, f"no Python: {reason}")


def _verdict_of_command(ran: Ran, command: Sequence[str]) -> tuple[Verdict, str]:
    noticed = _NOTICED.search(ran.output)
    if ran.strangers:
        return Verdict.BROKEN, f"imported from elsewhere: {ran.strangers[0]}"
    if noticed:
        return Verdict.KILLED, f"{command[0]}: {noticed[0].strip()}"
    if ran.code is None:
        return Verdict.BROKEN, f"did not end within {LONGEST_RUN_S:.0f} s"
    if ran.code == 0:
        return Verdict.SURVIVED, " ".join(command)
    return Verdict.BROKEN, f"exit code {ran.code}: {_last_line(ran)}"


def _verdict(ran: Ran) -> tuple[Verdict, str]:
    if ran.strangers:
        return Verdict.BROKEN, f"imported from elsewhere: {ran.strangers[0]}"
    if ran.failed:
        return Verdict.KILLED, ran.failed[0]
    if ran.code is None:
        return Verdict.BROKEN, f"did not end within {LONGEST_RUN_S:.0f} s"
    if ran.broken:
        return Verdict.BROKEN, f"could not begin: {ran.broken[0]}"
    if ran.code == 0 and ran.passed:
        return Verdict.SURVIVED, f"{len(ran.passed)} tests passed"
    if ran.code in {0, 5} and ran.skipped:
        return Verdict.SKIPPED, f"cannot run here: {ran.skipped[0]}"
    return Verdict.BROKEN, f"exit code {ran.code}: {_last_line(ran)}"


def _last_line(ran: Ran) -> str:
    return next((line[:120] for line in reversed(ran.output.splitlines()) if line.strip()), "")


@contextmanager
def planted(mutation: Mutation, tree: Path) -> Iterator[Path]:
    """Yield a copy of *tree* with the bug in it; gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="mutant"))
    try:
        copy = copy_of(tree, folder / "tree")
        mutation.plant(copy)
        yield copy
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_tests(
    tree: Path,
    tests: Sequence[str],
    *,
    database_url: str,
    is_first_enough: bool = False,
    longest_s: float = LONGEST_RUN_S,
) -> Ran:
    """Run pytest ids inside *tree*, on databases of their own at *database_url*."""
    # Of the plugins only those that are needed: loading them all takes longer than most tests.
    arguments = ["-m", "pytest", "-q", "-p", "tests.mutants.guard", "-p", "pytest_timeout"]
    arguments += ["-p", "no:cacheprovider", f"--timeout={LONGEST_TEST_S}"]
    arguments += ["-x"] if is_first_enough else []
    arguments += dict.fromkeys(tests)
    return _run(tree, arguments, database_url=database_url, longest_s=longest_s)


def run_command(tree: Path, command: Sequence[str], *, database_url: str) -> Ran:
    """Run a suite that is a module of its own inside *tree*."""
    arguments = ["-m", "tests.mutants.guard", *command]
    return _run(tree, arguments, database_url=database_url)


def _run(
    tree: Path, arguments: Sequence[str], *, database_url: str, longest_s: float = LONGEST_RUN_S
) -> Ran:
    report = tree.parent / f"{tree.name}.report.json"
    report.unlink(missing_ok=True)
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=tree,
        env=_environment(tree, report, database_url),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    code: int | None
    try:
        output, _ = process.communicate(timeout=longest_s)
        code = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        code = None
    told = json.loads(report.read_text()) if report.exists() else {}
    return Ran(code, time.monotonic() - began, output=output, **told)


def _environment(tree: Path, report: Path, database_url: str) -> dict[str, str]:
    """
    Say where everything is; the copy comes before the installed project on the path of every child.

    A developer's settings reach no suite. Under `CI` Hypothesis tries the same examples every time,
    however slow the machine is, and remembers none from one bug to the next.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PUNCTUAL_", "PYTEST_", "PROMETHEUS_")) or "_TEST_" in name
    }
    return {
        **kept,
        "PYTHONPATH": str(tree),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "CI": "1",
        "PYTHONHASHSEED": "0",
        "PUNCTUAL_TEST_DATABASE_URL": database_url,
        TREE: str(tree),
        REPORT: str(report),
    }
