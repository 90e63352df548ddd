"""
Sends signed notifications as fast as, or exactly as often as, it is told; a process of its own.

Requests are signed before the clock starts. Closed loop: every connection sends its next request when
the last one is answered. Open loop: requests are due at fixed instants, whether or not earlier ones
have been answered, and latency counts from the instant they were due.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import multiprocessing
import time
from base64 import b64encode
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import digest as hmac_digest
from multiprocessing.pool import Pool
from typing import cast
from urllib.parse import urlsplit
from uuid import uuid4

import uvloop

#: More than any receiver here answers in a second.
MOST_PER_SECOND = 45_000
#: After the last request was due, answers are waited for so long.
PATIENCE_S = 15.0


@dataclass(frozen=True, slots=True)
class Load:
    """
    What to send: over how many connections, for how long, and how often (None: as often as answered).

    *calendars* are the provider's ids of the calendars that the notifications speak of, in turn.
    """

    url: str
    secret: bytes
    calendars: Sequence[str]
    connections: int
    seconds: float
    per_second: float | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """What was answered: how many by status, in how long; latencies in milliseconds, ascending."""

    statuses: dict[int, int]
    seconds: float
    cpu_s: float
    latencies_ms: list[float] = field(repr=False)
    accepted_ids: list[str] = field(repr=False)

    @property
    def accepted(self) -> int:
        return sum(count for status, count in self.statuses.items() if 200 <= status < 300)

    @property
    def per_second(self) -> float:
        return self.accepted / self.seconds

    def quantile_ms(self, share: float) -> float:
        """Return the latency that *share* of the requests did not exceed."""
        last = len(self.latencies_ms) - 1
        return self.latencies_ms[min(last, int(len(self.latencies_ms) * share))]


def send(load: Load) -> Sent:
    """Send it all from a process of its own and return what came back."""
    return _generator().apply(_send_here, (load,))


@functools.cache
def _generator() -> Pool:
    """Start the process that sends, once; it ends with this one."""
    pool = multiprocessing.get_context("spawn").Pool(1)
    atexit.register(pool.terminate)
    return pool


def _send_here(load: Load) -> Sent:
    return uvloop.run(_Sending(load).run())


class _Sending:
    def __init__(self, load: Load) -> None:
        self.load = load
        self.requests = _signed(load, int(load.seconds * (load.per_second or MOST_PER_SECOND)))
        self.left: Iterator[tuple[str, bytes]] = iter(self.requests)
        self.statuses: Counter[int] = Counter()
        self.latencies: list[float] = []
        self.accepted_ids: list[str] = []
        self.end = 0.0
        self.idle: deque[_Connection] = deque()
        self.overdue: deque[tuple[float, str, bytes]] = deque()
        self.is_answered = asyncio.Event()
        self.lost = 0

    async def run(self) -> Sent:
        parts = urlsplit(self.load.url)
        loop = asyncio.get_running_loop()
        host, port = parts.hostname or "", parts.port or 80
        made = [
            await loop.create_connection(lambda: _Connection(self), host, port)
            for _ in range(self.load.connections)
        ]
        connections = [connection for _, connection in made]
        cpu, began = time.process_time(), time.perf_counter()
        self.end = began + self.load.seconds
        if self.load.per_second is None:
            await self._closed_loop(connections)
        else:
            await self._open_loop(connections, began, self.load.per_second)
        seconds = time.perf_counter() - began
        cpu = time.process_time() - cpu
        for transport, _ in made:
            transport.close()
        latencies = sorted(latency * 1000 for latency in self.latencies)
        return Sent(dict(self.statuses), seconds, cpu, latencies, self.accepted_ids)

    async def _closed_loop(self, connections: Sequence[_Connection]) -> None:
        for connection in connections:
            self.next(connection)
        await self._answers(len(connections))

    async def _answers(self, connections: int) -> None:
        async with asyncio.timeout(self.load.seconds + PATIENCE_S):
            while len(self.idle) + self.lost < connections:
                self.is_answered.clear()
                await self.is_answered.wait()

    async def _open_loop(
        self, connections: Sequence[_Connection], began: float, per_second: float
    ) -> None:
        self.idle.extend(connections)
        for nth, (message_id, request) in enumerate(self.requests):
            due_at = began + nth / per_second
            wait = due_at - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            if self.idle:
                self.idle.popleft().send(due_at, message_id, request)
            else:
                self.overdue.append((due_at, message_id, request))
        await self._answers(len(connections))

    def next(self, connection: _Connection) -> None:
        """Give a connection that has its answer the next request, if there is one."""
        if self.load.per_second is not None:
            if self.overdue:
                connection.send(*self.overdue.popleft())
                return
        elif (now := time.perf_counter()) < self.end:
            request = next(self.left, None)
            if request is not None:
                connection.send(now, *request)
                return
        self.idle.append(connection)
        self.is_answered.set()


class _Connection(asyncio.Protocol):
    def __init__(self, sending: _Sending) -> None:
        self._sending = sending
        self._due_at = 0.0
        self._message_id = ""
        self._heard = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports implement the interface without inheriting it.
        self._transport = cast("asyncio.Transport", transport)

    def send(self, due_at: float, message_id: str, request: bytes) -> None:
        assert self._transport is not None
        self._due_at, self._message_id = due_at, message_id
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        heard = self._heard + data
        head, blank, body = heard.partition(b"\r\n\r\n")
        if not blank or len(body) < _length(head):
            self._heard = heard
            return
        self._heard = b""
        sending = self._sending
        status = int(head[9:12])
        sending.statuses[status] += 1
        sending.latencies.append(time.perf_counter() - self._due_at)
        if 200 <= status < 300:
            sending.accepted_ids.append(self._message_id)
        sending.next(self)

    def connection_lost(self, reason: Exception | None) -> None:
        sending = self._sending
        if self not in sending.idle:
            sending.statuses[0] += 1  # in the middle of a request
            sending.lost += 1
            sending.is_answered.set()


def _length(head: bytes) -> int:
    if head.startswith(b"HTTP/1.1 204"):
        return 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def _signed(load: Load, count: int) -> list[tuple[str, bytes]]:
    now = int(time.time())
    run = uuid4().hex[:16]
    host = urlsplit(load.url).netloc
    bodies = [
        (
            b'{"event":"calendar.sync_events","data":{"calendar_id":"%s",'
            b'"last_updated_ts":"2026-01-29T23:49:58.570998+00:00"}}'
        )
        % calendar.encode()
        for calendar in load.calendars
    ]
    head = (
        f"POST /webhooks/recall HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"User-Agent: Svix-Webhooks/1.75\r\nAccept: */*\r\n"
    )
    made = []
    for nth in range(count):
        message_id = f"msg_{run}{nth}"
        body = bodies[nth % len(bodies)]
        mac = hmac_digest(load.secret, b"%s.%d.%s" % (message_id.encode(), now, body), sha256)
        signed = (
            f"{head}webhook-id: {message_id}\r\nwebhook-timestamp: {now}\r\n"
            f"webhook-signature: v1,{b64encode(mac).decode()}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        made.append((message_id, signed.encode() + body))
    return made
