"""
Series: a pattern and a range, and the dates they name.

A series lives on dates of its own zone; what instant a date is, its caller knows.
Source: learn.microsoft.com/graph/api/resources/recurrencepattern and …/recurrencerange.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from typing import Any

from dateutil import rrule  # type: ignore[import-untyped]  # ships no types

from worker.sandbox.recall.forms import Json

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
INDICES = {"first": 1, "second": 2, "third": 3, "fourth": 4, "last": -1}
FREQUENCIES = {
    "daily": rrule.DAILY,
    "weekly": rrule.WEEKLY,
    "absoluteMonthly": rrule.MONTHLY,
    "relativeMonthly": rrule.MONTHLY,
    "absoluteYearly": rrule.YEARLY,
    "relativeYearly": rrule.YEARLY,
}
NEEDED = {
    "weekly": ("daysOfWeek",),
    "absoluteMonthly": ("dayOfMonth",),
    "relativeMonthly": ("daysOfWeek",),
    "absoluteYearly": ("dayOfMonth", "month"),
    "relativeYearly": ("daysOfWeek", "month"),
}
NO_DATE = "0001-01-01"
LAST_DATE = date(4500, 9, 1)  # Exchange's end of time; Python's lies later


class Kept(Enum):
    """What a change says of the pattern when it does not speak of it; None makes a single event."""

    KEPT = "kept"


@dataclass(frozen=True, slots=True)
class Recurrence:
    """A pattern over a range; *count* and *until* are None where the range is of another type."""

    type: str
    interval: int
    starts_on: date
    days: tuple[str, ...] = ()
    day_of_month: int = 0
    month: int = 0
    index: str = "first"
    week_starts: str = "sunday"
    until: date | None = None
    count: int | None = None

    def dates(self, first: date | None = None, last: date | None = None) -> Iterator[date]:
        """Yield the dates of the series from *first* to *last*, both included."""
        until = datetime.combine(min(self.until or LAST_DATE, LAST_DATE), datetime.min.time())
        rule = rrule.rrule(
            FREQUENCIES[self.type],
            dtstart=datetime.combine(self.starts_on, datetime.min.time()),
            interval=self.interval,
            wkst=DAYS.index(self.week_starts),
            **({"until": until} if self.count is None else {"count": self.count}),
            **self._days(),
        )
        for each in rule:
            on = each.date()
            if last is not None and on > last:
                return
            if first is None or on >= first:
                yield on

    def shown(self, zone_name: str) -> Json:
        """Write the pattern and range with every property, unused ones at their zero."""
        range_type = "numbered" if self.count is not None else "endDate" if self.until else "noEnd"
        return {
            "pattern": {
                "type": self.type,
                "interval": self.interval,
                "month": self.month,
                "dayOfMonth": self.day_of_month,
                "firstDayOfWeek": self.week_starts,
                "index": self.index,
            }
            | ({"daysOfWeek": list(self.days)} if self.days else {}),
            "range": {
                "type": range_type,
                "startDate": self.starts_on.isoformat(),
                "endDate": self.until.isoformat() if self.until else NO_DATE,
                "recurrenceTimeZone": zone_name,
                "numberOfOccurrences": self.count or 0,
            },
        }

    def _days(self) -> dict[str, Any]:
        weekdays = [DAYS.index(day) for day in self.days]
        months = {"bymonth": self.month} if self.type.endswith("Yearly") else {}
        if self.type == "weekly":
            return {"byweekday": weekdays}
        if self.type.startswith("relative"):
            return {"byweekday": weekdays, "bysetpos": INDICES[self.index], **months}
        if self.type.startswith("absolute"):
            # In a month without that day Exchange takes the month's last.
            allowed = range(min(self.day_of_month, 28), self.day_of_month + 1)
            return {"bymonthday": tuple(allowed), "bysetpos": -1, **months}
        return {}


NewPattern = Recurrence | Kept | None


def read(wish: object, starts_on: date) -> Recurrence:
    """
    Read a patternedRecurrence of an event that starts on *starts_on*.

    Raises:
        ValueError: something required is missing, or a value is none of those allowed.
    """
    if not isinstance(wish, Mapping) or not isinstance(wish.get("pattern"), Mapping):
        raise ValueError("recurrence needs a pattern and a range")  # noqa: TRY004  # as all that is unreadable
    pattern = wish["pattern"]
    span = wish.get("range") or {}
    kind = pattern.get("type")
    if kind not in FREQUENCIES:
        raise ValueError(f"pattern.type {kind!r} is unknown")
    if missing := [name for name in NEEDED.get(kind, ()) if not pattern.get(name)]:
        raise ValueError(f"a {kind} pattern needs {', '.join(missing)}")
    until, count = _end(span)
    recurrence = Recurrence(
        type=kind,
        interval=_positive(pattern.get("interval"), "pattern.interval"),
        starts_on=date.fromisoformat(span["startDate"]) if span.get("startDate") else starts_on,
        days=tuple(_one_of(DAYS, day, "daysOfWeek") for day in pattern.get("daysOfWeek") or ()),
        day_of_month=_within(pattern.get("dayOfMonth") or 0, 31, "dayOfMonth"),
        month=_within(pattern.get("month") or 0, 12, "month"),
        index=_one_of(tuple(INDICES), pattern.get("index") or "first", "index"),
        week_starts=_one_of(DAYS, pattern.get("firstDayOfWeek") or "sunday", "firstDayOfWeek"),
        until=until,
        count=count,
    )
    if next(recurrence.dates(), None) is None:
        raise ValueError("the series has no occurrence")
    return recurrence


def _end(span: Mapping[str, Any]) -> tuple[date | None, int | None]:
    match span.get("type", "noEnd"):
        case "noEnd":
            return None, None
        case "endDate":
            return date.fromisoformat(span["endDate"]), None
        case "numbered":
            return None, _positive(span.get("numberOfOccurrences"), "numberOfOccurrences")
        case other:
            raise ValueError(f"range.type {other!r} is unknown")


def _positive(value: object, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} is at least 1")
    return value


def _within(value: object, most: int, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise ValueError(f"{name} is at most {most}")
    return value


def _one_of(allowed: tuple[str, ...], value: object, name: str) -> str:
    if value not in allowed or not isinstance(value, str):
        raise ValueError(f"{name} {value!r} is unknown")
    return value
