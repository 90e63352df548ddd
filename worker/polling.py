"""
Look at the calendars that we read ourselves although nobody told us to; keep their accounts and channels.

Pushes get lost, and channels die without a word. So every calendar is looked at now and then, more often
when one of its meetings is near, and read as a whole once a day.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Interval, and_, bindparam, func, or_, select, update

from models.db import Tx
from models.tables import due
from models.tables.calendars import Calendar
from models.tables.due import table_of
from models.tables.events import CalendarEvent
from worker import channels, tokens
from worker.runtime import Runtime

CALENDARS = table_of(Calendar)
EVENTS = table_of(CalendarEvent)

#: How often anybody looks, and how much is asked for at once: some five hundred calendars a minute.
EVERY = timedelta(seconds=5)
MOST = 50
SOON = timedelta(hours=2)
READ_WHOLE_EVERY = timedelta(days=1)

_IS_FOLLOWED = and_(
    CALENDARS.c.connection_id.is_not(None),
    CALENDARS.c.deleted_at.is_(None),
    CALENDARS.c.status == "connected",
    CALENDARS.c.is_pending.is_(False),
)
_HAS_MEETING_SOON = (
    select(EVENTS.c.id)
    .where(
        EVENTS.c.calendar_id == CALENDARS.c.id,
        EVENTS.c.start_at.between(bindparam("now"), bindparam("soon")),
        EVENTS.c.link_key.is_not(None),
        EVENTS.c.deleted.is_(False),
    )
    .exists()
)
# Built once: building a statement takes as long as having it carried out.
_UNSEEN = (
    select(CALENDARS.c.id)
    .where(
        _IS_FOLLOWED,
        or_(
            CALENDARS.c.last_synced_at < func.now() - bindparam("all", type_=Interval),
            and_(
                CALENDARS.c.last_synced_at < func.now() - bindparam("near", type_=Interval),
                _HAS_MEETING_SOON,
            ),
        ),
    )
    .order_by(CALENDARS.c.last_synced_at)
    .limit(MOST)
)
_UNREAD = (
    select(CALENDARS.c.id)
    .where(_IS_FOLLOWED, CALENDARS.c.last_full_at < func.now() - READ_WHOLE_EVERY)
    .order_by(CALENDARS.c.last_full_at)
    .limit(1)
)


def ask_for_unseen(tx: Tx, rt: Runtime) -> int:
    """Ask for the calendars that have not been looked at for long; how many is returned."""
    now = rt.now()
    asked = {
        "now": now,
        "soon": now + SOON,
        "all": rt.settings.reconcile_all,
        "near": rt.settings.reconcile_near,
    }
    unread = list(tx.execute(_UNREAD).scalars())
    if unread:
        tx.execute(update(CALENDARS).where(CALENDARS.c.id.in_(unread)).values(needs_full=True))
    unseen = list(tx.execute(_UNSEEN, asked).scalars())
    return due.ask(tx, Calendar, {*unread, *unseen})


def ask_for_accounts(tx: Tx, *, now: datetime) -> None:
    """Ask for what would end by itself: push channels, and tokens that nobody uses."""
    channels.ask_for_ageing(tx, now=now, limit=MOST)
    tokens.ask_for_idle(tx, now=now, limit=MOST)
