"""Which events share a bot: the key of a slot."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from models.domain.times import rfc3339


def slot_key(
    link_key: str, start: datetime, *, dedup: str, calendar_id: UUID, email: str | None
) -> str:
    """
    Name the slot of an event under a dedup policy; equal for all copies of a meeting that share a bot.

    Built as Recall documents deduplication keys: start and link, then what narrows the sharing.
    A company is the e-mail domain of the calendar; a calendar without an address is its own company.

    Source: docs.recall.ai, calendar v2 scheduling guide (deduplicating bots).
    """
    base = f"{rfc3339(start)}-{link_key}"
    match dedup:
        case "meeting":
            return base
        case "company" if email and "@" in email:
            return f"{base}-{email.rpartition('@')[2].lower()}"
        case _:
            return f"{base}-{calendar_id}"
