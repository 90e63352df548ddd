"""Connections notice by themselves that the other side is not there any more."""

from __future__ import annotations

import socket

import psycopg

from models.db import make_engine
from tests.faults.servers import Postgres


def test_a_connection_that_waits_for_an_answer_asks_whether_the_server_still_lives() -> None:
    """Otherwise who waits when the network goes waits for two hours, which is the kernel's default."""
    with Postgres.running() as postgres:
        engine = make_engine(postgres.url)
        with engine.connect() as connection:
            driver = connection.connection.driver_connection
            assert isinstance(driver, psycopg.Connection)
            with socket.fromfd(driver.fileno(), socket.AF_INET, socket.SOCK_STREAM) as line:
                idle_s = line.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
                every_s = line.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL)
                probes = line.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT)
                is_on = line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        engine.dispose()

    assert is_on
    assert idle_s + every_s * probes <= 20
