"""The drift report on a real database: what was lost is found and mended, what is under way is left alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, func, select, text, update
from sqlalchemy.pool import QueuePool

from models.sealing import Vault
from models.tables.base import Base
from tests.builders import NOON, a_calendar, a_connection, an_event
from tests.conftest import empty_tables
from tests.worker.account_kit import Accounts, calendar_id_of
from tests.worker.world import CALENDARS, World, real_now
from worker import jobs
from worker.drifting import Kind, Report, ask_to_mend, find_drift, wait_until_done
from worker.drifting.looking import SECOND_LOOK
from worker.duties import perform
from worker.errors import AlreadyGone, AuthorizationLost, TryLater
from worker.turns import Outcome

LONG_AGO = NOON - timedelta(days=30)
NO_PATIENCE = timedelta(seconds=3)


@pytest.fixture
def world(db: Engine, vault: Vault) -> World:
    return World(db, vault)


@pytest.fixture
def anna(world: World) -> UUID:
    """Anna's calendar at Recall, read whole, with one meeting tomorrow whose bot is scheduled."""
    calendar_id = a_calendar(world.db)
    world.source.put_calendar("cal-anna", email="anna@example.com")
    put(world)
    read_whole(world, calendar_id)
    world.reconcile_all()
    world.change_slot(updated_at=LONG_AGO)
    return calendar_id


@pytest.fixture
def accounts(db: Engine, vault: Vault) -> Accounts:
    return Accounts(db, vault)


@pytest.fixture
def ben(accounts: Accounts) -> UUID:
    """Ben's calendar, read directly, with one meeting tomorrow."""
    accounts.accounts.put(an_event())
    calendar_id = calendar_id_of(accounts.connect())
    accounts.read(calendar_id)
    accounts.keep_channels()
    accounts.read(calendar_id)
    accounts.world.reconcile_all()
    accounts.world.change_slot(updated_at=LONG_AGO)
    accounts.accounts.calls.clear()
    return calendar_id


def put(
    world: World, ref: str = "event-1", *, ago: timedelta = timedelta(hours=1), **fields: Any
) -> None:
    """Have the provider hold an event, changed some time ago, and tell nobody."""
    world.put(an_event(ref, **fields), updated_at=real_now() - ago)


def read_whole(world: World, calendar_id: UUID) -> None:
    world.ask(calendar_id, needs_full=True)
    with world.db.begin() as tx:
        tx.execute(update(CALENDARS).values(due_at=func.now()))
    assert world.look_at(calendar_id) is Outcome.FINISHED


def kinds(report: Report) -> dict[str | None, str]:
    return {one.external_id: str(one.kind) for one in report.differences}


def while_waiting(world: World, happen: Callable[[], object]) -> list[float]:
    """Have something happen whenever somebody waits; how long they did is returned, wait by wait."""
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        happen()

    world.rt = replace(world.rt, sleep=sleep)
    return waits


def everything(db: Engine) -> dict[str, list[Any]]:
    with db.begin() as tx:
        return {
            table.name: sorted(map(repr, tx.execute(select(table)).all()))
            for table in Base.metadata.sorted_tables
        }


def test_nothing_drifts_right_after_a_sync(world: World, anna: UUID) -> None:
    report = find_drift(world.rt)

    assert report.is_clean
    assert (report.calendars, report.events, report.bots, report.awaited) == (1, 1, 1, 0)


def test_a_lost_change_is_found_and_mended(world: World, anna: UUID) -> None:
    put(world, start=NOON + timedelta(hours=2), ago=timedelta(minutes=30))

    found = find_drift(world.rt)
    while_waiting(world, lambda: world.look_at(anna))
    pending = wait_until_done(world.rt, ask_to_mend(world.rt, found), patience=NO_PATIENCE)
    world.reconcile_all()
    left = find_drift(world.rt)

    assert kinds(found) == {"event-1": "event_differs"}
    assert found.differences[0].at == NOON + timedelta(hours=2)
    assert pending == []
    assert left.is_clean
    assert [at for _, at in world.live()] == [NOON + timedelta(hours=2)]


@pytest.mark.parametrize("leaves_a_trace", [True, False], ids=["a tombstone", "no trace"])
def test_a_lost_deletion_is_found_and_mended(world: World, anna: UUID, *, leaves_a_trace: bool) -> None:
    if leaves_a_trace:
        world.source.remove("event-1", updated_at=real_now() - timedelta(minutes=30))
    else:
        world.source.vanish("event-1")

    found = find_drift(world.rt)
    ask_to_mend(world.rt, found)
    world.look_at(anna)
    world.reconcile_all()

    assert kinds(found) == {"event-1": "event_gone"}
    assert find_drift(world.rt).is_clean
    assert world.live() == []


def test_a_lost_meeting_is_found_and_mended(world: World, anna: UUID) -> None:
    put(world, "event-2", link="xyz-abcd-efg")

    found = find_drift(world.rt)
    ask_to_mend(world.rt, found)
    world.look_at(anna)
    world.reconcile_all()

    assert kinds(found) == {"event-2": "event_missing"}
    assert find_drift(world.rt).is_clean
    assert len(world.live()) == 2


@pytest.mark.parametrize("what", ["changed", "removed", "added"])
def test_what_a_directly_read_calendar_lost_is_found_and_mended(
    accounts: Accounts, ben: UUID, what: str
) -> None:
    match what:
        case "changed":
            accounts.accounts.put(an_event(start=NOON + timedelta(hours=2)))
        case "removed":
            accounts.accounts.remove("event-1")
        case _:
            accounts.accounts.put(an_event("event-2"))

    found = find_drift(accounts.rt)
    asked = ask_to_mend(accounts.rt, found)
    accounts.read(ben)

    expected = {"changed": "event_differs", "removed": "event_gone", "added": "event_missing"}
    assert list(kinds(found).values()) == [expected[what]]
    assert wait_until_done(accounts.rt, asked, patience=NO_PATIENCE) == []
    assert find_drift(accounts.rt).is_clean


def test_a_calendar_that_is_gone_at_its_provider_is_told_and_mended(
    accounts: Accounts, ben: UUID
) -> None:
    accounts.accounts.fail(AlreadyGone("google list_events: 404"), AlreadyGone("404"))

    found = find_drift(accounts.rt)
    ask_to_mend(accounts.rt, found)
    accounts.read(ben)

    assert [(one.kind, one.calendar_id) for one in found.differences] == [(Kind.CALENDAR_GONE, ben)]
    assert accounts.world.calendar(ben)["status"] == "disconnected"
    assert find_drift(accounts.rt).is_clean


@dataclass(frozen=True, slots=True)
class Edit:
    """Something that happens to an event and that nobody is told of."""

    what: str
    ref: str
    in_hours: int
    title: str

    def make(self, world: World, at: datetime) -> None:
        known = self.ref in world.source._rows
        match self.what:
            case "put":
                start = NOON + timedelta(hours=self.in_hours)
                event = an_event(self.ref, start=start, title=self.title)
                world.source.put("cal-anna", event, updated_at=at)
            case "remove" if known:
                world.source.remove(self.ref, updated_at=at)
            case "vanish" if known:
                world.source.vanish(self.ref)
            case "spoil" if known:
                world.source.unreadable(self.ref, "cal-anna")
                world.source._rows.pop(self.ref)


edits = st.lists(
    st.builds(
        Edit,
        st.sampled_from(["put", "put", "put", "remove", "vanish", "spoil"]),
        st.sampled_from(["event-1", "event-2", "event-3"]),
        st.sampled_from([-48, 0, 3]),
        st.sampled_from(["Weekly", "Monthly"]),
    ),
    max_size=6,
)


@given(before=edits, after=edits)
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_what_is_told_is_what_a_complete_reading_changes_and_then_nothing_drifts(
    engine: Engine, vault: Vault, before: list[Edit], after: list[Edit]
) -> None:
    empty_tables(engine)
    world = World(engine, vault)
    calendar_id = a_calendar(engine)
    world.source.put_calendar("cal-anna", email="anna@example.com")
    at = real_now() - timedelta(hours=2)
    for edit in before:
        edit.make(world, at := at + timedelta(seconds=1))
    read_whole(world, calendar_id)
    assert find_drift(world.rt).is_clean

    for edit in after:
        edit.make(world, at := at + timedelta(seconds=1))
    found = find_drift(world.rt)
    was = live_and_ahead(world)
    read_whole(world, calendar_id)
    changed = {ref for ref, one in live_and_ahead(world).items() if was.get(ref) != one}
    changed |= set(was) - set(live_and_ahead(world))

    assert set(kinds(found)) == changed
    assert find_drift(world.rt).is_clean


def live_and_ahead(world: World) -> dict[str, bytes]:
    """Return what is stored of the events that are there and not over, as far as it can change."""
    return {
        ref: row["content_hash"]
        for ref, row in world.events().items()
        if not row["deleted"] and row["end_at"] > world.at
    }


def test_what_a_worker_stores_while_the_provider_is_read_is_no_drift(world: World, anna: UUID) -> None:
    def change_and_store() -> None:
        put(world, title="Changed", ago=timedelta(minutes=5))
        put(world, "event-2", ago=timedelta(minutes=5))
        read_whole(world, anna)

    world.during_page(change_and_store)

    report = find_drift(world.rt)

    assert world.titles() == {"event-1": "Changed", "event-2": "Weekly"}
    assert report.is_clean


def test_what_a_worker_removes_while_the_provider_is_read_is_no_drift(world: World, anna: UUID) -> None:
    def remove_and_store() -> None:
        world.source.vanish("event-1")
        read_whole(world, anna)

    world.during_page(remove_and_store)

    assert find_drift(world.rt).is_clean
    assert world.titles() == {}


def test_a_change_that_has_just_happened_is_no_drift_yet(world: World, anna: UUID) -> None:
    put(world, title="Changed", ago=timedelta(seconds=10))

    report = find_drift(world.rt)

    assert (report.differences, report.awaited) == ((), 1)
    assert report.is_clean


def test_a_change_that_waits_for_a_worker_is_no_drift(world: World, anna: UUID) -> None:
    world.list_changes()
    put(world, title="Changed", ago=timedelta(0))
    with world.db.begin() as tx:
        long_ago = real_now() - timedelta(hours=2)
        tx.execute(text("UPDATE sources SET cursor_at = :at"), {"at": long_ago})
    put(world, title="Changed")
    world.ask(anna)

    assert (find_drift(world.rt).differences, find_drift(world.rt).awaited) == ((), 1)


def test_what_the_look_that_is_due_would_not_find_is_drift(world: World, anna: UUID) -> None:
    world.list_changes()
    with world.db.begin() as tx:
        tx.execute(text("UPDATE sources SET cursor_at = :at"), {"at": real_now()})
    put(world, title="Changed")
    world.ask(anna)

    assert kinds(find_drift(world.rt)) == {"event-1": "event_differs"}


def test_what_waits_for_nobody_because_it_was_set_aside_is_drift(world: World, anna: UUID) -> None:
    put(world, title="Changed")
    world.ask(anna, needs_full=True, parked_at=LONG_AGO)

    assert kinds(find_drift(world.rt)) == {"event-1": "event_differs"}


def test_a_deletion_whose_notification_comes_a_moment_later_is_no_drift(
    accounts: Accounts, ben: UUID
) -> None:
    accounts.accounts.remove("event-1")
    waits = while_waiting(accounts.world, lambda: accounts.world.ask(ben))

    report = find_drift(accounts.rt)

    assert waits == [SECOND_LOOK.total_seconds()]
    assert (report.differences, report.awaited) == ((), 1)


def test_where_nothing_differs_nobody_waits(world: World, anna: UUID) -> None:
    waits = while_waiting(world, lambda: None)

    find_drift(world.rt)

    assert waits == []


def test_reporting_changes_nothing_and_takes_no_lease(accounts: Accounts, ben: UUID) -> None:
    accounts.accounts.put(an_event(title="Changed"))
    accounts.world.bots.bots.clear()
    a_calendar(accounts.db)
    accounts.world.put(an_event("event-2"), updated_at=LONG_AGO)
    before = everything(accounts.db)

    report = find_drift(accounts.rt)

    assert len(report.differences) == 3
    assert everything(accounts.db) == before


def test_a_calendar_is_read_although_a_worker_has_its_lease(world: World, anna: UUID) -> None:
    put(world, title="Changed")
    with world.db.begin() as tx:
        tx.execute(update(CALENDARS).values(lease_until=func.now() + timedelta(hours=1)))

    assert kinds(find_drift(world.rt)) == {"event-1": "event_differs"}


def test_no_transaction_is_open_while_a_provider_is_asked(
    accounts: Accounts, ben: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_calendar(accounts.db)
    open_at: list[int] = []

    def note(*_: object) -> None:
        pool = accounts.db.pool
        assert isinstance(pool, QueuePool)
        open_at.append(pool.checkedout())

    def noting(real: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **more: Any) -> Any:
            note()
            return real(*args, **more)

        return noted

    accounts.world.source.on_page = note
    for fake, name in ((type(accounts.accounts), "_note"), (type(accounts.world.bots), "ours")):
        monkeypatch.setattr(fake, name, noting(getattr(fake, name)))

    find_drift(accounts.rt)

    assert len(open_at) >= 3
    assert set(open_at) == {0}


def test_a_used_up_budget_is_waited_for(world: World, anna: UUID) -> None:
    put(world, title="Changed")
    waits = while_waiting(world, lambda: None)
    world.source.fail(TryLater("used up", after=timedelta(seconds=7), counts=False), at_page=1)

    report = find_drift(world.rt)

    assert kinds(report) == {"event-1": "event_differs"}
    assert waits == [7.0, SECOND_LOOK.total_seconds()]


@pytest.mark.parametrize(
    "reaction",
    [TryLater("503"), TryLater("429", after=timedelta(hours=1)), AuthorizationLost("401")],
    ids=["down", "for long", "refused"],
)
def test_what_cannot_be_read_is_told_and_is_not_clean(
    world: World, anna: UUID, reaction: Exception
) -> None:
    assert isinstance(reaction, TryLater | AuthorizationLost)
    world.source.fail(reaction)

    report = find_drift(world.rt)

    assert [(one.calendar_id, one.reason) for one in report.unread] == [(anna, str(reaction))]
    assert not report.is_clean
    assert (report.calendars, report.bots) == (0, 1)


def test_an_account_that_has_lost_its_consent_holds_up_nobody_else(
    accounts: Accounts, ben: UUID
) -> None:
    connection_id = a_connection(accounts.db, status="needs_reauth", status_reason="revoked")
    a_calendar(accounts.db, "lost", source="google", connection_id=connection_id)
    accounts.accounts.put(an_event(title="Changed"))

    report = find_drift(accounts.rt)

    assert [one.reason for one in report.unread] == [f"connection {connection_id}: revoked"]
    assert kinds(report) == {"event-1": "event_differs"}


def test_bots_that_cannot_be_listed_are_told(
    world: World, anna: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> object:
        raise TryLater("503")

    monkeypatch.setattr(type(world.bots), "ours", refuse)

    report = find_drift(world.rt)

    assert [(one.calendar_id, one.reason) for one in report.unread] == [(None, "503")]
    assert not report.is_clean


def test_many_small_calendars_are_read_with_one_listing(world: World, anna: UUID) -> None:
    for number in range(5):
        a_calendar(world.db, f"cal-{number}")
    put(world, title="Changed")
    world.source.put("cal-3", an_event("event-3"), updated_at=LONG_AGO)
    world.source.put("cal-nobody", an_event("event-4"), updated_at=LONG_AGO)
    world.source.calls.clear()

    report = find_drift(world.rt)

    assert world.source.calls == ["changes workspace"]
    assert kinds(report) == {"event-1": "event_differs", "event-3": "event_missing"}
    assert report.calendars == 6


def test_one_calendar_is_read_alone_with_its_bots(world: World, anna: UUID) -> None:
    a_calendar(world.db, "cal-other")
    world.source.put("cal-other", an_event("event-2"), updated_at=LONG_AGO)
    a_stray(world, None)
    world.bots.bots.pop("bot-1")
    world.source.calls.clear()

    report = find_drift(world.rt, calendar_id=anna)

    assert world.source.calls == ["changes cal-anna"]
    assert list(kinds(report).values()) == ["bot_missing"]


def test_so_many_calendars_at_most_those_first_that_were_read_longest_ago(
    world: World, anna: UUID
) -> None:
    never = a_calendar(world.db, "cal-never")
    world.source.put("cal-never", an_event("event-2"), updated_at=LONG_AGO)
    put(world, title="Changed")

    report = find_drift(world.rt, limit=1)

    assert [one.calendar_id for one in report.differences] == [never]


def test_rows_that_say_nothing_of_an_event_prove_nothing_gone(world: World, anna: UUID) -> None:
    world.source.vanish("event-1")
    world.source.unreadable("", "cal-anna")

    assert find_drift(world.rt).is_clean


def test_calendars_at_recall_are_told_as_unread_without_a_key(world: World, anna: UUID) -> None:
    world.rt = replace(world.rt, recall=None, bots=None)

    (unread,) = find_drift(world.rt).unread

    assert unread.calendar_id == anna
    assert "PUNCTUAL_RECALL_API_KEY" in unread.reason


def test_events_beyond_what_is_read_directly_are_not_missed(accounts: Accounts, ben: UUID) -> None:
    accounts.accounts.put(an_event("far", start=NOON + timedelta(days=60)))
    until = accounts.world.calendar(ben)["window_until"]
    accounts.accounts.put(an_event("edge", start=until - timedelta(hours=3)))

    assert find_drift(accounts.rt).is_clean


def a_stray(world: World, slot_id: UUID | None) -> str:
    """Have a live bot with our mark that was made for a slot, or for one that nobody remembers."""
    made_for = slot_id or uuid4()
    bot = world.bots._make(made_for, world.rt.install_id, "https://zoom.us/j/1", NOON, {}, b"other")
    return bot.bot_id


def have_one_missing(world: World) -> None:
    world.bots.bots.clear()


def have_one_forgotten(world: World) -> None:
    world.bots.bots.clear()
    world.change_slot(bot_id=None, bot_hash=None, bot_state="wanted")


def have_one_doubled(world: World) -> None:
    a_stray(world, world.slot_id())


def have_one_astray(world: World) -> None:
    a_stray(world, None)


def have_one_moved(world: World) -> None:
    world.bots.move("bot-1", NOON + timedelta(hours=3))


@pytest.mark.parametrize(
    ("happen", "kind"),
    [
        (have_one_missing, "bot_missing"),
        (have_one_forgotten, "bot_missing"),
        (have_one_doubled, "bot_doubled"),
        (have_one_astray, "bot_astray"),
        (have_one_moved, "bot_misplaced"),
    ],
    ids=["missing", "forgotten", "doubled", "astray", "moved"],
)
def test_a_bot_out_of_place_is_found_and_mended(
    world: World, anna: UUID, happen: Callable[[World], None], kind: str
) -> None:
    happen(world)

    found = find_drift(world.rt)
    asked = ask_to_mend(world.rt, found)
    perform(world.rt, jobs.SWEEP_BOTS)
    world.reconcile_all()
    pending = wait_until_done(world.rt, asked, patience=NO_PATIENCE)
    world.change_slot(updated_at=LONG_AGO)

    assert list(kinds(found).values()) == [kind]
    assert pending == []
    assert find_drift(world.rt).is_clean
    assert [at for _, at in world.live()] == [NOON]


def test_foreign_bots_are_nobodys_business(world: World, anna: UUID) -> None:
    world.bots.put_foreign(join_at=NOON)

    assert find_drift(world.rt).is_clean


def test_only_what_differs_is_asked_for(world: World, anna: UUID) -> None:
    other = a_calendar(world.db, "cal-other")
    put(world, title="Changed")
    world.bell.take()

    ask_to_mend(world.rt, find_drift(world.rt))

    assert (world.is_due(anna), world.is_due(other)) == (True, False)
    assert world.calendar(anna)["needs_full"]
    assert world.bell.take() == [(jobs.SYNC_CALENDAR, str(anna))]


def test_what_no_worker_takes_is_told_as_pending(world: World, anna: UUID) -> None:
    put(world, title="Changed")
    waits = while_waiting(world, lambda: None)

    asked = ask_to_mend(world.rt, find_drift(world.rt))
    waits.clear()
    (pending,) = wait_until_done(world.rt, asked, patience=NO_PATIENCE)

    assert (pending.kind, pending.id) == ("calendar", str(anna))
    assert pending.reason == "no worker has taken it yet"
    assert sum(waits) == NO_PATIENCE.total_seconds()


def test_what_was_set_aside_is_not_waited_for(world: World, anna: UUID) -> None:
    put(world, title="Changed")
    asked = ask_to_mend(world.rt, find_drift(world.rt))
    world.change_calendar(anna, parked_at=NOON, last_error="answered 500")
    waits = while_waiting(world, lambda: None)

    (pending,) = wait_until_done(world.rt, asked, patience=timedelta(hours=1))

    assert (pending.is_set_aside, pending.reason) == (True, "answered 500")
    assert waits == []


def test_how_far_it_is_is_told(accounts: Accounts, ben: UUID) -> None:
    a_calendar(accounts.db)
    told: list[tuple[int, int]] = []

    find_drift(accounts.rt, tell=lambda done, total: told.append((done, total)))

    assert told == [(0, 2), (1, 2), (2, 2)]
