"""Users connect their accounts: clients, connections, links, and push channels."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_NOW = sa.text("now()")


def _instant(name: str, *, is_needed: bool = False, now: bool = False) -> sa.Column[object]:
    return sa.Column(
        name,
        sa.DateTime(timezone=True),
        server_default=_NOW if now else None,
        nullable=not (is_needed or now),
    )


def _due() -> list[sa.Column[object]]:
    pending = sa.Computed("wanted > done", persisted=True)
    zero = sa.text("0")
    return [
        sa.Column("wanted", sa.BigInteger(), server_default=zero, nullable=False),
        sa.Column("done", sa.BigInteger(), server_default=zero, nullable=False),
        _instant("asked_at"),
        _instant("due_at", now=True),
        _instant("lease_until"),
        sa.Column("fence", sa.BigInteger(), server_default=zero, nullable=False),
        sa.Column("crashes", sa.Integer(), server_default=zero, nullable=False),
        sa.Column("tries", sa.Integer(), server_default=zero, nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        _instant("parked_at"),
        sa.Column("is_pending", sa.Boolean(), pending, nullable=False),
    ]


def _due_indexes(table: str) -> None:
    op.create_index(
        f"ix_{table}_due",
        table,
        ["due_at"],
        postgresql_where=sa.text("is_pending AND parked_at IS NULL"),
    )
    op.create_index(
        f"ix_{table}_parked", table, ["parked_at"], postgresql_where=sa.text("parked_at IS NOT NULL")
    )


def upgrade() -> None:
    op.create_table(
        "oauth_clients",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("client_secret", sa.LargeBinary(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=True),
        _instant("created_at", now=True),
        _instant("updated_at", now=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_oauth_clients")),
        sa.UniqueConstraint("platform", "client_id", name=op.f("uq_oauth_clients_platform_client_id")),
        sa.CheckConstraint(
            "platform IN ('google', 'microsoft')", name=op.f("ck_oauth_clients_platform")
        ),
    )
    op.create_table(
        "connections",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("oauth_client", sa.Text(), nullable=False),
        sa.Column("scopes", postgresql.JSONB(), nullable=False),
        sa.Column("status", sa.Text(), server_default="connected", nullable=False),
        sa.Column("status_reason", sa.Text(), nullable=True),
        sa.Column("refresh_token", sa.LargeBinary(), nullable=False),
        sa.Column("access_token", sa.LargeBinary(), nullable=True),
        _instant("access_expires_at"),
        _instant("refreshed_at"),
        sa.Column("generation", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("refusals", sa.Integer(), server_default=sa.text("0"), nullable=False),
        _instant("deleted_at"),
        _instant("created_at", now=True),
        _instant("updated_at", now=True),
        *_due(),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_connections")),
        sa.CheckConstraint("platform IN ('google', 'microsoft')", name=op.f("ck_connections_platform")),
        sa.CheckConstraint(
            "status IN ('connected', 'needs_reauth')", name=op.f("ck_connections_status")
        ),
    )
    _due_indexes("connections")
    op.create_index(
        "uq_connections_live_account",
        "connections",
        ["platform", "account"],
        unique=True,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index(
        "ix_connections_idle",
        "connections",
        ["refreshed_at"],
        postgresql_where=sa.text("status = 'connected' AND deleted_at IS NULL"),
    )
    op.create_table(
        "connect_links",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("via", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("metadata", postgresql.JSONB(), nullable=True),
        sa.Column("return_url", sa.Text(), nullable=True),
        sa.Column("scopes", postgresql.JSONB(), nullable=False),
        sa.Column("login_hint", sa.Text(), nullable=True),
        sa.Column("oauth_client", sa.Text(), nullable=False),
        _instant("expires_at", is_needed=True),
        _instant("used_at"),
        sa.Column("calendar_id", sa.Uuid(), nullable=True),
        _instant("created_at", now=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_connect_links")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_connect_links_token_hash")),
        sa.CheckConstraint(
            "platform IN ('google', 'microsoft')", name=op.f("ck_connect_links_platform")
        ),
        sa.CheckConstraint("via IN ('recall', 'direct')", name=op.f("ck_connect_links_via")),
    )
    op.create_index("ix_connect_links_expires_at", "connect_links", ["expires_at"])
    op.create_table(
        "connect_attempts",
        sa.Column("state_hash", sa.LargeBinary(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("link_id", sa.Uuid(), nullable=False),
        sa.Column("browser_hash", sa.LargeBinary(), nullable=False),
        sa.Column("verifier", sa.LargeBinary(), nullable=False),
        _instant("used_at"),
        _instant("created_at", now=True),
        sa.PrimaryKeyConstraint("state_hash", name=op.f("pk_connect_attempts")),
        sa.ForeignKeyConstraint(
            ["link_id"],
            ["connect_links.id"],
            name=op.f("fk_connect_attempts_link_id"),
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_connect_attempts_link_id", "connect_attempts", ["link_id"])
    _change_calendars()
    op.add_column(
        "slots",
        sa.Column("bot_is_own", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    op.create_table(
        "push_channels",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("calendar_id", sa.Uuid(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("is_wanted", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        _instant("opened_at"),
        _instant("expires_at"),
        _instant("heard_at"),
        sa.Column("missed", sa.Integer(), server_default=sa.text("0"), nullable=False),
        _instant("closed_at"),
        _instant("created_at", now=True),
        *_due(),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_push_channels")),
        sa.ForeignKeyConstraint(
            ["calendar_id"],
            ["calendars.id"],
            name=op.f("fk_push_channels_calendar_id"),
            ondelete="CASCADE",
        ),
    )
    _due_indexes("push_channels")
    op.create_index("ix_push_channels_calendar_id", "push_channels", ["calendar_id"])
    op.create_index(
        "ix_push_channels_expires_at",
        "push_channels",
        ["expires_at"],
        postgresql_where=sa.text("closed_at IS NULL"),
    )


def _change_calendars() -> None:
    op.add_column("calendars", sa.Column("connection_id", sa.Uuid(), nullable=True))
    op.add_column("calendars", sa.Column("cursor", sa.Text(), nullable=True))
    op.add_column("calendars", _instant("window_until"))
    op.create_foreign_key(
        op.f("fk_calendars_connection_id"), "calendars", "connections", ["connection_id"], ["id"]
    )
    op.drop_constraint(op.f("uq_calendars_source_external_id"), "calendars", type_="unique")
    op.create_index(
        "uq_calendars_source_external_id",
        "calendars",
        ["source", "external_id"],
        unique=True,
        postgresql_where=sa.text("connection_id IS NULL"),
    )
    op.create_index("ix_calendars_source_external_id", "calendars", ["source", "external_id"])
    op.create_index(
        "ix_calendars_read_directly",
        "calendars",
        ["last_synced_at"],
        postgresql_where=sa.text("connection_id IS NOT NULL AND deleted_at IS NULL"),
    )
    op.create_index(
        "uq_calendars_connection_external_id",
        "calendars",
        ["connection_id", "external_id"],
        unique=True,
        postgresql_where=sa.text("connection_id IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_table("push_channels")
    op.drop_column("slots", "bot_is_own")
    op.execute("DELETE FROM calendars WHERE connection_id IS NOT NULL")
    op.drop_index("ix_calendars_read_directly", table_name="calendars")
    op.drop_index("ix_calendars_source_external_id", table_name="calendars")
    op.drop_index("uq_calendars_connection_external_id", table_name="calendars")
    op.drop_index("uq_calendars_source_external_id", table_name="calendars")
    op.create_unique_constraint(
        op.f("uq_calendars_source_external_id"), "calendars", ["source", "external_id"]
    )
    op.drop_constraint(op.f("fk_calendars_connection_id"), "calendars", type_="foreignkey")
    for name in ("window_until", "cursor", "connection_id"):
        op.drop_column("calendars", name)
    for table in ("connect_attempts", "connect_links", "connections", "oauth_clients"):
        op.drop_table(table)
