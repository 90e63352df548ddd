"""The API on an empty database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from sqlalchemy import Engine

from tests.builders import an_installation
from tests.webhooks.api.fakes import Api


@pytest.fixture(scope="session")
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture
def api(db: Engine, portal: BlockingPortal) -> Api:
    """An API whose rules record nothing yet."""
    return Api(db, portal, install_id=an_installation(db, {}))
