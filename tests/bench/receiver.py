"""The receiver beside itself without storage: the same sockets, signatures and parsing."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from base64 import b64encode
from datetime import UTC, datetime
from hashlib import sha256
from hmac import digest as hmac_digest
from urllib.parse import urlsplit
from uuid import uuid4

from sqlalchemy import Engine

from models.db import make_engine
from models.schema import migrate
from webhooks.receive import Receiver
from webhooks.server import serving
from webhooks.writer import Verdict, Writer

SECRET = b"a secret for the benchmark only"
CONNECTIONS, SECONDS = 64, 4.0
BODY = b'{"event":"calendar.sync_events","data":{"calendar_id":"%s","last_updated_ts":"%s"}}'


class Forgetful(Writer):
    """A writer that stores nothing and says it did."""

    async def store(self, arrival: object) -> Verdict:
        del arrival
        return Verdict.STORED


def compare_receivers(database_url: str) -> tuple[float, float]:
    """Return deliveries a second with and without storing them, the better of two rounds each."""
    engine = make_engine(database_url)
    migrate(engine)
    rounds = [(_rate(engine, Writer), _rate(engine, Forgetful)) for _ in range(2)]
    engine.dispose()
    return max(durable for durable, _ in rounds), max(verified for _, verified in rounds)


def _rate(engine: Engine, kind: type[Writer]) -> float:
    writer = kind(engine, source="recall", ring=lambda *_: None)
    receiver = Receiver(source="recall", keys=[SECRET], writer=writer, now=lambda: datetime.now(UTC))

    async def app(scope: dict[str, object], receive: object, send: object) -> None:
        if scope["type"] != "lifespan":
            await receiver(scope, receive, send)  # type: ignore[arg-type]  # plain ASGI
            return
        await receive()  # type: ignore[operator]
        writer.start()
        await send({"type": "lifespan.startup.complete"})  # type: ignore[operator]
        await receive()  # type: ignore[operator]
        await writer.stop()
        await send({"type": "lifespan.shutdown.complete"})  # type: ignore[operator]

    with serving(app) as base_url:  # type: ignore[arg-type]  # plain ASGI
        context = multiprocessing.get_context("spawn")
        with context.Pool(1) as pool:
            return float(pool.apply(send_for_a_while, (base_url,)))


def send_for_a_while(base_url: str) -> float:
    """Send signed notifications over kept-alive connections; how many were accepted a second."""
    return asyncio.run(_send(base_url))


async def _send(base_url: str) -> float:
    parts = urlsplit(base_url)
    assert parts.hostname is not None
    assert parts.port is not None
    end = time.monotonic() + SECONDS
    senders = [_sender(parts.hostname, parts.port, end) for _ in range(CONNECTIONS)]
    return sum(await asyncio.gather(*senders)) / SECONDS


async def _sender(host: str, port: int, end: float) -> int:
    reader, writer = await asyncio.open_connection(host, port)
    accepted = 0
    calendar = str(uuid4()).encode()
    while time.monotonic() < end:
        writer.write(_request(calendar))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 204"), head
        accepted += 1
    writer.close()
    return accepted


def _request(calendar: bytes) -> bytes:
    now = int(time.time())
    message_id = uuid4().hex
    body = BODY % (calendar, datetime.now(UTC).isoformat().encode())
    signed = b"%s.%d.%s" % (message_id.encode(), now, body)
    signature = b64encode(hmac_digest(SECRET, signed, sha256)).decode()
    head = (
        f"POST /webhooks/recall HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        f"webhook-id: {message_id}\r\nwebhook-timestamp: {now}\r\nwebhook-signature: v1,{signature}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
