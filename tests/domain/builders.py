"""Events, rules and calendars with dull defaults; a test says only what matters to it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from models.domain.deciding import CalendarFacts, decide
from models.domain.events import Event, EventStatus, MeetingLink, Person, Response
from models.domain.rules import Decision, RuleSet, rule_set

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ONE = datetime(2026, 11, 23, 13, tzinfo=UTC)
THE_DAY_BEFORE = datetime(2026, 11, 22, 12, tzinfo=UTC)

ANNA = Person("anna@acme.test", Response.ACCEPTED, is_self=True)
BEN = Person("ben@acme.test", Response.ACCEPTED)
CLARA = Person("clara@customer.test", Response.NEEDS_ACTION)

ZOOM = MeetingLink("zoom", "https://zoom.us/j/81234567890", "zoom:81234567890")

_STANDUP = Event(
    external_id="event-1",
    ical_uid="uid-1",
    series_id=None,
    title="Standup",
    start=NOON,
    end=ONE,
    all_day=False,
    organizer=BEN,
    attendees=(ANNA, BEN),
    own_response=Response.ACCEPTED,
    is_organizer=False,
    is_private=False,
    status=EventStatus.CONFIRMED,
    deleted=False,
    link=ZOOM,
)


def an_event(**changes: Any) -> Event:
    """Anna's copy of Ben's meeting at noon on Zoom; both accepted."""
    return replace(_STANDUP, **changes)


def rules(**fields: Any) -> RuleSet:
    """Read rules that select everything, but for what *fields* say."""
    return rule_set({"select": ["all"], **fields})


def a_calendar(**changes: Any) -> CalendarFacts:
    return replace(CalendarFacts(email="anna@acme.test", disconnected=False), **changes)


def decided(
    event: Event | None = None,
    by: RuleSet | None = None,
    *,
    calendar: CalendarFacts | None = None,
    override: bool | None = None,
    series_override: bool | None = None,
    is_first_upcoming: bool = True,
    now: datetime = THE_DAY_BEFORE,
) -> Decision:
    """Decide about a dull event by rules that select everything, the day before."""
    return decide(
        event or an_event(),
        by or rules(),
        calendar=calendar or a_calendar(),
        override=override,
        series_override=series_override,
        is_first_upcoming=is_first_upcoming,
        now=now,
    )
