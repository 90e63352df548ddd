"""Calendar events as stored: the typed copy, the decision about it, and what could not be read."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    ForeignKey,
    Index,
    LargeBinary,
    Sequence,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from models.tables.base import Base, new_id

#: Numbers every look at a provider before it starts, so that a later look beats an earlier one
#: without comparing clocks.
FETCHES = Sequence("fetches", metadata=Base.metadata)


class CalendarEvent(Base):
    """
    One calendar's copy of a meeting.

    `meeting_url` is sealed (a link may hold a passcode); `link_key` names the same place without it.
    `unsettled` means the decision or the slot may no longer fit and has to be worked out again.
    `bots` is what the provider says is attached to the event, as of look number `bots_fetch`.
    """

    __tablename__ = "calendar_events"
    __table_args__ = (
        UniqueConstraint("calendar_id", "external_id"),
        Index("ix_calendar_events_external_id", "external_id"),
        Index("ix_calendar_events_provider_updated_at", "provider_updated_at"),
        Index("ix_calendar_events_unsettled", "start_at", postgresql_where=text("unsettled")),
        Index("ix_calendar_events_wanted", "end_at", postgresql_where=text("is_wanted")),
        Index("ix_calendar_events_wanted_start", "start_at", postgresql_where=text("is_wanted")),
        Index("ix_calendar_events_unwanted", "end_at", postgresql_where=text("NOT is_wanted")),
        Index("ix_calendar_events_calendar_start", "calendar_id", "start_at"),
        Index(
            "ix_calendar_events_meeting",
            "ical_uid",
            "start_at",
            postgresql_where=text("link_key IS NOT NULL"),
        ),
        Index("ix_calendar_events_series", "calendar_id", "series_id", "start_at"),
        Index(
            "ix_calendar_events_attached",
            "attached_slot_id",
            postgresql_where=text("attached_slot_id IS NOT NULL"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    calendar_id: Mapped[UUID] = mapped_column(ForeignKey("calendars.id", ondelete="CASCADE"))
    external_id: Mapped[str]
    ical_uid: Mapped[str]
    series_id: Mapped[str | None]
    title: Mapped[str]
    start_at: Mapped[datetime]
    end_at: Mapped[datetime]
    all_day: Mapped[bool] = mapped_column(Boolean)
    organizer: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    attendees: Mapped[list[Any]] = mapped_column(JSONB)
    own_response: Mapped[str | None]
    is_organizer: Mapped[bool] = mapped_column(Boolean)
    is_private: Mapped[bool] = mapped_column(Boolean)
    status: Mapped[str]
    deleted: Mapped[bool] = mapped_column(Boolean)
    meeting_platform: Mapped[str | None]
    meeting_url: Mapped[bytes | None] = mapped_column(LargeBinary)
    link_key: Mapped[str | None]

    provider_updated_at: Mapped[datetime]
    content_hash: Mapped[bytes] = mapped_column(LargeBinary)
    fetch: Mapped[int] = mapped_column(BigInteger)
    notified_at: Mapped[datetime | None]
    bots: Mapped[list[Any]] = mapped_column(JSONB, server_default=text("'[]'"))
    bots_fetch: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    attached_slot_id: Mapped[UUID | None] = mapped_column(ForeignKey("slots.id", ondelete="SET NULL"))
    attached_hash: Mapped[bytes | None] = mapped_column(LargeBinary)

    record_override: Mapped[bool | None] = mapped_column(Boolean)
    is_wanted: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    reason: Mapped[str] = mapped_column(server_default="no_rule")
    explanation: Mapped[str] = mapped_column(server_default="")
    decided_at: Mapped[datetime | None]
    unsettled: Mapped[bool] = mapped_column(Boolean, server_default=text("true"))

    run_id: Mapped[UUID | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class SeriesOverride(Base):
    """The user's word on every occurrence of one series in one calendar."""

    __tablename__ = "series_overrides"

    calendar_id: Mapped[UUID] = mapped_column(
        ForeignKey("calendars.id", ondelete="CASCADE"), primary_key=True
    )
    series_id: Mapped[str] = mapped_column(primary_key=True)
    record: Mapped[bool] = mapped_column(Boolean)
    set_at: Mapped[datetime] = mapped_column(server_default=func.now())


class QuarantinedEvent(Base):
    """A provider's row we could not read; kept until a readable version of it arrives."""

    __tablename__ = "quarantined_events"

    source: Mapped[str] = mapped_column(primary_key=True)
    external_id: Mapped[str] = mapped_column(primary_key=True)
    calendar_ref: Mapped[str | None]
    reason: Mapped[str]
    first_seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
