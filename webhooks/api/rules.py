"""/v1/rules and /v1/calendars/{id}/rules: what to record, and what other rules would change."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from webhooks.api.operations import Answer, Call, route
from webhooks.api.problems import Problem
from webhooks.api.rulesets import RuleSetBody, RuleSetShape
from webhooks.api.shapes import Id, Shape, Time, Uuid
from worker import rulebook
from worker.access import Scope

TAG = "Rules"


class Simulation(Shape):
    """Rules to try, as those of one calendar or of the installation."""

    rules: RuleSetShape
    calendar_id: Uuid | None = None


class SimulationBody(Shape):
    """As Simulation, with the rules left to those who read them."""

    rules: Any
    calendar_id: Uuid | None = None


class SimulatedEvent(Shape):
    """An event, and what the tried rules say about it."""

    event_id: Id
    calendar_id: Id
    start: Time
    reason: str
    explanation: str


class SimulatedBot(SimulatedEvent):
    """A bot, told by the event whose rules shape it; `events` are all that share it."""

    key: str
    events: list[SimulatedEvent]


class Difference(Shape):
    """What would change: bots are counted, not events."""

    add: list[SimulatedBot]
    move: Annotated[
        list[SimulatedBot],
        Field(description="Bots that would stay, at another key or with other options."),
    ]
    remove: list[SimulatedBot]
    unchanged: int
    events: Annotated[int, Field(description="How many upcoming events were looked at.")]
    truncated: Annotated[
        bool, Field(description="There were more than 10,000; only the soonest count.")
    ]


@route(
    "GET",
    "/v1/rules",
    Scope.READ,
    tag=TAG,
    summary="Show the installation's rules",
    response=RuleSetShape,
)
def get_rules(call: Call) -> Answer:
    """Calendars without rules of their own follow these."""
    with call.rt.db.begin() as tx:
        return Answer(rulebook.default_rules(tx))


@route(
    "PUT",
    "/v1/rules",
    Scope.WRITE,
    tag=TAG,
    summary="Replace the installation's rules",
    body=RuleSetBody,
    documented=RuleSetShape,
    response=RuleSetShape,
    problems=("invalid_rules",),
)
def put_rules(call: Call) -> Answer:
    """Absent fields take their defaults. Upcoming events are decided again within seconds."""
    return Answer(rulebook.set_default_rules(call.rt, call.body_as(RuleSetBody).root))


@route(
    "GET",
    "/v1/calendars/{id}/rules",
    Scope.READ,
    tag=TAG,
    summary="Show the rules in force for a calendar",
    response=RuleSetShape,
    problems=("not_found",),
)
def get_calendar_rules(call: Call) -> Answer:
    """Its own, else the installation's; `rules` of the calendar tells which."""
    with call.rt.db.begin() as tx:
        return _found(rulebook.calendar_rules(tx, call.id))


@route(
    "PUT",
    "/v1/calendars/{id}/rules",
    Scope.WRITE,
    tag=TAG,
    summary="Give a calendar rules of its own",
    body=RuleSetBody,
    documented=RuleSetShape,
    response=RuleSetShape,
    problems=("not_found", "invalid_rules"),
)
def put_calendar_rules(call: Call) -> Answer:
    """They replace the installation's rules for this calendar; nothing is inherited field by field."""
    return _found(rulebook.set_calendar_rules(call.rt, call.id, call.body_as(RuleSetBody).root))


@route(
    "DELETE",
    "/v1/calendars/{id}/rules",
    Scope.WRITE,
    tag=TAG,
    summary="Let a calendar follow the installation's rules again",
    response=None,
    status=204,
    problems=("not_found",),
)
def delete_calendar_rules(call: Call) -> Answer:
    """Having none is success."""
    _found(rulebook.clear_calendar_rules(call.rt, call.id))
    return Answer()


@route(
    "POST",
    "/v1/rules/simulate",
    Scope.READ,
    tag=TAG,
    summary="Say what other rules would change",
    body=SimulationBody,
    documented=Simulation,
    response=Difference,
    problems=("not_found", "invalid_rules"),
)
def simulate_rules(call: Call) -> Answer:
    """Nothing is changed. Compares with the rules in force, over events that have not ended."""
    wanted = call.body_as(SimulationBody)
    return _found(rulebook.simulate(call.rt, wanted.rules, calendar_id=wanted.calendar_id))


def _found(value: dict[str, Any] | None) -> Answer:
    if value is None:
        raise Problem("not_found")
    return Answer(value)


OPERATIONS = (
    get_rules,
    put_rules,
    get_calendar_rules,
    put_calendar_rules,
    delete_calendar_rules,
    simulate_rules,
)
