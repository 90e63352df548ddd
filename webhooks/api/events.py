"""/v1/events: list, show, explain, and override what the rules say."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field
from sqlalchemy import ColumnElement, Executable, literal, select, tuple_

from models.domain.rules import Reason
from models.tables.due import table_of
from models.tables.events import CalendarEvent
from webhooks.api.operations import Answer, Call, route
from webhooks.api.problems import Problem
from webhooks.api.shapes import Id, Instant, Listing, Shape, Time, Truth, Uuid
from worker.access import Scope
from worker.overrides import NotInSeries, set_record
from worker.views import load_events
from worker.why import explain

TAG = "Events"
EVENTS = table_of(CalendarEvent)


class Person(Shape):
    """Somebody on an event."""

    email: str
    response: Literal["accepted", "declined", "tentative", "needs_action"]
    self: bool


class Record(Shape):
    """Whether the event calls for a bot, and why."""

    override: Annotated[bool | None, Field(description="What somebody said about this very event.")]
    wanted: bool
    reason: Annotated[str, Field(json_schema_extra={"enum": [str(reason) for reason in Reason]})]
    explanation: str


class EventBot(Shape):
    """The bot of an event, in short."""

    id: Id
    external_id: str | None
    state: str
    join_at: Time


class Event(Shape):
    """One calendar's copy of a meeting."""

    id: Id
    calendar_id: Id
    external_id: str
    ical_uid: str
    series_id: str | None
    title: str
    start: Time
    end: Time
    all_day: bool
    organizer: Person | None
    attendees: list[Person]
    meeting_url: str | None
    meeting_platform: str | None
    status: Literal["confirmed", "tentative", "cancelled"]
    deleted: bool
    record: Record
    bot: EventBot | None
    updated_at: Time


class EventPage(Shape):
    """A page of events, by start."""

    data: list[Event]
    next: str | None


class EventQuery(Listing):
    """Filters are combined with and."""

    calendar_id: Uuid | None = None
    start_gte: Instant | None = None
    start_lt: Instant | None = None
    deleted: Truth | None = None
    recorded: Annotated[Truth | None, Field(description="Whether it calls for a bot.")] = None


class EventChange(Shape):
    """true: record it, false: do not, null: as the rules say."""

    record: bool | None
    scope: Annotated[
        Literal["occurrence", "series"],
        Field(description="A word on an occurrence wins over one on its series."),
    ] = "occurrence"


class Step(Shape):
    """Something that happened, in order of time."""

    at: Time
    kind: str
    text: Annotated[str, Field(description="In plain words.")]
    facts: dict[str, Any]


class Explanation(Shape):
    """The decision trail of an event, in plain words and in data; no titles, people or links."""

    event: dict[str, Any]
    decision: dict[str, Any]
    calendar: dict[str, Any]
    slot: dict[str, Any] | None
    waiting: Annotated[list[str], Field(description="What has still to happen.")]
    steps: list[Step]
    truncated: Annotated[bool, Field(description="Older steps were left out.")]


@route(
    "GET",
    "/v1/events",
    Scope.READ,
    tag=TAG,
    summary="List events",
    query=EventQuery,
    response=EventPage,
)
def list_events(call: Call) -> Answer:
    """By start. Deleted events stay listed, with `deleted`, until they are forgotten."""
    query = call.query_as(EventQuery)
    spots = _spots(query, after=call.after, limit=call.fetch)
    with call.rt.db.begin() as tx:
        found = [(row.start_at, row.id) for row in tx.execute(spots)]
        views = load_events(tx, [event_id for _, event_id in found], vault=call.rt.vault)
    return call.page([(spot, views[spot[1]]) for spot in found if spot[1] in views])


@route(
    "GET",
    "/v1/events/{id}",
    Scope.READ,
    tag=TAG,
    summary="Show an event",
    response=Event,
    problems=("not_found",),
)
def get_event(call: Call) -> Answer:
    """With the decision about it and its bot."""
    with call.rt.db.begin() as tx:
        return _found(load_events(tx, [call.id], vault=call.rt.vault).get(call.id))


@route(
    "GET",
    "/v1/events/{id}/why",
    Scope.READ,
    tag=TAG,
    summary="Explain why an event has a bot or has none",
    response=Explanation,
    problems=("not_found",),
)
def explain_event(call: Call) -> Answer:
    """The whole trail: notification, sync, rule, slot, provider call, answer, domain event."""
    with call.rt.db.begin() as tx:
        return _found(explain(tx, call.rt.vault, call.id, now=call.rt.now()))


@route(
    "PATCH",
    "/v1/events/{id}",
    Scope.WRITE,
    tag=TAG,
    summary="Record an event or its series, or do not",
    body=EventChange,
    response=Event,
    problems=("not_found", "not_in_series"),
)
def change_event(call: Call) -> Answer:
    """Wins over the rules. The answer shows the new decision; the bot follows within seconds."""
    wanted = call.body_as(EventChange)
    try:
        return _found(set_record(call.rt, call.id, record=wanted.record, scope=wanted.scope))
    except NotInSeries as wrong:
        raise Problem("not_in_series") from wrong


def _spots(query: EventQuery, *, after: tuple[datetime, UUID] | None, limit: int) -> Executable:
    wanted: list[ColumnElement[bool]] = []
    if query.calendar_id is not None:
        wanted.append(EVENTS.c.calendar_id == query.calendar_id)
    if query.start_gte is not None:
        wanted.append(EVENTS.c.start_at >= query.start_gte)
    if query.start_lt is not None:
        wanted.append(EVENTS.c.start_at < query.start_lt)
    if query.deleted is not None:
        wanted.append(EVENTS.c.deleted.is_(query.deleted))
    if query.recorded is not None:
        wanted.append(EVENTS.c.is_wanted.is_(query.recorded))
    if after is not None:
        wanted.append(tuple_(EVENTS.c.start_at, EVENTS.c.id) > tuple_(*map(literal, after)))
    return (
        select(EVENTS.c.start_at, EVENTS.c.id)
        .where(*wanted)
        .order_by(EVENTS.c.start_at, EVENTS.c.id)
        .limit(limit)
    )


def _found(view: dict[str, Any] | None) -> Answer:
    if view is None:
        raise Problem("not_found")
    return Answer(view)


OPERATIONS = (list_events, get_event, explain_event, change_event)
