"""The trail: what happened to an event and its bot, and why; `punctual why` reads it aloud."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Identity, Index, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from models.tables.base import Base, new_id


class SyncRun(Base):
    """One look at a provider: `scope` is workspace or calendar; `calendar_id` is set for the latter."""

    __tablename__ = "sync_runs"
    __table_args__ = (Index("ix_sync_runs_started_at", "started_at", postgresql_using="brin"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    source: Mapped[str]
    scope: Mapped[str]
    calendar_id: Mapped[UUID | None]
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    finished_at: Mapped[datetime | None]
    pages: Mapped[int] = mapped_column(server_default=text("0"))
    changes: Mapped[int] = mapped_column(server_default=text("0"))
    error: Mapped[str | None]


class TrailEntry(Base):
    """
    One step of the trail, in the order of `id`.

    `step`: synced, decided, placed, called, answered, observed. `facts` are short and hold neither titles,
    addresses of people nor links.
    """

    __tablename__ = "trail"
    __table_args__ = (
        Index("ix_trail_event_id", "event_id", postgresql_where=text("event_id IS NOT NULL")),
        Index("ix_trail_slot_id", "slot_id", postgresql_where=text("slot_id IS NOT NULL")),
        Index("ix_trail_at", "at", postgresql_using="brin"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    event_id: Mapped[UUID | None]
    slot_id: Mapped[UUID | None]
    run_id: Mapped[UUID | None]
    step: Mapped[str]
    facts: Mapped[dict[str, Any]] = mapped_column(JSONB)
