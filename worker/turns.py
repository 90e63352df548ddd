"""One turn of work on one due row: claim, work, and give the row back in the way the outcome asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.sql import ColumnElement

from models.db import Tx
from models.domain.backoff import next_try, next_turn
from models.tables import due
from models.tables.base import Due
from worker.errors import AuthorizationLost, Reaction, Refused, TryLater
from worker.runtime import Runtime

log = structlog.get_logger(__name__)

#: How long to leave a row alone whose provider does not accept our credentials.
AFTER_LOST_AUTHORIZATION = timedelta(minutes=5)


MOST_DEADLOCKS = 2


class Outcome(StrEnum):
    """How a turn ended."""

    NOTHING_DUE = "nothing_due"
    FINISHED = "finished"
    PUT_OFF = "put_off"
    PARKED = "parked"
    LOST = "lost"


class LeaseLost(Exception):
    """Somebody else works on this row now; nothing we know about it may be written."""


def take_turn(
    rt: Runtime,
    row: type[Due],
    row_id: UUID | str | None,
    work: Callable[[due.Claim], None],
    *,
    only: ColumnElement[bool] | None = None,
    first: Sequence[ColumnElement[Any]] = (),
    longest_wait: Callable[[], timedelta | None] = lambda: None,
) -> Outcome:
    """
    Claim a due row, the one named or the first in order, and work on it.

    *work* finishes the row itself, in its last transaction. Everything it raises gives the row back:
    a reaction says how, anything else is a bug, counted and raised again. *longest_wait* caps the
    wait after a failure when something is urgent.
    """
    with rt.db.begin() as tx:
        claimed = due.claim(tx, row, row_id, only=only, first=first)
    if claimed is None:
        return Outcome.NOTHING_DUE
    try:
        again_if_deadlocked(lambda: work(claimed))
    except LeaseLost:
        with rt.db.begin() as tx:
            due.ask(tx, row, [claimed.id])
        return Outcome.LOST
    except TryLater as later:
        if later.after is not None and not later.counts:
            wait = next_turn(later.after)  # however often it failed before: this is no failure
        else:
            wait = next_try(claimed.tries, chance=rt.chance(), hint=later.after)
        cap = longest_wait()
        wait = wait if cap is None else min(wait, cap)
        with rt.db.begin() as tx:
            due.put_off(tx, row, claimed, after=wait, error=str(later), counts=later.counts)
        log.info(
            "turn_put_off",
            kind=row.__name__,
            row_id=str(claimed.id),
            error=str(later),
            after_s=round(wait.total_seconds(), 1),
        )
        return Outcome.PUT_OFF
    except AuthorizationLost as lost:
        with rt.db.begin() as tx:
            due.put_off(tx, row, claimed, after=AFTER_LOST_AUTHORIZATION, error=str(lost), counts=False)
        log.error("authorization_lost", kind=row.__name__, row_id=str(claimed.id))
        return Outcome.PUT_OFF
    except Refused as refused:
        with rt.db.begin() as tx:
            due.park(tx, row, claimed, error=str(refused))
        log.error("row_parked", kind=row.__name__, row_id=str(claimed.id), error=str(refused))
        return Outcome.PARKED
    except Exception as bug:
        _give_back(rt, row, claimed, bug)
        raise
    return Outcome.FINISHED


def again_if_deadlocked(work: Callable[[], object]) -> None:
    """
    Do some work, and do it again if the database chose it as the victim of a deadlock: twice at most.

    The work is made of steps that commit by themselves and may be repeated, as all our work is. Rows
    are locked in one order everywhere, so that this is rare: calendar events by id, then slots by id,
    then calendars by id, then the row of the turn itself where it is none of these.
    """
    for _ in range(MOST_DEADLOCKS):
        try:
            work()
        except OperationalError as failed:
            if not is_deadlock(failed):
                raise
            log.warning("deadlock_repeated", sqlstate=sqlstate_of(failed))
        else:
            return
    work()


def is_deadlock(failed: DBAPIError) -> bool:
    """Say whether the database undid a transaction only because of another one."""
    return sqlstate_of(failed) in {"40P01", "40001"}


def sqlstate_of(failed: DBAPIError) -> str | None:
    """Return the database's code for what failed, None when it never answered."""
    code = getattr(failed.orig, "sqlstate", None)
    return code if isinstance(code, str) else None


def still_mine(tx: Tx, row: type[Due], claimed: due.Claim, *, has_progressed: bool = False) -> None:
    """
    Lock the row for this transaction, or raise LeaseLost: first line of every writing step.

    *has_progressed* is for `due.holds`.
    """
    if not due.holds(tx, row, claimed, has_progressed=has_progressed):
        msg = f"{row.__name__} {claimed.id}"
        raise LeaseLost(msg)


def _give_back(rt: Runtime, row: type[Due], claimed: due.Claim, bug: Exception) -> None:
    log.error("turn_failed", kind=row.__name__, row_id=str(claimed.id), exc_info=bug)
    reason = type(bug).__name__ if not isinstance(bug, Reaction) else str(bug)
    try:
        with rt.db.begin() as tx:
            wait = next_try(claimed.tries, chance=rt.chance())
            due.put_off(tx, row, claimed, after=wait, error=f"unexpected {reason}")
    except DBAPIError:
        # The lease runs out by itself and the crash counter already counts this run.
        log.warning("could_not_give_back", kind=row.__name__, row_id=str(claimed.id))
