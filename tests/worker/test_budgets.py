"""Shared call budgets: the bucket as arithmetic, then the real thing under real concurrency."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from tests.contracts.allowances import NAME, AllowanceContract, AllowanceWorld
from worker.budgets import PATIENCE, SLOWEST_PACE, Bucket, SharedBudgets, capacity_of
from worker.errors import TryLater

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

limits = st.integers(1, 700)
gaps = st.lists(st.floats(0, 20), min_size=1, max_size=80)


@given(per_minute=limits, gaps=gaps)
@settings(max_examples=100, deadline=None)
def test_no_minute_ever_sees_more_calls_than_the_limit(per_minute: int, gaps: list[float]) -> None:
    bucket = full(per_minute)
    granted: list[datetime] = []
    now = NOON
    for gap in gaps:
        now += timedelta(seconds=gap)
        for _ in range(per_minute // 3 + 2):
            bucket = bucket.counted(now)
            wait = bucket.wait()
            if wait > PATIENCE:
                break
            bucket = bucket.taken()
            granted.append(now + wait)

    for earlier, later in zip(granted, granted[per_minute:], strict=False):
        assert later - earlier >= MINUTE


@given(per_minute=limits)
def test_a_full_budget_gives_nearly_the_whole_limit_in_a_minute(per_minute: int) -> None:
    bucket = full(per_minute)
    now, granted = NOON, 0
    while now < NOON + MINUTE:
        bucket = bucket.counted(now).taken()
        now = bucket.counted_at + bucket.wait()
        granted += 1

    assert granted >= per_minute - 1
    assert granted <= per_minute


def test_an_objection_stops_everybody_until_its_end() -> None:
    bucket = full(60).slowed(NOON + timedelta(seconds=30))

    assert bucket.counted(NOON + timedelta(seconds=29)).wait() > timedelta(seconds=1)
    assert bucket.counted(NOON + timedelta(seconds=30)).wait() > timedelta()


def test_after_an_objection_calls_begin_one_by_one_and_slower() -> None:
    end = NOON + timedelta(seconds=30)

    bucket = full(60).slowed(end).counted(end)

    assert bucket.tokens == 0
    assert bucket.pace == pytest.approx(0.7)


def test_objections_of_one_burst_slow_down_once() -> None:
    end = NOON + timedelta(seconds=30)

    assert full(60).slowed(end).slowed(end).pace == pytest.approx(0.7)


def test_the_pace_has_a_floor_and_comes_back() -> None:
    bucket = full(60)
    for _ in range(20):
        bucket = bucket.slowed(bucket.counted_at)
    slowest = bucket.pace

    recovered = bucket.counted(NOON + timedelta(minutes=9)).pace

    assert slowest == SLOWEST_PACE
    assert recovered == pytest.approx(1.0)


def test_a_later_end_of_a_block_wins() -> None:
    late = NOON + timedelta(minutes=5)

    bucket = full(60).slowed(late).slowed(NOON + timedelta(seconds=1))

    assert bucket.blocked_until == late


def test_a_clock_that_goes_back_gives_nothing() -> None:
    bucket = replace(full(60), tokens=0.0)

    assert bucket.counted(NOON - MINUTE).tokens == 0


def test_a_budget_begins_full(db: Engine) -> None:
    budgets = SharedBudgets(db, {"recall.list": 60}, sleep=never)

    for _ in range(15):
        budgets.take("recall.list")


def test_who_would_wait_longer_is_told_how_long(db: Engine) -> None:
    budgets = SharedBudgets(db, {"recall.list": 4}, sleep=never)
    budgets.take("recall.list")

    with pytest.raises(TryLater) as raised:
        budgets.take("recall.list")

    assert raised.value.after is not None
    assert timedelta(seconds=18) < raised.value.after <= timedelta(seconds=20) - PATIENCE
    assert not raised.value.counts
    assert raised.value.is_definite


def test_being_turned_away_uses_nothing(db: Engine) -> None:
    budgets = SharedBudgets(db, {"recall.list": 4}, sleep=never)
    budgets.take("recall.list")
    waits = [told_to_wait(budgets) for _ in range(20)]

    assert waits == sorted(waits, reverse=True)


def test_budgets_do_not_touch_each_other(db: Engine) -> None:
    budgets = SharedBudgets(db, {"recall.list": 4, "recall.other": 4}, sleep=never)

    budgets.take("recall.list")
    budgets.take("recall.other")


def test_workers_share_one_budget(db: Engine) -> None:
    mine, theirs = (SharedBudgets(db, {"recall.list": 4}, sleep=never) for _ in range(2))
    mine.take("recall.list")

    with pytest.raises(TryLater):
        theirs.take("recall.list")


def test_an_objection_reaches_every_worker(db: Engine) -> None:
    mine, theirs = (SharedBudgets(db, {"recall.list": 600}, sleep=never) for _ in range(2))

    mine.objected("recall.list", timedelta(seconds=40))

    assert timedelta(seconds=39) < told_to_wait(theirs) < timedelta(seconds=41)


def test_an_objection_stops_those_who_already_wait(db: Engine) -> None:
    theirs = SharedBudgets(db, {"recall.list": 120}, sleep=never)
    mine = SharedBudgets(
        db,
        {"recall.list": 120},
        sleep=lambda _: theirs.objected("recall.list", timedelta(seconds=40)),
    )
    for _ in range(30):
        theirs.take("recall.list")

    with pytest.raises(TryLater):
        mine.take("recall.list")


def test_an_unknown_budget_is_a_mistake(db: Engine) -> None:
    with pytest.raises(KeyError):
        SharedBudgets(db, {}).take("recall.list")


def test_threads_together_stay_within_the_limit_and_lose_nothing(db: Engine) -> None:
    """A burst of a quarter, then three quarters a minute: 150 + 7.5 a second."""
    budgets = SharedBudgets(db, {"recall.schedule": 600})
    begun = time.monotonic()
    granted = together(8, lambda: grants_until(budgets, begun + 2.5))

    calls = sorted(at - begun for of_one in granted for at in of_one)
    for number, at in enumerate(calls, start=1):
        assert number <= 150 + 7.5 * (at + 0.05) + 1
    assert len(calls) >= 150 + 7.5 * 2.5 - 9


def test_nobody_starves(db: Engine) -> None:
    budgets = SharedBudgets(db, {"recall.schedule": 1200})
    with db.begin() as tx:
        tx.execute(text("INSERT INTO budgets (name, tokens) VALUES ('recall.schedule', 0)"))
    begun = time.monotonic()

    granted = [len(of_one) for of_one in together(6, lambda: grants_until(budgets, begun + 3))]

    assert min(granted) >= max(granted) / 3


def full(per_minute: int) -> Bucket:
    return Bucket(per_minute, capacity_of(per_minute), NOON)


def never(_seconds: float) -> None:
    """Stand in for sleeping."""


def told_to_wait(budgets: SharedBudgets) -> timedelta:
    with pytest.raises(TryLater) as raised:
        budgets.take("recall.list")
    assert raised.value.after is not None
    return raised.value.after


def grants_until(budgets: SharedBudgets, end: float) -> list[float]:
    granted = []
    while time.monotonic() < end:
        try:
            budgets.take("recall.schedule")
        except TryLater:
            time.sleep(0.01)
            continue
        granted.append(time.monotonic())
    return granted


def together(number: int, work: Callable[[], list[float]]) -> list[list[float]]:
    results: list[list[float]] = []
    threads = [threading.Thread(target=lambda: results.append(work())) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


class TestSharedBudgets(AllowanceContract):
    @pytest.fixture
    def world(self, db: Engine) -> AllowanceWorld:
        def pass_time() -> None:
            with db.begin() as tx:
                tx.execute(
                    text(
                        "UPDATE budgets SET blocked_until = blocked_until - interval '5 minutes',"
                        " counted_at = counted_at - interval '5 minutes'"
                    )
                )

        return AllowanceWorld(SharedBudgets(db, {NAME: 16}), calls=4, pass_time=pass_time)


def test_a_page_of_a_listing_waits_for_its_turn_longer_than_other_calls(db: Engine) -> None:
    waits: list[float] = []
    budgets = SharedBudgets(db, {"recall.list": 60, "recall.other": 60}, sleep=waits.append)
    for _ in range(15):
        budgets.take("recall.list")
        budgets.take("recall.other")

    budgets.take("recall.list", is_listing=True)

    assert 1 < waits[-1] <= 10
    with pytest.raises(TryLater):
        budgets.take("recall.other")


def test_the_last_calls_of_a_burst_are_for_what_is_urgent(db: Engine) -> None:
    budgets = SharedBudgets(db, {"recall.schedule": 40}, sleep=never)
    for _ in range(8):
        budgets.take("recall.schedule", is_far=True)

    with pytest.raises(TryLater):
        budgets.take("recall.schedule", is_far=True)

    for _ in range(2):
        budgets.take("recall.schedule")


def test_what_is_not_urgent_gets_as_many_calls_in_the_long_run() -> None:
    bucket = full(40)
    now, granted = NOON, 0
    while now < NOON + 10 * MINUTE:
        bucket = bucket.counted(now).taken()
        now = bucket.counted_at + bucket.wait(is_far=True)
        granted += 1

    assert granted == pytest.approx(10 + 300 - 2, abs=2)


def test_who_waits_is_told_how_long_everybody_ahead_takes(db: Engine) -> None:
    budgets = SharedBudgets(db, {"recall.other": 20}, sleep=never)

    with pytest.raises(TryLater) as raised:
        for _ in range(20):
            budgets.take("recall.other")

    assert raised.value.each == timedelta(seconds=4)
