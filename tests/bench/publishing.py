"""(f) Domain events on their way out: over AMQP to RabbitMQ, and as webhooks to one subscriber."""

from __future__ import annotations

import multiprocessing
import os
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection as Pipe
from typing import Any
from uuid import uuid4

from kombu import Connection, Exchange, Queue
from sqlalchemy import Engine

from models.db import make_engine
from models.domain.emitted import Emitted, Type
from models.schema import migrate
from models.sealing import Vault
from tests.bench.outcome import Measured
from tests.builders import an_installation
from tests.fakes import FakeBell, FakePoster
from worker import endpoints
from worker.outbox import emit, number_all, relay
from worker.posting import post_waiting
from worker.publishers.amqp import AmqpPublisher
from worker.publishers.webhooks import HttpPoster
from worker.runtime import Runtime
from worker.settings import Settings

AMQP_URL = os.environ.get("PUNCTUAL_TEST_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672//")
EVENTS, SUBJECTS, POSTS = 10_000, 2_000, 2_000
DATA = {"id": "x" * 36, "title": "t" * 40, "attendees": [{"email": "a" * 30}] * 4, "url": "u" * 60}


def measure(database_url: str, *, scale: float) -> Measured:
    """Write domain events, five to a subject, and send them out; nothing else runs."""
    db = make_engine(database_url)
    migrate(db)
    rt = _runtime(db)
    count, posts = max(50, int(EVENTS * scale)), max(40, int(POSTS * scale))
    figures: dict[str, float] = {}
    with _sink() as url, closing(HttpPoster(allow_private=True)) as poster:
        rt_http = _with(rt, poster=poster)
        endpoint_id = endpoints.create(rt_http, url).endpoint["id"]
        _emit(db, posts, max(8, posts // 5))
        number_all(rt_http)
        began = time.perf_counter()
        delivered = 0
        while delivered < posts:
            outcome = post_waiting(rt_http, endpoint_id)
            delivered += outcome.delivered
            assert outcome.delivered, outcome
        figures["posted/s over HTTP"] = posts / (time.perf_counter() - began)
    began = time.perf_counter()
    _emit(db, count, max(10, int(SUBJECTS * scale)))
    figures["written/s"] = count / (time.perf_counter() - began)
    if is_reachable(AMQP_URL):
        figures["published/s over AMQP (confirmed)"] = _published(rt, count)
    db.dispose()
    return Measured("outbox", figures)


def is_reachable(url: str) -> bool:
    """Say whether a broker answers there."""
    with Connection(url, connect_timeout=2) as connection:
        try:
            connection.transport.establish_connection().collect()
        except OSError:
            return False
    return True


def _published(rt: Runtime, count: int) -> float:
    exchange = f"punctual.bench.{uuid4().hex[:8]}"
    with Connection(AMQP_URL) as connection:
        topic = Exchange(exchange, type="topic", durable=True)(connection)
        topic.declare()
        queue = Queue(f"{exchange}.all", topic, routing_key="#", exclusive=True)(connection)
        queue.declare()
        with closing(AmqpPublisher(AMQP_URL, exchange=exchange)) as publisher:
            publishing = _with(rt, publisher=publisher)
            number_all(publishing)
            began = time.perf_counter()
            done = 0
            while (outcome := relay(publishing)).published:
                done += outcome.published
            took = time.perf_counter() - began
        # The answer is queue, messages, consumers.
        waiting = int(queue.queue_declare(passive=True)[1])  # type: ignore[index]  # kombu has no types for it
        queue.delete()
        topic.delete()
    assert waiting >= count, (waiting, count)
    return done / took


def _emit(db: Engine, count: int, subjects: int) -> None:
    run, at = uuid4().hex[:8], datetime.now(UTC)
    for first in range(0, count, 500):
        with db.begin() as tx:
            emit(
                tx,
                [
                    Emitted(Type.BOT_SCHEDULED, f"bot/{run}-{nth % subjects}", at, DATA)
                    for nth in range(first, min(first + 500, count))
                ],
            )


def _runtime(db: Engine) -> Runtime:
    return Runtime(
        settings=Settings(_env_file=None, allow_private_endpoints=True),
        db=db,
        vault=Vault([b"k" * 32]),
        install_id=an_installation(db),
        bell=FakeBell(),
        poster=FakePoster(),
        now=lambda: datetime.now(UTC),
        chance=lambda: 0.5,
    )


def _with(rt: Runtime, **changes: Any) -> Runtime:
    return replace(rt, **changes)


@contextmanager
def _sink() -> Iterator[str]:
    """Run a subscriber that takes everything, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_take_all, args=(theirs,), daemon=True)
    process.start()
    theirs.close()  # should it die, nobody waits for it
    try:
        yield f"http://127.0.0.1:{ours.recv()}/"
    finally:
        process.terminate()
        process.join()


def _take_all(pipe: Pipe) -> None:
    class Taker(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response_only(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Taker)
    server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    pipe.send(server.server_address[1])
    server.serve_forever()
