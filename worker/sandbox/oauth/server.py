"""
One provider's authorisation server: accounts, applications, consents and tokens under a clock. Knows no HTTP.

Sources: RFC 6749 and 7636; where the providers differ, see `flavours`.
"""

from __future__ import annotations

import base64
import hashlib
import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from worker.sandbox.oauth.asking import Asking
from worker.sandbox.oauth.faults import Faults
from worker.sandbox.oauth.flavours import GOOGLE, OFFLINE_SCOPE, Flavour, is_offered, tenant_of
from worker.sandbox.oauth.grants import Account, Client, Grant
from worker.sandbox.oauth.identity import EMAIL_SCOPES, id_token
from worker.sandbox.oauth.ledger import CODE_LENGTH, Code, Family, Ledger, RefreshToken
from worker.sandbox.oauth.manners import Manner, manner_towards
from worker.sandbox.oauth.refusals import Refused
from worker.sandbox.oauth.switches import Switches
from worker.sandbox.recall.clock import Clock
from worker.sandbox.recall.history import History

CODE_LIFE = timedelta(minutes=10)


@dataclass(slots=True)
class AuthorizationServer:
    """The state of one provider. `grant_of` is all that an API beside it needs."""

    flavour: Flavour = GOOGLE
    clock: Clock = field(default_factory=Clock)
    history: History = field(default_factory=History)
    chance: random.Random = field(default_factory=random.Random)
    switches: Switches = field(default_factory=Switches)
    accounts: dict[str, Account] = field(default_factory=dict)
    clients: dict[str, Client] = field(default_factory=dict)
    deleted_clients: set[str] = field(default_factory=set)
    manners: list[Manner] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)
    consents: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    approved: set[tuple[str, str]] = field(
        default_factory=set
    )  # (client id, tenant) an admin said yes to
    ledger: Ledger = field(init=False)
    _ids_by_email: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.flavour, self.chance)

    def grant_of(self, access_token: str) -> Grant | None:
        """Return what an access token allows; None if it is unknown, expired or revoked."""
        token = self.ledger.access_tokens.get(access_token)
        if token is None or self.clock.now() >= token.expires_at:
            return None
        account = self.accounts.get(token.family.account_id)
        if account is None:
            return None
        return Grant(account, token.family.client_id, frozenset(token.scopes))

    def add_account(self, email: str, *, name: str = "", account_id: str = "") -> Account:
        """
        Let a person have an account; one that is known by address or id is replaced.

        Raises:
            ValueError: what is given as address is none.
        """
        if "@" not in email:
            raise ValueError(f"{email!r} is no e-mail address")
        known = self.account(account_id or email)
        chosen = account_id or (known.id if known else self._account_id(email))
        if known is not None:
            del self.accounts[known.id], self._ids_by_email[known.email.lower()]
        account = Account(chosen, email, name or email.partition("@")[0].replace(".", " ").title())
        self.accounts[chosen] = account
        self._ids_by_email[email.lower()] = chosen
        return account

    def account(self, id_or_email: str) -> Account | None:
        account_id = self._ids_by_email.get(id_or_email.lower(), id_or_email)
        return self.accounts.get(account_id)

    def forget_all(self, history: History) -> None:
        """Start anew, with a new *history*; switches stay."""
        self.history = history
        for kept in (self.accounts, self.clients, self.consents, self._ids_by_email):
            kept.clear()
        self.deleted_clients.clear()
        self.approved.clear()
        self.manners.clear()
        self.faults.orders.clear()
        self.ledger = Ledger(self.flavour, self.chance)

    def accounts_offered(self, tenant: str = "") -> list[Account]:
        return [account for account in self.accounts.values() if is_offered(account, tenant)]

    def add_client(self, client: Client) -> None:
        """Register an application, or change the registered one: a new secret makes the old one wrong."""
        self.clients[client.client_id] = client
        self.deleted_clients.discard(client.client_id)

    def delete_client(self, client_id: str) -> None:
        if self.clients.pop(client_id, None) is not None:
            self.deleted_clients.add(client_id)

    def manner(self, account_id: str | None, client_id: str | None) -> Manner:
        return manner_towards(self.manners, account_id, client_id)

    def is_walled(self, account: Account, asking: Asking) -> bool:
        """Tell whether only an administrator may give what is asked."""
        walled = self.manner(account.id, asking.client.client_id).walled
        is_more_than_sign_in = bool(set(asking.scopes) - self.flavour.sign_in_scopes)
        is_approved = (asking.client.client_id, tenant_of(account)) in self.approved
        return bool(walled) and is_more_than_sign_in and not is_approved

    def has_consent(self, account: Account, asking: Asking) -> bool:
        earlier = self.consents.get((account.id, asking.client.client_id), frozenset())
        is_approved = (asking.client.client_id, tenant_of(account)) in self.approved
        return is_approved or (bool(earlier) and set(asking.scopes) <= earlier)

    def issue_code(self, asking: Asking, account: Account, scopes: tuple[str, ...]) -> str:
        """Remember the consent of *account* to *scopes* and return the code to send back."""
        pair = (account.id, asking.client.client_id)
        earlier = self.consents.get(pair, frozenset())
        is_new = not earlier or not set(scopes) <= earlier
        if (
            self.switches.email_adds_openid
            and not self.flavour.is_microsoft
            and set(scopes) & EMAIL_SCOPES
        ):
            scopes = tuple(dict.fromkeys((*scopes, "openid")))
        if asking.adds_to_earlier:
            scopes = tuple(dict.fromkeys((*scopes, *sorted(earlier))))
        self.consents[pair] = earlier | set(scopes)
        gives = asking.is_offline and (
            self.flavour.asks_by_scope
            or is_new
            or "consent" in asking.prompts
            or self.switches.repeated_consent_gives_refresh_token
        )
        text = self.ledger.secret(self.flavour.code_prefix, CODE_LENGTH)
        self.ledger.codes[text] = Code(
            text,
            account.id,
            asking.client.client_id,
            scopes,
            asking.redirect_uri,
            self.clock.now() + CODE_LIFE,
            gives,
            asking.challenge,
            asking.challenge_method,
            asking.nonce,
        )
        return text

    def authenticated(self, client_id: str, secret: str) -> Client:
        """Raises Refused: no such application, or another secret."""
        if client_id in self.deleted_clients:
            raise Refused("deleted_client", client_id)
        client = self.clients.get(client_id)
        if client is None:
            raise Refused("unknown_client", client_id)
        if secret != client.client_secret:
            raise Refused("wrong_secret")
        return client

    def redeem(self, client: Client, text: str, redirect_uri: str, verifier: str) -> dict[str, Any]:
        """
        Exchange a code for tokens, once.

        Raises:
            Refused: unknown, used, expired, another application's, or not fitting redirect URI or verifier.
        """
        code = self.ledger.codes.get(text)
        if code is None or code.client_id != client.client_id:
            raise Refused("unknown_code")
        if code.family is not None:
            if self.switches.code_reuse_revokes:
                self.ledger.kill(code.family, "revoked", access_too=True)
            raise Refused("used_code")
        if self.clock.now() >= code.expires_at:
            raise Refused("expired_code")
        if code.redirect_uri != redirect_uri:
            raise Refused("redirect_differs")
        _check_verifier(code, verifier)
        code.family = self.ledger.open(code.account_id, code.client_id, code.scopes, code.nonce)
        refresh = (
            self.ledger.add_refresh(code.family, self.clock.now()) if code.gives_refresh_token else None
        )
        return self._answer(client, code.family, code.scopes, refresh)

    def refresh(self, client: Client, text: str, scopes: tuple[str, ...] = ()) -> dict[str, Any]:
        """
        Exchange a refresh token for an access token, and for a new refresh token where the flavour rotates.

        Raises:
            Refused: unknown, dead, or asked for more than was granted.
        """
        token = self.ledger.refresh_tokens.get(text)
        if token is None or token.family.client_id != client.client_id:
            raise Refused("unknown_token")
        now, family = self.clock.now(), token.family
        if token.was_rotated and self.switches.rotated_tokens_die:
            self.ledger.kill(family, "reused", access_too=True)
        if family.trouble:
            raise Refused(family.trouble)
        if now >= self._dies_at(token):
            raise Refused("expired")
        asked = tuple(self.flavour.aliases.get(scope, scope) for scope in scopes) or family.scopes
        if not set(asked) <= set(family.scopes):
            raise Refused("scope_not_granted")
        if self.flavour.use_renews:
            token.used_at = now
        following = None
        if self.flavour.rotates:
            token.was_rotated = True
            following = self.ledger.add_refresh(family, now)
        return self._answer(client, family, asked, following, is_refresh=True)

    def revoke(self, text: str) -> bool:
        """
        Take back what the application of an access or refresh token was granted by that user.

        Returns False for a token that is unknown or dead already.
        Source: developers.google.com/identity/protocols/oauth2/web-server (revoking a token).
        """
        refresh = self.ledger.refresh_tokens.get(text)
        if refresh is not None and not refresh.family.trouble:
            self.forget(refresh.family.account_id, refresh.family.client_id, access_too=True)
            return True
        grant = self.grant_of(text)
        if grant is None:
            return False
        self.forget(grant.account.id, grant.client_id, access_too=True)
        return True

    def forget(
        self,
        account_id: str | None = None,
        client_id: str | None = None,
        *,
        trouble: str = "revoked",
        access_too: bool | None = None,
    ) -> int:
        """Kill grants and the memory of consents, as a user or administrator would; return how many."""
        if access_too is None:
            access_too = not self.flavour.access_tokens_outlive_consent
        families = [each for each in self.ledger.of(account_id, client_id) if not each.trouble]
        for family in families:
            self.ledger.kill(family, trouble, access_too=access_too)
        for account, client in list(self.consents):
            if account_id in (None, account) and client_id in (None, client):
                del self.consents[account, client]
        return len(families)

    def mint(
        self, account: Account, client: Client, scopes: tuple[str, ...], *, with_refresh: bool = True
    ) -> dict[str, Any]:
        """Return a token answer as a consent would have led to, without one."""
        pair = (account.id, client.client_id)
        self.consents[pair] = self.consents.get(pair, frozenset()) | set(scopes)
        family = self.ledger.open(account.id, client.client_id, scopes)
        refresh = self.ledger.add_refresh(family, self.clock.now()) if with_refresh else None
        return self._answer(client, family, scopes, refresh)

    def _dies_at(self, token: RefreshToken) -> datetime:
        dies_at = token.used_at + self.flavour.refresh_token_idle
        if self.switches.refresh_token_life_s > 0:
            life = timedelta(seconds=self.switches.refresh_token_life_s)
            dies_at = min(dies_at, token.issued_at + life)
        return dies_at

    def _answer(
        self,
        client: Client,
        family: Family,
        scopes: tuple[str, ...],
        refresh: RefreshToken | None,
        *,
        is_refresh: bool = False,
    ) -> dict[str, Any]:
        now = self.clock.now()
        life_s = self.manner(family.account_id, family.client_id).access_token_s
        life_s = self.flavour.access_token_s if life_s is None else life_s
        access = self.ledger.add_access(family, scopes, now + timedelta(seconds=life_s))
        said = [scope for scope in scopes if scope != OFFLINE_SCOPE]
        answer: dict[str, Any] = {
            "access_token": access.text,
            "expires_in": int(life_s),
            "scope": " ".join(said),
            "token_type": "Bearer",
        }
        if refresh is not None:
            answer["refresh_token"] = refresh.text
            if self.switches.refresh_token_life_told and self.switches.refresh_token_life_s > 0:
                answer["refresh_token_expires_in"] = int(self.switches.refresh_token_life_s)
        if "openid" in scopes and (not is_refresh or self.switches.refresh_gives_id_token):
            account = self.accounts[family.account_id]
            nonce = "" if is_refresh else family.nonce
            answer["id_token"] = id_token(self.flavour, account, client, scopes, nonce=nonce, now=now)
        return answer

    def _account_id(self, email: str) -> str:
        """Return the same id for the same address, in the provider's form."""
        digest = hashlib.sha256(f"{self.flavour.name}:{email.lower()}".encode()).hexdigest()
        if self.flavour.is_microsoft:
            return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"
        return "1" + str(int(digest, 16))[:20]


def _check_verifier(code: Code, verifier: str) -> None:
    """Raises Refused: the verifier is missing or another. Source: RFC 7636 section 4.6."""
    if not code.challenge:
        return
    if not verifier:
        raise Refused("verifier_missing")
    derived = verifier
    if code.challenge_method == "S256":
        digest = hashlib.sha256(verifier.encode()).digest()
        derived = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    if derived != code.challenge:
        raise Refused("verifier_wrong")
