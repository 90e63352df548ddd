"""
One connection to the database, driven by the event loop: a thread of its own would fight for the
interpreter with the thread that answers.

libpq's asynchronous calls, prepared statements only. Knows nothing of what is written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGresult
from sqlalchemy import Engine

#: One row, each value as PostgreSQL writes it.
Row = tuple[bytes | None, ...]


class Line:
    """
    A connection out of the engine's pool: it is kept for good, and its session is ours alone.

    Runs one statement at a time; between two of them it may come to another event loop.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._libpq = connection.pgconn
        self._running: asyncio.Future[list[Row]] | None = None
        self._result: PGresult | None = None

    @classmethod
    async def open(cls, engine: Engine, *, session: str, prepared: Mapping[str, str]) -> Line:
        """Connect, run *session* once, and prepare the statements by name; raises as the engine does."""
        opening = asyncio.get_running_loop().run_in_executor(None, cls._open, engine, session, prepared)
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_let_go)  # the thread goes on, and nobody will have its line
            raise

    @classmethod
    def _open(cls, engine: Engine, session: str, prepared: Mapping[str, str]) -> Line:
        held = engine.raw_connection()
        connection = held.driver_connection
        assert isinstance(connection, psycopg.Connection)
        held.detach()
        try:
            connection.autocommit = True
            connection.execute(session.encode())
            for name, statement in prepared.items():
                _raise_failure(connection.pgconn.prepare(name.encode(), statement.encode()))
        except psycopg.Error:
            connection.close()
            raise
        return cls(connection)

    async def run(
        self, name: str, values: Sequence[bytes | None], formats: Sequence[Format]
    ) -> list[Row]:
        """
        Run a prepared statement as a transaction of its own.

        Raises psycopg.Error, also when `hang_up` came in between.
        """
        libpq, loop = self._libpq, asyncio.get_running_loop()
        libpq.send_query_prepared(name.encode(), values, formats)
        place = libpq.socket
        self._running = loop.create_future()
        try:
            loop.add_reader(place, self._read)
            if libpq.flush():
                loop.add_writer(place, self._write)
            self._read()
            return await self._running
        finally:
            self._running = None
            loop.remove_reader(place)
            loop.remove_writer(place)

    def look(self) -> None:
        """
        See whether the line is still there: uvloop calls no reader of a socket that is in error.

        To be called now and then; a statement that waits on a line that is lost fails by it.
        """
        if self._running is not None:
            self._read()

    def hang_up(self) -> None:
        """Stop waiting for a database that has fallen silent; then only `close` is of use."""
        self._fail(psycopg.OperationalError("the database fell silent"))

    def close(self) -> None:
        """Let go of the connection; what runs in it may yet be committed."""
        # Not through the pool, which would try to roll back and log that a lost line is lost.
        self._connection.close()

    def _read(self) -> None:
        libpq = self._libpq
        try:
            libpq.consume_input()
            while not libpq.is_busy():
                result = libpq.get_result()
                if result is None:
                    self._finish()
                    return
                self._result = result
        except psycopg.Error as failure:
            self._fail(failure)

    def _write(self) -> None:
        try:
            if not self._libpq.flush():
                asyncio.get_running_loop().remove_writer(self._libpq.socket)
        except psycopg.Error as failure:
            self._fail(failure)

    def _finish(self) -> None:
        result, self._result = self._result, None
        try:
            rows = [] if result is None else _rows_of(result)
        except psycopg.Error as failure:
            self._fail(failure)
            return
        if self._running is not None and not self._running.done():
            self._running.set_result(rows)

    def _fail(self, failure: psycopg.Error) -> None:
        if self._running is not None and not self._running.done():
            self._running.set_exception(failure)


def _let_go(opening: asyncio.Future[Line]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


def _rows_of(result: PGresult) -> list[Row]:
    _raise_failure(result)
    columns = range(result.nfields)
    return [tuple(result.get_value(row, column) for column in columns) for row in range(result.ntuples)]


def _raise_failure(result: PGresult) -> None:
    if result.status not in {ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK}:
        raise error_from_result(result)
