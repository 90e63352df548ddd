"""Domain events: what we tell downstream services, and how each is named and numbered."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid5

#: Ids of domain events are derived from it; changing it would make every redelivery a stranger.
NAMESPACE = UUID("7a0f2c52-6a3e-5f0e-9a53-0d6b8a1c9e11")


class Type(StrEnum):
    """Every domain event there is."""

    CALENDAR_CONNECTED = "calendar.connected"
    CALENDAR_NEEDS_REAUTH = "calendar.needs_reauth"
    CALENDAR_DISCONNECTED = "calendar.disconnected"
    CALENDAR_DELETED = "calendar.deleted"
    EVENT_CREATED = "calendar_event.created"
    EVENT_UPDATED = "calendar_event.updated"
    EVENT_DELETED = "calendar_event.deleted"
    BOT_SCHEDULED = "bot.scheduled"
    BOT_RESCHEDULED = "bot.rescheduled"
    BOT_CANCELLED = "bot.cancelled"
    BOT_STATUS_CHANGED = "bot.status_changed"
    BOT_FAILED = "bot.failed"


@dataclass(frozen=True, slots=True)
class Emitted:
    """
    A domain event before it has a number.

    *data* is the full object after the change, as the API shows it; *previous* holds the old values
    of the fields that changed, for updates.
    """

    type: Type
    subject: str
    time: datetime
    data: dict[str, Any]
    previous: dict[str, Any] | None = None
    changed: tuple[str, ...] = field(default=())

    def payload(self) -> dict[str, Any]:
        """Return what goes out as `data`."""
        if self.previous is None:
            return self.data
        return {**self.data, "changed": list(self.changed), "previous": self.previous}


def subject_of(kind: str, object_id: UUID) -> str:
    """Name the subject of a domain event, such as `bot/…`."""
    return f"{kind}/{object_id}"


def event_id(subject: str, sequence: int) -> UUID:
    """Derive the id that a domain event keeps on every redelivery."""
    return uuid5(NAMESPACE, f"{subject}#{sequence}")


def differences(
    before: dict[str, Any], after: dict[str, Any], *, ignoring: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Return the old values of the fields that differ; empty when nothing did."""
    return {
        name: before.get(name)
        for name in after
        if name not in ignoring and before.get(name) != after[name]
    }
