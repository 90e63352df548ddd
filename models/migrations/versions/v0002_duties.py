"""Duties that ask a provider get rows of their own; slots are claimed by the start of their meeting."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "duties",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("performed_at", sa.DateTime(timezone=True), nullable=True),
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
        sa.PrimaryKeyConstraint("name", name=op.f("pk_duties")),
    )
    pending = sa.text("wanted > done AND parked_at IS NULL")
    op.create_index("ix_duties_due", "duties", ["due_at"], unique=False, postgresql_where=pending)
    op.create_index(
        "ix_slots_due_soonest", "slots", ["start_at"], unique=False, postgresql_where=pending
    )
    op.add_column(
        "slots",
        sa.Column("in_line", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    op.add_column("sources", sa.Column("unshared_at", sa.DateTime(timezone=True), nullable=True))
    op.drop_column("sources", "calendars_found_at")
    op.drop_column("sources", "bots_swept_at")


def downgrade() -> None:
    op.add_column("sources", sa.Column("bots_swept_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("sources", sa.Column("calendars_found_at", sa.DateTime(timezone=True), nullable=True))
    op.drop_column("sources", "unshared_at")
    op.drop_column("slots", "in_line")
    op.drop_index("ix_slots_due_soonest", table_name="slots")
    op.drop_table("duties")
