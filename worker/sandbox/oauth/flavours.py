"""How the two providers differ as authorisation servers, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from uuid import NAMESPACE_DNS, uuid5

from worker.sandbox.oauth.grants import Account
from worker.sandbox.oauth.refusals import GOOGLE_WORDINGS, MICROSOFT_WORDINGS, Wording

PERSONAL_DOMAINS = frozenset({"outlook.com", "hotmail.com", "live.com", "msn.com", "gmail.com"})
PERSONAL_TENANT = "9188040d-6c67-4c5b-b112-36a304b66dad"  # Microsoft's tenant of all personal accounts
GOOGLE_SCOPES = "https://www.googleapis.com/auth/"
GRAPH_SCOPES = "https://graph.microsoft.com/"
OFFLINE_SCOPE = "offline_access"


@dataclass(frozen=True, slots=True)
class Flavour:
    """The manners of one provider. Idleness counts from the last use if *use_renews*, else from the issue."""

    name: str
    rotates: bool  # a refresh answers with a new refresh token
    asks_by_scope: bool  # a refresh token is asked for by offline_access; False: by access_type=offline
    granular: bool  # the user may tick some scopes only
    live_refresh_tokens: int | None  # per account and client; one more kills the oldest
    refresh_token_idle: timedelta
    use_renews: bool
    access_token_s: float
    access_tokens_outlive_consent: bool
    wordings: Mapping[str, Wording]
    sign_in_scopes: frozenset[str]  # say who it is and cannot be unticked
    aliases: Mapping[str, str]  # what a scope asked for is called in answers
    access_prefix: str
    refresh_prefix: str
    code_prefix: str

    @property
    def is_microsoft(self) -> bool:
        return self.name == "microsoft"


# Sources: developers.google.com/identity/protocols/oauth2 (100 live tokens, 6 months, granular consent) and
# …/web-server (access_type, no refresh_token in the answer to a refresh). Scope names as in token answers.
GOOGLE = Flavour(
    name="google",
    rotates=False,
    asks_by_scope=False,
    granular=True,
    live_refresh_tokens=100,
    refresh_token_idle=timedelta(days=182),
    use_renews=True,
    access_token_s=3599.0,
    access_tokens_outlive_consent=False,
    wordings=GOOGLE_WORDINGS,
    sign_in_scopes=frozenset(
        {"openid", GOOGLE_SCOPES + "userinfo.email", GOOGLE_SCOPES + "userinfo.profile"}
    ),
    aliases={"email": GOOGLE_SCOPES + "userinfo.email", "profile": GOOGLE_SCOPES + "userinfo.profile"},
    access_prefix="ya29.",
    refresh_prefix="1//0",
    code_prefix="4/0A",
)

# Sources: learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow (offline_access, a new refresh
# token each time, the old one not revoked) and …/refresh-tokens (90 days, not configurable).
MICROSOFT = Flavour(
    name="microsoft",
    rotates=True,
    asks_by_scope=True,
    granular=False,
    live_refresh_tokens=None,
    refresh_token_idle=timedelta(days=90),
    use_renews=False,
    access_token_s=3599.0,
    access_tokens_outlive_consent=True,
    wordings=MICROSOFT_WORDINGS,
    sign_in_scopes=frozenset({"openid", "email", "profile", OFFLINE_SCOPE}),
    aliases={},
    access_prefix="EwB4",
    refresh_prefix="0.A",
    code_prefix="M.C5",
)


def tenant_of(account: Account) -> str:
    """Return the directory an account belongs to: one per mail domain, one for all personal accounts."""
    domain = account.email.rpartition("@")[2].lower()
    return PERSONAL_TENANT if domain in PERSONAL_DOMAINS else str(uuid5(NAMESPACE_DNS, domain))


def is_offered(account: Account, tenant: str) -> bool:
    """
    Tell whether the sign-in page of *tenant* lets *account* in; "" and common let everybody in.

    Source: learn.microsoft.com/entra/identity-platform/v2-protocols (endpoints).
    """
    home, domain = tenant_of(account), account.email.rpartition("@")[2].lower()
    match tenant.lower():
        case "" | "common":
            return True
        case "consumers":
            return home == PERSONAL_TENANT
        case "organizations":
            return home != PERSONAL_TENANT
        case named:
            return named in (home, domain)
