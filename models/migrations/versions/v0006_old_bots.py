"""Bots that may be forgotten are found by when they were first seen."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_provider_bots_first_seen_at", "provider_bots", ["first_seen_at"])


def downgrade() -> None:
    op.drop_index("ix_provider_bots_first_seen_at", table_name="provider_bots")
