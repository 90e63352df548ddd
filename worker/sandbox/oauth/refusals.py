"""What a token endpoint says when it says no, in the words of each provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


class Refused(Exception):
    """A token call is refused; *trouble* is a key of the flavour's wordings, *detail* fills its text."""

    def __init__(self, trouble: str, detail: str = "") -> None:
        super().__init__(f"{trouble}: {detail}" if detail else trouble)
        self.trouble = trouble
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Wording:
    """One refusal on the wire. *code* is Microsoft's number, 0 elsewhere; `{}` in *text* takes the detail."""

    status: int
    error: str
    text: str = ""
    code: int = 0
    suberror: str = ""


_DEAD = "Token has been expired or revoked."

# Sources: developers.google.com/identity/protocols/oauth2 (Refresh token expiration) and …/web-server;
# the texts are what the endpoint is seen to answer.
GOOGLE_WORDINGS: Mapping[str, Wording] = {
    "unknown_client": Wording(401, "invalid_client", "The OAuth client was not found."),
    "deleted_client": Wording(401, "deleted_client", "The OAuth client was deleted."),
    "wrong_secret": Wording(401, "invalid_client", "Unauthorized"),
    "bad_grant_type": Wording(400, "unsupported_grant_type", "Invalid grant_type: {}"),
    "missing": Wording(400, "invalid_request", "Missing required parameter: {}"),
    "unknown_code": Wording(400, "invalid_grant", "Malformed auth code."),
    "used_code": Wording(400, "invalid_grant", "Bad Request"),
    "expired_code": Wording(400, "invalid_grant", "Bad Request"),
    "redirect_differs": Wording(400, "redirect_uri_mismatch", "Bad Request"),
    "verifier_missing": Wording(400, "invalid_grant", "Missing code verifier."),
    "verifier_wrong": Wording(400, "invalid_grant", "Invalid code verifier."),
    "unknown_token": Wording(400, "invalid_grant", "Bad Request"),
    "revoked": Wording(400, "invalid_grant", _DEAD),
    "expired": Wording(400, "invalid_grant", _DEAD),
    "capped": Wording(400, "invalid_grant", _DEAD),
    "reused": Wording(400, "invalid_grant", _DEAD),
    "policy": Wording(400, "invalid_grant", "admin_policy_enforced"),
    "challenge": Wording(400, "invalid_grant", "reauth related error (invalid_rapt)"),
    "no_consent": Wording(400, "invalid_grant", _DEAD),
    "scope_not_granted": Wording(400, "invalid_scope", "Bad Request"),
    "overloaded": Wording(503, "temporarily_unavailable", "The service is temporarily unavailable."),
    "failed": Wording(500, "internal_failure", "Backend Error"),
    "too_many": Wording(429, "rate_limit_exceeded", "Rate Limit Exceeded"),
}

# Sources: learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow and …/reference-error-codes,
# which asks clients to key on `error` alone.
MICROSOFT_WORDINGS: Mapping[str, Wording] = {
    "unknown_client": Wording(
        400, "unauthorized_client", "Application with identifier '{}' was not found.", 700016
    ),
    "deleted_client": Wording(
        400, "unauthorized_client", "Application with identifier '{}' was not found.", 700016
    ),
    "wrong_secret": Wording(401, "invalid_client", "Invalid client secret provided.", 7000215),
    "expired_secret": Wording(
        401, "invalid_client", "The provided client secret keys are expired.", 7000222
    ),
    "bad_grant_type": Wording(
        400, "unsupported_grant_type", "The app requested an unsupported grant type '{}'.", 70003
    ),
    "missing": Wording(
        400, "invalid_request", "The request body must contain the following parameter: '{}'.", 900144
    ),
    "unknown_code": Wording(
        400, "invalid_grant", "The provided authorization code is malformed.", 70000, "bad_token"
    ),
    "used_code": Wording(
        400, "invalid_grant", "OAuth2 Authorization code was already redeemed.", 54005
    ),
    "expired_code": Wording(
        400, "invalid_grant", "The provided authorization code or refresh token has expired.", 70008
    ),
    "redirect_differs": Wording(
        400, "invalid_grant", "The reply address does not match the one of the authorization.", 500112
    ),
    "verifier_missing": Wording(
        400, "invalid_grant", "Proof Key for Code Exchange is required for this redemption.", 9002325
    ),
    "verifier_wrong": Wording(
        400, "invalid_grant", "The Code_Verifier does not match the code_challenge supplied.", 501481
    ),
    "unknown_token": Wording(
        400, "invalid_grant", "The provided refresh token is not valid.", 70000, "bad_token"
    ),
    "revoked": Wording(
        400,
        "invalid_grant",
        "The provided grant has expired due to it being revoked.",
        50173,
        "bad_token",
    ),
    "expired": Wording(
        400, "invalid_grant", "The refresh token has expired due to inactivity.", 700082, "bad_token"
    ),
    "capped": Wording(400, "invalid_grant", "The provided refresh token is not valid.", 70000),
    "reused": Wording(
        400, "invalid_grant", "The refresh token was used before and is revoked.", 70000, "bad_token"
    ),
    "policy": Wording(
        400, "invalid_grant", "Access has been blocked by Conditional Access policies.", 53003
    ),
    "challenge": Wording(
        400,
        "interaction_required",
        "Due to a configuration change you must use multi-factor authentication.",
        50076,
        "basic_action",
    ),
    "no_consent": Wording(
        400,
        "invalid_grant",
        "The user or administrator has not consented to use the application.",
        65001,
        "consent_required",
    ),
    "scope_not_granted": Wording(
        400,
        "invalid_grant",
        "The user or administrator has not consented to use the application.",
        65001,
        "consent_required",
    ),
    "overloaded": Wording(
        503,
        "temporarily_unavailable",
        "The server is temporarily too busy to handle the request.",
        90033,
    ),
    "failed": Wording(500, "server_error", "The server encountered an unexpected error.", 90033),
    "too_many": Wording(429, "invalid_request", "A client request loop was detected.", 50196),
}
