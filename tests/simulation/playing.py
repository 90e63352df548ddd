"""Plays many seeds, in one process or several, and counts what came of it."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import monotonic, process_time

import structlog

from tests.simulation.database import a_database
from tests.simulation.families import FAMILIES, simulation_of
from tests.simulation.mutants import planted
from tests.simulation.simulation import Story

#: How long a process that has played its seeds may take to end.
ENDING_S = 30


def be_quiet() -> None:
    """Let only what is critical be logged, and a server of ours go when we are told to."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


@dataclass
class Tally:
    """What many stories came to."""

    seeds: int = 0
    first: int = 0
    days: float = 0
    steps: int = 0
    turns: int = 0
    edits: int = 0
    busy_s: float = 0
    cpu_s: float = 0
    faults: Counter[str] = field(default_factory=Counter)
    violations: list[tuple[int, str]] = field(default_factory=list)
    converged_s: list[float] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.seeds += other.seeds
        self.days += other.days
        self.steps += other.steps
        self.turns += other.turns
        self.edits += other.edits
        self.busy_s += other.busy_s
        self.cpu_s += other.cpu_s
        self.faults += other.faults
        self.violations += other.violations
        self.converged_s += other.converged_s


def parts(shares: list[range], asked: Namespace) -> Iterator[Tally]:
    if asked.processes == 1:
        yield from played(shares[0], asked)
        return
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[Tally | None] = context.Queue()
    workers = [context.Process(target=work_on, args=(share, asked, results)) for share in shares]
    for worker in workers:
        worker.start()
    left = len(workers)
    try:
        while left:
            part = results.get(timeout=600)
            if part is None:
                left -= 1
            else:
                yield part
    finally:
        for worker in workers:
            if not left:
                worker.join(ENDING_S)  # it has told everything and stops its PostgreSQL
            worker.terminate()
            worker.join()


def work_on(share: range, asked: Namespace, results: multiprocessing.Queue[Tally | None]) -> None:
    be_quiet()
    try:
        for part in played(share, asked):
            results.put(part)
    finally:
        results.put(None)


def played(share: range, asked: Namespace) -> Iterator[Tally]:
    with a_database() as database, planted(asked.mutant):
        for seed in share:
            began, used = monotonic(), process_time()
            edits = tuple(FAMILIES[asked.worlds].plan(seed, asked.most_edits))
            simulation = simulation_of(Story(seed, edits, worlds=asked.worlds), database)
            outcome = simulation.run()
            yield Tally(
                seeds=1,
                first=seed,
                days=outcome.days,
                steps=outcome.steps,
                turns=outcome.turns,
                edits=outcome.edits,
                busy_s=monotonic() - began,
                cpu_s=process_time() - used,
                faults=simulation.fault_counts,
                violations=[(seed, outcome.violation)] if outcome.violation else [],
                converged_s=[outcome.converged_after.total_seconds()],
            )
