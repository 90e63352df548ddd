"""
Seal everything anew under the newest key, so that an older one can be taken away.

Row by row, in batches that each commit: it may be interrupted and begun again, and runs beside everything
else. Whatever is sealed meanwhile is sealed under the newest key already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sqlalchemy import Engine, LargeBinary, bindparam, cast, func, select, update

from models.db import Tx
from models.sealing import Vault, place
from models.tables.base import Base
from models.tables.connections import ConnectAttempt, Connection, OAuthClient, PushChannel
from models.tables.due import table_of
from models.tables.events import CalendarEvent
from models.tables.outbox import Endpoint, EndpointSecret
from models.tables.slots import Slot
from worker import channels

BATCH = 500
#: What is kept for a day only is left to die out: answers to repeated requests.
SEALED: tuple[tuple[type[Base], str], ...] = (
    (CalendarEvent, "meeting_url"),
    (Slot, "meeting_url"),
    (Endpoint, "url"),
    (EndpointSecret, "secret"),
    (OAuthClient, "client_secret"),
    (Connection, "refresh_token"),
    (Connection, "access_token"),
    (ConnectAttempt, "verifier"),
)


@dataclass(frozen=True, slots=True)
class Resealed:
    """How many values of one column have been sealed anew."""

    table: str
    column: str
    count: int


def reseal(
    db: Engine, vault: Vault, *, tell: Callable[[Resealed], None] = lambda _: None
) -> list[Resealed]:
    """
    Seal anew what an older key has sealed; *tell* hears of every batch.

    Safe to repeat: a second run finds nothing. Raises CannotOpen when a key it needs is not configured.
    """
    counts: dict[tuple[str, str], int] = {}
    for row, column in SEALED:
        for count in _batches(db, vault, row, column):
            name = (table_of(row).name, column)
            counts[name] = counts.get(name, 0) + count
            tell(Resealed(*name, counts[name]))
    return [Resealed(*name, count) for name, count in counts.items()]


def replace_channels(db: Engine) -> int:
    """
    Have every push channel replaced: what the provider sends over it carries the older key's mark.

    How many there are is returned. Until the new ones are open, both keys have to be configured.
    """
    table = table_of(PushChannel)
    is_open = (table.c.is_wanted, table.c.closed_at.is_(None), table.c.opened_at.is_not(None))
    with db.begin() as tx:
        ids = list(tx.execute(select(table.c.calendar_id).where(*is_open).distinct()).scalars())
        for calendar_id in ids:
            channels.replace(tx, calendar_id)
    return len(ids)


def _batches(db: Engine, vault: Vault, row: type[Base], column: str) -> Iterator[int]:
    while True:
        with db.begin() as tx:
            count = _reseal_some(tx, vault, row, column)
        if count:
            yield count
        if count < BATCH:
            return


def _reseal_some(tx: Tx, vault: Vault, row: type[Base], column: str) -> int:
    table = table_of(row)
    sealed = table.c[column]
    # The key's id stands behind the version byte; see `models.sealing`.
    is_older = func.substring(sealed, 2, len(vault.newest_key_id)) != cast(
        bindparam("newest"), LargeBinary
    )
    older = (
        select(table.c.id, sealed)
        .where(sealed.is_not(None), is_older)
        .order_by(table.c.id)
        .limit(BATCH)
        .with_for_update()
    )
    found = tx.execute(older, {"newest": vault.newest_key_id}).all()
    if found:
        anew = [
            {"row_id": row_id, "sealed": _anew(vault, value, place(table.name, column, row_id))}
            for row_id, value in found
        ]
        tx.execute(
            update(table)
            .where(table.c.id == bindparam("row_id"))
            .values({column: bindparam("sealed")}),
            anew,
        )
    return len(found)


def _anew(vault: Vault, sealed: bytes, where: str) -> bytes:
    return vault.seal(vault.open(sealed, place=where), place=where)
