"""Lets a request in: whose key is it, may it do this, and is somebody guessing keys."""

from __future__ import annotations

import hashlib
import ipaddress
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

import structlog
from prometheus_client import Counter

from webhooks.api.problems import Problem
from worker import metrics
from worker.access import Caller, Rejection, Scope, find_caller
from worker.runtime import Runtime

log = structlog.get_logger(__name__)

REJECTED = Counter(
    "punctual_api_rejections_total",
    "Requests to the management API without a valid key, by what was wrong.",
    ("reason",),
    registry=metrics.REGISTRY,
)

_BEARER = re.compile(r"Bearer +([\x21-\x7e]{1,256})", re.IGNORECASE)
_CHALLENGE = 'Bearer realm="punctual"'


@dataclass(slots=True)
class _Record:
    since: float
    failures: int = 0
    guesses: set[bytes] = field(default_factory=set)


class Throttle:
    """
    Counts unknown keys per address and minute.

    Trying many different keys is guessing; one wrong key over and over is a mistake somebody will
    correct, and gets a longer leash. Lives in this process, in bounded memory.
    """

    WINDOW_S = 60.0
    MOST_GUESSES = 30
    MOST_FAILURES = 150
    MOST_ADDRESSES = 10_000

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._records: OrderedDict[str, _Record] = OrderedDict()
        self._lock = Lock()

    def blocked_for(self, address: str) -> float:
        """Return for how many more seconds *address* is not heard; 0 when it is."""
        with self._lock:
            record = self._records.get(address)
            if record is None:
                return 0.0
            left = record.since + self.WINDOW_S - self._clock()
            is_over = record.failures > self.MOST_FAILURES or len(record.guesses) > self.MOST_GUESSES
            return left if is_over and left > 0 else 0.0

    def note_failure(self, address: str, digest: bytes) -> bool:
        """Count an unknown key; True when this one blocks the address."""
        with self._lock:
            now = self._clock()
            record = self._records.pop(address, None)
            if record is None or record.since + self.WINDOW_S <= now:
                record = _Record(since=now)
            self._records[address] = record
            while len(self._records) > self.MOST_ADDRESSES:
                self._records.popitem(last=False)
            record.failures += 1
            if len(record.guesses) <= self.MOST_GUESSES:
                record.guesses.add(digest)
            return (
                record.failures == self.MOST_FAILURES + 1
                or len(record.guesses) == self.MOST_GUESSES + 1
            )


class Guard:
    """The one place where callers are recognised."""

    MOST_TRUSTED = 1_000

    def __init__(self, rt: Runtime, throttle: Throttle | None = None) -> None:
        self._rt = rt
        self._throttle = throttle or Throttle()
        self._trusted: OrderedDict[bytes, None] = OrderedDict()
        self._lock = Lock()

    def admit(self, authorizations: list[str], client: str | None) -> Caller:
        """
        Recognise the caller by the Authorization header, or end the request.

        Every reason for refusing looks the same from outside. While an address is blocked, keys
        that were good a moment ago still work, so that a guesser does not lock out its neighbours.
        """
        address = _address(client)
        match = _BEARER.fullmatch(authorizations[0].strip()) if len(authorizations) == 1 else None
        if match is None:
            raise _refused("missing")
        key = match[1]
        digest = hashlib.sha256(key.encode()).digest()
        blocked_s = self._throttle.blocked_for(address)
        if blocked_s and not self._is_trusted(digest):
            REJECTED.labels("throttled").inc()
            raise Problem("too_many_failures", headers={"Retry-After": str(int(blocked_s) + 1)})
        with self._rt.db.begin() as tx:
            found = find_caller(tx, key, now=self._rt.now())
        if isinstance(found, Caller):
            self._trust(digest)
            return found
        if found is Rejection.UNKNOWN and self._throttle.note_failure(address, digest):
            log.warning("caller_blocked", address=address)
        raise _refused(str(found))

    def _is_trusted(self, digest: bytes) -> bool:
        with self._lock:
            return digest in self._trusted

    def _trust(self, digest: bytes) -> None:
        with self._lock:
            self._trusted[digest] = None
            self._trusted.move_to_end(digest)
            while len(self._trusted) > self.MOST_TRUSTED:
                self._trusted.popitem(last=False)


def require(caller: Caller, scope: Scope) -> None:
    """End the request unless the caller's key has the scope."""
    if not caller.may(scope):
        REJECTED.labels("scope").inc()
        raise Problem(
            "forbidden",
            f"this needs a key with the scope `{scope}`",
            headers={"WWW-Authenticate": f'{_CHALLENGE}, error="insufficient_scope", scope="{scope}"'},
        )


def _refused(reason: str) -> Problem:
    REJECTED.labels(reason).inc()
    return Problem("unauthorized", headers={"WWW-Authenticate": _CHALLENGE})


def _address(client: str | None) -> str:
    """Name who is calling: an IPv4 address, or the /64 network that one IPv6 user has to himself."""
    try:
        address = ipaddress.ip_address(client or "")
    except ValueError:
        return client or "unknown"
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
