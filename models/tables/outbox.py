"""Domain events on their way out: the outbox, its subscribers, and what was posted to whom."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Sequence,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from models.tables.base import Base, Due, new_id

#: Hands out feed positions; only the step that numbers committed rows draws from it.
POSITIONS = Sequence("outbox_positions", metadata=Base.metadata)


class Subject(Base):
    """What domain events are about, with the last sequence given out for it."""

    __tablename__ = "subjects"

    name: Mapped[str] = mapped_column(primary_key=True)
    last_sequence: Mapped[int] = mapped_column(BigInteger)


class OutboxEvent(Base):
    """
    One domain event, written in the transaction of the change it tells of.

    `position` orders the feed; it is given after commit, so no reader ever passes one that appears
    later. `published_at` is set once the broker has confirmed it.
    """

    __tablename__ = "outbox"
    __table_args__ = (
        UniqueConstraint("subject", "sequence"),
        Index("uq_outbox_position", "position", unique=True),
        Index("ix_outbox_unnumbered", "created_at", postgresql_where=text("position IS NULL")),
        Index("ix_outbox_unpublished", "position", postgresql_where=text("published_at IS NULL")),
        Index("ix_outbox_created_at", "created_at", postgresql_using="brin"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    subject: Mapped[str]
    sequence: Mapped[int] = mapped_column(BigInteger)
    type: Mapped[str]
    time: Mapped[datetime]
    data: Mapped[dict[str, Any]] = mapped_column(JSONB)
    position: Mapped[int | None] = mapped_column(BigInteger)
    published_at: Mapped[datetime | None]
    publish_tries: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    publish_after: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Endpoint(Due, Base):
    """
    A subscriber that domain events are posted to; due while something waits to be posted.

    Nothing is posted before `held_until`, which it asked for or earned by not answering.
    """

    __tablename__ = "endpoints"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    url: Mapped[bytes] = mapped_column(LargeBinary)
    types: Mapped[list[Any]] = mapped_column(JSONB, server_default=text("'[]'"))
    description: Mapped[str | None]
    state: Mapped[str] = mapped_column(server_default="active")
    state_reason: Mapped[str | None]
    failing_since: Mapped[datetime | None]
    held_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())

    @classmethod
    def more_table_args(cls) -> tuple[Any, ...]:
        return (CheckConstraint("state IN ('active', 'disabled')", name="state"),)


class EndpointSecret(Base):
    """A signing secret of an endpoint (sealed); every one that has not expired signs."""

    __tablename__ = "endpoint_secrets"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    endpoint_id: Mapped[UUID] = mapped_column(
        ForeignKey("endpoints.id", ondelete="CASCADE"), index=True
    )
    secret: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]


class Posting(Base):
    """One domain event owed to one endpoint; per subject they go out in order of position."""

    __tablename__ = "postings"
    __table_args__ = (
        Index(
            "ix_postings_waiting",
            "endpoint_id",
            "subject",
            "position",
            postgresql_where=text("state = 'waiting'"),
        ),
        Index("ix_postings_position", "position"),
        CheckConstraint("state IN ('waiting', 'delivered', 'failed')", name="state"),
    )

    endpoint_id: Mapped[UUID] = mapped_column(
        ForeignKey("endpoints.id", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    event_id: Mapped[UUID]
    subject: Mapped[str]
    state: Mapped[str] = mapped_column(server_default="waiting")
    tries: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    due_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Attempt(Base):
    """One try at posting: what the subscriber answered and how long it took."""

    __tablename__ = "attempts"
    __table_args__ = (
        Index("ix_attempts_endpoint_id_at", "endpoint_id", "at"),
        Index("ix_attempts_at", "at", postgresql_using="brin"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    endpoint_id: Mapped[UUID] = mapped_column(ForeignKey("endpoints.id", ondelete="CASCADE"))
    event_id: Mapped[UUID]
    type: Mapped[str]
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    status: Mapped[int | None]
    error: Mapped[str | None]
    duration_ms: Mapped[int] = mapped_column(Integer)
    succeeded: Mapped[bool] = mapped_column(Boolean)
