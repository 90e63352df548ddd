"""
Numbers of the emulated service, and the counters behind its quota.

Sources: developers.google.com/workspace/calendar/api/guides/quota (per minute, sliding), …/v3/reference
(page sizes, free/busy), support.google.com/a/answer/2905486 (60 calendars).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Limits:
    """What can be turned through `PATCH /_emulator/limits`."""

    quota_enabled: bool = True
    per_project: int = 10_000  # calls a minute of one client
    per_user: int = 600  # … for one account
    page_size: int = 250
    page_size_max: int = 2500
    list_page_size: int = 100  # calendarList and settings
    list_page_size_max: int = 250
    page_shortfall: float = 0.0  # this share of pages is shorter than it could be, some of them empty
    expansion_days: float = 730.0  # how far ahead singleEvents expands without timeMax (undocumented)
    token_life_days: float = 30.0  # sync tokens die after so long, and updatedMin reaches no further
    latency_ms: int = 0  # every API call takes so long
    get_lag_ms: int = 0  # a new event is a 404 for so long
    list_lag_ms: int = 0  # a change is missing from lists for so long, while push has told of it
    free_busy_days: float = 92.0  # longer spans are refused (seen at about three months)
    free_busy_calendars: int = 50
    free_busy_group: int = 100
    channel_s: float = 604_800.0  # default and longest life of a channel
    new_calendars: int = 60  # a user may create so many
    conference_ms: int = 0  # a conference is pending for so long
    responses_up_to: int = 200  # guests; beyond, answers are not passed on


@dataclass(slots=True)
class Quota:
    """Count calls over a sliding minute; refused calls do not count."""

    _taken: dict[tuple[str, ...], deque[datetime]] = field(default_factory=dict)

    def exceeded(self, client_id: str, account_id: str, now: datetime, limits: Limits) -> str:
        """Take one call and return "", or take none and return the reason for the refusal."""
        if not limits.quota_enabled:
            return ""
        by_user = self._recent((client_id, account_id), now)
        by_project = self._recent((client_id,), now)
        if len(by_user) >= limits.per_user:
            return "userRateLimitExceeded"
        if len(by_project) >= limits.per_project:
            return "rateLimitExceeded"
        by_user.append(now)
        by_project.append(now)
        return ""

    def _recent(self, key: tuple[str, ...], now: datetime) -> deque[datetime]:
        taken = self._taken.setdefault(key, deque())
        while taken and taken[0] <= now - MINUTE:
            taken.popleft()
        return taken
