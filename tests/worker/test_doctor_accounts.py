"""What the doctor finds about users' own accounts, and what it says to do about it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, insert

from models.sealing import Vault
from models.tables.due import table_of
from models.tables.installation import Heartbeat
from tests.builders import NOON, a_calendar, a_channel, a_connection, an_event, an_installation
from tests.fakes import FakeAuthority
from tests.worker.account_kit import Accounts, calendar_id_of
from tests.worker.commands_kit import Punctual, punctual
from worker import checkup
from worker.checkup import Finding
from worker.errors import AuthorizationLost, Refused, TryLater
from worker.oauth_clients import register
from worker.ports_direct import Authority, OAuthApp
from worker.providers.oauth import GoogleAuthority, MicrosoftAuthority
from worker.settings import Settings

__all__ = ["punctual"]

GOOGLE = {"google_client_id": "client-1", "google_client_secret": SecretStr("secret-1")}
APP = OAuthApp("google", "client-1", "secret-1")
HTTPS = "https://bots.example.com"


def settings(**values: Any) -> Settings:
    return Settings.model_validate(values)


def levels(findings: list[Finding]) -> list[str]:
    return [finding.level for finding in findings]


def a_followed_calendar(db: Engine, **columns: Any) -> Any:
    """Store a calendar that we read ourselves, read a moment ago."""
    return a_calendar(
        db,
        f"cal-{columns.pop('ref', 'anna')}",
        source="google",
        connection_id=a_connection(db),
        last_synced_at=NOON,
        **columns,
    )


def told_of_urls(db: Engine, **values: Any) -> list[Finding]:
    with db.begin() as tx:
        return list(checkup.check_public_url(tx, settings(**values)))


def told_of_channels(db: Engine) -> list[Finding]:
    with db.begin() as tx:
        return list(checkup.check_channels(tx, now=NOON))


def told_of_connections(db: Engine) -> list[Finding]:
    with db.begin() as tx:
        return list(checkup.check_connections(tx))


def test_the_clients_are_those_of_the_settings_and_those_registered(db: Engine, vault: Vault) -> None:
    other = OAuthApp("microsoft", "client-2", "secret-2", "tenant")
    with db.begin() as tx:
        register(tx, vault, OAuthApp("google", "client-1", "an older secret"))
        register(tx, vault, other)
        apps = checkup.list_apps(tx, settings(**GOOGLE), vault)

    assert apps == [APP, other]


def test_without_any_client_there_is_nothing_to_ask() -> None:
    (finding,) = checkup.check_clients([], {})

    assert (finding.level, finding.todo) == ("ok", None)


def test_a_client_whose_token_alone_is_objected_to_is_fine() -> None:
    (finding,) = checkup.check_clients([APP], {"google": FakeAuthority()})

    assert finding.level == "ok"
    assert "google, client-1" in finding.what


@pytest.mark.parametrize(
    ("reaction", "words"),
    [
        (AuthorizationLost("google.refresh: 401 invalid_client"), "is not accepted"),
        (TryLater("google refresh: no answer (ConnectError)"), "does not answer"),
    ],
    ids=["refused", "silent"],
)
def test_a_client_that_is_refused_or_gets_no_answer_is_a_fault(
    reaction: AuthorizationLost | TryLater, words: str
) -> None:
    authority = FakeAuthority()
    authority.fail(reaction)

    (finding,) = checkup.check_clients([APP], {"google": authority})

    assert finding.level == "fault"
    assert f"client-1: {words}" in finding.what or words in finding.what
    assert finding.todo is not None
    assert "secret-1" not in finding.what + finding.todo


def test_a_request_that_is_objected_to_for_another_reason_was_answered() -> None:
    authority = FakeAuthority()
    authority.fail(Refused("microsoft.refresh: 400 invalid_request"))

    (finding,) = checkup.check_clients([APP], {"google": authority})

    assert finding.level == "ok"


@pytest.mark.parametrize(
    ("status", "error", "level"),
    [(400, "invalid_grant", "ok"), (401, "invalid_client", "fault"), (503, "", "fault")],
)
@pytest.mark.parametrize("platform", ["google", "microsoft"])
def test_what_a_token_endpoint_answers_tells_whether_our_client_is_good(
    platform: str, status: int, error: str, level: str
) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(status, json={"error": error} if error else {})

    with httpx.Client(transport=httpx.MockTransport(answer)) as http:
        authorities: dict[str, Authority] = {
            "google": GoogleAuthority(
                accounts_url="https://a.test",
                oauth_url="https://o.test",
                api_url="https://g.test",
                http=http,
            ),
            "microsoft": MicrosoftAuthority(
                login_url="https://l.test", graph_url="https://m.test", http=http
            ),
        }
        (finding,) = checkup.check_clients([OAuthApp(platform, "client", "hush")], authorities)

    assert finding.level == level
    assert asked == [
        "https://o.test/token" if platform == "google" else "https://l.test/common/oauth2/v2.0/token"
    ]


@pytest.mark.parametrize(
    ("public_url", "level"),
    [
        (HTTPS, "ok"),
        ("http://bots.example.com", "fault"),
        ("http://192.0.2.7:8080", "fault"),
        (None, "warning"),
        ("http://localhost:8080", "warning"),
    ],
    ids=["https", "http", "http to an address", "unset", "this machine"],
)
def test_the_redirect_uri_is_shown_and_judged_by_where_it_leads(
    db: Engine, public_url: str | None, level: str
) -> None:
    (finding,) = told_of_urls(db, public_url=public_url, **GOOGLE)

    base = public_url or "http://127.0.0.1:8080"
    assert finding.level == level
    assert f"{base}/oauth/google/callback" in finding.what
    assert (finding.todo is None) is (level == "ok")


def test_platforms_that_nobody_uses_are_not_judged(db: Engine) -> None:
    assert told_of_urls(db, public_url="http://bots.example.com") == []


def test_a_registered_client_counts_like_one_of_the_settings(db: Engine, vault: Vault) -> None:
    with db.begin() as tx:
        register(tx, vault, OAuthApp("microsoft", "client-2", "secret-2"))

    (finding,) = told_of_urls(db, public_url="http://bots.example.com")

    assert finding.level == "fault"
    assert "/oauth/microsoft/callback" in finding.what


@pytest.mark.parametrize(
    ("public_url", "level"),
    [
        (HTTPS, "ok"),
        ("http://bots.example.com", "warning"),
        ("https://10.0.0.7", "warning"),
        ("https://bots.internal", "warning"),
        ("http://127.0.0.1:8080", "warning"),
    ],
    ids=["public", "http", "private", "a local name", "this machine"],
)
def test_a_push_address_has_to_be_public_and_https(db: Engine, public_url: str, level: str) -> None:
    a_followed_calendar(db)

    (finding,) = told_of_urls(db, public_url=public_url)

    assert finding.level == level
    assert f"{public_url}/webhooks/google" in finding.what
    assert (finding.todo is None) is (level == "ok")


def test_the_sandbox_reaches_an_address_on_this_machine(db: Engine) -> None:
    a_followed_calendar(db)

    findings = told_of_urls(db, google_oauth_url="http://127.0.0.1:8091", **GOOGLE)

    assert levels(findings) == ["ok", "ok"]


def test_accounts_that_have_to_be_connected_again_are_counted(db: Engine) -> None:
    a_connection(db)
    lost = a_connection(db, status="needs_reauth", status_reason="google.refresh: 400 invalid_grant")
    a_connection(db, status="needs_reauth", deleted_at=NOON)

    (finding,) = told_of_connections(db)

    assert finding.level == "warning"
    assert "1 of 2 accounts" in finding.what
    assert f"{lost}: google.refresh: 400 invalid_grant" in finding.what
    assert "`punctual connect-link`" in (finding.todo or "")


def test_a_client_that_is_refused_while_accounts_wait_is_the_operators_matter(
    accounts: Accounts, db: Engine
) -> None:
    accounts.connect()
    accounts.let_token_expire()
    accounts.authority.fail(AuthorizationLost("google.refresh: 401 invalid_client"))
    accounts.refresh()

    (finding,) = told_of_connections(db)

    assert (finding.level, finding.check) == ("fault", "operator alarm")
    assert "google does not accept us" in finding.what
    assert "PUNCTUAL_GOOGLE_CLIENT_SECRET" in (finding.todo or "")


def test_a_project_without_the_calendar_api_is_the_operators_matter_too(
    accounts: Accounts, db: Engine
) -> None:
    calendar_id = calendar_id_of(accounts.connect())
    accounts.accounts.fail(AuthorizationLost("google list_events: 403 accessNotConfigured"))
    accounts.read(calendar_id)

    (finding,) = told_of_connections(db)

    assert finding.check == "operator alarm"


def test_other_errors_are_no_operator_alarm(accounts: Accounts, db: Engine) -> None:
    accounts.connect()
    accounts.let_token_expire()
    accounts.authority.fail(TryLater("google.refresh: 503"))
    accounts.refresh()

    assert levels(told_of_connections(db)) == ["ok"]


def test_a_calendar_with_a_live_channel_is_told_of(db: Engine) -> None:
    a_channel(db, a_followed_calendar(db))

    (finding,) = told_of_channels(db)

    assert (finding.level, "1 calendar," in finding.what) == ("ok", True)


@pytest.mark.parametrize(
    "columns",
    [
        {"expires_at": NOON - timedelta(minutes=1)},
        {"closed_at": NOON},
        {"is_wanted": False},
        {"opened_at": None, "expires_at": None, "created_at": NOON - timedelta(hours=1)},
    ],
    ids=["expired", "closed", "given up", "never opened"],
)
def test_a_calendar_without_a_live_channel_is_told(db: Engine, columns: dict[str, Any]) -> None:
    calendar_id = a_followed_calendar(db)
    a_channel(db, calendar_id, last_error="google open_channel: 401", **columns)

    (finding,) = told_of_channels(db)

    assert finding.level == "warning"
    assert f"1 calendar without a live one: {calendar_id}" in finding.what
    assert finding.todo is not None


def test_the_provider_s_objection_to_a_channel_is_told(db: Engine) -> None:
    calendar_id = a_followed_calendar(db)
    columns = {"opened_at": None, "expires_at": None, "created_at": NOON - timedelta(hours=1)}
    a_channel(db, calendar_id, last_error="google open_channel: 401", **columns)

    (finding,) = told_of_channels(db)

    assert f"{calendar_id} (google open_channel: 401)" in finding.what


def test_a_channel_that_is_about_to_be_opened_is_waited_for(db: Engine) -> None:
    young = {"opened_at": None, "expires_at": None, "created_at": NOON - timedelta(minutes=1)}
    a_channel(db, a_followed_calendar(db), **young)

    assert levels(told_of_channels(db)) == ["ok"]


@pytest.mark.parametrize(
    "columns",
    [{"status": "needs_reauth"}, {"deleted_at": NOON}],
    ids=["not connected", "deleted"],
)
def test_a_calendar_that_is_not_followed_needs_no_channel(db: Engine, columns: dict[str, Any]) -> None:
    a_followed_calendar(db, **columns)

    assert levels(told_of_channels(db)) == ["ok"]


def test_a_calendar_at_recall_needs_no_channel(db: Engine) -> None:
    a_calendar(db, last_synced_at=NOON)

    assert levels(told_of_channels(db)) == ["ok"]


def test_a_channel_that_kept_quiet_is_told(db: Engine) -> None:
    calendar_id = a_followed_calendar(db)
    a_channel(db, calendar_id, missed=1)

    (finding,) = told_of_channels(db)

    assert finding.level == "warning"
    assert f"1 kept quiet about changes that our own looks found: {calendar_id}" in finding.what


@pytest.mark.parametrize(
    ("left", "level"), [(timedelta(hours=13), "ok"), (timedelta(hours=11), "warning")]
)
def test_a_channel_that_should_have_been_renewed_long_ago_is_told(
    db: Engine, left: timedelta, level: str
) -> None:
    calendar_id = a_followed_calendar(db)
    opened_at = NOON + left - timedelta(days=2)
    a_channel(db, calendar_id, opened_at=opened_at, expires_at=NOON + left, last_error="503")

    (finding,) = told_of_channels(db)

    assert finding.level == level
    assert (f"about to expire and not renewed: {calendar_id} (503)" in finding.what) is (
        level == "warning"
    )


def test_a_channel_that_another_has_taken_over_from_may_expire(db: Engine) -> None:
    calendar_id = a_followed_calendar(db)
    a_channel(db, calendar_id, missed=1, expires_at=NOON + timedelta(hours=1))
    a_channel(db, calendar_id, expires_at=NOON + timedelta(days=2))

    assert levels(told_of_channels(db)) == ["ok"]


def test_a_calendar_that_was_connected_and_read_is_well(accounts: Accounts, db: Engine) -> None:
    accounts.accounts.put(an_event())
    accounts.read(calendar_id_of(accounts.connect()))
    accounts.keep_channels()

    with db.begin() as tx:
        channels = list(checkup.check_channels(tx, now=accounts.world.at))
    assert levels(channels + told_of_connections(db)) == ["ok", "ok"]


@pytest.fixture
def accounts(db: Engine, vault: Vault) -> Accounts:
    return Accounts(db, vault)


def test_the_command_tells_of_accounts_and_asks_the_platforms(
    db: Engine, punctual: Punctual, monkeypatch: pytest.MonkeyPatch
) -> None:
    an_installation(db)
    with db.begin() as tx:
        tx.execute(insert(table_of(Heartbeat)).values(worker="a"))
    authority = FakeAuthority()
    authority.fail(AuthorizationLost("google.refresh: 401 invalid_client"))
    monkeypatch.setattr("worker.bootstrap.authorities_of", lambda *_: {"google": authority})
    own = {"google_client_id": "client-1", "google_client_secret": "hush-hush"}

    result = punctual.run("doctor", "--json", public_url=HTTPS, **own)

    assert result.exit_code == 1
    assert "google, client-1: is not accepted" in result.stdout
    assert f"{HTTPS}/oauth/google/callback" in result.stdout
    assert '"check": "push channels"' in result.stdout
    assert '"check": "connections"' in result.stdout
    assert "hush-hush" not in result.stdout


def test_a_client_without_its_secret_is_a_fault_of_the_settings(punctual: Punctual) -> None:
    result = punctual.run("doctor", "--json", google_client_id="client-1")

    assert result.exit_code == 1
    assert "PUNCTUAL_GOOGLE_CLIENT_ID and PUNCTUAL_GOOGLE_CLIENT_SECRET: give both" in result.stdout


def test_a_registered_client_whose_secret_does_not_open_is_a_fault(
    db: Engine, punctual: Punctual
) -> None:
    an_installation(db)
    with db.begin() as tx:
        register(tx, Vault([b"x" * 32]), APP)

    result = punctual.run("doctor", "--json")

    assert result.exit_code == 1
    assert '"check": "oauth client"' in result.stdout
    assert "PUNCTUAL_ENCRYPTION_KEYS" in result.stdout
