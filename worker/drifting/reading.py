"""
What a provider shows of calendars now, and what we have of them at that moment.

Takes no calendar's lease and writes nothing of a calendar: whoever syncs goes on beside it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import RowMapping, func, select

from models.db import Tx
from models.tables.calendars import Calendar
from models.tables.due import table_of
from models.tables.events import CalendarEvent
from models.tables.installation import Source
from worker import tokens
from worker.drifting.comparing import Kept, Look, Row, Shown
from worker.errors import ConfigError
from worker.looked import Looked, next_fetch
from worker.ports import FoundEvent, Unreadable
from worker.ports_direct import Window
from worker.runtime import Runtime
from worker.syncing import RECALL
from worker.syncing.direct import AHEAD, BACK, SPARE

CALENDARS = table_of(Calendar)
EVENTS = table_of(CalendarEvent)
SOURCES = table_of(Source)

#: A change this young may not have been notified yet.
ON_ITS_WAY = timedelta(minutes=1)
#: Where a direct reading ends, providers go by the calendar's own time zone for all-day events.
EDGE = timedelta(days=1)
#: Clocks of ours and of a provider agree at least so well.
SKEW = timedelta(minutes=2)
FOR_EVER = datetime.max.replace(tzinfo=UTC)

_COLUMNS = (
    *(EVENTS.c.id, EVENTS.c.calendar_id, EVENTS.c.external_id, EVENTS.c.start_at, EVENTS.c.end_at),
    *(EVENTS.c.deleted, EVENTS.c.content_hash, EVENTS.c.fetch, EVENTS.c.provider_updated_at),
)


def look(rt: Runtime, calendars: Sequence[RowMapping]) -> list[Look]:
    """
    Read what one listing shows of these calendars, having taken down what we have of them.

    Several are read together only at Recall. Raises what the ports raise.
    """
    with rt.db.begin() as tx:
        before = keep(tx, [one["id"] for one in calendars])
        fetch = next_fetch(tx)
        began_at: datetime = tx.execute(select(func.clock_timestamp())).scalar_one()
    now = rt.now()
    if calendars[0]["connection_id"] is None:
        shown_by_id = _shown_at_recall(rt, calendars)
        until = FOR_EVER
    else:
        window = Window(now - BACK, calendars[0]["window_until"] or now + AHEAD + SPARE)
        shown_by_id = {calendars[0]["id"]: _shown_directly(rt, calendars[0], window)}
        until = window.until - EDGE
    return [
        Look(
            calendar_id=one["id"],
            shown=shown_by_id[one["id"]],
            before=before[one["id"]],
            looked=Looked(
                one["source"],
                fetch,
                UUID(int=0),  # of no run: nothing is stored
                now,
                within=None if one["connection_id"] is None else one["id"],
            ),
            span=Window(now, until),
            fresh_since=began_at - ON_ITS_WAY,
        )
        for one in calendars
        if one["id"] in before
    ]


def keep(tx: Tx, calendar_ids: Iterable[UUID]) -> dict[UUID, Kept]:
    """Take down what we have of calendars now; those that are not followed any more are left out."""
    ids = list(calendar_ids)
    source = tx.execute(select(SOURCES).where(SOURCES.c.name == RECALL)).mappings().one_or_none()
    present = (
        tx.execute(
            select(CALENDARS).where(
                CALENDARS.c.id.in_(ids),
                CALENDARS.c.deleted_at.is_(None),
                CALENDARS.c.status == "connected",
            )
        )
        .mappings()
        .all()
    )
    rows: dict[UUID, dict[str, Row]] = defaultdict(dict)
    for row in tx.execute(select(*_COLUMNS).where(EVENTS.c.calendar_id.in_(ids))).mappings():
        rows[row["calendar_id"]][row["external_id"]] = row
    return {
        calendar["id"]: Kept(
            rows=rows[calendar["id"]],
            is_due=_is_due(calendar) or (_is_at_recall(calendar) and _is_due(source)),
            is_due_whole=_is_due(calendar) and calendar["needs_full"],
            seen_until=_seen_until(calendar, source),
        )
        for calendar in present
    }


def _shown_at_recall(rt: Runtime, calendars: Sequence[RowMapping]) -> Mapping[UUID, Shown]:
    if rt.recall is None:
        msg = "no Recall API key is configured (PUNCTUAL_RECALL_API_KEY)"
        raise ConfigError(msg)
    id_by_ref = {one["external_id"]: one["id"] for one in calendars}
    gathered = {one["id"]: _Gathered() for one in calendars}
    alone = calendars[0]["external_id"] if len(calendars) == 1 else None
    for page in rt.recall.changes(None, calendar=alone):
        for found in page.events:
            if found.calendar_ref in id_by_ref:
                gathered[id_by_ref[found.calendar_ref]].add(found)
        for row in page.unreadable:
            if row.calendar_ref is None:  # anybody's
                for one in gathered.values():
                    one.miss(row)
            elif row.calendar_ref in id_by_ref:
                gathered[id_by_ref[row.calendar_ref]].miss(row)
    return {calendar_id: one.shown() for calendar_id, one in gathered.items()}


def _shown_directly(rt: Runtime, calendar: RowMapping, window: Window) -> Shown:
    access = tokens.access(rt, calendar["connection_id"])
    gathered = _Gathered()
    for reading in rt.accounts[access.platform].read_all(
        access.token, calendar["external_id"], window, email=access.email
    ):
        for found in reading.events:
            gathered.add(found)
        for row in reading.unreadable:
            gathered.miss(row)
        for name in reading.removed:
            gathered.remove(name)
    return gathered.shown()


class _Gathered:
    """What was shown of one calendar so far, applied in the order in which it came, as storing does."""

    def __init__(self) -> None:
        self._found: dict[str, FoundEvent] = {}
        self._unreadable: set[str] = set()
        self._is_complete = True

    def add(self, found: FoundEvent) -> None:
        known = self._found.get(found.event.external_id)
        if known is None or found.updated_at >= known.updated_at:
            self._found[found.event.external_id] = found

    def miss(self, row: Unreadable) -> None:
        """Take note of a row that makes no sense; without an id it may be any event."""
        self._unreadable.add(row.external_id)
        self._is_complete &= bool(row.external_id)

    def remove(self, name: str) -> None:
        self._found = {
            ref: found for ref, found in self._found.items() if name not in {ref, found.event.series_id}
        }

    def shown(self) -> Shown:
        return Shown(self._found, frozenset(self._unreadable), self._is_complete)


def _is_at_recall(calendar: RowMapping) -> bool:
    return calendar["connection_id"] is None


def _is_due(row: RowMapping | None) -> bool:
    """Say whether a worker is at it or will be; nobody is at what was set aside."""
    return row is not None and row["is_pending"] and row["parked_at"] is None


def _seen_until(calendar: RowMapping, source: RowMapping | None) -> datetime | None:
    if _is_at_recall(calendar):
        return None if source is None else source["cursor_at"]
    synced_at: datetime | None = calendar["last_synced_at"]
    return None if synced_at is None else synced_at - SKEW
