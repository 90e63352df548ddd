"""A call that is repeated carries the key of the first try, also where looking shows nothing yet."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest
from sqlalchemy import Engine

from models.domain.bots import Seat, Standing
from models.sealing import Vault
from tests.builders import NOON, a_calendar, a_found, a_link
from tests.fakes import FakeBotProvider
from tests.worker.world import World
from worker.errors import TryLater
from worker.reconciling import reconcile


class LaggingBots(FakeBotProvider):
    """A provider that shows a bot it has just made to nobody who looks for it."""

    def look(self, slot_id: UUID, seat: Seat | None, standing: Standing) -> Standing:
        super().look(slot_id, seat, standing)
        return Standing()


@pytest.fixture
def world(db: Engine, vault: Vault) -> World:
    a_calendar(db)
    return World(db, vault)


def test_a_repeat_finds_by_its_key_what_looking_does_not_show(world: World) -> None:
    bots = LaggingBots(now=lambda: world.at)
    world.rt = replace(world.rt, bots=bots)
    world.store(a_found())
    bots.lose_answer()

    world.reconcile_all()

    assert [(bot.meeting_url, bot.join_at) for bot in bots.live] == [(a_link().url, NOON)]
    assert world.told() == ["bot.scheduled"]


def test_a_repeat_that_surely_did_nothing_says_nothing_of_the_first_try(world: World) -> None:
    """Else the third try would come under a key of its own, and make a second bot."""
    bots = LaggingBots(now=lambda: world.at)
    world.rt = replace(world.rt, bots=bots)
    world.store(a_found())
    bots.lose_answer()
    reconcile(world.rt)
    world.hurry()
    bots.fail(TryLater("no connection", is_definite=True))

    world.reconcile_all()

    assert [(bot.meeting_url, bot.join_at) for bot in bots.live] == [(a_link().url, NOON)]
    assert world.told() == ["bot.scheduled"]
