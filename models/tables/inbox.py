"""Deliveries: every notification we have acknowledged."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, LargeBinary, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from models.tables.base import Base, new_id


class Delivery(Base):
    """
    One inbound notification, once.

    `ref` is the calendar or bot it speaks of, in the sender's id. `run_id` is the sync run that
    served it. `state`: stored (to be acted on), done, ignored, quarantined, parked.
    """

    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("source", "message_id"),
        Index("ix_deliveries_stored", "received_at", postgresql_where=text("state = 'stored'")),
        Index(
            "ix_deliveries_set_aside",
            "state",
            postgresql_where=text("state IN ('quarantined', 'parked')"),
        ),
        Index("ix_deliveries_received_at_id", "received_at", "id"),
        Index("ix_deliveries_run_id", "run_id", postgresql_where=text("run_id IS NOT NULL")),
        Index("ix_deliveries_ref", "ref", "received_at"),
        CheckConstraint(
            "state IN ('stored', 'done', 'ignored', 'quarantined', 'parked')", name="state"
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    source: Mapped[str]
    message_id: Mapped[str]
    type: Mapped[str | None]
    ref: Mapped[str | None]
    body: Mapped[bytes] = mapped_column(LargeBinary)
    received_at: Mapped[datetime] = mapped_column(server_default=func.now())
    state: Mapped[str] = mapped_column(server_default="stored")
    reason: Mapped[str | None]
    tries: Mapped[int] = mapped_column(server_default=text("0"))
    run_id: Mapped[UUID | None]
    done_at: Mapped[datetime | None]
