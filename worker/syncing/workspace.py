"""
One listing of what changed in the whole workspace, for every calendar that is due.

The cursor never passes a change that is not applied: it moves in the transaction that ends the run,
to the newest change seen, and never past the moment the provider was first asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy import BigInteger, Uuid, bindparam, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert

from models.db import Tx
from models.tables import due
from models.tables.base import new_id
from models.tables.due import table_of
from models.tables.events import CalendarEvent
from models.tables.installation import Source
from worker import jobs, metrics
from worker.errors import TryLater
from worker.looked import Looked, next_fetch
from worker.ports import CalendarSource, Page
from worker.runtime import Runtime
from worker.settling import settle
from worker.storing import store_page
from worker.syncing.runs import (
    CALENDARS,
    DELIVERIES,
    IS_OWN,
    IS_PLAIN,
    RECALL,
    RUNS,
    Listing,
    end_run,
    stamp_deliveries,
)
from worker.turns import Outcome, still_mine, take_turn

log = structlog.get_logger(__name__)

SOURCES = table_of(Source)
EVENTS = table_of(CalendarEvent)

#: A listing begins a little before the cursor, because two changes a moment apart may have been stored
#: in the other order; but with so few known events that it hardly costs a page.
OVERLAP = timedelta(seconds=2)
MOST_REPEATED = 50
#: The same for a look that nobody notified us for: it finds what a lost or late notification hid.
WIDE_OVERLAP = timedelta(minutes=10)
MOST_REPEATED_WIDELY = 500
#: Runs start at least this far apart, and wait until notifications have paused for a moment, though
#: not for ever: so a burst becomes few listings, and a lone change is hardly kept waiting.
SPACING = timedelta(seconds=1)
PAUSE = timedelta(milliseconds=60)
LONGEST_GATHERING = timedelta(seconds=3)
#: What changes while a listing goes on is read again by the next one. So one waits for the end of a burst,
#: and one that a burst overtakes near its beginning starts over: full pages, read once.
BURST, BURST_COMES_IN = 300, timedelta(milliseconds=500)
PAUSE_AFTER_BURST = timedelta(seconds=1)
LONGEST_IN_A_BURST = timedelta(seconds=12)
FEW_PAGES = 5
CLOCK_WEAR_S = 0.01
#: In an outage the listing is tried this often; what happens meanwhile waits for it, not for its own row.
PROBE = timedelta(minutes=1)
TRIES_BEFORE_PROBING = 5
IN_STEP = timedelta(seconds=5)

_APART = select(CALENDARS.c.id).where(IS_OWN, due.is_due(CALENDARS)).limit(50)
# Asked at every ring, and there are many in a burst: one statement, built once.
_WAITING = select(
    select(CALENDARS.c.id).where(IS_PLAIN, due.is_due(CALENDARS)).exists(),
    select(CALENDARS.c.id).where(IS_OWN, due.is_due(CALENDARS)).exists(),
    select(SOURCES.c.is_pending).where(SOURCES.c.name == RECALL).scalar_subquery(),
)


def sync_workspace(rt: Runtime) -> Outcome:
    """
    Serve every calendar that is due with one listing of what changed since the cursor.

    Safe to call at any time; one such run is under way at once.
    """
    source = rt.recall
    if source is None:
        return Outcome.NOTHING_DUE
    with rt.db.begin() as tx:
        apart = _ask_for_due_calendars(tx)
    for calendar_id in apart:
        rt.bell.ring(jobs.SYNC_CALENDAR, str(calendar_id))
    outcome = take_turn(
        rt,
        Source,
        RECALL,
        lambda claimed: _list_patiently(rt, source, claimed),
        longest_wait=lambda: PROBE,
    )
    if outcome is Outcome.FINISHED:
        rt.bell.ring(jobs.RELAY)
    return outcome


def ring_for_calendars(rt: Runtime) -> int:
    """Ring for each calendar that is due for a look of its own; how many is returned."""
    with rt.db.begin() as tx:
        apart = list(tx.execute(_APART).scalars())
    for calendar_id in apart:
        rt.bell.ring(jobs.SYNC_CALENDAR, str(calendar_id))
    return len(apart)


def _list_patiently(rt: Runtime, source: CalendarSource, claimed: due.Claim) -> None:
    """List; in an outage knock once a minute and never give up, because everything waits for this row."""
    try:
        _list_workspace(rt, source, claimed)
    except TryLater as later:
        if claimed.tries < TRIES_BEFORE_PROBING or not later.counts:
            raise
        raise TryLater(str(later), after=PROBE, counts=False, is_definite=later.is_definite) from later


def _ask_for_due_calendars(tx: Tx) -> list[UUID]:
    """Ask for a listing if a calendar waits for one; those that need a look of their own come back."""
    is_waiting, is_apart, is_pending = tx.execute(_WAITING).one()
    if is_pending is None:
        tx.execute(upsert(SOURCES).values(name=RECALL).on_conflict_do_nothing())
    if is_waiting and not is_pending:
        due.ask(tx, Source, [RECALL])
    return list(tx.execute(_APART).scalars()) if is_apart else []


def _list_workspace(rt: Runtime, source: CalendarSource, claimed: due.Claim) -> None:
    listing = Listing(run_id=new_id())
    is_burst = _gather(rt)
    is_unasked = _take_asks(rt, claimed, listing) == 0
    with rt.db.begin() as tx:
        still_mine(tx, Source, claimed)
        row = tx.execute(select(SOURCES).where(SOURCES.c.name == RECALL)).mappings().one()
        db_now: datetime = tx.execute(select(func.clock_timestamp())).scalar_one()
        if is_unasked and not _is_stale(row["listed_at"], db_now, rt):
            due.finish(tx, Source, claimed)  # somebody else has just served those who asked
            return
        tx.execute(insert(RUNS).values(id=listing.run_id, source=RECALL, scope="workspace"))
        cursor: datetime = row["cursor_at"] or db_now - timedelta(hours=1)
        since = _before(tx, cursor, is_wide=is_unasked)
    may_start_over = not is_burst and _waits_since(listing, db_now) < LONGEST_IN_A_BURST
    _list_pages(rt, source, claimed, listing, since=since, may_start_over=may_start_over)
    _finish_workspace(rt, claimed, listing, cursor=cursor, begun_at=db_now)
    settle(rt)


def _waits_since(listing: Listing, db_now: datetime) -> timedelta:
    return db_now - min(listing.notified.values(), default=db_now)


def _is_stale(listed_at: datetime | None, db_now: datetime, rt: Runtime) -> bool:
    period = min(rt.settings.reconcile_near, rt.settings.reconcile_all)
    return listed_at is None or listed_at < db_now - period / 2


def _before(tx: Tx, cursor: datetime, *, is_wide: bool) -> datetime:
    """Say where a listing begins: the cursor less the overlap, or less where that is costly."""
    overlap, most = (WIDE_OVERLAP, MOST_REPEATED_WIDELY) if is_wide else (OVERLAP, MOST_REPEATED)
    known = (
        select(EVENTS.c.provider_updated_at)
        .where(EVENTS.c.provider_updated_at <= cursor)
        .order_by(EVENTS.c.provider_updated_at.desc())
        .offset(most)
        .limit(1)
    )
    costly = tx.execute(known).scalar_one_or_none()
    return max(cursor - overlap, costly) if costly is not None else cursor - overlap


def _gather(rt: Runtime) -> bool:
    """
    Wait until a listing is worth it: some time after the last one, in a pause of notifications.

    Whether they came in a burst is returned.
    """
    _await_pause(rt, PAUSE, LONGEST_GATHERING)
    is_burst = _is_burst(rt)
    if is_burst:
        _await_pause(rt, PAUSE_AFTER_BURST, LONGEST_IN_A_BURST)
    return is_burst


def _await_pause(rt: Runtime, pause: timedelta, longest: timedelta) -> None:
    newest = select(func.max(DELIVERIES.c.received_at)).where(DELIVERIES.c.source == RECALL)
    listed = select(SOURCES.c.listed_at).where(SOURCES.c.name == RECALL)
    waited = timedelta(0)
    while waited < longest:
        with rt.db.begin() as tx:
            db_now, listed_at, received_at = tx.execute(
                select(func.clock_timestamp(), listed.scalar_subquery(), newest.scalar_subquery())
            ).one()
        waits = [SPACING - (db_now - listed_at)] if listed_at else []
        waits += [pause - (db_now - received_at)] if received_at else []
        wait = min(max([timedelta(0), *waits]), longest - waited)
        if wait <= timedelta(0):
            return
        rt.sleep(wait.total_seconds())
        waited += wait


def _is_burst(rt: Runtime) -> bool:
    """Say whether so many notifications have just come at once that more must be expected."""
    newest = (
        select(DELIVERIES.c.received_at)
        .where(DELIVERIES.c.source == RECALL)
        .order_by(DELIVERIES.c.received_at.desc())
        .limit(1)
    )
    # Compared with the newest, not with now: a loaded receiver commits in bursts of its own.
    bounds = select(
        func.clock_timestamp(), newest.scalar_subquery(), newest.offset(BURST - 1).scalar_subquery()
    )
    with rt.db.begin() as tx:
        db_now, last_at, first_at = tx.execute(bounds).one()
    if first_at is None:
        return False
    return bool(last_at - first_at < BURST_COMES_IN and db_now - last_at < PAUSE_AFTER_BURST)


def _take_asks(rt: Runtime, claimed: due.Claim, listing: Listing) -> int:
    """Note which asks the pass that starts now will have served, and stamp their deliveries."""
    with rt.db.begin() as tx:
        still_mine(tx, Source, claimed)
        found = tx.execute(
            select(CALENDARS.c.id, CALENDARS.c.wanted, CALENDARS.c.asked_at, CALENDARS.c.external_id)
            .where(IS_PLAIN, CALENDARS.c.is_pending, CALENDARS.c.parked_at.is_(None))
            .order_by(CALENDARS.c.id)
        ).all()
        for calendar_id, wanted, asked_at, _ in found:
            listing.asks[calendar_id] = wanted
            listing.notified.setdefault(calendar_id, asked_at)
        refs = [row.external_id for row in found]
        stamp_deliveries(tx, refs, listing.run_id)
    return len(found)


def _list_pages(
    rt: Runtime,
    source: CalendarSource,
    claimed: due.Claim,
    listing: Listing,
    *,
    since: datetime,
    may_start_over: bool,
) -> None:
    notified_at = min(listing.notified.values(), default=None)
    pages = source.changes(since)
    while True:
        with rt.db.begin() as tx:
            fetch = next_fetch(tx)
            if listing.asked_at is None:
                listing.asked_at = tx.execute(select(func.clock_timestamp())).scalar_one()
        page = next(pages, None)
        if page is None:
            return
        if may_start_over and 0 < listing.pages <= FEW_PAGES and _is_burst(rt):
            msg = "a burst of notifications has begun"
            raise TryLater(msg, after=PAUSE_AFTER_BURST, counts=False)
        looked = Looked(RECALL, fetch, listing.run_id, rt.now(), notified_at)
        with rt.db.begin() as tx:
            answered_at: datetime = tx.execute(select(func.clock_timestamp())).scalar_one()
            still_mine(tx, Source, claimed)
            stored = store_page(tx, page, looked, vault=rt.vault)
        if listing.pages == 0:
            listing.served_at = page.served_at
        listing.pages += 1
        listing.changes += stored.changed
        if stored.newest_at is not None:
            listing.newest_at = max(stored.newest_at, listing.newest_at or stored.newest_at)
        had_happened = _newest_that_had_happened(page, answered_at)
        if had_happened is not None:
            # Their clock cannot be further behind ours than this.
            ahead = had_happened - answered_at
            listing.clock_ahead = max(ahead, listing.clock_ahead or ahead)


def _newest_that_had_happened(page: Page, answered_at: datetime) -> datetime | None:
    """Return the newest version on a page that is not ahead of the provider's clock, or else of ours."""
    shown = page.served_at
    until = answered_at if shown is None else shown + timedelta(seconds=1)  # it shows whole seconds
    return max((found.updated_at for found in page.events if found.updated_at < until), default=None)


def _finish_workspace(
    rt: Runtime, claimed: due.Claim, listing: Listing, *, cursor: datetime, begun_at: datetime
) -> None:
    with rt.db.begin() as tx:
        still_mine(tx, Source, claimed)
        known = tx.execute(select(SOURCES.c.clock_ahead_s).where(SOURCES.c.name == RECALL)).scalar_one()
        read_at = _read_at(listing, known) or cursor
        tx.execute(
            update(SOURCES)
            .where(SOURCES.c.name == RECALL)
            .values(
                listed_at=begun_at,
                cursor_at=max(cursor, min(listing.newest_at or cursor, read_at)),
                clock_ahead_s=_clock_ahead(listing, known),
            )
        )
        end_run(tx, listing)
        # Last, because whoever notifies us waits for these rows.
        _serve(tx, listing.asks)
        due.finish(tx, Source, claimed)
    now = rt.now()
    for asked_at in listing.notified.values():
        metrics.SYNC_LAG.observe(max(0.0, (now - asked_at).total_seconds()))
    log.info(
        "workspace_listed",
        run_id=str(listing.run_id),
        calendars=len(listing.asks),
        pages=listing.pages,
        changes=listing.changes,
    )


def _read_at(listing: Listing, known_ahead_s: float | None) -> datetime | None:
    """
    Say when, by the provider's clock, the listing's first page was surely not yet read.

    A change made after that may have slipped from a page to come to one already read; the next
    listing begins no later. The provider's `Date` shows whole seconds, the versions we read tell
    its clock more finely: it was at least that far ahead of ours when we asked. A `Date` that is not
    in step with us may be that of another machine, whose clock is wrong: it can only hold us back.
    """
    known = [] if known_ahead_s is None else [timedelta(seconds=known_ahead_s)]
    aheads = [*known, *([listing.clock_ahead] if listing.clock_ahead is not None else [])]
    asked_at = listing.asked_at
    if asked_at is None:
        return None
    read_at = asked_at + max(aheads) if aheads else asked_at
    if listing.served_at is None:
        return min(read_at, asked_at)
    if abs(listing.served_at - asked_at) < IN_STEP:
        read_at = max(read_at, listing.served_at)
    return min(read_at, listing.served_at + timedelta(seconds=1))


def _clock_ahead(listing: Listing, known_s: float | None) -> float | None:
    """Remember the finer of two bounds; an old one wears off, for clocks are set and drift."""
    if listing.clock_ahead is None:
        return known_s
    seen: float = listing.clock_ahead.total_seconds()
    return seen if known_s is None else max(seen, known_s - CLOCK_WEAR_S)


def _serve(tx: Tx, asks: Mapping[UUID, int]) -> None:
    if asks:
        tx.execute(_SERVED, {"ids": list(asks), "seen": list(asks.values())})


# Locked in order of the key, as the receiver does, so that the two cannot deadlock.
_SERVED = text(
    """
    WITH asked AS (
        SELECT * FROM unnest(:ids, :seen) AS asked (id, seen)
    ), locked AS (
        SELECT calendars.id FROM calendars WHERE id IN (SELECT id FROM asked)
        ORDER BY id FOR NO KEY UPDATE
    )
    UPDATE calendars SET
        done = greatest(done, seen),
        last_synced_at = now(),
        asked_at = CASE WHEN wanted > seen THEN now() ELSE asked_at END,
        due_at = now(), tries = 0, crashes = 0, last_error = NULL
    FROM asked JOIN locked USING (id) WHERE calendars.id = asked.id
    """
).bindparams(bindparam("ids", type_=ARRAY(Uuid)), bindparam("seen", type_=ARRAY(BigInteger)))
