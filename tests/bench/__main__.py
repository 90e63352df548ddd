"""
`make bench`: how fast Punctual is on this machine, and whether it keeps its promises about that.

    python -m tests.bench                 everything, about half an hour
    python -m tests.bench a e g           some of it
    python -m tests.bench a --quick       a tenth of the size, for a look
    python -m tests.bench --rebase        everything, then the new baseline, the picture and the tables
    python -m tests.bench --draw          the picture and the tables from the baseline there is

Each run prints ratios and writes `var/bench/NAME.json`, compared with `tests/bench/baseline/NAME.json`.
It ends in an error when a demand is not met at full size.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.bench import burst, growth, latency, listing, outage, publishing, receiving
from tests.bench.outcome import BASELINE, Measured, be_quiet, report
from worker.bootstrap import embedded_database

RESULTS = Path("var") / "bench"
QUICK = 0.1

Benchmark = Callable[[Path, str, float], Measured]
BENCHMARKS: dict[str, tuple[str, Benchmark]] = {
    "a": ("receiver", lambda _folder, url, scale: receiving.measure(url, scale=scale)),
    "b": ("latency", lambda folder, url, scale: latency.measure(folder, url, scale=scale)),
    "c": ("burst", lambda folder, url, scale: burst.measure(folder, url, scale=scale, limited=False)),
    "c-limited": (
        "burst_limited",
        lambda folder, url, scale: burst.measure(folder, url, scale=scale, limited=True),
    ),
    "d": ("outage", lambda folder, url, scale: outage.measure(folder, url, scale=scale)),
    "e": ("listing", lambda folder, url, scale: listing.measure(folder, url, scale=scale)),
    "f": ("outbox", lambda _folder, url, scale: publishing.measure(url, scale=scale)),
    "g": ("growth", lambda _folder, url, scale: growth.measure(url, scale=scale)),
}


def main() -> int:
    asked = _asked()
    be_quiet()
    if not asked.draw:
        unmet = [
            demand
            for key in asked.benchmarks or BENCHMARKS
            for demand in _run(key, QUICK if asked.quick else 1.0)
        ]
    else:
        unmet = []
    if asked.rebase:
        BASELINE.mkdir(exist_ok=True)
        for path in RESULTS.glob("*.json"):
            if json.loads(path.read_text())["scale"] == 1:  # quick looks are no baseline
                shutil.copy(path, BASELINE / path.name)
    if asked.rebase or asked.draw:
        from tests.bench.picture import write_performance

        write_performance()
    if unmet:
        print("\nnot met:", *unmet, sep="\n  ")
    return 1 if unmet else 0


def _run(key: str, scale: float) -> list[str]:
    name, measure = BENCHMARKS[key]
    print(f"\n({key}) {name} …", flush=True)
    # Sockets of PostgreSQL live in it: its path has to be short.
    with tempfile.TemporaryDirectory(prefix="bench") as made:
        folder = Path(made)
        with embedded_database(folder) as url:
            measured = measure(folder / "rig", url, scale)
    measured.write(RESULTS, scale=scale)
    print(report(measured), flush=True)
    return [f"{name}: {demand}" for demand in measured.unmet()]


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.split("\n\n")[0])
    parser.add_argument("benchmarks", nargs="*", choices=[*BENCHMARKS, []], metavar="a b c …")
    parser.add_argument("--quick", action="store_true", help="a tenth of the size")
    parser.add_argument("--rebase", action="store_true", help="make the results the new baseline")
    parser.add_argument("--draw", action="store_true", help="only renew picture and tables")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
