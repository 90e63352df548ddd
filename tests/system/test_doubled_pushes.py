"""Every push comes twice and out of order, and no bot is written to once more than its meeting changed."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from collections.abc import Set as AbstractSet

import pytest
from sqlalchemy import Engine

from tests.conftest import empty_tables
from tests.system.accounts import (
    Person,
    Planner,
    Platforms,
    connect_and_rest,
    push_badly,
    pushes_of,
    running_with,
    soon,
    until_seated,
)
from tests.system.oracle import Oracle, bots_as_seats, needless, writes
from tests.system.rig import Rig, answer, until

SEED = int(os.environ.get("PUNCTUAL_TEST_SEED", "20261122"))
SHUFFLE_MS = 600
pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def rig(
    tmp_path_factory: pytest.TempPathFactory, database_url: str, engine: Engine, platforms: Platforms
) -> Iterator[Rig]:
    empty_tables(engine)
    with running_with(platforms, tmp_path_factory.mktemp("doubled"), database_url) as rig:
        # Once: ids at the provider come from the same chances, and would come again.
        answer(rig.emulator.put("/webhook", json={"duplicate": 1.0, "shuffle": True, "seed": SEED}))
        yield rig


@pytest.fixture
def people(rig: Rig, platforms: Platforms, request: pytest.FixtureRequest) -> list[Person]:
    """Two at each platform, connected, of whom we are told everything twice and in any order."""
    name = request.node.name[5:20]
    people = [
        Person(platform, f"{who}.{name}@example.com") for platform in platforms.values() for who in "ab"
    ]
    for person in people:
        person.join()
    connect_and_rest(rig, *people)
    for platform in platforms.values():
        push_badly(platform, duplicate=1.0, shuffle_ms=SHUFFLE_MS)
    answer(rig.emulator.delete("/requests"))
    return people


def until_all_is_told(rig: Rig, platforms: Platforms) -> None:
    """Wait until every push has come, both times, and was acted on."""
    until(lambda: all(push.sent >= 2 for one in platforms.values() for push in pushes_of(one)))
    until(lambda: not rig.every("/v1/deliveries", state="stored"))
    until(rig.is_quiet)


def written(rig: Rig) -> dict[str, int]:
    """Count what was written about bots, by operation."""
    counts = {operation: sum(by_status.values()) for operation, by_status in writes(rig).items()}
    return {operation: count for operation, count in counts.items() if operation.startswith("bot_")}


def operation_from(before: AbstractSet[object], after: AbstractSet[object]) -> str | None:
    """Name what one edit should cost at most: a bot made, moved, or cancelled."""
    match len(after - before), len(before - after):
        case 1, 1:
            return "bot_partial_update"
        case 1, 0:
            return "bot_create"
        case 0, 1:
            return "bot_destroy"
        case _:
            assert before == after
            return None


def test_edit_by_edit_each_change_costs_the_one_write_it_needs(
    rig: Rig, platforms: Platforms, people: list[Person]
) -> None:
    oracle = Oracle()
    planner = Planner(oracle, people, SEED, base=soon(48))
    wanted: Counter[str | None] = Counter()

    for _ in range(40):
        before = oracle.seats()
        planner.edit()
        operation = operation_from(before, oracle.seats())
        wanted[operation] += 1
        if operation is None:  # no bot shows that it was seen
            until_all_is_told(rig, platforms)
        until_seated(rig, oracle.seats())

    until_all_is_told(rig, platforms)
    del wanted[None]
    assert written(rig) == dict(wanted)
    until_seated(rig, oracle.seats())


def test_all_at_once_no_change_costs_more_than_one_write(
    rig: Rig, platforms: Platforms, people: list[Person]
) -> None:
    oracle = Oracle()
    planner = Planner(oracle, people, SEED + 1, base=soon(96))
    others = set(bots_as_seats(rig))
    moved = 0

    for _ in range(80):
        before = dict(oracle.copies)
        planner.edit()
        moved += sum(before.get(key) != copy for key, copy in oracle.copies.items())

    until_all_is_told(rig, platforms)
    until_seated(rig, oracle.seats() | others)
    assert sum(written(rig).values()) <= moved
    assert needless(rig) == {}
