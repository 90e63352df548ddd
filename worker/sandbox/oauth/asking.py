"""A request for authorisation as a value, and whether it may be shown to a user at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit, urlunsplit

from worker.sandbox.oauth.flavours import OFFLINE_SCOPE, Flavour
from worker.sandbox.oauth.grants import Account, Client
from worker.sandbox.oauth.switches import Switches

RESPONSE_MODES = ("query", "fragment", "form_post")


class Unshowable(Exception):
    """The request cannot be trusted, so the user sees an error page and is sent nowhere."""

    def __init__(self, error: str, text: str) -> None:
        super().__init__(text)
        self.error = error
        self.text = text


class Declined(Exception):
    """The user is sent back with an error."""

    def __init__(self, error: str, text: str = "", subcode: str = "") -> None:
        super().__init__(text or error)
        self.error = error
        self.text = text
        self.subcode = subcode


@dataclass(frozen=True, slots=True)
class Asking:
    """What the application asks for. *tenant* is Microsoft's path segment, "" elsewhere."""

    client: Client
    redirect_uri: str
    scopes: tuple[str, ...]
    state: str | None = None
    prompts: frozenset[str] = frozenset()
    login_hint: str = ""
    is_offline: bool = False
    adds_to_earlier: bool = False
    response_mode: str = "query"
    challenge: str = ""
    challenge_method: str = ""
    nonce: str = ""
    tenant: str = ""

    def location(self, facts: Mapping[str, str]) -> str:
        """Return where the user is sent with *facts*, state echoed; a query of the redirect URI is kept."""
        parts = urlsplit(self.redirect_uri)
        said = urlencode(self.echoed(facts))
        if self.response_mode == "fragment":
            return urlunsplit(parts._replace(fragment=said))
        return urlunsplit(parts._replace(query=f"{parts.query}&{said}" if parts.query else said))

    def echoed(self, facts: Mapping[str, str]) -> dict[str, str]:
        return {**facts, **({} if self.state is None else {"state": self.state})}


def read(
    query: Mapping[str, str], clients: Mapping[str, Client], flavour: Flavour, tenant: str = ""
) -> Asking:
    """
    Read the parameters of a request; `check` says whether they make sense.

    Raises:
        Unshowable: unknown application, or a redirect URI that is not registered letter by letter.
    """
    client = clients.get(query.get("client_id", ""))
    if client is None:
        error = "unauthorized_client" if flavour.is_microsoft else "invalid_client"
        raise Unshowable(error, "The OAuth client was not found.")
    redirect_uri = query.get("redirect_uri", "")
    if redirect_uri not in client.redirect_uris:
        error = "invalid_request" if flavour.is_microsoft else "redirect_uri_mismatch"
        raise Unshowable(
            error, f"The redirect URI {redirect_uri!r} is not registered for the application."
        )
    scopes = tuple(dict.fromkeys(query.get("scope", "").split()))
    return Asking(
        client=client,
        redirect_uri=redirect_uri,
        scopes=tuple(dict.fromkeys(flavour.aliases.get(scope, scope) for scope in scopes)),
        state=query.get("state"),
        prompts=frozenset(query.get("prompt", "").split()),
        login_hint=query.get("login_hint", ""),
        is_offline=(
            OFFLINE_SCOPE in scopes if flavour.asks_by_scope else query.get("access_type") == "offline"
        ),
        adds_to_earlier=query.get("include_granted_scopes") == "true",
        response_mode=query.get("response_mode", "query"),
        challenge=query.get("code_challenge", ""),
        challenge_method=query.get(
            "code_challenge_method", "plain" if "code_challenge" in query else ""
        ),
        nonce=query.get("nonce", ""),
        tenant=tenant,
    )


def check(asking: Asking, query: Mapping[str, str], switches: Switches) -> None:
    """Raises Declined: the request is one no user can answer."""
    if query.get("response_type") != "code":
        raise Declined("unsupported_response_type", "response_type has to be code")
    if not asking.scopes:
        raise Declined("invalid_request", "Missing required parameter: scope")
    if asking.response_mode not in RESPONSE_MODES:
        raise Declined("invalid_request", "response_mode is none of query, fragment, form_post")
    if asking.challenge_method not in ("", "plain", "S256"):
        raise Declined("invalid_request", "code_challenge_method is S256 or plain")
    if asking.challenge_method == "plain" and switches.plain_pkce_refused:
        raise Declined("invalid_request", "code_challenge_method plain is not allowed")
    if "none" in asking.prompts and len(asking.prompts) > 1:
        raise Declined("invalid_request", "prompt none stands alone")


def hinted(accounts: list[Account], hint: str) -> Account | None:
    """Return the account that *hint* names by address or id."""
    wanted = hint.strip().lower()
    return next((each for each in accounts if wanted in (each.email.lower(), each.id.lower())), None)
