"""The contract of Authority: codes that work once, tokens that say whose they are, consents given back."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

import pytest

from worker.errors import AuthorizationLost, ConsentLost, TryLater
from worker.ports_direct import Authority, Consent, OAuthApp, Tokens

ANNA = "anna@example.com"
VERIFIER = "v" * 50
REDIRECT = "http://127.0.0.1:9/oauth/callback"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


class AuthorityWorld(Protocol):
    """An authorisation server and Anna, who agrees whenever she is asked."""

    @property
    def authority(self) -> Authority: ...

    @property
    def app(self) -> OAuthApp: ...

    @property
    def takes_back(self) -> bool:
        """Say whether we can give a consent back here."""
        ...

    def scopes(self) -> tuple[str, ...]: ...

    def agree(self) -> str:
        """Have Anna agree to `scopes`, asked with CHALLENGE; the code that she brings is returned."""
        ...

    def end_consents(self) -> None:
        """Have Anna take back what she agreed to."""
        ...

    def be_away(self) -> None:
        """Have every call meet a server that cannot answer now."""
        ...

    def calls(self) -> int:
        """Tell how many calls reached the server so far."""
        ...


#: Every call with a token endpoint behind it, given a code or a refresh token that is good.
CLIENT_CALLS: dict[str, Callable[[AuthorityWorld, OAuthApp], object]] = {
    "redeem": lambda world, app: world.authority.redeem(
        app, world.agree(), redirect_uri=REDIRECT, verifier=VERIFIER
    ),
    "refresh": lambda world, app: world.authority.refresh(app, refresh_token_of(redeemed(world))),
}


class AuthorityContract:
    """Inherit, and provide a fixture `world`."""

    def test_the_consent_page_is_asked_for_what_we_need_and_no_secret_is_told(
        self, world: AuthorityWorld
    ) -> None:
        consent = Consent("state-1", CHALLENGE, REDIRECT, world.scopes(), ANNA)

        query = parse_qs(urlsplit(world.authority.consent_url(world.app, consent)).query)

        said = {name: values[0] for name, values in query.items()}
        assert said["client_id"] == world.app.client_id
        assert said["state"] == "state-1"
        assert said["redirect_uri"] == REDIRECT
        assert (said["code_challenge"], said["code_challenge_method"]) == (CHALLENGE, "S256")
        assert set(said["scope"].split()) == set(world.scopes())
        assert said["login_hint"] == ANNA
        assert world.app.client_secret not in str(query)

    def test_a_code_becomes_tokens_that_say_whose_they_are(self, world: AuthorityWorld) -> None:
        given = redeemed(world)

        account = world.authority.account(given.access_token)
        assert account.email == ANNA
        assert account.id
        assert given.refresh_token
        assert timedelta(minutes=1) < given.expires_in <= timedelta(days=1)

    def test_what_was_granted_is_told(self, world: AuthorityWorld) -> None:
        granted = redeemed(world).scopes

        assert granted is not None
        reading = {scope for scope in world.scopes() if "alendar" in scope}
        assert reading
        assert reading <= granted

    def test_a_code_works_once(self, world: AuthorityWorld) -> None:
        code = world.agree()
        redeemed(world, code)

        with pytest.raises(ConsentLost):
            redeemed(world, code)

    def test_a_code_works_with_its_verifier_alone(self, world: AuthorityWorld) -> None:
        with pytest.raises(ConsentLost):
            world.authority.redeem(world.app, world.agree(), redirect_uri=REDIRECT, verifier="w" * 50)

    def test_a_code_that_nobody_gave_out_is_a_lost_consent(self, world: AuthorityWorld) -> None:
        with pytest.raises(ConsentLost):
            redeemed(world, "made-up")

    def test_an_account_keeps_its_id(self, world: AuthorityWorld) -> None:
        first, second = redeemed(world), redeemed(world)
        third = world.authority.refresh(world.app, refresh_token_of(second))

        ids = {world.authority.account(one.access_token).id for one in (first, second, third)}

        assert len(ids) == 1

    def test_a_refresh_brings_an_access_token_again_and_again(self, world: AuthorityWorld) -> None:
        given = redeemed(world)
        token, seen = refresh_token_of(given), {given.access_token}
        for _ in range(3):
            again = world.authority.refresh(world.app, token)
            token = again.refresh_token or token
            seen.add(again.access_token)

        assert len(seen) == 4
        assert world.authority.account(again.access_token).email == ANNA

    def test_a_refresh_token_of_a_consent_that_ended_is_a_lost_consent(
        self, world: AuthorityWorld
    ) -> None:
        token = refresh_token_of(redeemed(world))
        world.end_consents()

        with pytest.raises(ConsentLost):
            world.authority.refresh(world.app, token)

    def test_a_refresh_token_that_nobody_gave_out_is_a_lost_consent(
        self, world: AuthorityWorld
    ) -> None:
        with pytest.raises(ConsentLost):
            world.authority.refresh(world.app, "made-up")

    def test_an_access_token_that_nobody_gave_out_is_a_lost_consent(
        self, world: AuthorityWorld
    ) -> None:
        with pytest.raises(ConsentLost):
            world.authority.account("made-up")

    @pytest.mark.parametrize("call", CLIENT_CALLS.values(), ids=CLIENT_CALLS)
    def test_a_wrong_client_secret_is_the_operators_matter(
        self, world: AuthorityWorld, call: Callable[[AuthorityWorld, OAuthApp], object]
    ) -> None:
        with pytest.raises(AuthorizationLost) as lost:
            call(world, replace(world.app, client_secret="wrong"))

        assert not isinstance(lost.value, ConsentLost)

    def test_a_consent_that_is_given_back_is_gone_where_the_platform_lets_us(
        self, world: AuthorityWorld
    ) -> None:
        token = refresh_token_of(redeemed(world))

        world.authority.revoke(world.app, token)

        if world.takes_back:
            with pytest.raises(ConsentLost):
                world.authority.refresh(world.app, token)
        else:
            assert world.authority.refresh(world.app, token).access_token

    def test_giving_back_what_is_gone_is_fine(self, world: AuthorityWorld) -> None:
        token = refresh_token_of(redeemed(world))
        world.end_consents()

        for _ in range(2):
            world.authority.revoke(world.app, token)
        world.authority.revoke(world.app, "made-up")

    def test_a_code_is_sent_once_though_no_answer_comes(self, world: AuthorityWorld) -> None:
        code = world.agree()
        world.be_away()
        before = world.calls()

        with pytest.raises(TryLater):
            redeemed(world, code)

        assert world.calls() - before <= 1

    def test_a_refresh_token_is_sent_once_though_no_answer_comes(self, world: AuthorityWorld) -> None:
        token = refresh_token_of(redeemed(world))
        world.be_away()
        before = world.calls()

        with pytest.raises(TryLater):
            world.authority.refresh(world.app, token)

        assert world.calls() - before <= 1

    def test_a_server_that_is_away_says_nothing_about_an_account(self, world: AuthorityWorld) -> None:
        given = redeemed(world)
        world.be_away()

        with pytest.raises(TryLater):
            world.authority.account(given.access_token)

    def test_what_could_not_be_given_back_is_told(self, world: AuthorityWorld) -> None:
        token = refresh_token_of(redeemed(world))
        world.be_away()

        if world.takes_back:
            with pytest.raises(TryLater):
                world.authority.revoke(world.app, token)
        else:
            world.authority.revoke(world.app, token)

    def test_no_value_shows_a_credential(self, world: AuthorityWorld) -> None:
        given = redeemed(world)

        shown = repr([given, world.app])
        for secret in (given.access_token, refresh_token_of(given), world.app.client_secret):
            assert secret not in shown


def redeemed(world: AuthorityWorld, code: str | None = None) -> Tokens:
    return world.authority.redeem(
        world.app, code or world.agree(), redirect_uri=REDIRECT, verifier=VERIFIER
    )


def refresh_token_of(given: Tokens) -> str:
    assert given.refresh_token is not None
    return given.refresh_token
