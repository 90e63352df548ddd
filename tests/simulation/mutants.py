"""Bugs to plant, by name: each must be found, or the simulation shows nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from sqlalchemy import func, update

from models.tables import due
from models.tables.base import new_id
from worker import reconciling
from worker.syncing import workspace


@contextmanager
def planted(name: str | None) -> Iterator[None]:
    """Run with a bug in the product."""
    if name is None:
        yield
        return
    module, attribute, bug = MUTANTS[name]
    before = getattr(module, attribute)
    setattr(module, attribute, bug(before))
    try:
        yield
    finally:
        setattr(module, attribute, before)


def _no_fence(_holds: Callable[..., bool]) -> Callable[..., bool]:
    def holds(tx: Any, row: Any, claimed: due.Claim, **_: Any) -> bool:
        return True

    return holds


def _early_cursor(list_pages: Callable[..., None]) -> Callable[..., None]:
    """Move the cursor before anything was seen; whoever dies then has passed what it had not."""

    def list_all(rt: Any, *what: Any, **how: Any) -> None:
        with rt.db.begin() as tx:
            tx.execute(update(workspace.SOURCES).values(cursor_at=func.now()))
        list_pages(rt, *what, **how)

    return list_all


def _never_looks(_is_unknown: Callable[..., bool]) -> Callable[..., bool]:
    return lambda *_: False


def _fresh_keys(intend: Callable[..., Any]) -> Callable[..., Any]:
    """Make every call under a key of its own, repeats too."""

    def fresh(self: Any, situation: Any, step: Any) -> Any:
        intend(self, situation, step)
        return new_id()

    return fresh


def _forgets_losers(finish: Callable[..., bool]) -> Callable[..., bool]:
    """Mark the newest ask as served, not the one that was seen."""

    def finish_all(tx: Any, row: Any, claimed: due.Claim) -> bool:
        table = due.table_of(row)
        newest = tx.execute(table.select().where(due.key_of(table) == claimed.id)).mappings().one()
        return finish(tx, row, replace(claimed, wanted=newest["wanted"]))

    return finish_all


MUTANTS: dict[str, tuple[Any, str, Callable[[Any], Any]]] = {
    "no_fence": (due, "holds", _no_fence),
    "early_cursor": (workspace, "_list_pages", _early_cursor),
    "lost_nudges": (due, "finish", _forgets_losers),
    "never_looks": (reconciling._Run, "_outcome_is_unknown", _never_looks),
    "fresh_keys": (reconciling._Run, "_intend", _fresh_keys),
}
