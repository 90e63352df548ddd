"""Who signed in, as claims: ID tokens and the userinfo answer."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from worker.sandbox.oauth.flavours import GOOGLE_SCOPES, Flavour, tenant_of
from worker.sandbox.oauth.grants import Account, Client

EMAIL_SCOPES = frozenset({"email", GOOGLE_SCOPES + "userinfo.email"})
PROFILE_SCOPES = frozenset({"profile", GOOGLE_SCOPES + "userinfo.profile"})


def claims_of(
    flavour: Flavour, account: Account, client_id: str, scopes: Iterable[str]
) -> dict[str, Any]:
    """
    Return what *scopes* let an application know about a person.

    Sources: developers.google.com/identity/openid-connect/openid-connect (obtaining user information);
    learn.microsoft.com/entra/identity-platform/id-token-claims-reference (sub is pairwise, oid is not).
    """
    asked = frozenset(scopes)
    claims: dict[str, Any] = {"sub": account.id}
    if flavour.is_microsoft:
        pair = f"{client_id}:{account.id}".encode()
        claims["sub"] = base64.urlsafe_b64encode(hashlib.sha256(pair).digest()).rstrip(b"=").decode()
    if asked & EMAIL_SCOPES:
        claims["email"] = account.email
        if not flavour.is_microsoft:
            claims["email_verified"] = True
    if asked & PROFILE_SCOPES:
        given, _, family = account.name.partition(" ")
        claims |= {"name": account.name, "given_name": given, "family_name": family}
    return claims


def id_token(
    flavour: Flavour,
    account: Account,
    client: Client,
    scopes: Iterable[str],
    *,
    nonce: str,
    now: datetime,
) -> str:
    """Return a JWT signed with the client's secret (HS256); the real ones are signed with a published key."""
    claims = {"aud": client.client_id, **claims_of(flavour, account, client.client_id, scopes)}
    if flavour.is_microsoft:
        tenant = tenant_of(account)
        claims |= {
            "iss": f"https://login.microsoftonline.com/{tenant}/v2.0",
            "tid": tenant,
            "oid": account.id,
            "preferred_username": account.email,
            "ver": "2.0",
        }
    else:
        claims |= {"iss": "https://accounts.google.com", "azp": client.client_id}
    claims |= {"iat": int(now.timestamp()), "exp": int(now.timestamp()) + 3600}
    if nonce:
        claims["nonce"] = nonce
    head = _part({"alg": "HS256", "typ": "JWT"})
    signed = f"{head}.{_part(claims)}"
    digest = hmac.new(client.client_secret.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def _part(facts: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(facts).encode()).rstrip(b"=").decode()
