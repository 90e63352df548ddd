"""How people and administrators behave towards applications: set by a test, looked up at each consent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Manner:
    """
    One rule. None as *account* or *client_id* stands for any; later rules win field by field.

    *auto_consent* answers without a page; *unticked* scopes are then left out; *denies* says no.
    *walled*: only an administrator may consent (Microsoft). *authorize_error*: the user is sent back with it.
    *access_token_s* is the life of access tokens.
    """

    account: str | None = None
    client_id: str | None = None
    auto_consent: bool | None = None
    unticked: tuple[str, ...] | None = None
    denies: bool | None = None
    walled: bool | None = None
    authorize_error: str | None = None
    access_token_s: float | None = None

    @classmethod
    def read(cls, wish: Mapping[str, Any]) -> Manner:
        """Raises ValueError: an unknown field."""
        known = {field.name for field in fields(cls)}
        if unknown := wish.keys() - known:
            raise ValueError(
                f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}"
            )
        taken = dict(wish)
        if isinstance(taken.get("unticked"), list):
            taken["unticked"] = tuple(taken["unticked"])
        return cls(**taken)

    def fits(self, account_id: str | None, client_id: str | None) -> bool:
        return self.account in (None, account_id) and self.client_id in (None, client_id)


def manner_towards(rules: Iterable[Manner], account_id: str | None, client_id: str | None) -> Manner:
    """Return what *rules* say together about one account and one application."""
    said: dict[str, Any] = {}
    for rule in rules:
        if rule.fits(account_id, client_id):
            facts = {field.name: getattr(rule, field.name) for field in fields(rule)}
            said |= {name: value for name, value in facts.items() if value is not None}
    return Manner(**{**said, "account": account_id, "client_id": client_id})
