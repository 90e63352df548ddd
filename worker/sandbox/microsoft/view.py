"""
What a calendar shows: single events, series masters, and the occurrences and exceptions of a stretch of time.

Source: learn.microsoft.com/graph/api/calendar-list-calendarview and …/event-list-instances.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

from worker.sandbox.microsoft import ids
from worker.sandbox.microsoft.details import Details
from worker.sandbox.microsoft.mailbox import Item
from worker.sandbox.microsoft.times import midnight

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Entry:
    """An item, or with *on* the occurrence or exception of a series that began on that date."""

    item: Item
    on: date | None = None

    @property
    def type(self) -> str:
        if self.item.recurrence is None:
            return "singleInstance"
        if self.on is None:
            return "seriesMaster"
        return "exception" if self.on in self.item.exceptions else "occurrence"

    @property
    def details(self) -> Details:
        if self.on is None:
            return self.item.details
        whole = self.item.details
        start = start_on(self.item, self.on)
        plain = replace(whole, start=start, end=start + whole.length)
        return replace(plain, **self.item.exceptions.get(self.on, {}))

    @property
    def original_start(self) -> datetime | None:
        return None if self.on is None else start_on(self.item, self.on)

    def id(self, *, immutable: bool) -> str:
        return self.item.id(self.on, immutable=immutable)

    def uid(self, *, shared_by_series: bool) -> str:
        return ids.uid_on(self.item.uid, None if shared_by_series else self.on)


def start_on(item: Item, on: date) -> datetime:
    """Return when the occurrence of a date begins: at the series' own reading of the clock."""
    details = item.details
    if details.all_day:
        return midnight(on)
    clock = details.start.astimezone(details.zone.rules).time()
    return datetime.combine(on, clock, tzinfo=details.zone.rules).astimezone(UTC)


def date_of(details: Details, at: datetime) -> date:
    """Return the date of an instant where the series lives."""
    return at.date() if details.all_day else at.astimezone(details.zone.rules).date()


def has_occurrence(item: Item, on: date) -> bool:
    """Tell whether a series has, still has, an occurrence that began on this date by its pattern."""
    if item.recurrence is None or on in item.removed_on:
        return False
    return on in item.exceptions or next(item.recurrence.dates(on, on), None) is not None


def entries_between(items: Iterable[Item], start: datetime, end: datetime) -> Iterator[Entry]:
    """Yield what overlaps [start, end): singles, occurrences and exceptions, no masters."""
    for item in items:
        yield from instances(item, start, end)


def instances(item: Item, start: datetime, end: datetime) -> Iterator[Entry]:
    """Yield an item's share of [start, end) by start; of a series, what is left of it."""
    if item.recurrence is None:
        if _overlaps(item.details, start, end):
            yield Entry(item)
        return
    first = date_of(item.details, start - item.details.length) - DAY
    days = set(item.recurrence.dates(first, end.date() + DAY)) | item.exceptions.keys()
    shown = [Entry(item, on) for on in days - item.removed_on]
    inside = [entry for entry in shown if _overlaps(entry.details, start, end)]
    yield from sorted(inside, key=lambda entry: entry.details.start)


def _overlaps(details: Details, start: datetime, end: datetime) -> bool:
    if details.start == details.end:
        return start <= details.start < end
    return details.start < end and details.end > start
