"""Push channels: opened after the first look, renewed with overlap, stopped when nobody wants them."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, func, select, update

from models.sealing import Vault, new_key, read_keys
from tests.builders import an_event
from tests.worker.account_kit import CHANNELS, Accounts, calendar_id_of
from worker import calendars, channels, connections
from worker.channels import LIFE, ChannelMark, read_secret, secret_of
from worker.errors import AlreadyGone, ConsentLost, TryLater
from worker.polling import ask_for_accounts
from worker.ports_direct import ChannelTaken, OfferedCalendar


@pytest.fixture
def accounts(db: Engine, vault: Vault) -> Accounts:
    return Accounts(db, vault)


@pytest.fixture
def anna(accounts: Accounts) -> UUID:
    """Anna's calendar, read once, with its channel open."""
    accounts.accounts.put(an_event())
    calendar_id = calendar_id_of(accounts.connect())
    accounts.read(calendar_id)
    accounts.keep_channels()
    return calendar_id


def age(accounts: Accounts, share: float) -> None:
    """Let so much of every channel's life be over."""
    with accounts.db.begin() as tx:
        life = LIFE["google"]
        tx.execute(
            update(CHANNELS).values(
                opened_at=accounts.world.at - life * share,
                expires_at=accounts.world.at + life * (1 - share),
            )
        )
        ask_for_accounts(tx, now=accounts.world.at)


def test_a_calendar_that_was_read_gets_a_channel_and_one_more_look(
    accounts: Accounts, anna: UUID
) -> None:
    (channel,) = accounts.channels()

    assert channel["external_id"] == "resource-1"
    assert accounts.world.is_due(anna)  # what changed before the channel was open, nobody told us


def test_the_secret_says_which_channel_of_which_calendar_and_is_ours_alone(vault: Vault) -> None:
    mark = ChannelMark(uuid4(), uuid4())
    secret = secret_of(vault, mark)

    assert read_secret(vault, secret) == mark
    assert len(secret) <= 128
    assert read_secret(Vault(read_keys(new_key())), secret) is None
    assert read_secret(vault, secret[:-1]) is None
    other = ChannelMark(uuid4(), mark.calendar_id)
    assert read_secret(vault, f"{other.channel_id.hex}{secret[32:]}") is None


def test_a_secret_written_under_an_older_key_is_still_ours() -> None:
    old, new = new_key(), new_key()
    mark = ChannelMark(uuid4(), uuid4())

    secret = secret_of(Vault(read_keys(old)), mark)

    assert read_secret(Vault(read_keys(f"{new},{old}")), secret) == mark


@pytest.mark.parametrize(
    "garbage",
    ["", ".", "a.b.c", "é" * 50, f"{UUID(int=1).hex}.{UUID(int=2).hex}."],
    ids=["empty", "a dot", "letters", "not ASCII", "without a mark"],
)
def test_what_is_no_secret_is_nobodys(vault: Vault, garbage: str) -> None:
    assert read_secret(vault, garbage) is None


@pytest.mark.parametrize(("share", "is_due"), [(0.4, False), (0.6, True)], ids=["young", "ageing"])
def test_a_channel_is_renewed_when_half_its_life_is_over(
    accounts: Accounts, anna: UUID, share: float, *, is_due: bool
) -> None:
    age(accounts, share)

    assert accounts.channels()[0]["is_pending"] is is_due


def test_where_a_channel_cannot_be_renewed_another_takes_over_before_it_is_stopped(
    accounts: Accounts, anna: UUID
) -> None:
    age(accounts, 0.6)
    accounts.keep_channels()
    assert len(accounts.channels()) == 2
    assert set(accounts.accounts.channels) == {"resource-1"}

    accounts.keep_channels()
    assert set(accounts.accounts.channels) == {"resource-1", "resource-2"}

    accounts.keep_channels()
    (channel,) = accounts.channels()
    assert channel["external_id"] == "resource-2"
    assert set(accounts.accounts.channels) == {"resource-2"}


def test_where_it_can_be_renewed_it_lives_on(accounts: Accounts, anna: UUID) -> None:
    accounts.accounts.renews = True
    age(accounts, 0.6)

    accounts.keep_channels()

    (channel,) = accounts.channels()
    assert channel["expires_at"] == accounts.world.at + LIFE["google"]


def test_one_that_is_gone_at_its_provider_is_opened_anew_and_its_calendar_looked_at(
    accounts: Accounts, anna: UUID
) -> None:
    accounts.accounts.renews = True
    accounts.accounts.channels.clear()
    accounts.read(anna)
    age(accounts, 0.6)

    accounts.keep_channels()
    assert accounts.world.is_due(anna)
    accounts.keep_channels()

    (channel,) = accounts.channels()
    assert channel["external_id"] in accounts.accounts.channels


def test_an_unanswered_call_that_opened_a_channel_is_followed_by_another_id(
    accounts: Accounts,
) -> None:
    calendar_id = calendar_id_of(accounts.connect())
    accounts.read(calendar_id)
    first = accounts.channels()[0]["id"]
    accounts.accounts.fail(ChannelTaken("400"))

    accounts.keep_channels()
    accounts.keep_channels()

    (channel,) = accounts.channels()
    assert channel["id"] != first
    assert channel["external_id"] == "resource-1"


def test_a_deleted_calendar_has_its_channel_stopped(accounts: Accounts, anna: UUID) -> None:

    calendars.remove(accounts.rt, anna)
    accounts.read(anna)
    accounts.keep_channels()

    assert accounts.channels() == []
    assert accounts.accounts.channels == {}


def test_letting_go_of_an_account_stops_channels_and_gives_the_consent_back(
    accounts: Accounts, anna: UUID
) -> None:
    assert connections.remove_connection(accounts.rt, accounts.connection()["id"])

    assert accounts.accounts.channels == {}
    assert len(accounts.authority.revoked) == 1
    assert accounts.world.told("calendar.")[-1] == "calendar.deleted"
    assert not connections.remove_connection(accounts.rt, accounts.connection()["id"])


def test_a_channel_that_is_gone_already_counts_as_stopped(accounts: Accounts, anna: UUID) -> None:
    with accounts.db.begin() as tx:
        channels.want_none(tx, anna)
    accounts.accounts.fail(AlreadyGone("404"))

    accounts.keep_channels()

    assert accounts.channels() == []


def test_what_cannot_be_opened_now_is_opened_later(accounts: Accounts) -> None:
    accounts.read(calendar_id_of(accounts.connect()))
    accounts.accounts.fail(TryLater("503"))

    accounts.keep_channels()
    assert accounts.accounts.channels == {}

    accounts.keep_channels()
    assert set(accounts.accounts.channels) == {"resource-1"}


def test_a_token_that_ended_before_its_time_is_replaced_and_the_channel_opened(
    accounts: Accounts,
) -> None:
    accounts.read(calendar_id_of(accounts.connect()))
    accounts.accounts.fail(ConsentLost("401"))

    accounts.keep_channels()

    assert set(accounts.accounts.channels) == {"resource-1"}
    assert accounts.authority.refreshes == 1


def test_a_token_that_ended_before_its_time_keeps_nobody_from_choosing_calendars(
    accounts: Accounts, anna: UUID
) -> None:
    connection_id = accounts.connection()["id"]
    accounts.accounts.fail(ConsentLost("401"))

    assert connections.offered_calendars(accounts.rt, connection_id)
    accounts.accounts.fail(ConsentLost("401"))
    assert connections.choose_calendars(accounts.rt, connection_id, ["anna@example.com"])

    assert accounts.authority.refreshes == 2


def test_a_channel_that_keeps_quiet_about_changes_is_replaced(accounts: Accounts, anna: UUID) -> None:
    accounts.read(anna)
    for number in range(channels.MOST_MISSED):
        accounts.accounts.put(an_event(f"unheard-{number}"))
        accounts.world.ask(anna)
        accounts.read(anna)

    accounts.keep_channels()
    accounts.keep_channels()

    assert set(accounts.accounts.channels) == {"resource-2"}


def test_only_the_calendars_that_are_chosen_are_followed(accounts: Accounts, anna: UUID) -> None:

    accounts.accounts.offered.append(OfferedCalendar("team", "Team", is_primary=False, may_read=True))
    accounts.accounts.offered.append(OfferedCalendar("boss", "Boss", is_primary=False, may_read=False))
    connection_id = accounts.connection()["id"]

    shown = connections.choose_calendars(accounts.rt, connection_id, ["team"])

    assert shown is not None
    assert {one["external_id"] for one in shown if one["followed"]} == {"team"}
    assert accounts.world.told("calendar.") == [
        "calendar.connected",
        "calendar.deleted",
        "calendar.connected",
    ]
    with pytest.raises(connections.NotOffered):
        connections.choose_calendars(accounts.rt, connection_id, ["boss"])
    with accounts.db.begin() as tx:
        assert tx.execute(select(func.count()).select_from(CHANNELS)).scalar_one() == 1
