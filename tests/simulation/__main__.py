"""
Play many seeds, or one again.

    python -m tests.simulation --seeds 2000 --processes 2
    python -m tests.simulation --worlds accounts --seeds 500
    python -m tests.simulation --replay 17 --trace
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from time import monotonic

from tests.simulation.database import a_database
from tests.simulation.families import FAMILIES, simulation_of
from tests.simulation.mutants import planted
from tests.simulation.playing import Tally, be_quiet, parts
from tests.simulation.shrinking import command_of, shortened
from tests.simulation.simulation import Outcome, Story

MOST_EDITS = 5


def main() -> int:
    """Return 0 when nothing was violated."""
    asked = _asked()
    if os.environ.get("PYTHONHASHSEED") != "0":
        # A set of texts has the order of their hashes: a seed means the same story in every process.
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    for name in [name for name in os.environ if name.startswith("PUNCTUAL_")]:
        del os.environ[name]
    be_quiet()
    return _replay(asked) if asked.replay is not None else _play_many(asked)


def _play_many(asked: argparse.Namespace) -> int:
    began, told = monotonic(), monotonic()
    seeds = range(asked.first, asked.first + asked.seeds)
    shares = [seeds[n :: asked.processes] for n in range(asked.processes)]
    total = Tally()
    for part in parts(shares, asked):
        total.add(part)
        for seed, words in part.violations:
            print(f"seed {seed}: {words}", flush=True)
        if asked.verbose:
            print(
                f"{part.first}: {part.busy_s:.1f} s, {part.turns} turns, {part.days:.1f} days",
                flush=True,
            )
        if monotonic() - told > 20:
            told = monotonic()
            print(
                f"{total.seeds} of {asked.seeds} seeds, {len(total.violations)} violations", flush=True
            )
        if asked.stop_after and len(total.violations) >= asked.stop_after:
            break
    _tell(total, monotonic() - began, asked.processes)
    if not total.violations:
        return 0
    if asked.shrink:
        _shrink(total.violations[0][0], asked)
    return 1


def _tell(total: Tally, took_s: float, processes: int) -> None:
    seconds = max(total.busy_s, 1e-9)
    print(
        f"{total.seeds} seeds in {took_s:.0f} s on {processes} processes:"
        f" {total.seeds / seconds:.2f} seeds/s/process, {total.cpu_s / max(1, total.seeds):.2f} s CPU a seed,"
        f" {total.days:.0f} days simulated, {total.days / seconds:.1f} days/s/process,"
        f" {total.edits} edits, {total.turns} turns, {total.steps} steps"
    )
    slowest = max(total.converged_s, default=0)
    print(f"slowest to come right after the last fault: {slowest:.0f} s")
    print("faults: " + ", ".join(f"{name} {count}" for name, count in total.faults.most_common()))
    print(f"violations: {len(total.violations)}")


def _replay(asked: argparse.Namespace) -> int:

    planned = FAMILIES[asked.worlds].plan(asked.replay, asked.most_edits)
    kept = (
        planned
        if asked.edits is None
        else [planned[int(number)] for number in asked.edits.split(",") if number]
    )
    story = Story(asked.replay, tuple(kept), _faults(asked.faults), asked.worlds)
    with a_database() as database, planted(asked.mutant):
        outcome = simulation_of(story, database, keep_trace=True).run()
    for line in outcome.trace if asked.trace else ():
        print(line)
    print(outcome.violation or "nothing was violated")
    return 1 if outcome.violation else 0


def _shrink(seed: int, asked: argparse.Namespace) -> None:

    with a_database() as database, planted(asked.mutant):

        def play(story: Story) -> Outcome:
            return simulation_of(story, database, keep_trace=True).run()

        edits = tuple(FAMILIES[asked.worlds].plan(seed, asked.most_edits))
        story = Story(seed, edits, worlds=asked.worlds)
        short, outcome = shortened(story, play(story), play, budget_s=asked.shrink)
    print(f"\nthe shortest story found, seed {seed}: {outcome.violation}")
    for edit in short.edits:
        print(f"  {edit}")
    for name, fault in outcome.faults.items():
        print(f"  at {name}: {fault}")
    print("its last steps:")
    for line in outcome.trace[-25:]:
        print(f"  {line}")
    mutant = f" --mutant {asked.mutant}" if asked.mutant else ""
    print(f"again: {command_of(short)}{mutant} --trace")


def _faults(told: str | None) -> Mapping[str, str] | None:
    if told is None:
        return None
    return dict(entry.split("=", 1) for entry in told.split(",") if entry)


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument(
        "--worlds", choices=FAMILIES, default="recall", help="whose calendars there are"
    )
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--most-edits", type=int, default=MOST_EDITS, help="of one story")
    parser.add_argument("--stop-after", type=int, default=0, help="so many violations (0: never)")
    parser.add_argument("--shrink", type=float, default=90, help="seconds to spend on a shortest story")
    parser.add_argument("--mutant", help="a bug to plant, see mutants.py")
    parser.add_argument("--replay", type=int, help="play this seed alone")
    parser.add_argument("--edits", help="numbers of the edits to keep")
    parser.add_argument("--faults", help="exactly these faults, name=fault,…")
    parser.add_argument("--verbose", action="store_true", help="a line per seed")
    parser.add_argument("--trace", action="store_true", help="tell what happens")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
