"""Carry notifications to their endpoints, and let endpoints prove themselves."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import quote_plus

import httpx

from worker.sandbox.microsoft import refusals
from worker.sandbox.microsoft.announcing import Announcer
from worker.sandbox.microsoft.pushes import Notice
from worker.sandbox.recall.wire import Wire

_HEADERS = {
    "content-type": "application/json; charset=utf-8",
    "accept": "*/*",
    "user-agent": "Punctual-Sandbox/1",
}
PAUSE = timedelta(minutes=1)  # how often a paused notification is looked at again


@dataclass(slots=True)
class Courier:
    """Send what is due, by as many workers as the weather's `concurrency`."""

    announcer: Announcer
    _workers: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def next_at(self) -> datetime | None:
        """Tell when a worker has to be started; busy workers look after the rest themselves."""
        pushes = self.announcer.pushes
        return None if len(self._workers) >= pushes.weather.concurrency else pushes.next_at

    def rouse(self) -> None:
        """Start workers for what is due now; call it whenever time or the queue moved."""
        pushes = self.announcer.pushes
        while len(self._workers) < pushes.weather.concurrency and (batch := self._take()):
            worker = asyncio.create_task(self._work(batch))
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

    async def validate(self, url: str) -> None:
        """
        Ask an endpoint to echo a token.

        Raises:
            Refused: no answer in time, or not 200, not plain text, or not the token.

        Source: graph/change-notifications-delivery-webhooks; texts: pnp/Microsoft365-Analytics-Insights #273,
        the token's form: microsoft-graph-docs #21160.
        """
        store = self.announcer.store
        request_id = uuid.UUID(int=store.random.getrandbits(128), version=4)
        token = f"Validation: Testing client application reachability for subscription Request-Id: {request_id}"
        target = f"{url}{'&' if '?' in url else '?'}validationToken={quote_plus(token)}"
        said, answer = "", None
        try:
            async with (
                asyncio.timeout(store.limits.validation_timeout_s),
                httpx.AsyncClient(trust_env=False) as client,
            ):
                headers = {"content-type": "text/plain; charset=utf-8"}
                answer = await client.post(target, headers=headers, timeout=None)
        except TimeoutError:
            said = "Subscription validation request timed out."
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            said = f"Subscription validation request failed. {type(error).__name__}."
        if answer is not None:
            said = _judged(answer, token)
        store.history.note(
            store.now(),
            "validation",
            url=url,
            status=answer.status_code if answer else None,
            error=said or None,
        )
        if said:
            raise refusals.Refused(400, "ValidationError", said)

    def _take(self) -> list[Notice]:
        """Take the next notices that may be sent; others wait or are lost."""
        announcer, pushes = self.announcer, self.announcer.pushes
        now = announcer.store.now()
        while taken := pushes.take(now, announcer.store.limits.notifications_per_post):
            batch = []
            for notice in taken:
                match announcer.fate(notice, now):
                    case "send":
                        batch.append(notice)
                    case "wait":
                        pushes.put_back(notice, now + PAUSE, "paused")
                    case _:
                        pushes.drop_taken(notice, "lost")
                        announcer.note_loss(notice)
            if batch:
                return batch
        return []

    async def _work(self, batch: list[Notice]) -> None:
        """Send *batch* and then whatever else is due, over one connection."""
        wire = Wire()
        try:
            while batch:
                await self._send(wire, batch)
                is_needed = len(self._workers) <= self.announcer.pushes.weather.concurrency
                batch = self._take() if is_needed else []
        finally:
            wire.close()

    async def _send(self, wire: Wire, batch: list[Notice]) -> None:
        store, pushes = self.announcer.store, self.announcer.pushes
        limits = store.limits
        body = json.dumps({"value": [notice.body for notice in batch]}, separators=(",", ":")).encode()
        began = time.perf_counter()
        status, error = None, None
        try:
            # A little over the limit, so that an answer too late is seen to be one.
            status = await wire.post(batch[0].url, _HEADERS, body, limits.retry_answer_s + 0.5)
        except TimeoutError:
            error = "timeout"
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as problem:
            error = f"{type(problem).__name__}: {problem}"
        except asyncio.CancelledError:
            pushes.in_flight -= len(batch)
            raise
        took_s, now = time.perf_counter() - began, store.now()
        pushes.health_of(batch[0].url, now).note(took_s, now, limits)
        for notice in batch:
            pushes.settle(notice, now, limits, status=status, error=error, took_s=took_s)
            if notice.state == "given_up":
                self.announcer.note_loss(notice)
        store.history.note(
            now,
            "notification.attempt",
            url=batch[0].url,
            notices=[notice.n for notice in batch],
            kinds=[notice.kind for notice in batch],
            status=status,
            error=error,
        )


def _judged(answer: httpx.Response, token: str) -> str:
    """Say what is wrong with an endpoint's proof; nothing if it holds."""
    if answer.status_code != 200:
        return (
            f"Subscription validation request failed. HTTP status code is '{answer.reason_phrase}'. "
            "Notification endpoint must respond with 200 OK to validation request."
        )
    is_plain = answer.headers.get("content-type", "").lower().startswith("text/plain")
    if not is_plain or answer.text != token:
        return (
            "Subscription validation request failed. Response must exactly match validationToken query "
            "parameter."
        )
    return ""
