"""Which copies are of one meeting, and at which key that meeting has its bot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from uuid import UUID

from sqlalchemy import RowMapping

from models.domain.meetings import Copy, sharers_of, slot_key, speakers
from worker.deciding import CalendarRules


def key_of(event: RowMapping, calendar: CalendarRules) -> str:
    """Name the slot of an event that has a link, by its own link."""
    return slot_key(
        event["link_key"],
        event["start_at"],
        dedup=calendar.rules.dedup,
        calendar_id=event["calendar_id"],
        email=calendar.facts.email,
    )


def speakers_of(
    events: Iterable[RowMapping], calendars: Mapping[UUID, CalendarRules]
) -> Mapping[UUID, UUID]:
    """Say for each event that has a link which one's link its meeting has (`meetings.speakers`)."""
    return speakers(
        _copy(event, calendars[event["calendar_id"]])
        for event in events
        if event["link_key"] is not None
    )


def _copy(event: RowMapping, calendar: CalendarRules) -> Copy:
    organizer = event["organizer"]
    return Copy(
        event_id=event["id"],
        calendar_id=event["calendar_id"],
        ical_uid=event["ical_uid"],
        start=event["start_at"],
        organizer=None if organizer is None else organizer["email"],
        is_organizer=event["is_organizer"],
        known_since=event["created_at"],
        link_key=event["link_key"],
        sharers=sharers_of(
            calendar.rules.dedup, calendar_id=event["calendar_id"], email=calendar.facts.email
        ),
    )
