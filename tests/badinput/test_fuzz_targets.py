"""Every fuzz target, for a while, with the loop of our own; `python -m tests.badinput.fuzz` goes on."""

from __future__ import annotations

import os
from random import Random

import pytest

from tests.badinput.fuzz import MOST_GROWTH_MIB, Mutator, Target, run_plain, targets

EXECUTIONS = int(os.environ.get("PUNCTUAL_TEST_FUZZ_EXECUTIONS", "20000"))
TARGETS = targets()


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_whatever_comes_nothing_is_raised_and_nothing_is_kept(target: Target) -> None:
    executions = EXECUTIONS * target.share // 100

    outcome = run_plain(target, executions=executions, seed=20261121)

    assert (outcome.exceptions, outcome.first) == (0, "")
    assert outcome.executions >= executions
    assert outcome.growth_mib < MOST_GROWTH_MIB


def test_a_target_that_raises_is_noticed() -> None:
    def brittle(data: bytes) -> None:
        assert b"\xff" not in data

    target = Target("brittle", brittle, [b"a"], [b"\xff"], 1)

    outcome = run_plain(target, executions=200, seed=1)

    assert outcome.exceptions > 0
    assert "AssertionError" in outcome.first


def test_memory_that_is_kept_is_noticed() -> None:
    kept: list[bytes] = []
    target = Target("hoarder", lambda data: kept.append(data * 50_000), [b"abcd"], [b"x"], 1)

    outcome = run_plain(target, executions=400, seed=1)

    assert outcome.growth_mib > MOST_GROWTH_MIB


def test_the_same_number_makes_the_same_inputs() -> None:
    first, second = (Mutator([b"seed", b"other"], [b"token"], Random(7)) for _ in range(2))

    assert [first.next() for _ in range(50)] == [second.next() for _ in range(50)]
