"""
Fields of a payload nobody vouches for: read with their type checked, cleaned and cut to size.

What is odd reads as absent; only a row that can mean nothing at all is an UnreadableEvent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

from models.domain.events import Person, Response
from models.domain.times import TimeSpan, as_utc, parse_instant
from models.domain.zones import zone

MAX_TITLE_CHARS = 1_000
MAX_ID_CHARS = 1_024
MAX_EMAIL_CHARS = 320
MAX_ATTENDEES = 1_000
_MAX_READ_ATTENDEES = 20_000

# RFC 5545 would make it 0 minutes; calendars show and people mean an hour
USUAL_LENGTH = timedelta(hours=1)
_DAY = timedelta(days=1)

_LOCAL_TIME = re.compile(r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}(?::\d{2})?)(?:\.(\d{1,9}))?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


class UnreadableEvent(ValueError):
    """A row that cannot be an event. *reason* names the field, never what was in it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def mapping_at(raw: object, key: str) -> Mapping[str, object]:
    """Return the object under *key*; an empty one if it is none."""
    value = raw.get(key) if isinstance(raw, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def mappings_at(raw: object, key: str) -> Iterator[Mapping[str, object]]:
    """Yield the objects of the list under *key*, and nothing else that is in it."""
    value = raw.get(key) if isinstance(raw, Mapping) else None
    if isinstance(value, list | tuple):
        yield from (item for item in value[:_MAX_READ_ATTENDEES] if isinstance(item, Mapping))


def text_at(raw: object, key: str, *, max_chars: int | None = None) -> str:
    """Return the text under *key* as a database can store it; empty if it is no text."""
    value = raw.get(key) if isinstance(raw, Mapping) else None
    return storable(value, max_chars=max_chars) if isinstance(value, str) else ""


def instant_at(found: Mapping[str, object], name: str) -> datetime | None:
    """Return the instant under *name*, None when there is none."""
    value = found.get(name)
    if not isinstance(value, str):
        return None
    try:
        return parse_instant(value)
    except ValueError:
        return None


def storable(text: str, *, max_chars: int | None = None) -> str:
    """Take out NUL and halves of surrogate pairs, then white space around, then what is too much."""
    clean = text.replace("\0", "").encode("utf-8", "ignore").decode()
    return clean.strip()[:max_chars].rstrip()


def email_of(value: object) -> str:
    """Read an e-mail address in lower case; empty for what is none. A cut one would be another's."""
    if not isinstance(value, str):
        return ""
    email = storable(value).lower().removeprefix("mailto:")
    is_address = "@" in email.strip("@") and not any(map(str.isspace, email))
    return email if is_address and len(email) <= MAX_EMAIL_CHARS else ""


def is_calendar_address(email: str) -> bool:
    """
    Say whether Google made up the address for a room, a shared calendar or an unknown organiser.

    Source: Calendar API, Event resource (organizer, attendees[].resource).
    """
    return email.endswith("calendar.google.com")


def guests_with_self(guests: list[Person], own_email: str) -> tuple[Person, ...]:
    """
    Mark the calendar's user among *guests* and cut the list to size, the user staying on it.

    Where the provider marks nobody, the calendar's own address tells.
    """
    if not any(guest.is_self for guest in guests):
        guests = [
            replace(guest, is_self=bool(own_email) and guest.email == own_email) for guest in guests
        ]
    kept = guests[:MAX_ATTENDEES]
    own = next((guest for guest in guests if guest.is_self), None)
    if own and own not in kept:
        kept[-1] = own
    return tuple(kept)


def own_answer(
    guests: tuple[Person, ...], *, is_organizer: bool, said: Response | None = None
) -> Response | None:
    """
    Tell the calendar user's answer: *said*, else the one on the guest list, None for a stranger.

    Who organises has accepted unless they say otherwise.
    """
    answer = said or next((guest.response for guest in guests if guest.is_self), None)
    if is_organizer and answer in (None, Response.NEEDS_ACTION):
        return Response.ACCEPTED
    return answer


def answer_of(email: str, guests: tuple[Person, ...]) -> Response:
    """Tell an organiser's answer: the one on the guest list, else accepted."""
    return next((guest.response for guest in guests if guest.email == email), Response.ACCEPTED)


def instant_of(when: Mapping[str, object], *, default_zone: str = "") -> datetime | None:
    """
    Read `{dateTime, timeZone}` as UTC: with an offset, or digits of a zone by IANA's or Windows' name.

    Digits that happen twice when clocks go back mean the first time; digits that are skipped when
    clocks go forward mean as long after the jump. None if there is no such time, or its zone is unknown.
    """
    written = text_at(when, "dateTime", max_chars=64)
    try:
        if not (local := _LOCAL_TIME.fullmatch(written)):
            return parse_instant(written)
        day, clock, fraction = local.groups()
        known_zone = zone(text_at(when, "timeZone") or default_zone)
        if known_zone is None:
            return None
        micro = int((fraction or "0")[:6].ljust(6, "0"))
        naive = datetime.fromisoformat(f"{day}T{clock}").replace(microsecond=micro)
        return as_utc(naive.replace(tzinfo=known_zone))
    except (ValueError, OverflowError):
        return None


def midnight_of(text: str) -> datetime | None:
    """Read the date that *text* starts with as midnight UTC."""
    found = _DATE.match(text)
    try:
        return as_utc(datetime.combine(date.fromisoformat(found[0]), time(), UTC)) if found else None
    except (ValueError, OverflowError):
        return None


def span_of(start: datetime | None, end: datetime | None, *, all_day: bool) -> TimeSpan:
    """
    Pair up start and end. An end that is missing or not after the start is made: an hour, or the day.

    Raises:
        UnreadableEvent: no start, or one outside what can be stored.
    """
    if start is None:
        raise UnreadableEvent("start is missing, impossible, or in an unknown time zone")
    try:
        begins = as_utc(start)
        ends = as_utc(end) if end is not None else None
        if ends is None or ends <= begins:
            ends = as_utc(begins + (_DAY if all_day else USUAL_LENGTH))
    except (ValueError, OverflowError) as out_of_range:
        raise UnreadableEvent("start or end is outside the calendar") from out_of_range
    return TimeSpan(begins, ends)


def id_of(external_id: object) -> str:
    """
    Read the event's id.

    Raises:
        UnreadableEvent: there is none, or none that can be stored unchanged.
    """
    if not isinstance(external_id, str) or not external_id.strip():
        raise UnreadableEvent("id is missing")
    if storable(external_id, max_chars=MAX_ID_CHARS) != external_id:
        raise UnreadableEvent("id has characters or a length that cannot be stored")
    return external_id
