"""
Push channels: who watches what, and how notifications reach them, late, twice, out of order or not at all.

Source: developers.google.com/workspace/calendar/api/guides/push.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any

from worker.sandbox.recall.clock import Agenda, Clock
from worker.sandbox.recall.forms import Json
from worker.sandbox.recall.history import History
from worker.sandbox.recall.wire import Wire

RETRIED = frozenset({500, 502, 503, 504})
SUCCESSES = frozenset({102, 200, 201, 202, 204})
WAITS_S = (1, 2, 4, 8, 16, 32, 64)  # how long and how often is undocumented
TIMEOUT_S = 10.0
USER_AGENT = "APIs-Google; (+https://developers.google.com/webmasters/APIs-Google.html)"
STRIDE = 5  # numbers of messages rise by 1 to so much
KEPT = 200_000  # messages that are remembered
AT_ONCE = 64  # posts on their way at one time


@dataclass(frozen=True, slots=True)
class Delivery:
    """How badly notifications are delivered; probabilities are 0..1."""

    drop: float = 0.0
    duplicate: float = 0.0
    copies: int = 2
    delay_ms: int = 0
    shuffle_ms: int = 0  # a random extra delay up to so long: order is lost
    paused: bool = False  # nothing is sent until this is taken back; then all at once

    def with_changes(self, wish: Mapping[str, Any]) -> Delivery:
        """Raises ValueError: an unknown field."""
        names = {known.name for known in fields(self)}
        if unknown := wish.keys() - names:
            raise ValueError(
                f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(sorted(names))}"
            )
        return replace(self, **wish)


@dataclass(slots=True)
class Channel:
    """One subscription. *is_dead*: it looks alive, and nothing arrives any more."""

    id: str
    resource_id: str
    resource_uri: str
    watched: str
    address: str
    token: str
    account_id: str
    client_id: str
    expires_at: datetime
    is_dead: bool = False
    is_stopped: bool = False
    number: int = 0

    def is_live(self, now: datetime) -> bool:
        return not self.is_stopped and now < self.expires_at

    def shown(self) -> Json:
        """Render it as the answer to a watch call."""
        expiration = str(int(self.expires_at.timestamp() * 1000))
        shown = {
            "kind": "api#channel",
            "id": self.id,
            "resourceId": self.resource_id,
            "resourceUri": self.resource_uri,
            "expiration": expiration,
        }
        return shown | ({"token": self.token} if self.token else {})


@dataclass(slots=True)
class Notice:
    """One message on its way."""

    channel: Channel
    state: str
    number: int
    tries: int = 0
    outcome: str = "pending"  # pending | delivered | failed | dropped | unsent
    statuses: list[int | str] = field(default_factory=list)

    def headers(self) -> dict[str, str]:
        channel = self.channel
        headers = {
            "accept": "*/*",
            "user-agent": USER_AGENT,
            "x-goog-channel-id": channel.id,
            "x-goog-channel-expiration": format_datetime(channel.expires_at, usegmt=True),
            "x-goog-message-number": str(self.number),
            "x-goog-resource-id": channel.resource_id,
            "x-goog-resource-state": self.state,
            "x-goog-resource-uri": channel.resource_uri,
        }
        return headers | ({"x-goog-channel-token": channel.token} if channel.token else {})

    def shown(self) -> Json:
        return {
            "channel": self.channel.id,
            "state": self.state,
            "number": self.number,
            "outcome": self.outcome,
            "statuses": self.statuses,
        }


@dataclass(slots=True)
class Channels:
    """All channels and what they owe. Sends only while an event loop runs."""

    clock: Clock
    agenda: Agenda
    history: History
    chance: random.Random
    delivery: Delivery = field(default_factory=Delivery)
    by_id: dict[str, Channel] = field(default_factory=dict)
    by_watched: dict[str, list[Channel]] = field(default_factory=dict)
    notices: deque[Notice] = field(default_factory=lambda: deque(maxlen=KEPT))
    unreachable_is_retried: bool = True
    is_open: bool = False  # a loop runs that may send
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    _held: list[Notice] = field(default_factory=list)
    _sending: set[asyncio.Task[None]] = field(default_factory=set)

    def open(self, channel: Channel) -> None:
        self.by_id[channel.id] = channel
        self.by_watched.setdefault(channel.watched, []).append(channel)

    def announce(self, watched: str, state: str = "exists", *, but_client: str | None = None) -> None:
        """Tell every live channel on *watched* that something changed; *but_client* is not told."""
        now = self.clock.now()
        for channel in self.by_watched.get(watched, ()):
            if channel.is_live(now) and channel.client_id != but_client:
                self._queue(channel, state)

    def greet(self, channel: Channel) -> Notice:
        """Write the sync message, which is number 1; the caller decides when it is sent."""
        channel.number = 1
        notice = Notice(channel, "sync", 1)
        self.notices.append(notice)
        return notice

    def post_later(self, notice: Notice, wait: timedelta = timedelta(0)) -> None:
        self.agenda.add(self.clock.now() + wait, lambda: self._start(notice))

    async def post(self, notice: Notice) -> None:
        """Send once; put it off or close it as the answer says."""
        status: int | None = None
        wire = Wire()
        try:
            async with self._slots:
                status = await wire.post(notice.channel.address, notice.headers(), b"", TIMEOUT_S)
            notice.statuses.append(status)
        except TimeoutError:
            notice.statuses.append("timeout")
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as problem:
            notice.statuses.append(type(problem).__name__)
        finally:
            wire.close()
        self._settle(notice, status)

    async def settled(self) -> None:
        """Wait until nothing is on its way."""
        while self._sending:
            await asyncio.wait(self._sending)
            await asyncio.sleep(0)

    async def close(self) -> None:
        for task in list(self._sending):
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    def configure(self, wish: Mapping[str, Any]) -> Json:
        """Change what is named; what was held back goes out when the pause ends."""
        self.delivery = self.delivery.with_changes(wish)
        if not self.delivery.paused:
            held, self._held = self._held, []
            for notice in held:
                self.post_later(notice)
        return asdict(self.delivery)

    def forget(self) -> None:
        """Drop all channels and messages, and deliver as well as ever."""
        self.delivery = Delivery()
        self.by_id.clear()
        self.by_watched.clear()
        self.notices.clear()
        self._held.clear()

    def _queue(self, channel: Channel, state: str) -> None:
        channel.number += self.chance.randint(1, STRIDE)
        notice = Notice(channel, state, channel.number)
        self.notices.append(notice)
        delivery = self.delivery
        if channel.is_dead:
            notice.outcome = "unsent"
        elif delivery.drop and self.chance.random() < delivery.drop:
            notice.outcome = "dropped"
        else:
            is_double = delivery.duplicate and self.chance.random() < delivery.duplicate
            for _ in range(delivery.copies if is_double else 1):
                extra_ms = self.chance.random() * delivery.shuffle_ms if delivery.shuffle_ms else 0.0
                self.post_later(notice, timedelta(milliseconds=delivery.delay_ms + extra_ms))

    def _start(self, notice: Notice) -> None:
        if not self.is_open:
            notice.outcome = "unsent"
            return
        if self.delivery.paused:
            self._held.append(notice)
            return
        task = asyncio.get_running_loop().create_task(self.post(notice))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    def _settle(self, notice: Notice, status: int | None) -> None:
        notice.tries += 1
        may_retry = status in RETRIED or (status is None and self.unreachable_is_retried)
        if status in SUCCESSES:
            notice.outcome = "delivered"
        elif may_retry and notice.tries <= len(WAITS_S):
            self.post_later(notice, timedelta(seconds=WAITS_S[notice.tries - 1]))
        else:
            notice.outcome = "failed"
        self.history.note(
            self.clock.now(),
            "push.attempt",
            channel=notice.channel.id,
            state=notice.state,
            number=notice.number,
            status=status,
            outcome=notice.outcome,
        )
