"""Engines and transactions on PostgreSQL; nothing is opened at import time."""

from __future__ import annotations

from typing import NewType

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url

#: An open transaction. Commit by leaving the `with engine.begin()` block, never otherwise.
Tx = Connection

SyncUrl = NewType("SyncUrl", str)

#: Bounds every statement so that a hanging database becomes an error, not a hanging process.
STATEMENT_TIMEOUT_MS = 15_000
CONNECT_TIMEOUT_S = 3
#: The statements a session keeps prepared: all that we have. With fewer (psycopg: 100) they push each other
#: out before any has come often enough to be prepared, and each is parsed and planned anew.
MOST_PREPARED = 500
#: A server that has vanished is noticed in 15 s also by who only waits for its answer; the kernel's own
#: default is two hours.
KEEPALIVES = {"keepalives_idle": 5, "keepalives_interval": 5, "keepalives_count": 2}


def driver_url(url: str) -> SyncUrl:
    """Return *url* with the driver we use, whatever PostgreSQL spelling it came in."""
    parsed = make_url(url)
    if parsed.get_backend_name() not in {"postgresql", "postgres"}:
        msg = "the database must be PostgreSQL (postgresql://…)"
        raise ValueError(msg)
    return SyncUrl(parsed.set(drivername="postgresql+psycopg").render_as_string(hide_password=False))


def make_engine(
    url: str, *, pool_size: int = 5, overflow: int = 5, statement_timeout_ms: int = STATEMENT_TIMEOUT_MS
) -> Engine:
    """
    Make an engine whose sessions speak UTC and give up on hanging statements.

    At most *pool_size* + *overflow* connections; waiting for one ends after 3 s in an error.
    """
    options = (
        f"-c timezone=UTC -c statement_timeout={statement_timeout_ms}"
        " -c lock_timeout=10000 -c idle_in_transaction_session_timeout=60000"
    )
    engine = create_engine(
        driver_url(url),
        pool_size=pool_size,
        max_overflow=overflow,
        pool_timeout=CONNECT_TIMEOUT_S,
        pool_pre_ping=True,
        pool_use_lifo=True,
        hide_parameters=True,  # else every error quotes what people write about their meetings
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_S,
            "options": options,
            "application_name": "punctual",
            "tcp_user_timeout": 10_000,
            **KEEPALIVES,
        },
    )
    event.listen(engine, "connect", _keep_prepared)
    return engine


def _keep_prepared(session: psycopg.Connection[object], _: object) -> None:
    session.prepared_max = MOST_PREPARED
