"""The same server in Microsoft's manners."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest

from tests.sandbox.oauth.driving import BACK, READ_GRAPH, Forms, Provider, came_back, claims_in
from worker.sandbox.oauth.flavours import MICROSOFT, PERSONAL_TENANT, tenant_of
from worker.sandbox.recall.gate import ConnectionCut


@pytest.fixture
def microsoft() -> Provider:
    return Provider(MICROSOFT)


def test_every_refresh_gives_a_new_refresh_token_and_the_old_one_lives_on(microsoft: Provider) -> None:
    first = microsoft.tokens()["refresh_token"]

    second = microsoft.refresh(first).json()["refresh_token"]

    assert second != first
    assert microsoft.refresh(first).status_code == 200
    assert microsoft.refresh(second).status_code == 200


def test_rotated_tokens_may_die_and_their_reuse_ends_the_family(microsoft: Provider) -> None:
    microsoft.control("PATCH", "/switches", {"rotated_tokens_die": True})
    first = microsoft.tokens()["refresh_token"]
    second = microsoft.refresh(first).json()["refresh_token"]

    reused = microsoft.refresh(first)

    assert reused.json()["error"] == "invalid_grant"
    assert microsoft.refresh(second).json()["error"] == "invalid_grant"


def test_a_lost_answer_to_a_refresh_has_rotated_all_the_same(microsoft: Provider) -> None:
    microsoft.control("PATCH", "/switches", {"rotated_tokens_die": True})
    first = microsoft.tokens()["refresh_token"]
    microsoft.control("POST", "/faults", {"operation": "token", "kind": "lost_answer", "times": 1})

    with pytest.raises(ConnectionCut):
        microsoft.refresh(first)

    assert microsoft.refresh(first).json()["error"] == "invalid_grant"


def test_without_offline_access_there_is_no_refresh_token(microsoft: Provider) -> None:
    tokens = microsoft.tokens(scope=READ_GRAPH)

    assert "refresh_token" not in tokens
    assert "offline_access" not in microsoft.tokens()["scope"]


def test_refusals_carry_numbers_and_ids(microsoft: Provider) -> None:
    token = microsoft.tokens()["refresh_token"]
    microsoft.control("POST", "/revoke", {"account": "anna@example.com"})

    body = microsoft.refresh(token).json()

    assert (body["error"], body["error_codes"], body["suberror"]) == (
        "invalid_grant",
        [50173],
        "bad_token",
    )
    assert body["error_description"].startswith("AADSTS50173:")
    assert body["timestamp"] == "2026-11-23 09:00:00Z"
    assert body["trace_id"] in body["error_description"]
    assert body["correlation_id"] in body["error_description"]


def test_a_refresh_token_dies_ninety_days_after_its_issue(microsoft: Provider) -> None:
    first = microsoft.tokens()["refresh_token"]
    microsoft.pass_(days=60)
    second = microsoft.refresh(first).json()["refresh_token"]

    microsoft.pass_(days=30)

    assert microsoft.refresh(first).json()["error_codes"] == [700082]
    assert microsoft.refresh(second).status_code == 200


def test_access_tokens_outlive_a_revoked_grant_unless_told(microsoft: Provider) -> None:
    token = microsoft.tokens()["access_token"]

    microsoft.control("POST", "/revoke", {"account": "anna@example.com"})
    before = microsoft.server.grant_of(token)
    again = microsoft.tokens()["access_token"]
    microsoft.control("POST", "/revoke", {"account": "anna@example.com", "access_too": True})

    assert before is not None
    assert microsoft.server.grant_of(again) is None


@pytest.mark.parametrize(
    ("trouble", "error", "code"),
    [("policy", "invalid_grant", 53003), ("challenge", "interaction_required", 50076)],
)
def test_an_administrator_can_stop_refreshing(
    microsoft: Provider, trouble: str, error: str, code: int
) -> None:
    token = microsoft.tokens()["refresh_token"]
    microsoft.control("POST", "/revoke", {"trouble": trouble})

    body = microsoft.refresh(token).json()

    assert (body["error"], body["error_codes"]) == (error, [code])


def test_a_wrong_secret_is_a_401_and_an_unknown_application_is_not(microsoft: Provider) -> None:
    wrong, unknown = microsoft.refresh("x", client_secret="no"), microsoft.refresh("x", client_id="no")

    assert (wrong.status_code, wrong.json()["error_codes"]) == (401, [7000215])
    assert (unknown.status_code, unknown.json()["error"]) == (400, "unauthorized_client")


def test_an_expired_secret_can_be_staged(microsoft: Provider) -> None:
    token = microsoft.tokens()["refresh_token"]
    microsoft.control("POST", "/faults", {"operation": "token", "reason": "expired_secret"})

    assert microsoft.refresh(token).json()["error_codes"] == [7000222]


def test_the_id_token_names_tenant_and_object(microsoft: Provider) -> None:
    account = microsoft.server.account("anna@example.com")
    assert account is not None

    claims = claims_in(microsoft.tokens(scope="openid email profile", nonce="n-1")["id_token"])

    assert (claims["oid"], claims["tid"]) == (account.id, tenant_of(account))
    assert claims["preferred_username"] == claims["email"] == "anna@example.com"
    assert claims["nonce"] == "n-1"
    assert claims["sub"] != account.id


def test_the_consent_page_has_no_boxes(microsoft: Provider) -> None:
    assert microsoft.page().choices == []


def test_only_those_of_a_tenant_can_sign_in_there(microsoft: Provider) -> None:
    account = microsoft.server.account("anna@example.com")
    assert account is not None
    personal = microsoft.server.add_account("ben@outlook.com")

    def offered(tenant: str) -> str:
        asking = microsoft.asking(path=f"/{tenant}/oauth2/v2.0/authorize")
        return microsoft.call("GET", asking).text

    assert tenant_of(personal) == PERSONAL_TENANT
    assert "anna@example.com" not in offered("consumers")
    assert "ben@outlook.com" not in offered("organizations")
    assert "anna@example.com" in offered(tenant_of(account))
    assert "anna@example.com" in offered("example.com")
    assert (
        microsoft.call("GET", microsoft.asking(path="/other.com/oauth2/v2.0/authorize")).status_code
        == 400
    )


def test_behind_the_consent_wall_only_the_way_back_is_open(microsoft: Provider) -> None:
    microsoft.control("PUT", "/manners", {"account": "anna@example.com", "walled": True})

    page = microsoft.page()

    assert page.buttons == []
    assert "error=access_denied" in page.links[0]
    assert "AADSTS90094" in page.links[0]


def test_the_wall_may_ask_for_consent_instead(microsoft: Provider) -> None:
    microsoft.control("PUT", "/manners", {"walled": True})
    microsoft.control("PATCH", "/switches", {"wall_redirects": True, "wall_asks_for_consent": True})

    facts = came_back(microsoft.call("GET", microsoft.asking()))

    assert facts["error_description"].startswith("AADSTS65001")


def test_the_wall_may_send_the_user_back_at_once(microsoft: Provider) -> None:
    microsoft.control("PUT", "/manners", {"account": "anna@example.com", "walled": True})
    microsoft.control("PATCH", "/switches", {"wall_redirects": True})

    facts = came_back(microsoft.call("GET", microsoft.asking()))

    assert facts["error"] == "access_denied"
    assert facts["error_description"].startswith("AADSTS90094")


def test_signing_in_is_possible_behind_the_wall(microsoft: Provider) -> None:
    microsoft.control("PUT", "/manners", {"account": "anna@example.com", "walled": True})

    assert "code" in came_back(microsoft.submit(microsoft.page(scope="openid email")))


def test_an_administrator_lifts_the_wall_for_the_whole_tenant(microsoft: Provider) -> None:
    account = microsoft.server.account("anna@example.com")
    assert account is not None
    microsoft.control("PUT", "/manners", {"walled": True})
    wish = {"client_id": "client-1", "redirect_uri": BACK, "scope": READ_GRAPH, "state": "x"}
    page = Forms(
        microsoft.call("GET", f"/{tenant_of(account)}/v2.0/adminconsent?{urlencode(wish)}").text
    )

    facts = came_back(microsoft.submit(page))

    assert (facts["admin_consent"], facts["tenant"], facts["state"]) == (
        "True",
        tenant_of(account),
        "x",
    )
    assert "code" in came_back(microsoft.call("GET", microsoft.asking()))


def test_an_administrator_may_refuse(microsoft: Provider) -> None:
    wish = {"client_id": "client-1", "redirect_uri": BACK, "scope": READ_GRAPH}
    page = Forms(microsoft.call("GET", f"/example.com/v2.0/adminconsent?{urlencode(wish)}").text)

    assert came_back(microsoft.submit(page, "deny"))["error"] == "access_denied"


def test_the_answer_may_be_posted_by_the_browser(microsoft: Provider) -> None:
    answer = microsoft.submit(microsoft.page(response_mode="form_post"))

    form = Forms(answer.text)
    assert form.action == BACK
    assert [name for name, _ in form.fields] == ["code", "state"]
