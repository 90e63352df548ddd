"""
Fuzzing: `python -m tests.badinput.fuzz --executions 1000000 [--target NAME] [--engine plain|atheris]`.

With atheris, which looks at what the code covers, where it is installed; else with a seeded loop of
our own that mutates the same seeds for the same targets. Says which, how many executions, what they
raised, and how much memory they left behind; fails when there was an exception or more than 20 MB.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
import traceback
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from rich.console import Console
from rich.table import Table

LONGEST_INPUT = 4_096
#: Of processor time, for one input.
LONGEST_RUN_S = 0.5
MOST_GROWTH_MIB = 20.0
#: Memory is compared with what it was after this part of the executions: caches are warm then.
WARM_UP = 0.1
MOST_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Target:
    """A function that takes any bytes and raises nothing, and examples of what it usually gets."""

    name: str
    run: Callable[[bytes], None]
    seeds: Sequence[bytes]
    tokens: Sequence[bytes]
    share: int


@dataclass(slots=True)
class Outcome:
    """What became of a number of executions."""

    target: str
    engine: str
    executions: int = 0
    exceptions: int = 0
    seconds: float = 0.0
    growth_mib: float = 0.0
    first: str = ""


def targets() -> tuple[Target, ...]:
    """Return every target; what they import is imported here, so that it can be instrumented."""
    from tests.badinput import fuzz_links as links
    from tests.badinput import fuzz_receive as receive

    return (
        Target("signed", receive.receive_signed, receive.BODY_SEEDS, receive.TOKENS, 35),
        Target("unsigned", receive.receive_unsigned, receive.HEAD_SEEDS, receive.TOKENS, 25),
        Target("links", links.read_links, links.LINK_SEEDS, links.LINK_TOKENS, 20),
        Target("events", links.read_events, links.EVENT_SEEDS, links.LINK_TOKENS, 10),
        Target("zones", links.read_zones, links.ZONE_SEEDS, links.LINK_TOKENS, 10),
    )


class Mutator:
    """Makes inputs out of seeds, the same ones for the same number."""

    def __init__(self, seeds: Sequence[bytes], tokens: Sequence[bytes], chance: Random) -> None:
        self._seeds, self._tokens, self._chance = seeds, tokens, chance

    def next(self) -> bytes:
        """Return another input."""
        chance = self._chance
        data = bytearray(chance.choice(self._seeds))
        for _ in range(chance.choice((1, 1, 2, 3, 5, 8))):
            self._spoil(data)
        return bytes(data[:LONGEST_INPUT])

    def _spoil(self, data: bytearray) -> None:
        chance = self._chance
        at = chance.randint(0, len(data))
        end = min(len(data), at + chance.choice((0, 1, 2, 4, 16, 64)))
        match chance.randrange(8):
            case 0 if data:
                data[at % len(data)] ^= 1 << chance.randrange(8)
            case 1 | 2:
                data[at:end] = chance.choice(self._tokens)
            case 3:
                del data[at:end]
            case 4:
                data[at:at] = data[at:end] * chance.choice((1, 2, 30))
            case 5:
                other = chance.choice(self._seeds)
                start = chance.randint(0, len(other))
                data[at:] = other[start:]
            case 6:
                data[at:end] = chance.randbytes(chance.randint(0, 6))
            case _:
                del data[at:]


class Run:
    """Counts, times and judges executions of one target, whoever makes the inputs."""

    def __init__(self, target: Target, engine: str, executions: int) -> None:
        self.outcome = Outcome(target.name, engine)
        self._target = target
        self._executions = executions
        self._warm_at = int(executions * WARM_UP)
        self._warm_kib = resident_kib()
        self._began = time.monotonic()

    def one(self, data: bytes) -> None:
        """Execute the target once; what it raises is kept, not raised."""
        began = time.thread_time()
        try:
            self._target.run(data)
            took = time.thread_time() - began
            if took > LONGEST_RUN_S:
                raise TimeoutError(f"{took:.2f} s of processor time")  # judged like any other
        except Exception:
            self.outcome.exceptions += 1
            if self.outcome.exceptions <= MOST_SHOWN:
                said = traceback.format_exc(limit=-3)
                self.outcome.first += f"{b64encode(data).decode()}\n{said}\n"
        self.outcome.executions += 1
        if self.outcome.executions == self._warm_at:
            self._warm_kib = resident_kib()

    def end(self) -> Outcome:
        """Say what became of it."""
        self.outcome.seconds = time.monotonic() - self._began
        self.outcome.growth_mib = max(0.0, (resident_kib() - self._warm_kib) / 1024)
        return self.outcome

    @property
    def is_over(self) -> bool:
        return self.outcome.executions >= self._executions


def run_plain(target: Target, *, executions: int, seed: int) -> Outcome:
    """Run a target with the loop of our own: every seed as it is, then mutations."""
    run = Run(target, "plain", executions)
    mutator = Mutator(target.seeds, target.tokens, Random(f"{seed} {target.name}"))
    for data in target.seeds[:executions]:
        run.one(data)
    while not run.is_over:
        run.one(mutator.next())
    return run.end()


def run_with_atheris(target: Target, *, executions: int, seed: int) -> Outcome:
    """Run a target with atheris, which ends its process: so in one of its own."""
    with tempfile.TemporaryDirectory() as folder:
        corpus, report = Path(folder) / "corpus", Path(folder) / "report.json"
        corpus.mkdir()
        for number, data in enumerate(target.seeds):
            (corpus / str(number)).write_bytes(data[:LONGEST_INPUT])
        words = "".join(
            f'"{"".join(f"{chr(92)}x{byte:02x}" for byte in token)}"\n' for token in target.tokens
        )
        (Path(folder) / "words").write_text(words)
        said = subprocess.run(
            [
                *(sys.executable, "-m", "tests.badinput.fuzz", "--instrumented", str(report)),
                *("--target", target.name, "--executions", str(executions), "--seed", str(seed)),
                folder,
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if not report.exists():
            raise RuntimeError(said.stderr[-2_000:])
        return Outcome(**json.loads(report.read_text()))


def instrumented(name: str, *, executions: int, seed: int, report: Path, folder: Path) -> None:
    """Be the process that atheris runs in."""
    import atheris  # type: ignore[import-untyped, unused-ignore]  # it has no stubs, and need not be installed

    with atheris.instrument_imports(
        include=["models.domain", "webhooks.payloads", "webhooks.verify", "worker.providers"]
    ):
        target = next(target for target in targets() if target.name == name)
    run = Run(target, "atheris", executions)

    def one(data: bytes) -> None:
        run.one(data)
        if run.is_over:
            report.write_text(json.dumps(asdict(run.end())))
            run.outcome.executions = 0  # whatever comes after the last one does not count

    options = [
        *(f"-seed={seed + 1}", f"-runs={executions + 10}", f"-max_len={LONGEST_INPUT}"),
        *("-rss_limit_mb=2048", "-verbosity=0", f"-dict={folder}/words", f"{folder}/corpus"),
    ]
    atheris.Setup(["fuzz", *options], one)
    atheris.Fuzz()


def resident_kib() -> int:
    """Return how much memory this process has now."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for and say what became of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.badinput.fuzz", description=__doc__)
    parser.add_argument(
        "--executions", type=int, default=1_000_000, help="in all, shared by the targets"
    )
    parser.add_argument("--target", help="this one alone")
    parser.add_argument("--engine", choices=["plain", "atheris"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--instrumented", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("folder", nargs="?", type=Path, help=argparse.SUPPRESS)
    said = parser.parse_args(arguments)
    if said.instrumented:
        instrumented(
            said.target,
            executions=said.executions,
            seed=said.seed,
            report=said.instrumented,
            folder=said.folder,
        )
    has_atheris = importlib.util.find_spec("atheris") is not None
    engine = said.engine or ("atheris" if has_atheris else "plain")
    run = run_with_atheris if engine == "atheris" else run_plain
    chosen = [target for target in targets() if said.target in {None, target.name}]
    if not chosen:
        parser.error(f"no target {said.target}; there are {', '.join(t.name for t in targets())}")
    whole = sum(target.share for target in chosen)
    outcomes = []
    for target in chosen:
        executions = -(-said.executions * target.share // whole)
        outcomes.append(run(target, executions=executions, seed=said.seed))
        print(f"{target.name}: {outcomes[-1].executions:,} with {engine}", file=sys.stderr)
    show(outcomes)
    return int(any(outcome.exceptions or outcome.growth_mib > MOST_GROWTH_MIB for outcome in outcomes))


def show(outcomes: Sequence[Outcome]) -> None:
    """Print a line per target, and what was raised, with the input that raised it."""
    table = Table(
        "target", "engine", "executions", "exceptions", "seconds", "per second", "memory grew"
    )
    for one in outcomes:
        rate = f"{one.executions / max(one.seconds, 0.001):,.0f}"
        row = (one.target, one.engine, f"{one.executions:,}", str(one.exceptions), f"{one.seconds:.1f}")
        table.add_row(*row, rate, f"{one.growth_mib:.1f} MiB")
    console = Console()
    console.print(table)
    for one in outcomes:
        if one.first:
            console.print(f"{one.target}, input as base64:\n{one.first}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
