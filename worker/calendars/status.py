"""How the connection to a calendar stands, what follows for its events, and who is told."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from sqlalchemy import RowMapping, Select, func, select, update

from models.db import Tx
from models.domain.emitted import Emitted, Type, differences, subject_of
from models.tables import due
from models.tables.calendars import Calendar
from models.tables.due import table_of
from models.tables.events import CalendarEvent
from models.tables.slots import Slot, Want
from worker.outbox import emit
from worker.views import calendar_view, load_calendars

CALENDARS = table_of(Calendar)
EVENTS = table_of(CalendarEvent)
WANTS = table_of(Want)

#: Fields that change by themselves and are no news.
_NO_NEWS = frozenset({"updated_at", "last_synced_at", "oldest_pending_at"})
_TYPE_BY_STATUS = {
    "connected": Type.CALENDAR_CONNECTED,
    "needs_reauth": Type.CALENDAR_NEEDS_REAUTH,
    "disconnected": Type.CALENDAR_DISCONNECTED,
}


def set_status(
    tx: Tx,
    calendar_id: UUID,
    status: str,
    reason: str | None,
    *,
    now: datetime,
    email: str | None = None,
    platform: str | None = None,
) -> bool:
    """
    Store how the connection to a calendar stands, and tell the world exactly when it changed.

    What is None of *email* and *platform* stays. Upcoming events are decided again when the change
    matters to them: to or from disconnected, or another address. True when the status changed.
    Emits, so it comes last in its transaction. Deleted calendars are left alone.
    """
    seen = find_row(tx, calendar_id)
    if seen is None or not _wanted(seen, status, reason, email, platform):
        return False
    lock_upcoming(tx, [calendar_id], now=now)
    if status == "connected":
        _ask_for_held(tx, calendar_id)
    row = lock_calendar(tx, calendar_id)
    if row is None:
        return False
    wanted = _wanted(row, status, reason, email, platform)
    if not wanted:
        return False
    before = calendar_view(row)
    tx.execute(
        update(CALENDARS).where(CALENDARS.c.id == calendar_id).values(**wanted, updated_at=func.now())
    )
    has_changed: bool = row["status"] != status
    if wanted["email"] != row["email"] or (has_changed and "disconnected" in {status, row["status"]}):
        unsettle_upcoming(tx, [calendar_id], now=now)
    if has_changed and status in _TYPE_BY_STATUS:
        after = load_calendars(tx, [calendar_id])[calendar_id]
        previous = differences(before, after, ignoring=_NO_NEWS)
        emit(
            tx,
            [
                Emitted(
                    type=_TYPE_BY_STATUS[status],
                    subject=subject_of("calendar", calendar_id),
                    time=now,
                    data=after,
                    previous=previous,
                    changed=tuple(previous),
                )
            ],
        )
    return has_changed


def _ask_for_held(tx: Tx, calendar_id: UUID) -> None:
    """Have bots looked at that could not be cared for while nobody could be asked for them."""
    wanting = select(WANTS.c.slot_id).join(EVENTS, EVENTS.c.id == WANTS.c.event_id)
    of_calendar = wanting.where(EVENTS.c.calendar_id == calendar_id).distinct()
    due.ask(tx, Slot, tx.execute(of_calendar).scalars())


def _wanted(
    row: RowMapping, status: str, reason: str | None, email: str | None, platform: str | None
) -> dict[str, str | None]:
    """Return what a calendar's row should say, nothing when it says so already."""
    wanted = {
        "status": status,
        "status_reason": reason,
        "email": email.strip().lower() if email else row["email"],
        "platform": platform or row["platform"],
    }
    return {} if all(row[name] == value for name, value in wanted.items()) else wanted


def mark_deleted(tx: Tx, calendar_id: UUID, *, now: datetime, reason: str) -> bool:
    """Take a calendar out of sight and its events out of consideration; False if it was already."""
    lock_upcoming(tx, [calendar_id], now=now)
    if lock_calendar(tx, calendar_id) is None:
        return False
    tx.execute(
        update(CALENDARS)
        .where(CALENDARS.c.id == calendar_id)
        .values(
            deleted_at=func.now(),
            status="disconnected",
            status_reason=reason,
            updated_at=func.now(),
        )
    )
    unsettle_upcoming(tx, [calendar_id], now=now)
    emit(
        tx,
        [
            Emitted(
                type=Type.CALENDAR_DELETED,
                subject=subject_of("calendar", calendar_id),
                time=now,
                data=load_calendars(tx, [calendar_id])[calendar_id],
            )
        ],
    )
    return True


def unsettle_upcoming(tx: Tx, calendar_ids: Iterable[UUID], *, now: datetime) -> int:
    """
    Have every event of these calendars that has not ended decided again; how many is returned.

    Whoever locks calendars in the same transaction locks their upcoming events first.
    """
    locked = _upcoming(calendar_ids, now).cte("locked")
    return tx.execute(
        update(EVENTS).where(EVENTS.c.id.in_(select(locked.c.id))).values(unsettled=True)
    ).rowcount


def lock_upcoming(tx: Tx, calendar_ids: Iterable[UUID], *, now: datetime) -> None:
    """
    Lock the events of these calendars that have not ended, before any of the calendars is locked.

    A listing locks the events of a page and then the calendar; everybody keeps to this order.
    """
    tx.execute(_upcoming(calendar_ids, now))


def _upcoming(calendar_ids: Iterable[UUID], now: datetime) -> Select[UUID]:
    return (
        select(EVENTS.c.id)
        .where(EVENTS.c.calendar_id.in_(list(calendar_ids)), EVENTS.c.end_at > now)
        .order_by(EVENTS.c.id)
        .with_for_update()
    )


def find_row(tx: Tx, calendar_id: UUID) -> RowMapping | None:
    """Read the row of a calendar that was not deleted, without locking it; None when there is none."""
    live = select(CALENDARS).where(CALENDARS.c.id == calendar_id, CALENDARS.c.deleted_at.is_(None))
    return tx.execute(live).mappings().one_or_none()


def lock_calendar(tx: Tx, calendar_id: UUID) -> RowMapping | None:
    """Lock the row of a calendar that was not deleted; None when there is none."""
    return (
        tx.execute(
            select(CALENDARS)
            .where(CALENDARS.c.id == calendar_id, CALENDARS.c.deleted_at.is_(None))
            .with_for_update(key_share=True)
        )
        .mappings()
        .one_or_none()
    )
