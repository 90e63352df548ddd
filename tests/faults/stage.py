"""
What a fault is done to: a whole Punctual of real processes that are started again when they die, beside
the provider's emulator, with an author of changes and a sender of notifications; and the final judgement.
"""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil  # type: ignore[import-untyped]  # ships no types
import psycopg

from tests.faults import judge
from tests.faults.fault import Figure, Ground, Result
from tests.faults.load import Sender, notification, post
from tests.system.ledgers import start_consumer
from tests.system.oracle import Author, Copy, Oracle
from tests.system.rig import Rig, answer, running, until

ROOT = Path(__file__).parent.parent.parent
#: A supervisor such as systemd waits this long before it starts something again.
START_AGAIN_AFTER_S = 0.5

#: Looks unasked often and is not slowed by budgets, so that a fault's own time is what is measured.
QUICK = {
    "PUNCTUAL_RECALL_BOT_CREATE_PER_MINUTE": "6000",
    "PUNCTUAL_RECONCILE_NEAR_SECONDS": "5",
    "PUNCTUAL_RECONCILE_ALL_SECONDS": "5",
    "PUNCTUAL_RECALL_LIST_PER_MINUTE": "600",
    "PUNCTUAL_RECALL_SCHEDULE_PER_MINUTE": "6000",
    "PUNCTUAL_RECALL_OTHER_PER_MINUTE": "6000",
    "PUNCTUAL_WORK_CONCURRENCY": "2",
}


class Keeper:
    """Starts processes again when they die, as systemd or Kubernetes does."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._commands: dict[str, list[str]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="keeper", daemon=True)
        self.deaths: Counter[str] = Counter()
        self.environments: dict[str, dict[str, str]] = {}
        self.prefixes: dict[str, list[str]] = {}

    def start(self) -> None:
        """Look after the processes from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Let what dies stay dead."""
        self._stop.set()
        self._thread.join(5)

    def keep(self, name: str, module: str, *arguments: str) -> None:
        """Keep a process running from now on; one of that name that runs already is taken over."""
        self._commands[name] = [sys.executable, "-m", module, *arguments]
        if name not in self._rig.processes:
            self._launch(name)

    def forget(self, name: str) -> None:
        """Start that one no more."""
        self._commands.pop(name, None)

    def restart(self, name: str) -> None:
        """Kill a process's whole tree; it comes back with its present environment and prefix."""
        for process in tree_of(self._rig, name):
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def _keep(self) -> None:
        while not self._stop.wait(START_AGAIN_AFTER_S):
            for name in list(self._commands):
                process = self._rig.processes.get(name)
                if process is not None and process.poll() is not None and not self._stop.is_set():
                    self.deaths[name] += 1
                    self._launch(name)

    def _launch(self, name: str) -> None:
        command = self.prefixes.get(name, []) + self._commands[name]
        with (self._rig.logs / f"{name}.log").open("ab") as log:
            self._rig.processes[name] = subprocess.Popen(
                command,
                env={**self._rig.environment, **self.environments.get(name, {})},
                cwd=ROOT,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def tree_of(rig: Rig, name: str) -> list[Any]:
    """List a process and all its children, the top first; nothing once it has gone."""
    try:
        top = psutil.Process(rig.processes[name].pid)
        return [top, *top.children(recursive=True)]
    except (psutil.NoSuchProcess, KeyError):
        return []


class StubbornAuthor(Author):
    """Sets rules until they are accepted: while the database is away the API rightly says 503."""

    patience_s = 90.0

    def rule(self) -> None:
        if not self._is_served():
            self.create()  # changes at the provider do not wait for us
            return
        self.oracle.excluded = self.chance.choice([[], ["secret"], ["secret", "weekly"]])
        self.insist_on_rules()

    def insist_on_rules(self) -> None:
        """Set the present rules again, until they are accepted."""
        until(self._is_set, within=self.patience_s, every=0.5)

    def create_wanted(self) -> None:
        """Put in a meeting of its own that no rule leaves out."""
        self._put_in(Copy(self._calendar(), self._start(), self._link(), "interview"))

    def _link(self) -> str:
        # Longer than the usual author's: thousands of changes shall seldom meet by chance.
        letters = "".join(self.chance.choice("abcdefghijklmnop") for _ in range(4))
        return f"https://meet.google.com/ran-{letters}-dom"

    def _is_served(self) -> bool:
        try:
            return self.rig.api.get("/readyz", timeout=2).is_success
        except httpx.TransportError:
            return False

    def _is_set(self) -> bool:
        wish = {"select": ["all"], "title_excludes": self.oracle.excluded}
        try:
            status = self.rig.api.put("/v1/rules", json=wish).status_code
        except httpx.TransportError:
            return False
        assert status in {200, 503}, f"PUT /v1/rules: {status}"
        return status == httpx.codes.OK


@dataclass
class Stage:
    """A running Punctual under a fault."""

    rig: Rig
    keeper: Keeper
    database_url: str
    calendars: list[str]
    oracle: Oracle
    author: StubbornAuthor
    sender: Sender | None = None
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    wrong: list[str] = field(default_factory=list)
    promises: set[str] | None = None  # what must be stored in the end; everything acknowledged if None
    healthy_seconds: Callable[[datetime, datetime], float] | None = None

    def edit(self, times: int, *, pause_s: float = 0.0) -> None:
        """Have the author make so many changes."""
        for _ in range(times):
            self.author.edit()
            time.sleep(pause_s)

    @contextmanager
    def editing(self, *, pause_s: float = 0.2) -> Iterator[list[int]]:
        """Have the author make changes for the length of a `with` block; the list ends with their number."""
        made: list[int] = [0]
        failed: list[BaseException] = []
        stop = threading.Event()

        def edit_on() -> None:
            try:
                while not stop.wait(pause_s):
                    self.author.edit()
                    made[0] += 1
            except BaseException as broken:
                failed.append(broken)

        thread = threading.Thread(target=edit_on, name="author", daemon=True)
        thread.start()
        try:
            yield made
        finally:
            stop.set()
            thread.join(120)
        if failed:
            raise failed[0]

    def notify(self, message_id: str, *, padding: bytes = b"") -> int:
        """Send one signed notification under this id and return the answer's status."""
        line = HTTPConnection(urlsplit(self.rig.base_url).netloc, timeout=15)
        try:
            return post(line, message_id, notification(self.calendars[0]) + padding)
        finally:
            line.close()

    def count(self, query: str, *values: object) -> int:
        """Return the number that a query finds in the database."""
        with psycopg.connect(self.database_url, connect_timeout=10) as connection:
            row = connection.execute(query.encode(), values).fetchone()
        assert row is not None
        return int(row[0])

    def seconds_to_bot(self, within: float = 60) -> float:
        """Put a meeting into a calendar and return how long it took until its bot lived."""
        known = {bot["id"] for bot in self.rig.live_bots()}
        began = time.monotonic()
        self.author.create_wanted()
        until(
            lambda: any(bot["id"] not in known for bot in self.rig.live_bots()),
            within=within,
            every=0.05,
        )
        return time.monotonic() - began

    def come_to_rest(self, within: float = 60, *, quiet: bool = True) -> float:
        """
        Wait until the right bots live and, unless not *quiet*, nothing is due.

        The seconds it took are returned.
        """
        return round(judge.seconds_to_rest(self.rig, self.oracle, within=within, quiet=quiet), 1)

    def processes_of(self, name: str) -> list[Any]:
        """List the processes of a kept process's tree, its top first."""
        return tree_of(self.rig, name)

    def kill_one(self, name: str) -> bool:
        """Kill -9 a random process of a tree; whoever looks after it starts it again."""
        with suppress(psutil.NoSuchProcess, IndexError):
            self.chance.choice(self.processes_of(name)).kill()
            return True
        return False

    def kill_all(self, name: str) -> None:
        """Kill -9 a whole tree at once, as a machine that loses power does."""
        self.keeper.restart(name)

    def demand(self, holds: bool, otherwise: str) -> None:
        """Note *otherwise* as a violation unless it holds; the judgement at the end counts them."""
        if not holds:
            self.wrong.append(otherwise)

    def demand_honest_answers(
        self, since: float = 0.0, *, within: float = 3.0, also: frozenset[int] = frozenset()
    ) -> dict[str, Figure]:
        """Demand that every answer since then was a 2xx or a 503, and soon; returns what was seen."""
        assert self.sender is not None
        statuses, slowest = self.sender.statuses(since), self.sender.slowest(since)
        strange = {
            s: n for s, n in statuses.items() if not 200 <= s < 300 and s != 503 and s not in also
        }
        self.demand(not strange, f"answers that are neither 2xx nor 503: {strange}")
        self.demand(slowest <= within, f"an answer took {slowest:.1f} s")
        return {
            "2xx": sum(n for s, n in statuses.items() if 200 <= s < 300),
            "503": statuses.get(503, 0),
            "slowest_answer_s": round(slowest, 2),
            "longest_without_2xx_s": round(self.sender.longest_silence(since), 2),
        }

    def finish(self, within: float = 60, /, **figures: Figure) -> Result:
        """Stop sending, wait for rest and judge what every fault has to leave behind."""
        if self.sender is not None:
            self.sender.stop()
        rested_s = self.come_to_rest(within)
        acked = self.promises
        if acked is None:
            own = self.sender.acked if self.sender is not None else set()
            acked = judge.acked_by_emulator(self.rig) | own
        doubled = judge.overlaps(judge.every_record(self.rig), self.healthy_seconds)
        feed = self.rig.feed()
        lost = judge.lost_deliveries(self.database_url, acked)
        self.demand(
            not lost, f"{len(lost)} acknowledged deliveries lost, such as {min(lost, default='')}"
        )
        broken = judge.gaps(feed)
        self.demand(not broken, f"{len(broken)} subjects with gaps: {list(broken.items())[:1]}")
        aside = judge.parked(self.database_url)
        self.demand(not aside, f"{len(aside)} rows parked: {aside[:3]}")
        self.demand(
            doubled.longest_s <= judge.LONGEST_OVERLAP_S,
            f"two bots at {doubled.worst} for {doubled.longest_s:.0f} s",
        )
        self.demand(not doubled.in_call, f"two bots of one meeting in a call, {doubled.in_call} times")
        counted: dict[str, Figure] = {
            **figures,
            "rest_s": rested_s,
            "acked": len(acked),
            "lost": len(lost),
            "domain_events": len(feed),
            "double_s": round(doubled.longest_s, 1),
        }
        return Result(not self.wrong, counted, "; ".join(self.wrong))


@contextmanager
def standing(
    ground: Ground,
    *,
    database_url: str | None = None,
    broker_url: str = "memory://",
    settings: Mapping[str, str] | None = None,
    direct_url: str | None = None,
    calendars: int = 4,
    per_second: float = 0,
    bots: str = "recall_managed",
    waits: bool = True,
    consumer_url: str | None = None,
) -> Iterator[Stage]:
    """
    Run Punctual for the length of a `with` block, with connected calendars and, if asked, a sender.

    *direct_url* reaches the database for the judge when *database_url* leads through a proxy. With
    *waits* every calendar has been looked at before the block begins. *consumer_url* is the AMQP
    broker that a downstream service listens to from the start, over HTTP too; its ledgers are in the
    ground's folder.
    """
    url = database_url or ground.fresh_database()
    chosen = {**QUICK, "PUNCTUAL_BOT_MODE": bots, **(settings or {})}
    in_tree = ("--in-tree",) if broker_url.startswith("memory") else ()
    with ExitStack() as opened:
        rig = opened.enter_context(running(ground.folder, url, broker_url=broker_url, settings=chosen))
        keeper = Keeper(rig)
        keeper.keep("serve", "worker.cli", "serve", *in_tree)
        keeper.keep("work", "worker.cli", "work", *in_tree)
        keeper.start()
        opened.callback(keeper.stop)
        answer(rig.emulator.patch("/limits", json={"enabled": False}))
        rig.rules()
        if consumer_url is not None:
            consumer = start_consumer(rig, consumer_url, ground.folder)
            opened.callback(consumer.wait)
            opened.callback(consumer.kill)
        known = [rig.calendar(f"person{n}@example.com") for n in range(calendars)]
        if waits:
            until(lambda: _synced(rig) == calendars, within=90)
        oracle = Oracle()
        stage = Stage(
            rig,
            keeper,
            direct_url or url,
            known,
            oracle,
            StubbornAuthor(rig, oracle, known, ground.seed),
            chance=random.Random(ground.seed),
        )
        if per_second:
            stage.sender = opened.enter_context(Sender(rig.base_url, known, per_second=per_second))
        yield stage


def _synced(rig: Rig) -> int:
    return sum(bool(calendar["last_synced_at"]) for calendar in rig.every("/v1/calendars"))
