"""`punctual connections` and `punctual connect-link`, each as it is typed."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from click.testing import Result
from sqlalchemy import Engine

from models.sealing import Vault
from tests.builders import a_connection
from tests.fakes.accounts import PRIMARY
from tests.worker.account_kit import Accounts, calendar_id_of
from tests.worker.commands_kit import Punctual, punctual
from tests.worker.world import real_now
from worker import tokens
from worker.errors import TryLater
from worker.linking import set_out
from worker.ports_direct import OfferedCalendar

__all__ = ["punctual"]

CLIENT = {"google_client_id": "client-1", "google_client_secret": "secret-1"}


@pytest.fixture
def accounts(db: Engine, vault: Vault, punctual: Punctual, monkeypatch: pytest.MonkeyPatch) -> Accounts:
    """Fakes for the providers that the verbs see too."""
    accounts = Accounts(db, vault)
    monkeypatch.setattr("worker.bootstrap._accounts", lambda *_: accounts.rt.accounts)
    monkeypatch.setattr("worker.bootstrap.authorities_of", lambda *_: accounts.rt.authorities)
    return accounts


@pytest.fixture
def anna(accounts: Accounts) -> str:
    """Anna's account, connected, with a calendar of her team and one she may not read; its id."""
    accounts.accounts.offered += [
        OfferedCalendar("team", "Team", is_primary=False, may_read=True),
        OfferedCalendar("boss", "Boss", is_primary=False, may_read=False),
    ]
    accounts.read(calendar_id_of(accounts.connect(owner="anna")))
    return str(accounts.connection()["id"])


def followed(result: list[dict[str, object]]) -> list[object]:
    return [one["external_id"] for one in result if one["followed"]]


def test_connected_accounts_are_listed_without_a_token(anna: str, punctual: Punctual) -> None:
    (listed,) = punctual.json("connections", "list")

    assert (listed["id"], listed["email"], listed["status"]) == (anna, PRIMARY, "connected")
    assert "refresh_token" not in listed
    assert PRIMARY in punctual.run("connections", "list").stdout


def test_connected_accounts_are_listed_by_what_they_are(
    db: Engine, anna: str, punctual: Punctual
) -> None:
    lost = str(a_connection(db, "microsoft", status="needs_reauth", owner="ben"))

    for option in (["--status", "needs_reauth"], ["--platform", "microsoft"], ["--owner", "ben"]):
        assert [one["id"] for one in punctual.json("connections", "list", *option)] == [lost]


def test_without_any_the_list_says_so(punctual: Punctual) -> None:
    assert punctual.run("connections", "list").stdout == "No connected accounts.\n"
    assert punctual.json("connections", "list") == []


def test_an_account_is_shown_with_the_calendars_it_can_see(anna: str, punctual: Punctual) -> None:
    shown = punctual.json("connections", "show", anna, **CLIENT)

    assert shown["id"] == anna
    assert [one["external_id"] for one in shown["calendars"]] == [PRIMARY, "team", "boss"]
    assert followed(shown["calendars"]) == [PRIMARY]
    assert "team" in punctual.run("connections", "show", PRIMARY.upper(), **CLIENT).stdout


def test_an_account_whose_calendars_cannot_be_listed_is_shown_all_the_same(
    accounts: Accounts, anna: str, punctual: Punctual
) -> None:
    tokens.lose(accounts.rt, UUID(anna), "revoked")

    result = punctual.run("connections", "show", anna, **CLIENT)

    assert result.exit_code == 1
    assert "needs_reauth" in result.stdout
    assert result.stderr == f"punctual: its calendars cannot be listed: connection {anna}: revoked\n"


@pytest.mark.parametrize(
    "name", [str(uuid4()), "nobody@example.com", "no-id"], ids=["id", "address", "text"]
)
def test_an_unknown_account_is_one_clear_line(punctual: Punctual, name: str) -> None:
    result = punctual.run("connections", "show", name)

    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1


def test_an_address_of_two_accounts_names_none(db: Engine, anna: str, punctual: Punctual) -> None:
    a_connection(db, "microsoft", email=PRIMARY)

    result = punctual.run("connections", "let-go", PRIMARY, "--yes")

    assert result.exit_code == 1
    assert "several connected accounts have the address" in result.stderr


def test_another_calendar_is_chosen_beside_the_first(anna: str, punctual: Punctual) -> None:
    chosen = punctual.json("connections", "choose", anna, PRIMARY, "team", **CLIENT)

    assert followed(chosen) == [PRIMARY, "team"]


def test_a_calendar_that_is_left_out_is_asked_about_first(anna: str, punctual: Punctual) -> None:
    refused = punctual.run("connections", "choose", anna, "team", stdin="n\n", **CLIENT)
    before = punctual.json("connections", "show", anna, **CLIENT)
    agreed = punctual.json("connections", "choose", anna, "team", "--yes", **CLIENT)

    assert refused.exit_code == 1
    assert "Stop following Anna" in refused.stderr
    assert followed(before["calendars"]) == [PRIMARY]
    assert followed(agreed) == ["team"]


def test_a_calendar_that_may_not_be_read_cannot_be_chosen(anna: str, punctual: Punctual) -> None:
    result = punctual.run("connections", "choose", anna, "boss", "--yes", **CLIENT)

    assert result.exit_code == 1
    assert "not all of these are calendars that the account may read" in result.stderr


def test_letting_go_asks_first_and_takes_calendars_and_consent_along(
    accounts: Accounts, anna: str, punctual: Punctual
) -> None:
    refused = punctual.run("connections", "let-go", anna, stdin="n\n", **CLIENT)
    still_there = punctual.json("connections", "list")
    agreed = punctual.run("connections", "let-go", PRIMARY, "--yes", **CLIENT)

    assert f"Let go of {PRIMARY}" in refused.stdout
    assert len(still_there) == 1
    assert agreed.stdout == f"Connection {anna} is let go of.\n"
    assert punctual.json("connections", "list") == []
    assert punctual.json("calendars", "list") == []
    assert len(accounts.authority.revoked) == 1


def test_a_provider_that_does_not_answer_is_one_clear_line(
    accounts: Accounts, anna: str, punctual: Punctual
) -> None:
    accounts.accounts.fail(TryLater("google list_calendars: 503"))

    result = punctual.run("connections", "choose", anna, "team", "--yes", **CLIENT)

    assert result.exit_code == 1
    assert result.stderr == "punctual: google list_calendars: 503\n"


def link(punctual: Punctual, *arguments: str) -> Result:
    return punctual.run("connect-link", *arguments, public_url="https://bots.example.com", **CLIENT)


def test_a_link_is_printed_alone_and_leads_to_the_platform(
    accounts: Accounts, punctual: Punctual
) -> None:
    result = link(punctual, "--platform", "google", "--via", "direct", "--owner", "anna")

    accounts.world.at = real_now()
    (url,) = result.stdout.splitlines()
    address, _, token = url.rpartition("/")
    assert address == "https://bots.example.com/connect"
    assert set_out(accounts.rt, token).url.startswith("https://consent.test/")


def test_programs_get_the_whole_link(accounts: Accounts, punctual: Punctual) -> None:
    made = punctual.json(
        *("connect-link", "--platform", "google", "--owner", "anna"),
        *("--return-url", "https://app.example.com/done"),
        **CLIENT,
    )

    assert (made["via"], made["owner"]) == ("direct", "anna")
    assert made["return_url"] == "https://app.example.com/done"


@pytest.mark.parametrize("url", ["javascript:alert(1)", "/done", "https://me:hush@example.com/"])
def test_a_browser_is_sent_on_to_a_web_address_alone(
    accounts: Accounts, punctual: Punctual, url: str
) -> None:
    result = link(punctual, "--platform", "google", "--return-url", url)

    assert result.exit_code == 1
    assert "--return-url must be an absolute http(s) URL without credentials" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "setting"),
    [
        (["--platform", "microsoft"], "PUNCTUAL_MICROSOFT_CLIENT_ID"),
        (["--platform", "google", "--via", "recall"], "PUNCTUAL_RECALL_API_KEY"),
    ],
    ids=["no client", "no Recall key"],
)
def test_a_way_that_is_not_configured_is_said(
    accounts: Accounts, punctual: Punctual, arguments: list[str], setting: str
) -> None:
    result = link(punctual, *arguments)

    assert result.exit_code == 2
    assert setting in result.stderr
