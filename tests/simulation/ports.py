"""The ports of a simulated worker: each call is a place where the scheduler may strike."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import psycopg
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

from worker.errors import TryLater
from worker.ports import Outgoing, PostAnswer

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

BEGIN_FAULTS = {"crash": 3, "pause": 2, "no_database": 1}
COMMIT_FAULTS = {"crash_before": 2, "crash_after": 3, "lost_before": 1, "lost_after": 1}
RING_FAULTS = {"dropped": 4, "doubled": 2, "late": 3}
PUBLISH_FAULTS = {"down": 3, "crash": 1, "crash_after": 2, "unconfirmed": 2, "refused": 2, "pause": 1}
POST_FAULTS = {
    "500": 3,
    "429": 1,
    "silent": 2,
    "lost_answer": 3,
    "crash": 1,
    "crash_after": 2,
    "pause": 1,
}


class SimulatedEngine:
    """An engine whose transactions may be put off, cut short, or end without anybody hearing of it."""

    def __init__(self, sim: Simulation, engine: Engine) -> None:
        self._sim = sim
        self._engine = engine

    def begin(self) -> SimulatedTransaction:
        return SimulatedTransaction(self._sim, self._engine)


class SimulatedTransaction:
    """One transaction: nothing else runs while it is open."""

    def __init__(self, sim: Simulation, engine: Engine) -> None:
        self._sim = sim
        self._engine = engine
        self._inner: Any = None
        self._tx: Connection | None = None

    def __enter__(self) -> Connection:
        sim = self._sim
        turn = sim.stage.current
        if turn is not None:
            sim.check_alive()
            fault = sim.fault(f"{turn.name}.begin", sim.rate, BEGIN_FAULTS)
            if fault == "crash":
                sim.die()
            if fault == "pause":
                sim.wait(sim.decisions.between("pause", 1, 90))
            elif sim.decisions.value("interleave") < 0.3:
                sim.wait(sim.decisions.between("latency", 0.0005, 0.02))
            if fault == "no_database":
                raise _database_error("no connection")
        self._inner = self._engine.begin()
        self._tx = self._inner.__enter__()
        assert self._tx is not None
        return self._tx

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        sim = self._sim
        turn = sim.stage.current
        if raised is not None:
            sim.database.forget_notices()
            result: bool | None = self._inner.__exit__(kind, raised, trace)
            return result
        assert self._tx is not None
        try:
            sim.invariants.before_commit(self._tx)
        except BaseException as violation:
            self._inner.__exit__(type(violation), violation, violation.__traceback__)
            raise
        fault = None
        if turn is not None:
            fault = sim.fault(f"{turn.name}.commit", sim.rate, COMMIT_FAULTS)
        if fault in {"crash_before", "lost_before"}:
            sim.database.forget_notices()
            self._tx.rollback()
            self._inner.__exit__(None, None, None)
            if fault == "crash_before":
                sim.die()
            raise _database_error("connection lost before the commit")
        self._inner.__exit__(None, None, None)
        sim.invariants.after_commit()
        if fault == "crash_after" or sim.committed():
            sim.die()
        if fault == "lost_after":
            raise _database_error("connection lost after the commit")
        return None


def _database_error(words: str) -> OperationalError:
    return OperationalError(words, None, psycopg.OperationalError(words))


class SimulatedBell:
    """Rings that get lost, come twice, late and in any order."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim

    def ring(self, job: str, row_id: str | None = None) -> None:
        sim = self._sim
        fault = sim.fault("ring", sim.rate * 6, RING_FAULTS)
        if fault == "dropped":
            return
        # What the relay is rung for comes in bursts; one relay serves them all.
        longest_s = 1.5 if job == "relay" else 0.05
        wait_s = sim.decisions.between("ring.latency", 0.001, longest_s)
        if fault == "late":
            wait_s += sim.decisions.between("ring.late", 0.1, 20)
        sim.after(wait_s, lambda: sim.hear(job, row_id))
        if fault == "doubled":
            sim.after(wait_s + sim.decisions.between("ring.again", 0, 3), lambda: sim.hear(job, row_id))


class Sink:
    """What one subscriber has got: per subject the highest sequence, and the id of every event."""

    def __init__(self, sim: Simulation, name: str) -> None:
        self.sim = sim
        self.name = name
        self.last: dict[str, int] = defaultdict(int)
        self.ids: dict[tuple[str, int], str] = {}

    def take(
        self, *, subject: str, sequence: int, event_id: str, kind: str, data: dict[str, Any]
    ) -> None:
        known = self.ids.setdefault((subject, sequence), event_id)
        if known != event_id:
            self.sim.violated(f"I4 {self.name}: {subject} #{sequence} came again under another id")
        if sequence > self.last[subject] + 1:
            before = self.last[subject]
            self.sim.violated(f"I4 {self.name}: {subject} #{sequence} came after #{before}")
        if sequence == self.last[subject] + 1:
            self.last[subject] = sequence
            self.sim.invariants.heard(self.name, subject, kind, data)


class SimulatedPublisher:
    """A broker that takes, refuses, forgets to confirm, or is not there."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self.sink = Sink(sim, "broker")

    def publish(self, batch: Sequence[Outgoing]) -> Sequence[str | None]:
        sim = self._sim
        fault = sim.fault("publish", sim.rate * 4, PUBLISH_FAULTS)
        sim.wait(sim.decisions.between("latency", 0.001, 0.05))
        match fault:
            case "down":
                raise TryLater("the broker cannot be reached")
            case "crash":
                sim.die()
            case "pause":
                sim.wait(sim.decisions.between("pause", 1, 60))
        verdicts: list[str | None] = []
        for message in batch:
            odd = fault in {"refused", "unconfirmed"} and sim.decisions.value("publish.which") < 0.5
            if odd and fault == "refused":
                verdicts.append("not routed")
                continue
            self.sink.take(
                subject=message.subject,
                sequence=message.sequence,
                event_id=message.id,
                kind=message.type,
                data=message.data,
            )
            verdicts.append("not confirmed" if odd else None)
        if fault == "crash_after":
            sim.die()
        return verdicts

    def close(self) -> None:
        """Nothing is held."""


class SimulatedPoster:
    """A subscriber that answers, refuses, or takes without answering."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self.sink = Sink(sim, "endpoint")

    def post(self, url: str, body: bytes, *, message_id: str, secrets: Sequence[str]) -> PostAnswer:
        sim = self._sim
        fault = sim.fault("post", sim.rate * 4, POST_FAULTS)
        sim.wait(sim.decisions.between("latency", 0.005, 0.2))
        match fault:
            case "crash":
                sim.die()
            case "silent":
                sim.wait(15)
                return PostAnswer(None, "time-out", None, duration_ms=15_000)
            case "500" | "429":
                return PostAnswer(int(fault), None, 3 if fault == "429" else None, duration_ms=1)
            case "pause":
                sim.wait(sim.decisions.between("pause", 1, 60))
        if not secrets:
            sim.violated("I18 a post that nothing signs")
        event = json.loads(body)
        self.sink.take(
            subject=event["subject"],
            sequence=event["sequence"],
            event_id=message_id,
            kind=event["type"],
            data=event["data"],
        )
        if fault == "crash_after":
            sim.die()
        if fault == "lost_answer":
            sim.wait(15)
            return PostAnswer(None, "time-out", None, duration_ms=15_000)
        return PostAnswer(204, None, None, duration_ms=1)
