"""What we send is a CloudEvent to a library that others read CloudEvents with."""

from __future__ import annotations

import json
from uuid import uuid4

from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings import amqp, http
from sqlalchemy import Engine

from tests.publishers.kit import BASE_URL, NOON, a_runtime, tell
from tests.publishers.sink import a_sink
from worker.outbox import feed
from worker.ports import Outgoing
from worker.posting import Target, post_one
from worker.publishers.amqp import headers_of
from worker.publishers.signing import new_secret
from worker.publishers.webhooks import HttpPoster


def said(event: BaseCloudEvent) -> tuple[object, ...]:
    return (
        event.get_specversion(),
        event.get_source(),
        event.get_type(),
        event.get_subject(),
        event.get_time(),
        event.get_datacontenttype(),
        event.get_dataschema(),
        event.get_extension("sequence"),
        event.get_data(),
    )


EXPECTED = (
    "1.0",
    BASE_URL,
    "bot.scheduled",
    "bot/a",
    NOON,
    "application/json",
    f"{BASE_URL}/schemas/bot.scheduled.json",
    1,
    {"subject": "bot/a"},
)


def test_a_post_is_read_as_a_structured_event(db: Engine) -> None:
    poster = HttpPoster(allow_private=True)
    runtime = a_runtime(db, poster=poster)
    tell(db, "bot/a")
    with db.begin() as tx:
        ((event,), _) = feed(tx, 0, [], 10, base_url=BASE_URL)

    with a_sink() as sink:
        post_one(runtime, Target(uuid4(), sink.url, (new_secret(),)), event)
        (received,) = sink.received
    poster.close()

    read = http.from_http_event(http.HTTPMessage(dict(received.headers), received.body))
    assert said(read) == EXPECTED
    assert read.get_id() == event["id"]


def test_amqp_headers_are_read_as_a_binary_event() -> None:
    sent = Outgoing(
        id=str(uuid4()),
        source=BASE_URL,
        type="bot.scheduled",
        subject="bot/a",
        time=NOON,
        sequence=1,
        dataschema=f"{BASE_URL}/schemas/bot.scheduled.json",
        data={"subject": "bot/a"},
    )

    read = amqp.from_binary_event(
        amqp.AMQPMessage(
            {"content-type": "application/json"},
            dict(headers_of(sent)),
            json.dumps(sent.data).encode(),
        )
    )

    assert said(read) == EXPECTED
    assert read.get_id() == sent.id
