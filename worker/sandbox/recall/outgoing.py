"""
The messages a workspace owes its webhook endpoint: what is due when, and what an attempt's result means.

Does no I/O; `sender` carries messages out. Sources: docs.recall.ai faq-webhooks (8 attempts),
bot-status-change-events (15 s, disabled after 5 days of failures).
"""

from __future__ import annotations

import heapq
import json
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any

from worker.sandbox.recall.forms import Json, rendered
from worker.sandbox.recall.signing import FAMILIES, signed_headers

WAITS_S = (
    0,
    5,
    300,
    1800,
    7200,
    18_000,
    36_000,
    36_000,
)  # before each attempt, from the failure before it
DISABLE_AFTER = timedelta(days=5)
SURE_FROM, SURE_TO = (
    timedelta(hours=12),
    timedelta(hours=24),
)  # failures this far apart start the five days
KEPT = 200_000
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
FORGED = "whsec_" + "Zm9yZ2VkZm9yZ2VkZm9yZ2Vk"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The webhook endpoint and how badly it is served. *events* None = all; probabilities are 0..1."""

    url: str | None = None
    secrets: tuple[str, ...] = ()
    family: str = "new"  # new | legacy | both | none
    events: tuple[str, ...] | None = None
    drop: float = 0.0  # never sent
    duplicate: float = 0.0  # sent *copies* times under one id
    copies: int = 2
    shuffle_ms: int = 0  # a random extra delay up to so long: order is lost
    delay_ms: int = 0
    paused: bool = False
    wrong_signature: float = 0.0
    stale_timestamp: float = 0.0  # … an hour old
    # signed with the emulator's clock; False: the machine's, as receivers check it
    emulator_timestamps: bool = False
    timeout_s: float = 15.0
    concurrency: int = 32

    def with_changes(self, wish: Mapping[str, Any]) -> Endpoint:
        """Raises ValueError: an unknown field or value."""
        taken = dict(wish)
        shuffle = taken.pop("shuffle", None)
        if shuffle is not None:
            taken["shuffle_ms"] = 500 if shuffle is True else int(shuffle)
        names = {known.name for known in fields(self)}
        if unknown := taken.keys() - names:
            raise ValueError(
                f"unknown: {', '.join(sorted(unknown))}; known: shuffle, {', '.join(sorted(names))}"
            )
        for name in ("secrets", "events"):
            if isinstance(taken.get(name), list):
                taken[name] = tuple(taken[name])
        for name in ("drop", "duplicate", "wrong_signature", "stale_timestamp"):
            if name in taken:
                taken[name] = float(taken[name])
        changed = replace(self, **taken)
        if changed.family not in FAMILIES:
            raise ValueError(f"family is one of {', '.join(FAMILIES)}")
        if changed.concurrency < 1:
            raise ValueError("concurrency is at least 1")
        if changed.copies < 1:
            raise ValueError("copies is at least 1")
        return changed


@dataclass(slots=True)
class Message:
    id: str
    event: str
    body: bytes
    created_at: datetime
    state: str = "pending"  # pending | delivered | exhausted | dropped | unsent
    tries: int = 0
    next_at: datetime | None = None
    attempts: list[Json] = field(default_factory=list)
    url: str | None = None  # a calendar's own webhook_url, unsigned; None: the endpoint

    def shown(self) -> Json:
        return {
            "id": self.id,
            "event": self.event,
            "state": self.state,
            "created_at": rendered(self.created_at, with_z=True),
            "next_attempt_at": self.next_at and rendered(self.next_at, with_z=True),
            "attempts": self.attempts,
            "body": json.loads(self.body),
        }


@dataclass(slots=True)
class Outgoing:
    """Queue and log. Of one message several copies may be on their way at once."""

    endpoint: Endpoint = field(default_factory=Endpoint)
    messages: dict[str, Message] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    disabled_at: datetime | None = None
    in_flight: int = 0
    _due: list[tuple[datetime, int, str]] = field(default_factory=list)
    _entries: int = 0
    _first_failure_at: datetime | None = None
    _failing_since: datetime | None = None

    def queue(
        self, event: str, data: Json, now: datetime, chance: random.Random, *, url: str | None = None
    ) -> Message:
        """Write a message; it is pending, or dropped or unsent when nobody shall get it."""
        body = json.dumps({"event": event, "data": data}, separators=(",", ":")).encode()
        message = Message("msg_" + "".join(chance.choices(ALPHABET, k=27)), event, body, now, url=url)
        self.messages[message.id] = message
        self._trim()
        endpoint = self.endpoint
        wanted = endpoint.events is None or event in endpoint.events
        if url is not None:
            self._add(message, now)
        elif endpoint.url is None or self.disabled_at is not None or not wanted:
            message.state = "unsent"
        elif endpoint.drop and chance.random() < endpoint.drop:
            message.state = "dropped"
        else:
            for _ in range(
                endpoint.copies if endpoint.duplicate and chance.random() < endpoint.duplicate else 1
            ):
                wait_ms = endpoint.delay_ms + (
                    chance.random() * endpoint.shuffle_ms if endpoint.shuffle_ms else 0
                )
                self._add(message, now + timedelta(milliseconds=wait_ms))
        self.counts[message.state] += 1
        return message

    def replay(self, message: Message, now: datetime) -> None:
        """Send again under the same id, from the first attempt."""
        message.state, message.tries = "pending", 0
        self._add(message, now)

    @property
    def waiting(self) -> int:
        return len(self._due)

    @property
    def next_at(self) -> datetime | None:
        if self.endpoint.paused or self.disabled_at is not None or not self._due:
            return None
        return self._due[0][0]

    def take(self, now: datetime) -> Message | None:
        """Take the first message due; it is in flight until `settle`."""
        next_at = self.next_at
        if next_at is None or next_at > now:
            return None
        message = self.messages.get(heapq.heappop(self._due)[2])
        if message is None:
            return self.take(now)
        self.in_flight += 1
        return message

    def headers(self, message: Message, timestamp: int, chance: random.Random) -> dict[str, str]:
        endpoint = self.endpoint
        if message.url is not None:
            return {}
        if endpoint.stale_timestamp and chance.random() < endpoint.stale_timestamp:
            timestamp -= 3600
        secrets = endpoint.secrets
        if endpoint.wrong_signature and chance.random() < endpoint.wrong_signature:
            secrets = (FORGED,)
        return signed_headers(endpoint.family, secrets, message.id, timestamp, message.body)

    def settle(
        self, message: Message, now: datetime, *, status: int | None, error: str | None, took_ms: float
    ) -> None:
        """Record an attempt and put the message off, or close it; 2xx alone is success."""
        self.in_flight -= 1
        succeeded = status is not None and 200 <= status < 300
        attempt = {
            "at": rendered(now, with_z=True),
            "status": status,
            "error": error,
            "duration_ms": round(took_ms, 2),
        }
        message.attempts.append(attempt)
        self.counts["attempts"] += 1
        if succeeded:
            self._first_failure_at = self._failing_since = None
            if message.state != "delivered":
                self.counts["delivered"] += 1
            message.state, message.next_at = "delivered", None
            return
        self._note_failure(now)
        message.tries += 1
        if message.state == "delivered":
            return
        if message.tries >= len(WAITS_S):
            message.state, message.next_at = "exhausted", None
            self.counts["exhausted"] += 1
        else:
            self._add(message, now + timedelta(seconds=WAITS_S[message.tries]))

    def configure(self, endpoint: Endpoint) -> None:
        """Take over *endpoint* and enable it again."""
        self.endpoint = endpoint
        self.disabled_at = self._first_failure_at = self._failing_since = None

    def _note_failure(self, now: datetime) -> None:
        first = self._first_failure_at
        if first is None or (self._failing_since is None and now - first > SURE_TO):
            self._first_failure_at = now
        elif self._failing_since is None and now - first >= SURE_FROM:
            self._failing_since = first
        if self._failing_since is not None and now - self._failing_since >= DISABLE_AFTER:
            self.disabled_at = now

    def _add(self, message: Message, at: datetime) -> None:
        self._entries += 1
        message.next_at = at
        heapq.heappush(self._due, (at, self._entries, message.id))

    def _trim(self) -> None:
        while len(self.messages) > KEPT:
            del self.messages[next(iter(self.messages))]
