"""An Authority in memory: codes, families of refresh tokens that rotate, and failures on order."""

from __future__ import annotations

import base64
import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import urlencode

from worker.errors import AuthorizationLost, ConsentLost, Reaction, TryLater
from worker.ports_direct import Account, Consent, OAuthApp, Tokens


@dataclass(slots=True)
class Family:
    """
    What one consent led to: the newest refresh token, those before it, and those that were sent.

    Where an old one works on, it is not the newest that is spent by it.
    """

    account: Account
    scopes: frozenset[str]
    current: str
    older: set[str] = field(default_factory=set)
    spent: set[str] = field(default_factory=set)
    is_revoked: bool = False
    challenge: str | None = None


@dataclass(slots=True)
class FakeAuthority:
    """
    A strict authorisation server: a refresh token that was replaced and comes again ends its family,
    unless `is_strict` is taken back: then it works on.

    `consent` gives a code for somebody; with a challenge, its verifier has to come with the code.
    *clients* are those that are known, with their secrets; any will do where none is named. `during`
    happens in the middle of a refresh. `fail` raises once before anything happens, `lose_answer` once
    after. `most_at_once` is how many refreshes of one family were under way together, `refreshes` how
    many there were.
    """

    rotates: bool = True
    is_strict: bool = True
    life: timedelta = timedelta(hours=1)
    takes_s: float = 0.0
    gives_refresh_token: bool = True
    clients: Mapping[str, str] = field(default_factory=dict)
    during: Callable[[], object] = lambda: None
    refreshes: int = 0
    refused: int = 0
    most_at_once: int = 0
    revoked: list[str] = field(default_factory=list)
    asked: list[Consent] = field(default_factory=list)
    _families: list[Family] = field(default_factory=list)
    _codes: dict[str, Family] = field(default_factory=dict)
    _account_by_access: dict[str, Account] = field(default_factory=dict)
    _failures: list[Reaction] = field(default_factory=list)
    _losses: int = 0
    _made: int = 0
    _under_way: dict[int, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def consent(self, account: Account, scopes: frozenset[str], *, challenge: str | None = None) -> str:
        """Have somebody say yes; the code is returned."""
        with self._lock:
            family = Family(account, scopes, self._token("refresh"), challenge=challenge)
            self._families.append(family)
            code = self._token("code")
            self._codes[code] = family
            return code

    def revoke_all(self) -> None:
        """Have everybody take their consent back."""
        for family in self._families:
            family.is_revoked = True

    def fail(self, *reactions: Reaction) -> None:
        """Raise these, one a call, before anything happens."""
        self._failures.extend(reactions)

    def lose_answer(self) -> None:
        """Carry out the next refresh, but let nobody know."""
        self._losses += 1

    def consent_url(self, app: OAuthApp, consent: Consent) -> str:
        self.asked.append(consent)
        query = {
            "client_id": app.client_id,
            "redirect_uri": consent.redirect_uri,
            "scope": " ".join(consent.scopes),
            "state": consent.state,
            "code_challenge": consent.challenge,
            "code_challenge_method": "S256",
            **({"login_hint": consent.login_hint} if consent.login_hint else {}),
        }
        return f"https://consent.test/?{urlencode(query)}"

    def redeem(self, app: OAuthApp, code: str, *, redirect_uri: str, verifier: str) -> Tokens:
        del redirect_uri
        self._raise_on_order()
        self._check(app)
        with self._lock:
            family = self._codes.pop(code, None)
            if family is None or family.challenge not in {None, _challenge_of(verifier)}:
                msg = "redeem_code: 400 invalid_grant"
                raise ConsentLost(msg)
            return self._tokens(family, family.current if self.gives_refresh_token else None)

    def refresh(self, app: OAuthApp, refresh_token: str) -> Tokens:
        self._raise_on_order()
        self._check(app)
        with self._lock:
            family = self._family_of(refresh_token)
            if family is None:
                msg = "refresh: 400 invalid_grant"
                raise ConsentLost(msg)
            self._enter(family)
        time.sleep(self.takes_s)
        self.during()
        with self._lock:
            self._under_way[id(family)] -= 1
            self.refreshes += 1
            if family.is_revoked or (self.is_strict and refresh_token in family.spent):
                family.is_revoked = True
                self.refused += 1
                msg = "refresh: 400 invalid_grant"
                raise ConsentLost(msg)
            new = None
            if self.rotates:
                family.spent.add(refresh_token)
                family.older.add(family.current)
                new = family.current = self._token("refresh")
            if self._losses:
                self._losses -= 1
                msg = "refresh: the answer was lost"
                raise TryLater(msg)
            return self._tokens(family, new)

    def account(self, access_token: str) -> Account:
        self._raise_on_order()
        account = self._account_by_access.get(access_token)
        if account is None:
            msg = "get_account: 401"
            raise ConsentLost(msg)
        return account

    def revoke(self, app: OAuthApp, refresh_token: str) -> None:
        del app
        self._raise_on_order()
        self.revoked.append(refresh_token)
        family = self._family_of(refresh_token)
        if family is not None:
            family.is_revoked = True

    def _check(self, app: OAuthApp) -> None:
        if self.clients and self.clients.get(app.client_id) != app.client_secret:
            msg = "401 invalid_client"
            raise AuthorizationLost(msg)

    def _enter(self, family: Family) -> None:
        self._under_way[id(family)] = self._under_way.get(id(family), 0) + 1
        self.most_at_once = max(self.most_at_once, self._under_way[id(family)])

    def _family_of(self, refresh_token: str) -> Family | None:
        for family in self._families:
            if refresh_token == family.current or refresh_token in family.older:
                return family
        return None

    def _tokens(self, family: Family, refresh_token: str | None) -> Tokens:
        access = self._token("access")
        self._account_by_access[access] = family.account
        return Tokens(access, self.life, refresh_token, family.scopes)

    def _token(self, kind: str) -> str:
        self._made += 1
        return f"{kind}-{self._made}"

    def _raise_on_order(self) -> None:
        if self._failures:
            raise self._failures.pop(0)


def _challenge_of(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
