"""
A calendar of ours against the same at its provider: which events are not as they should be. Pure.

What a difference proves depends on the time. Whatever of ours changed while the provider was read is not
compared, and what a look that is due, or a notification on its way, will see to is counted and not told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping

from worker.drifting.found import Compared, Difference, Kind
from worker.looked import Looked
from worker.ports import FoundEvent
from worker.ports_direct import Window
from worker.storing import is_news
from worker.views import moment

#: A stored event's columns by name.
Row = RowMapping | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Shown:
    """
    What a provider shows of one calendar now.

    *is_complete* says that whatever is not among it is not there.
    """

    found: Mapping[str, FoundEvent]
    unreadable: frozenset[str] = frozenset()
    is_complete: bool = True


@dataclass(frozen=True, slots=True)
class Kept:
    """
    What we have of one calendar at one moment: its events' rows, by the provider's ids.

    *is_due* says that the calendar is about to be looked at, or is being; *is_due_whole* that all of it
    is. Changes up to *seen_until* have been looked at before.
    """

    rows: Mapping[str, Row]
    is_due: bool = False
    is_due_whole: bool = False
    seen_until: datetime | None = None

    def sees_to(self, changed_at: datetime | None) -> bool:
        """Say whether the look that is due will find a change of that time (None: not known when)."""
        if self.is_due_whole:
            return True
        is_new = changed_at is None or self.seen_until is None or changed_at > self.seen_until
        return self.is_due and is_new


@dataclass(frozen=True, slots=True)
class Look:
    """
    One look at a calendar: what was shown, what we had just before, and the time that is of interest.

    Of changes later than *fresh_since* we may not have been told yet.
    """

    calendar_id: UUID
    shown: Shown
    before: Kept
    looked: Looked
    span: Window
    fresh_since: datetime


def compare(look: Look, after: Kept) -> Compared:
    """Compare a calendar with what we had of it before and *after* it was read."""
    differences: list[Difference] = []
    awaited = size = 0
    for name in sorted({*look.shown.found, *after.rows} - look.shown.unreadable):
        row, found = after.rows.get(name), look.shown.found.get(name)
        if not _is_of_interest(look.span, row, found):
            continue
        size += 1
        if _version(look.before.rows.get(name)) != _version(row):
            continue  # it changed meanwhile: the two are not of one time
        difference = _difference(look, name, row, found)
        if difference is None:
            continue
        changed_at = None if found is None else found.updated_at
        is_fresh = changed_at is not None and changed_at > look.fresh_since
        if is_fresh or look.before.sees_to(changed_at) or after.sees_to(changed_at):
            awaited += 1
        else:
            differences.append(difference)
    return Compared(tuple(differences), awaited, size)


def _difference(look: Look, name: str, row: Row | None, found: FoundEvent | None) -> Difference | None:
    """Say what a complete reading would change about an event; None when it would change nothing."""
    if found is None and not look.shown.is_complete:
        return None
    if found is not None and row is not None and not is_news(row, found, look.looked):
        return None
    if found is not None and _is_there(found):
        start = found.event.start
        if row is None or not _is_here(row):
            kind, reason = Kind.EVENT_MISSING, "the provider has it, and we do not"
        else:
            kind, reason = Kind.EVENT_DIFFERS, _how(row, found)
    elif row is not None and _is_here(row):
        start = row["start_at"]
        kind, reason = Kind.EVENT_GONE, "we have it, and the provider does not any more"
    else:
        return None
    event_id = None if row is None else row["id"]
    return Difference(kind, reason, look.calendar_id, event_id, external_id=name, at=start)


def _how(row: Row, found: FoundEvent) -> str:
    if (row["start_at"], row["end_at"]) != (found.event.start, found.event.end):
        return f"here it takes place from {moment(row['start_at'])} to {moment(row['end_at'])}"
    return "the provider says something else of it"


def _is_of_interest(span: Window, row: Row | None, found: FoundEvent | None) -> bool:
    """Say whether an event takes place in a span of time, here or there."""
    times = [(row["start_at"], row["end_at"])] if row is not None and _is_here(row) else []
    if found is not None and _is_there(found):
        times.append((found.event.start, found.event.end))
    return any(end > span.since and start < span.until for start, end in times)


def _is_here(row: Row) -> bool:
    return not row["deleted"]


def _is_there(found: FoundEvent) -> bool:
    return not found.event.deleted


def _version(row: Row | None) -> tuple[object, ...] | None:
    if row is None:
        return None
    return (row["content_hash"], row["deleted"], row["fetch"], row["provider_updated_at"])
