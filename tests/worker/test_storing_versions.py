"""Two looks that show one event with one time of change: the later look knows better."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from models.sealing import Vault
from tests.builders import a_calendar, a_found, an_event
from tests.worker.world import World


@pytest.fixture
def world(db: Engine, vault: Vault) -> World:
    a_calendar(db)
    return World(db, vault)


def test_what_a_later_look_shows_replaces_what_an_earlier_one_showed(world: World) -> None:
    world.store(a_found(an_event(title="Earlier look")))

    world.store(a_found(an_event(title="Later look")))

    assert world.titles() == {"event-1": "Later look"}
    assert world.told("calendar_event.") == ["calendar_event.created", "calendar_event.updated"]


def test_an_earlier_look_that_arrives_late_replaces_nothing(world: World) -> None:
    early, late = world.fetch(), world.fetch()
    world.store(a_found(an_event(title="Later look")), fetch=late)

    world.store(a_found(an_event(title="Earlier look")), fetch=early)

    assert world.titles() == {"event-1": "Later look"}
    assert world.told("calendar_event.") == ["calendar_event.created"]


def test_a_deletion_a_later_look_shows_counts_although_the_time_is_the_same(world: World) -> None:
    world.store(a_found())

    world.store(a_found(an_event(deleted=True)))

    assert world.titles() == {}
