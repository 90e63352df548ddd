"""
Processes that die as ordered and come back, and what is known of the work they leave behind.

Time does not pass here by waiting: after a death the leases of the dead are ended in the database,
which alone knows them, and every wait is over.
"""

from __future__ import annotations

import multiprocessing
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import httpx
from sqlalchemy import Engine, text

from tests.faults import crashing_lives
from tests.system.rig import answer

WORKER, RECEIVER = "worker", "receiver"
KILLED = -9
PATIENCE_S = 90.0
_DUE = ("calendars", "slots", "endpoints", "sources", "duties", "connections", "push_channels")
#: An order to die, as the environment of a process says it.
Armed = Mapping[str, str]

FORKS = multiprocessing.get_context("forkserver")


class Trouble(AssertionError):
    """Something is not as it has to be."""


@dataclass
class Life:
    """One process of the stage."""

    process: ForkServerProcess
    line: Connection | None = None
    is_armed: bool = False

    @property
    def is_over(self) -> bool:
        return self.process.exitcode is not None


@dataclass(kw_only=True)
class Cast:
    """A worker and a receiver that may die, the Recall they talk to, and the database they share."""

    folder: Path
    environment: dict[str, str]
    db: Engine
    emulator: httpx.Client
    api: httpx.Client
    lives: dict[str, Life] = field(default_factory=dict)
    deaths: list[str] = field(default_factory=list)
    _orders: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    # Lives

    def start(self, role: str, armed: Armed | None = None) -> None:
        """Bring a role to life, with an order to die perhaps."""
        environment = {**self.environment, **(armed or {})}
        log_file = str(self.folder / f"{role}.log")
        line = None
        if role == WORKER:
            line, far = FORKS.Pipe()
            process = FORKS.Process(target=crashing_lives.work, args=(environment, log_file, far))
        else:
            process = FORKS.Process(target=crashing_lives.receive, args=(environment, log_file))
        process.daemon = True
        process.start()
        if line is not None:
            far.close()
        self.lives[role] = Life(process, line, is_armed=bool(armed))
        self._await_birth(role)

    def restart(self, role: str, armed: Armed | None = None) -> None:
        """End a role's life in peace and begin another one."""
        self.stop(role)
        self.start(role, armed)

    def stop(self, role: str) -> None:
        """Let a role end as a service manager would."""
        life = self.lives.pop(role, None)
        if life is None or life.is_over:
            return
        if life.line is not None:
            with suppress(OSError):
                life.line.send("stop")
        else:
            life.process.terminate()
        life.process.join(PATIENCE_S)
        if life.is_armed and life.process.exitcode == KILLED:
            self.deaths.append(role)  # its point is passed on the way out
        if not life.is_over:
            life.process.kill()
            raise Trouble(f"the {role} did not stop")

    def revive(self, role: str) -> None:
        """Bring a role back that has died as ordered; any other death is trouble."""
        life = self.lives[role]
        life.process.join(PATIENCE_S)
        if not life.is_armed or life.process.exitcode != KILLED:
            raise Trouble(f"the {role} died by itself: code {life.process.exitcode}")
        self.deaths.append(role)
        self.let_time_pass()
        following = self._orders[role].pop(0) if self._orders[role] else None
        self.start(role, {"PUNCTUAL_CRASH_AT": following} if following else None)
        if role == RECEIVER:
            answer(self.emulator.post("/deliveries/replay", json={"state": "pending"}))

    def order(self, role: str, *points: str) -> None:
        """Have a role die at each of these points, one after the other, from the next life on."""
        first, *following = points
        self._orders[role] = list(following)
        self.restart(role, {"PUNCTUAL_CRASH_AT": first})

    def disarm(self) -> None:
        """Have nobody die any more."""
        self._orders.clear()
        for role, life in list(self.lives.items()):
            if life.is_armed:
                self.restart(role)

    def _await_birth(self, role: str) -> None:
        life = self.lives[role]
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            if life.is_over:
                if life.is_armed:
                    return self.revive(role)  # its point was passed on the way up
                break
            if life.line is not None:
                if life.line.poll(0.05) and _heard(life.line) == "ready":
                    return None
            elif self._serves():
                return None
        raise Trouble(f"the {role} did not start; see {self.folder}/{role}.log")

    def _serves(self) -> bool:
        try:
            return self.api.get("/healthz").is_success
        except httpx.TransportError:
            time.sleep(0.01)
            return False

    def end(self) -> None:
        """Let nobody live on."""
        for life in self.lives.values():
            kill_off(life.process)

    # Time

    def settle(self) -> None:
        """Have everything that is known acted on, reviving whoever dies on the way."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            self.hear_out()
            ran, failed = self.work()
            if failed:
                raise Trouble(f"jobs failed: {failed[:5]}")
            if not ran and self._is_all_sent():
                return
        raise Trouble(f"not quiet within {PATIENCE_S:.0f} s: {self.waiting()}")

    def work(self) -> tuple[dict[str, int], list[str]]:
        """Have the worker run what is due; if it dies, its successor does."""
        while True:
            life = self.lives[WORKER]
            assert life.line is not None
            try:
                life.line.send("work")
                if not life.line.poll(PATIENCE_S):
                    raise Trouble("the worker hangs")
                ran, failed = life.line.recv()
                return ran, failed
            except (EOFError, OSError):
                self.revive(WORKER)

    def hear_out(self) -> None:
        """Wait until the receiver has answered every notification, reviving it if it dies."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            if self.lives[RECEIVER].is_over:
                self.revive(RECEIVER)
            if self._is_all_sent():
                return
            time.sleep(0.004)
        raise Trouble("notifications are not answered")

    def _is_all_sent(self) -> bool:
        sent = answer(self.emulator.get("/state"))["webhooks"]
        if sent["in_flight"] or not sent["waiting"]:
            return not (sent["in_flight"] or sent["waiting"])
        if not self.lives[RECEIVER].is_over:
            # Refused for a moment while nobody listened: the sender would come again in five seconds.
            answer(self.emulator.post("/deliveries/replay", json={"state": "pending"}))
        return False

    def let_time_pass(self) -> None:
        """Let every lease run out and every wait be over."""
        with self.db.begin() as tx:
            for table in _DUE:
                tx.execute(
                    text(
                        f"UPDATE {table} SET lease_until = NULL, due_at = least(due_at, now())"  # fixed names
                        " WHERE lease_until IS NOT NULL OR due_at > now()"
                    )
                )
            tx.execute(text("UPDATE endpoints SET held_until = NULL WHERE held_until > now()"))
            tx.execute(text("UPDATE postings SET due_at = now() WHERE due_at > now()"))
            tx.execute(text("UPDATE outbox SET publish_after = NULL WHERE publish_after > now()"))
            tx.execute(text("DELETE FROM leases"))
            tx.execute(text("DELETE FROM budgets"))

    def waiting(self) -> dict[str, int]:
        """Count what still has to be done, by kind; empty at rest."""
        questions = {
            **{
                f"{table} due": f"SELECT count(*) FROM {table} WHERE wanted > done"  # fixed names
                for table in ("calendars", "slots", "sources", "duties")
            },
            "endpoints due": "SELECT count(*) FROM endpoints WHERE wanted > done AND state = 'active'",
            "unsettled": "SELECT count(*) FROM calendar_events WHERE unsettled",
            "intents": "SELECT count(*) FROM slots WHERE op IS NOT NULL",
            "deliveries": "SELECT count(*) FROM deliveries WHERE state IN ('stored', 'parked')",
            "unnumbered": "SELECT count(*) FROM outbox WHERE position IS NULL",
            "postings": "SELECT count(*) FROM postings WHERE state = 'waiting'",
            "gaps": "SELECT count(*) FROM (SELECT 1 FROM outbox GROUP BY subject"
            " HAVING count(*) <> max(sequence)) AS broken",
        }
        if self.environment["PUNCTUAL_EVENTS_URL"]:
            questions["unpublished"] = "SELECT count(*) FROM outbox WHERE published_at IS NULL"
        with self.db.begin() as tx:
            counts = {name: tx.execute(text(sql)).scalar_one() for name, sql in questions.items()}
        return {name: count for name, count in counts.items() if count}


def kill_off(process: ForkServerProcess) -> None:
    process.kill()
    process.join(5)


def _heard(line: Connection) -> object:
    try:
        return line.recv()
    except (EOFError, OSError):
        return None


def dies_soon(life: Life) -> bool:
    life.process.join(0.5)
    return life.is_over
