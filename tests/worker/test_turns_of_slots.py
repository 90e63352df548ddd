"""Too many bots for the provider's budget: the soonest meetings come first, and nobody hurries in vain."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from models.domain.bots import Standing, Step
from models.sealing import Vault
from tests.builders import NOON, a_calendar, a_found, an_event
from tests.fakes import FakeBotProvider
from tests.worker.world import World
from worker.budgets import SharedBudgets
from worker.errors import TryLater
from worker.lining_up import EAGERNESS, LONGEST_TURN
from worker.ports import Allowance
from worker.reconciling import reconcile
from worker.turns import Outcome

SCHEDULE = "recall.schedule"


@dataclass(slots=True)
class Budgeted(FakeBotProvider):
    """Bots whose every step costs a call of a real budget; `served` is whom they went to, in order."""

    allowance: Allowance = field(kw_only=True)
    served: list[datetime] = field(default_factory=list)
    refused: int = 0

    def carry_out(self, step: Step, *, key: UUID) -> Standing:
        try:
            self.allowance.take(SCHEDULE, is_far=step.is_far(self.now()))
        except TryLater:
            self.refused += 1
            raise
        assert step.seat is not None
        self.served.append(step.seat.start_at)
        return FakeBotProvider.carry_out(self, step, key=key)


@dataclass
class Crowd:
    """A world with more meetings than the budget allows calls for, and time that passes when told."""

    world: World
    bots: Budgeted

    def pass_time(self, seconds: float) -> None:
        passed = {"passed": timedelta(seconds=seconds)}
        with self.world.db.begin() as tx:
            tx.execute(text("UPDATE budgets SET counted_at = counted_at - :passed"), passed)
            tx.execute(text("UPDATE budgets SET blocked_until = blocked_until - :passed"), passed)
            tx.execute(text("UPDATE slots SET due_at = due_at - :passed"), passed)

    def work(self) -> None:
        while reconcile(self.world.rt) is not Outcome.NOTHING_DUE:
            pass

    def work_for(self, seconds: int) -> None:
        for _ in range(seconds):
            self.work()
            self.pass_time(1)
        self.work()

    def wait_for_turns(self) -> list[float]:
        """Return how long each slot still waits, soonest meeting first."""
        with self.world.db.begin() as tx:
            rows = tx.execute(
                text(
                    "SELECT extract(epoch FROM due_at - clock_timestamp()) FROM slots"
                    " WHERE wanted > done ORDER BY start_at"
                )
            )
            return [float(wait) for wait in rows.scalars()]


def a_crowd(db: Engine, vault: Vault, *, meetings: int, per_minute: int) -> Crowd:
    a_calendar(db)
    world = World(db, vault)
    allowance = SharedBudgets(db, {SCHEDULE: per_minute}, sleep=lambda _: None)
    bots = Budgeted(now=lambda: world.at, allowance=allowance)
    world.rt = replace(world.rt, bots=bots)
    starts = [NOON + timedelta(minutes=n) for n in range(meetings)]
    random.Random(7).shuffle(starts)
    for chunk in range(0, meetings, 50):
        world.store(
            *[
                a_found(an_event(f"e{start:%d%H%M}", start=start, link=f"room-{start:%d%H%M}"))
                for start in starts[chunk : chunk + 50]
            ]
        )
    return Crowd(world, bots)


@pytest.fixture
def crowd(db: Engine, vault: Vault) -> Crowd:
    return a_crowd(db, vault, meetings=60, per_minute=20)


def starts(number: int) -> list[datetime]:
    return [NOON + timedelta(minutes=n) for n in range(number)]


def test_the_first_calls_of_a_small_budget_are_for_the_soonest_meetings(
    db: Engine, vault: Vault
) -> None:
    crowd = a_crowd(db, vault, meetings=200, per_minute=20)

    while len(crowd.bots.served) < 20:
        crowd.work()
        crowd.pass_time(3)

    assert crowd.bots.served[:20] == starts(20)


def test_whoever_is_rung_for_the_soonest_meeting_is_served(crowd: Crowd) -> None:
    with crowd.world.db.begin() as tx:
        tx.execute(text("UPDATE slots SET due_at = now() - start_at::time::interval"))

    reconcile(crowd.world.rt)

    assert crowd.bots.served == starts(1)


def test_several_workers_serve_the_soonest_meetings_first(crowd: Crowd) -> None:
    for _ in range(20):
        threads = [threading.Thread(target=crowd.work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        crowd.pass_time(3)

    # One that is being worked on by each of the others may be overtaken.
    assert set(starts(12)) <= set(crowd.bots.served[:15])


def test_the_refused_wait_in_order_of_meeting_start_and_spread_out(crowd: Crowd) -> None:
    crowd.work()

    waits = crowd.wait_for_turns()
    within_reach = [wait for wait in waits if wait < LONGEST_TURN.total_seconds()]

    assert waits[: len(within_reach)] == within_reach == sorted(within_reach)
    assert max(waits) <= LONGEST_TURN.total_seconds() + 10
    within_a_minute = [wait for wait in waits if wait <= 60]
    assert 10 <= len(within_a_minute) <= 20


def test_waiting_for_a_turn_costs_few_vain_tries(crowd: Crowd) -> None:
    crowd.work_for(30)

    assert crowd.bots.refused <= 3 * 60


def test_who_gives_way_to_a_line_joins_it_at_the_pace_of_its_budget(crowd: Crowd) -> None:
    crowd.work()
    with crowd.world.db.begin() as tx:
        # All but the soonest were asked for anew, as they are after an outage, and wait in no line.
        tx.execute(text("UPDATE slots SET due_at = now(), in_line = false WHERE wanted > done"))
        soonest = "(SELECT id FROM slots WHERE wanted > done ORDER BY start_at LIMIT 1)"
        almost_due = "now() + interval '0.9 s'"
        tx.execute(text(f"UPDATE slots SET due_at = {almost_due}, in_line = true WHERE id = {soonest}"))
    crowd.work()

    _, second, *_, tenth = crowd.wait_for_turns()[:10]

    every_s = 60 / 15  # 20 a minute, of which 5 may go at once
    assert (tenth - second) / 8 == pytest.approx(every_s * EAGERNESS, rel=0.05)


def test_after_a_refusal_by_the_provider_the_soonest_meeting_goes_first(crowd: Crowd) -> None:
    crowd.work_for(5)
    served = len(crowd.bots.served)
    crowd.bots.allowance.objected(SCHEDULE, timedelta(seconds=20))

    while len(crowd.bots.served) < served + 5:
        crowd.work()
        crowd.pass_time(3)

    assert crowd.bots.served[served : served + 5] == starts(served + 5)[served:]


def test_a_meeting_that_turns_up_and_starts_soon_goes_before_all_others(crowd: Crowd) -> None:
    crowd.work_for(3)
    soon = crowd.world.at + timedelta(minutes=20)
    served = len(crowd.bots.served)

    crowd.world.store(a_found(an_event("soon", start=soon, link="room-soon")))
    crowd.work()

    assert crowd.bots.served[served:] == [soon]


def test_waiting_for_a_turn_is_nobodys_failure(crowd: Crowd) -> None:
    crowd.world.change_slot(tries=11)
    crowd.work()

    assert crowd.world.count("slots", "tries > 11 OR parked_at IS NOT NULL") == 0
    assert max(crowd.wait_for_turns()) <= LONGEST_TURN.total_seconds() + 10
