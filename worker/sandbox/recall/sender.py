"""Carry webhooks to their endpoint: many at a time, over kept-alive connections, never in the API's way."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import datetime

from worker.sandbox.recall.outgoing import Message
from worker.sandbox.recall.store import Workspace
from worker.sandbox.recall.wire import Wire

_BASE = {
    "content-type": "application/json",
    "accept": "*/*",
    "user-agent": "Punctual-Sandbox/1 (like Svix-Webhooks)",
}


@dataclass(slots=True)
class Sender:
    """Send what is due; as many workers as the endpoint's `concurrency`."""

    ws: Workspace
    _workers: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def next_at(self) -> datetime | None:
        """Tell when a worker has to be started; busy workers look after the rest themselves."""
        is_full = len(self._workers) >= self.ws.outgoing.endpoint.concurrency
        return None if is_full else self.ws.outgoing.next_at

    def rouse(self) -> None:
        """Start workers for what is due now; call it whenever time or the queue moved."""
        outgoing = self.ws.outgoing
        while len(self._workers) < outgoing.endpoint.concurrency:
            message = outgoing.take(self.ws.clock.now())
            if message is None:
                return
            worker = asyncio.create_task(self._work(message))
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    async def settled(self) -> None:
        """Wait until nothing is due and nothing is on its way."""
        self.rouse()
        while self._workers:
            await asyncio.wait(self._workers)
            await asyncio.sleep(0)
            self.rouse()

    async def close(self) -> None:
        for worker in list(self._workers):
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    async def _work(self, message: Message) -> None:
        """Send *message* and then whatever else is due, over one connection."""
        wire, outgoing = Wire(), self.ws.outgoing
        following: Message | None = message
        try:
            while following is not None:
                await self._send(wire, following)
                following = None
                if len(self._workers) <= outgoing.endpoint.concurrency:
                    following = outgoing.take(self.ws.clock.now())
        finally:
            wire.close()

    async def _send(self, wire: Wire, message: Message) -> None:
        ws, outgoing = self.ws, self.ws.outgoing
        endpoint = outgoing.endpoint
        signed_at = ws.clock.now().timestamp() if endpoint.emulator_timestamps else time.time()
        headers = _BASE | outgoing.headers(message, int(signed_at), ws.random)
        began = time.perf_counter()
        status, error = None, None
        try:
            status = await wire.post(
                message.url or endpoint.url or "", headers, message.body, endpoint.timeout_s
            )
        except TimeoutError:
            error = "timeout"
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as problem:
            error = f"{type(problem).__name__}: {problem}"
        except asyncio.CancelledError:
            outgoing.in_flight -= 1
            raise
        took_ms = (time.perf_counter() - began) * 1000
        outgoing.settle(message, ws.clock.now(), status=status, error=error, took_ms=took_ms)
        ws.history.note(
            ws.clock.now(),
            "webhook.attempt",
            id=message.id,
            event=message.event,
            status=status,
            state=message.state,
        )
