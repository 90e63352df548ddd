"""The installation itself: its id, its default rules, and what it reads from each provider workspace."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, CheckConstraint, Float, Integer, func, text
from sqlalchemy.orm import Mapped, mapped_column

from models.tables.base import Base, Due


class Installation(Base):
    """The one row that says who we are; `rules` are the workspace's default rule set."""

    __tablename__ = "installation"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    install_id: Mapped[UUID]
    rules: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Source(Due, Base):
    """
    One provider workspace that is listed as a whole.

    `cursor_at` is the instant up to which every change has been applied; it never passes one that
    has not. None means nothing was ever listed. The provider's clock is at least `clock_ahead_s`
    ahead of the database's. `unshared_at` is when it last gave two events of one slot a bot each,
    although both named the slot's one dedup key.
    """

    __tablename__ = "sources"

    name: Mapped[str] = mapped_column(primary_key=True)
    cursor_at: Mapped[datetime | None]
    listed_at: Mapped[datetime | None]
    clock_ahead_s: Mapped[float | None] = mapped_column(Float)
    blocked_reason: Mapped[str | None]
    unshared_at: Mapped[datetime | None]


class Duty(Due, Base):
    """
    Something to be done every now and then that asks a provider, and may take a while: by name.

    `performed_at` is when it was last done to the end.
    """

    __tablename__ = "duties"

    name: Mapped[str] = mapped_column(primary_key=True)
    performed_at: Mapped[datetime | None]


class Budget(Base):
    """
    A provider's allowance for one kind of call, shared by every worker.

    `tokens` were there at `counted_at`; more come at `per_minute`. Nothing is granted before
    `blocked_until`. `pace` (0, 1] shrinks when the provider objects and grows back.
    """

    __tablename__ = "budgets"

    name: Mapped[str] = mapped_column(primary_key=True)
    tokens: Mapped[float] = mapped_column(Float)
    counted_at: Mapped[datetime] = mapped_column(server_default=func.now())
    pace: Mapped[float] = mapped_column(Float, server_default=text("1"))
    blocked_until: Mapped[datetime | None]


class Lease(Base):
    """A duty that one process at a time performs: upkeep, relay."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str]
    lease_until: Mapped[datetime]


class Heartbeat(Base):
    """When a worker last finished a turn of its loop; proof of life that a stalled consumer cannot give."""

    __tablename__ = "heartbeats"

    worker: Mapped[str] = mapped_column(primary_key=True)
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    is_healthy: Mapped[bool] = mapped_column(Boolean, server_default=text("true"))
