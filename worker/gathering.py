"""Which events have to be settled together: a change of one may decide about another."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlalchemy import and_, func, or_, select, true, tuple_

from models.db import Tx
from models.tables.calendars import Calendar
from models.tables.due import table_of
from models.tables.events import CalendarEvent
from models.tables.installation import Installation
from models.tables.slots import Slot, Want

CALENDARS = table_of(Calendar)
EVENTS = table_of(CalendarEvent)
SLOTS = table_of(Slot)
WANTS = table_of(Want)
_DEFAULT_RULES = select(Installation.rules)


def gather(tx: Tx, *, limit: int, now: datetime) -> set[UUID]:
    """
    Pick up to *limit* unsettled events, soonest first, and all others that may change with them.

    Those are unsettled events that share a slot with them, the occurrences of a series of which only
    the first is recorded, and the copies of a meeting that carry another link.
    """
    soonest = select(EVENTS.c.id).where(EVENTS.c.unsettled).order_by(EVENTS.c.start_at).limit(limit)
    picked = set(tx.execute(soonest).scalars())
    if not picked:
        return picked
    picked |= _sharing(tx, picked)
    picked |= _siblings(tx, picked, now=now)
    picked |= _copies_with_other_links(tx, picked)
    return picked


def calendars_with_first(tx: Tx, *, among: Collection[UUID] | None = None) -> list[UUID]:
    """List the calendars, all or *among* some, of whose series only the first upcoming event is recorded."""
    if among is not None and not among:
        return []
    recurring = CALENDARS.c.rules["recurring"].astext
    is_by_own = and_(CALENDARS.c.rules.is_not(None), recurring == "first")
    default = tx.execute(_DEFAULT_RULES).scalar_one_or_none() or {}
    is_first = or_(is_by_own, CALENDARS.c.rules.is_(None))
    is_meant = is_first if default.get("recurring") == "first" else is_by_own
    those = true() if among is None else CALENDARS.c.id.in_(among)
    return list(tx.execute(select(CALENDARS.c.id).where(is_meant, those)).scalars())


def _sharing(tx: Tx, picked: set[UUID]) -> set[UUID]:
    """Return the unsettled events that share a slot, and those that stand in one of another link."""
    shared = select(WANTS.c.slot_id).where(WANTS.c.event_id.in_(picked))
    found = tx.execute(
        select(EVENTS.c.id)
        .join(WANTS, WANTS.c.event_id == EVENTS.c.id)
        .join(SLOTS, SLOTS.c.id == WANTS.c.slot_id)
        .where(
            WANTS.c.slot_id.in_(shared),
            or_(EVENTS.c.unsettled, EVENTS.c.link_key != SLOTS.c.link_key),
        )
    )
    return set(found.scalars())


def _siblings(tx: Tx, picked: set[UUID], *, now: datetime) -> set[UUID]:
    series = (
        select(EVENTS.c.calendar_id, EVENTS.c.series_id)
        .where(EVENTS.c.id.in_(picked), EVENTS.c.series_id.is_not(None))
        .distinct()
        .subquery()
    )
    # Under the rule "first" one occurrence's change decides about its siblings.
    of_series = tx.execute(select(series)).all()
    firsts = set(calendars_with_first(tx, among={row.calendar_id for row in of_series}))
    if not firsts:
        return set()
    found = tx.execute(
        select(EVENTS.c.id)
        .join(
            series,
            (series.c.calendar_id == EVENTS.c.calendar_id) & (series.c.series_id == EVENTS.c.series_id),
        )
        .where(EVENTS.c.calendar_id.in_(firsts), EVENTS.c.end_at > now)
    )
    return set(found.scalars())


def _copies_with_other_links(tx: Tx, picked: set[UUID]) -> set[UUID]:
    """Return all copies of those meetings of which not every copy carries the same link."""
    meeting = tuple_(EVENTS.c.ical_uid, EVENTS.c.start_at)
    is_copy = and_(EVENTS.c.ical_uid != "", EVENTS.c.link_key.is_not(None))
    of_picked = select(EVENTS.c.ical_uid, EVENTS.c.start_at).where(EVENTS.c.id.in_(picked), is_copy)
    differing = (
        select(EVENTS.c.ical_uid, EVENTS.c.start_at)
        .where(meeting.in_(of_picked), is_copy)
        .group_by(EVENTS.c.ical_uid, EVENTS.c.start_at)
        .having(func.count(EVENTS.c.link_key.distinct()) > 1)
    )
    return set(tx.execute(select(EVENTS.c.id).where(meeting.in_(differing), is_copy)).scalars())
