"""Instants and spans: aware UTC only, inside bounds every part of the system can store."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(9999, 1, 1, tzinfo=UTC)  # PostgreSQL stores more, Python reads no more

_RFC3339 = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[Tt ](\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,9}))?([Zz]|[+-]\d{2}:\d{2})"
)


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """A stretch of time, start inclusive, end exclusive."""

    start: datetime
    end: datetime

    @property
    def minutes(self) -> float:
        return (self.end - self.start).total_seconds() / 60


def as_utc(instant: datetime) -> datetime:
    """Return *instant* in UTC; a naive one is a ValueError, and so is one outside EARLIEST..LATEST."""
    if instant.tzinfo is None:
        msg = "an instant without a zone"
        raise ValueError(msg)
    utc = instant.astimezone(UTC)
    if not EARLIEST <= utc < LATEST:
        msg = f"an instant outside {EARLIEST.year}..{LATEST.year - 1}"
        raise ValueError(msg)
    return utc


def parse_instant(text: str) -> datetime:
    """
    Read an RFC 3339 time as aware UTC.

    Digits past microseconds are cut. Raises ValueError for anything else: no zone, leap seconds,
    impossible dates, years a database or Python cannot hold.
    """
    found = _RFC3339.fullmatch(text)
    if not found:
        msg = "not an RFC 3339 time"
        raise ValueError(msg)
    *numbers, fraction, zone = found.groups()
    year, month, day, hour, minute, second = map(int, numbers)
    micro = int((fraction or "0")[:6].ljust(6, "0"))
    offset = timedelta()
    if zone not in "Zz":
        sign = -1 if zone[0] == "-" else 1
        offset = sign * timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
        if abs(offset) >= timedelta(hours=24) or int(zone[4:6]) > 59:
            msg = "an impossible offset"
            raise ValueError(msg)
    try:
        instant = datetime(year, month, day, hour, minute, second, micro, tzinfo=UTC) - offset
    except OverflowError as out_of_range:
        msg = "an instant outside the calendar"
        raise ValueError(msg) from out_of_range
    return as_utc(instant)


def rfc3339(instant: datetime) -> str:
    """Write *instant* the one way we write times: UTC, `Z`, microseconds only when there are any."""
    return as_utc(instant).replace(tzinfo=None).isoformat() + "Z"
