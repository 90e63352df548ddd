"""Bring the schema up to date, and say whether it is."""

from __future__ import annotations

from importlib import resources

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

from models.db import Tx

#: Any number will do; everybody who migrates takes this advisory lock first.
_MIGRATION_LOCK = 0x50554E43


def migrate(engine: Engine) -> tuple[str | None, str]:
    """
    Bring the schema to the newest revision; the revisions before and after are returned.

    Safe to run twice and by several processes at once: they queue up for one lock, and the whole
    change is one transaction.
    """
    with engine.begin() as tx:
        tx.execute(text("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '60s'"))
        tx.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
        before = current_revision(tx)
        config = _config()
        config.attributes["connection"] = tx
        command.upgrade(config, "head")
        return before, newest_revision()


def current_revision(tx: Tx) -> str | None:
    """Return the revision the database is at, None when it is empty."""
    return MigrationContext.configure(tx).get_current_revision()


def newest_revision() -> str:
    """Return the revision this code expects."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None
    return head


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(resources.files("models") / "migrations"))
    config.set_main_option("path_separator", "os")
    return config
