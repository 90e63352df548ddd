"""Access tokens: one refresh at a time, stored before use, and no consent given up for lost too soon."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Engine, func, select, update
from sqlalchemy.exc import OperationalError

from models.sealing import Vault, place
from models.tables import due
from models.tables.connections import Connection
from models.tables.outbox import OutboxEvent
from tests.worker.account_kit import (
    ANNA,
    CONNECTIONS,
    Accounts,
    calendar_id_of,
    on_unsteady_database,
)
from worker import tokens
from worker.errors import AuthorizationLost, ConsentLost, TryLater
from worker.turns import Outcome


@pytest.fixture
def accounts(db: Engine, vault: Vault) -> Accounts:
    accounts = Accounts(db, vault)
    accounts.connect()
    return accounts


def test_a_token_that_is_good_is_handed_out_without_asking(accounts: Accounts) -> None:
    first = tokens.access(accounts.rt, accounts.connection()["id"])

    assert tokens.access(accounts.rt, first.connection_id) == first
    assert accounts.authority.refreshes == 0


def test_an_expired_token_is_replaced_before_it_is_handed_out(accounts: Accounts) -> None:
    connection_id = accounts.connection()["id"]
    first = tokens.access(accounts.rt, connection_id)
    accounts.let_token_expire()

    second = tokens.access(accounts.rt, connection_id)

    assert second.token != first.token
    assert accounts.authority.refreshes == 1


def test_one_that_is_about_to_expire_is_handed_out_and_replaced_behind_its_back(
    accounts: Accounts,
) -> None:
    connection_id = accounts.connection()["id"]
    accounts.world.at += timedelta(minutes=55)

    tokens.access(accounts.rt, connection_id)

    assert accounts.authority.refreshes == 0
    assert ("refresh", str(connection_id)) in accounts.world.bell.rings


def test_a_rotated_refresh_token_is_stored_sealed_with_the_access_token(accounts: Accounts) -> None:
    before = accounts.connection()
    accounts.let_token_expire()

    tokens.access(accounts.rt, before["id"])

    after = accounts.connection()
    where = place("connections", "refresh_token", after["id"])
    assert accounts.vault.open(after["refresh_token"], place=where) != accounts.vault.open(
        before["refresh_token"], place=where
    )
    assert after["generation"] == before["generation"] + 1
    assert b"refresh-" not in bytes(after["refresh_token"])


def test_google_keeps_its_refresh_token(accounts: Accounts) -> None:
    accounts.authority.rotates = False
    before = accounts.connection()
    accounts.let_token_expire()

    tokens.access(accounts.rt, before["id"])

    assert accounts.connection()["refresh_token"] == before["refresh_token"]


def test_of_many_who_need_a_token_at_once_one_asks_for_it(accounts: Accounts) -> None:
    connection_id = accounts.connection()["id"]
    accounts.let_token_expire()
    accounts.authority.takes_s = 0.2
    rt = replace(accounts.rt, sleep=time.sleep)

    with ThreadPoolExecutor(8) as pool:
        given = set(pool.map(lambda _: tokens.access(rt, connection_id).token, range(8)))

    assert len(given) == 1
    assert (accounts.authority.refreshes, accounts.authority.most_at_once) == (1, 1)


def test_a_token_that_lives_two_seconds_is_not_refreshed_for_ever(accounts: Accounts) -> None:
    connection_id = accounts.connection()["id"]
    accounts.let_token_expire()
    accounts.authority.life = timedelta(seconds=2)

    first = tokens.access(accounts.rt, connection_id)

    assert tokens.access(accounts.rt, connection_id) == first
    assert accounts.authority.refreshes == 1


def test_one_refusal_is_not_believed(accounts: Accounts) -> None:
    accounts.let_token_expire()
    accounts.authority.fail(ConsentLost("refresh: 400 invalid_grant"))

    assert accounts.refresh() is Outcome.PUT_OFF
    assert accounts.connection()["status"] == "connected"

    assert accounts.refresh() is Outcome.FINISHED
    assert accounts.connection()["refusals"] == 0


def test_a_consent_that_is_refused_twice_is_lost_and_told_once(accounts: Accounts) -> None:
    accounts.let_token_expire()
    accounts.authority.revoke_all()

    accounts.refresh()
    accounts.refresh()
    refreshes = accounts.authority.refreshes
    with pytest.raises(ConsentLost):
        tokens.access(accounts.rt, accounts.connection()["id"])

    assert accounts.connection()["status"] == "needs_reauth"
    assert accounts.world.told("calendar.") == ["calendar.connected", "calendar.needs_reauth"]
    assert accounts.authority.refreshes == refreshes  # nobody storms the provider


def test_a_refusal_of_a_token_that_was_replaced_meanwhile_says_nothing(accounts: Accounts) -> None:
    """A worker that was held up comes with the old token after its neighbour has stored the new one."""
    accounts.let_token_expire()
    accounts.authority.revoke_all()

    def store_another() -> None:
        with accounts.db.begin() as tx:
            tx.execute(update(CONNECTIONS).values(generation=CONNECTIONS.c.generation + 1))

    accounts.authority.during = store_another
    accounts.refresh()

    row = accounts.connection()
    assert (row["status"], row["refusals"]) == ("connected", 0)


def test_a_client_that_is_refused_is_the_operators_matter(accounts: Accounts) -> None:
    accounts.let_token_expire()
    accounts.authority.fail(AuthorizationLost("refresh: 401 invalid_client"))

    assert accounts.refresh() is Outcome.PUT_OFF

    row = accounts.connection()
    assert (row["status"], row["refusals"]) == ("connected", 0)
    assert accounts.world.told("calendar.") == ["calendar.connected"]


def test_while_a_refresh_waits_nobody_asks_again(accounts: Accounts) -> None:
    accounts.let_token_expire()
    accounts.authority.fail(TryLater("refresh: 503"))

    accounts.refresh()
    with pytest.raises(TryLater):
        tokens.access(accounts.rt, accounts.connection()["id"])

    assert accounts.authority.refreshes == 0


def test_who_asks_during_a_refresh_leaves_nothing_due(accounts: Accounts) -> None:
    """Else upkeep would ring for it every three seconds for as long as the new token is fresh."""
    accounts.let_token_expire()
    connection_id = accounts.connection()["id"]

    def ask() -> None:
        with accounts.db.begin() as tx:
            due.ask(tx, Connection, [connection_id])

    accounts.authority.during = ask
    accounts.refresh()
    assert accounts.connection()["is_pending"]

    assert tokens.refresh(accounts.rt, connection_id) is Outcome.FINISHED

    assert not accounts.connection()["is_pending"]
    assert accounts.authority.refreshes == 1


def test_a_database_that_is_away_for_a_moment_loses_no_rotated_token(accounts: Accounts) -> None:
    """Nobody else has the new refresh token, and the old one may be worth nothing any more."""
    accounts.let_token_expire()
    rt, unsteady = on_unsteady_database(accounts.rt)
    accounts.authority.during = lambda: unsteady.be_away_for(4)
    before = accounts.connection()

    assert tokens.refresh(rt, before["id"]) is Outcome.FINISHED

    assert accounts.connection()["generation"] == before["generation"] + 1
    accounts.let_token_expire()
    accounts.authority.during = lambda: None
    assert accounts.refresh() is Outcome.FINISHED
    assert accounts.authority.refused == 0


def test_new_tokens_are_stored_together_or_not_at_all(accounts: Accounts) -> None:
    """Who dies between the two would leave an access token that is used, and no refresh token after it."""
    accounts.let_token_expire()
    before = accounts.connection()
    rt, unsteady = on_unsteady_database(accounts.rt)
    accounts.authority.during = lambda: unsteady.be_away_for(100, after=1)

    with contextlib.suppress(OperationalError):
        tokens.refresh(rt, before["id"])

    after = accounts.connection()
    assert after["access_token"] != before["access_token"]
    assert after["refresh_token"] != before["refresh_token"]


def test_a_late_answer_does_not_replace_the_tokens_of_a_newer_consent(accounts: Accounts) -> None:
    accounts.let_token_expire()
    accounts.authority.during = accounts.connect

    accounts.refresh()

    accounts.authority.during = lambda: None
    accounts.authority._families[0].is_revoked = True  # the first consent's
    accounts.let_token_expire()
    assert accounts.refresh() is Outcome.FINISHED
    assert accounts.authority.refused == 0


def test_losing_a_consent_cancels_no_bot(accounts: Accounts) -> None:
    with accounts.db.begin() as tx:
        before = tx.execute(select(func.count()).select_from(OutboxEvent)).scalar_one()
    tokens.lose(accounts.rt, accounts.connection()["id"], "revoked")

    assert not [kind for kind in accounts.world.told() if kind == "bot.cancelled"]
    with accounts.db.begin() as tx:
        after = tx.execute(select(func.count()).select_from(OutboxEvent)).scalar_one()
    assert after == before + 1


def test_the_same_account_again_is_the_same_connection_with_new_tokens(accounts: Accounts) -> None:
    before = accounts.connection()
    tokens.lose(accounts.rt, before["id"], "revoked")

    again = accounts.connect(replace(ANNA, email="anna.new@example.com"))

    after = accounts.connection()
    assert (after["id"], after["status"]) == (before["id"], "connected")
    assert after["email"] == "anna.new@example.com"
    assert not again.is_new
    assert accounts.world.calendar(calendar_id_of(again))["needs_full"]
    assert accounts.world.told("calendar.") == [
        "calendar.connected",
        "calendar.needs_reauth",
        "calendar.connected",
    ]


def test_accounts_that_nobody_uses_are_kept_alive(accounts: Accounts) -> None:
    accounts.world.at += timedelta(days=31)

    with accounts.db.begin() as tx:
        asked = tokens.ask_for_idle(tx, now=accounts.world.at, limit=10)

    assert asked == 1
    assert accounts.refresh() is Outcome.FINISHED
