"""The copies of one meeting are found by its iCalendar UID and start."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_calendar_events_meeting",
        "calendar_events",
        ["ical_uid", "start_at"],
        postgresql_where=sa.text("link_key IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_calendar_events_meeting", table_name="calendar_events")
