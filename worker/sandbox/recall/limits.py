"""
Numbers of the emulated workspace: rate limits, pool, pages, windows, durations; and the counters behind them.

Sources: docs.recall.ai reference pages (limits per endpoint), scheduling guide (window, 10 minutes), errors
(507).
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta

MINUTE = timedelta(minutes=1)

PER_MINUTE = {
    "calendars_list": 60,
    "calendars_create": 300,
    "calendars_retrieve": 300,
    "calendars_partial_update": 300,
    "calendars_destroy": 300,
    "calendars_access_token_create": 300,
    "calendar_events_list": 60,
    "calendar_events_retrieve": 300,
    "calendar_events_bot_create": 600,
    "calendar_events_bot_destroy": 600,
    "bot_list": 60,
    "bot_create": 60,
    "bot_retrieve": 300,
    "bot_partial_update": 300,
    "bot_destroy": 300,
    "bot_leave_call_create": 300,
    "bot_delete_media_create": 300,
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What can be turned through `PATCH /_emulator/limits`."""

    enabled: bool = True  # rate limits
    multiplier: float = 1.0  # of every rate limit
    pool_size: int = 100  # ad-hoc bots ready at once
    pool_refill_s: float = 180.0  # "every few minutes": a used place comes back after so long
    pool_retry_after_s: int = 30
    adhoc_s: float = 600.0  # a join time nearer than this takes an ad-hoc bot
    idempotency_ttl_s: float = 3600.0
    page_size: int = 100
    calendars_page_size: int = 100
    bots_page_size: int = 100
    connect_ms: int = 200  # connecting -> connected
    latency_ms: int = 0  # every API call takes so long
    # (un)scheduling holds its deduplication key so long; parallel ones get 409
    schedule_latency_ms: int = 0
    window_past_s: float = 86_400.0
    window_ahead_s: float = 28 * 86_400.0
    retention_s: float = 60 * 86_400.0
    dispatch_before_s: float = 0.0  # a bot is beyond recall so long before its join time
    join_s: float = 2.0  # joining_call lasts
    waiting_room_s: float = 0.0  # 0: no waiting room
    settle_s: float = 1.0  # in_call_not_recording lasts
    call_s: float = 3600.0  # length of a call whose event is unknown
    wrap_up_s: float = 5.0  # call_ended -> done


@dataclass(slots=True)
class Throttle:
    """Count calls per operation over a sliding minute; refused calls do not count."""

    _taken: dict[str, deque[datetime]] = field(default_factory=dict)

    def wait_s(self, operation: str, now: datetime, limits: Limits) -> int:
        """Take one call and return 0, or take none and return the seconds to wait."""
        if not limits.enabled:
            return 0
        allowed = max(1, int(PER_MINUTE[operation] * limits.multiplier))
        taken = self._taken.setdefault(operation, deque())
        while taken and taken[0] <= now - MINUTE:
            taken.popleft()
        if len(taken) >= allowed:
            return max(1, math.ceil((taken[0] + MINUTE - now).total_seconds()))
        taken.append(now)
        return 0


@dataclass(slots=True)
class Pool:
    """The warm machines for bots that must join within ten minutes."""

    _back_at: list[datetime] = field(default_factory=list)

    def free(self, now: datetime, limits: Limits) -> int:
        self._back_at = [at for at in self._back_at if at > now]
        return max(0, limits.pool_size - len(self._back_at))

    def has_given(self, now: datetime, limits: Limits) -> bool:
        """Take one machine if there is one."""
        if self.free(now, limits) < 1:
            return False
        self._back_at.append(now + timedelta(seconds=limits.pool_refill_s))
        return True
