"""A receiver on a real socket in front of a real database, and a sender that signs like Svix."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy import Engine

from tests.webhooks.sending import RememberingBell, Sender, a_runtime
from webhooks.app import create_app
from webhooks.server import serving


@pytest.fixture(scope="session")
def bell() -> RememberingBell:
    """The bell of the shared receiver."""
    return RememberingBell()


@pytest.fixture(scope="session")
def receiver_url(engine: Engine, bell: RememberingBell) -> Iterator[str]:
    """A receiver that all tests of this process share; it keeps nothing but what is in the database."""
    with serving(create_app(a_runtime(engine, bell=bell))) as url:
        yield url


@pytest.fixture
def sender(receiver_url: str, db: Engine, bell: RememberingBell) -> Iterator[Sender]:
    """Somebody who posts to the shared receiver, whose database is empty and whose bell is silent."""
    bell.rings.clear()
    with httpx.Client(base_url=receiver_url, timeout=10) as client:
        yield Sender(receiver_url, client)
