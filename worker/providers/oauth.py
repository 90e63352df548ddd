"""
The authorisation servers of Google and Microsoft: consent pages, codes, and tokens.

Source: developers.google.com/identity/protocols/oauth2/web-server; Microsoft identity platform,
OAuth 2.0 authorization code flow; RFC 6749, RFC 7636 (PKCE).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import quote, urlencode

import httpx

from worker import http as wire
from worker.errors import AuthorizationLost, ConsentLost, Reaction, Refused, TryLater
from worker.http import Answer, Count, count_nothing
from worker.ports_direct import Account, Consent, OAuthApp, Tokens

LONGEST_TOKEN = 8192
LONGEST_LIFE = timedelta(days=1)
#: What an access token that does not say is taken to live. Source: both platforms' samples (3599 s).
USUAL_LIFE = timedelta(minutes=55)
#: Errors that say that the operator's client is wrong, whoever the user is.
CLIENT_ERRORS = frozenset({"invalid_client", "unauthorized_client", "deleted_client"})
#: Errors that only the user can mend. Source: Entra, "handle errors"; keyed on `error`, never on numbers.
_CONSENT_ERRORS = frozenset(
    {"invalid_grant", "interaction_required", "consent_required", "login_required", "access_denied"}
)
#: How both platforms write errors; what is none is repeated nowhere. Source: RFC 6749, 5.2.
_ERROR_CODE = re.compile(r"[a-z_]{1,64}")
_SLOW_DOWN = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class GoogleAuthority:
    """Google's authorisation server; a refresh token stays the same for as long as it lives."""

    accounts_url: str
    oauth_url: str
    api_url: str
    http: httpx.Client
    count: Count = count_nothing

    def consent_url(self, app: OAuthApp, consent: Consent) -> str:
        """Return the consent page; `prompt=consent` because only then a refresh token is sure to come."""
        asked = _asked(app, consent) | {"access_type": "offline", "prompt": "consent"}
        return f"{self.accounts_url}/o/oauth2/v2/auth?{urlencode(asked, quote_via=quote)}"

    def redeem(self, app: OAuthApp, code: str, *, redirect_uri: str, verifier: str) -> Tokens:
        """Exchange a code; see the port."""
        form = _code_form(app, code, redirect_uri, verifier)
        return _tokens(self._post(f"{self.oauth_url}/token", form, "redeem_code"))

    def refresh(self, app: OAuthApp, refresh_token: str) -> Tokens:
        """Get a new access token; the answer brings no refresh token."""
        return _tokens(
            self._post(f"{self.oauth_url}/token", _refresh_form(app, refresh_token), "refresh")
        )

    def account(self, access_token: str) -> Account:
        """Ask whose token it is. Source: openid-connect, userinfo (`sub` is never reused)."""
        url = f"{self.api_url}/oauth2/v3/userinfo"
        found = _get(self.http, url, access_token, "google", self.count)
        return _account(found.get("sub"), found.get("email"))

    def revoke(self, app: OAuthApp, refresh_token: str) -> None:
        """Give the consent back; 400 says that it is gone already."""
        del app
        answer = wire.call(
            self.http,
            "POST",
            f"{self.oauth_url}/revoke",
            provider="google",
            operation="revoke",
            form={"token": refresh_token},
            count=self.count,
        )
        if answer.status not in {httpx.codes.OK, httpx.codes.BAD_REQUEST}:
            msg = f"google revoke: {answer.status}"
            raise TryLater(msg, after=answer.retry_after)

    def _post(self, url: str, form: Mapping[str, str], operation: str) -> Mapping[str, object]:
        return _ask_for_tokens(self.http, url, form, f"google.{operation}", self.count)


@dataclass(frozen=True, slots=True)
class MicrosoftAuthority:
    """Microsoft's identity platform; every refresh brings a new refresh token."""

    login_url: str
    graph_url: str
    http: httpx.Client
    count: Count = count_nothing

    def consent_url(self, app: OAuthApp, consent: Consent) -> str:
        """Return the consent page of the app's tenant; people choose among their accounts."""
        asked = _asked(app, consent) | {"response_mode": "query", "prompt": "select_account"}
        return f"{self._base(app)}/oauth2/v2.0/authorize?{urlencode(asked, quote_via=quote)}"

    def redeem(self, app: OAuthApp, code: str, *, redirect_uri: str, verifier: str) -> Tokens:
        """Exchange a code; see the port."""
        form = _code_form(app, code, redirect_uri, verifier)
        return _tokens(self._post(app, form, "redeem_code"))

    def refresh(self, app: OAuthApp, refresh_token: str) -> Tokens:
        """Get a new access token, and the refresh token that replaces this one."""
        return _tokens(self._post(app, _refresh_form(app, refresh_token), "refresh"))

    def account(self, access_token: str) -> Account:
        """Ask whose token it is. Source: Graph v1.0, get user (`mail` may be null)."""
        url = f"{self.graph_url}/v1.0/me"
        found = _get(self.http, url, access_token, "microsoft", self.count)
        return _account(found.get("id"), found.get("mail") or found.get("userPrincipalName"))

    def revoke(self, app: OAuthApp, refresh_token: str) -> None:
        """Do nothing: v2.0 has no revocation; people remove an app at their account's page."""

    def _base(self, app: OAuthApp) -> str:
        return f"{self.login_url}/{quote(app.tenant or 'common', safe='')}"

    def _post(self, app: OAuthApp, form: Mapping[str, str], operation: str) -> Mapping[str, object]:
        url = f"{self._base(app)}/oauth2/v2.0/token"
        return _ask_for_tokens(self.http, url, form, f"microsoft.{operation}", self.count)


def _asked(app: OAuthApp, consent: Consent) -> dict[str, str]:
    hint = {"login_hint": consent.login_hint} if consent.login_hint else {}
    return {
        "client_id": app.client_id,
        "redirect_uri": consent.redirect_uri,
        "response_type": "code",
        "scope": " ".join(consent.scopes),
        "state": consent.state,
        "code_challenge": consent.challenge,
        "code_challenge_method": "S256",
        **hint,
    }


def _code_form(app: OAuthApp, code: str, redirect_uri: str, verifier: str) -> dict[str, str]:
    return {
        "client_id": app.client_id,
        "client_secret": app.client_secret,
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": verifier,
    }


def _refresh_form(app: OAuthApp, refresh_token: str) -> dict[str, str]:
    return {
        "client_id": app.client_id,
        "client_secret": app.client_secret,
        "grant_type": "refresh_token",
        "refresh_token": refresh_token,
    }


def _ask_for_tokens(
    http: httpx.Client, url: str, form: Mapping[str, str], operation: str, count: Count
) -> Mapping[str, object]:
    """
    Post to a token endpoint once.

    It is not repeated here: where refresh tokens rotate, the second try would come with a token that
    the first one may have used up.
    """
    provider, _, what = operation.partition(".")
    answer = wire.call(
        http, "POST", url, provider=provider, operation=what, form=form, may_repeat=False, count=count
    )
    body = _object_in(answer)
    if answer.status == httpx.codes.OK and body:
        return body
    raise _reaction(answer, body, operation)


def _reaction(answer: Answer, body: Mapping[str, object], operation: str) -> Reaction:
    """
    Turn a token endpoint's refusal into a reaction.

    `invalid_grant` is the user's matter, `invalid_client` the operator's. Whatever is neither is not
    taken for a lost consent: a proxy's page must not disconnect anybody.
    """
    error = body.get("error")
    said = error if isinstance(error, str) and _ERROR_CODE.fullmatch(error) else ""
    what = f"{operation}: {answer.status} {said}".strip()
    if said in CLIENT_ERRORS:
        return AuthorizationLost(what)
    if said in _CONSENT_ERRORS and answer.status in {400, 401, 403}:
        return ConsentLost(what)
    if answer.status in _SLOW_DOWN or said in {"temporarily_unavailable", "server_error"} or not said:
        return TryLater(what, after=answer.retry_after)
    return Refused(what)


def _get(
    http: httpx.Client, url: str, access_token: str, provider: str, count: Count
) -> Mapping[str, object]:
    answer = wire.call(
        http,
        "GET",
        url,
        provider=provider,
        operation="get_account",
        headers={"Authorization": f"Bearer {access_token}"},
        count=count,
    )
    found = _object_in(answer)
    if answer.status in {401, 403}:
        msg = f"{provider} get_account: {answer.status}"
        raise ConsentLost(msg)
    if answer.status != httpx.codes.OK or not found:
        msg = f"{provider} get_account: {answer.status}"
        raise TryLater(msg, after=answer.retry_after)
    return found


def _object_in(answer: Answer) -> Mapping[str, object]:
    """Return the JSON object of an answer, empty when there is none."""
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _tokens(body: Mapping[str, object]) -> Tokens:
    access = _token(body.get("access_token"))
    if access is None:
        msg = "a token endpoint answered without an access token"
        raise TryLater(msg)
    scope = body.get("scope")
    return Tokens(
        access_token=access,
        expires_in=_life(body.get("expires_in")),
        refresh_token=_token(body.get("refresh_token")),
        scopes=frozenset(scope.split()) if isinstance(scope, str) and scope.strip() else None,
    )


def _token(value: object) -> str | None:
    """Read a token: something that fits into a header and a form."""
    is_one = isinstance(value, str) and 0 < len(value) <= LONGEST_TOKEN and value.isascii()
    return value if isinstance(value, str) and is_one and value.isprintable() else None


def _life(value: object) -> timedelta:
    if isinstance(value, str) and value.isdecimal() and len(value) < 10:  # Entra v1 sends text
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return USUAL_LIFE
    return min(timedelta(seconds=min(float(value), 1e6)), LONGEST_LIFE)


def _account(account_id: object, email: object) -> Account:
    if not isinstance(account_id, str) or not 0 < len(account_id) <= 255:
        msg = "the provider did not say whose account it is"
        raise TryLater(msg)
    is_address = isinstance(email, str) and "@" in email and len(email) <= 320
    return Account(account_id, email.strip().lower() if isinstance(email, str) and is_address else None)
