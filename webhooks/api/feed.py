"""/v1/feed: every domain event, in order, from wherever the reader stopped."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from models.domain.emitted import Type
from webhooks.api.cursors import read_position, write_position
from webhooks.api.operations import Answer, Call, route
from webhooks.api.shapes import DEFAULT_LIMIT, CursorText, Id, Limit, LongLine, Query, Shape, Time
from worker import outbox
from worker.access import Scope

TAG = "Feed"
_PATTERNS = frozenset(Type) | {f"{name.partition('.')[0]}.*" for name in Type}


class CloudEvent(Shape):
    """A structured CloudEvent; /asyncapi.json describes `data` for every type."""

    specversion: Literal["1.0"]
    id: Annotated[Id, Field(description="The same on every redelivery: drop repeats by it.")]
    source: str
    type: str
    subject: str
    time: Time
    datacontenttype: Literal["application/json"]
    dataschema: str
    sequence: Annotated[int, Field(description="1, 2, 3 … per subject: drop stale ones by it.")]
    data: dict[str, Any]


class Feed(Shape):
    """Domain events, oldest first."""

    data: list[CloudEvent]
    next: Annotated[
        str, Field(description="Pass it as `after` to go on; the end is reached while `data` is empty.")
    ]


def _known_types(text: str) -> str:
    if any(name not in _PATTERNS for name in text.split(",")):
        msg = "must be types or families such as bot.*, separated by commas"
        raise ValueError(msg)
    return text


class FeedQuery(Query):
    """Where to go on, and what to leave out."""

    after: Annotated[CursorText | None, Field(description="`next` of an earlier answer.")] = None
    types: Annotated[
        Annotated[LongLine, AfterValidator(_known_types)] | None,
        Field(description="Types or families, such as `bot.*,calendar.deleted`; absent: all."),
    ] = None
    limit: Limit = DEFAULT_LIMIT


@route(
    "GET", "/v1/feed", Scope.READ, tag=TAG, summary="Read domain events", query=FeedQuery, response=Feed
)
def read_feed(call: Call) -> Answer:
    """Oldest first and complete: whoever reads on from `next` misses nothing. It never runs out."""
    query, install_id = call.query_as(FeedQuery), call.rt.install_id
    after = 0 if query.after is None else read_position(install_id, query.after)
    types = query.types.split(",") if query.types else []
    with call.rt.db.begin() as tx:
        events, position = outbox.feed(
            tx, after, types, query.limit, base_url=call.rt.settings.base_url
        )
    return Answer({"data": events, "next": write_position(install_id, position)})


OPERATIONS = (read_feed,)
