"""
What asks a provider every now and then although nobody told us to: each duty is a due row of its own.

Upkeep asks and rings for a duty and never waits for it; one worker at a time performs it, under a
lease, for as long as the provider's budget takes.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from models.db import Tx
from models.tables import due
from models.tables.due import table_of
from models.tables.installation import Duty
from worker import jobs
from worker.runtime import Runtime
from worker.sweeping import find_calendars, sweep_bots
from worker.turns import Outcome, still_mine, take_turn

DUTIES = table_of(Duty)

SWEEP_EVERY = timedelta(minutes=5)
#: A worker that starts has the bots compared unless that was done just now: processes may die in a loop.
JUST_NOW = timedelta(seconds=30)
#: A duty that was refused or failed too often is tried again by itself after so long.
REVIVE_AFTER = timedelta(hours=1)

# Built once: building a statement takes as long as having it carried out.
_KNOWN = select(
    DUTIES.c.name,
    (DUTIES.c.wanted == DUTIES.c.done).label("is_idle"),
    (func.clock_timestamp() - DUTIES.c.performed_at).label("age"),
    (func.clock_timestamp() - DUTIES.c.parked_at).label("set_aside_for"),
)

_WORK_BY_NAME: dict[str, Callable[..., int]] = {
    jobs.FIND_CALENDARS: find_calendars,
    jobs.SWEEP_BOTS: sweep_bots,
}


def ask_for_duties(tx: Tx, rt: Runtime) -> None:
    """Ask for every duty whose time has come."""
    known = {row.name: row for row in tx.execute(_KNOWN)}
    periods = _period_by_name(rt)
    new = [{"name": name} for name in periods if name not in known]
    if new:
        tx.execute(upsert(DUTIES).on_conflict_do_nothing(), new)
    stale = [
        name
        for name, period in periods.items()
        if name not in known or (known[name].is_idle and _is_over(known[name].age, period))
    ]
    due.ask(tx, Duty, stale)
    set_aside = [
        row.name
        for row in known.values()
        if row.set_aside_for is not None and row.set_aside_for > REVIVE_AFTER
    ]
    due.ask(tx, Duty, set_aside, now=True)


def ask_now(tx: Tx, name: str) -> None:
    """Ask for a duty at once, whatever its period; one that was set aside is tried again."""
    _ask(tx, name, now=True)


def ask_at_start(tx: Tx, name: str) -> None:
    """
    Ask for a duty because a process starts, perhaps on a database that was restored.

    One that was set aside stays so: it may be what the process died of.
    """
    performed = select(DUTIES.c.name).where(
        DUTIES.c.name == name, DUTIES.c.performed_at > func.clock_timestamp() - JUST_NOW
    )
    if tx.execute(performed).first() is None:
        _ask(tx, name, now=False)


def perform(rt: Runtime, name: str) -> Outcome:
    """Perform a duty if it is due; safe to call at any time, nobody else performs it meanwhile."""

    def work(claimed: due.Claim) -> None:
        def go_on() -> None:
            with rt.db.begin() as tx:
                still_mine(tx, Duty, claimed)

        _WORK_BY_NAME[name](rt, go_on=go_on)
        with rt.db.begin() as tx:
            still_mine(tx, Duty, claimed)
            tx.execute(
                update(DUTIES).where(DUTIES.c.name == name).values(performed_at=func.clock_timestamp())
            )
            due.finish(tx, Duty, claimed)

    return take_turn(rt, Duty, name, work)


def _ask(tx: Tx, name: str, *, now: bool) -> None:
    tx.execute(upsert(DUTIES).values(name=name).on_conflict_do_nothing())
    due.ask(tx, Duty, [name], now=now)


def _is_over(age: timedelta | None, period: timedelta) -> bool:
    return age is None or age > period


def _period_by_name(rt: Runtime) -> dict[str, timedelta]:
    periods: dict[str, timedelta] = {}
    if rt.recall is not None and rt.settings.recall_adopt:
        periods[jobs.FIND_CALENDARS] = rt.settings.reconcile_all
    if rt.bots is not None:
        periods[jobs.SWEEP_BOTS] = SWEEP_EVERY
    return periods
