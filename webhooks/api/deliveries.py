"""/v1/deliveries: every notification we acknowledged, and acting on one again."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from webhooks.api.operations import Answer, Call, route
from webhooks.api.problems import Problem
from webhooks.api.shapes import Id, Instant, Line, Listing, Shape, Time
from worker import deliveries
from worker.access import Scope

TAG = "Deliveries"
State = Literal["stored", "done", "ignored", "quarantined", "parked"]


class Delivery(Shape):
    """One inbound notification."""

    id: Id
    source: str
    message_id: Annotated[str, Field(description="The sender's id of it.")]
    type: str | None
    received_at: Time
    state: State
    reason: Annotated[str | None, Field(description="Why it was ignored, quarantined or parked.")]


class DeliveryInFull(Delivery):
    """One inbound notification with what it said."""

    body: Annotated[
        str | None, Field(description="As received; null unless the key has the scope `admin`.")
    ]


class DeliveryPage(Shape):
    """A page of deliveries, newest first."""

    data: list[Delivery]
    next: str | None


class DeliveryQuery(Listing):
    """Filters are combined with and."""

    state: State | None = None
    source: Line | None = None
    received_gte: Instant | None = None


@route(
    "GET",
    "/v1/deliveries",
    Scope.READ,
    tag=TAG,
    summary="List deliveries",
    query=DeliveryQuery,
    response=DeliveryPage,
)
def list_deliveries(call: Call) -> Answer:
    """Newest first."""
    query, after = call.query_as(DeliveryQuery), call.after
    with call.rt.db.begin() as tx:
        return call.page(
            deliveries.list_deliveries(
                tx,
                after=after,
                limit=call.fetch,
                state=query.state,
                source=query.source,
                received_gte=query.received_gte,
            )
        )


@route(
    "GET",
    "/v1/deliveries/{id}",
    Scope.READ,
    tag=TAG,
    summary="Show a delivery",
    response=DeliveryInFull,
    problems=("not_found",),
)
def get_delivery(call: Call) -> Answer:
    """Its body is shown to keys with the scope `admin` alone."""
    with call.rt.db.begin() as tx:
        return _found(deliveries.find_delivery(tx, call.id, with_body=call.caller.may(Scope.ADMIN)))


@route(
    "POST",
    "/v1/deliveries/{id}/replay",
    Scope.WRITE,
    tag=TAG,
    summary="Act on a delivery again",
    response=Delivery,
    status=202,
    problems=("not_found",),
)
def replay_delivery(call: Call) -> Answer:
    """As if it had just arrived; a calendar that was parked is revived."""
    return _found(deliveries.replay(call.rt, call.id))


def _found(view: dict[str, Any] | None) -> Answer:
    if view is None:
        raise Problem("not_found")
    return Answer(view)


OPERATIONS = (list_deliveries, get_delivery, replay_delivery)
