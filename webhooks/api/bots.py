"""/v1/bots: which bots there are, will be and were."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field
from sqlalchemy import ColumnElement, Executable, and_, literal, not_, select, tuple_

from models.tables.due import table_of
from models.tables.slots import Slot
from webhooks.api.operations import Answer, Call, route
from webhooks.api.problems import Problem
from webhooks.api.shapes import Id, Instant, Listing, Shape, Time, Truth
from worker.access import Scope
from worker.views import AT_RISK, load_bots

TAG = "Bots"
SLOTS = table_of(Slot)
State = Literal["wanted", "scheduled", "joining", "in_call", "done", "failed", "cancelled"]


class Bot(Shape):
    """One place for a bot: a meeting link and a start."""

    id: Id
    external_id: Annotated[str | None, Field(description="Its id at the provider, once there is one.")]
    key: Annotated[str, Field(description="Equal for every copy of the meeting that shares the bot.")]
    meeting_url: str | None
    meeting_platform: str
    join_at: Time
    state: State
    event_ids: Annotated[list[Id], Field(description="The events that call for it.")]
    at_risk: Annotated[
        bool,
        Field(description="Wanted within ten minutes or overdue, and not confirmed by the provider."),
    ]
    last_error: str | None
    updated_at: Time


class BotPage(Shape):
    """A page of bots, by the time they join."""

    data: list[Bot]
    next: str | None


class BotQuery(Listing):
    """Filters are combined with and."""

    state: State | None = None
    join_at_gte: Instant | None = None
    join_at_lt: Instant | None = None
    at_risk: Truth | None = None


@route("GET", "/v1/bots", Scope.READ, tag=TAG, summary="List bots", query=BotQuery, response=BotPage)
def list_bots(call: Call) -> Answer:
    """By the time they join; those that are done or cancelled stay listed until they are forgotten."""
    query, now = call.query_as(BotQuery), call.rt.now()
    spots = _spots(query, after=call.after, limit=call.fetch, now=now)
    with call.rt.db.begin() as tx:
        found = [(row.join_at, row.id) for row in tx.execute(spots)]
        views = load_bots(tx, [slot_id for _, slot_id in found], vault=call.rt.vault, now=now)
    return call.page([(spot, views[spot[1]]) for spot in found if spot[1] in views])


@route(
    "GET",
    "/v1/bots/{id}",
    Scope.READ,
    tag=TAG,
    summary="Show a bot",
    response=Bot,
    problems=("not_found",),
)
def get_bot(call: Call) -> Answer:
    """With the events that call for it."""
    with call.rt.db.begin() as tx:
        view = load_bots(tx, [call.id], vault=call.rt.vault, now=call.rt.now()).get(call.id)
    if view is None:
        raise Problem("not_found")
    return Answer(view)


def _spots(
    query: BotQuery, *, after: tuple[datetime, UUID] | None, limit: int, now: datetime
) -> Executable:
    wanted: list[ColumnElement[bool]] = []
    if query.state is not None:
        wanted.append(SLOTS.c.bot_state == query.state)
    if query.join_at_gte is not None:
        wanted.append(SLOTS.c.join_at >= query.join_at_gte)
    if query.join_at_lt is not None:
        wanted.append(SLOTS.c.join_at < query.join_at_lt)
    if query.at_risk is not None:
        wanted.append(_is_at_risk(now) if query.at_risk else not_(_is_at_risk(now)))
    if after is not None:
        wanted.append(tuple_(SLOTS.c.join_at, SLOTS.c.id) > tuple_(*map(literal, after)))
    return (
        select(SLOTS.c.join_at, SLOTS.c.id)
        .where(*wanted)
        .order_by(SLOTS.c.join_at, SLOTS.c.id)
        .limit(limit)
    )


def _is_at_risk(now: datetime) -> ColumnElement[bool]:
    """Say in SQL what `worker.views.is_at_risk` says."""
    is_confirmed = and_(
        SLOTS.c.bot_id.is_not(None), SLOTS.c.bot_state.not_in(["wanted", "cancelled", "failed"])
    )
    return and_(
        SLOTS.c.is_wanted,
        SLOTS.c.join_at <= now + AT_RISK,
        SLOTS.c.ends_at > now,
        SLOTS.c.bot_state != "done",
        not_(is_confirmed),
    )


OPERATIONS = (list_bots, get_bot)
