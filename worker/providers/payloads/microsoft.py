"""
Microsoft Graph's event as our Event.

Source: Graph v1.0 metadata (event); the order of places as in Attendee's and MeetingBar's code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from models.domain.events import Event, EventStatus, MeetingLink, Person, Response
from models.domain.links import find_link, vouched
from worker.providers.payloads.fields import (
    MAX_ID_CHARS,
    MAX_TITLE_CHARS,
    UnreadableEvent,
    answer_of,
    email_of,
    guests_with_self,
    id_of,
    instant_of,
    mapping_at,
    mappings_at,
    midnight_of,
    own_answer,
    span_of,
    storable,
    text_at,
)

_RESPONSE_BY_NAME = {
    "accepted": Response.ACCEPTED,
    "organizer": Response.ACCEPTED,
    "declined": Response.DECLINED,
    "tentativelyAccepted": Response.TENTATIVE,
    "notResponded": Response.NEEDS_ACTION,
}
_PRIVATE = frozenset({"confidential", "personal", "private"})
_UTC_UNLESS_SAID = "UTC"  # what Graph answers in without `Prefer: outlook.timezone`


def read_event(
    raw: Mapping[str, object],
    *,
    external_id: str,
    calendar_email: str | None,
    start: datetime | None = None,
    end: datetime | None = None,
    deleted: bool = False,
    meeting_url: str | None = None,
    ical_uid: str | None = None,
) -> Event:
    """
    Read Graph's event; what the caller knows of *start*, *end*, link and UID wins over *raw*.

    Raises:
        UnreadableEvent: there is no id or no start.
    """
    if not isinstance(raw, Mapping):
        raise UnreadableEvent("payload is not an object")
    all_day = raw.get("isAllDay") is True
    span = span_of(
        start or _moment(raw, "start", all_day=all_day),
        end or _moment(raw, "end", all_day=all_day),
        all_day=all_day,
    )
    own_email = email_of(calendar_email)
    guests = guests_with_self(list(_guests(raw)), own_email)
    organizer = _organizer(raw, guests, own_email)
    is_organizer = organizer is not None and organizer.is_self
    said = _RESPONSE_BY_NAME.get(text_at(mapping_at(raw, "responseStatus"), "response"))
    return Event(
        external_id=id_of(external_id),
        ical_uid=storable(ical_uid or "", max_chars=MAX_ID_CHARS)
        or text_at(raw, "iCalUId", max_chars=MAX_ID_CHARS),
        series_id=_series_id(raw),
        title=text_at(raw, "subject", max_chars=MAX_TITLE_CHARS),
        start=span.start,
        end=span.end,
        all_day=all_day,
        organizer=organizer,
        attendees=guests,
        own_response=own_answer(guests, is_organizer=is_organizer, said=said),
        is_organizer=is_organizer,
        is_private=text_at(raw, "sensitivity") in _PRIVATE,
        status=EventStatus.CANCELLED if raw.get("isCancelled") is True else EventStatus.CONFIRMED,
        deleted=deleted or bool(mapping_at(raw, "@removed")),
        link=_link(raw, meeting_url),
    )


def _moment(raw: Mapping[str, object], key: str, *, all_day: bool) -> datetime | None:
    """An all-day event keeps its dates, whatever zone its midnights are written in."""
    when = mapping_at(raw, key)
    if all_day:
        return midnight_of(text_at(when, "dateTime", max_chars=64))
    return instant_of(when, default_zone=_UTC_UNLESS_SAID)


def _address_in(raw: object) -> str:
    return email_of(mapping_at(raw, "emailAddress").get("address"))


def _guests(raw: Mapping[str, object]) -> Iterator[Person]:
    for guest in mappings_at(raw, "attendees"):
        if text_at(guest, "type") == "resource":
            continue
        answer = text_at(mapping_at(guest, "status"), "response")
        yield Person(_address_in(guest), _RESPONSE_BY_NAME.get(answer, Response.NEEDS_ACTION))


def _organizer(raw: Mapping[str, object], guests: tuple[Person, ...], own_email: str) -> Person | None:
    email = _address_in(mapping_at(raw, "organizer"))
    said = text_at(mapping_at(raw, "responseStatus"), "response")
    is_self = (
        raw.get("isOrganizer") is True
        or said == "organizer"
        or (bool(own_email) and email == own_email)
    )
    if is_self:
        email = email or own_email
    return Person(email, answer_of(email, guests), is_self) if email or is_self else None


def _series_id(raw: Mapping[str, object]) -> str | None:
    if text_at(raw, "type") == "seriesMaster":
        return text_at(raw, "id", max_chars=MAX_ID_CHARS) or None
    return text_at(raw, "seriesMasterId", max_chars=MAX_ID_CHARS) or None


def _link(raw: Mapping[str, object], meeting_url: str | None) -> MeetingLink | None:
    places = [mapping_at(raw, "location"), *mappings_at(raw, "locations")]
    found = find_link(
        [
            meeting_url or "",
            text_at(mapping_at(raw, "onlineMeeting"), "joinUrl"),
            *(text_at(place, key) for place in places for key in ("displayName", "locationUri")),
            text_at(raw, "onlineMeetingUrl"),
            text_at(mapping_at(raw, "body"), "content"),
            text_at(raw, "bodyPreview"),
            text_at(raw, "subject"),
        ]
    )
    return found or vouched(meeting_url or "")
