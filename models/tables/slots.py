"""Slots, the wants that call for them, and the provider bots that stood in them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, CheckConstraint, ForeignKey, Index, LargeBinary, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from models.tables.base import PENDING, Base, Due, new_id


class Slot(Due, Base):
    """
    One place for a bot: a meeting link and a start, under a dedup policy. The API calls it a bot.

    What should be: `key`, `link_key`, `meeting_url` (sealed), `start_at`, `ends_at`, `join_at`,
    `config`, `seat_hash`. What stands at the provider: `bot_id`, `bot_hash` (the seat it was last
    given, None when unknown), `bot_join_at`, `bot_state`, `bot_is_own` (it hangs on no event). What we
    are about to do: `op`, `op_key`, `op_at`, committed before the call. `in_line` says that it waits for
    nothing but its turn in the provider's budget, where the call of each ahead takes a `turn`.
    `announced` is what the last domain event said of it. A closed slot has no want and no bot and frees
    its key.
    """

    __tablename__ = "slots"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    key: Mapped[str]
    link_key: Mapped[str]
    meeting_platform: Mapped[str]
    meeting_url: Mapped[bytes] = mapped_column(LargeBinary)
    start_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    join_at: Mapped[datetime]
    config: Mapped[dict[str, Any]] = mapped_column(JSONB)
    seat_hash: Mapped[bytes] = mapped_column(LargeBinary)
    is_wanted: Mapped[bool] = mapped_column(Boolean, server_default=text("true"))
    notified_at: Mapped[datetime | None]

    bot_id: Mapped[str | None]
    bot_hash: Mapped[bytes | None] = mapped_column(LargeBinary)
    bot_join_at: Mapped[datetime | None]
    bot_state: Mapped[str] = mapped_column(server_default="wanted")
    bot_state_at: Mapped[datetime | None]
    bot_is_own: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    bots_lost: Mapped[int] = mapped_column(server_default=text("0"))

    announced: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))

    op: Mapped[str | None]
    op_key: Mapped[UUID | None]
    op_at: Mapped[datetime | None]
    op_round: Mapped[int] = mapped_column(server_default=text("0"))
    in_line: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    turn: Mapped[timedelta | None]

    closed_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())

    @classmethod
    def more_table_args(cls) -> tuple[Any, ...]:
        return (
            Index("uq_slots_open_key", "key", unique=True, postgresql_where=text("closed_at IS NULL")),
            Index(
                "uq_slots_bot_id", "bot_id", unique=True, postgresql_where=text("bot_id IS NOT NULL")
            ),
            Index("ix_slots_start", "start_at"),
            Index("ix_slots_open_join", "join_at", postgresql_where=text("closed_at IS NULL")),
            Index("ix_slots_ends_at", "ends_at"),
            Index(
                "ix_slots_due_soonest",
                "start_at",
                postgresql_where=text(PENDING),
            ),
            CheckConstraint(
                "bot_state IN ('wanted', 'scheduled', 'joining', 'in_call', 'done', 'failed', 'cancelled')",
                name="bot_state",
            ),
        )


class Want(Base):
    """One event calling for a bot in one slot; an event calls for at most one."""

    __tablename__ = "wants"
    __table_args__ = (Index("ix_wants_slot_id", "slot_id"),)

    event_id: Mapped[UUID] = mapped_column(
        ForeignKey("calendar_events.id", ondelete="CASCADE"), primary_key=True
    )
    slot_id: Mapped[UUID] = mapped_column(ForeignKey("slots.id"))
    since: Mapped[datetime] = mapped_column(server_default=func.now())


class ProviderBot(Base):
    """A bot the provider made for us, for as long as we remember: which slot it stood in, how it ended."""

    __tablename__ = "provider_bots"
    __table_args__ = (
        Index("ix_provider_bots_slot_id", "slot_id"),
        Index("ix_provider_bots_first_seen_at", "first_seen_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    slot_id: Mapped[UUID | None] = mapped_column(ForeignKey("slots.id", ondelete="SET NULL"))
    origin: Mapped[str]
    state: Mapped[str]
    state_at: Mapped[datetime | None]
    first_seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    gone_at: Mapped[datetime | None]
