"""Asking for a row that is pending already touches no index; every search that recurs finds one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_DUE = ("calendars", "slots", "endpoints", "sources", "duties")
_BY_COLUMNS = sa.text("wanted > done AND parked_at IS NULL")
_PENDING = sa.text("is_pending AND parked_at IS NULL")


def upgrade() -> None:
    for name in _DUE:
        op.drop_index(f"ix_{name}_due", table_name=name)
    op.drop_index("ix_slots_due_soonest", table_name="slots")
    for name in _DUE:
        pending = sa.Computed("wanted > done", persisted=True)
        op.add_column(name, sa.Column("is_pending", sa.Boolean(), pending, nullable=False))
        op.create_index(f"ix_{name}_due", name, ["due_at"], postgresql_where=_PENDING)
        op.create_index(
            f"ix_{name}_parked",
            name,
            ["parked_at"],
            postgresql_where=sa.text("parked_at IS NOT NULL"),
        )
    op.create_index("ix_slots_due_soonest", "slots", ["start_at"], postgresql_where=_PENDING)
    # Room on every page for the next version of a row: only then does it need no index entry.
    op.execute("ALTER TABLE calendars SET (fillfactor = 70)")
    op.execute("ALTER TABLE sources SET (fillfactor = 50)")
    op.execute("ALTER TABLE budgets SET (fillfactor = 50)")
    op.create_index(
        "ix_slots_open_join", "slots", ["join_at"], postgresql_where=sa.text("closed_at IS NULL")
    )
    op.create_index("ix_slots_ends_at", "slots", ["ends_at"])
    op.create_index("ix_calendars_last_full", "calendars", [sa.text("last_full_at NULLS FIRST")])
    op.create_index(
        "ix_calendars_own_recurring",
        "calendars",
        [sa.text("(rules ->> 'recurring')")],
        postgresql_where=sa.text("rules IS NOT NULL"),
    )
    op.create_index(
        "ix_calendar_events_wanted_start",
        "calendar_events",
        ["start_at"],
        postgresql_where=sa.text("is_wanted"),
    )
    op.create_index(
        "ix_calendar_events_unwanted",
        "calendar_events",
        ["end_at"],
        postgresql_where=sa.text("NOT is_wanted"),
    )
    op.create_index("ix_postings_position", "postings", ["position"])
    # What only grows, in order of time, is found by time through a few pages of summary.
    op.drop_index("ix_trail_at", table_name="trail")
    for name, column in _BY_TIME:
        op.create_index(f"ix_{name}_{column}", name, [column], postgresql_using="brin")


_BY_TIME = (
    ("trail", "at"),
    ("outbox", "created_at"),
    ("attempts", "at"),
    ("sync_runs", "started_at"),
)


def downgrade() -> None:
    for name, column in _BY_TIME:
        op.drop_index(f"ix_{name}_{column}", table_name=name)
    op.create_index("ix_trail_at", "trail", ["at"])
    op.drop_index("ix_postings_position", table_name="postings")
    op.drop_index("ix_calendar_events_unwanted", table_name="calendar_events")
    op.drop_index("ix_calendar_events_wanted_start", table_name="calendar_events")
    op.drop_index("ix_calendars_own_recurring", table_name="calendars")
    op.drop_index("ix_calendars_last_full", table_name="calendars")
    op.drop_index("ix_slots_ends_at", table_name="slots")
    op.drop_index("ix_slots_open_join", table_name="slots")
    for name in ("calendars", "sources", "budgets"):
        op.execute(f"ALTER TABLE {name} RESET (fillfactor)")
    op.drop_index("ix_slots_due_soonest", table_name="slots")
    for name in _DUE:
        op.drop_index(f"ix_{name}_parked", table_name=name)
        op.drop_index(f"ix_{name}_due", table_name=name)
        op.drop_column(name, "is_pending")
        op.create_index(f"ix_{name}_due", name, ["due_at"], postgresql_where=_BY_COLUMNS)
    op.create_index("ix_slots_due_soonest", "slots", ["start_at"], postgresql_where=_BY_COLUMNS)
