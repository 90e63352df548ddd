"""
The receiver, and what it is held against: the same server and sockets, another way to keep a delivery.

`durable` is ours. `verify_only` is a bare ASGI function that checks the signature and stores nothing:
what the server itself can do. `forgetful` is ours without the database: what our own checks cost.
`commit_each` commits every request by itself, with our statement, over sixteen connections.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from time import time
from typing import Any

import psycopg
from sqlalchemy import Engine
from starlette.types import ASGIApp, Receive, Scope, Send

from models.db import make_engine
from webhooks.app import RECALL_PATH
from webhooks.arrivals import Arrival, Inbox
from webhooks.receive import Receiver
from webhooks.server import serving
from webhooks.verify import SIGNATURE_HEADERS, read_signature, verify
from webhooks.writer import Verdict, Writer
from worker.heap import set_heap_aside

SECRET = b"a secret for the benchmark only"
KINDS = ("durable", "verify_only", "forgetful", "commit_each")
COMMITTERS = 16

Step = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Serving:
    """A receiver in a process of its own."""

    url: str
    _pipe: Connection

    def cpu_s(self) -> float:
        """Return the processor time its process has used so far."""
        self._pipe.send("cpu")
        return float(self._pipe.recv())


@contextmanager
def served(kind: str, database_url: str) -> Iterator[Serving]:
    """Serve one kind of receiver for the length of a `with` block."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(kind, database_url, theirs))
    process.start()
    theirs.close()  # should it die, nobody waits for it
    try:
        yield Serving(str(ours.recv()), ours)
    finally:
        ours.send("stop")
        process.join(20)
        if process.is_alive():
            process.kill()
            process.join()


def _serve(kind: str, database_url: str, pipe: Connection) -> None:
    with serving(_app(kind, database_url)) as url:
        set_heap_aside()  # as `punctual serve` does; here for every kind
        pipe.send(url)
        while pipe.recv() == "cpu":
            used = resource.getrusage(resource.RUSAGE_SELF)
            pipe.send(used.ru_utime + used.ru_stime)


def _app(kind: str, database_url: str) -> ASGIApp:
    if kind == "verify_only":
        return _with_lifespan(_verify_only, _nothing, _nothing)
    engine = make_engine(database_url)
    writer = {"durable": Writer, "forgetful": Forgetful, "commit_each": CommitEach}[kind](
        engine, source="recall", ring=lambda *_: None
    )
    receiver = Receiver(source="recall", keys=[SECRET], writer=writer, now=lambda: datetime.now(UTC))

    async def start() -> None:
        writer.start()

    whole = _with_lifespan(receiver, start, writer.stop)
    if kind != "commit_each":
        whole.shortcuts = {RECALL_PATH: receiver}  # type: ignore[attr-defined]  # as `webhooks.app.App` has them
    return whole


class Forgetful(Writer):
    """A writer that stores nothing and says it did."""

    def put(self, arrival: Arrival, settled: Callable[[Verdict], None]) -> None:
        del arrival
        settled(Verdict.STORED)


class CommitEach(Writer):
    """A writer that commits every delivery by itself, as soon as one of its connections is free."""

    def __init__(self, engine: Engine, *, source: str, **more: Any) -> None:
        super().__init__(engine, source=source, **more)
        self._free: asyncio.Queue[Inbox] = asyncio.Queue()
        for _ in range(COMMITTERS):
            self._free.put_nowait(Inbox(engine, source=source, notify=False))

    async def store(self, arrival: Arrival) -> Verdict:
        inbox = await self._free.get()
        try:
            stored = await inbox.store([arrival])
        except psycopg.Error:
            inbox.close()
            return Verdict.UNAVAILABLE
        finally:
            self._free.put_nowait(inbox)
        if stored.left_out:
            return Verdict.UNAVAILABLE
        return Verdict.REPEATED if stored.repeated else Verdict.STORED


async def _verify_only(scope: Scope, receive: Receive, send: Send) -> None:
    message = await receive()
    body = message.get("body", b"")
    found = [header for header in scope["headers"] if header[0] in SIGNATURE_HEADERS]
    verify(read_signature(found, now=time()), body, [SECRET])
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def _nothing() -> None:
    pass


def _with_lifespan(app: ASGIApp, start: Step, stop: Step) -> ASGIApp:
    async def whole(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        await receive()
        await start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await stop()
        await send({"type": "lifespan.shutdown.complete"})

    return whole
