"""However often a bot's calls have failed: the wait for the next try ends before its meeting begins."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from models.domain.bots import Standing, Step
from models.sealing import Vault
from tests.builders import NOON, a_calendar, a_found
from tests.worker.world import World
from worker.errors import TryLater
from worker.reconciling import reconcile
from worker.turns import Outcome

MINUTE = timedelta(minutes=1)


@pytest.fixture
def world(db: Engine, vault: Vault) -> World:
    """A meeting at noon whose bot could not be made for hours."""
    a_calendar(db)
    world = World(db, vault)
    world.store(a_found())

    def carry_out(_step: Step, *, key: UUID) -> Standing:
        msg = f"the provider is away {key}"
        raise TryLater(msg)

    object.__setattr__(world.bots, "carry_out", carry_out)
    return world


@pytest.mark.parametrize(
    ("before", "longest"),
    [
        (5 * MINUTE, 0.5 * MINUTE),
        (12 * MINUTE, 2 * MINUTE),
        (25 * MINUTE, 5 * MINUTE),
        (100 * MINUTE, 5 * MINUTE),
        (125 * MINUTE, 30 * MINUTE),
    ],
)
def test_a_long_outage_keeps_nobody_waiting_past_a_meeting(
    world: World, before: timedelta, longest: timedelta
) -> None:
    world.at = NOON - before
    world.change_slot(tries=14)

    assert reconcile(world.rt) is Outcome.PUT_OFF

    with world.db.begin() as tx:
        wait = tx.execute(text("SELECT due_at - now() FROM slots")).scalar_one()
    assert timedelta(seconds=10) < wait <= longest
