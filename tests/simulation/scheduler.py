"""
Lets time pass: the agenda of what happens when, the turns of workers, and their upkeep.

Time is that of the next thing to happen. A turn gives way before a transaction and around every call
to the outside, and is taken up again when its wait is over; between two such places nothing else runs.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from celery import Celery
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from models.tables import due
from models.tables.base import Due
from tests.simulation.database import Database
from tests.simulation.decisions import Decisions
from tests.simulation.invariants import Invariants
from tests.simulation.provider import Provider
from tests.simulation.turns import Crash, Stage, Turn
from worker.runtime import Runtime
from worker.sandbox.recall.clock import Clock
from worker.sandbox.recall.store import Workspace
from worker.tasks import add_tasks
from worker.upkeep import Upkeep

MOST_TURNS = 4
WORKERS = 2
MOST_STEPS = 40_000
#: A killed worker's work is taken up again so soon (design, liveness).
TAKEN_UP_WITHIN = timedelta(seconds=30)

_DUE = [due.table_of(row) for row in Due.__subclasses__()]
_NEXT_DUE = (
    "SELECT min(at) FROM ("
    + "".join(
        "SELECT greatest(due_at, coalesce(lease_until, due_at)) AS at"
        f" FROM {table.name} WHERE wanted > done AND parked_at IS NULL UNION ALL "
        for table in _DUE
    )
    + """
    SELECT now() FROM calendar_events WHERE unsettled
    UNION ALL SELECT CASE WHEN tries = 0 THEN now() ELSE received_at + interval '2 minutes' END
        FROM deliveries WHERE state = 'stored' AND received_at > now() - interval '5 minutes'
    UNION ALL SELECT coalesce(publish_after, now()) FROM outbox WHERE published_at IS NULL
    UNION ALL SELECT min(end_at) FROM calendar_events WHERE is_wanted AND end_at > now()
    ) AS waiting"""
)


class Jobs:
    """Stands where the Celery app stands when tasks are added: the jobs by name."""

    def __init__(self, runtime: Callable[[], Runtime]) -> None:
        self.by_name: dict[str, Callable[..., object]] = {}
        add_tasks(cast("Celery", self), runtime)

    def task(
        self, name: str, **_limits: object
    ) -> Callable[[Callable[..., object]], Callable[..., object]]:
        def add(work: Callable[..., object]) -> Callable[..., object]:
            self.by_name[name] = work
            return work

        return add


class Violation(BaseException):
    """An invariant does not hold; the run ends here."""


@dataclass(slots=True)
class Worker:
    number: int
    upkeep: Upkeep


class Scheduler:
    """
    The loop of one simulation.

    Whoever inherits provides what takes part: `provider`, `invariants`, `rt`.
    """

    provider: Provider
    invariants: Invariants
    rt: Runtime

    def __init__(
        self,
        decisions: Decisions,
        database: Database,
        clock: Clock,
        ws: Workspace,
        *,
        keep_trace: bool = False,
    ) -> None:
        self.decisions = decisions
        self.database = database
        self.clock = clock
        self.ws = ws
        self.stage = Stage()
        self.trace: deque[str] | None = deque(maxlen=100_000) if keep_trace else None
        self.violation: str | None = None
        self.idle = timedelta(hours=1)
        self.last_fault_at = clock.now()
        self.fault_counts: Counter[str] = Counter()
        self.steps = self.turn_count = 0
        self._agenda: list[tuple[datetime, int, Callable[[], object]]] = []
        self._entries = 0
        self._waiting: deque[tuple[str, str | None]] = deque()
        self._running: list[Turn] = []
        self._doomed: list[Turn] = []
        self._tick_turn: Turn | None = None
        self._tick_at: datetime | None = None
        self._leader = self._ticks_asked = 0
        self._lost_claims: dict[tuple[str, str], datetime] = {}
        self._crash_after_commits: int | None = None
        self._jobs = Jobs(lambda: self.rt)
        self._workers: list[Worker] = []

    # What others ask of it

    def now(self) -> datetime:
        return self.clock.now()

    def after(self, seconds: float, action: Callable[[], object]) -> None:
        """Have something happen later."""
        self._entries += 1
        at = self.now() + timedelta(seconds=seconds)
        heapq.heappush(self._agenda, (at, self._entries, action))

    def wait(self, seconds: float) -> None:
        """Let the present turn wait while others work; nobody waits between turns."""
        turn = self.stage.current
        if turn is None:
            return
        self.check_alive()
        self.after(seconds, lambda: self._go_on(turn))
        self.stage.give_way()

    def fault(self, kind: str, rate: float, faults: Mapping[str, float]) -> str | None:
        """Say what goes wrong now, and remember it."""
        self.check_alive()
        found = self.decisions.fault(kind, rate, faults)
        if found is not None:
            self.last_fault_at = max(self.last_fault_at, self.now())
            self.fault_counts[found] += 1
            self.note(f"FAULT {kind}: {found}")
            self.rouse()
        return found

    def rouse(self) -> None:
        """Have upkeep look soon: in truth it looks twice a second, here only when there may be something."""
        soonest_s, _ = self._between_ticks()
        if self._tick_at is not None and self._tick_at > self.now() + timedelta(seconds=2 * soonest_s):
            self._tick_after(self.decisions.between("tick", *self._between_ticks()))

    def check_alive(self) -> None:
        turn = self.stage.current
        if turn is not None and turn.is_dead:
            raise Crash

    def die(self) -> None:
        """Kill the present turn, and perhaps its whole worker with it."""
        turn = self.stage.current
        assert turn is not None
        turn.is_dead = True
        for key in turn.claims:
            if key not in turn.overtaken and key not in turn.served:
                self._lost_claims[key] = self.now()
        if self.decisions.value("whole worker") < 0.4:
            self._doomed += [
                other for other in self._running if other is not turn and other.worker == turn.worker
            ]
            self._workers[turn.worker] = self._a_worker(turn.worker)
        self.note("killed")
        raise Crash

    def violated(self, words: str) -> None:
        """End the run: this must not be."""
        if self.violation is None:
            self.violation = words
            self.note(f"VIOLATED {words}")
        raise Violation(words)

    def hear(self, job: str, row_id: str | None) -> None:
        """Take in a ring; one that waits already is enough."""
        if (job, row_id) not in self._waiting:
            self._waiting.append((job, row_id))
        self._begin_turns()

    def claimed(self, turn: Turn, key: tuple[str, str], fence: int) -> None:
        """Note that a turn has claimed a row: whoever had it before is overtaken."""
        for other in self._running:
            if other is not turn and key in other.claims and key not in other.served:
                other.overtaken.add(key)
        turn.served = [served for served in turn.served if served != key]
        turn.claims[key] = fence
        turn.overtaken.discard(key)
        lost_at = self._lost_claims.pop(key, None)
        if lost_at is not None and self.decisions.is_quiet and self._crash_after_commits == 0:
            late = self.now() - lost_at
            if late > TAKEN_UP_WITHIN:
                self.violated(f"L3 {key[0]} was taken up {late.total_seconds():.0f} s after the crash")

    def committed(self) -> bool:
        """Say whether the present turn is to die after this commit, as the last probe has it."""
        turn = self.stage.current
        if turn is None or not turn.claims or not self._crash_after_commits:
            return False
        self._crash_after_commits -= 1
        return self._crash_after_commits == 0

    def note(self, words: str) -> None:
        if self.trace is not None:
            turn = self.stage.current
            who = f"{turn.name}.{turn.number}" if turn else "-"
            self.trace.append(f"{self.now():%d %H:%M:%S.%f} {who}: {words}")

    # Time

    def _run_for(self, seconds: float) -> None:
        """Let virtual time pass, with everything that happens in it."""
        until = self.now() + timedelta(seconds=seconds)
        while (at := self._next_at()) is not None and at <= until:
            self._step(at)
        self.clock.jump(until)
        self.ws.tick()
        self.provider.carry_webhooks()
        self.invariants.after_step()

    def _next_at(self) -> datetime | None:
        known = [
            self._agenda[0][0] if self._agenda else None,
            self.ws.agenda.next_at,
            self.ws.outgoing.next_at,
        ]
        return min((at for at in known if at is not None), default=None)

    def _step(self, at: datetime) -> None:
        self.steps += 1
        if self.steps > MOST_STEPS:
            self.violated("L7 it does not come to rest")
        self.clock.jump(max(at, self.now()))
        self.ws.tick()
        self.provider.carry_webhooks()
        if self._agenda and self._agenda[0][0] <= self.now():
            _, _, action = heapq.heappop(self._agenda)
            action()
        self.invariants.after_step()

    # Turns

    def _begin_turns(self) -> None:
        while self._waiting and len(self._running) < MOST_TURNS:
            if len(self._waiting) > 1 and self.decisions.value("order") < 0.3:
                self._waiting.rotate(-int(self.decisions.value("order of") * len(self._waiting)))
            job, row_id = self._waiting.popleft()
            self.begin(job, lambda job=job, row_id=row_id: self._do(job, row_id))  # type: ignore[misc]  # bound now

    def begin(self, name: str, work: Callable[[], object], worker: int | None = None) -> Turn:
        self.turn_count += 1
        if worker is None:
            worker = int(self.decisions.value("worker") * WORKERS)
        turn = Turn(name, worker, work, self.turn_count)
        self._running.append(turn)
        self.note(f"begin {name}.{turn.number}")
        self._go_on(turn)
        return turn

    def _go_on(self, turn: Turn) -> None:
        if turn.is_over:
            return
        self.stage.run(turn)
        self._look_after(turn)
        while self._doomed:
            doomed = self._doomed.pop()
            if not doomed.is_over:
                self.stage.kill(doomed)
                self._look_after(doomed)

    def _look_after(self, turn: Turn) -> None:
        if self.violation is not None:
            raise Violation(self.violation)
        if not turn.is_over:
            return
        if turn in self._running:
            self._running.remove(turn)
        raised = turn.raised
        if raised is not None and not isinstance(raised, Crash | OperationalError):
            self.note(f"raised {raised!r}")
            self.violated(f"{turn.name} raised {type(raised).__name__}: {raised}")
        self.after(0, self._begin_turns)

    def _do(self, job: str, row_id: str | None) -> None:
        self._jobs.by_name[job](*([] if row_id is None else [row_id]))

    # Upkeep

    def _tick(self) -> None:
        """Let the worker that keeps up do so; if it hangs, another one tries."""
        self._tick_at = None
        number = self._leader
        turn = self.begin("upkeep", lambda: self._keep_up(number), number)
        if turn.is_over:
            self._after_tick(turn)
            return
        self._tick_turn = turn
        self._await_tick(turn, tries=0)

    def _tick_after(self, seconds: float) -> None:
        """Tick then, unless another tick was asked for meanwhile."""
        self._tick_at = self.now() + timedelta(seconds=seconds)
        self._ticks_asked += 1
        asked = self._ticks_asked
        self.after(seconds, lambda: self._tick() if asked == self._ticks_asked else None)

    def _keep_up(self, number: int) -> None:
        is_measured = self._crash_after_commits is not None  # ticks are rarer here than in truth
        changes = self.decisions.value("leader") < 0.03 and not is_measured
        if not self._workers[number].upkeep.tick() or changes:
            self._leader = (number + 1) % WORKERS

    def _await_tick(self, turn: Turn, tries: int) -> None:
        def look() -> None:
            if turn.is_over:
                self._after_tick(turn)
            elif tries >= 20:
                self._leader = (self._leader + 1) % WORKERS
                self._tick()
            else:
                self._await_tick(turn, tries + 1)

        self.after(0.6, look)

    def _after_tick(self, turn: Turn) -> None:
        if turn.raised is not None:
            self._leader = (self._leader + 1) % WORKERS
            self._tick_after(self.decisions.between("restart", 0.5, 4))
            return
        with self.database.engine.begin() as tx:
            at = tx.execute(text(_NEXT_DUE)).scalar_one()
        soonest = self.now() + timedelta(seconds=self.decisions.between("tick", *self._between_ticks()))
        latest = self.now() + self.idle
        wanted_at = latest if at is None else min(max(at, soonest), latest)
        self._tick_after((wanted_at - self.now()).total_seconds() + 0.001)

    def _between_ticks(self) -> tuple[float, float]:
        # Rings mostly arrive; often enough is as often as a lost one may be waited for.
        return (0.5, 2.5) if self._crash_after_commits is not None else (3.0, 15.0)

    def _a_worker(self, number: int) -> Worker:
        return Worker(number, Upkeep(self.rt, name=f"worker {number}"))

    def _clear_stage(self) -> None:
        for turn in list(self._running):
            if not turn.is_over:
                self.stage.kill(turn)
        self._running.clear()
        self.database.forget_notices()

    def _be_idle_for(self, idle: timedelta) -> None:
        self.idle = idle
        if self._tick_turn is None or self._tick_turn.is_over:
            self._tick_after(0.5)
