"""Servers that every table of bad input is sent to, and the database behind them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from tests.badinput.served import Served, a_server
from tests.builders import an_installation
from tests.conftest import empty_tables


@pytest.fixture(scope="module")
def clean(engine: Engine) -> Engine:
    """A migrated database in which only an installation stands."""
    empty_tables(engine)
    an_installation(engine, {})
    return engine


@pytest.fixture(scope="module")
def usual(
    tmp_path_factory: pytest.TempPathFactory, database_url: str, clean: Engine
) -> Iterator[Served]:
    """A receiver and API as anybody runs them."""
    with a_server(tmp_path_factory.mktemp("usual"), database_url) as served:
        yield served
