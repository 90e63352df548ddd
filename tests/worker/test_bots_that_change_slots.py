"""A provider that lets two slots share a bot while one of them moves away: each ends with its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine, select
from tenacity import wait_none

from models.domain.bots import Seat, Standing
from models.domain.times import rfc3339
from models.sealing import Vault
from tests.builders import NOON, a_calendar, a_found, a_link, an_event
from tests.contracts.emulated import Emulator, running_recall
from tests.fakes import FakeBotProvider
from tests.worker.world import SLOTS, World
from worker.providers.recall import ManagedBots
from worker.reconciling import MOST_REPEATS, reconcile
from worker.turns import Outcome

LATER = NOON + timedelta(hours=3)


@pytest.fixture(scope="module")
def recall_server() -> Iterator[Emulator]:
    with running_recall() as emulator:
        yield emulator


@dataclass
class Office:
    """A calendar with meetings in one room, on the real adapter before an emulator."""

    recall: Emulator
    world: World
    calendar: str

    def meet(self, start: datetime) -> str:
        """Put a meeting into the calendar; the event's id is returned."""
        event = self.recall.an_event(
            self.calendar,
            start=rfc3339(start),
            end=rfc3339(start + timedelta(hours=1)),
            link=a_link().url,
        )
        self.world.store(a_found(an_event(event, start=start)))
        return event

    def move(self, event: str, start: datetime) -> None:
        """Have a meeting take place at another time, and let only us know so far."""
        self.world.store(a_found(an_event(event, start=start), updated_at=NOON))

    def joins(self) -> list[str]:
        """List when the provider's live bots join."""
        return sorted(bot["join_at"] for bot in self.recall.bots())

    def bots_of_slots(self) -> dict[datetime, str | None]:
        """Return the bot that stands for each slot, by the start of its meeting."""
        with self.world.db.begin() as tx:
            return {row.start_at: row.bot_id for row in tx.execute(select(SLOTS))}


@pytest.fixture
def office(
    db: Engine, vault: Vault, recall_server: Emulator, monkeypatch: pytest.MonkeyPatch
) -> Office:
    monkeypatch.setattr("worker.http._backing_off", wait_none())
    recall_server.reset({})
    a_calendar(db)
    world = World(db, vault, at=recall_server.clock.now())
    bots = ManagedBots(recall_server.client(), now=recall_server.clock.now)
    world.rt = replace(world.rt, bots=bots)
    return Office(recall_server, world, recall_server.a_calendar("anna@acme.test"))


def test_the_bot_goes_with_the_place_when_another_meeting_takes_it(office: Office) -> None:
    """The newcomer's slot comes first: its event is given the bot that hangs on the other one."""
    first = office.meet(NOON)
    office.world.reconcile_all()
    office.move(first, LATER)
    office.meet(NOON)

    reconcile(office.world.rt)

    (held,) = [bot for start, bot in office.bots_of_slots().items() if start == NOON]
    assert held is not None
    assert office.bots_of_slots()[LATER] is None
    office.world.reconcile_all()
    after = office.bots_of_slots()
    assert after[NOON] == held
    assert after[LATER] not in {None, held}
    assert [datetime.fromisoformat(at) for at in office.joins()] == [NOON, LATER]


def test_the_same_holds_for_a_bot_that_is_found_after_a_lost_answer(office: Office) -> None:
    first = office.meet(NOON)
    office.world.reconcile_all()
    office.move(first, LATER)
    office.meet(NOON)
    office.recall.ask("POST", "/faults", {"kind": "lost_answer", "method": "POST", "path": "/bot/"})
    for _ in range(MOST_REPEATS + 1):
        reconcile(office.world.rt)  # always the newcomer: it starts soonest
        office.world.hurry()
    office.recall.ask("DELETE", "/faults")

    office.world.reconcile_all()

    assert [datetime.fromisoformat(at) for at in office.joins()] == [NOON, LATER]
    assert len(set(office.bots_of_slots().values()) - {None}) == 2


class MistakenBots(FakeBotProvider):
    """A provider that, asked about any slot, shows the first bot there is."""

    def look(self, slot_id: UUID, seat: Seat | None, standing: Standing) -> Standing:
        super().look(slot_id, seat, standing)
        return self.live[0].standing()


def test_a_bot_that_is_where_it_should_be_is_taken_from_nobody(db: Engine, vault: Vault) -> None:
    """Else two slots would take it from each other without end."""
    a_calendar(db)
    world = World(db, vault)
    bots = MistakenBots(now=lambda: world.at)
    world.rt = replace(world.rt, bots=bots)
    world.store(a_found())
    world.reconcile_all()
    first = world.slot()
    world.store(a_found(an_event("event-2", start=LATER, link="xyz-abcd-efg")))
    bots.lose_answer()
    reconcile(world.rt)
    world.hurry()

    assert reconcile(world.rt) is Outcome.PUT_OFF

    with db.begin() as tx:
        held = tx.execute(select(SLOTS.c.bot_id).where(SLOTS.c.id == first["id"])).scalar_one()
    assert held == first["bot_id"]
