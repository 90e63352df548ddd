"""What a check returns, and how it words times and numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Literal

Level = Literal["ok", "warning", "fault"]

#: Notifications older than five minutes are refused (Standard Webhooks), so clocks must agree better than that.
SKEW_NOTED_S, SKEW_FATAL_S = 5.0, 120.0
#: How many of one kind are named.
NAMED = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing the doctor looked at: how it stands, and what to do about it (None: nothing)."""

    level: Level
    check: str
    what: str
    todo: str | None = None

    def view(self) -> dict[str, Any]:
        return asdict(self)


def compared(check: str, whose: str, skew_s: float) -> Finding:
    """Judge how far another clock is ahead of ours."""
    off = abs(skew_s)
    if off < SKEW_NOTED_S:
        return Finding("ok", check, f"{whose} and ours agree within {max(off, 0.1):.1f} s")
    side = "ahead of" if skew_s > 0 else "behind"
    return Finding(
        "fault" if off > SKEW_FATAL_S else "warning",
        check,
        f"{whose} is {off:.0f} s {side} ours; signatures older than five minutes are refused",
        "Synchronise this machine's clock (NTP).",
    )


def worded(span: timedelta) -> str:
    """Write a span of time in one unit."""
    seconds = max(0, int(span.total_seconds()))
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 2 * 3600:
        return f"{seconds // 60} min"
    return f"{seconds // 3600} h" if seconds < 48 * 3600 else f"{seconds // 86400} days"


def counted(number: int, one: str, many: str | None = None) -> str:
    """Write a number with its noun."""
    return f"{number} {one if number == 1 else many or one + 's'}"
