"""Keys are rotated while everything runs, and in as many goes as it takes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import Engine, select, text

from models.sealing import CannotOpen, Vault, new_key, place, read_keys
from tests.builders import an_event
from tests.worker.account_kit import CONNECTIONS, Accounts, calendar_id_of
from worker import endpoints, resealing, tokens
from worker.resealing import SEALED, replace_channels, reseal

OLD, NEW = new_key(), new_key()


@pytest.fixture
def accounts(db: Engine) -> Accounts:
    """An installation that has sealed something in every column, under the older key alone."""
    accounts = Accounts(db, Vault(read_keys(OLD)))
    accounts.accounts.put(an_event())
    accounts.read(calendar_id_of(accounts.connect()))
    accounts.keep_channels()
    endpoints.create(accounts.rt, "https://hooks.example.com/punctual")
    return accounts


def both() -> Vault:
    return Vault(read_keys(f"{NEW},{OLD}"))


def test_afterwards_the_new_key_opens_everything_alone(accounts: Accounts) -> None:
    done = {(one.table, one.column): one.count for one in reseal(accounts.db, both())}

    assert done[("connections", "refresh_token")] == 1
    assert done[("calendar_events", "meeting_url")] == 1
    assert done[("endpoint_secrets", "secret")] == 1
    fresh = replace(accounts.rt, vault=Vault(read_keys(NEW)))
    assert tokens.access(fresh, accounts.connection()["id"]).token.startswith("access-")


def test_a_second_run_finds_nothing(accounts: Accounts) -> None:
    reseal(accounts.db, both())

    assert reseal(accounts.db, both()) == []


def test_it_goes_on_where_it_was_interrupted(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resealing, "BATCH", 1)

    class Interrupted(Exception):
        pass

    def interrupt(_: object) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        reseal(accounts.db, both(), tell=interrupt)
    reseal(accounts.db, both())

    assert reseal(accounts.db, both()) == []


def test_without_the_older_key_nothing_is_touched(accounts: Accounts) -> None:
    with pytest.raises(CannotOpen):
        reseal(accounts.db, Vault(read_keys(NEW)))

    with accounts.db.begin() as tx:
        row = tx.execute(select(CONNECTIONS)).mappings().one()
    where = place("connections", "refresh_token", row["id"])
    assert accounts.vault.open(row["refresh_token"], place=where)


def test_every_sealed_column_is_among_those_that_are_sealed_anew(db: Engine) -> None:
    """All binary columns but hashes, bodies as they came, and answers that are kept for a day."""
    with db.begin() as tx:
        found = tx.execute(
            text(
                "SELECT table_name, column_name FROM information_schema.columns"
                " WHERE table_schema = 'public' AND data_type = 'bytea'"
            )
        ).all()
    plain = {("deliveries", "body"), ("idempotent_requests", "answer")}
    sealed = {
        (table, column)
        for table, column in found
        if not column.endswith(("hash", "digest")) and (table, column) not in plain
    }

    assert sealed == {(row.__tablename__, column) for row, column in SEALED}


def test_push_channels_are_replaced_with_overlap(accounts: Accounts) -> None:
    assert replace_channels(accounts.db) == 1

    accounts.keep_channels()
    assert set(accounts.accounts.channels) == {"resource-1", "resource-2"}
    accounts.keep_channels()
    assert set(accounts.accounts.channels) == {"resource-2"}
