"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(sa.schema.CreateSequence(sa.Sequence("fetches")))
    op.execute(sa.schema.CreateSequence(sa.Sequence("outbox_positions")))
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", postgresql.JSONB(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("digest", name=op.f("uq_api_keys_digest")),
    )
    op.create_table(
        "budgets",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("tokens", sa.Float(), nullable=False),
        sa.Column(
            "counted_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("pace", sa.Float(), server_default=sa.text("1"), nullable=False),
        sa.Column("blocked_until", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_budgets")),
    )
    op.create_table(
        "calendars",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("platform", sa.Text(), nullable=True),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), server_default="connecting", nullable=False),
        sa.Column("status_reason", sa.Text(), nullable=True),
        sa.Column("paused", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("rules", postgresql.JSONB(none_as_null=True), nullable=True),
        sa.Column("metadata", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("needs_check", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("needs_full", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("last_synced_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_full_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("wanted", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("done", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "due_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("fence", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("crashes", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("tries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("parked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "status IN ('connecting', 'connected', 'needs_reauth', 'disconnected')",
            name=op.f("ck_calendars_status"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calendars")),
        sa.UniqueConstraint("source", "external_id", name=op.f("uq_calendars_source_external_id")),
    )
    op.create_index(
        "ix_calendars_due",
        "calendars",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("wanted > done AND parked_at IS NULL"),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=True),
        sa.Column("ref", sa.Text(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column(
            "received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("state", sa.Text(), server_default="stored", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("tries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('stored', 'done', 'ignored', 'quarantined', 'parked')",
            name=op.f("ck_deliveries_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint("source", "message_id", name=op.f("uq_deliveries_source_message_id")),
    )
    op.create_index("ix_deliveries_received_at_id", "deliveries", ["received_at", "id"], unique=False)
    op.create_index("ix_deliveries_ref", "deliveries", ["ref", "received_at"], unique=False)
    op.create_index(
        "ix_deliveries_run_id",
        "deliveries",
        ["run_id"],
        unique=False,
        postgresql_where=sa.text("run_id IS NOT NULL"),
    )
    op.create_index(
        "ix_deliveries_set_aside",
        "deliveries",
        ["state"],
        unique=False,
        postgresql_where=sa.text("state IN ('quarantined', 'parked')"),
    )
    op.create_index(
        "ix_deliveries_stored",
        "deliveries",
        ["received_at"],
        unique=False,
        postgresql_where=sa.text("state = 'stored'"),
    )
    op.create_table(
        "endpoints",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("url", sa.LargeBinary(), nullable=False),
        sa.Column("types", postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), server_default="active", nullable=False),
        sa.Column("state_reason", sa.Text(), nullable=True),
        sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("held_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("wanted", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("done", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "due_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("fence", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("crashes", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("tries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("parked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('active', 'disabled')", name=op.f("ck_endpoints_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_endpoints")),
    )
    op.create_index(
        "ix_endpoints_due",
        "endpoints",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("wanted > done AND parked_at IS NULL"),
    )
    op.create_table(
        "heartbeats",
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column(
            "seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("is_healthy", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.PrimaryKeyConstraint("worker", name=op.f("pk_heartbeats")),
    )
    op.create_table(
        "idempotent_requests",
        sa.Column("api_key_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("answer", sa.LargeBinary(), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("api_key_id", "key", name=op.f("pk_idempotent_requests")),
    )
    op.create_table(
        "installation",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("install_id", sa.Uuid(), nullable=False),
        sa.Column("rules", postgresql.JSONB(none_as_null=True), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.CheckConstraint("id = 1", name=op.f("ck_installation_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_installation")),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("data", postgresql.JSONB(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=True),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("publish_tries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("publish_after", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        sa.UniqueConstraint("subject", "sequence", name=op.f("uq_outbox_subject_sequence")),
    )
    op.create_index(
        "ix_outbox_unnumbered",
        "outbox",
        ["created_at"],
        unique=False,
        postgresql_where=sa.text("position IS NULL"),
    )
    op.create_index(
        "ix_outbox_unpublished",
        "outbox",
        ["position"],
        unique=False,
        postgresql_where=sa.text("published_at IS NULL"),
    )
    op.create_index("uq_outbox_position", "outbox", ["position"], unique=True)
    op.create_table(
        "quarantined_events",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("calendar_ref", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column(
            "first_seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column(
            "last_seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("source", "external_id", name=op.f("pk_quarantined_events")),
    )
    op.create_table(
        "slots",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("link_key", sa.Text(), nullable=False),
        sa.Column("meeting_platform", sa.Text(), nullable=False),
        sa.Column("meeting_url", sa.LargeBinary(), nullable=False),
        sa.Column("start_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("join_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("config", postgresql.JSONB(), nullable=False),
        sa.Column("seat_hash", sa.LargeBinary(), nullable=False),
        sa.Column("is_wanted", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("notified_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("bot_id", sa.Text(), nullable=True),
        sa.Column("bot_hash", sa.LargeBinary(), nullable=True),
        sa.Column("bot_join_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("bot_state", sa.Text(), server_default="wanted", nullable=False),
        sa.Column("bot_state_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("bots_lost", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("announced", postgresql.JSONB(none_as_null=True), nullable=True),
        sa.Column("op", sa.Text(), nullable=True),
        sa.Column("op_key", sa.Uuid(), nullable=True),
        sa.Column("op_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("op_round", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("wanted", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("done", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "due_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("fence", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("crashes", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("tries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("parked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "bot_state IN ('wanted', 'scheduled', 'joining', 'in_call', 'done', 'failed', 'cancelled')",
            name=op.f("ck_slots_bot_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_slots")),
    )
    op.create_index(
        "ix_slots_due",
        "slots",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("wanted > done AND parked_at IS NULL"),
    )
    op.create_index("ix_slots_start", "slots", ["start_at"], unique=False)
    op.create_index(
        "uq_slots_bot_id",
        "slots",
        ["bot_id"],
        unique=True,
        postgresql_where=sa.text("bot_id IS NOT NULL"),
    )
    op.create_index(
        "uq_slots_open_key",
        "slots",
        ["key"],
        unique=True,
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.create_table(
        "sources",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("cursor_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("listed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("clock_ahead_s", sa.Float(), nullable=True),
        sa.Column("calendars_found_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("bots_swept_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("blocked_reason", sa.Text(), nullable=True),
        sa.Column("wanted", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("done", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "due_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("fence", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("crashes", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("tries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("parked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_sources")),
    )
    op.create_index(
        "ix_sources_due",
        "sources",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("wanted > done AND parked_at IS NULL"),
    )
    op.create_table(
        "subjects",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("last_sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_subjects")),
    )
    op.create_table(
        "sync_runs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("calendar_id", sa.Uuid(), nullable=True),
        sa.Column(
            "started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("pages", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("changes", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sync_runs")),
    )
    op.create_table(
        "trail",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=True),
        sa.Column("slot_id", sa.Uuid(), nullable=True),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("facts", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trail")),
    )
    op.create_index("ix_trail_at", "trail", ["at"], unique=False)
    op.create_index(
        "ix_trail_event_id",
        "trail",
        ["event_id"],
        unique=False,
        postgresql_where=sa.text("event_id IS NOT NULL"),
    )
    op.create_index(
        "ix_trail_slot_id",
        "trail",
        ["slot_id"],
        unique=False,
        postgresql_where=sa.text("slot_id IS NOT NULL"),
    )
    op.create_table(
        "attempts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("duration_ms", sa.Integer(), nullable=False),
        sa.Column("succeeded", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["endpoint_id"], ["endpoints.id"], name=op.f("fk_attempts_endpoint_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempts")),
    )
    op.create_index("ix_attempts_endpoint_id_at", "attempts", ["endpoint_id", "at"], unique=False)
    op.create_table(
        "calendar_events",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("calendar_id", sa.Uuid(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("ical_uid", sa.Text(), nullable=False),
        sa.Column("series_id", sa.Text(), nullable=True),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("start_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("end_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("all_day", sa.Boolean(), nullable=False),
        sa.Column("organizer", postgresql.JSONB(none_as_null=True), nullable=True),
        sa.Column("attendees", postgresql.JSONB(), nullable=False),
        sa.Column("own_response", sa.Text(), nullable=True),
        sa.Column("is_organizer", sa.Boolean(), nullable=False),
        sa.Column("is_private", sa.Boolean(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        sa.Column("meeting_platform", sa.Text(), nullable=True),
        sa.Column("meeting_url", sa.LargeBinary(), nullable=True),
        sa.Column("link_key", sa.Text(), nullable=True),
        sa.Column("provider_updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column("fetch", sa.BigInteger(), nullable=False),
        sa.Column("notified_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("bots", postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("bots_fetch", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("attached_slot_id", sa.Uuid(), nullable=True),
        sa.Column("attached_hash", sa.LargeBinary(), nullable=True),
        sa.Column("record_override", sa.Boolean(), nullable=True),
        sa.Column("is_wanted", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("reason", sa.Text(), server_default="no_rule", nullable=False),
        sa.Column("explanation", sa.Text(), server_default="", nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("unsettled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["attached_slot_id"],
            ["slots.id"],
            name=op.f("fk_calendar_events_attached_slot_id"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["calendar_id"],
            ["calendars.id"],
            name=op.f("fk_calendar_events_calendar_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calendar_events")),
        sa.UniqueConstraint(
            "calendar_id", "external_id", name=op.f("uq_calendar_events_calendar_id_external_id")
        ),
    )
    op.create_index(
        "ix_calendar_events_attached",
        "calendar_events",
        ["attached_slot_id"],
        unique=False,
        postgresql_where=sa.text("attached_slot_id IS NOT NULL"),
    )
    op.create_index(
        "ix_calendar_events_calendar_start",
        "calendar_events",
        ["calendar_id", "start_at"],
        unique=False,
    )
    op.create_index("ix_calendar_events_external_id", "calendar_events", ["external_id"], unique=False)
    op.create_index(
        "ix_calendar_events_provider_updated_at",
        "calendar_events",
        ["provider_updated_at"],
        unique=False,
    )
    op.create_index(
        "ix_calendar_events_series",
        "calendar_events",
        ["calendar_id", "series_id", "start_at"],
        unique=False,
    )
    op.create_index(
        "ix_calendar_events_unsettled",
        "calendar_events",
        ["start_at"],
        unique=False,
        postgresql_where=sa.text("unsettled"),
    )
    op.create_index(
        "ix_calendar_events_wanted",
        "calendar_events",
        ["end_at"],
        unique=False,
        postgresql_where=sa.text("is_wanted"),
    )
    op.create_table(
        "endpoint_secrets",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["endpoint_id"],
            ["endpoints.id"],
            name=op.f("fk_endpoint_secrets_endpoint_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_endpoint_secrets")),
    )
    op.create_index(
        op.f("ix_endpoint_secrets_endpoint_id"), "endpoint_secrets", ["endpoint_id"], unique=False
    )
    op.create_table(
        "postings",
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="waiting", nullable=False),
        sa.Column("tries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "due_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.CheckConstraint(
            "state IN ('waiting', 'delivered', 'failed')", name=op.f("ck_postings_state")
        ),
        sa.ForeignKeyConstraint(
            ["endpoint_id"], ["endpoints.id"], name=op.f("fk_postings_endpoint_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("endpoint_id", "position", name=op.f("pk_postings")),
    )
    op.create_index(
        "ix_postings_waiting",
        "postings",
        ["endpoint_id", "subject", "position"],
        unique=False,
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_table(
        "provider_bots",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("slot_id", sa.Uuid(), nullable=True),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("state_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "first_seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("gone_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["slot_id"], ["slots.id"], name=op.f("fk_provider_bots_slot_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_provider_bots")),
    )
    op.create_index("ix_provider_bots_slot_id", "provider_bots", ["slot_id"], unique=False)
    op.create_table(
        "series_overrides",
        sa.Column("calendar_id", sa.Uuid(), nullable=False),
        sa.Column("series_id", sa.Text(), nullable=False),
        sa.Column("record", sa.Boolean(), nullable=False),
        sa.Column(
            "set_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["calendar_id"],
            ["calendars.id"],
            name=op.f("fk_series_overrides_calendar_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("calendar_id", "series_id", name=op.f("pk_series_overrides")),
    )
    op.create_table(
        "wants",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("slot_id", sa.Uuid(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["event_id"], ["calendar_events.id"], name=op.f("fk_wants_event_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["slot_id"], ["slots.id"], name=op.f("fk_wants_slot_id")),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_wants")),
    )
    op.create_index("ix_wants_slot_id", "wants", ["slot_id"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_wants_slot_id", table_name="wants")
    op.drop_table("wants")
    op.drop_table("series_overrides")
    op.drop_index("ix_provider_bots_slot_id", table_name="provider_bots")
    op.drop_table("provider_bots")
    op.drop_index(
        "ix_postings_waiting", table_name="postings", postgresql_where=sa.text("state = 'waiting'")
    )
    op.drop_table("postings")
    op.drop_index(op.f("ix_endpoint_secrets_endpoint_id"), table_name="endpoint_secrets")
    op.drop_table("endpoint_secrets")
    op.drop_index(
        "ix_calendar_events_wanted", table_name="calendar_events", postgresql_where=sa.text("is_wanted")
    )
    op.drop_index(
        "ix_calendar_events_unsettled",
        table_name="calendar_events",
        postgresql_where=sa.text("unsettled"),
    )
    op.drop_index("ix_calendar_events_series", table_name="calendar_events")
    op.drop_index("ix_calendar_events_provider_updated_at", table_name="calendar_events")
    op.drop_index("ix_calendar_events_external_id", table_name="calendar_events")
    op.drop_index("ix_calendar_events_calendar_start", table_name="calendar_events")
    op.drop_index(
        "ix_calendar_events_attached",
        table_name="calendar_events",
        postgresql_where=sa.text("attached_slot_id IS NOT NULL"),
    )
    op.drop_table("calendar_events")
    op.drop_index("ix_attempts_endpoint_id_at", table_name="attempts")
    op.drop_table("attempts")
    op.drop_index(
        "ix_trail_slot_id", table_name="trail", postgresql_where=sa.text("slot_id IS NOT NULL")
    )
    op.drop_index(
        "ix_trail_event_id", table_name="trail", postgresql_where=sa.text("event_id IS NOT NULL")
    )
    op.drop_index("ix_trail_at", table_name="trail")
    op.drop_table("trail")
    op.drop_table("sync_runs")
    op.drop_table("subjects")
    op.drop_index(
        "ix_sources_due",
        table_name="sources",
        postgresql_where=sa.text("wanted > done AND parked_at IS NULL"),
    )
    op.drop_table("sources")
    op.drop_index(
        "uq_slots_open_key", table_name="slots", postgresql_where=sa.text("closed_at IS NULL")
    )
    op.drop_index("uq_slots_bot_id", table_name="slots", postgresql_where=sa.text("bot_id IS NOT NULL"))
    op.drop_index("ix_slots_start", table_name="slots")
    op.drop_index(
        "ix_slots_due",
        table_name="slots",
        postgresql_where=sa.text("wanted > done AND parked_at IS NULL"),
    )
    op.drop_table("slots")
    op.drop_table("quarantined_events")
    op.drop_index("uq_outbox_position", table_name="outbox")
    op.drop_index(
        "ix_outbox_unpublished", table_name="outbox", postgresql_where=sa.text("published_at IS NULL")
    )
    op.drop_index(
        "ix_outbox_unnumbered", table_name="outbox", postgresql_where=sa.text("position IS NULL")
    )
    op.drop_table("outbox")
    op.drop_table("leases")
    op.drop_table("installation")
    op.drop_table("idempotent_requests")
    op.drop_table("heartbeats")
    op.drop_index(
        "ix_endpoints_due",
        table_name="endpoints",
        postgresql_where=sa.text("wanted > done AND parked_at IS NULL"),
    )
    op.drop_table("endpoints")
    op.drop_index(
        "ix_deliveries_stored", table_name="deliveries", postgresql_where=sa.text("state = 'stored'")
    )
    op.drop_index(
        "ix_deliveries_set_aside",
        table_name="deliveries",
        postgresql_where=sa.text("state IN ('quarantined', 'parked')"),
    )
    op.drop_index(
        "ix_deliveries_run_id", table_name="deliveries", postgresql_where=sa.text("run_id IS NOT NULL")
    )
    op.drop_index("ix_deliveries_ref", table_name="deliveries")
    op.drop_index("ix_deliveries_received_at_id", table_name="deliveries")
    op.drop_table("deliveries")
    op.drop_index(
        "ix_calendars_due",
        table_name="calendars",
        postgresql_where=sa.text("wanted > done AND parked_at IS NULL"),
    )
    op.drop_table("calendars")
    op.drop_table("budgets")
    op.drop_table("api_keys")

    op.execute(sa.schema.DropSequence(sa.Sequence("fetches")))
    op.execute(sa.schema.DropSequence(sa.Sequence("outbox_positions")))
