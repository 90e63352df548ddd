"""How Alembic reaches the database: it is handed an open connection, never a URL."""

from __future__ import annotations

from alembic import context

import models.tables  # noqa: F401  # registers every table
from models.tables.base import Base

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)
with context.begin_transaction():
    context.run_migrations()
