"""Secrets planted to be looked for, and where they may be found."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from sqlalchemy import Engine, text

from models.tables.base import Base
from tests.system.rig import SANDBOX_KEY

#: Tables that hold what people write about their meetings; everything else there is sealed or absent.
#: (DECISIONS, 7: titles and people are plain, links and subscribers' URLs are sealed.)
PLAIN_TABLES = frozenset({"calendar_events", "outbox"})


@dataclass(frozen=True)
class Canaries:
    """
    Planted values by what they are. *secrets* may be found nowhere at all; *people* in the tables and
    messages that are about meetings, and in what is shown to those who may see it.
    """

    secrets: dict[str, str] = field(default_factory=dict)
    people: dict[str, str] = field(default_factory=dict)

    def found_in(self, said: bytes | str, *, people_too: bool) -> set[str]:
        """Name the canaries in *said*, as they are or as JSON, a URL or hexadecimal digits spell them."""
        text_said = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
        planted = self.secrets | (self.people if people_too else {})
        return {
            name
            for name, value in planted.items()
            if any(form in text_said for form in spellings(value))
        }


def spellings(value: str) -> set[str]:
    """List how a value may be written down."""
    return {
        value,
        json.dumps(value)[1:-1],
        quote(value, safe=""),
        value.encode().hex(),
        b64encode(value.encode()).decode().rstrip("=")[:-1],
    }


def planted() -> Canaries:
    """Make up every canary that is known before the story begins."""
    return Canaries(
        secrets={
            "admin API key": "pk_canaryadminkey0123456789",
            "webhook secret": "whsec_" + b64encode(b"canary secret of webhooks 1").decode(),
            "webhook secret, older": "whsec_" + b64encode(b"canary secret of webhooks 2").decode(),
            "encryption key": b64encode(b"canary key that seals, 32 bytes!").decode(),
            "provider API key": SANDBOX_KEY,
            "OAuth client secret": "canary-oauth-client-secret-77aa",
            "OAuth refresh token": "canary-oauth-refresh-token-91bc",
            "passcode of a meeting": "canaryPasscode4711",
            "password of the database": "canary-database-password",
            "password of the broker": "canary-broker-password",
            "token of a subscriber": "canary-subscriber-token-31",
        },
        people={
            "title": "Canary merger with Umbrella",
            "e-mail of a guest": "canary-guest@elsewhere.example",
        },
    )


def tables_with(engine: Engine, canaries: Canaries) -> dict[str, set[str]]:
    """Read every table as text, and return the canaries found in it by its name."""
    found: dict[str, set[str]] = {}
    with engine.connect() as connection:
        for table in Base.metadata.sorted_tables:
            rows = connection.execute(text(f'SELECT row::text FROM "{table.name}" AS row')).scalars()
            names = set().union(*(canaries.found_in(row, people_too=True) for row in rows))
            if names:
                found[table.name] = names
    return found


def found_by_place(
    places: Mapping[str, Iterable[str | bytes]], canaries: Canaries, *, people_too: bool
) -> dict[str, set[str]]:
    """Search every place and return those with canaries in them."""
    found: dict[str, set[str]] = {}
    for place, pieces in places.items():
        names = set().union(*(canaries.found_in(piece, people_too=people_too) for piece in pieces))
        if names:
            found[place] = names
    return found
