"""
Google Calendar's event resource as our Event.

Source: Calendar API v3 discovery document (Event); the order of places as in MeetingBar's code.
"""

from __future__ import annotations

import re
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
    is_calendar_address,
    mapping_at,
    mappings_at,
    midnight_of,
    own_answer,
    span_of,
    storable,
    text_at,
)

# nobody meets in them, whatever link their notes mention
_NO_MEETINGS = frozenset({"birthday", "focusTime", "outOfOffice", "workingLocation"})
_RESPONSE_BY_NAME = {
    "accepted": Response.ACCEPTED,
    "declined": Response.DECLINED,
    "tentative": Response.TENTATIVE,
}
_STATUS_BY_NAME = {"cancelled": EventStatus.CANCELLED, "tentative": EventStatus.TENTATIVE}
_INSTANCE_ID = re.compile(r"(.{1,1000})_\d{8}(?:T\d{6}Z)?", re.ASCII)


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
    Read Google's event; what the caller knows of *start*, *end*, link and UID wins over *raw*.

    Raises:
        UnreadableEvent: there is no id or no start.
    """
    if not isinstance(raw, Mapping):
        raise UnreadableEvent("payload is not an object")
    status = _STATUS_BY_NAME.get(text_at(raw, "status"), EventStatus.CONFIRMED)
    # a cancelled occurrence may come with nothing but the start it had in its series
    is_sparse = status is EventStatus.CANCELLED and not mapping_at(raw, "start")
    start_key = "originalStartTime" if is_sparse else "start"
    all_day = _is_all_day(mapping_at(raw, start_key))
    span = span_of(
        start or _moment(raw, start_key),
        end or _moment(raw, "end"),
        all_day=all_day,
    )
    own_email = email_of(calendar_email)
    guests = guests_with_self(list(_guests(raw, own_email)), own_email)
    organizer = _organizer(raw, guests, own_email)
    is_organizer = organizer is not None and organizer.is_self
    return Event(
        external_id=id_of(external_id),
        ical_uid=storable(ical_uid or "", max_chars=MAX_ID_CHARS)
        or text_at(raw, "iCalUID", max_chars=MAX_ID_CHARS),
        series_id=_series_id(raw),
        title=text_at(raw, "summary", max_chars=MAX_TITLE_CHARS),
        start=span.start,
        end=span.end,
        all_day=all_day,
        organizer=organizer,
        attendees=guests,
        own_response=own_answer(guests, is_organizer=is_organizer),
        is_organizer=is_organizer,
        is_private=text_at(raw, "visibility") in {"private", "confidential"},
        status=status,
        deleted=deleted,
        link=_link(raw, meeting_url),
    )


def _is_all_day(when: Mapping[str, object]) -> bool:
    return bool(text_at(when, "date")) and not text_at(when, "dateTime")


def _moment(raw: Mapping[str, object], key: str) -> datetime | None:
    when = mapping_at(raw, key)
    return instant_of(when) or midnight_of(text_at(when, "date", max_chars=10))


def _guests(raw: Mapping[str, object], own_email: str) -> Iterator[Person]:
    for guest in mappings_at(raw, "attendees"):
        email = email_of(guest.get("email"))
        if guest.get("resource") is True or is_calendar_address(email):
            continue
        is_self = guest.get("self") is True
        response = _RESPONSE_BY_NAME.get(text_at(guest, "responseStatus"), Response.NEEDS_ACTION)
        yield Person(email or (own_email if is_self else ""), response, is_self)


def _organizer(raw: Mapping[str, object], guests: tuple[Person, ...], own_email: str) -> Person | None:
    """Read who organises. Events of a shared calendar name that calendar: its user then."""
    said = mapping_at(raw, "organizer")
    email = email_of(said.get("email"))
    is_self = said.get("self") is True or (bool(own_email) and email == own_email)
    if is_calendar_address(email):
        email = ""
    if is_self:
        email = email or own_email
    return Person(email, answer_of(email, guests), is_self) if email or is_self else None


def _series_id(raw: Mapping[str, object]) -> str | None:
    """Sparse rows of cancelled occurrences have their series only in their id."""
    if series_id := text_at(raw, "recurringEventId", max_chars=MAX_ID_CHARS):
        return series_id
    own_id = text_at(raw, "id", max_chars=MAX_ID_CHARS)
    if isinstance(raw.get("recurrence"), list) and raw["recurrence"]:
        return own_id or None
    if text_at(raw, "status") == "cancelled" and (instance := _INSTANCE_ID.fullmatch(own_id)):
        return instance[1]
    return None


def _link(raw: Mapping[str, object], meeting_url: str | None) -> MeetingLink | None:
    if text_at(raw, "eventType") in _NO_MEETINGS:
        return None
    conference = mapping_at(raw, "conferenceData")
    video = (
        text_at(entry, "uri")
        for entry in mappings_at(conference, "entryPoints")
        if text_at(entry, "entryPointType") == "video"
    )
    written = (text_at(raw, key) for key in ("hangoutLink", "location", "description", "summary"))
    return find_link([meeting_url or "", *video, *written]) or vouched(meeting_url or "")
