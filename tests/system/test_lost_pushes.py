"""Every push of both platforms is lost, and every bot is still right within the bounds of the backstop."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import Engine, text

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
from tests.system.oracle import Oracle, bots_as_seats
from tests.system.rig import Rig, until
from worker import polling

SEED = int(os.environ.get("PUNCTUAL_TEST_SEED", "20261122"))
NEAR_S, ALL_S = 2, 3600
#: To read the calendars and move their bots takes a moment, also on a machine that is busy.
WORK_S = 8.0
AFTER_S = polling.EVERY.total_seconds() + WORK_S
pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def rig(
    tmp_path_factory: pytest.TempPathFactory, database_url: str, engine: Engine, platforms: Platforms
) -> Iterator[Rig]:
    empty_tables(engine)
    folder = tmp_path_factory.mktemp("lost")
    bounds = {"RECONCILE_NEAR_SECONDS": str(NEAR_S), "RECONCILE_ALL_SECONDS": str(ALL_S)}
    with running_with(platforms, folder, database_url, **bounds) as rig:
        yield rig


def let_an_hour_pass(engine: Engine) -> None:
    """Have everything been looked at an hour earlier."""
    with engine.begin() as tx:
        tx.execute(text("UPDATE calendars SET last_synced_at = last_synced_at - interval '1 hour'"))


def test_without_any_push_meetings_soon_are_right_at_once_and_all_of_them_within_the_hour(
    rig: Rig, platforms: Platforms, engine: Engine
) -> None:
    near = [Person(platform, "near@example.com") for platform in platforms.values()]
    far = [Person(platform, "far@example.com") for platform in platforms.values()]
    for person in (*near, *far):
        person.join()
    connect_and_rest(rig, *near, *far)
    hour, minutes = timedelta(hours=1), timedelta(minutes=5)
    of_near, of_far = Oracle(), Oracle()
    planning_near = Planner(of_near, near, SEED, base=soon(0.5), span=hour, step=minutes)
    planning_far = Planner(of_far, far, SEED + 1, base=soon(48))
    for nth, person in enumerate(near):
        # It stays, so that there is a reason to look often.
        person.put(f"https://meet.google.com/anc-horr-ss{'ab'[nth]}", soon(1.9))
    until(lambda: len(rig.live_bots()) == len(near))
    staying = set(bots_as_seats(rig))
    until(rig.is_quiet)
    for platform in platforms.values():
        push_badly(platform, drop=1.0)
    told = len(rig.every("/v1/deliveries"))
    known = {name: len(pushes_of(platform)) for name, platform in platforms.items()}

    for _ in range(3):
        until(rig.is_quiet)
        unseen = set(bots_as_seats(rig)) - staying - of_near.seats()
        for _ in range(12):
            planning_near.edit()
            planning_far.edit()

        right = staying | of_near.seats()
        until_seated(rig, right | unseen, within=NEAR_S + AFTER_S)
        let_an_hour_pass(engine)
        until_seated(rig, right | of_far.seats(), within=AFTER_S)

    assert len(rig.every("/v1/deliveries")) == told
    for name, platform in platforms.items():
        pushes = pushes_of(platform)[known[name] :]
        assert len(pushes) >= 20
        assert {(push.fate in {"dropped", "lost"}, push.sent) for push in pushes} == {(True, 0)}
