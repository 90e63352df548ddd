"""
Runs inside a suite: tells what failed, and whether every module of ours came from the copied tree.

The project is installed in place, so a suite that finds the original first would test nothing. As a
pytest plugin (`-p tests.mutants.guard`), or in front of a module: `python -m tests.mutants.guard MODULE …`.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from pathlib import Path

import pytest

TREE, REPORT = "PUNCTUAL_TEST_MUTANT_TREE", "PUNCTUAL_TEST_MUTANT_REPORT"
OURS = frozenset({"models", "worker", "webhooks", "tests"})

_told: dict[str, list[str]] = {"passed": [], "failed": [], "broken": [], "skipped": [], "strangers": []}


def strangers(tree: Path) -> list[str]:
    """Name the modules of ours that were imported from somewhere else than *tree*."""
    found = []
    for name, module in list(sys.modules.items()):
        origin = getattr(module, "__file__", None)
        if (
            name.split(".")[0] in OURS
            and origin
            and not Path(origin).resolve().is_relative_to(tree.resolve())
        ):
            found.append(name)
    return found


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed:
        _told["failed" if report.when == "call" else "broken"].append(report.nodeid)
    elif report.skipped:
        _told["skipped"].append(report.nodeid)
    elif report.when == "call":
        _told["passed"].append(report.nodeid)


def pytest_sessionfinish() -> None:
    write_report(Path(os.environ[TREE]), Path(os.environ[REPORT]))


def write_report(tree: Path, report: Path) -> None:
    """Write down what the suite has told so far."""
    _told["strangers"] = strangers(tree)
    report.write_text(json.dumps(_told))


def run_module(arguments: list[str]) -> None:
    """Run a module as `python -m` does, and write the report when it ends."""
    tree, report = Path(os.environ[TREE]), Path(os.environ[REPORT])  # a suite may clear its environment
    sys.argv = arguments
    try:
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    finally:
        write_report(tree, report)


if __name__ == "__main__":
    run_module(sys.argv[1:])
