"""A calendar that lost its authorisation: its bots stay, at the provider and in our books."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine, update

from models.domain.times import rfc3339
from models.sealing import Vault
from models.tables.calendars import Calendar
from models.tables.due import table_of
from models.tables.events import CalendarEvent
from models.tables.slots import Slot
from tests.builders import NOON, a_calendar, a_found, a_link, an_event
from tests.contracts.emulated import Emulator, running_recall
from tests.worker.world import World
from worker.providers.recall import ManagedBots
from worker.settling import settle

SOON = NOON + timedelta(hours=1)


@pytest.fixture(scope="module")
def recall() -> Iterator[Emulator]:
    with running_recall() as emulator:
        yield emulator


@pytest.fixture
def anna(db: Engine) -> UUID:
    return a_calendar(db)


@pytest.fixture
def world(db: Engine, vault: Vault, recall: Emulator, anna: UUID) -> World:
    """A world whose bots hang on the events of Recall's emulator; one meeting soon has its bot."""
    recall.reset()
    made = World(db, vault, at=recall.clock.now())
    made.rt = replace(made.rt, bots=ManagedBots(recall.client(), now=recall.clock.now))
    external = recall.a_calendar("anna@example.com")
    event = recall.an_event(
        external,
        start=rfc3339(SOON),
        end=rfc3339(SOON + timedelta(hours=1)),
        link=a_link().url,
    )
    made.store(a_found(an_event(event, start=SOON)))
    made.reconcile_all()
    assert len(recall.bots()) == 1
    return made


def lose_authorisation(world: World, anna: UUID) -> None:
    with world.db.begin() as tx:
        tx.execute(update(table_of(Calendar)).where(Calendar.id == anna).values(status="needs_reauth"))


def decide_again(world: World) -> None:
    with world.db.begin() as tx:
        tx.execute(update(table_of(CalendarEvent)).values(unsettled=True))
    settle(world.rt)


def test_a_look_at_a_slot_leaves_its_bot_where_it_is(
    world: World, recall: Emulator, anna: UUID
) -> None:
    lose_authorisation(world, anna)
    recall.counted.clear()
    world.change_slot(wanted=Slot.wanted + 1)

    world.reconcile_all()

    assert len(recall.bots()) == 1
    assert recall.counted == []
    assert world.told() == ["bot.scheduled"]


def test_deciding_again_goes_on_wanting_the_bot(world: World, recall: Emulator, anna: UUID) -> None:
    lose_authorisation(world, anna)

    decide_again(world)
    world.reconcile_all()

    assert world.slot()["is_wanted"]
    assert len(recall.bots()) == 1
    assert world.told() == ["bot.scheduled"]


def test_a_disconnected_calendar_gives_its_bot_back(world: World, recall: Emulator, anna: UUID) -> None:
    with world.db.begin() as tx:
        tx.execute(update(table_of(Calendar)).values(status="disconnected"))

    decide_again(world)
    world.reconcile_all()

    assert not world.slot()["is_wanted"]
