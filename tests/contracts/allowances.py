"""The contract of Allowance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest

from worker.errors import TryLater
from worker.ports import Allowance

NAME = "recall.other"


@dataclass(frozen=True, slots=True)
class AllowanceWorld:
    """An allowance that grants *calls* of NAME at once; *pass_time* ends every block."""

    allowance: Allowance
    calls: int
    pass_time: Callable[[], None]


class AllowanceContract:
    """Inherit, and provide a fixture `world`."""

    def test_calls_within_the_budget_are_granted(self, world: AllowanceWorld) -> None:
        for _ in range(world.calls):
            world.allowance.take(NAME)

    def test_one_call_more_is_put_off_without_blame(self, world: AllowanceWorld) -> None:
        for _ in range(world.calls):
            world.allowance.take(NAME)

        with pytest.raises(TryLater) as raised:
            world.allowance.take(NAME)

        assert raised.value.after is not None
        assert raised.value.after > timedelta()
        assert not raised.value.counts
        assert raised.value.is_definite

    def test_nobody_calls_while_the_provider_objects(self, world: AllowanceWorld) -> None:
        world.allowance.objected(NAME, timedelta(seconds=30))

        with pytest.raises(TryLater) as raised:
            world.allowance.take(NAME)

        assert raised.value.after is not None
        assert raised.value.after > timedelta(seconds=29)

    def test_after_the_objection_calls_go_on(self, world: AllowanceWorld) -> None:
        world.allowance.objected(NAME, timedelta(seconds=30))
        world.pass_time()

        world.allowance.take(NAME)
