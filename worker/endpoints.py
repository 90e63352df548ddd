"""
Subscribers of domain events: make, show, change and remove them, and send them things again.

Every function is one use-case of the API and the command line. A missing endpoint is None (False
for `delete`), what cannot be accepted is Refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, TypedDict
from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping, func, insert, literal, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert

from models.db import Tx
from models.domain.emitted import Type, event_id, subject_of
from models.domain.times import as_utc, parse_instant, rfc3339
from models.sealing import place
from models.tables import due
from models.tables.base import new_id
from models.tables.outbox import Attempt, Endpoint, EndpointSecret, OutboxEvent, Posting, Subject
from worker.errors import Refused
from worker.jobs import POST
from worker.outbox import is_of, number_all, schema_url
from worker.posting import open_target, post_one, record_attempts
from worker.publishers.egress import check_url
from worker.publishers.signing import new_secret
from worker.runtime import Runtime
from worker.views import moment

_ENDPOINTS = due.table_of(Endpoint)
_SECRETS = due.table_of(EndpointSecret)
_OUTBOX = due.table_of(OutboxEvent)
_POSTINGS = due.table_of(Posting)
_ATTEMPTS = due.table_of(Attempt)
_SUBJECTS = due.table_of(Subject)

TEST = "punctual.test"
OLD_SECRET_SIGNS_FOR = timedelta(hours=24)
MOST_SECRETS = 3
LONGEST_DESCRIPTION = 500
DELETED_AT_ONCE = 10_000
_KNOWN_TYPES = frozenset(Type) | {f"{name.split('.')[0]}.*" for name in Type}


class Changes(TypedDict, total=False):
    """What may be changed of an endpoint; a name that is missing stays as it is."""

    url: str
    types: Sequence[str]
    description: str | None
    state: Literal["active", "disabled"]


@dataclass(frozen=True, slots=True)
class Created:
    """A new endpoint, or one with a new secret; *secret* is shown this once."""

    endpoint: dict[str, Any]
    secret: str = field(repr=False)


def create(
    rt: Runtime, url: str, *, types: Sequence[str] = (), description: str | None = None
) -> Created:
    """Make an endpoint that is posted every domain event of *types* (all if none) from now on."""
    endpoint_id = new_id()
    values = {
        "id": endpoint_id,
        "url": _sealed_url(rt, endpoint_id, url),
        "types": _checked_types(types),
        "description": _checked_description(description),
    }
    with rt.db.begin() as tx:
        row = tx.execute(insert(_ENDPOINTS).values(values).returning(_ENDPOINTS)).mappings().one()
        secret = _add_secret(tx, rt, endpoint_id)
        return Created(_view(rt, row), secret)


def get(rt: Runtime, endpoint_id: UUID) -> dict[str, Any] | None:
    """Show one endpoint."""
    with rt.db.begin() as tx:
        row = _find(tx, endpoint_id)
        return None if row is None else _view(rt, row)


def list_endpoints(
    rt: Runtime, *, limit: int = 50, cursor: str | None = None
) -> tuple[list[dict[str, Any]], str | None]:
    """Show endpoints, oldest first, and the cursor of the next page."""
    query = select(_ENDPOINTS).order_by(_ENDPOINTS.c.id).limit(limit + 1)
    if cursor is not None:
        query = query.where(_ENDPOINTS.c.id > _uuid(cursor))
    with rt.db.begin() as tx:
        rows = tx.execute(query).mappings().all()
    page = [_view(rt, row) for row in rows[:limit]]
    return page, page[-1]["id"] if len(rows) > limit else None


def patch(rt: Runtime, endpoint_id: UUID, changes: Changes) -> dict[str, Any] | None:
    """
    Change an endpoint.

    Enabling it, or giving it another URL, posts at once what waits. What was emitted while it was
    disabled is not owed to it, but can be replayed.
    """
    values: dict[str, Any] = {"updated_at": func.now()}
    if "url" in changes:
        values["url"] = _sealed_url(rt, endpoint_id, changes["url"])
    if "types" in changes:
        values["types"] = _checked_types(changes["types"])
    if "description" in changes:
        values["description"] = _checked_description(changes["description"])
    state = changes.get("state")
    if state == "disabled":
        values |= {"state": state, "state_reason": "disabled by request"}
    elif state == "active":
        values |= {"state": state, "state_reason": None, "failing_since": None}
    tries_anew = state == "active" or "url" in changes
    if tries_anew:
        values["held_until"] = None
    with rt.db.begin() as tx:
        mine = _ENDPOINTS.c.id == endpoint_id
        changed = tx.execute(update(_ENDPOINTS).where(mine).values(values).returning(_ENDPOINTS))
        row = changed.mappings().one_or_none()
        if row is None:
            return None
        if tries_anew:
            _owe_now(tx, endpoint_id)
    if tries_anew:
        rt.bell.ring(POST, str(endpoint_id))
    return _view(rt, row)


def delete(rt: Runtime, endpoint_id: UUID) -> bool:
    """Remove an endpoint and all that was owed to it; False when it is not there."""
    with rt.db.begin() as tx:
        found = tx.execute(
            update(_ENDPOINTS).where(_ENDPOINTS.c.id == endpoint_id).values(state="disabled")
        )
    # Numbering locks endpoints; piece by piece, it never waits long for a big one to go away.
    for table in (_POSTINGS, _ATTEMPTS):
        key = tuple_(*table.primary_key.columns)
        some = select(*table.primary_key.columns).where(table.c.endpoint_id == endpoint_id)
        size = DELETED_AT_ONCE
        while size == DELETED_AT_ONCE:
            with rt.db.begin() as tx:
                size = tx.execute(table.delete().where(key.in_(some.limit(DELETED_AT_ONCE)))).rowcount
    with rt.db.begin() as tx:
        tx.execute(_ENDPOINTS.delete().where(_ENDPOINTS.c.id == endpoint_id))
    return found.rowcount > 0


def rotate_secret(rt: Runtime, endpoint_id: UUID) -> Created | None:
    """Give an endpoint a new secret; older ones go on signing for 24 h, three in all at most."""
    with rt.db.begin() as tx:
        row = _find(tx, endpoint_id, lock=True)
        if row is None:
            return None
        mine = _SECRETS.c.endpoint_id == endpoint_id
        tx.execute(
            update(_SECRETS)
            .where(mine, _SECRETS.c.expires_at.is_(None))
            .values(expires_at=func.now() + OLD_SECRET_SIGNS_FOR)
        )
        kept = (
            select(_SECRETS.c.id)
            .where(mine, _SECRETS.c.expires_at > func.now())
            .order_by(_SECRETS.c.expires_at.desc(), _SECRETS.c.id.desc())
            .limit(MOST_SECRETS - 1)
        )
        tx.execute(_SECRETS.delete().where(mine, _SECRETS.c.id.not_in(kept)))
        return Created(_view(rt, row), _add_secret(tx, rt, endpoint_id))


def post_test(rt: Runtime, endpoint_id: UUID) -> dict[str, Any] | None:
    """Post a `punctual.test` CloudEvent to this endpoint alone, right now, and return the attempt."""
    subject = subject_of("endpoint", endpoint_id)
    with rt.db.begin() as tx:
        row = _find(tx, endpoint_id)
        if row is None:
            return None
        target = open_target(tx, rt.vault, row)
        sequence = tx.execute(
            upsert(_SUBJECTS)
            .values(name=subject, last_sequence=1)
            .on_conflict_do_update(
                index_elements=["name"], set_={"last_sequence": _SUBJECTS.c.last_sequence + 1}
            )
            .returning(_SUBJECTS.c.last_sequence)
        ).scalar_one()
    message_id, base_url = event_id(subject, sequence), rt.settings.base_url
    answer = post_one(
        rt,
        target,
        {
            "specversion": "1.0",
            "id": str(message_id),
            "source": base_url,
            "type": TEST,
            "subject": subject,
            "time": rfc3339(rt.now()),
            "datacontenttype": "application/json",
            "dataschema": schema_url(TEST, base_url),
            "sequence": sequence,
            "data": {"endpoint_id": str(endpoint_id), "message": "This is a test."},
        },
    )
    with rt.db.begin() as tx:
        if _find(tx, endpoint_id, lock=True) is None:
            return None
        (attempt,) = record_attempts(tx, endpoint_id, [(message_id, TEST, answer)])
        return _attempt_view(attempt)


def list_attempts(
    rt: Runtime, endpoint_id: UUID, *, limit: int = 50, cursor: str | None = None
) -> tuple[list[dict[str, Any]], str | None] | None:
    """Show what was posted to an endpoint and what it answered, newest first, and the next cursor."""
    newest_first = (_ATTEMPTS.c.at.desc(), _ATTEMPTS.c.id.desc())
    query = select(_ATTEMPTS).where(_ATTEMPTS.c.endpoint_id == endpoint_id).order_by(*newest_first)
    if cursor is not None:
        at, _, attempt_id = cursor.partition("~")
        query = query.where(tuple_(_ATTEMPTS.c.at, _ATTEMPTS.c.id) < (_instant(at), _uuid(attempt_id)))
    with rt.db.begin() as tx:
        if _find(tx, endpoint_id) is None:
            return None
        rows = tx.execute(query.limit(limit + 1)).mappings().all()
    page = [_attempt_view(row) for row in rows[:limit]]
    return page, f"{page[-1]['at']}~{page[-1]['id']}" if len(rows) > limit else None


def replay(
    rt: Runtime,
    endpoint_id: UUID,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    event_ids: Sequence[UUID] | None = None,
) -> int | None:
    """
    Owe an endpoint domain events once more, with all their tries; how many is returned.

    Either those named, of any type, or those of its types with a `time` in [*since*, *until*).
    """
    if since is None and not event_ids:
        msg = "replay needs `since` or event ids"
        raise Refused(msg)
    number_all(rt)
    with rt.db.begin() as tx:
        row = _find(tx, endpoint_id, lock=True)
        if row is None:
            return None
        chosen: list[ColumnElement[bool]] = []
        chosen.append(_OUTBOX.c.id.in_(event_ids) if event_ids else is_of(row["types"]))
        if since is not None:
            chosen.append(_OUTBOX.c.time >= as_utc(since))
        if until is not None:
            chosen.append(_OUTBOX.c.time < as_utc(until))
        owed = select(
            literal(endpoint_id, _ENDPOINTS.c.id.type),
            _OUTBOX.c.position,
            _OUTBOX.c.id,
            _OUTBOX.c.subject,
        ).where(_OUTBOX.c.position.is_not(None), *chosen)
        size = tx.execute(
            upsert(_POSTINGS)
            .from_select(["endpoint_id", "position", "event_id", "subject"], owed)
            .on_conflict_do_update(
                index_elements=["endpoint_id", "position"], set_={"state": "waiting", "tries": 0}
            )
            .execution_options(preserve_rowcount=True)
        ).rowcount
        tx.execute(update(_ENDPOINTS).where(_ENDPOINTS.c.id == endpoint_id).values(held_until=None))
        _owe_now(tx, endpoint_id)
    rt.bell.ring(POST, str(endpoint_id))
    return size


def _owe_now(tx: Tx, endpoint_id: UUID) -> None:
    tx.execute(
        update(_POSTINGS)
        .where(_POSTINGS.c.endpoint_id == endpoint_id, _POSTINGS.c.state == "waiting")
        .values(due_at=func.now())
    )
    due.ask(tx, Endpoint, [endpoint_id], now=True)


def _find(tx: Tx, endpoint_id: UUID, *, lock: bool = False) -> RowMapping | None:
    query = select(_ENDPOINTS).where(_ENDPOINTS.c.id == endpoint_id)
    return tx.execute(query.with_for_update(key_share=True) if lock else query).mappings().one_or_none()


def _add_secret(tx: Tx, rt: Runtime, endpoint_id: UUID) -> str:
    secret, secret_id = new_secret(), new_id()
    sealed = rt.vault.seal(secret, place=place("endpoint_secrets", "secret", secret_id))
    tx.execute(insert(_SECRETS).values(id=secret_id, endpoint_id=endpoint_id, secret=sealed))
    return secret


def _sealed_url(rt: Runtime, endpoint_id: UUID, url: str) -> bytes:
    checked = check_url(url, allow_private=rt.settings.allow_private_endpoints)
    return rt.vault.seal(checked, place=place("endpoints", "url", endpoint_id))


def _checked_types(types: Sequence[str]) -> list[str]:
    unknown = [name for name in types if name not in _KNOWN_TYPES]
    if unknown:
        msg = f"no domain event is of type {unknown[0][:50]!r}"
        raise Refused(msg)
    return list(dict.fromkeys(types))


def _checked_description(description: str | None) -> str | None:
    if description is not None and (len(description) > LONGEST_DESCRIPTION or "\0" in description):
        msg = f"a description has at most {LONGEST_DESCRIPTION} characters, none of them NUL"
        raise Refused(msg)
    return description


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as malformed:
        msg = "not a cursor of ours"
        raise Refused(msg) from malformed


def _instant(text: str) -> datetime:
    try:
        return parse_instant(text)
    except ValueError as malformed:
        msg = "not a cursor of ours"
        raise Refused(msg) from malformed


def _view(rt: Runtime, row: RowMapping) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "url": rt.vault.open(row["url"], place=place("endpoints", "url", row["id"])),
        "types": row["types"],
        "description": row["description"],
        "state": row["state"],
        "state_reason": row["state_reason"],
        "failing_since": moment(row["failing_since"]),
        "created_at": moment(row["created_at"]),
        "updated_at": moment(row["updated_at"]),
    }


def _attempt_view(row: RowMapping) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "event_id": str(row["event_id"]),
        "type": row["type"],
        "at": moment(row["at"]),
        "status": row["status"],
        "error": row["error"],
        "duration_ms": row["duration_ms"],
        "succeeded": row["succeeded"],
    }
