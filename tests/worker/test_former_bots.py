"""A bot that died and was followed by another has had its time: it is never taken for the present one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import Engine

from models.domain.times import rfc3339
from models.sealing import Vault
from models.tables import due
from models.tables.slots import Slot
from tests.builders import NOON, a_calendar, a_found, a_link, an_event
from tests.contracts.emulated import Emulator, running_recall
from tests.worker.world import World
from worker.providers.recall import ManagedBots, SelfManagedBots

HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def recall() -> Iterator[Emulator]:
    with running_recall() as emulator:
        yield emulator


@pytest.fixture(params=[ManagedBots, SelfManagedBots])
def world(request: pytest.FixtureRequest, db: Engine, vault: Vault, recall: Emulator) -> World:
    """A meeting of the day after whose first bot died and whose second one stands."""
    recall.reset()
    a_calendar(db)
    made = World(db, vault, at=recall.clock.now())
    made.rt = replace(made.rt, bots=request.param(recall.client(), now=recall.clock.now))
    start = NOON + 24 * HOUR
    event = recall.an_event(
        recall.a_calendar("anna@example.com"),
        start=rfc3339(start),
        end=rfc3339(start + HOUR),
        link=a_link().url,
    )
    made.store(a_found(an_event(event, start=start)))
    made.reconcile_all()
    (first,) = recall.bots()
    recall.ask("POST", f"/bots/{first['id']}/state", {"code": "fatal"})
    made.hear_of_bot(first["id"], "fatal", at=rfc3339(made.at))
    made.reconcile_all()
    (second,) = recall.bots()
    assert second["id"] != first["id"]
    return made


def look(world: World) -> None:
    """Have the slot look for its bot, as the sweep does when the provider's list does not show it."""
    world.change_slot(op="look", op_key=uuid4(), op_at=world.at)
    with world.db.begin() as tx:
        due.ask(tx, Slot, [world.slot_id()])
    world.reconcile_all()


def test_a_bot_that_vanished_is_not_replaced_by_the_memory_of_one_that_died(
    world: World, recall: Emulator
) -> None:
    (second,) = recall.bots()
    recall.ask("DELETE", f"/bots/{second['id']}")

    look(world)

    (third,) = recall.bots()
    assert world.slot()["bot_id"] == third["id"]
    assert world.slot()["bot_state"] == "scheduled"


def test_a_bot_that_stands_is_kept_beside_the_memory_of_one_that_died(
    world: World, recall: Emulator
) -> None:
    (second,) = recall.bots()

    look(world)

    assert [bot["id"] for bot in recall.bots()] == [second["id"]]
    assert world.slot()["bot_id"] == second["id"]


def test_whoever_looks_before_the_next_is_made_does_not_find_the_one_that_died(
    world: World, recall: Emulator
) -> None:
    (second,) = recall.bots()
    recall.ask("POST", f"/bots/{second['id']}/state", {"code": "fatal"})
    world.hear_of_bot(second["id"], "fatal", at=rfc3339(world.at))

    look(world)

    (third,) = recall.bots()
    assert world.slot()["bot_id"] == third["id"]
