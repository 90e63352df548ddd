"""A meeting at Recall and in a calendar we read ourselves: who leaves first, and what becomes of the bot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine
from tenacity import wait_none

from models.domain.times import rfc3339
from models.sealing import Vault
from tests.builders import NOON, a_calendar, a_found, a_link, an_event
from tests.contracts.emulated import Emulator, running_recall
from tests.worker.world import World
from worker.calendars import set_status
from worker.looked import Looked, next_fetch
from worker.ports import Attachment, FoundEvent, Page
from worker.providers.recall import EitherBots, ManagedBots, SelfManagedBots
from worker.settling import settle
from worker.storing import store_page
from worker.syncing import RECALL


@pytest.fixture(scope="module")
def recall_server() -> Iterator[Emulator]:
    with running_recall() as emulator:
        yield emulator


@dataclass
class Pair:
    """Anna's calendar at Recall and Ben's at Google, with one meeting in both, on a real adapter."""

    recall: Emulator
    world: World
    anna: UUID
    ben: UUID
    external_id: str
    event: str

    def show(self, *, deleted: bool = False, updated_at: timedelta = timedelta()) -> None:
        """Have Anna's copy listed, with what Recall's emulator says of its bots."""
        row = self.recall.ask("GET", f"/events/{self.event}")
        bots = tuple(Attachment(one["bot_id"], one["deduplication_key"], NOON) for one in row["bots"])
        event = an_event(self.event, deleted=deleted)
        self.world.store(a_found(event, updated_at=NOON + updated_at, attachments=bots))

    def show_bens(self, *, deleted: bool = False, updated_at: timedelta = timedelta()) -> None:
        """Have Ben's copy read."""
        found = a_found(
            an_event("of-ben", deleted=deleted), calendar="cal-ben", updated_at=NOON + updated_at
        )
        self._store(found)

    def show_without_settling(self) -> None:
        """Have Anna's copy listed as deleted, and bots put right before anybody settles it."""
        event = an_event(self.event, deleted=True)
        found = a_found(event, updated_at=NOON + timedelta(minutes=1))
        with self.world.db.begin() as tx:
            looked = Looked(RECALL, next_fetch(tx), uuid4(), self.world.at)
            store_page(tx, Page((found,)), looked, vault=self.world.vault)
        self.world.reconcile_all()

    def at_rest(self) -> list[str]:
        """Put bots right; the live ones are returned."""
        self.world.reconcile_all()
        return [str(bot["id"]) for bot in self.recall.bots()]

    def _store(self, found: FoundEvent) -> None:
        with self.world.db.begin() as tx:
            looked = Looked("google", next_fetch(tx), uuid4(), self.world.at, within=self.ben)
            store_page(tx, Page((found,)), looked, vault=self.world.vault)
        settle(self.world.rt)


@pytest.fixture
def pair(db: Engine, vault: Vault, recall_server: Emulator, monkeypatch: pytest.MonkeyPatch) -> Pair:
    monkeypatch.setattr("worker.http._backing_off", wait_none())
    recall_server.reset()
    world = World(db, vault, at=recall_server.clock.now() - timedelta(hours=3))
    clock = recall_server.clock
    clock.jump(world.at)
    client = recall_server.client()
    bots = EitherBots(
        managed=ManagedBots(client, now=clock.now), own=SelfManagedBots(client, now=clock.now)
    )
    world.rt = replace(world.rt, bots=bots)
    external_id = recall_server.a_calendar("anna@example.com")
    event = recall_server.an_event(
        external_id, start=rfc3339(NOON), end=rfc3339(NOON + timedelta(hours=1)), link=a_link().url
    )
    anna, ben = a_calendar(db), a_calendar(db, "cal-ben", source="google")
    made = Pair(recall_server, world, anna, ben, external_id, event)
    made.show()
    made.show_bens()
    return made


def test_one_bot_serves_both(pair: Pair) -> None:
    assert len(pair.at_rest()) == 1
    assert pair.recall.bots()[0]["event_ids"] == [pair.event]
    assert not pair.world.slot()["bot_is_own"]


def test_when_the_event_at_recall_is_deleted_a_bot_of_our_own_follows(pair: Pair) -> None:
    (before,) = pair.at_rest()
    pair.recall.ask("DELETE", f"/events/{pair.event}")
    pair.show(deleted=True, updated_at=timedelta(minutes=1))

    (after,) = pair.at_rest()

    assert after != before
    assert pair.world.slot()["bot_id"] == after
    assert pair.world.slot()["bot_is_own"]
    assert pair.world.told() == ["bot.scheduled", "bot.rescheduled"]


def test_a_bot_that_has_set_out_serves_who_is_left(pair: Pair) -> None:
    """Recall takes no bot off that is on its way, and may not have told us yet that this one is."""
    (before,) = pair.at_rest()
    pair.recall.ask("PATCH", "/switches", {"bots_progress": False})
    pair.recall.ask("POST", f"/bots/{before}/state", {"code": "joining_call"})
    pair.recall.ask("DELETE", f"/events/{pair.event}")
    pair.show(deleted=True, updated_at=timedelta(minutes=1))

    assert pair.at_rest() == [before]
    assert pair.world.slot()["bot_id"] == before


def test_an_event_that_is_gone_is_asked_for_no_bot_before_that_is_settled(pair: Pair) -> None:
    """Recall refuses it, and the meeting would have no bot for as long as it looks the same."""
    pair.at_rest()
    pair.recall.ask("DELETE", f"/events/{pair.event}")
    pair.show_without_settling()

    settle(pair.world.rt)

    assert len(pair.at_rest()) == 1
    assert pair.world.slot()["bot_state"] == "scheduled"
    assert ("schedule_bot", "400") not in pair.recall.counted


def test_the_last_event_that_is_gone_leaves_its_bot_alone_until_that_is_settled(pair: Pair) -> None:
    pair.show_bens(deleted=True, updated_at=timedelta(minutes=1))
    pair.at_rest()
    pair.recall.ask("DELETE", f"/events/{pair.event}")
    pair.show_without_settling()
    assert pair.world.told() == ["bot.scheduled"]

    settle(pair.world.rt)

    assert pair.at_rest() == []
    assert pair.world.told() == ["bot.scheduled", "bot.cancelled"]


def test_an_event_that_was_deleted_before_we_are_told_does_not_fail_the_bot_of_the_others(
    pair: Pair,
) -> None:
    pair.recall.ask("DELETE", f"/events/{pair.event}")

    assert len(pair.at_rest()) == 1

    assert pair.world.slot()["bot_state"] == "scheduled"
    assert pair.world.told() == ["bot.scheduled"]


def test_when_the_calendar_at_recall_is_lost_a_bot_of_our_own_follows(pair: Pair) -> None:
    """Recall takes bots off the events of a calendar that it may not read any more."""
    pair.at_rest()
    pair.recall.ask("POST", f"/calendars/{pair.external_id}/disconnect", {})
    with pair.world.db.begin() as tx:
        set_status(tx, pair.anna, "needs_reauth", "bad_grant", now=pair.world.at)
    pair.world.change_slot(wanted=100)

    (after,) = pair.at_rest()

    assert pair.world.slot()["bot_id"] == after


def test_the_bot_of_our_own_goes_with_the_last_one(pair: Pair) -> None:
    pair.at_rest()
    pair.recall.ask("DELETE", f"/events/{pair.event}")
    pair.show(deleted=True, updated_at=timedelta(minutes=1))
    pair.at_rest()

    pair.show_bens(deleted=True, updated_at=timedelta(minutes=2))

    assert pair.at_rest() == []
    assert pair.world.told()[-1] == "bot.cancelled"
