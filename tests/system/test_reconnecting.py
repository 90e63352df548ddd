"""A consent is revoked and given again: no bot is lost over it, and what happened meanwhile is caught up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests.conftest import empty_tables
from tests.system.accounts import (
    Person,
    Platforms,
    connect,
    connect_and_rest,
    running_with,
    soon,
    until_seated,
)
from tests.system.oracle import HOUR, bots_as_seats, doubled_ever
from tests.system.rig import Rig, answer, until

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def rig(
    tmp_path_factory: pytest.TempPathFactory, database_url: str, engine: Engine, platforms: Platforms
) -> Iterator[Rig]:
    empty_tables(engine)
    folder = tmp_path_factory.mktemp("reconnecting")
    with running_with(platforms, folder, database_url, RECONCILE_ALL_SECONDS="2") as rig:
        yield rig


def let_minutes_pass(rig: Rig, engine: Engine) -> None:
    """Have bots been made, and compared with the provider's list, ten minutes earlier; and compare them."""
    with engine.begin() as tx:
        tx.execute(text("UPDATE slots SET updated_at = updated_at - interval '10 minutes'"))
        tx.execute(text("UPDATE duties SET performed_at = performed_at - interval '10 minutes'"))
    lists = rig.requests()["bot_list"]["200"]
    until(lambda: rig.requests()["bot_list"]["200"] > lists)
    until(rig.is_quiet)


def told_of(rig: Rig, calendar: str) -> list[str]:
    """List what the world was told of a calendar, in order."""
    return [event["type"] for event in rig.feed() if event["subject"] == f"calendar/{calendar}"]


def connection_of(rig: Rig, person: Person) -> dict[str, Any]:
    (found,) = rig.every("/v1/connections", email=person.email)
    return found


@pytest.mark.parametrize("name", ["google", "microsoft"])
def test_reconnecting_brings_back_every_bot_that_is_still_wanted_once(
    rig: Rig, platforms: Platforms, engine: Engine, name: str
) -> None:
    anna = Person(platforms[name], f"anna@{name}.example")
    anna.join()
    others, first = set(bots_as_seats(rig)), soon(24)
    wanted = {key: (link_of(name, key), first + nth * HOUR) for nth, key in enumerate("abcdefgh")}
    events = {key: anna.put(*meeting) for key, meeting in wanted.items()}
    (calendar,) = connect_and_rest(rig, anna)
    connection = connection_of(rig, anna)
    until_seated(rig, others | seats(wanted))
    bots = {(bot["meeting_url"], bot["join_at"][:19]): bot["id"] for bot in rig.live_bots()}

    anna.platform.control("POST", "/oauth/revoke", {"account": anna.email, "access_too": True})
    until(lambda: connection_of(rig, anna)["status"] == "needs_reauth", within=40)
    until(rig.is_quiet)
    assert answer(rig.api.get(f"/v1/calendars/{calendar}"))["status"] == "needs_reauth"
    assert told_of(rig, calendar) == ["calendar.connected", "calendar.needs_reauth"]
    assert {bot["id"] for bot in rig.live_bots()} == set(bots.values())

    by_hand = {bots[seat_of(wanted[key])] for key in "efgh"}
    for bot in by_hand:
        answer(rig.emulator.delete(f"/bots/{bot}"))
    for key in "bf":
        anna.delete(events[key])
        del wanted[key]
    for key in "cg":
        wanted[key] = (wanted[key][0], wanted[key][1] + 12 * HOUR)
        anna.move(events[key], wanted[key][1])
    for key in "dh":
        wanted[key] = (link_of(name, f"z{key}"), wanted[key][1])
        anna.relink(events[key], wanted[key][0])
    wanted["i"] = (link_of(name, "i"), first + 30 * HOUR)
    anna.put(*wanted["i"])
    let_minutes_pass(rig, engine)
    assert set(bots.values()) - by_hand <= {bot["id"] for bot in rig.live_bots()}

    assert connect(rig, anna) == calendar
    assert connection_of(rig, anna)["id"] == connection["id"]
    let_minutes_pass(rig, engine)
    until_seated(rig, others | seats(wanted))
    until(rig.is_quiet)
    until_seated(rig, others | seats(wanted))
    assert doubled_ever(rig) == set()
    assert told_of(rig, calendar)[2:] == ["calendar.connected"]


def link_of(name: str, key: str) -> str:
    return f"https://meet.google.com/{name[:3]}-meet-{key:a>3}"


def seat_of(meeting: tuple[str, datetime]) -> tuple[str, str]:
    return meeting[0], meeting[1].isoformat()[:19]


def seats(wanted: Mapping[str, tuple[str, datetime]]) -> set[tuple[str, str]]:
    return {seat_of(meeting) for meeting in wanted.values()}
