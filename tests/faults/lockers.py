"""Somebody else in the database, who locks our rows in the order in which nobody of ours does."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg


@contextmanager
def backwards_lockers(database_url: str) -> Iterator[list[int]]:
    """Lock calendars and slots in the order nobody else does, until the `with` block ends; counts locks."""
    stop, locked = threading.Event(), [0]

    def lock_on() -> None:
        while not stop.is_set():
            with (
                suppress(psycopg.OperationalError),
                psycopg.connect(database_url, connect_timeout=3) as connection,
            ):
                for table in ("slots", "calendar_events", "calendars"):
                    found = connection.execute(
                        f"SELECT id FROM {table} ORDER BY id DESC LIMIT 50".encode()
                    ).fetchall()
                    for (row_id,) in found:
                        connection.execute(
                            f"SELECT 1 FROM {table} WHERE id = %s FOR UPDATE".encode(), (row_id,)
                        )
                        locked[0] += 1
                time.sleep(0.05)

    threads = [threading.Thread(target=lock_on, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield locked
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
