"""Calendars: whose events we follow, and how the connection to each stands."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, CheckConstraint, Index, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from models.tables.base import Base, Due, new_id


class Calendar(Due, Base):
    """
    One person's calendar at one provider.

    Due means: look at this calendar again. A plain look is served by the workspace listing;
    `needs_check` asks for the calendar object itself, `needs_full` for a complete listing of its own.
    """

    __tablename__ = "calendars"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    source: Mapped[str]
    external_id: Mapped[str]
    platform: Mapped[str | None]
    email: Mapped[str | None]
    owner: Mapped[str | None]
    status: Mapped[str] = mapped_column(server_default="connecting")
    status_reason: Mapped[str | None]
    paused: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    rules: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    extra: Mapped[dict[str, Any]] = mapped_column("metadata", JSONB, server_default=text("'{}'"))
    needs_check: Mapped[bool] = mapped_column(Boolean, server_default=text("true"))
    needs_full: Mapped[bool] = mapped_column(Boolean, server_default=text("true"))
    last_synced_at: Mapped[datetime | None]
    last_full_at: Mapped[datetime | None]
    checked_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())

    @classmethod
    def more_table_args(cls) -> tuple[Any, ...]:
        return (
            UniqueConstraint("source", "external_id"),
            Index("ix_calendars_last_full", text("last_full_at NULLS FIRST")),
            Index(
                "ix_calendars_own_recurring",
                text("(rules ->> 'recurring')"),
                postgresql_where=text("rules IS NOT NULL"),
            ),
            CheckConstraint(
                "status IN ('connecting', 'connected', 'needs_reauth', 'disconnected')", name="status"
            ),
        )
