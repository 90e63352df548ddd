"""
Run faults one after the other and print what came of them.

`python -m tests.faults [F19 F31 …] [--short] [--json FILE] [--seed N] [--logs FOLDER] [--list]`
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import re
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

import tests.faults
from tests.faults.fault import Fault, Ground, Result, impossible, try_fault
from tests.faults.servers import Postgres


def every_fault() -> list[Fault]:
    """Collect the faults of all modules of this folder named `…_faults`, by number."""
    faults: list[Fault] = []
    for module in pkgutil.iter_modules(tests.faults.__path__):
        if module.name.endswith("_faults") and not module.name.startswith("test_"):
            faults += importlib.import_module(f"tests.faults.{module.name}").FAULTS
    names = [fault.name for fault in faults]
    assert len(names) == len(set(names)), f"a fault has two authors: {sorted(names)}"
    return sorted(faults, key=lambda fault: _number(fault.name))


def main() -> int:
    """Run the chosen faults; 1 when one of them failed."""
    options = _options()
    faults = [fault for fault in every_fault() if _is_chosen(fault, options)]
    unknown = set(options.names) - {fault.name for fault in faults}
    if unknown or not faults:
        print("no such fault:", ", ".join(sorted(unknown)) or "none chosen")
        return 2
    console = Console(width=None if sys.stdout.isatty() else 200)
    if options.list:
        for fault in faults:
            console.print(f"{fault.name:4} {fault.what} -> {fault.expected}", markup=False)
        return 0
    logs = Path(options.logs) if options.logs else Path(tempfile.mkdtemp(prefix="faults-"))
    results = run(faults, logs, short=options.short, seed=options.seed)
    console.print(_table(faults, results))
    if options.json:
        Path(options.json).write_text(json.dumps(_as_json(faults, results), indent=1) + "\n")
    failed = [name for name, result in results.items() if not result.passed]
    print(f"{len(results) - len(failed)} of {len(results)} held; logs of failures: {logs}")
    if not failed and not options.logs:
        shutil.rmtree(logs, ignore_errors=True)
    return 1 if failed else 0


def run(faults: list[Fault], logs: Path, *, short: bool, seed: int) -> dict[str, Result]:
    """Run faults one after the other, each in a folder of its own, and return the results by name."""
    results: dict[str, Result] = {}
    with Postgres.running() as postgres:
        for fault in faults:
            folder = logs / fault.name
            folder.mkdir(parents=True, exist_ok=True)
            ground = Ground(folder, postgres.fresh_database, short, seed)
            missing = [program for program in fault.needs if not _is_installed(program)]
            if missing:
                results[fault.name] = impossible(f"not installed: {', '.join(missing)}")
            else:
                results[fault.name] = try_fault(fault, ground)
            _say(fault, results[fault.name])
            if results[fault.name].passed:
                shutil.rmtree(folder, ignore_errors=True)
    return results


def _say(fault: Fault, result: Result) -> None:
    figures = " ".join(f"{name}={value}" for name, value in result.figures.items())
    words = " ".join(filter(None, [figures, result.remarks, result.impossible]))
    print(f"{fault.name:4} {result.verdict:10} {result.seconds:6.1f} s  {words}", flush=True)


def _is_installed(program: str) -> bool:
    return shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin") is not None


def _is_chosen(fault: Fault, options: argparse.Namespace) -> bool:
    if options.names:
        return fault.name in options.names
    return fault.short if options.short else True


def _number(name: str) -> tuple[int, str]:
    digits = re.search(r"\d+", name)
    return (int(digits.group()) if digits else 0, name)


def _table(faults: list[Fault], results: dict[str, Result]) -> Table:
    table = Table(title="Faults", show_lines=True)
    for heading in ("fault", "what is done", "what must hold", "result", "figures", "s"):
        table.add_column(heading, overflow="fold")
    for fault in faults:
        result = results[fault.name]
        figures = [f"{name} {value}" for name, value in result.figures.items()]
        table.add_row(
            *(fault.name, fault.what, fault.expected, result.verdict),
            "\n".join(filter(None, [*figures, result.remarks, result.impossible])),
            f"{result.seconds:.0f}",
        )
    return table


def _as_json(faults: list[Fault], results: dict[str, Result]) -> list[dict[str, object]]:
    return [
        {
            "fault": fault.name,
            "what": fault.what,
            "expected": fault.expected,
            "result": results[fault.name].verdict,
            "figures": dict(results[fault.name].figures),
            "remarks": results[fault.name].remarks or results[fault.name].impossible,
            "seconds": round(results[fault.name].seconds, 1),
        }
        for fault in faults
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("names", nargs="*", help="F1 F2 …; all without")
    parser.add_argument("--short", action="store_true", help="the quick selection, in quick forms")
    parser.add_argument("--json", help="write the results here as well")
    parser.add_argument("--logs", help="keep everything in this folder")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--list", action="store_true", help="say what there is and run nothing")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
