"""A provider that honours neither dedup keys nor idempotency keys still ends with one bot per meeting."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from sqlalchemy import Engine
from tenacity import wait_none

from models.domain.times import rfc3339
from models.sealing import Vault
from tests.builders import NOON, a_calendar, a_found, a_link, an_event
from tests.contracts.emulated import Emulator, running_recall
from tests.worker.world import World
from worker.ports import Attachment, BotProvider
from worker.providers.recall import ManagedBots, SelfManagedBots
from worker.providers.recall.bots import INSTALL, SLOT
from worker.reconciling import reconcile
from worker.sweeping import sweep_bots

IGNORING: Mapping[str, object] = {"deduplication_key_ignored": True, "idempotency_key_ignored": True}
LONG_AGO = NOON - timedelta(days=30)


@pytest.fixture(scope="module")
def recall_server() -> Iterator[Emulator]:
    with running_recall() as emulator:
        yield emulator


@pytest.fixture
def recall(recall_server: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    monkeypatch.setattr("worker.http._backing_off", wait_none())
    recall_server.reset(IGNORING)
    return recall_server


@dataclass
class Office:
    """Anna's and Ben's calendars, both with the same meetings, on real adapters before an emulator."""

    recall: Emulator
    world: World

    def meet(self, number: int = 0) -> dict[str, str]:
        """Have both invited to a meeting and their bots put right; events by calendar are returned."""
        events = {}
        for person in ("anna", "ben"):
            calendar = self.recall.a_calendar(f"{person}{number}@acme.test")
            start = NOON + timedelta(hours=number)
            events[person] = self.recall.an_event(
                calendar,
                start=rfc3339(start),
                end=rfc3339(start + timedelta(hours=1)),
                link=a_link().url,
            )
            found = an_event(events[person], start=start)
            self.world.store(a_found(found, calendar=f"cal-{person}"))
        self.world.reconcile_all()
        return events

    def leave(self, person: str, event: str) -> None:
        """Have somebody's copy of the meeting lose its link, which leaves the event where it is."""
        slot = self.world.slot()
        shown = tuple(
            Attachment(bot["id"], slot["key"], NOON)
            for bot in self.recall.bots()
            if event in bot["event_ids"]
        )
        self.world.store(
            a_found(
                an_event(event, link=None),
                calendar=f"cal-{person}",
                updated_at=NOON,
                attachments=shown,
            )
        )
        self.world.reconcile_all()

    def live(self) -> list[str]:
        return [str(bot["id"]) for bot in self.recall.bots() if bot["state"] != "call_ended"]

    def carriers(self) -> set[str]:
        """Name the events that carry a live bot at the provider."""
        return {event for bot in self.recall.bots() for event in bot["event_ids"]}

    def made(self) -> int:
        return len(self.recall.bots(live=False))


def an_office(db: Engine, vault: Vault, recall: Emulator, bots: BotProvider) -> Office:
    for person in ("anna", "ben"):
        a_calendar(db, f"cal-{person}")
    world = World(db, vault, at=recall.clock.now())
    world.rt = replace(world.rt, bots=bots)
    return Office(recall, world)


@pytest.fixture
def office(db: Engine, vault: Vault, recall: Emulator) -> Office:
    return an_office(db, vault, recall, ManagedBots(recall.client(), now=recall.clock.now))


def test_two_events_of_one_meeting_end_with_one_bot(office: Office) -> None:
    office.meet()

    assert len(office.live()) == 1
    assert len(office.carriers()) == 1
    assert office.world.told() == ["bot.scheduled"]


def test_once_seen_the_next_meeting_never_has_a_second_bot(office: Office) -> None:
    office.meet()
    made = office.made()

    office.meet(3)

    assert office.made() == made + 1
    assert len(office.live()) == 2


def test_the_meeting_keeps_a_bot_when_the_event_that_carries_it_leaves(office: Office) -> None:
    events = office.meet()
    (carrier,) = office.carriers()
    who = next(person for person, event in events.items() if event == carrier)

    office.leave(who, carrier)

    assert len(office.live()) == 1
    assert office.carriers() == set(events.values()) - {carrier}


def test_the_bot_goes_with_the_last_event(office: Office) -> None:
    for person, event in office.meet().items():
        office.leave(person, event)

    assert office.live() == []
    assert office.world.told()[-1] == "bot.cancelled"


def test_an_answer_lost_on_the_second_event_leaves_one_bot(office: Office) -> None:
    office.recall.ask("POST", "/faults", {"kind": "lost_answer", "method": "POST", "times": 4})

    office.meet()

    assert len(office.live()) == 1


@pytest.mark.parametrize("answer", ["detaches", "refused", "leaves_reference"])
def test_the_sweep_finds_the_second_bot_of_a_meeting(office: Office, answer: str) -> None:
    office.recall.ask("PATCH", "/switches", {"delete_on_managed_bot": answer})
    events = office.meet()
    (other,) = set(events.values()) - office.carriers()
    slot_id = office.world.slot_id()
    client = office.recall.client()
    marks = {SLOT: str(slot_id), INSTALL: str(office.world.rt.install_id)}
    client.ask(
        "POST",
        f"/api/v2/calendar-events/{other}/bot/",
        operation="schedule_bot",
        budget="recall.schedule",
        body={
            "deduplication_key": office.world.slot()["key"],
            "bot_config": {"bot_name": "Notetaker", "metadata": marks},
        },
    )
    assert len(office.live()) == 2
    office.world.change_slot(updated_at=LONG_AGO)

    sweep_bots(office.world.rt)
    office.world.reconcile_all()

    assert len(office.live()) == 1
    assert office.world.slot()["bot_id"] == office.live()[0]


def test_a_provider_that_shares_bots_is_not_mistaken(office: Office) -> None:
    office.recall.ask("PATCH", "/switches", dict.fromkeys(IGNORING, False))

    events = office.meet()

    assert office.carriers() == set(events.values())
    assert len(office.live()) == 1
    assert office.world.count("sources", "unshared_at IS NOT NULL") == 0


def test_a_bot_made_by_a_call_whose_answer_was_lost_is_found_before_another_is_made(
    db: Engine, vault: Vault, recall: Emulator
) -> None:
    bots = SelfManagedBots(recall.client(), now=recall.clock.now)
    office = an_office(db, vault, recall, bots)
    recall.ask("POST", "/faults", {"kind": "lost_answer", "method": "POST", "times": 1})

    office.meet()

    assert office.made() == 1
    assert office.world.slot()["bot_id"] == office.live()[0]


def test_a_list_that_lags_makes_no_second_bot_while_the_key_is_honoured(
    db: Engine, vault: Vault, recall: Emulator
) -> None:
    recall.ask("PATCH", "/switches", {**dict.fromkeys(IGNORING, False), "bot_list_lag_s": 30.0})
    bots = SelfManagedBots(recall.client(), now=recall.clock.now)
    office = an_office(db, vault, recall, bots)
    recall.ask("POST", "/faults", {"kind": "lost_answer", "method": "POST", "times": 1})

    office.meet()

    assert office.made() == 1


def test_two_workers_after_another_make_one_bot(office: Office) -> None:
    office.meet()
    office.world.change_slot(wanted=100)

    reconcile(office.world.rt)

    assert len(office.live()) == 1
