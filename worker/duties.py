"""
What asks a provider every now and then although nobody told us to: each duty is a due row of its own.

Upkeep asks and rings for a duty and never waits for it; one worker at a time performs it, under a
lease, for as long as the provider's budget takes.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from sqlalchemy import func, or_, select, update
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
#: A duty that was refused or crashed its worker is tried again by itself after so long.
REVIVE_AFTER = timedelta(hours=1)

_WORK_BY_NAME: dict[str, Callable[..., int]] = {
    jobs.FIND_CALENDARS: find_calendars,
    jobs.SWEEP_BOTS: sweep_bots,
}


def ask_for_duties(tx: Tx, rt: Runtime) -> None:
    """Ask for every duty whose time has come."""
    for name, period in _period_by_name(rt).items():
        tx.execute(upsert(DUTIES).values(name=name).on_conflict_do_nothing())
        is_stale = or_(
            DUTIES.c.performed_at.is_(None), DUTIES.c.performed_at < func.clock_timestamp() - period
        )
        stale = select(DUTIES.c.name).where(
            DUTIES.c.name == name, DUTIES.c.wanted == DUTIES.c.done, is_stale
        )
        due.ask(tx, Duty, list(tx.execute(stale).scalars()))
    set_aside = select(DUTIES.c.name).where(DUTIES.c.parked_at < func.now() - REVIVE_AFTER)
    due.ask(tx, Duty, list(tx.execute(set_aside).scalars()), now=True)


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


def _period_by_name(rt: Runtime) -> dict[str, timedelta]:
    periods: dict[str, timedelta] = {}
    if rt.recall is not None and rt.settings.recall_adopt:
        periods[jobs.FIND_CALENDARS] = rt.settings.reconcile_all
    if rt.bots is not None:
        periods[jobs.SWEEP_BOTS] = SWEEP_EVERY
    return periods
