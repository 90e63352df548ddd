"""The schema as migrated is the schema as declared."""

from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine

from models.schema import migrate
from models.tables.base import Base


def test_migrations_and_tables_do_not_drift_apart(engine: Engine) -> None:
    with engine.connect() as connection:
        drift = compare_metadata(MigrationContext.configure(connection), Base.metadata)

    assert drift == []


def test_migrating_twice_changes_nothing(engine: Engine) -> None:
    before, after = migrate(engine)

    assert before == after
