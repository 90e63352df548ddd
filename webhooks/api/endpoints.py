"""/v1/endpoints: subscribers that domain events are posted to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

from pydantic import Field

from webhooks.api.operations import Answer, Call, route
from webhooks.api.problems import Problem
from webhooks.api.shapes import Id, Instant, Listing, LongLine, Shape, Time, Uuid
from worker import endpoints
from worker.access import Scope
from worker.errors import Refused

TAG = "Endpoints"
#: Exact, or a family such as `bot.*`.
TypePattern = Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[a-z_]+\.([a-z_]+|\*)$")]
Types = Annotated[
    list[TypePattern],
    Field(max_length=50, description="Exact types or families such as `bot.*`; none: all."),
]


class Endpoint(Shape):
    """A subscriber."""

    id: Id
    url: str
    types: Types
    description: str | None
    state: Literal["active", "disabled"]
    state_reason: str | None
    failing_since: Annotated[Time | None, Field(description="Since when nothing got through.")]
    created_at: Time
    updated_at: Time


class EndpointWithSecret(Endpoint):
    """A subscriber with its signing secret, shown this once."""

    secret: Annotated[str, Field(description="`whsec_…` (Standard Webhooks).")]


class EndpointPage(Shape):
    """A page of subscribers, oldest first."""

    data: list[Endpoint]
    next: str | None


class EndpointWanted(Shape):
    """A subscriber to make."""

    url: LongLine
    types: Types = Field(default=[])
    description: LongLine | None = None


class EndpointChange(Shape):
    """What to change; absent fields stay."""

    url: Annotated[LongLine, Field(default_factory=str)]
    types: Annotated[Types, Field(default_factory=list)]
    description: LongLine | None = None
    state: Annotated[Literal["active", "disabled"], Field(default_factory=lambda: "active")]


class Attempt(Shape):
    """One try at posting, and what came back."""

    id: Id
    event_id: Id
    type: str
    at: Time
    status: int | None
    error: str | None
    duration_ms: int
    succeeded: bool


class AttemptPage(Shape):
    """A page of tries, newest first."""

    data: list[Attempt]
    next: str | None


class ReplayWanted(Shape):
    """Which domain events to post again: those named, or those of a span of time."""

    since: Instant | None = None
    until: Instant | None = None
    event_ids: Annotated[list[Uuid], Field(min_length=1, max_length=1000)] | None = None


class Replayed(Shape):
    """How many domain events are posted again."""

    replayed: int


@route(
    "GET",
    "/v1/endpoints",
    Scope.READ,
    tag=TAG,
    summary="List subscribers",
    query=Listing,
    response=EndpointPage,
)
def list_endpoints(call: Call) -> Answer:
    """Oldest first."""
    limit = call.query_as(Listing).limit
    return call.page_until(*endpoints.list_endpoints(call.rt, limit=limit, cursor=call.cursor))


@route(
    "POST",
    "/v1/endpoints",
    Scope.WRITE,
    tag=TAG,
    summary="Make a subscriber",
    body=EndpointWanted,
    response=EndpointWithSecret,
    status=201,
    problems=("invalid_endpoint",),
)
def make_endpoint(call: Call) -> Answer:
    """It is posted every domain event of its types from now on. The secret is shown this once."""
    wanted = call.body_as(EndpointWanted)
    with _refused_as_problem():
        made = endpoints.create(call.rt, wanted.url, types=wanted.types, description=wanted.description)
    location = {"Location": f"/v1/endpoints/{made.endpoint['id']}"}
    return Answer({**made.endpoint, "secret": made.secret}, headers=location)


@route(
    "GET",
    "/v1/endpoints/{id}",
    Scope.READ,
    tag=TAG,
    summary="Show a subscriber",
    response=Endpoint,
    problems=("not_found",),
)
def get_endpoint(call: Call) -> Answer:
    """Its secret is not shown again."""
    return Answer(_found(endpoints.get(call.rt, call.id)))


@route(
    "PATCH",
    "/v1/endpoints/{id}",
    Scope.WRITE,
    tag=TAG,
    summary="Change a subscriber",
    body=EndpointChange,
    response=Endpoint,
    problems=("not_found", "invalid_endpoint"),
)
def change_endpoint(call: Call) -> Answer:
    """Making it active again posts at once what waits for it."""
    wanted = call.body_as(EndpointChange)
    changes: endpoints.Changes = {}
    if "url" in wanted.model_fields_set:
        changes["url"] = wanted.url
    if "types" in wanted.model_fields_set:
        changes["types"] = wanted.types
    if "description" in wanted.model_fields_set:
        changes["description"] = wanted.description
    if "state" in wanted.model_fields_set:
        changes["state"] = wanted.state
    with _refused_as_problem():
        return Answer(_found(endpoints.patch(call.rt, call.id, changes)))


@route(
    "DELETE",
    "/v1/endpoints/{id}",
    Scope.WRITE,
    tag=TAG,
    summary="Remove a subscriber",
    response=None,
    status=204,
    problems=("not_found",),
)
def remove_endpoint(call: Call) -> Answer:
    """What was owed to it is forgotten; the feed keeps everything."""
    if not endpoints.delete(call.rt, call.id):
        raise Problem("not_found")
    return Answer()


@route(
    "POST",
    "/v1/endpoints/{id}/test",
    Scope.WRITE,
    tag=TAG,
    summary="Post a test to a subscriber now",
    response=Attempt,
    problems=("not_found",),
)
def test_endpoint(call: Call) -> Answer:
    """Posts one `punctual.test` event and answers with what came back."""
    return Answer(_found(endpoints.post_test(call.rt, call.id)))


@route(
    "POST",
    "/v1/endpoints/{id}/rotate-secret",
    Scope.WRITE,
    tag=TAG,
    summary="Give a subscriber a new secret",
    response=EndpointWithSecret,
    problems=("not_found",),
)
def rotate_endpoint_secret(call: Call) -> Answer:
    """The old one goes on signing beside it for 24 h. The new one is shown this once."""
    made = endpoints.rotate_secret(call.rt, call.id)
    if made is None:
        raise Problem("not_found")
    return Answer({**made.endpoint, "secret": made.secret})


@route(
    "GET",
    "/v1/endpoints/{id}/attempts",
    Scope.READ,
    tag=TAG,
    summary="List what was posted to a subscriber",
    query=Listing,
    response=AttemptPage,
    problems=("not_found",),
)
def list_attempts(call: Call) -> Answer:
    """Newest first."""
    limit = call.query_as(Listing).limit
    found = endpoints.list_attempts(call.rt, call.id, limit=limit, cursor=call.cursor)
    if found is None:
        raise Problem("not_found")
    return call.page_until(*found)


@route(
    "POST",
    "/v1/endpoints/{id}/replay",
    Scope.WRITE,
    tag=TAG,
    summary="Post domain events to a subscriber again",
    body=ReplayWanted,
    response=Replayed,
    status=202,
    problems=("not_found", "invalid_endpoint"),
)
def replay_to_endpoint(call: Call) -> Answer:
    """Under their old ids. Say `event_ids`, or `since` and perhaps `until`."""
    wanted = call.body_as(ReplayWanted)
    with _refused_as_problem():
        replayed = endpoints.replay(
            call.rt, call.id, since=wanted.since, until=wanted.until, event_ids=wanted.event_ids
        )
    if replayed is None:
        raise Problem("not_found")
    return Answer({"replayed": replayed})


@contextmanager
def _refused_as_problem() -> Iterator[None]:
    try:
        yield
    except Refused as refused:
        raise Problem("invalid_endpoint", str(refused)) from refused


def _found(view: dict[str, Any] | None) -> dict[str, Any]:
    if view is None:
        raise Problem("not_found")
    return view


OPERATIONS = (
    list_endpoints,
    make_endpoint,
    get_endpoint,
    change_endpoint,
    remove_endpoint,
    test_endpoint,
    rotate_endpoint_secret,
    list_attempts,
    replay_to_endpoint,
)
