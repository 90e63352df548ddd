"""
A sender of signed notifications which remembers what was promised to it.

It posts at a steady pace over kept-alive connections, comes again with what was not accepted, as real
senders do, and keeps every answer, so that afterwards each 2xx can be held against the database.
"""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit
from uuid import uuid4

from svix.webhooks import Webhook

from tests.system.rig import SECRET
from worker.clock import utc_now

#: How long before something not accepted is sent again; real senders wait 5 s and then longer.
AGAIN_AFTER_S = 1.0


@dataclass(frozen=True)
class Answer:
    """One answer: when the request began, what came (0: no answer) and after how long."""

    at: float
    status: int
    seconds: float

    @property
    def is_accepted(self) -> bool:
        return 200 <= self.status < 300


class Sender:
    """Posts `calendar.sync_events` for known calendars until it leaves its `with` block."""

    def __init__(
        self, base_url: str, calendars: Sequence[str], *, per_second: float = 50, lines: int = 8
    ) -> None:
        parts = urlsplit(base_url)
        self._host, self._port = str(parts.hostname), int(parts.port or 80)
        self._calendars = list(calendars)
        self._pause_s = lines / per_second
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.answers: list[Answer] = []
        self.acked: set[str] = set()
        self.waiting: list[tuple[float, str, bytes]] = []
        self._threads = [
            threading.Thread(target=self._send_on, args=(random.Random(n),), daemon=True)
            for n in range(lines)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Send nothing more."""
        self._stop.set()
        for thread in self._threads:
            thread.join(20)

    def statuses(self, since: float = 0.0) -> dict[int, int]:
        """Count answers by status."""
        with self._lock:
            return dict(Counter(answer.status for answer in self.answers if answer.at >= since))

    def slowest(self, since: float = 0.0, until: float = float("inf")) -> float:
        """Return the seconds of the slowest answer to a request begun in that time."""
        with self._lock:
            return max((a.seconds for a in self.answers if since <= a.at <= until), default=0.0)

    def longest_silence(self, since: float = 0.0) -> float:
        """Return the longest time in which no request that was begun came to be accepted."""
        with self._lock:
            ends = sorted(a.at + a.seconds for a in self.answers if a.is_accepted and a.at >= since)
        ends = [since or (ends[0] if ends else 0.0), *ends]
        return max((later - sooner for sooner, later in pairwise(ends)), default=0.0)

    def accepted_after(self, moment: float) -> float | None:
        """Return how long after *moment* the first request begun since was accepted; None if none was."""
        with self._lock:
            ends = [a.at + a.seconds for a in self.answers if a.is_accepted and a.at >= moment]
        return min(ends) - moment if ends else None

    def _send_on(self, chance: random.Random) -> None:
        line: http.client.HTTPConnection | None = None
        self._stop.wait(chance.random() * self._pause_s)
        while not self._stop.wait(self._pause_s):
            message_id, body = self._next(chance)
            began = time.monotonic()
            line = line or http.client.HTTPConnection(self._host, self._port, timeout=15)
            status = post(line, message_id, body)
            if status == 0:
                line.close()
                line = None
            answer = Answer(began, status, time.monotonic() - began)
            with self._lock:
                self.answers.append(answer)
                if answer.is_accepted:
                    self.acked.add(message_id)
                elif status != 401:
                    self.waiting.append((time.monotonic() + AGAIN_AFTER_S, message_id, body))
        if line is not None:
            line.close()

    def _next(self, chance: random.Random) -> tuple[str, bytes]:
        with self._lock:
            if self.waiting and self.waiting[0][0] <= time.monotonic():
                _, message_id, body = self.waiting.pop(0)
                return message_id, body
        return f"msg_{uuid4().hex}", notification(chance.choice(self._calendars))


def notification(calendar: str) -> bytes:
    """Write the body that says that something in a calendar has changed."""
    data = {"calendar_id": calendar, "last_updated_ts": utc_now().isoformat()}
    return json.dumps({"event": "calendar.sync_events", "data": data}).encode()


def post(line: http.client.HTTPConnection, message_id: str, body: bytes) -> int:
    """Post once and return the status; 0 when there was no whole answer."""
    now = utc_now()
    headers = {
        "content-type": "application/json",
        "svix-id": message_id,
        "svix-timestamp": str(int(now.timestamp())),
        "svix-signature": Webhook(SECRET).sign(message_id, now, body.decode()),
    }
    try:
        line.request("POST", "/webhooks/recall", body, headers)
        response = line.getresponse()
        response.read()
        return response.status
    except (OSError, http.client.HTTPException):
        return 0
