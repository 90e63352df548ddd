"""Bots that may be forgotten are found by age; a slot in line knows how long the turn of each ahead takes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("slots", sa.Column("turn", sa.Interval(), nullable=True))
    op.create_index("ix_provider_bots_first_seen_at", "provider_bots", ["first_seen_at"])


def downgrade() -> None:
    op.drop_index("ix_provider_bots_first_seen_at", table_name="provider_bots")
    op.drop_column("slots", "turn")
