"""One look at a provider: numbered before it asks, so that a later look beats an earlier one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select

from models.db import Tx
from models.tables.events import FETCHES

# Built once: building a statement takes as long as having it carried out.
_NEXT = select(FETCHES.next_value())


@dataclass(frozen=True, slots=True)
class Looked:
    """
    One look at a provider: which source, which numbered look, which run, and what it was asked for.

    *within* is the one calendar it was about, where ids mean something only within a calendar: then
    looks come one after the other, and the later one is right, whatever versions say. None: a
    workspace, whose ids are unique in it.
    """

    source: str
    fetch: int
    run_id: UUID
    now: datetime
    notified_at: datetime | None = None
    within: UUID | None = None

    @property
    def shelf(self) -> str:
        """Where events that cannot be read are set aside: ids are unique there."""
        return self.source if self.within is None else f"{self.source}/{self.within}"


def next_fetch(tx: Tx) -> int:
    """Number a look at a provider; take the number before asking."""
    return int(tx.execute(_NEXT).scalar_one())
