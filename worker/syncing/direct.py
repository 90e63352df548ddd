"""
A calendar that we read ourselves: what changed since its cursor, or all of it.

The cursor is stored in the transaction that ends the run, so it never passes a change that is not
applied. A cursor that the provider has forgotten leads to a complete reading, whose difference to what
we have is applied; nothing is dropped first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import structlog
from sqlalchemy import RowMapping, case, func, insert, select, update

from models.db import Tx
from models.tables import due
from models.tables.base import new_id
from models.tables.calendars import Calendar
from models.tables.events import CalendarEvent
from worker import channels, metrics, tokens
from worker.calendars import set_status
from worker.errors import AlreadyGone, ConsentLost, CursorGone, TryLater
from worker.looked import Looked, next_fetch
from worker.ports import FoundEvent, Page
from worker.ports_direct import Reading, Window
from worker.removing import remove_missing, remove_named, remove_rest_of_series
from worker.runtime import Runtime
from worker.settling import settle
from worker.storing import store_page
from worker.syncing.runs import CALENDARS, DELIVERIES, RUNS, Listing, end_run
from worker.tokens import Access
from worker.turns import still_mine

log = structlog.get_logger(__name__)

#: The time that is read, as Recall's is: a day back, and four weeks ahead. Read a week further, so that
#: it need not be read anew every day. Source: docs.recall.ai, calendar v2 guide.
BACK = timedelta(days=1)
AHEAD = timedelta(days=28)
SPARE = timedelta(days=7)
#: So many calendars of one account are read at once; Graph allows four calls at a time per mailbox.
#: Source: Microsoft Graph throttling limits (Outlook service limits).
MOST_AT_ONCE = 3
OTHERS_FIRST = timedelta(seconds=1)
#: So many tokens refused in a row, each fresher than the last, say that the account is closed to us.
REFUSALS_TO_BELIEVE = 3
AFTER_REFUSAL = timedelta(seconds=1)
#: What says that a channel is about to end, or has. Source: Graph, lifecycle notifications.
ENDING = frozenset({"microsoft.reauthorizationRequired", "microsoft.subscriptionRemoved"})


@dataclass(slots=True)
class _Run:
    """One calendar being read."""

    rt: Runtime
    claimed: due.Claim
    calendar: RowMapping
    access: Access
    window: Window
    listing: Listing = field(default_factory=lambda: Listing(run_id=new_id()))
    cursor: str | None = None
    is_full: bool = False
    was_told: bool = False
    tells_what_is_gone: bool = True

    @property
    def id(self) -> UUID:
        found: UUID = self.calendar["id"]
        return found


def read_directly(rt: Runtime, claimed: due.Claim, calendar_id: UUID) -> None:
    """
    Bring one calendar up to date with its provider.

    To be called in a turn on the calendar's row. Raises what the port raises.
    """
    with rt.db.begin() as tx:
        calendar = tx.execute(select(CALENDARS).where(CALENDARS.c.id == calendar_id)).mappings().one()
        still_mine(tx, Calendar, claimed)
        _let_others_first(tx, calendar)
    if calendar["deleted_at"] is not None or calendar["status"] in {"needs_reauth", "disconnected"}:
        _leave(rt, claimed, calendar)
        return
    try:
        access = tokens.access(rt, calendar["connection_id"])
    except ConsentLost:
        _leave(rt, claimed, calendar)  # whoever found out has told the world
        return
    run = _Run(rt, claimed, calendar, access, _window_of(rt, calendar))
    run.is_full = _needs_all(rt, calendar)
    _begin(run)
    try:
        _read_with_fresh_tokens(run)
    except ConsentLost:
        _leave(rt, claimed, calendar)
    except CursorGone as gone:
        raise TryLater(str(gone)) from gone  # forgotten while all was being read
    except AlreadyGone:
        _note_gone(run)
    else:
        _finish(run)
    settle(rt)


def _let_others_first(tx: Tx, calendar: RowMapping) -> None:
    busy = select(func.count()).where(
        CALENDARS.c.connection_id == calendar["connection_id"],
        CALENDARS.c.id != calendar["id"],
        CALENDARS.c.lease_until > func.clock_timestamp(),
    )
    if tx.execute(busy).scalar_one() >= MOST_AT_ONCE:
        msg = "other calendars of the account are being read"
        raise TryLater(msg, after=OTHERS_FIRST, counts=False, is_definite=True)


def _needs_all(rt: Runtime, calendar: RowMapping) -> bool:
    is_short = calendar["window_until"] is None or calendar["window_until"] < rt.now() + AHEAD
    return bool(calendar["needs_full"] or calendar["cursor"] is None or is_short)


def _window_of(rt: Runtime, calendar: RowMapping) -> Window:
    """Return the time to read: what the cursor was made for, or from now on."""
    now = rt.now()
    if _needs_all(rt, calendar):
        return Window(now - BACK, now + AHEAD + SPARE)
    return Window(now - BACK, calendar["window_until"])


def _begin(run: _Run) -> None:
    with run.rt.db.begin() as tx:
        still_mine(tx, Calendar, run.claimed)
        served = tx.execute(
            update(DELIVERIES)
            .where(
                DELIVERIES.c.state == "stored",
                DELIVERIES.c.source == run.calendar["source"],
                DELIVERIES.c.ref == str(run.id),
            )
            .values(run_id=run.listing.run_id)
            .returning(DELIVERIES.c.type)
        )
        told = set(served.scalars())
        run.was_told = bool(told)
        if told:
            channels.heard(tx, run.id, is_ending=bool(told & ENDING))
        tx.execute(
            insert(RUNS).values(
                id=run.listing.run_id,
                source=run.calendar["source"],
                scope="calendar",
                calendar_id=run.id,
            )
        )


def _read(run: _Run) -> None:
    """Read what changed; all of it when the provider has forgotten where we were."""
    accounts = run.rt.accounts[run.access.platform]
    token, ref, email = run.access.token, run.calendar["external_id"], run.access.email
    if not run.is_full:
        cursor = run.calendar["cursor"]
        try:
            _apply(run, accounts.read_changes(token, ref, cursor, run.window, email=email))
        except CursorGone:
            log.info("cursor_gone", calendar_id=str(run.id))
            _read_whole_instead(run)
        else:
            if run.listing.changes or not (run.was_told and accounts.may_keep_quiet):
                return
            _read_whole_instead(run)  # told of something that it does not show
    with run.rt.db.begin() as tx:
        first_fetch = next_fetch(tx)
    _apply(run, accounts.read_all(token, ref, run.window, email=email))
    if not run.tells_what_is_gone:
        log.warning("listing_inconclusive", calendar_id=str(run.id))
        return
    with run.rt.db.begin() as tx:
        looked = _looked(run, first_fetch)
        run.listing.changes += remove_missing(
            tx, run.id, looked, vault=run.rt.vault, since=run.rt.now(), until=run.window.until
        )
        still_mine(tx, Calendar, run.claimed)


def _read_with_fresh_tokens(run: _Run) -> None:
    """
    Read, with another token after a refusal; when fresh ones are refused too, the account is lost.

    Raises ConsentLost when it is, and the world has been told.
    """
    rt = run.rt
    for left in reversed(range(REFUSALS_TO_BELIEVE)):
        try:
            _read(run)
        except ConsentLost as refused:
            tokens.refuse(rt, run.access)
            with rt.db.begin() as tx:
                still_mine(tx, Calendar, run.claimed)
            if not left:
                account = run.access
                tokens.lose(rt, account.connection_id, str(refused), generation=account.generation)
                raise
            rt.sleep(AFTER_REFUSAL.total_seconds())
            run.access = tokens.access(rt, run.access.connection_id)
            with rt.db.begin() as tx:
                still_mine(tx, Calendar, run.claimed)
        else:
            return


def _read_whole_instead(run: _Run) -> None:
    run.is_full = True
    run.window = Window(run.window.since, run.rt.now() + AHEAD + SPARE)


def _apply(run: _Run, readings: Iterator[Reading]) -> None:
    """Store part after part; the cursor is kept in mind until the run has come to its end."""
    rt = run.rt
    while True:
        with rt.db.begin() as tx:
            fetch = next_fetch(tx)
        reading = next(readings, None)
        if reading is None:
            return
        looked = _looked(run, fetch)
        with rt.db.begin() as tx:
            events = _of_interest(tx, run, reading)
            stored = store_page(tx, Page(events, reading.unreadable), looked, vault=rt.vault)
            gone = remove_named(tx, run.id, reading.removed, looked, vault=rt.vault)
            gone += remove_rest_of_series(
                tx,
                run.id,
                reading.replaced,
                looked,
                vault=rt.vault,
                since=rt.now(),
                until=run.window.until,
            )
            # Last, because it locks the calendar, and a receiver does not wait long for that lock.
            still_mine(tx, Calendar, run.claimed)
        run.listing.pages += 1
        run.listing.changes += stored.changed + gone
        run.tells_what_is_gone &= all(row.external_id for row in reading.unreadable)
        run.cursor = reading.cursor or run.cursor


def _of_interest(tx: Tx, run: _Run, reading: Reading) -> tuple[FoundEvent, ...]:
    """Leave out what lies outside the window, unless we know it: then it has moved there."""
    outside = {
        found.event.external_id
        for found in reading.events
        if found.event.end <= run.window.since or found.event.start >= run.window.until
    }
    if not outside:
        return reading.events
    known = set(
        tx.execute(
            select(CalendarEvent.external_id).where(
                CalendarEvent.calendar_id == run.id, CalendarEvent.external_id.in_(outside)
            )
        ).scalars()
    )
    return tuple(
        found
        for found in reading.events
        if found.event.external_id not in outside or found.event.external_id in known
    )


def _looked(run: _Run, fetch: int) -> Looked:
    return Looked(
        run.calendar["source"],
        fetch,
        run.listing.run_id,
        run.rt.now(),
        notified_at=run.calendar["asked_at"],
        within=run.id,
    )


def _finish(run: _Run) -> None:
    rt = run.rt
    asked_again = CALENDARS.c.wanted > run.claimed.wanted
    with rt.db.begin() as tx:
        set_status(tx, run.id, "connected", None, now=rt.now())
        still_mine(tx, Calendar, run.claimed)
        values: dict[str, object] = {
            "needs_check": case((asked_again, CALENDARS.c.needs_check), else_=False),
            "last_synced_at": func.now(),
            "cursor": run.cursor,
        }
        if run.is_full:
            values |= {
                "needs_full": not run.tells_what_is_gone,
                "last_full_at": func.now(),
                "window_until": run.window.until,
            }
        tx.execute(update(CALENDARS).where(CALENDARS.c.id == run.id).values(**values))
        end_run(tx, run.listing)
        channels.want_one(tx, run.id)
        if run.listing.changes and not (run.was_told or run.is_full):
            channels.missed(tx, run.id)
        due.finish(tx, Calendar, run.claimed)
    if run.calendar["asked_at"] is not None:
        lag = (rt.now() - run.calendar["asked_at"]).total_seconds()
        metrics.SYNC_LAG.observe(max(0.0, lag))
    log.info(
        "calendar_synced",
        calendar_id=str(run.id),
        status="connected",
        is_full=run.is_full,
        pages=run.listing.pages,
        changes=run.listing.changes,
    )


def _note_gone(run: _Run) -> None:
    """The provider has no such calendar any more: it is disconnected, and its channels are not wanted."""
    rt = run.rt
    with rt.db.begin() as tx:
        reason = "the calendar is not at the provider any more"
        set_status(tx, run.id, "disconnected", reason, now=rt.now())
        still_mine(tx, Calendar, run.claimed)
        channels.want_none(tx, run.id)
    _leave(rt, run.claimed, run.calendar)


def _leave(rt: Runtime, claimed: due.Claim, calendar: RowMapping) -> None:
    """End a turn in which the calendar could not be read; when it is connected again, all of it is."""
    with rt.db.begin() as tx:
        still_mine(tx, Calendar, claimed)
        tx.execute(
            update(DELIVERIES)
            .where(
                DELIVERIES.c.state == "stored",
                DELIVERIES.c.source == calendar["source"],
                DELIVERIES.c.ref == str(calendar["id"]),
            )
            .values(state="ignored", reason="calendar_not_connected", done_at=func.now())
        )
        tx.execute(
            update(CALENDARS)
            .where(CALENDARS.c.id == calendar["id"])
            .values(needs_full=True, needs_check=False)
        )
        if calendar["deleted_at"] is not None:
            channels.want_none(tx, calendar["id"])
        due.finish(tx, Calendar, claimed)
