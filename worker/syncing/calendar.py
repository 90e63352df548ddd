"""A calendar's own look: how it stands, and its complete listing where that is called for."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import structlog
from sqlalchemy import RowMapping, bindparam, case, func, insert, select, update

from models.db import Tx
from models.tables import due
from models.tables.base import new_id
from models.tables.calendars import Calendar
from worker import jobs, metrics
from worker.calendars import set_status
from worker.errors import AlreadyGone, TryLater
from worker.looked import Looked, next_fetch
from worker.ports import CalendarSource
from worker.removing import remove_missing
from worker.reviving import of_calendar, retry_refused
from worker.runtime import Runtime
from worker.settling import settle
from worker.storing import store_page
from worker.syncing.direct import read_directly
from worker.syncing.runs import (
    CALENDARS,
    DELIVERIES,
    IS_OWN,
    RECALL,
    RUNS,
    Listing,
    end_run,
    stamp_deliveries,
)
from worker.turns import Outcome, still_mine, take_turn

log = structlog.get_logger(__name__)

#: A calendar usually connects within seconds; one that does not is asked after less and less eagerly.
CONNECTING_POLL = timedelta(seconds=1)
SLOW_CONNECTING_POLL = timedelta(seconds=30)
EAGER = timedelta(seconds=30)

_IS_READ_DIRECTLY = select(CALENDARS.c.connection_id.is_not(None)).where(
    CALENDARS.c.id == bindparam("row_id")
)


def sync_calendar(rt: Runtime, calendar_id: UUID) -> Outcome:
    """
    Check one calendar and, where that is called for, list it completely; or read it ourselves.

    Only a listing that came to its end lets us conclude that an event is gone.
    """
    with rt.db.begin() as tx:
        is_ours = tx.execute(_IS_READ_DIRECTLY, {"row_id": calendar_id}).scalar_one_or_none()
    source = rt.recall
    if is_ours is None or (source is None and not is_ours):
        return Outcome.NOTHING_DUE

    def work(claimed: due.Claim) -> None:
        if is_ours:
            read_directly(rt, claimed, calendar_id)
        else:
            assert source is not None  # nothing is due without it
            _sync_one(rt, source, claimed, calendar_id)

    outcome = take_turn(rt, Calendar, calendar_id, work, only=IS_OWN)
    if outcome is Outcome.FINISHED:
        rt.bell.ring(jobs.RELAY)
    return outcome


def _sync_one(rt: Runtime, source: CalendarSource, claimed: due.Claim, calendar_id: UUID) -> None:
    listing = Listing(run_id=new_id())
    with rt.db.begin() as tx:
        calendar = tx.execute(select(CALENDARS).where(CALENDARS.c.id == calendar_id)).mappings().one()
        still_mine(tx, Calendar, claimed)
        if calendar["deleted_at"] is None:
            ref = calendar["external_id"]
            stamp_deliveries(tx, [ref], listing.run_id, types=("calendar.update",))
    status = calendar["status"]
    if calendar["deleted_at"] is None:
        status = _check(rt, source, claimed, calendar)
    # Only now: a calendar that is still connecting is asked after again and again.
    with rt.db.begin() as tx:
        tx.execute(
            insert(RUNS).values(
                id=listing.run_id, source=RECALL, scope="calendar", calendar_id=calendar_id
            )
        )
    is_full = status == "connected" and (calendar["needs_full"] or calendar["status"] != "connected")
    if is_full:
        _list_fully(rt, source, claimed, listing, calendar_id, calendar["external_id"])
    if calendar["asked_at"]:
        listing.notified[calendar_id] = calendar["asked_at"]
    _finish_calendar(rt, claimed, listing, calendar_id, is_full=is_full, status=status)
    settle(rt)
    rt.bell.ring(jobs.SYNC_WORKSPACE)  # what was asked for meanwhile


def _check(rt: Runtime, source: CalendarSource, claimed: due.Claim, calendar: RowMapping) -> str:
    """Ask how the calendar stands, write it down, and return it; TryLater while it is connecting."""
    calendar_id = calendar["id"]
    try:
        found = source.calendar(calendar["external_id"])
        status, reason = found.status, found.reason
        email, platform = found.email, found.platform
    except AlreadyGone:
        status, reason = "disconnected", "the calendar is not at the provider any more"
        email = platform = None
    with rt.db.begin() as tx:
        still_mine(tx, Calendar, claimed)
        set_status(tx, calendar_id, status, reason, now=rt.now(), email=email, platform=platform)
        tx.execute(update(CALENDARS).where(CALENDARS.c.id == calendar_id).values(checked_at=func.now()))
    if status == "connecting":
        msg = "the provider is still connecting this calendar"
        is_young = rt.now() - calendar["created_at"] < EAGER
        wait = CONNECTING_POLL if is_young else SLOW_CONNECTING_POLL
        raise TryLater(msg, after=wait, counts=False)
    if status == "connected":
        with rt.db.begin() as tx:
            retry_refused(tx, of_calendar(calendar_id), now=rt.now())
    return status


def _list_fully(
    rt: Runtime,
    source: CalendarSource,
    claimed: due.Claim,
    listing: Listing,
    calendar_id: UUID,
    external_id: str,
) -> None:
    with rt.db.begin() as tx:
        first_fetch = next_fetch(tx)
        still_mine(tx, Calendar, claimed)
        stamp_deliveries(tx, [external_id], listing.run_id)
    tells_what_is_gone = True
    pages = source.changes(None, calendar=external_id)
    while True:
        with rt.db.begin() as tx:
            fetch = next_fetch(tx)
        page = next(pages, None)
        if page is None:
            break
        looked = Looked(RECALL, fetch, listing.run_id, rt.now())
        with rt.db.begin() as tx:
            stored = store_page(tx, page, looked, vault=rt.vault)
            # Last, because it locks the calendar, and a receiver does not wait long for that lock.
            still_mine(tx, Calendar, claimed)
        listing.pages += 1
        listing.changes += stored.changed
        # A row that does not say which event it is may be any of those that seem to be missing.
        tells_what_is_gone &= all(row.external_id for row in page.unreadable)
    if not tells_what_is_gone:
        log.warning("listing_inconclusive", calendar_id=str(calendar_id))
        return
    looked = Looked(RECALL, first_fetch, listing.run_id, rt.now())
    with rt.db.begin() as tx:
        gone = remove_missing(tx, calendar_id, looked, vault=rt.vault, since=rt.now())
        still_mine(tx, Calendar, claimed)
    listing.changes += gone


def _finish_calendar(
    rt: Runtime,
    claimed: due.Claim,
    listing: Listing,
    calendar_id: UUID,
    *,
    is_full: bool,
    status: str,
) -> None:
    asked_again = CALENDARS.c.wanted > claimed.wanted
    with rt.db.begin() as tx:
        still_mine(tx, Calendar, claimed)
        values: dict[str, object] = {
            "needs_check": case((asked_again, CALENDARS.c.needs_check), else_=False),
            "last_synced_at": func.now(),
        }
        if is_full:
            values |= {
                "needs_full": False,
                "last_full_at": func.now(),
            }
        elif status != "connected":
            # Whatever happens meanwhile is found by the full listing after reconnecting.
            values |= {"needs_full": True}
        tx.execute(update(CALENDARS).where(CALENDARS.c.id == calendar_id).values(**values))
        end_run(tx, listing)
        if status != "connected":
            _ignore_deliveries(tx, calendar_id, status)
        if status == "connected" and not is_full:
            # Only the calendar itself was looked at; what changed in it is for the workspace listing.
            words = "checked; its events are listed next"
            due.put_off(tx, Calendar, claimed, after=timedelta(0), error=words, counts=False)
        else:
            due.finish(tx, Calendar, claimed)
    for asked_at in listing.notified.values():
        metrics.SYNC_LAG.observe(max(0.0, (rt.now() - asked_at).total_seconds()))
    log.info(
        "calendar_synced",
        calendar_id=str(calendar_id),
        status=status,
        is_full=is_full,
        pages=listing.pages,
        changes=listing.changes,
    )


def _ignore_deliveries(tx: Tx, calendar_id: UUID, status: str) -> None:
    ref = select(CALENDARS.c.external_id).where(CALENDARS.c.id == calendar_id).scalar_subquery()
    tx.execute(
        update(DELIVERIES)
        .where(DELIVERIES.c.ref == ref, DELIVERIES.c.state == "stored", DELIVERIES.c.source == RECALL)
        .values(state="ignored", reason=f"calendar_{status}", done_at=func.now())
    )
