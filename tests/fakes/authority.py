"""An Authority in memory: codes, families of refresh tokens that rotate, and failures on order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from worker.errors import ConsentLost, Reaction, TryLater
from worker.ports_direct import Account, Consent, OAuthApp, Tokens


@dataclass(slots=True)
class _Family:
    """What one consent led to: the refresh token that is good now, and those it replaced."""

    account: Account
    scopes: frozenset[str]
    current: str
    spent: set[str] = field(default_factory=set)
    is_revoked: bool = False


@dataclass(slots=True)
class FakeAuthority:
    """
    A strict authorisation server: a refresh token that was replaced and comes again ends its family,
    unless `is_strict` is taken back: then it works on.

    `consent` gives a code for somebody. `during` happens in the middle of a refresh. `fail` raises
    once before anything happens, `lose_answer` once after. `most_at_once` is how many refreshes of one
    family were under way together, `refreshes` how many there were.
    """

    rotates: bool = True
    is_strict: bool = True
    life: timedelta = timedelta(hours=1)
    takes_s: float = 0.0
    gives_refresh_token: bool = True
    during: Callable[[], object] = lambda: None
    refreshes: int = 0
    refused: int = 0
    most_at_once: int = 0
    revoked: list[str] = field(default_factory=list)
    asked: list[Consent] = field(default_factory=list)
    _families: list[_Family] = field(default_factory=list)
    _codes: dict[str, _Family] = field(default_factory=dict)
    _account_by_access: dict[str, Account] = field(default_factory=dict)
    _failures: list[Reaction] = field(default_factory=list)
    _losses: int = 0
    _made: int = 0
    _under_way: dict[int, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def consent(self, account: Account, scopes: frozenset[str]) -> str:
        """Have somebody say yes; the code is returned."""
        with self._lock:
            family = _Family(account, scopes, self._token("refresh"))
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
        return f"https://consent.test/?client_id={app.client_id}&state={consent.state}"

    def redeem(self, app: OAuthApp, code: str, *, redirect_uri: str, verifier: str) -> Tokens:
        del app, redirect_uri, verifier
        self._raise_on_order()
        with self._lock:
            family = self._codes.pop(code, None)
            if family is None:
                msg = "redeem_code: 400 invalid_grant"
                raise ConsentLost(msg)
            return self._tokens(family, family.current if self.gives_refresh_token else None)

    def refresh(self, app: OAuthApp, refresh_token: str) -> Tokens:
        del app
        self._raise_on_order()
        with self._lock:
            family = self._family_of(refresh_token)
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
                family.spent.add(family.current)
                new = family.current = self._token("refresh")
            if self._losses:
                self._losses -= 1
                msg = "refresh: the answer was lost"
                raise TryLater(msg)
            return self._tokens(family, new)

    def account(self, access_token: str) -> Account:
        return self._account_by_access[access_token]

    def revoke(self, app: OAuthApp, refresh_token: str) -> None:
        del app
        self.revoked.append(refresh_token)
        self._family_of(refresh_token).is_revoked = True

    def _enter(self, family: _Family) -> None:
        self._under_way[id(family)] = self._under_way.get(id(family), 0) + 1
        self.most_at_once = max(self.most_at_once, self._under_way[id(family)])

    def _family_of(self, refresh_token: str) -> _Family:
        for family in self._families:
            if refresh_token == family.current or refresh_token in family.spent:
                return family
        msg = "refresh: 400 invalid_grant"
        raise ConsentLost(msg)

    def _tokens(self, family: _Family, refresh_token: str | None) -> Tokens:
        access = self._token("access")
        self._account_by_access[access] = family.account
        return Tokens(access, self.life, refresh_token, family.scopes)

    def _token(self, kind: str) -> str:
        self._made += 1
        return f"{kind}-{self._made}"

    def _raise_on_order(self) -> None:
        if self._failures:
            raise self._failures.pop(0)
