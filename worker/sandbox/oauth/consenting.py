"""What becomes of a request for authorisation: a page to show, or where to send the user back to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worker.sandbox.oauth import asking as asked
from worker.sandbox.oauth.asking import Asking, Declined, Unshowable
from worker.sandbox.oauth.flavours import Flavour
from worker.sandbox.oauth.grants import Account
from worker.sandbox.oauth.server import AuthorizationServer

ADMIN_NEEDED = (
    "AADSTS90094: Only an administrator can grant the permissions that the application asks for."
)
NO_CONSENT = "AADSTS65001: The user or administrator has not consented to use the application."
DECLINED = "AADSTS65004: User declined to consent to access the app."


@dataclass(frozen=True, slots=True)
class ConsentPage:
    accounts: tuple[Account, ...]
    chosen: Account | None


@dataclass(frozen=True, slots=True)
class WallPage:
    account: Account


@dataclass(frozen=True, slots=True)
class SendBack:
    """The user goes back to the application with *facts*; *account* is None if nobody signed in."""

    facts: Mapping[str, str]
    account: Account | None = None


Verdict = ConsentPage | WallPage | SendBack


def decide(server: AuthorizationServer, asking: Asking) -> Verdict:
    """
    Say what a browser that comes with *asking* gets to see.

    Raises:
        Declined: the user is sent back with an error.
        Unshowable: there is nobody who could sign in.
    """
    accounts = server.accounts_offered(asking.tenant)
    if not accounts:
        raise Unshowable("access_denied", "No account here can sign in.")
    hinted = asked.hinted(accounts, asking.login_hint) if asking.login_hint else None
    account = hinted or (accounts[0] if len(accounts) == 1 else None)
    manner = server.manner(account.id if account else None, asking.client.client_id)
    answers_itself = server.switches.auto_consent or manner.auto_consent or manner.denies
    if account is None and answers_itself:
        account = accounts[0]
        manner = server.manner(account.id, asking.client.client_id)
    if account is not None:
        if manner.authorize_error:
            raise Declined(manner.authorize_error)
        if server.is_walled(account, asking):
            return _wall(server, asking, account, at_once=bool(answers_itself))
        if answers_itself:
            if manner.denies:
                raise Declined("access_denied", DECLINED if server.flavour.is_microsoft else "")
            unticked = manner.unticked or ()
            return allowed(server, asking, account, [s for s in asking.scopes if s not in unticked])
    needs_page = account is None or not server.has_consent(account, asking)
    if "none" in asking.prompts:
        if needs_page:
            error = "login_required" if account is None else "interaction_required"
            raise Declined(error)
    elif needs_page or asking.prompts & {"consent", "select_account"}:
        shown = (account,) if account and "select_account" not in asking.prompts else tuple(accounts)
        return ConsentPage(shown, account)
    assert account is not None  # without one a page is needed
    return allowed(server, asking, account, asking.scopes)


def answered(server: AuthorizationServer, asking: Asking, form: Mapping[str, Sequence[str]]) -> Verdict:
    """
    Say what follows from the posted page: *form* has account, scope (each that is ticked) and decision.

    Raises:
        Declined: the user said no, or may not say yes.
        Unshowable: the account is none of those offered.
    """
    chosen = form.get("account", [""])[-1]
    account = next((a for a in server.accounts_offered(asking.tenant) if a.id == chosen), None)
    if account is None:
        raise Unshowable("invalid_request", "No such account.")
    if form.get("decision", [""])[-1] != "allow":
        raise Declined("access_denied", DECLINED if server.flavour.is_microsoft else "")
    if server.is_walled(account, asking):
        return _wall(server, asking, account, at_once=False)
    ticked = form.get("scope", []) if server.flavour.granular else asking.scopes
    return allowed(server, asking, account, ticked)


def allowed(
    server: AuthorizationServer, asking: Asking, account: Account, ticked: Sequence[str]
) -> SendBack:
    """Return the way back with a code for what was *ticked*; nothing ticked is a denial."""
    scopes = kept_scopes(asking, server.flavour, ticked)
    if not scopes:
        raise Declined("access_denied")
    return SendBack({"code": server.issue_code(asking, account, scopes)}, account)


def kept_scopes(asking: Asking, flavour: Flavour, ticked: Sequence[str]) -> tuple[str, ...]:
    """Return the scopes that were ticked, in the order asked for, and those that cannot be unticked."""
    chosen = {flavour.aliases.get(scope, scope) for scope in ticked}
    return tuple(scope for scope in asking.scopes if scope in chosen or scope in flavour.sign_in_scopes)


def _wall(
    server: AuthorizationServer, asking: Asking, account: Account, *, at_once: bool
) -> WallPage | SendBack:
    if at_once or server.switches.wall_redirects or "none" in asking.prompts:
        raise wall_of(server)
    return WallPage(account)


def wall_of(server: AuthorizationServer) -> Declined:
    """
    Build what an application hears of a user who stands before the consent wall.

    Source: learn.microsoft.com/entra/identity-platform/reference-error-codes (65001, 90094).
    """
    text = NO_CONSENT if server.switches.wall_asks_for_consent else ADMIN_NEEDED
    return Declined("access_denied", text)
