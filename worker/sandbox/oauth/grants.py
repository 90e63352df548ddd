"""Who has an account, which applications may ask, and what was granted to whom."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Account:
    """A person at the provider. *id* is the subject of tokens, never the address."""

    id: str
    email: str
    name: str


@dataclass(frozen=True, slots=True)
class Client:
    """An application that may ask for access; redirect URIs are compared character by character."""

    client_id: str
    client_secret: str
    redirect_uris: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Grant:
    """What *account* lets the application *client_id* do."""

    account: Account
    client_id: str
    scopes: frozenset[str]
