"""What every table shares: naming of constraints, instants in UTC, ids, and the due columns."""

from __future__ import annotations

import os
import time
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    Computed,
    DateTime,
    Index,
    Integer,
    MetaData,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column
from sqlalchemy.types import Uuid


class Base(DeclarativeBase):
    """Root of all rows."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: DateTime(timezone=True),
        str: Text(),
        UUID: Uuid(),
        dict[str, Any]: JSONB(none_as_null=True),
        list[Any]: JSONB(none_as_null=True),
    }


#: The bits of a UUID of version 7 that are left to chance.
_FREE = (1 << 80) - 1 & ~(0xF << 76) & ~(0x3 << 62)


def new_id() -> UUID:
    """Make a UUID of version 7: unique anywhere, and later ones sort after earlier ones."""
    return new_ids(1)[0]


def new_ids(count: int) -> list[UUID]:
    """Make so many at once, in no order among themselves."""
    milliseconds = time.time_ns() // 1_000_000
    head = (milliseconds & (1 << 48) - 1) << 80 | 0x7 << 76 | 0x2 << 62
    chance = os.urandom(10 * count)
    return [
        UUID(int=head | int.from_bytes(chance[at : at + 10], "big") & _FREE)
        for at in range(0, 10 * count, 10)
    ]


#: What makes an index one of due rows.
PENDING = "is_pending AND parked_at IS NULL"


class Due:
    """
    Columns of a row that somebody asks for and a worker brings up to date.

    `wanted` counts the asks, `done` the last one served; the row is due while they differ, which
    `is_pending` says. Only the statements in `models.tables.due` write these columns.
    """

    wanted: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    done: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    asked_at: Mapped[datetime | None]
    due_at: Mapped[datetime] = mapped_column(server_default=func.now())
    lease_until: Mapped[datetime | None]
    fence: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    crashes: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    tries: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    last_error: Mapped[str | None]
    parked_at: Mapped[datetime | None]
    # Indexes are of this column and not of the two: an ask for a row that is pending already then
    # touches no index, and costs a fifth.
    is_pending: Mapped[bool] = mapped_column(Boolean, Computed("wanted > done", persisted=True))

    @declared_attr.directive
    @classmethod
    def __table_args__(cls) -> tuple[Any, ...]:
        name = cls.__tablename__  # type: ignore[attr-defined]  # given by the mapped class
        parked = text("parked_at IS NOT NULL")
        return (
            Index(f"ix_{name}_due", "due_at", postgresql_where=text(PENDING)),
            Index(f"ix_{name}_parked", "parked_at", postgresql_where=parked),
            *cls.more_table_args(),
        )

    @classmethod
    def more_table_args(cls) -> tuple[Any, ...]:
        """Further indexes and constraints of the mapped class."""
        return ()
