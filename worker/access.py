"""
Who may use the management API, and which of its requests were carried out already.

A key is 256 random bits, shown once; only its SHA-256 is kept. Knows nothing of HTTP.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, and_, delete, func, insert, literal, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert

from models.db import Tx
from models.sealing import Vault, place
from models.tables.access import ApiKey, IdempotentRequest
from models.tables.base import new_id
from models.tables.due import table_of
from worker.views import moment

KEYS = table_of(ApiKey)
REQUESTS = table_of(IdempotentRequest)

#: Name of the key that comes from the settings; nobody else can take it.
ADMIN_KEY_NAME = "PUNCTUAL_ADMIN_API_KEY"
KEY_PREFIX = "pk_"
_ALPHABET = string.ascii_letters + string.digits
_RANDOM_CHARACTERS = 43  # 62^43 > 2^256
_SHOWN_CHARACTERS = 10
_SHOWN_OF_CHOSEN = 4  # a chosen key may be as short as 20 characters

#: `last_used_at` is written at most this often per key.
USE_NOTED_EVERY = timedelta(minutes=1)
#: How long the answer to an Idempotency-Key is remembered.
REMEMBERED = timedelta(hours=24)
#: A request still unanswered after this long has died; longer than any request of ours can take.
ANSWERED_WITHIN = timedelta(minutes=2)


class Scope(StrEnum):
    """What a key may do; each includes the ones before it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


_INCLUDED = {
    Scope.READ: {Scope.READ},
    Scope.WRITE: {Scope.READ, Scope.WRITE},
    Scope.ADMIN: {Scope.READ, Scope.WRITE, Scope.ADMIN},
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who has shown a valid key."""

    key_id: UUID
    scopes: frozenset[Scope]

    def may(self, scope: Scope) -> bool:
        """Say whether the key's scopes include *scope*."""
        return any(scope in _INCLUDED[own] for own in self.scopes)


class Rejection(StrEnum):
    """Why a key is not accepted; for our logs, never for the one who showed it."""

    UNKNOWN = "unknown"
    EXPIRED = "expired"
    REVOKED = "revoked"


def key_digest(key: str) -> bytes:
    """Return what is kept of a key."""
    return hashlib.sha256(key.encode()).digest()


def find_caller(tx: Tx, key: str, *, now: datetime) -> Caller | Rejection:
    """Say whose key this is; its use is noted at most once a minute."""
    digest = key_digest(key)
    row = tx.execute(select(KEYS).where(KEYS.c.digest == digest)).mappings().one_or_none()
    if row is None or not hmac.compare_digest(row["digest"], digest):
        return Rejection.UNKNOWN
    if row["revoked_at"] is not None:
        return Rejection.REVOKED
    if row["expires_at"] is not None and row["expires_at"] <= now:
        return Rejection.EXPIRED
    if row["last_used_at"] is None or row["last_used_at"] <= now - USE_NOTED_EVERY:
        tx.execute(update(KEYS).where(KEYS.c.id == row["id"]).values(last_used_at=now))
    known = {str(scope) for scope in Scope}
    return Caller(row["id"], frozenset(Scope(scope) for scope in row["scopes"] if scope in known))


def ensure_admin_key(tx: Tx, key: str) -> UUID:
    """
    Make the key of the settings valid, and one that stood there before it invalid.

    Safe to repeat and to run from several processes at once.
    """
    digest = key_digest(key)
    kept = {
        "revoked_at": None,
        "expires_at": None,
        "scopes": [str(Scope.ADMIN)],
        "name": ADMIN_KEY_NAME,
    }
    statement = upsert(KEYS).values(id=new_id(), prefix=key[:_SHOWN_OF_CHOSEN], digest=digest, **kept)
    key_id: UUID = tx.execute(
        statement.on_conflict_do_update(index_elements=[KEYS.c.digest], set_=kept).returning(KEYS.c.id)
    ).scalar_one()
    tx.execute(
        update(KEYS)
        .where(KEYS.c.name == ADMIN_KEY_NAME, KEYS.c.id != key_id, KEYS.c.revoked_at.is_(None))
        .values(revoked_at=func.now())
    )
    return key_id


def make_key(
    tx: Tx, name: str, scopes: frozenset[Scope], *, expires_at: datetime | None
) -> dict[str, Any]:
    """Make a key; its view holds the `key` itself, which nobody can ask for again."""
    key = KEY_PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_CHARACTERS))
    row = (
        tx.execute(
            insert(KEYS)
            .values(
                id=new_id(),
                name=name,
                prefix=key[:_SHOWN_CHARACTERS],
                digest=key_digest(key),
                scopes=sorted(str(scope) for scope in scopes),
                expires_at=expires_at,
            )
            .returning(KEYS)
        )
        .mappings()
        .one()
    )
    return {**key_view(row), "key": key}


def list_keys(
    tx: Tx, *, after: tuple[datetime, UUID] | None, limit: int
) -> list[tuple[tuple[datetime, UUID], dict[str, Any]]]:
    """List keys that were not revoked, oldest first, each with its place in the list."""
    query = select(KEYS).where(KEYS.c.revoked_at.is_(None))
    if after is not None:
        query = query.where(tuple_(KEYS.c.created_at, KEYS.c.id) > tuple_(*map(literal, after)))
    rows = tx.execute(query.order_by(KEYS.c.created_at, KEYS.c.id).limit(limit)).mappings()
    return [((row["created_at"], row["id"]), key_view(row)) for row in rows]


def revoke_key(tx: Tx, key_id: UUID) -> bool:
    """Make a key invalid from now on; False when there is no such valid key."""
    revoked = tx.execute(
        update(KEYS)
        .where(KEYS.c.id == key_id, KEYS.c.revoked_at.is_(None))
        .values(revoked_at=func.now())
    )
    return bool(revoked.rowcount)


def key_view(row: RowMapping) -> dict[str, Any]:
    """Show a key, never the key itself."""
    return {
        "id": str(row["id"]),
        "name": row["name"],
        "prefix": row["prefix"],
        "scopes": row["scopes"],
        "expires_at": moment(row["expires_at"]),
        "last_used_at": moment(row["last_used_at"]),
        "created_at": moment(row["created_at"]),
    }


@dataclass(frozen=True, slots=True)
class Repeated:
    """The answer a request got the first time."""

    status: int
    body: str = ""


class Opened(StrEnum):
    """What to do with a request that carries an Idempotency-Key and has no stored answer."""

    FIRST = "first"
    IN_FLIGHT = "in_flight"
    DIFFERENT = "different"


def open_request(tx: Tx, caller: Caller, key: str, *, digest: bytes, vault: Vault) -> Repeated | Opened:
    """
    Note that a request with an Idempotency-Key begins.

    *digest* stands for what is asked. FIRST means: carry it out, then `close_request`. A request
    that never got an answer may be carried out again after two minutes.
    """
    tx.execute(delete(REQUESTS).where(_is(caller, key), _is_over()))
    begun = tx.execute(
        upsert(REQUESTS)
        .values(api_key_id=caller.key_id, key=key, digest=digest)
        .on_conflict_do_nothing()
        .returning(REQUESTS.c.key)
    ).one_or_none()
    if begun is not None:
        return Opened.FIRST
    row = tx.execute(select(REQUESTS).where(_is(caller, key))).mappings().one_or_none()
    if row is None:
        return Opened.IN_FLIGHT
    if not hmac.compare_digest(row["digest"], digest):
        return Opened.DIFFERENT
    if row["status"] is None:
        return Opened.IN_FLIGHT
    return Repeated(row["status"], vault.open(row["answer"], place=_place(caller, key)))


def close_request(tx: Tx, caller: Caller, key: str, *, status: int, body: str, vault: Vault) -> None:
    """Store the answer, sealed: it may hold a secret that is shown only once."""
    sealed = vault.seal(body, place=_place(caller, key))
    tx.execute(update(REQUESTS).where(_is(caller, key)).values(status=status, answer=sealed))


def drop_request(tx: Tx, caller: Caller, key: str) -> None:
    """Forget a request that was not carried out, so that it can be tried again at once."""
    tx.execute(delete(REQUESTS).where(_is(caller, key), REQUESTS.c.status.is_(None)))


def forget_requests(tx: Tx) -> int:
    """Forget requests whose answers nobody may ask for any more; how many is returned."""
    return tx.execute(delete(REQUESTS).where(_is_over())).rowcount


def _is(caller: Caller, key: str) -> Any:  # noqa: ANN401  # SQLAlchemy's own type is private
    return and_(REQUESTS.c.api_key_id == caller.key_id, REQUESTS.c.key == key)


def _is_over() -> Any:  # noqa: ANN401  # SQLAlchemy's own type is private
    age = func.now() - REQUESTS.c.created_at
    return or_(age > REMEMBERED, and_(REQUESTS.c.status.is_(None), age > ANSWERED_WITHIN))


def _place(caller: Caller, key: str) -> str:
    return place("idempotent_requests", "answer", f"{caller.key_id}:{key}")
