"""When things are: instants and dates as Google writes them, in IANA zones."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from worker.sandbox.google.refusals import Refusal
from worker.sandbox.recall.forms import Json


@dataclass(frozen=True, slots=True)
class Moment:
    """An instant (*at*, UTC, perhaps with the zone it was given in) or a whole day (*on*)."""

    at: datetime | None = None
    on: date | None = None
    zone: str = ""

    @property
    def is_day(self) -> bool:
        return self.on is not None

    def instant(self, calendar_zone: str) -> datetime:
        """Return the instant; a day begins at midnight of the calendar's zone."""
        if self.at is not None:
            return self.at
        assert self.on is not None
        return datetime.combine(self.on, time(), zone_of(calendar_zone)).astimezone(UTC)

    def key(self) -> str:
        """
        Return the end of an instance's id.

        Source: field behaviour that clients parse: <id>_YYYYMMDDTHHMMSSZ, all day <id>_YYYYMMDD.
        """
        return f"{self.on:%Y%m%d}" if self.on else f"{self.at:%Y%m%dT%H%M%SZ}"

    def local(self, calendar_zone: str) -> datetime:
        """Return the wall clock time in the moment's own zone, naive."""
        if self.on is not None:
            return datetime.combine(self.on, time())
        assert self.at is not None
        return self.at.astimezone(zone_of(self.zone or calendar_zone)).replace(tzinfo=None)

    def plus(self, span: timedelta) -> Moment:
        if self.on is not None:
            return Moment(on=self.on + span)
        assert self.at is not None
        return Moment(self.at + span, zone=self.zone)

    def minus(self, other: Moment) -> timedelta:
        if self.on is not None and other.on is not None:
            return self.on - other.on
        assert self.at is not None
        assert other.at is not None
        return self.at - other.at

    def shown(self, shown_zone: str, calendar_zone: str) -> Json:
        """Render it with the offset of *shown_zone*; `timeZone` says which zone it was given in."""
        if self.on is not None:
            return {"date": self.on.isoformat()}
        assert self.at is not None
        return {"dateTime": offset_text(self.at, shown_zone), "timeZone": self.zone or calendar_zone}


@cache
def zone_of(name: str) -> ZoneInfo:
    """Raises ValueError: no IANA name."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError, ValueError) as error:
        raise ValueError(f"no time zone {name!r}") from error


def offset_text(at: datetime, zone: str) -> str:
    """Write an instant with the offset of *zone*, `Z` for UTC."""
    return at.astimezone(zone_of(zone)).isoformat(timespec="seconds").replace("+00:00", "Z")


def stamp(at: datetime) -> str:
    """Write an instant as `created` and `updated` have it."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_moment(given: object, name: str) -> Moment:
    """
    Read `start`, `end` or `originalStartTime`.

    Raises:
        Refusal: neither a date nor a time, both of them, or a zone nobody knows.
    """
    if not isinstance(given, dict) or not (given.get("date") or given.get("dateTime")):
        raise Refusal("required", f"Missing {name} time.")
    if given.get("date") and given.get("dateTime"):
        raise Refusal("invalid", f"Invalid {name} time.")
    zone = given.get("timeZone") or ""
    try:
        if zone:
            zone_of(zone)
    except ValueError as error:
        raise Refusal("invalid", f"Invalid time zone definition for {name} time.") from error
    try:
        if given.get("date"):
            return Moment(on=date.fromisoformat(given["date"]))
        at = datetime.fromisoformat(given["dateTime"])
    except (ValueError, TypeError) as error:
        raise Refusal("invalid", f"Invalid {name} time.") from error
    if at.tzinfo is None:
        if not zone:
            raise Refusal("required", f"Missing time zone definition for {name} time.")
        return Moment(from_local(at, zone), zone=zone)
    return Moment(at.astimezone(UTC).replace(microsecond=0), zone=zone)


def read_instant(text: str, name: str) -> datetime:
    """
    Read an RFC 3339 parameter, whose offset is mandatory; fractions of a second are ignored.

    Raises:
        Refusal: not such a text.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise Refusal("badRequest", location=name) from error
    if at.tzinfo is None or len(text) < 19:
        raise Refusal("badRequest", location=name)
    return at.astimezone(UTC).replace(microsecond=0)


def read_zone(text: str | None, otherwise: str) -> str:
    """Raises Refusal: a `timeZone` parameter that names none."""
    if not text:
        return otherwise
    try:
        zone_of(text)
    except ValueError as error:
        raise Refusal("invalid", "Invalid time zone.", location="timeZone") from error
    return text


def from_local(wall: datetime, zone: str) -> datetime:
    """
    Return the instant of a wall clock time; the earlier one of two, and past a gap by as much as it skips.

    Source: RFC 5545 section 3.3.5 (local times that occur twice or never).
    """
    return wall.replace(tzinfo=zone_of(zone)).astimezone(UTC)
