"""A provider that refuses a call says until when: nobody is told to come back sooner."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from worker.budgets import Bucket, capacity_of

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
seconds = st.floats(0, 900)


@given(per_minute=st.integers(1, 700), tokens=st.floats(0, 1), block=seconds, passed=seconds)
def test_whoever_comes_during_a_block_waits_for_its_end_at_least(
    per_minute: int, tokens: float, block: float, passed: float
) -> None:
    full = Bucket(per_minute, capacity_of(per_minute) * tokens, NOON)
    end = NOON + timedelta(seconds=block)

    later = full.slowed(end).counted(NOON + timedelta(seconds=passed))

    assert later.counted_at + later.wait() >= end


@given(blocks=st.lists(seconds, min_size=1, max_size=5))
def test_of_several_refusals_the_latest_end_counts(blocks: list[float]) -> None:
    bucket = Bucket(60, 15.0, NOON)
    for block in blocks:
        bucket = bucket.slowed(NOON + timedelta(seconds=block))

    assert bucket.counted_at + bucket.wait() >= NOON + timedelta(seconds=max(blocks))
