"""Points of time as Graph writes them: seven digits of a second, a naive reading beside a zone's name."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

from worker.sandbox.microsoft.zones import Zone, zone
from worker.sandbox.recall.forms import Json

NEVER = "0001-01-01T00:00:00Z"
_FRACTION = re.compile(r"(\.\d{6})\d+")  # Python reads six digits of a second at most


class UnknownZone(ValueError):
    """No zone goes by this name."""


def instant(text: object) -> datetime:
    """
    Read a date and time; without offset it is UTC.

    Raises:
        ValueError: not such a text.
    """
    at = _read(text)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def moment(wish: object) -> tuple[datetime, Zone]:
    """
    Read a dateTimeTimeZone as an instant and the zone it was said in.

    Raises:
        UnknownZone: its zone is none.
        ValueError: it is no dateTimeTimeZone.
    """
    if not isinstance(wish, dict):
        raise ValueError("not a dateTimeTimeZone")  # noqa: TRY004  # a value that cannot be read, like others
    name = wish.get("timeZone") or "UTC"
    found = zone(name) if isinstance(name, str) else None
    if found is None:
        raise UnknownZone(str(name))
    at = _read(wish.get("dateTime"))
    return (at.replace(tzinfo=found.rules) if at.tzinfo is None else at).astimezone(UTC), found


def shown_moment(at: datetime, shown_in: Zone, *, is_floating: bool = False) -> Json:
    """Write an instant as a dateTimeTimeZone; a floating one keeps its digits in every zone."""
    local = at if is_floating else at.astimezone(shown_in.rules)
    return {"dateTime": _seven_digits(local), "timeZone": shown_in.name}


def shown_instant(at: datetime) -> str:
    """Write an instant with seven digits of a second."""
    return _seven_digits(at.astimezone(UTC)) + "Z"


def whole_seconds(at: datetime) -> str:
    """Write an instant the short way of `originalStart` and of error bodies."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def midnight(on: date) -> datetime:
    """Return when a date begins in UTC."""
    return datetime(on.year, on.month, on.day, tzinfo=UTC)


def days_between(start: datetime, end: datetime) -> float:
    """Return a span in days."""
    return (end - start) / timedelta(days=1)


def _read(text: object) -> datetime:
    if not isinstance(text, str) or len(text) < 10:
        raise ValueError("not a date and time")
    # A plus that came unescaped in a URL arrives as a blank.
    return datetime.fromisoformat(_FRACTION.sub(r"\1", text.strip().replace(" ", "+")))


def _seven_digits(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%f") + "0"
