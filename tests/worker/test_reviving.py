"""What was set aside is listed, and tried again when somebody says so."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, insert, select

from models.domain.bots import BotState
from models.sealing import Vault
from models.tables.base import new_id
from models.tables.calendars import Calendar
from models.tables.due import table_of
from models.tables.installation import Source
from models.tables.outbox import Endpoint
from tests.builders import NOON, a_calendar, a_channel, a_connection, a_found
from tests.worker.commands_kit import Punctual, punctual
from tests.worker.world import World, real_now
from worker.errors import Refused
from worker.reconciling import reconcile
from worker.reviving import KINDS, list_parked, revive
from worker.upkeep import Upkeep

__all__ = ["punctual"]

ASIDE: dict[str, Any] = {"parked_at": NOON, "tries": 20, "crashes": 5, "last_error": "answered 500"}


@pytest.fixture
def one_of_each(db: Engine) -> dict[str, str]:
    """A calendar and its push channel, an account, an endpoint and the source, all set aside; their ids."""
    calendar_id = a_calendar(db, **ASIDE)
    ids = {
        "calendars": str(calendar_id),
        "channels": str(a_channel(db, calendar_id, **ASIDE)),
        "connections": str(a_connection(db, **ASIDE)),
        "endpoints": str(new_id()),
        "source": "recall",
    }
    with db.begin() as tx:
        tx.execute(insert(table_of(Endpoint)).values(id=ids["endpoints"], url=b"", **ASIDE))
        tx.execute(insert(table_of(Source)).values(name="recall", **ASIDE))
    return ids


def parked(db: Engine) -> set[str]:
    with db.begin() as tx:
        return {one.kind for one in list_parked(tx)}


def test_a_refused_bot_is_wanted_again(db: Engine, vault: Vault) -> None:
    a_calendar(db)
    world = World(db, vault)
    world.store(a_found())
    world.bots.fail(Refused("recording is off"))
    reconcile(world.rt)
    assert world.slot()["bot_state"] == BotState.FAILED

    revived = revive(world.rt, "bots", [world.slot_id()])
    world.reconcile_all()

    assert revived == 1
    assert [start for _, start in world.live()] == [NOON]
    assert world.told() == ["bot.failed", "bot.scheduled"]
    assert parked(db) == set()


def test_every_kind_is_listed_with_its_reason(punctual: Punctual, one_of_each: dict[str, str]) -> None:
    listed = punctual.json("revive")

    assert {row["kind"]: row["id"] for row in listed} == one_of_each
    assert {row["last_error"] for row in listed} == {"answered 500"}


def test_one_kind_is_listed_and_nothing_changes(
    punctual: Punctual, db: Engine, one_of_each: dict[str, str]
) -> None:
    listed = punctual.json("revive", "source")

    assert [row["id"] for row in listed] == ["recall"]
    assert parked(db) == set(one_of_each)


def test_what_is_named_is_due_at_once_with_its_failures_forgotten(
    punctual: Punctual, db: Engine, one_of_each: dict[str, str]
) -> None:
    result = punctual.run("revive", "calendars", one_of_each["calendars"])

    assert result.stdout.split() == ["Calendar", one_of_each["calendars"], "is", "tried", "again."]
    assert parked(db) == set(one_of_each) - {"calendars"}
    with db.begin() as tx:
        row = tx.execute(select(Calendar.wanted, Calendar.done, Calendar.tries, Calendar.crashes)).one()
    assert row == (1, 0, 0, 0)


def test_all_of_one_kind_are_revived(
    punctual: Punctual, db: Engine, one_of_each: dict[str, str]
) -> None:
    punctual.json("revive", "endpoints", "--all")

    assert parked(db) == set(one_of_each) - {"endpoints"}


def test_everything_is_revived(punctual: Punctual, db: Engine, one_of_each: dict[str, str]) -> None:
    revived = punctual.json("revive", "--all")

    assert {row["kind"] for row in revived} == set(one_of_each)
    assert parked(db) == set()
    assert "Nothing is set aside." in punctual.run("revive", "--all").stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["calendars", "no-id"],
        ["bots", "00000000-0000-0000-0000-000000000000"],
        ["source", "elsewhere"],
        ["source", "recall", "--all"],
    ],
)
def test_what_makes_no_sense_changes_nothing(
    punctual: Punctual, db: Engine, one_of_each: dict[str, str], arguments: list[str]
) -> None:
    result = punctual.run("revive", *arguments)

    assert result.exit_code == 1
    assert parked(db) == set(one_of_each)


def test_a_worker_hears_of_it_before_the_command_ends(
    punctual: Punctual, database_url: str, one_of_each: dict[str, str]
) -> None:
    with psycopg.connect(database_url, autocommit=True) as listening:
        listening.execute("LISTEN punctual")

        punctual.json("revive", "--all")

        heard = {notice.payload for notice in listening.notifies(timeout=5, stop_after=5)}
    assert heard == {
        f"sync_calendar:{one_of_each['calendars']}",
        f"keep_channel:{one_of_each['channels']}",
        f"refresh:{one_of_each['connections']}",
        f"post:{one_of_each['endpoints']}",
        "sync_workspace",
    }


def test_a_kind_can_be_named_for_everything_that_is_set_aside() -> None:
    from worker.checkup.state import DUE_KINDS

    assert {kind.row for kind in KINDS.values()} == set(DUE_KINDS.values())


@pytest.mark.parametrize(
    ("aside_for", "ahead", "is_tried"),
    [
        (timedelta(minutes=61), timedelta(days=1), True),
        (timedelta(minutes=59), timedelta(days=1), False),
        (timedelta(minutes=61), -timedelta(hours=2), False),
    ],
)
def test_a_refused_bot_is_tried_again_every_hour_until_its_meeting_is_over(
    db: Engine, vault: Vault, aside_for: timedelta, ahead: timedelta, is_tried: bool
) -> None:
    a_calendar(db, last_full_at=NOON + timedelta(days=3650))
    world = World(db, vault)
    world.store(a_found())
    world.bots.fail(Refused("the calendar is disconnected"))
    reconcile(world.rt)
    world.change_slot(parked_at=real_now() - aside_for)
    world.at = NOON - ahead

    Upkeep(world.rt).tick()
    world.hurry()
    world.reconcile_all()

    assert bool(world.live()) is is_tried
    assert world.told() == ["bot.failed", *["bot.scheduled"] * is_tried]


def test_a_bot_refused_again_and_again_is_told_about_once(db: Engine, vault: Vault) -> None:
    a_calendar(db, last_full_at=NOON + timedelta(days=3650))
    world = World(db, vault)
    world.store(a_found())
    upkeep = Upkeep(world.rt)
    for hour in range(3):
        world.bots.fail(Refused("the link is no meeting"))
        world.hurry()
        world.reconcile_all()
        world.change_slot(parked_at=real_now() - timedelta(minutes=61))
        world.at = NOON - timedelta(hours=5 - hour)
        upkeep.tick()

    assert world.told() == ["bot.failed"]


def test_what_was_refused_while_a_calendar_was_away_is_tried_again_once_it_is_known_to_be_back(
    db: Engine, vault: Vault
) -> None:
    anna = a_calendar(db)
    world = World(db, vault)
    world.source.put_calendar("cal-anna", email="anna@example.com")
    world.store(a_found())
    world.bots.fail(Refused("the calendar is disconnected"))
    reconcile(world.rt)

    world.ask(anna, needs_check=True)
    world.look_at(anna)
    world.reconcile_all()

    assert [start for _, start in world.live()] == [NOON]
