"""What a browser meets: account picker, scopes, Allow and Deny, and the ways back."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from tests.sandbox.oauth.driving import BACK, READ_EVENTS, READ_LIST, Provider, came_back, claims_in
from worker.sandbox.oauth.grants import Client

EMAIL = "https://www.googleapis.com/auth/userinfo.email"


@pytest.fixture
def google() -> Provider:
    return Provider()


def test_the_page_shows_a_ticked_box_for_every_scope(google: Provider) -> None:
    page = google.page(scope=f"{READ_EVENTS} {READ_LIST}")

    assert ("scope", READ_EVENTS) in page.fields
    assert ("scope", READ_LIST) in page.fields
    assert page.buttons == [("decision", "allow"), ("decision", "deny")]


def test_allowing_sends_the_user_back_with_a_code_and_the_state(google: Provider) -> None:
    facts = came_back(google.submit(google.page()))

    assert facts["state"] == "s t/1"
    assert facts["code"]


def test_denying_sends_the_user_back_with_access_denied(google: Provider) -> None:
    facts = came_back(google.submit(google.page(), "deny"))

    assert facts == {"error": "access_denied", "state": "s t/1"}


def test_an_unticked_scope_is_not_granted(google: Provider) -> None:
    page = google.page(scope=f"{READ_EVENTS} {READ_LIST}")

    code = came_back(google.submit(page, without=(READ_LIST,)))["code"]

    assert google.redeem(code).json()["scope"] == READ_EVENTS


def test_who_one_is_cannot_be_unticked(google: Provider) -> None:
    page = google.page(scope=f"email {READ_EVENTS}")

    code = came_back(google.submit(page, without=(READ_EVENTS,)))["code"]

    assert page.disabled == [EMAIL]
    assert google.redeem(code).json()["scope"].split() == [EMAIL, "openid"]


def test_one_account_needs_no_picker_and_several_do(google: Provider) -> None:
    alone = google.page()
    ben = google.server.add_account("ben@example.com")

    several = google.page()

    assert [name for name, _ in alone.choices] == ["scope"]
    assert ("account", ben.id) in several.choices


def test_the_account_picked_is_the_one_that_consents(google: Provider) -> None:
    ben = google.server.add_account("ben@example.com")

    code = came_back(google.submit(google.page(scope="openid email"), account=ben.id))["code"]

    assert claims_in(google.redeem(code).json()["id_token"])["email"] == "ben@example.com"


def test_a_login_hint_picks_the_account(google: Provider) -> None:
    google.server.add_account("ben@example.com")

    page = google.page(login_hint="Ben@example.com")

    assert page.choices == [("scope", READ_EVENTS)]


def test_select_account_asks_although_a_hint_is_given(google: Provider) -> None:
    google.server.add_account("ben@example.com")

    page = google.page(login_hint="ben@example.com", prompt="select_account")

    assert len([name for name, _ in page.choices if name == "account"]) == 2


def test_a_second_visit_skips_the_page(google: Provider) -> None:
    google.code()

    answer = google.call("GET", google.asking())

    assert "code" in came_back(answer)


def test_more_scopes_than_before_bring_the_page_back(google: Provider) -> None:
    google.code()

    assert google.call("GET", google.asking(scope=READ_LIST)).status_code == 200


def test_prompt_none_never_shows_a_page(google: Provider) -> None:
    refused = came_back(google.call("GET", google.asking(prompt="none")))
    google.code()

    allowed = came_back(google.call("GET", google.asking(prompt="none")))

    assert refused["error"] == "interaction_required"
    assert "code" in allowed


def test_scopes_granted_earlier_are_added_when_asked_for(google: Provider) -> None:
    google.code()

    code = google.code(scope=READ_LIST, include_granted_scopes="true")

    assert set(google.redeem(code).json()["scope"].split()) == {READ_EVENTS, READ_LIST}


@pytest.mark.parametrize(
    "wish",
    [
        {"redirect_uri": BACK + "/"},
        {"redirect_uri": BACK.upper()},
        {"redirect_uri": ""},
        {"client_id": "stranger"},
    ],
)
def test_a_request_that_cannot_be_trusted_sends_nobody_anywhere(
    google: Provider, wish: dict[str, str]
) -> None:
    answer = google.call("GET", google.asking(**wish))

    assert answer.status_code == 400
    assert "location" not in answer.headers


@pytest.mark.parametrize(
    ("wish", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"scope": ""}, "invalid_request"),
        ({"code_challenge": "x", "code_challenge_method": "S512"}, "invalid_request"),
        ({"response_mode": "carrier_pigeon"}, "invalid_request"),
        ({"prompt": "none consent"}, "invalid_request"),
    ],
)
def test_a_request_that_makes_no_sense_goes_back_with_an_error(
    google: Provider, wish: dict[str, str], error: str
) -> None:
    facts = came_back(google.call("GET", google.asking(**wish)))

    assert facts["error"] == error
    assert facts["state"] == "s t/1"


def test_plain_challenges_can_be_refused(google: Provider) -> None:
    wish = {"code_challenge": "x" * 43, "code_challenge_method": "plain"}
    accepted = google.call("GET", google.asking(**wish)).status_code
    google.control("PATCH", "/switches", {"plain_pkce_refused": True})

    refused = came_back(google.call("GET", google.asking(**wish)))

    assert accepted == 200
    assert refused["error"] == "invalid_request"


def test_the_query_of_a_redirect_uri_is_kept(google: Provider) -> None:
    google.server.add_client(Client("client-1", "secret-1", (f"{BACK}?tenant=7",)))

    facts = came_back(google.submit(google.page(redirect_uri=f"{BACK}?tenant=7")))

    assert facts["tenant"] == "7"
    assert facts["code"]


def test_the_answer_may_come_in_the_fragment(google: Provider) -> None:
    answer = google.submit(google.page(response_mode="fragment"))

    fragment = parse_qs(urlsplit(answer.headers["location"]).fragment)
    assert set(fragment) == {"code", "state"}


def test_consent_can_be_given_without_a_page(google: Provider) -> None:
    google.control("PATCH", "/switches", {"auto_consent": True})

    assert "code" in came_back(google.call("GET", google.asking()))


def test_somebody_can_untick_scopes_without_a_browser(google: Provider) -> None:
    google.control(
        "PUT",
        "/manners",
        {"account": "anna@example.com", "auto_consent": True, "unticked": [READ_LIST]},
    )

    code = google.code(scope=f"{READ_EVENTS} {READ_LIST}")

    assert google.redeem(code).json()["scope"] == READ_EVENTS


def test_an_account_can_be_sent_back_with_any_error(google: Provider) -> None:
    google.control(
        "PUT",
        "/manners",
        {"account": "anna@example.com", "authorize_error": "admin_policy_enforced"},
    )

    facts = came_back(google.call("GET", google.asking()))

    assert facts["error"] == "admin_policy_enforced"


def test_what_is_shown_on_a_page_is_escaped(google: Provider) -> None:
    answer = google.call("GET", google.asking(scope="<script>alert(1)</script>"))

    assert "<script>alert" not in answer.text
