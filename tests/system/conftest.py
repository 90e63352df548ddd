"""What system tests of connected accounts share: both platforms, and a Punctual beside them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from tests.conftest import empty_tables
from tests.system.accounts import Platforms, running_platforms, running_with
from tests.system.rig import Rig


@pytest.fixture(scope="module")
def platforms() -> Iterator[Platforms]:
    with running_platforms() as platforms:
        yield platforms


@pytest.fixture(scope="module")
def rig(
    tmp_path_factory: pytest.TempPathFactory, database_url: str, engine: Engine, platforms: Platforms
) -> Iterator[Rig]:
    """Run Punctual with its usual settings; modules that want others have a `rig` of their own."""
    empty_tables(engine)
    with running_with(platforms, tmp_path_factory.mktemp("accounts"), database_url) as rig:
        yield rig
