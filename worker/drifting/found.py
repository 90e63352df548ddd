"""What a drift report is made of: each thing found, and how much was compared."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from worker.views import moment


class Kind(StrEnum):
    """Everything that can be found: of events, of calendars, of bots."""

    EVENT_MISSING = "event_missing"
    EVENT_GONE = "event_gone"
    EVENT_DIFFERS = "event_differs"
    CALENDAR_GONE = "calendar_gone"
    BOT_MISSING = "bot_missing"
    BOT_DOUBLED = "bot_doubled"
    BOT_ASTRAY = "bot_astray"
    BOT_MISPLACED = "bot_misplaced"


@dataclass(frozen=True, slots=True)
class Difference:
    """
    One thing that is not as it should be: ids, times and reasons, nothing of what people wrote.

    *bot_id* is ours, the slot's; *external_id* is the provider's id of the event or of the bot. *at* is
    when the event starts, or when the bot should join.
    """

    kind: Kind
    reason: str
    calendar_id: UUID | None = None
    event_id: UUID | None = None
    bot_id: UUID | None = None
    external_id: str | None = None
    at: datetime | None = None

    def view(self) -> dict[str, Any]:
        return {
            "kind": str(self.kind),
            "calendar_id": _text(self.calendar_id),
            "event_id": _text(self.event_id),
            "bot_id": _text(self.bot_id),
            "external_id": self.external_id,
            "at": moment(self.at),
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class Compared:
    """What a comparison found: *awaited* counts what is being seen to, *size* all that was compared."""

    differences: tuple[Difference, ...] = ()
    awaited: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class Unread:
    """What could not be compared, and why: a calendar, or the bots (None)."""

    calendar_id: UUID | None
    reason: str

    def view(self) -> dict[str, Any]:
        return {"calendar_id": _text(self.calendar_id), "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Report:
    """
    How far what we have is from what the providers have.

    *calendars*, *events* and *bots* count what was compared. *awaited* counts differences that are no
    drift: a look that is due, or a notification on its way, will see to them.
    """

    differences: tuple[Difference, ...] = ()
    unread: tuple[Unread, ...] = ()
    calendars: int = 0
    events: int = 0
    bots: int = 0
    awaited: int = 0

    @property
    def is_clean(self) -> bool:
        """Everything could be compared, and nothing differs."""
        return not (self.differences or self.unread)

    def view(self) -> dict[str, Any]:
        return {
            "clean": self.is_clean,
            "differences": [one.view() for one in self.differences],
            "unread": [one.view() for one in self.unread],
            "awaited": self.awaited,
            "compared": {"calendars": self.calendars, "events": self.events, "bots": self.bots},
        }


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)
