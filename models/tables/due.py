"""
Due rows: ask, claim, finish, put off, park.

`ask` may be called at any time by anybody. `claim` takes a due row whose lease is free and counts
the run *before* it starts, so that a run that kills its process is counted too. `finish` marks as
done exactly the asks seen at the claim; an ask that came meanwhile keeps the row due. Whoever lost
the lease changes nothing, and makes sure somebody looks again. Only the database's clock counts.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CompoundSelect,
    Interval,
    Table,
    Update,
    UpdateBase,
    and_,
    bindparam,
    case,
    func,
    literal,
    literal_column,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.sql import ColumnElement

from models.db import Tx
from models.tables.base import Base, Due

#: Longer than the longest stretch between two writes of a run, each of which renews it: waiting for a
#: provider's budget (10 s) and one call with all its tries (15 s). A killed worker's row is free after it.
LEASE = timedelta(seconds=27)
MOST_CRASHES = 5
MOST_TRIES = 20
ERROR_LENGTH = 500


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on one row until its lease ends; *wanted* is the ask it will have served."""

    id: UUID | str
    fence: int
    wanted: int
    tries: int


def table_of(row: type[Base | Due]) -> Table:
    """Return the table a row class is mapped to."""
    table = getattr(row, "__table__", None)
    assert isinstance(table, Table)
    return table


def key_of(table: Table) -> ColumnElement[Any]:
    """Return the single primary key column of a due table."""
    (column,) = table.primary_key.columns
    return column


def ask(tx: Tx, row: type[Due], ids: Iterable[UUID | str], *, now: bool = False) -> int:
    """
    Ask for each row once more; how many exist is returned.

    A row that is putting something off keeps waiting unless *now*, which also revives a parked one.
    Rows are locked in order of their key, so that two askers cannot deadlock.
    """
    wanted_ids = list(ids)
    if not wanted_ids:
        return 0
    return tx.execute(_asking(table_of(row), now=now), {"row_ids": wanted_ids}).rowcount


def is_due(table: Table) -> ColumnElement[bool]:
    """Say, as SQL, whether a row waits for a worker right now."""
    return and_(
        table.c.is_pending,
        table.c.parked_at.is_(None),
        table.c.due_at <= func.clock_timestamp(),
        or_(table.c.lease_until.is_(None), table.c.lease_until < func.clock_timestamp()),
    )


def claim(
    tx: Tx,
    row: type[Due],
    row_id: UUID | str | None = None,
    *,
    lease: timedelta = LEASE,
    only: ColumnElement[bool] | None = None,
    first: Sequence[ColumnElement[Any]] = (),
) -> Claim | None:
    """
    Take a due row, the one named or the first in order; None when there is none to take.

    A row whose last five runs never reported back is parked instead of run a sixth time. *only* and
    *first* are remembered with the statement: let them be constants.
    """
    statement = _claiming(table_of(row), is_named=row_id is not None, only=only, first=tuple(first))
    named = {} if row_id is None else {"row_id": row_id}
    taken = tx.execute(statement, {**named, "lease": lease}).one_or_none()
    return None if taken is None else Claim(taken[0], taken[1], taken[2], taken[3])


def holds(
    tx: Tx,
    row: type[Due],
    claimed: Claim,
    *,
    lease: timedelta = LEASE,
    has_progressed: bool = False,
) -> bool:
    """
    Say whether the claim still stands, and renew its lease; every write of a run asks this first.

    The row stays locked until the transaction ends. A run that *has progressed*, and would again, is
    not one of those that died for nothing, whatever kills it later.
    """
    renewing = _renewing(table_of(row), has_progressed=has_progressed)
    return bool(tx.execute(renewing, {**_of(claimed), "lease": lease}).rowcount)


def finish(tx: Tx, row: type[Due], claimed: Claim) -> bool:
    """Mark the asks seen at the claim as served; if the lease was lost, ask again and return False."""
    return _give_back(tx, row, claimed, _finishing(table_of(row)), {"seen": claimed.wanted})


def put_off(
    tx: Tx,
    row: type[Due],
    claimed: Claim,
    *,
    after: timedelta,
    error: str,
    counts: bool = True,
) -> bool:
    """
    Give the row back to be tried again *after* a while; the twentieth failure in a row parks it.

    *counts* is False for waiting one's turn, which is nobody's failure. False is returned, and the
    row asked for again, when the lease was lost.
    """
    how = {"after": after, "error": error[:ERROR_LENGTH], "failures": 1 if counts else 0}
    return _give_back(tx, row, claimed, _putting_off(table_of(row)), how)


def park(tx: Tx, row: type[Due], claimed: Claim, *, error: str) -> bool:
    """
    Set the row aside until somebody asks for it with `now`; trying again would change nothing.

    An ask that came during the run may be about what would change: then the row stays due.
    """
    how = {"error": error[:ERROR_LENGTH], "seen": claimed.wanted}
    return _give_back(tx, row, claimed, _parking(table_of(row)), how)


def park_crashed(tx: Tx, row: type[Due]) -> Sequence[Any]:
    """Park every row whose last runs all died without a word; the keys of those parked are returned."""
    return tx.execute(_parking_crashed(table_of(row))).scalars().all()


def retry_crashed(
    tx: Tx,
    row: type[Due],
    is_ripe: ColumnElement[bool],
    given: Mapping[str, object],
    *,
    limit: int,
) -> Sequence[Any]:
    """
    Let rows parked for crashes run once more, those parked longest first; their keys are returned.

    One more death parks such a row again at once. *is_ripe* says whose time has come, in terms of what
    is *given*; it is remembered with the statement: let it be a constant.
    """
    return tx.execute(_retrying(table_of(row), is_ripe), {"most": limit, **given}).scalars().all()


def kinds_parked(tx: Tx, rows: tuple[type[Due], ...]) -> list[type[Due]]:
    """List those kinds of rows of which any is parked; mostly none is, and one statement says so."""
    return _found_among(tx, rows, _kinds_parked(rows))


def kinds_crashed(tx: Tx, rows: tuple[type[Due], ...]) -> list[type[Due]]:
    """List those kinds of rows of which `park_crashed` would park any."""
    return _found_among(tx, rows, _kinds_crashed(rows))


def list_due(
    tx: Tx, row: type[Due], *, limit: int, first: Sequence[ColumnElement[Any]] = ()
) -> list[Any]:
    """List keys of due rows, longest overdue first unless told otherwise."""
    table = table_of(row)
    found = tx.execute(
        select(key_of(table)).where(is_due(table)).order_by(*first, table.c.due_at).limit(limit)
    )
    return list(found.scalars())


# Statements are built once for each table: building one takes as long as having it carried out.


@functools.cache
def _asking(table: Table, *, now: bool) -> Update:
    key = key_of(table)
    locked = (
        select(key)
        .where(key.in_(bindparam("row_ids", expanding=True)))
        .order_by(key)
        .with_for_update(key_share=True)
        .cte("locked")
    )
    is_idle = table.c.wanted == table.c.done
    values: dict[str, Any] = {
        "wanted": table.c.wanted + 1,
        "asked_at": case((is_idle, func.now()), else_=table.c.asked_at),
        "due_at": func.now() if now else case((is_idle, func.now()), else_=table.c.due_at),
    }
    if now:
        values |= {"tries": 0, "crashes": 0, "parked_at": None}
    return update(table).where(key.in_(select(locked.c[key.name]))).values(values)


@functools.cache
def _claiming(
    table: Table,
    *,
    is_named: bool,
    only: ColumnElement[bool] | None,
    first: tuple[ColumnElement[Any], ...],
) -> UpdateBase:
    key = key_of(table)
    candidates = select(key).where(is_due(table), table.c.crashes < MOST_CRASHES)
    if is_named:
        candidates = candidates.where(key == bindparam("row_id"))
    if only is not None:
        candidates = candidates.where(only)
    candidates = candidates.order_by(*first, table.c.due_at).limit(1).with_for_update(skip_locked=True)
    return (
        update(table)
        .where(key == candidates.scalar_subquery())
        .values(
            lease_until=func.clock_timestamp() + bindparam("lease", type_=Interval),
            fence=table.c.fence + 1,
            crashes=table.c.crashes + 1,
        )
        .returning(key, table.c.fence, table.c.wanted, table.c.tries)
    )


@functools.cache
def _renewing(table: Table, *, has_progressed: bool) -> Update:
    renewing = _of_claim(table).values(
        lease_until=func.clock_timestamp() + bindparam("lease", type_=Interval)
    )
    return renewing.values(crashes=0) if has_progressed else renewing


@functools.cache
def _finishing(table: Table) -> Update:
    is_asked_again = table.c.wanted > bindparam("seen")
    return _of_claim(table).values(
        done=func.greatest(table.c.done, bindparam("seen")),
        lease_until=None,
        crashes=0,
        tries=0,
        last_error=None,
        parked_at=None,  # a run that was given up for dead may only have slept
        due_at=func.now(),
        asked_at=case((is_asked_again, func.now()), else_=table.c.asked_at),
    )


@functools.cache
def _putting_off(table: Table) -> Update:
    tries = table.c.tries + bindparam("failures")
    return _of_claim(table).values(
        lease_until=None,
        crashes=0,
        tries=tries,
        last_error=bindparam("error"),
        due_at=func.clock_timestamp() + bindparam("after", type_=Interval),
        parked_at=case((tries >= MOST_TRIES, func.now()), else_=None),
    )


@functools.cache
def _parking(table: Table) -> Update:
    is_asked_again = table.c.wanted > bindparam("seen")
    return _of_claim(table).values(
        lease_until=None,
        crashes=0,
        last_error=bindparam("error"),
        due_at=func.now(),
        parked_at=case((is_asked_again, None), else_=func.now()),
    )


@functools.cache
def _parking_crashed(table: Table) -> UpdateBase:
    words = f"{MOST_CRASHES} runs in a row died without reporting; last error: "
    last = func.coalesce(table.c.last_error, literal_column("'none'"))
    return (
        update(table)
        .where(*_has_crashed(table))
        .values(
            parked_at=func.now(),
            lease_until=None,
            last_error=func.concat(bindparam("words", words), last),
        )
        .returning(key_of(table))
    )


@functools.cache
def _retrying(table: Table, is_ripe: ColumnElement[bool]) -> UpdateBase:
    crashed = (
        select(key_of(table))
        .where(table.c.parked_at.is_not(None), table.c.crashes >= MOST_CRASHES, is_ripe)
        .order_by(table.c.parked_at)
        .limit(bindparam("most"))
        .with_for_update(skip_locked=True)
    )
    return (
        update(table)
        .where(key_of(table).in_(crashed))
        .values(parked_at=None, crashes=MOST_CRASHES - 1, due_at=func.clock_timestamp())
        .returning(key_of(table))
    )


def _has_crashed(table: Table) -> tuple[ColumnElement[bool], ...]:
    return is_due(table), table.c.crashes >= MOST_CRASHES


@functools.cache
def _kinds_crashed(rows: tuple[type[Due], ...]) -> CompoundSelect[Any]:
    return _kinds(rows, lambda table: and_(*_has_crashed(table)))


@functools.cache
def _kinds_parked(rows: tuple[type[Due], ...]) -> CompoundSelect[Any]:
    return _kinds(rows, lambda table: table.c.parked_at.is_not(None))


def _kinds(
    rows: tuple[type[Due], ...], is_meant: Callable[[Table], ColumnElement[bool]]
) -> CompoundSelect[Any]:
    tables = [table_of(row) for row in rows]
    return union_all(
        *(
            select(literal(table.name)).where(select(key_of(table)).where(is_meant(table)).exists())
            for table in tables
        )
    )


def _found_among(tx: Tx, rows: tuple[type[Due], ...], kinds: CompoundSelect[Any]) -> list[type[Due]]:
    names = set(tx.execute(kinds).scalars())
    return [row for row in rows if table_of(row).name in names]


def _of_claim(table: Table) -> Update:
    is_held = table.c.fence == bindparam("held_fence")
    return update(table).where(key_of(table) == bindparam("row_id"), is_held)


def _of(claimed: Claim) -> dict[str, Any]:
    return {"row_id": claimed.id, "held_fence": claimed.fence}


def _give_back(
    tx: Tx, row: type[Due], claimed: Claim, statement: Update, how: Mapping[str, Any]
) -> bool:
    """End a run's claim; where somebody else has the row by now, ask again and return False."""
    if tx.execute(statement, {**_of(claimed), **how}).rowcount:
        return True
    ask(tx, row, [claimed.id])
    return False
