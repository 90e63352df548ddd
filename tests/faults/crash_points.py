"""
Kill the worker and the receiver at every named point there is, once each or in pairs, and judge.

`python -m tests.faults.crash_points [--every-chapter | --pairs [--sample N]] [--mode MODE] [--list]`

First the story is told once and the points it passes are written down. Then, for each point: a chapter
that passes it is told by processes of which one dies there (SIGKILL), comes back and goes on; in the
end every bot is where it should be, nothing waits, and no domain event is missing.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import socket
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tests.faults.crashing import MODES, Stage, a_stage
from tests.faults.crashing_account_story import CHAPTERS as ACCOUNT_CHAPTERS
from tests.faults.crashing_account_story import POINTS
from tests.faults.crashing_story import CHAPTERS as RECALL_CHAPTERS
from tests.faults.dying import RECEIVER, WORKER, Trouble
from tests.faults.servers import Postgres

AMQP_URL = os.environ.get("PUNCTUAL_TEST_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672//")
CHAPTERS = RECALL_CHAPTERS | ACCOUNT_CHAPTERS
#: In a second bot mode only these are passed in another way.
OF_BOTS = ("reconciling.", "recall.", "sweeping.")


#: By role and chapter, the points passed, in the order of their first pass.
Passed = dict[tuple[str, str], list[str]]


@dataclass(frozen=True)
class Visit:
    """A chapter in which one process dies, at one point or at several, life after life."""

    role: str
    points: tuple[str, ...]
    chapter: str


@dataclass
class Account:
    """What came of a run."""

    mode: str
    points: dict[str, list[str]] = field(default_factory=dict)
    visited: list[tuple[str, str]] = field(default_factory=list)
    unreached: list[Visit] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    figures: dict[str, int] = field(default_factory=dict)
    recorded_s: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class Asked:
    """What to visit, and how."""

    mode: str
    broker_url: str | None = None
    seed: int = 1
    only: str = ""
    chapter: str = ""
    among: tuple[str, ...] = ()
    in_a_row: int = 4
    every_chapter: bool = False
    pairs: bool = False
    sample: int = 0

    def wants(self, point: str) -> bool:
        """Say whether a point is to be visited."""
        is_among = not self.among or point.startswith(self.among)
        return is_among and re.search(self.only, point) is not None


def record(stage: Stage, only: str = "") -> Passed:
    """Tell the story without a death; by role and chapter, the points passed in their order."""
    logs = {role: Written(stage.folder / f"{role}.passed") for role in (WORKER, RECEIVER)}
    passed: Passed = {}
    for role, log in logs.items():
        stage.restart(role, {"PUNCTUAL_CRASH_LOG": str(log.path)})
    for name, chapter in CHAPTERS.items():
        if only not in name:
            continue
        try:
            telling = chapter(stage)
            next(telling)
            stage.settle()
            if passed:  # the first chapter is also told what is passed at the start of a life
                for log in logs.values():
                    log.more()
            for _ in telling:
                stage.settle()
            stage.settle()
            stage.check()
        except AssertionError as trouble:
            raise Trouble(f"{name}, with nobody dying: {trouble}") from trouble
        for role, log in logs.items():
            passed[role, name] = list(dict.fromkeys(log.more()))
        stage.clean_up()
        stage.settle()
    for role in logs:
        stage.restart(role)
    return passed


@dataclass
class Written:
    """A growing file of lines, read bit by bit."""

    path: Path
    read: int = 0

    def more(self) -> list[str]:
        """Return the lines written since the last time."""
        text = self.path.read_bytes()[self.read :] if self.path.exists() else b""
        self.read += len(text)
        return text.decode().splitlines()


def visit(stage: Stage, planned: Visit) -> int:
    """Tell a chapter with deaths in it; Trouble unless all is well afterwards. Returns the number of deaths."""
    stage.deaths.clear()
    telling = CHAPTERS[planned.chapter](stage)
    next(telling)
    stage.settle()
    stage.order(planned.role, *planned.points)
    for _ in telling:
        stage.settle()
    stage.settle()
    stage.disarm()
    stage.settle()
    stage.check()
    stage.clean_up()
    return len(stage.deaths)


def plan(
    passed: Passed,
    wanted: Callable[[str], bool],
    *,
    chance: random.Random,
    in_a_row: int,
    every_chapter: bool = False,
) -> list[Visit]:
    """
    Choose for every point a chapter to die in, or with *every_chapter* every one that passes it.

    Points of one chapter are visited *in_a_row*, life after life, in the order in which they are
    passed: whoever comes back after one death goes on to the next.
    """
    places: dict[tuple[str, str], list[str]] = {}
    for (role, chapter), points in passed.items():
        for point in filter(wanted, points):
            places.setdefault((role, point), []).append(chapter)
    chosen: dict[tuple[str, str], set[str]] = {}
    for (role, point), chapters in places.items():
        for chapter in chapters if every_chapter else [chance.choice(chapters)]:
            chosen.setdefault((role, chapter), set()).add(point)
    return [
        Visit(role, row, chapter)
        for (role, chapter), points in chosen.items()
        for row in _rows([point for point in passed[role, chapter] if point in points], in_a_row)
    ]


def plan_pairs(passed: Passed, wanted: Callable[[str], bool]) -> list[Visit]:
    """Plan every two deaths of which the second comes when the first one's successor goes on."""
    return [
        Visit(role, (first, second), chapter)
        for (role, chapter), points in passed.items()
        for nth, first in enumerate(points)
        for second in points[nth:]
        if wanted(first) and wanted(second)
    ]


def _rows(points: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    """Deal points out into rows in which each keeps its order and its distance from the next."""
    count = -(-len(points) // size)
    for nth in range(count):
        yield tuple(points[nth::count])


def run(folder: Path, database_url: str, asked: Asked) -> Account:
    """Visit what is asked for in one bot mode, and judge each visit and the whole."""
    account = Account(asked.mode)
    began = time.monotonic()
    chance = random.Random(asked.seed)
    with a_stage(folder, database_url, mode=asked.mode, broker_url=asked.broker_url) as stage:
        passed = record(stage, asked.chapter)
        account.recorded_s = time.monotonic() - began
        for trouble in () if asked.chapter else left_out(asked.mode, passed):
            account.troubles.append(trouble)
            print(trouble, flush=True)
        for (role, _), points in passed.items():
            known = account.points.setdefault(role, [])
            known += [point for point in points if point not in known]
        if asked.pairs:
            visits = plan_pairs(passed, asked.wants)
            chance.shuffle(visits)
            visits = visits[: asked.sample or None]
        else:
            visits = plan(
                passed,
                asked.wants,
                chance=chance,
                in_a_row=asked.in_a_row,
                every_chapter=asked.every_chapter,
            )
        for planned in visits:
            _try(stage, planned, account, is_strict=not asked.pairs)
        account.figures = stage.check_whole_story()
    account.seconds = time.monotonic() - began
    return account


def left_out(mode: str, passed: Passed) -> Iterator[str]:
    """Name the points that the story has to pass, and does not."""
    for role, sites in POINTS.items():
        told = {point for (who, _), points in passed.items() if who == role for point in points}
        for site in sorted(sites):
            if missing := {f"{site}:before", f"{site}:after"} - told:
                yield f"{mode}: {role} never passes {', '.join(sorted(missing))}"


def _try(stage: Stage, planned: Visit, account: Account, *, is_strict: bool) -> None:
    """Make a visit; what is not reached in a row is visited once more alone."""
    try:
        died = visit(stage, planned)
    except AssertionError as trouble:
        account.troubles.append(
            f"{account.mode}: {planned.role} at {', '.join(planned.points)}"
            f" in {planned.chapter}: {trouble}"
        )
        print(account.troubles[-1], flush=True)
        stage.start_over()
        return
    account.visited += [(planned.role, point) for point in planned.points[:died]]
    missed = planned.points[died:]
    if missed and is_strict and len(planned.points) > 1:
        for point in missed:
            _try(stage, Visit(planned.role, (point,), planned.chapter), account, is_strict=True)
    elif missed:
        account.unreached.append(planned)


@contextmanager
def own_server() -> Iterator[Postgres]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Postgres.running() as server:
            yield server


def reachable_broker() -> str | None:
    """Return the broker's URL if somebody listens there."""
    broker = urlsplit(AMQP_URL)
    try:
        socket.create_connection((broker.hostname or "127.0.0.1", broker.port or 5672), 1).close()
    except OSError:
        return None
    return AMQP_URL


def main() -> int:
    """Run what the arguments ask for; 1 when anything was not as it has to be."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are stopped
    folder = Path(tempfile.mkdtemp(prefix="crashes-"))
    accounts: list[Account] = []
    with own_server() as server:
        for mode in options.mode or MODES:
            asked = Asked(
                mode,
                broker_url=reachable_broker(),
                seed=options.seed,
                only=options.only,
                chapter=options.chapter,
                among=OF_BOTS if accounts and not (options.every_chapter or options.pairs) else (),
                in_a_row=1 if options.alone else 4,
                every_chapter=options.every_chapter,
                pairs=options.pairs,
                sample=options.sample,
            )
            accounts.append(run(folder / mode, server.fresh_database(), asked))
            _tell(accounts[-1], names=options.list)
    if not any(account.troubles for account in accounts):
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"logs: {folder}")
    return 1 if any(account.troubles for account in accounts) else 0


def _tell(account: Account, *, names: bool) -> None:
    print(
        f"{account.mode}: {sum(map(len, account.points.values()))} points,"
        f" {len(set(account.visited))} visited in {len(account.visited)} deaths,"
        f" {len(account.unreached)} not reached, {len(account.troubles)} troubles;"
        f" recorded in {account.recorded_s:.0f} s, all in {account.seconds:.0f} s; {account.figures}",
        flush=True,
    )
    for planned in account.unreached[:20]:
        print(f"  not reached: {planned.role} at {planned.points} in {planned.chapter}")
    if names:
        for role, points in account.points.items():
            print(f"{role}:", *sorted(points), sep="\n  ")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.crash_points", description=__doc__)
    parser.add_argument("--mode", action="append", choices=MODES, help="both without")
    parser.add_argument("--only", default="", help="only points in whose name this is found")
    parser.add_argument("--chapter", default="", help="only chapters in whose name this is found")
    parser.add_argument("--every-chapter", action="store_true", help="each point in every chapter")
    parser.add_argument("--alone", action="store_true", help="never more than one death in a chapter")
    parser.add_argument("--pairs", action="store_true", help="every two consecutive deaths")
    parser.add_argument("--sample", type=int, default=0, help="so many pairs, chosen by the seed")
    parser.add_argument("--list", action="store_true", help="print the points' names too")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
