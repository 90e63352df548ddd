"""From a link to a connected calendar in a browser, and every way in which that ends on a page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from sqlalchemy import Engine, func, select

from models.sealing import Vault
from models.tables.connections import ConnectAttempt, Connection, ConnectLink
from models.tables.due import table_of
from tests.worker.account_kit import ANNA, READS, Accounts, token_of
from webhooks.app import create_app
from webhooks.server import serving
from worker.errors import AuthorizationLost, TryLater
from worker.linking import MOST_ATTEMPTS

LINKS = table_of(ConnectLink)


@dataclass
class Browser:
    """Somebody with a link, and a browser that keeps cookies and follows nothing by itself."""

    accounts: Accounts
    url: str
    http: httpx.Client

    def open(self, link: dict[str, Any]) -> httpx.Response:
        return self.http.get(f"{self.url}/connect/{token_of(link)}")

    def set_out(self, link: dict[str, Any] | None = None) -> str:
        """Open a link; the state that the provider will bring back is returned."""
        answer = self.open(link or self.accounts.link())
        assert answer.status_code == 302
        return parse_qs(urlsplit(answer.headers["location"]).query)["state"][0]

    def come_back(self, platform: str = "google", **said: str) -> httpx.Response:
        return self.http.get(f"{self.url}/oauth/{platform}/callback", params=said)

    def agree(self, scopes: frozenset[str] = READS) -> str:
        return self.accounts.authority.consent(ANNA, scopes)

    def count(self, table: Any) -> int:
        with self.accounts.db.begin() as tx:
            return int(tx.execute(select(func.count()).select_from(table)).scalar_one())


@pytest.fixture
def accounts(db: Engine, vault: Vault) -> Accounts:
    return Accounts(db, vault)


@pytest.fixture
def browser(accounts: Accounts) -> Iterator[Browser]:
    with serving(create_app(accounts.rt)) as url, httpx.Client(timeout=10) as http:
        yield Browser(accounts, url, http)


def test_a_link_leads_to_a_connected_calendar(browser: Browser) -> None:
    state = browser.set_out(browser.accounts.link(owner="user-1"))

    page = browser.come_back(state=state, code=browser.agree())

    assert page.status_code == 200
    assert "connected" in page.text
    with browser.accounts.db.begin() as tx:
        row = tx.execute(select(table_of(Connection))).mappings().one()
    assert (row["account"], row["email"], row["owner"]) == (ANNA.id, ANNA.email, "user-1")
    assert browser.accounts.world.told("calendar.") == ["calendar.connected"]


def test_the_consent_page_is_asked_with_pkce_and_the_exact_address(browser: Browser) -> None:
    browser.set_out(browser.accounts.link(login_hint="anna@example.com"))

    (asked,) = browser.accounts.authority.asked
    assert asked.redirect_uri == "http://127.0.0.1:8080/oauth/google/callback"
    assert len(asked.challenge) == 43
    assert asked.login_hint == "anna@example.com"


def test_the_browser_goes_where_the_links_maker_said(browser: Browser) -> None:
    link = browser.accounts.link(return_url="https://app.test/done?tab=2")
    state = browser.set_out(link)

    answer = browser.come_back(state=state, code=browser.agree())

    assert answer.status_code == 302
    where = urlsplit(answer.headers["location"])
    told = parse_qs(where.query)
    assert (where.netloc, where.path) == ("app.test", "/done")
    assert (told["tab"], told["status"]) == (["2"], ["connected"])
    assert len(told["calendar_id"][0]) == 36


def test_a_link_works_once(browser: Browser) -> None:
    link = browser.accounts.link()
    browser.come_back(state=browser.set_out(link), code=browser.agree())

    page = browser.open(link)

    assert page.status_code == 410
    assert "link_used" in page.text


def test_a_link_may_be_opened_again_until_it_has_led_somewhere(browser: Browser) -> None:
    link = browser.accounts.link()
    browser.set_out(link)

    page = browser.come_back(state=browser.set_out(link), code=browser.agree())

    assert page.status_code == 200


def test_an_expired_link_says_so(browser: Browser) -> None:
    link = browser.accounts.link()
    browser.accounts.world.at += timedelta(hours=2)

    page = browser.open(link)

    assert (page.status_code, "link_expired" in page.text) == (410, True)


def test_an_unknown_link_says_so(browser: Browser) -> None:
    page = browser.http.get(f"{browser.url}/connect/made-up")

    assert (page.status_code, "link_unknown" in page.text) == (404, True)


def refused(browser: Browser, page: httpx.Response, code: str) -> None:
    """Hold a page to what every refusal has in common: it says why, and nobody was asked for tokens."""
    assert code in page.text
    assert "open your link again" in page.text.lower() or "new" in page.text.lower()
    assert browser.accounts.authority.refreshes == 0
    assert browser.count(table_of(Connection)) == 0


def test_a_state_that_we_did_not_make_is_refused(browser: Browser) -> None:
    browser.set_out()

    page = browser.come_back(state="made-up", code=browser.agree())

    assert page.status_code == 400
    refused(browser, page, "state_unknown")


def test_a_callback_without_a_state_is_refused(browser: Browser) -> None:
    page = browser.come_back(code=browser.agree())

    refused(browser, page, "state_unknown")


def test_a_state_is_good_once(browser: Browser) -> None:
    """A replay finds nothing, even when the first try led nowhere."""
    state = browser.set_out()
    browser.come_back(state=state, error="access_denied")

    page = browser.come_back(state=state, code=browser.agree())

    refused(browser, page, "state_unknown")


def test_another_browser_cannot_finish_what_this_one_began(browser: Browser) -> None:
    """Else somebody could have a stranger's calendar connected to an account of his own."""
    state = browser.set_out()
    browser.http.cookies.clear()

    page = browser.come_back(state=state, code=browser.agree())

    refused(browser, page, "browser_differs")


def test_an_answer_from_another_platform_is_refused(browser: Browser) -> None:
    state = browser.set_out()

    page = browser.come_back("microsoft", state=state, code=browser.agree())

    refused(browser, page, "platform_differs")


def test_an_answer_of_another_issuer_is_refused(browser: Browser) -> None:
    state = browser.set_out()

    page = browser.come_back(state=state, code=browser.agree(), iss="https://evil.test")

    refused(browser, page, "platform_differs")


def test_a_value_that_is_said_twice_is_refused(browser: Browser) -> None:
    state = browser.set_out()

    page = browser.http.get(
        f"{browser.url}/oauth/google/callback?state={state}&code=a&code={browser.agree()}"
    )

    refused(browser, page, "state_unknown")


def test_an_old_attempt_has_to_be_begun_anew_with_the_same_link(browser: Browser) -> None:
    link = browser.accounts.link(life=timedelta(days=1))
    state = browser.set_out(link)
    browser.accounts.world.at += timedelta(hours=1)

    page = browser.come_back(state=state, code=browser.agree())

    assert page.status_code == 400
    refused(browser, page, "attempt_expired")
    assert browser.come_back(state=browser.set_out(link), code=browser.agree()).status_code == 200


def test_who_says_no_may_think_again(browser: Browser) -> None:
    link = browser.accounts.link()

    page = browser.come_back(state=browser.set_out(link), error="access_denied")

    refused(browser, page, "access_denied")
    assert browser.come_back(state=browser.set_out(link), code=browser.agree()).status_code == 200


def test_who_unticks_the_calendar_is_told(browser: Browser) -> None:
    state = browser.set_out()

    page = browser.come_back(state=state, code=browser.agree(frozenset({"openid", "email"})))

    refused(browser, page, "scopes_missing")


def test_a_consent_without_a_refresh_token_is_not_enough(browser: Browser) -> None:
    browser.accounts.authority.gives_refresh_token = False

    page = browser.come_back(state=browser.set_out(), code=browser.agree())

    refused(browser, page, "scopes_missing")


def test_a_code_that_the_provider_refuses_is_explained(browser: Browser) -> None:
    page = browser.come_back(state=browser.set_out(), code="made-up")

    assert page.status_code == 400
    refused(browser, page, "code_refused")


def test_where_only_an_administrator_may_agree_the_page_has_a_link_for_one(browser: Browser) -> None:
    state = browser.set_out(browser.accounts.link("microsoft"))

    page = browser.come_back(
        "microsoft",
        state=state,
        error="access_denied",
        error_description="AADSTS90094: The grant requires admin permission.",
    )

    refused(browser, page, "admin_consent_required")
    assert "https://login.microsoftonline.com/organizations/v2.0/adminconsent?" in page.text
    assert "client_id=client-2" in page.text


def test_an_administrator_who_agreed_is_thanked_and_nothing_else_happens(browser: Browser) -> None:
    browser.set_out(browser.accounts.link("microsoft"))

    page = browser.come_back("microsoft", admin_consent="True", tenant="acme", scope="x")

    assert page.status_code == 200
    assert "admin_consent" in page.text
    assert browser.accounts.authority.refreshes == 0
    assert browser.count(table_of(Connection)) == 0


def test_an_administrators_answer_is_no_way_around_a_state(browser: Browser) -> None:
    browser.set_out(browser.accounts.link("microsoft"))

    page = browser.come_back("microsoft", admin_consent="True", code=browser.agree())

    refused(browser, page, "state_unknown")


def test_an_operators_fault_is_not_the_users(browser: Browser) -> None:
    browser.accounts.authority.fail(AuthorizationLost("redeem_code: 401 invalid_client"))

    page = browser.come_back(state=browser.set_out(), code=browser.agree())

    assert page.status_code == 503
    assert "client_refused" in page.text


def test_a_provider_that_is_away_can_be_tried_again(browser: Browser) -> None:
    link = browser.accounts.link()
    browser.accounts.authority.fail(TryLater("503"))

    page = browser.come_back(state=browser.set_out(link), code=browser.agree())

    assert (page.status_code, "provider_unavailable" in page.text) == (502, True)
    assert browser.come_back(state=browser.set_out(link), code=browser.agree()).status_code == 200


def test_what_a_provider_says_is_never_more_than_text(browser: Browser) -> None:
    evil = "<script>alert(1)</script>"

    page = browser.come_back(state=browser.set_out(), error=evil, error_description=evil)

    assert "<script" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cache-control"] == "no-store"


def test_a_link_cannot_be_opened_without_end(browser: Browser) -> None:
    link = browser.accounts.link()
    for _ in range(MOST_ATTEMPTS):
        browser.set_out(link)

    assert browser.open(link).status_code == 410


def test_neither_tokens_nor_states_are_stored_in_the_clear(browser: Browser) -> None:
    link = browser.accounts.link()
    state = browser.set_out(link)

    with browser.accounts.db.begin() as tx:
        links = str(tx.execute(select(LINKS)).mappings().one())
        attempts = str(tx.execute(select(table_of(ConnectAttempt))).mappings().one())
    assert token_of(link) not in links
    assert state not in attempts
