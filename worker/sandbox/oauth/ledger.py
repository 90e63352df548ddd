"""What was handed out: codes, refresh tokens and access tokens, each in the family of one consent."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from worker.sandbox.oauth.flavours import Flavour

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
CODE_LENGTH, ACCESS_LENGTH, REFRESH_LENGTH = 60, 160, 96  # below Google's 256, 2048 and 512 bytes


@dataclass(slots=True)
class Family:
    """All that came of one consent. *trouble* says why its refresh tokens are dead; "" while they live."""

    number: int
    account_id: str
    client_id: str
    scopes: tuple[str, ...]  # in the order asked for
    nonce: str = ""
    trouble: str = ""
    refresh_texts: list[str] = field(default_factory=list)
    access_texts: list[str] = field(default_factory=list)


@dataclass(slots=True)
class RefreshToken:
    text: str
    family: Family
    issued_at: datetime
    used_at: datetime
    was_rotated: bool = False


@dataclass(slots=True)
class AccessToken:
    text: str
    family: Family
    scopes: tuple[str, ...]
    expires_at: datetime


@dataclass(slots=True)
class Code:
    """An authorisation code and what has to fit when it is redeemed."""

    text: str
    account_id: str
    client_id: str
    scopes: tuple[str, ...]
    redirect_uri: str
    expires_at: datetime
    gives_refresh_token: bool
    challenge: str = ""
    challenge_method: str = ""
    nonce: str = ""
    family: Family | None = None  # set once redeemed


@dataclass(slots=True)
class Ledger:
    flavour: Flavour
    chance: random.Random
    families: list[Family] = field(default_factory=list)
    codes: dict[str, Code] = field(default_factory=dict)
    refresh_tokens: dict[str, RefreshToken] = field(default_factory=dict)
    access_tokens: dict[str, AccessToken] = field(default_factory=dict)
    _by_pair: dict[tuple[str, str], list[Family]] = field(default_factory=dict)

    def open(self, account_id: str, client_id: str, scopes: tuple[str, ...], nonce: str = "") -> Family:
        """Start the family of a consent."""
        family = Family(len(self.families) + 1, account_id, client_id, scopes, nonce)
        self.families.append(family)
        self._by_pair.setdefault((account_id, client_id), []).append(family)
        return family

    def add_refresh(self, family: Family, now: datetime) -> RefreshToken:
        """Hand out a refresh token; beyond the flavour's cap the oldest family dies, and nobody is told."""
        text = self.secret(self.flavour.refresh_prefix, REFRESH_LENGTH)
        token = self.refresh_tokens[text] = RefreshToken(text, family, now, now)
        family.refresh_texts.append(text)
        cap = self.flavour.live_refresh_tokens
        if cap is not None:
            live = list(self._live_siblings(family))
            for oldest in live[: max(0, len(live) - cap)]:
                oldest.trouble = "capped"
        return token

    def add_access(self, family: Family, scopes: tuple[str, ...], expires_at: datetime) -> AccessToken:
        text = self.secret(self.flavour.access_prefix, ACCESS_LENGTH)
        token = self.access_tokens[text] = AccessToken(text, family, scopes, expires_at)
        family.access_texts.append(text)
        return token

    def kill(self, family: Family, trouble: str, *, access_too: bool) -> None:
        """Let no refresh token of *family* work any more, and no access token either if *access_too*."""
        family.trouble = family.trouble or trouble
        if access_too:
            self.drop_access(family)

    def drop_access(self, family: Family) -> None:
        """Forget the access tokens of *family*; refreshing still works."""
        for text in family.access_texts:
            self.access_tokens.pop(text, None)
        family.access_texts.clear()

    def of(self, account_id: str | None, client_id: str | None) -> list[Family]:
        """List families, oldest first; None stands for any account or client."""
        if account_id is not None and client_id is not None:
            return list(self._by_pair.get((account_id, client_id), ()))
        return [
            family
            for family in self.families
            if account_id in (None, family.account_id) and client_id in (None, family.client_id)
        ]

    def secret(self, prefix: str, length: int) -> str:
        return prefix + "".join(self.chance.choices(ALPHABET, k=length - len(prefix)))

    def _live_siblings(self, family: Family) -> Iterator[Family]:
        """Yield living families of the same account and client that have a refresh token, oldest first."""
        for each in self.of(family.account_id, family.client_id):
            if not each.trouble and each.refresh_texts:
                yield each
