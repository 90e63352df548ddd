"""List, adopt, change, remove and look again at calendars."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import and_, func, insert, literal, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert

from models.db import Tx
from models.tables import due
from models.tables.base import new_id
from models.tables.calendars import IS_OF_WORKSPACE, Calendar
from worker import jobs
from worker.calendars.status import (
    CALENDARS,
    lock_calendar,
    lock_upcoming,
    mark_deleted,
    unsettle_upcoming,
)
from worker.runtime import Runtime
from worker.views import calendar_view, load_calendars

RECALL = "recall"


def list_calendars(
    tx: Tx,
    *,
    after: tuple[datetime, UUID] | None,
    limit: int,
    matching: Mapping[str, str] | None = None,
) -> list[tuple[tuple[datetime, UUID], dict[str, Any]]]:
    """
    List calendars that were not deleted, oldest first, each with its place in the list.

    *matching* holds exact values by column: status, owner, email, external_id.
    """
    query = select(CALENDARS).where(CALENDARS.c.deleted_at.is_(None))
    for column, value in (matching or {}).items():
        query = query.where(CALENDARS.c[column] == value)
    if after is not None:
        query = query.where(
            tuple_(CALENDARS.c.created_at, CALENDARS.c.id) > tuple_(*map(literal, after))
        )
    rows = tx.execute(query.order_by(CALENDARS.c.created_at, CALENDARS.c.id).limit(limit)).mappings()
    return [((row["created_at"], row["id"]), calendar_view(row)) for row in rows]


def find_calendar(tx: Tx, calendar_id: UUID) -> dict[str, Any] | None:
    """Show one calendar; None when there is none, or not any more."""
    row = (
        tx.execute(
            select(CALENDARS).where(CALENDARS.c.id == calendar_id, CALENDARS.c.deleted_at.is_(None))
        )
        .mappings()
        .one_or_none()
    )
    return None if row is None else calendar_view(row)


def adopt(
    rt: Runtime,
    external_id: str,
    *,
    source: str = RECALL,
    owner: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], bool]:
    """
    Follow a calendar that exists at its provider; the second value says whether it is new to us.

    Following it already is success, and looks again.
    """
    with rt.db.begin() as tx:
        calendar_id, is_new = adopt_row(tx, external_id, source=source, revive=True)
        describe(tx, calendar_id, owner=owner, metadata=metadata)
        view = load_calendars(tx, [calendar_id])[calendar_id]
    rt.bell.ring(jobs.SYNC_CALENDAR, str(calendar_id))
    return view, is_new


def adopt_row(
    tx: Tx,
    external_id: str,
    *,
    source: str = RECALL,
    revive: bool = False,
    now: datetime | None = None,
) -> tuple[UUID, bool]:
    """
    Make sure there is a row for a provider's calendar, and ask for a check and a full listing.

    A calendar that was deleted here stays deleted, and is not asked for, unless *revive*. The second
    value says whether the row is new or came back. *now* is for those who change its status next:
    its upcoming events are locked before it.
    """
    made = tx.execute(
        upsert(CALENDARS)
        .values(id=new_id(), source=source, external_id=external_id)
        .on_conflict_do_nothing(
            index_elements=[CALENDARS.c.source, CALENDARS.c.external_id], index_where=IS_OF_WORKSPACE
        )
        .returning(CALENDARS.c.id)
    ).scalar_one_or_none()
    if made is not None:
        due.ask(tx, Calendar, [made], now=True)
        return made, True
    one = select(CALENDARS.c.id, CALENDARS.c.deleted_at).where(
        CALENDARS.c.source == source,
        CALENDARS.c.external_id == external_id,
        CALENDARS.c.connection_id.is_(None),
    )
    if now is not None:
        lock_upcoming(tx, [tx.execute(one).one().id], now=now)
    known = tx.execute(one.with_for_update()).one()
    calendar_id, was_deleted = known.id, known.deleted_at is not None
    if was_deleted and not revive:
        return calendar_id, False
    if was_deleted:
        tx.execute(
            update(CALENDARS)
            .where(CALENDARS.c.id == calendar_id)
            .values(deleted_at=None, status="connecting", status_reason=None, updated_at=func.now())
        )
    look_again(tx, calendar_id)
    return calendar_id, was_deleted


def adopt_of_connection(
    tx: Tx, connection_id: UUID, *, source: str, external_id: str, now: datetime
) -> tuple[UUID, bool]:
    """
    Make sure there is a row for a calendar of a connected account, and ask for all of it.

    The second value says whether it is new, or came back after having been deleted here.
    """
    is_it = and_(CALENDARS.c.connection_id == connection_id, CALENDARS.c.external_id == external_id)
    known = tx.execute(select(CALENDARS.c.id, CALENDARS.c.deleted_at).where(is_it)).one_or_none()
    if known is None:
        calendar_id = new_id()
        tx.execute(
            insert(CALENDARS).values(
                id=calendar_id, source=source, external_id=external_id, connection_id=connection_id
            )
        )
        due.ask(tx, Calendar, [calendar_id], now=True)
        return calendar_id, True
    lock_upcoming(tx, [known.id], now=now)
    if known.deleted_at is not None:
        values = {"deleted_at": None, "status": "connecting", "status_reason": None}
        tx.execute(update(CALENDARS).where(is_it).values(**values, updated_at=func.now()))
    look_again(tx, known.id)
    return known.id, known.deleted_at is not None


def change(
    rt: Runtime,
    calendar_id: UUID,
    *,
    owner: str | None = None,
    forget_owner: bool = False,
    metadata: Mapping[str, Any] | None = None,
    paused: bool | None = None,
) -> dict[str, Any] | None:
    """Change what is ours about a calendar; None when there is no such calendar. None leaves a field."""
    with rt.db.begin() as tx:
        if paused is not None:
            lock_upcoming(tx, [calendar_id], now=rt.now())
        row = lock_calendar(tx, calendar_id)
        if row is None:
            return None
        values: dict[str, Any] = {"updated_at": func.now()}
        if owner is not None or forget_owner:
            values["owner"] = owner
        if metadata is not None:
            values["metadata"] = dict(metadata)
        if paused is not None:
            values["paused"] = paused
        tx.execute(update(CALENDARS).where(CALENDARS.c.id == calendar_id).values(values))
        if paused is not None and paused != row["paused"]:
            unsettle_upcoming(tx, [calendar_id], now=rt.now())
        view = load_calendars(tx, [calendar_id])[calendar_id]
    rt.bell.ring(jobs.SETTLE)
    return view


def remove(rt: Runtime, calendar_id: UUID) -> bool:
    """
    Stop following a calendar and remove it at Recall; its bots go with it.

    False when there is no such calendar. Safe to repeat after any failure.
    """
    with rt.db.begin() as tx:
        view = find_calendar(tx, calendar_id)
    if view is None:
        return False
    if view["source"] == RECALL and rt.recall is not None:
        rt.recall.disconnect(view["external_id"])
    with rt.db.begin() as tx:
        mark_deleted(tx, calendar_id, now=rt.now(), reason="deleted by the user")
        if view["connection_id"] is not None:
            due.ask(tx, Calendar, [calendar_id], now=True)  # its push channels have to be stopped
    if view["connection_id"] is not None:
        rt.bell.ring(jobs.SYNC_CALENDAR, str(calendar_id))
    rt.bell.ring(jobs.SETTLE)
    rt.bell.ring(jobs.RELAY)
    return True


def sync(rt: Runtime, calendar_id: UUID) -> dict[str, Any] | None:
    """Ask for a check and a full listing now; None when there is no such calendar."""
    with rt.db.begin() as tx:
        if lock_calendar(tx, calendar_id) is None:
            return None
        look_again(tx, calendar_id)
        view = load_calendars(tx, [calendar_id])[calendar_id]
    rt.bell.ring(jobs.SYNC_CALENDAR, str(calendar_id))
    return view


def describe(
    tx: Tx, calendar_id: UUID, *, owner: str | None, metadata: Mapping[str, Any] | None
) -> None:
    """Store what the user says about a calendar; None leaves a field."""
    values: dict[str, Any] = {}
    if owner is not None:
        values["owner"] = owner
    if metadata is not None:
        values["metadata"] = dict(metadata)
    if values:
        tx.execute(
            update(CALENDARS)
            .where(CALENDARS.c.id == calendar_id)
            .values(**{**values, "updated_at": func.now()})
        )


def look_again(tx: Tx, calendar_id: UUID) -> None:
    """Ask for a check and a complete listing."""
    tx.execute(
        update(CALENDARS).where(CALENDARS.c.id == calendar_id).values(needs_check=True, needs_full=True)
    )
    due.ask(tx, Calendar, [calendar_id], now=True)
