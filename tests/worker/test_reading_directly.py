"""A calendar that we read ourselves: from its cursor on, or all of it, and never past what is applied."""

from __future__ import annotations

import contextlib
import itertools
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine, func, select, update
from sqlalchemy.exc import OperationalError

from models.sealing import Vault
from models.tables.calendars import Calendar
from tests.builders import NOON, a_link, an_event
from tests.fakes.accounts import PRIMARY
from tests.worker.account_kit import CALENDARS, Accounts, calendar_id_of, on_unsteady_database
from worker import tokens
from worker.errors import AlreadyGone, ConsentLost, CursorGone, TryLater
from worker.polling import ask_for_unseen
from worker.ports_direct import Account
from worker.syncing import sync_calendar
from worker.turns import Outcome


@pytest.fixture
def accounts(db: Engine, vault: Vault) -> Accounts:
    return Accounts(db, vault)


@pytest.fixture
def anna(accounts: Accounts) -> UUID:
    """Anna's calendar, connected and read once, with one meeting tomorrow."""
    accounts.accounts.put(an_event())
    calendar_id = calendar_id_of(accounts.connect())
    accounts.read(calendar_id)
    accounts.accounts.calls.clear()
    return calendar_id


def ask(accounts: Accounts, calendar_id: UUID) -> None:
    accounts.world.ask(calendar_id)


def test_a_connected_calendar_is_read_and_its_meetings_get_bots(accounts: Accounts) -> None:
    accounts.accounts.put(an_event())
    calendar_id = calendar_id_of(accounts.connect())

    assert accounts.read(calendar_id) is Outcome.FINISHED
    accounts.world.reconcile_all()

    assert accounts.world.live() == [(a_link().url, NOON)]
    assert accounts.world.told() == ["bot.scheduled"]


def test_the_next_look_reads_what_changed_alone(accounts: Accounts, anna: UUID) -> None:
    accounts.accounts.put(an_event("event-2", link="xyz-abcd-efg"))
    ask(accounts, anna)

    accounts.read(anna)

    assert accounts.accounts.calls[0] == "read_changes"
    assert "read_all" not in accounts.accounts.calls
    assert set(accounts.world.titles()) == {"event-1", "event-2"}


def test_nothing_new_changes_and_emits_nothing(accounts: Accounts, anna: UUID) -> None:
    told = accounts.world.told("calendar_event")
    ask(accounts, anna)

    accounts.read(anna)

    assert accounts.world.told("calendar_event") == told


def test_a_deleted_event_takes_its_bot_along(accounts: Accounts, anna: UUID) -> None:
    accounts.world.reconcile_all()
    accounts.accounts.remove("event-1")
    ask(accounts, anna)

    accounts.read(anna)
    accounts.world.reconcile_all()

    assert accounts.world.live() == []
    assert accounts.world.told() == ["bot.scheduled", "bot.cancelled"]


def test_a_deleted_series_takes_all_its_occurrences_along(accounts: Accounts, anna: UUID) -> None:
    for day in range(3):
        start = NOON + timedelta(days=day + 1)
        accounts.accounts.put(an_event(f"weekly_{day}", series_id="weekly", start=start))
    ask(accounts, anna)
    accounts.read(anna)
    accounts.accounts._log[PRIMARY].append("weekly")  # all that a provider may say of it
    ask(accounts, anna)

    accounts.read(anna)

    assert set(accounts.world.titles()) == {"event-1"}


def test_a_forgotten_cursor_leads_to_a_complete_reading_that_deletes_nothing_first(
    accounts: Accounts, anna: UUID
) -> None:
    accounts.world.reconcile_all()
    accounts.accounts.put(an_event("event-2", link="xyz-abcd-efg"))
    accounts.accounts.forget_cursors()
    ask(accounts, anna)

    accounts.read(anna)
    accounts.world.reconcile_all()

    assert accounts.accounts.calls[:2] == ["read_changes", "read_all"]
    assert "calendar_event.deleted" not in accounts.world.told("calendar_event")
    assert set(accounts.world.titles()) == {"event-1", "event-2"}
    assert accounts.world.told() == ["bot.scheduled", "bot.scheduled"]


def test_a_cursor_that_is_forgotten_while_all_is_read_is_asked_for_again(
    accounts: Accounts, anna: UUID
) -> None:
    accounts.accounts.fail(CursorGone("410"))
    accounts.world.ask(anna, needs_full=True)

    assert accounts.read(anna) is Outcome.PUT_OFF
    assert accounts.world.calendar(anna)["status"] == "connected"
    assert accounts.read(anna) is Outcome.FINISHED


def test_what_a_complete_reading_does_not_show_is_gone(accounts: Accounts, anna: UUID) -> None:
    del accounts.accounts._events[PRIMARY]["event-1"]  # and no change says so
    accounts.world.ask(anna, needs_full=True)

    accounts.read(anna)

    assert accounts.world.titles() == {}


def test_a_reading_that_breaks_off_moves_no_cursor(accounts: Accounts, anna: UUID) -> None:
    before = accounts.world.calendar(anna)["cursor"]
    accounts.accounts.put(an_event("event-2"))
    accounts.accounts.fail(TryLater("503"))
    ask(accounts, anna)

    assert accounts.read(anna) is Outcome.PUT_OFF

    assert accounts.world.calendar(anna)["cursor"] == before
    assert accounts.read(anna) is Outcome.FINISHED
    assert "event-2" in accounts.world.titles()


def test_whenever_a_reading_breaks_off_the_cursor_is_behind_what_is_stored(
    accounts: Accounts, anna: UUID
) -> None:
    before = accounts.world.calendar(anna)["cursor"]
    accounts.accounts.put(an_event("event-2", link="xyz-abcd-efg"))
    accounts.accounts.remove("event-1")  # told with the last part, which brings the cursor
    rt, unsteady = on_unsteady_database(accounts.rt)
    ask(accounts, anna)

    for begun in itertools.count(1):
        unsteady.be_away_for(1, after=begun)
        accounts.world.wait_out(Calendar)
        with contextlib.suppress(OperationalError):
            sync_calendar(rt, anna)
        with accounts.db.begin() as tx:
            tx.execute(update(CALENDARS).values(lease_until=None, crashes=0))
        if accounts.world.calendar(anna)["cursor"] != before:
            break

    assert begun > 5
    assert set(accounts.world.titles()) == {"event-2"}


def test_what_cannot_be_read_proves_nothing_gone(accounts: Accounts, anna: UUID) -> None:
    accounts.accounts.spoil("event-1")
    accounts.world.ask(anna, needs_full=True)

    accounts.read(anna)

    assert set(accounts.world.titles()) == {"event-1"}


def test_a_refused_token_is_replaced_and_the_look_repeated(accounts: Accounts, anna: UUID) -> None:
    accounts.accounts.fail(ConsentLost("401"))
    ask(accounts, anna)

    assert accounts.read(anna) is Outcome.FINISHED

    assert accounts.authority.refreshes == 1
    assert len(set(accounts.accounts.tokens)) == 2


def test_other_failures_do_not_count_as_refusals_of_a_token(accounts: Accounts, anna: UUID) -> None:
    accounts.accounts.fail(*[TryLater("503")] * 4, ConsentLost("401"))
    ask(accounts, anna)

    outcomes = [accounts.read(anna) for _ in range(5)]

    assert outcomes == [Outcome.PUT_OFF] * 4 + [Outcome.FINISHED]
    assert accounts.world.calendar(anna)["status"] == "connected"


def test_an_account_that_refuses_fresh_tokens_is_lost(accounts: Accounts, anna: UUID) -> None:
    accounts.accounts.fail(*[ConsentLost("401")] * 3)
    ask(accounts, anna)

    for _ in range(3):
        accounts.read(anna)

    assert accounts.world.calendar(anna)["status"] == "needs_reauth"
    assert accounts.world.told("calendar.")[-1] == "calendar.needs_reauth"


def test_a_calendar_that_is_gone_is_disconnected(accounts: Accounts, anna: UUID) -> None:
    accounts.accounts.fail(AlreadyGone("404"))
    ask(accounts, anna)

    accounts.read(anna)

    assert accounts.world.calendar(anna)["status"] == "disconnected"


def test_after_reconnecting_every_bot_that_is_still_wanted_comes_back_once(
    accounts: Accounts, anna: UUID
) -> None:
    accounts.world.reconcile_all()
    tokens.lose(accounts.rt, accounts.connection()["id"], "revoked")
    accounts.accounts.put(an_event("event-2", link="xyz-abcd-efg"))
    for bot in accounts.world.bots.live:
        del accounts.world.bots.bots[bot.bot_id]  # somebody removed it meanwhile
    accounts.world.change_slot(bot_id=None, bot_hash=None, bot_state="wanted")

    accounts.connect()
    accounts.read(anna)
    accounts.world.reconcile_all()

    assert len(accounts.world.live()) == 2


def test_an_event_beyond_the_window_is_left_out_until_it_comes_near(
    accounts: Accounts, anna: UUID
) -> None:
    far = NOON + timedelta(days=60)
    accounts.accounts.put(an_event("far", start=far))
    ask(accounts, anna)

    accounts.read(anna)
    assert "far" not in accounts.world.titles()

    accounts.world.at = far - timedelta(days=10)
    ask(accounts, anna)
    accounts.read(anna)
    assert "far" in accounts.world.titles()


def test_two_people_may_follow_one_shared_calendar(accounts: Accounts, anna: UUID) -> None:

    ben = calendar_id_of(accounts.connect(Account("sub-ben", "ben@example.com")))

    accounts.read(ben)

    assert ben != anna
    with accounts.db.begin() as tx:
        count = tx.execute(select(func.count()).select_from(CALENDARS)).scalar_one()
    assert count == 2
    assert accounts.world.count("calendar_events", "external_id = 'event-1'") == 2


@pytest.mark.parametrize(
    ("minutes", "is_asked"), [(4, False), (6, True)], ids=["just looked", "some minutes ago"]
)
def test_without_any_push_a_calendar_with_a_meeting_soon_is_looked_at(
    accounts: Accounts, anna: UUID, minutes: int, *, is_asked: bool
) -> None:
    accounts.read(anna)
    accounts.world.at = NOON - timedelta(hours=1)
    with accounts.db.begin() as tx:
        ago = func.now() - timedelta(minutes=minutes)
        tx.execute(update(CALENDARS).values(last_synced_at=ago, last_full_at=func.now()))
        ask_for_unseen(tx, accounts.rt)

    assert accounts.world.is_due(anna) is is_asked


def test_every_calendar_is_looked_at_within_the_hour(accounts: Accounts, anna: UUID) -> None:
    accounts.read(anna)
    with accounts.db.begin() as tx:
        ago = func.now() - timedelta(minutes=61)
        tx.execute(update(CALENDARS).values(last_synced_at=ago, last_full_at=func.now()))
        ask_for_unseen(tx, accounts.rt)

    assert accounts.world.is_due(anna)


@pytest.mark.parametrize("may_keep_quiet", [False, True], ids=["tells all", "may keep quiet"])
def test_where_a_change_may_stay_untold_a_push_without_one_has_all_read(
    accounts: Accounts, anna: UUID, *, may_keep_quiet: bool
) -> None:
    accounts.accounts.may_keep_quiet = may_keep_quiet
    del accounts.accounts._events[PRIMARY]["event-1"]  # and no change says so
    accounts.world.notify(str(anna), "google.exists", source="google")
    ask(accounts, anna)

    accounts.read(anna)

    assert (accounts.world.titles() == {}) is may_keep_quiet
