"""A calendar's own look: how it stands, and a complete listing, the only thing that tells what is gone."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine, select, update

from models.sealing import Vault
from models.tables.calendars import Calendar
from models.tables.due import table_of
from models.tables.slots import Slot
from tests.builders import NOON, a_calendar, a_found, an_event
from tests.worker.world import CALENDARS, World, real_now
from worker import jobs
from worker.calendars import mark_deleted, set_status
from worker.errors import TryLater
from worker.looked import next_fetch
from worker.ports import Attachment, Unreadable
from worker.standing import situation_of
from worker.turns import Outcome

LATER = NOON + timedelta(hours=3)


@pytest.fixture
def world(db: Engine, vault: Vault) -> World:
    world = World(db, vault)
    world.source.put_calendar("cal-anna", email="anna@example.com")
    return world


@pytest.fixture
def anna(world: World) -> UUID:
    """A connected calendar that was listed, with two meetings whose bots are scheduled."""
    anna = a_calendar(world.db, needs_full=True)
    world.put(an_event("e1"))
    world.put(an_event("e2", start=LATER))
    world.ask(anna)
    world.look_at(anna)
    world.reconcile_all()
    world.source.calls.clear()
    world.bell.take()
    return anna


def relist(world: World, anna: UUID) -> Outcome:
    world.ask(anna, needs_full=True)
    return world.look_at(anna)


def a_new_one(world: World, status: str = "connecting") -> UUID:
    world.source.put_calendar("cal-new", email="new@example.com", status=status)
    new = a_calendar(
        world.db, "cal-new", status="connecting", needs_check=True, needs_full=True, email=None
    )
    world.ask(new)
    return new


def test_a_calendar_that_is_connecting_is_looked_at_again_until_it_is_connected(world: World) -> None:
    new = a_new_one(world)
    assert world.look_at(new) is Outcome.PUT_OFF
    assert (world.calendar(new)["tries"], world.is_due(new)) == (0, True)
    assert world.told("calendar.") == []
    assert world.count("sync_runs") == 0

    world.source.put_calendar("cal-new", email="new@example.com")
    world.put(calendar="cal-new")
    world.wait_out(Calendar)

    assert world.look_at(new) is Outcome.FINISHED
    row = world.calendar(new)
    assert (row["status"], row["email"], row["needs_full"]) == ("connected", "new@example.com", False)
    assert world.told("calendar.") == ["calendar.connected"]
    assert world.titles() == {"event-1": "Weekly"}


def test_a_calendar_is_connected_once_however_often_it_is_looked_at(world: World) -> None:
    new = a_new_one(world, "connected")
    world.look_at(new)

    for _ in range(2):
        world.notify("cal-new", "calendar.update")
        world.look_at(new)
        world.list_changes()

    assert world.told("calendar.") == ["calendar.connected"]
    assert not world.is_due(new)


def test_word_of_a_calendar_that_was_still_connecting_is_done_in_the_end(world: World) -> None:
    new = a_new_one(world)
    delivery = world.notify("cal-new", "calendar.update")
    world.look_at(new)
    assert world.delivery(delivery) == ("stored", None)

    world.source.put_calendar("cal-new")
    world.wait_out(Calendar)
    world.look_at(new)

    assert world.delivery(delivery) == ("done", None)


def test_a_calendar_that_connects_slowly_is_asked_about_less_eagerly(world: World) -> None:
    new = a_new_one(world)
    world.change_calendar(new, created_at=world.at - timedelta(hours=1))

    world.look_at(new)

    row = world.calendar(new)
    assert row["due_at"] > real_now() + timedelta(seconds=20)


def test_a_full_listing_deletes_what_it_does_not_contain(world: World, anna: UUID) -> None:
    world.source.vanish("e2")

    relist(world, anna)
    world.reconcile_all()

    assert list(world.titles()) == ["e1"]
    assert [at for _, at in world.live()] == [NOON]
    assert world.told("calendar_event.").count("calendar_event.deleted") == 1


def test_a_full_listing_cut_in_the_middle_deletes_nothing(world: World, anna: UUID) -> None:
    world.source.page_size = 1
    world.put(an_event("e3", start=LATER + timedelta(hours=1)))
    world.source.vanish("e2")
    world.source.fail(TryLater("502"), at_page=2)

    assert relist(world, anna) is Outcome.PUT_OFF

    assert sorted(world.titles()) == ["e1", "e2"]
    assert world.calendar(anna)["needs_full"]
    world.wait_out(Calendar)
    assert world.look_at(anna) is Outcome.FINISHED
    assert sorted(world.titles()) == ["e1", "e3"]


def test_a_full_listing_that_was_overtaken_deletes_nothing(world: World, anna: UUID) -> None:
    def be_overtaken() -> None:
        with world.db.begin() as tx:
            tx.execute(update(CALENDARS).values(fence=CALENDARS.c.fence + 1))

    world.put(an_event("e1", title="New"))
    world.source.vanish("e2")
    world.during_page(be_overtaken)

    assert relist(world, anna) is Outcome.LOST

    assert world.titles() == {"e1": "Weekly", "e2": "Weekly"}
    assert world.is_due(anna)


def test_a_meeting_that_ended_is_not_deleted_for_leaving_the_providers_window(
    world: World, anna: UUID
) -> None:
    world.source.vanish("e1")
    world.at = NOON + timedelta(minutes=90)

    relist(world, anna)

    assert sorted(world.titles()) == ["e1", "e2"]


def test_an_event_that_comes_while_a_full_listing_runs_is_not_deleted_by_it(
    world: World, anna: UUID
) -> None:
    def meanwhile() -> None:
        world.put(an_event("young", start=LATER + timedelta(hours=1)))
        world.store(world.source.event("young"))

    world.during_page(meanwhile)

    relist(world, anna)

    assert "young" in world.titles()


def test_an_event_whose_bot_is_put_there_during_the_listing_is_not_deleted(
    world: World, anna: UUID
) -> None:
    def attach() -> None:
        with world.db.begin() as tx:
            fetch = next_fetch(tx)
            tx.exec_driver_sql(f"UPDATE calendar_events SET bots_fetch = {fetch}")

    world.during_page(attach)

    relist(world, anna)

    assert sorted(world.titles()) == ["e1", "e2"]


def test_an_event_whose_row_became_unreadable_is_not_deleted(world: World, anna: UUID) -> None:
    world.source.vanish("e2")
    world.source.unreadable("e2", "cal-anna")

    relist(world, anna)

    assert sorted(world.titles()) == ["e1", "e2"]
    assert world.count("quarantined_events") == 1


def test_nothing_is_deleted_while_a_row_does_not_even_say_which_event_it_is(
    world: World, anna: UUID
) -> None:
    world.source.vanish("e2")
    world.source._unreadable[""] = Unreadable("", "cal-anna", "id is missing")

    assert relist(world, anna) is Outcome.FINISHED

    assert sorted(world.titles()) == ["e1", "e2"]


def test_an_event_that_one_listing_missed_is_back_with_the_next(world: World, anna: UUID) -> None:
    row = world.source._rows.pop("e2")
    relist(world, anna)
    assert list(world.titles()) == ["e1"]
    world.source._rows["e2"] = row

    relist(world, anna)
    world.reconcile_all()

    assert sorted(world.titles()) == ["e1", "e2"]
    assert len(world.live()) == 2


def test_an_event_of_another_calendar_is_not_missing_from_this_one(world: World, anna: UUID) -> None:
    world.source.put_calendar("cal-ben")
    ben = a_calendar(world.db, "cal-ben", needs_full=True)
    world.put(an_event("ben's"), "cal-ben")
    world.ask(ben)
    world.look_at(ben)

    relist(world, anna)

    assert sorted(world.titles()) == ["ben's", "e1", "e2"]


def test_an_event_that_was_handed_to_another_calendar_stays_one_event_with_one_bot(
    world: World, anna: UUID
) -> None:
    world.source.put_calendar("cal-ben")
    ben = a_calendar(world.db, "cal-ben", needs_full=True)
    event_id = world.events()["e1"]["id"]
    world.put(an_event("e1"), "cal-ben")

    world.ask(ben)
    world.look_at(ben)
    relist(world, anna)
    world.reconcile_all()

    moved = world.events()["e1"]
    assert (moved["id"], moved["calendar_id"], moved["deleted"]) == (event_id, ben, False)
    assert len(world.live()) == 2
    assert world.told("bot.") == ["bot.scheduled"] * 2


def test_lost_authorisation_keeps_bots_and_tells_once(world: World, anna: UUID) -> None:
    world.source.lose("cal-anna")

    for _ in range(2):
        world.notify(kind="calendar.update")
        assert world.look_at(anna) is Outcome.FINISHED
    world.reconcile_all()

    assert len(world.live()) == 2
    assert world.told("calendar.") == ["calendar.needs_reauth"]
    assert world.calendar(anna)["status_reason"] == "invalid_grant"
    assert not world.is_due(anna)
    assert not [call for call in world.source.calls if call.startswith("changes")]


def test_a_reconnected_calendar_is_listed_fully(world: World, anna: UUID) -> None:
    world.source.lose("cal-anna")
    world.notify(kind="calendar.update")
    world.look_at(anna)
    world.source.vanish("e2")
    world.put(an_event("e3", start=LATER))

    world.source.put_calendar("cal-anna")
    world.notify(kind="calendar.update")
    world.look_at(anna)
    world.reconcile_all()

    assert sorted(world.titles()) == ["e1", "e3"]
    assert [at for _, at in world.live()] == [NOON, LATER]
    assert world.told("calendar.") == ["calendar.needs_reauth", "calendar.connected"]


def test_a_bot_called_for_while_authorisation_was_lost_is_made_once_it_is_back(world: World) -> None:
    anna = a_calendar(world.db)
    world.source.lose("cal-anna")
    world.notify(kind="calendar.update")
    world.look_at(anna)
    world.put()
    world.store(a_found())
    world.reconcile_all()
    assert world.live() == []

    world.source.put_calendar("cal-anna", email="anna@example.com")
    world.notify(kind="calendar.update")
    world.look_at(anna)
    world.reconcile_all()

    assert [at for _, at in world.live()] == [NOON]


def test_a_reconnected_calendar_has_the_bots_that_vanished_looked_at(world: World) -> None:
    """Recall removes the bots of a calendar that disconnects; the next full listing shows it."""
    anna = a_calendar(world.db, needs_full=True)
    key = "meet.google.com/abc-defg-hij"
    world.put(attachments=(Attachment("bot-9", key, NOON),))
    world.ask(anna)
    world.look_at(anna)
    with world.db.begin() as tx:
        tx.exec_driver_sql("UPDATE slots SET done = wanted")
    world.source.lose("cal-anna")
    world.notify(kind="calendar.update")
    world.look_at(anna)

    world.source.put_calendar("cal-anna")
    world.put(attachments=(), updated_at=world.events()["event-1"]["provider_updated_at"])
    world.notify(kind="calendar.update")
    world.look_at(anna)

    slot = world.slot()
    assert slot["wanted"] > slot["done"]
    with world.db.begin() as tx:
        install_id = world.rt.install_id
        situation = situation_of(tx, slot["id"], vault=world.vault, install_id=install_id)
    assert situation.standing.attached == ()
    assert situation.seat is not None
    assert situation.seat.events == ("event-1",)


def test_a_disconnected_calendar_loses_its_bots(world: World, anna: UUID) -> None:
    world.source.lose("cal-anna", status="disconnected", reason="by the user")
    world.notify(kind="calendar.update")

    world.look_at(anna)
    world.reconcile_all()

    assert world.live() == []
    assert world.told("calendar.") == ["calendar.disconnected"]
    assert {row["reason"] for row in world.events().values()} == {"disconnected"}
    assert not any(row["deleted"] for row in world.events().values())


def test_a_meeting_shared_with_a_disconnected_calendar_keeps_its_bot(world: World, anna: UUID) -> None:
    a_calendar(world.db, "cal-ben")
    world.source.put_calendar("cal-ben")
    world.put(an_event("ben's"), "cal-ben")
    world.notify("cal-ben")
    world.list_changes()

    world.source.lose("cal-anna", status="disconnected")
    world.notify(kind="calendar.update")
    world.look_at(anna)
    world.reconcile_all()

    assert [at for _, at in world.live()] == [NOON]


def test_a_calendar_that_is_gone_at_the_provider_is_disconnected(world: World, anna: UUID) -> None:
    world.source.disconnect("cal-anna")
    world.notify(kind="calendar.update")

    assert world.look_at(anna) is Outcome.FINISHED

    world.reconcile_all()
    assert world.calendar(anna)["status"] == "disconnected"
    assert world.live() == []


def test_the_same_meetings_in_a_calendar_connected_anew_have_one_bot_each(
    world: World, anna: UUID
) -> None:
    world.source.disconnect("cal-anna")
    new = a_new_one(world, "connected")
    world.put(an_event("n1"), "cal-new")
    world.put(an_event("n2", start=LATER), "cal-new")
    world.look_at(new)
    world.notify(kind="calendar.update")
    world.look_at(anna)

    world.reconcile_all()

    assert [at for _, at in world.live()] == [NOON, LATER]
    assert world.told() == ["bot.scheduled"] * 2


def test_a_plain_change_asked_for_while_a_check_runs_is_not_lost(world: World, anna: UUID) -> None:
    late: list[UUID] = []
    known = world.source.calendar

    def calendar(external_id: str) -> object:
        found = known(external_id)
        if not late:
            world.put(an_event("e1", title="Changed"))
            late.append(world.notify())
        return found

    world.notify(kind="calendar.update")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(world.source), "calendar", lambda _, ref: calendar(ref))
        world.look_at(anna)
    for _ in range(3):
        world.look_at(anna)
        world.list_changes()

    assert world.titles()["e1"] == "Changed"
    assert world.delivery(late[0]) == ("done", None)
    assert not world.is_due(anna)


def test_a_check_asked_for_during_a_full_listing_is_made(world: World, anna: UUID) -> None:
    world.during_page(lambda: world.notify(kind="calendar.update"))
    relist(world, anna)
    world.source.calls.clear()
    world.source.lose("cal-anna")

    world.look_at(anna)

    assert world.source.calls == ["calendar cal-anna"]
    assert world.calendar(anna)["status"] == "needs_reauth"


def test_a_plain_change_asked_for_while_a_full_listing_runs_is_not_lost(
    world: World, anna: UUID
) -> None:
    def change() -> None:
        world.put(an_event("e1", title="Changed"))
        world.notify()

    world.during_page(change)
    relist(world, anna)
    assert world.titles()["e1"] == "Weekly"
    world.look_at(anna)
    world.list_changes()

    assert world.titles()["e1"] == "Changed"
    assert not world.is_due(anna)


def test_a_check_finds_its_changes_in_the_next_workspace_listing(world: World, anna: UUID) -> None:
    world.put(an_event("e1", title="Changed"))
    delivery = world.notify(kind="calendar.update")
    plain = world.notify()

    world.look_at(anna)

    assert (jobs.SYNC_WORKSPACE, None) in world.bell.take()
    assert world.source.calls == ["calendar cal-anna"]
    assert world.delivery(delivery) == ("done", None)
    assert world.delivery(plain) == ("stored", None)
    world.list_changes()
    assert world.titles()["e1"] == "Changed"
    assert world.delivery(plain) == ("done", None)


def test_a_full_listing_serves_every_delivery_before_it(world: World, anna: UUID) -> None:
    deliveries = [world.notify(), world.notify(kind="calendar.update")]

    relist(world, anna)

    assert [world.delivery(one) for one in deliveries] == [("done", None)] * 2


def test_a_delivery_whose_full_listing_failed_is_done_by_the_next(world: World, anna: UUID) -> None:
    delivery = world.notify()
    world.source.fail(TryLater("503"), at_page=1)
    relist(world, anna)
    assert world.delivery(delivery) == ("stored", None)

    world.wait_out(Calendar)
    world.look_at(anna)

    assert world.delivery(delivery) == ("done", None)


def test_what_is_told_of_a_disconnected_calendar_is_ignored_and_why(world: World, anna: UUID) -> None:
    world.source.lose("cal-anna", status="disconnected")
    word = world.notify(kind="calendar.update")
    changes = world.notify()

    world.look_at(anna)

    assert world.delivery(word) == ("done", None)
    assert world.delivery(changes) == ("ignored", "calendar_disconnected")


def test_what_is_told_of_a_calendar_deleted_here_is_ignored_without_a_call(
    world: World, anna: UUID
) -> None:
    with world.db.begin() as tx:
        mark_deleted(tx, anna, now=world.at, reason="deleted by the user")
    deliveries = [world.notify(), world.notify(kind="calendar.update")]

    world.look_at(anna)

    assert {world.delivery(one) for one in deliveries} == {("ignored", "calendar_disconnected")}
    assert world.source.calls == []
    assert not world.is_due(anna)


def test_a_plain_calendar_has_no_look_of_its_own(world: World, anna: UUID) -> None:
    world.notify()

    assert world.look_at(anna) is Outcome.NOTHING_DUE

    assert world.source.calls == []


def test_a_status_that_changes_during_a_full_listing_is_not_overwritten(
    world: World, anna: UUID
) -> None:
    def lose() -> None:
        world.source.lose("cal-anna")
        with world.db.begin() as tx:
            set_status(tx, anna, "needs_reauth", "invalid_grant", now=world.at)

    world.during_page(lose)

    relist(world, anna)

    assert world.calendar(anna)["status"] == "needs_reauth"


def test_a_full_listing_that_changes_nothing_emits_nothing_and_asks_no_slot(
    world: World, anna: UUID
) -> None:
    before = world.told("")

    relist(world, anna)

    assert world.told("") == before
    with world.db.begin() as tx:
        slots = table_of(Slot)
        assert tx.execute(select(slots).where(slots.c.wanted > slots.c.done)).all() == []
