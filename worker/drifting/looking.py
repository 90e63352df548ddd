"""
The drift report: every followed calendar, and the bots, compared with what the providers have now.

Calls go through the ports and their budgets, which workers share: a long report slows them a little and
never starves them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

from sqlalchemy import RowMapping, func, select, true

from models.db import Tx
from models.sealing import CannotOpen
from models.tables.calendars import Calendar
from models.tables.due import table_of
from models.tables.events import CalendarEvent
from worker.drifting.bots import look_at_bots
from worker.drifting.comparing import Look, compare
from worker.drifting.found import Compared, Difference, Kind, Report, Unread
from worker.drifting.reading import keep, look
from worker.errors import AlreadyGone, ConfigError, Reaction, TryLater
from worker.runtime import Runtime
from worker.syncing import RECALL

CALENDARS = table_of(Calendar)
EVENTS = table_of(CalendarEvent)

#: What does not say when it happened, a deletion, is looked for here once more after so long.
SECOND_LOOK = timedelta(seconds=5)
PAGE_SIZE = 100  # of Recall's listings
MOST_TOGETHER = 30_000
MOST_TRIES = 5
LONGEST_WAIT = timedelta(minutes=1)

Read = TypeVar("Read")
#: Told how many of how many calendars have been read.
Tell = Callable[[int, int], None]


def find_drift(
    rt: Runtime,
    *,
    calendar_id: UUID | None = None,
    limit: int | None = None,
    tell: Tell = lambda _done, _total: None,
) -> Report:
    """
    Compare every connected calendar, and the bots, with what the providers have now; changes nothing.

    One calendar and its bots alone when *calendar_id* names it; *limit* calendars at most, those that
    were read whole longest ago. What could not be read is told, not raised.
    """
    with rt.db.begin() as tx:
        calendars = _followed(tx, calendar_id, limit)
        listings = _listings(tx, calendars)
    found = _Found()
    for listing in listings:
        tell(found.size, len(calendars))
        _read(rt, listing, found)
    tell(found.size, len(calendars))
    _look_again(rt, found)
    bots = Compared()
    try:
        bots = _patiently(rt, lambda: look_at_bots(rt, calendar_id=calendar_id))
    except Reaction as reaction:
        found.unread.append(Unread(None, str(reaction)))
    compared = (*found.compared, bots)
    return Report(
        differences=(*found.gone, *(one for each in compared for one in each.differences)),
        unread=tuple(found.unread),
        calendars=len(found.compared),
        events=sum(each.size for each in found.compared),
        bots=bots.size,
        awaited=sum(each.awaited for each in compared),
    )


@dataclass(slots=True)
class _Found:
    """What has been found so far; looks that show a difference are kept to compare them once more."""

    size: int = 0
    compared: list[Compared] = field(default_factory=list)
    differing: list[Look] = field(default_factory=list)
    gone: list[Difference] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)


def _followed(tx: Tx, calendar_id: UUID | None, limit: int | None) -> Sequence[RowMapping]:
    query = (
        select(CALENDARS)
        .where(
            CALENDARS.c.status == "connected",
            CALENDARS.c.deleted_at.is_(None),
            true() if calendar_id is None else CALENDARS.c.id == calendar_id,
        )
        .order_by(CALENDARS.c.last_full_at.asc().nulls_first(), CALENDARS.c.id)
        .limit(limit)
    )
    return tx.execute(query).mappings().all()


def _listings(tx: Tx, calendars: Sequence[RowMapping]) -> list[list[RowMapping]]:
    """
    Say which calendars to read with one listing: those at Recall all at once where that takes fewer pages.

    Recall grants few listings; see design, "Ask Recall once".
    """
    at_recall = [one for one in calendars if one["connection_id"] is None]
    others = [[one] for one in calendars if one["connection_id"] is not None]
    of_recall = select(CALENDARS.c.id).where(CALENDARS.c.source == RECALL)
    counted = (
        select(EVENTS.c.calendar_id, func.count().label("size"))
        .where(EVENTS.c.calendar_id.in_(of_recall))
        .group_by(EVENTS.c.calendar_id)
    )
    sizes = {row.calendar_id: row.size for row in tx.execute(counted)}
    total = sum(sizes.values())
    apart = sum(1 + sizes.get(one["id"], 0) // PAGE_SIZE for one in at_recall)
    if total <= MOST_TOGETHER and 1 + total // PAGE_SIZE < apart:
        return [at_recall, *others]
    return [*([one] for one in at_recall), *others]


def _patiently(rt: Runtime, read: Callable[[], Read]) -> Read:
    """Read, and again after as long as the provider or its budget asks us to wait, a few times."""
    for _ in range(MOST_TRIES - 1):
        try:
            return read()
        except TryLater as later:
            if later.after is None or later.after > LONGEST_WAIT:
                raise
            rt.sleep(later.after.total_seconds())
    return read()


def _read(rt: Runtime, listing: Sequence[RowMapping], found: _Found) -> None:
    """Read and compare the calendars of one listing."""
    found.size += len(listing)
    ids = [calendar["id"] for calendar in listing]
    try:
        looks = _patiently(rt, lambda: look(rt, listing))
    except AlreadyGone as reaction:
        found.gone += [Difference(Kind.CALENDAR_GONE, str(reaction), one) for one in ids]
        return
    except (Reaction, ConfigError, CannotOpen) as reaction:
        found.unread += [Unread(one, str(reaction)) for one in ids]
        return
    for one, compared in _compared(rt, looks):
        if compared.differences:
            found.differing.append(one)
        else:
            found.compared.append(compared)


def _look_again(rt: Runtime, found: _Found) -> None:
    """Compare what differs once more with what we have a little later: news may have come in."""
    if found.differing:
        rt.sleep(SECOND_LOOK.total_seconds())
        found.compared += [compared for _, compared in _compared(rt, found.differing)]


def _compared(rt: Runtime, looks: Sequence[Look]) -> list[tuple[Look, Compared]]:
    """Compare what was shown with what we have now; a calendar that is not followed any more is left out."""
    with rt.db.begin() as tx:
        after = keep(tx, [one.calendar_id for one in looks])
    return [(one, compare(one, after[one.calendar_id])) for one in looks if one.calendar_id in after]
