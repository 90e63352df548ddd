"""The token endpoint in Google's manners: codes, refreshing, revoking, and what goes wrong."""

from __future__ import annotations

import json
from urllib.parse import quote

import httpx
import pytest

from tests.sandbox.oauth.driving import (
    BACK,
    CLIENT,
    READ_EVENTS,
    READ_LIST,
    Provider,
    challenge_of,
    claims_in,
)
from worker.sandbox.oauth.grants import Client
from worker.sandbox.recall.gate import ConnectionCut

VERIFIER = "v" * 43


@pytest.fixture
def google() -> Provider:
    return Provider()


def error_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]


def test_a_code_gives_access_to_what_was_consented(google: Provider) -> None:
    answer = google.redeem(google.code())

    body = answer.json()
    grant = google.server.grant_of(body["access_token"])
    assert grant is not None
    assert (grant.account.email, grant.client_id) == ("anna@example.com", "client-1")
    assert grant.scopes == {READ_EVENTS}
    assert (body["token_type"], body["expires_in"], body["scope"]) == ("Bearer", 3599, READ_EVENTS)
    assert answer.headers["cache-control"] == "no-store"


def test_a_refresh_token_comes_with_the_first_consent_only(google: Provider) -> None:
    first, second = google.tokens(), google.tokens()

    assert "refresh_token" in first
    assert "refresh_token" not in second


def test_prompt_consent_brings_a_new_refresh_token(google: Provider) -> None:
    first = google.tokens()

    again = google.tokens(prompt="consent")

    assert again["refresh_token"] != first["refresh_token"]


def test_without_offline_access_there_is_no_refresh_token(google: Provider) -> None:
    assert "refresh_token" not in google.tokens(access_type="")


def test_a_refresh_does_not_rotate(google: Provider) -> None:
    tokens = google.tokens()

    answer = google.refresh(tokens["refresh_token"]).json()

    assert "refresh_token" not in answer
    assert answer["access_token"] != tokens["access_token"]
    assert google.refresh(tokens["refresh_token"]).status_code == 200


def test_an_access_token_ends_with_its_hour(google: Provider) -> None:
    token = google.tokens()["access_token"]

    google.pass_(seconds=3598)
    before = google.server.grant_of(token)
    google.pass_(seconds=1)

    assert before is not None
    assert google.server.grant_of(token) is None


def test_the_life_of_access_tokens_can_be_set_per_account(google: Provider) -> None:
    google.control("PUT", "/manners", {"account": "anna@example.com", "access_token_s": 5})

    assert google.tokens()["expires_in"] == 5


def test_a_code_works_once_and_its_reuse_takes_back_what_it_gave(google: Provider) -> None:
    code = google.code()
    tokens = google.redeem(code).json()

    again = google.redeem(code)

    assert error_of(again) == (400, "invalid_grant")
    assert google.server.grant_of(tokens["access_token"]) is None
    assert error_of(google.refresh(tokens["refresh_token"])) == (400, "invalid_grant")


def test_reusing_a_code_can_be_harmless(google: Provider) -> None:
    google.control("PATCH", "/switches", {"code_reuse_revokes": False})
    code = google.code()
    tokens = google.redeem(code).json()

    google.redeem(code)

    assert google.server.grant_of(tokens["access_token"]) is not None


def test_a_code_lives_ten_minutes(google: Provider) -> None:
    code = google.code()

    google.pass_(minutes=10)

    assert error_of(google.redeem(code)) == (400, "invalid_grant")


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"redirect_uri": BACK + "/"}, (400, "redirect_uri_mismatch")),
        ({"code": "4/0Amade-up"}, (400, "invalid_grant")),
        ({"client_secret": "wrong"}, (401, "invalid_client")),
        ({"client_id": "stranger"}, (401, "invalid_client")),
        ({"grant_type": "password"}, (400, "unsupported_grant_type")),
        ({"grant_type": ""}, (400, "invalid_request")),
        ({"code": ""}, (400, "invalid_request")),
    ],
)
def test_a_code_is_refused_if_anything_differs(
    google: Provider, form: dict[str, str], expected: tuple[int, str]
) -> None:
    assert error_of(google.redeem(google.code(), **form)) == expected


def test_a_code_of_another_application_is_refused(google: Provider) -> None:
    google.server.add_client(Client("client-2", "secret-2", (BACK,)))

    answer = google.redeem(google.code(), client_id="client-2", client_secret="secret-2")

    assert error_of(answer) == (400, "invalid_grant")


@pytest.mark.parametrize(
    ("challenge", "method"), [(challenge_of(VERIFIER), "S256"), (VERIFIER, "plain"), (VERIFIER, "")]
)
def test_a_challenge_is_met_by_its_verifier_alone(
    google: Provider, challenge: str, method: str
) -> None:
    def code() -> str:
        return google.code(code_challenge=challenge, code_challenge_method=method)

    assert google.redeem(code(), code_verifier=VERIFIER).status_code == 200
    assert error_of(google.redeem(code(), code_verifier="w" * 43)) == (400, "invalid_grant")
    assert error_of(google.redeem(code())) == (400, "invalid_grant")


def test_an_application_may_authenticate_by_header(google: Provider) -> None:
    odd = Client("client+2", "se:cret/%2", (BACK,))
    google.server.add_client(odd)
    form = {"grant_type": "authorization_code", "redirect_uri": BACK}
    form["code"] = google.code(client_id=odd.client_id)
    pair = (quote(odd.client_id, safe=""), quote(odd.client_secret, safe=""))

    answer = google.call("POST", "/token", data=form, auth=httpx.BasicAuth(*pair))

    assert answer.status_code == 200


def test_a_wrong_secret_is_challenged(google: Provider) -> None:
    answer = google.refresh("any", client_secret="wrong")

    assert error_of(answer) == (401, "invalid_client")
    assert "www-authenticate" in answer.headers


def test_a_new_secret_makes_the_old_one_wrong_and_keeps_grants(google: Provider) -> None:
    token = google.tokens()["refresh_token"]
    google.control("POST", "/clients", {"client_id": "client-1", "client_secret": "secret-2"})

    assert error_of(google.refresh(token)) == (401, "invalid_client")
    assert google.refresh(token, client_secret="secret-2").status_code == 200


def test_a_deleted_client_is_named_as_such(google: Provider) -> None:
    token = google.tokens()["refresh_token"]
    google.control("DELETE", "/clients/client-1")

    assert error_of(google.refresh(token)) == (401, "deleted_client")


def test_the_hundred_and_first_refresh_token_kills_the_first(google: Provider) -> None:
    account = google.server.account("anna@example.com")
    assert account is not None
    tokens = [google.server.mint(account, CLIENT, (READ_EVENTS,)) for _ in range(100)]
    assert google.refresh(tokens[0]["refresh_token"]).status_code == 200

    google.server.mint(account, CLIENT, (READ_EVENTS,))

    assert error_of(google.refresh(tokens[0]["refresh_token"])) == (400, "invalid_grant")
    assert google.refresh(tokens[1]["refresh_token"]).status_code == 200


def test_a_refresh_token_unused_for_half_a_year_is_dead(google: Provider) -> None:
    used, unused = google.tokens(), google.tokens(prompt="consent")
    google.pass_(days=170)
    google.refresh(used["refresh_token"])

    google.pass_(days=20)

    assert google.refresh(used["refresh_token"]).status_code == 200
    assert error_of(google.refresh(unused["refresh_token"])) == (400, "invalid_grant")


def test_tokens_of_an_app_in_testing_die_after_a_week(google: Provider) -> None:
    life = {"refresh_token_life_s": 604_800, "refresh_token_life_told": True}
    google.control("PATCH", "/switches", life)
    tokens = google.tokens()
    google.pass_(days=6)
    google.refresh(tokens["refresh_token"])

    google.pass_(days=1)

    assert tokens["refresh_token_expires_in"] == 604_800
    assert error_of(google.refresh(tokens["refresh_token"])) == (400, "invalid_grant")


@pytest.mark.parametrize("which", ["access_token", "refresh_token"])
def test_revoking_either_token_ends_all_of_the_grant(google: Provider, which: str) -> None:
    tokens = google.tokens()

    answer = google.call("POST", "/revoke", data={"token": tokens[which]})

    assert answer.status_code == 200
    assert google.server.grant_of(tokens["access_token"]) is None
    assert error_of(google.refresh(tokens["refresh_token"])) == (400, "invalid_grant")


def test_revoking_twice_is_an_error_and_consent_is_asked_again(google: Provider) -> None:
    tokens = google.tokens()
    google.call("POST", "/revoke", data={"token": tokens["refresh_token"]})

    again = google.call("POST", "/revoke", params={"token": tokens["refresh_token"]})

    assert error_of(again) == (400, "invalid_token")
    assert "refresh_token" in google.tokens()


def test_a_user_may_take_access_away_elsewhere(google: Provider) -> None:
    tokens = google.tokens()

    google.control("POST", "/revoke", {"account": "anna@example.com"})

    assert google.server.grant_of(tokens["access_token"]) is None
    refused = google.refresh(tokens["refresh_token"])
    assert refused.json()["error_description"] == "Token has been expired or revoked."


def test_access_tokens_can_expire_early_while_the_grant_lives(google: Provider) -> None:
    tokens = google.tokens()

    google.control("POST", "/expire", {"account": "anna@example.com"})

    assert google.server.grant_of(tokens["access_token"]) is None
    assert google.refresh(tokens["refresh_token"]).status_code == 200


def test_a_refresh_may_ask_for_less_but_not_for_more(google: Provider) -> None:
    token = google.tokens(scope=f"{READ_EVENTS} {READ_LIST}")["refresh_token"]

    less = google.refresh(token, scope=READ_LIST)
    more = google.refresh(token, scope="https://www.googleapis.com/auth/calendar")

    assert less.json()["scope"] == READ_LIST
    assert error_of(more) == (400, "invalid_scope")


def test_an_id_token_says_who_it_is_for(google: Provider) -> None:
    tokens = google.tokens(scope="openid email profile", nonce="n-1")

    claims = claims_in(tokens["id_token"])
    account = google.server.account("anna@example.com")
    assert account is not None
    assert (claims["sub"], claims["email"], claims["nonce"]) == (account.id, account.email, "n-1")
    assert (claims["iss"], claims["aud"]) == ("https://accounts.google.com", "client-1")


def test_userinfo_tells_as_much_as_the_scopes_allow(google: Provider) -> None:
    def asked(scope: str, path: str) -> httpx.Response:
        token = google.tokens(scope=scope, prompt="consent")["access_token"]
        return google.call("GET", path, headers={"authorization": f"Bearer {token}"})

    told = asked("openid email", "/v1/userinfo").json()

    assert told["email"] == "anna@example.com"
    assert "name" not in told
    assert asked("openid profile", "/oauth2/v3/userinfo").json()["name"] == "Anna Berg"
    assert asked(READ_EVENTS, "/oauth2/v3/userinfo").status_code == 403
    assert google.call("GET", "/v1/userinfo").status_code == 401


@pytest.mark.parametrize(
    ("fault", "status", "error"),
    [
        ({"reason": "invalid_client"}, 401, "invalid_client"),
        ({"reason": "invalid_grant"}, 400, "invalid_grant"),
        ({"status": 429}, 429, "rate_limit_exceeded"),
        ({"status": 500}, 500, "internal_failure"),
        ({"status": 503}, 503, "temporarily_unavailable"),
    ],
)
def test_token_calls_can_be_made_to_fail_for_one_account(
    google: Provider, fault: dict[str, object], status: int, error: str
) -> None:
    anna = google.tokens()["refresh_token"]
    google.server.add_account("ben@example.com")
    ben = google.tokens(login_hint="ben@example.com")["refresh_token"]

    google.control("POST", "/faults", {"operation": "token", "account": "anna@example.com", **fault})

    assert error_of(google.refresh(anna)) == (status, error)
    assert google.refresh(ben).status_code == 200


def test_a_lost_answer_comes_after_the_effect(google: Provider) -> None:
    code = google.code()
    google.control("POST", "/faults", {"operation": "token", "kind": "lost_answer", "times": 1})

    with pytest.raises(ConnectionCut):
        google.redeem(code)

    assert error_of(google.redeem(code)) == (400, "invalid_grant")


def test_a_cut_connection_comes_before_the_effect(google: Provider) -> None:
    code = google.code()
    google.control("POST", "/faults", {"operation": "token", "kind": "drop", "times": 1})

    with pytest.raises(ConnectionCut):
        google.redeem(code)

    assert google.redeem(code).status_code == 200


def test_pages_of_html_and_torn_answers_are_on_offer(google: Provider) -> None:
    token = google.tokens()["refresh_token"]
    google.control("POST", "/faults", [{"kind": "html", "times": 1}, {"kind": "truncate", "times": 1}])

    html, torn = google.refresh(token), google.refresh(token)

    assert html.text.startswith("<!doctype html>")
    with pytest.raises(json.JSONDecodeError):
        torn.json()


def test_the_history_names_every_call_and_no_token(google: Provider) -> None:
    tokens = google.tokens()
    google.refresh(tokens["refresh_token"])
    google.refresh("wrong")

    records = google.server.history.after(0, 100)
    text = json.dumps(records)
    calls = [(r["operation"], r.get("grant_type"), r["outcome"]) for r in records if "outcome" in r]
    assert calls == [
        ("oauth.authorize", None, "page"),
        ("oauth.authorize", None, "code"),
        ("oauth.token", "authorization_code", "granted"),
        ("oauth.token", "refresh_token", "granted"),
        ("oauth.token", "refresh_token", "unknown_token"),
    ]
    assert records[3]["account"] == "anna@example.com"
    assert tokens["refresh_token"] not in text
    assert tokens["access_token"] not in text
    assert "secret-1" not in text


def test_a_repeated_consent_may_give_a_refresh_token_after_all(google: Provider) -> None:
    google.control("PATCH", "/switches", {"repeated_consent_gives_refresh_token": True})
    google.tokens()

    assert "refresh_token" in google.tokens()


def test_an_e_mail_scope_may_come_without_openid(google: Provider) -> None:
    with_openid = google.tokens(scope="email")
    google.control("PATCH", "/switches", {"email_adds_openid": False})
    google.server.forget()

    without = google.tokens(scope="email")

    assert "openid" in with_openid["scope"].split()
    assert without["scope"].split() == ["https://www.googleapis.com/auth/userinfo.email"]
    assert "id_token" not in without


@pytest.mark.parametrize("given", [True, False])
def test_a_refresh_may_come_with_an_id_token(google: Provider, given: bool) -> None:
    google.control("PATCH", "/switches", {"refresh_gives_id_token": given})
    token = google.tokens(scope="openid")["refresh_token"]

    assert ("id_token" in google.refresh(token).json()) == given
