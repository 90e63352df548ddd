"""Calendars: whose events we follow, and how the connection to each stands."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, CheckConstraint, ForeignKey, Index, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from models.tables.base import Base, Due, new_id

#: A calendar that a provider's workspace holds for us, known by source and id.
IS_OF_WORKSPACE = text("connection_id IS NULL")


class Calendar(Due, Base):
    """
    One person's calendar at one provider.

    Due means: look at this calendar again. A plain look is served by the workspace listing;
    `needs_check` asks for the calendar object itself, `needs_full` for a complete listing of its own.

    A calendar that we read ourselves belongs to a connection. `cursor` is then what the provider gave
    us to ask from where we were, and `window_until` the end of the time that it covers.
    """

    __tablename__ = "calendars"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    source: Mapped[str]
    external_id: Mapped[str]
    connection_id: Mapped[UUID | None] = mapped_column(ForeignKey("connections.id"))
    cursor: Mapped[str | None]
    window_until: Mapped[datetime | None]
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
            Index(
                "uq_calendars_source_external_id",
                "source",
                "external_id",
                unique=True,
                postgresql_where=IS_OF_WORKSPACE,
            ),
            # Searches that do not say so find a workspace's calendar too.
            Index("ix_calendars_source_external_id", "source", "external_id"),
            # Two people may follow one shared calendar, each with what they may see of it.
            Index(
                "uq_calendars_connection_external_id",
                "connection_id",
                "external_id",
                unique=True,
                postgresql_where=text("connection_id IS NOT NULL"),
            ),
            Index(
                "ix_calendars_read_directly",
                "last_synced_at",
                postgresql_where=text("connection_id IS NOT NULL AND deleted_at IS NULL"),
            ),
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
