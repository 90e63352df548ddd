"""Accounts that users connected: their tokens, the links that lead there, and the push channels they feed."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    LargeBinary,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from models.tables.base import Base, Due, new_id


class OAuthClient(Base):
    """An OAuth client of a platform that somebody registered over the API; its secret is sealed."""

    __tablename__ = "oauth_clients"
    __table_args__ = (
        UniqueConstraint("platform", "client_id"),
        CheckConstraint("platform IN ('google', 'microsoft')", name="platform"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    platform: Mapped[str]
    client_id: Mapped[str]
    client_secret: Mapped[bytes] = mapped_column(LargeBinary)
    tenant: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Connection(Due, Base):
    """
    One person's account at Google or Microsoft, and the consent to read its calendars.

    `account` is the provider's own id of the person, which no change of address changes. Both tokens
    are sealed. `generation` counts the refresh tokens the account has had: whoever stores a newer one
    names the one it replaces. `refusals` counts how often the present one was refused in a row. Due
    means: get a fresh access token.
    """

    __tablename__ = "connections"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    platform: Mapped[str]
    account: Mapped[str]
    email: Mapped[str | None]
    owner: Mapped[str | None]
    oauth_client: Mapped[str]
    scopes: Mapped[list[Any]] = mapped_column(JSONB)
    status: Mapped[str] = mapped_column(server_default="connected")
    status_reason: Mapped[str | None]
    refresh_token: Mapped[bytes] = mapped_column(LargeBinary)
    access_token: Mapped[bytes | None] = mapped_column(LargeBinary)
    access_expires_at: Mapped[datetime | None]
    refreshed_at: Mapped[datetime | None]
    generation: Mapped[int] = mapped_column(BigInteger, server_default=text("1"))
    refusals: Mapped[int] = mapped_column(server_default=text("0"))
    deleted_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())

    @classmethod
    def more_table_args(cls) -> tuple[Any, ...]:
        return (
            Index(
                "uq_connections_live_account",
                "platform",
                "account",
                unique=True,
                postgresql_where=text("deleted_at IS NULL"),
            ),
            Index(
                "ix_connections_idle",
                "refreshed_at",
                postgresql_where=text("status = 'connected' AND deleted_at IS NULL"),
            ),
            CheckConstraint("platform IN ('google', 'microsoft')", name="platform"),
            CheckConstraint("status IN ('connected', 'needs_reauth')", name="status"),
        )


class ConnectLink(Base):
    """
    A link that lets one user connect one account, once, until it expires.

    Only the hash of its token is kept. `used_at` is set by the callback that brought a consent.
    """

    __tablename__ = "connect_links"
    __table_args__ = (
        UniqueConstraint("token_hash"),
        Index("ix_connect_links_expires_at", "expires_at"),
        CheckConstraint("platform IN ('google', 'microsoft')", name="platform"),
        CheckConstraint("via IN ('recall', 'direct')", name="via"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary)
    platform: Mapped[str]
    via: Mapped[str]
    owner: Mapped[str | None]
    extra: Mapped[dict[str, Any] | None] = mapped_column("metadata", JSONB(none_as_null=True))
    return_url: Mapped[str | None]
    scopes: Mapped[list[Any]] = mapped_column(JSONB)
    login_hint: Mapped[str | None]
    oauth_client: Mapped[str]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    calendar_id: Mapped[UUID | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ConnectAttempt(Base):
    """
    One way to a provider's consent page and back: what the callback must match.

    Of `state` and of the browser's cookie only hashes are kept; the PKCE verifier is sealed.
    """

    __tablename__ = "connect_attempts"
    __table_args__ = (Index("ix_connect_attempts_link_id", "link_id"),)

    state_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    id: Mapped[UUID] = mapped_column(default=new_id)
    link_id: Mapped[UUID] = mapped_column(ForeignKey("connect_links.id", ondelete="CASCADE"))
    browser_hash: Mapped[bytes] = mapped_column(LargeBinary)
    verifier: Mapped[bytes] = mapped_column(LargeBinary)
    used_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class PushChannel(Due, Base):
    """
    A provider's promise to tell us when one calendar changes.

    `external_id` is what the provider calls it (Google's resource id, Microsoft's subscription id),
    None until it has answered. Due means: open it, renew it, or stop it, as `is_wanted` and
    `expires_at` say. `heard_at` is when it last told us anything, `missed` how often since then a
    look of our own found what it should have told.
    """

    __tablename__ = "push_channels"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    calendar_id: Mapped[UUID] = mapped_column(ForeignKey("calendars.id", ondelete="CASCADE"))
    external_id: Mapped[str | None]
    is_wanted: Mapped[bool] = mapped_column(server_default=text("true"))
    opened_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    heard_at: Mapped[datetime | None]
    missed: Mapped[int] = mapped_column(server_default=text("0"))
    closed_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    @classmethod
    def more_table_args(cls) -> tuple[Any, ...]:
        return (
            Index("ix_push_channels_calendar_id", "calendar_id"),
            Index(
                "ix_push_channels_expires_at",
                "expires_at",
                postgresql_where=text("closed_at IS NULL"),
            ),
        )
