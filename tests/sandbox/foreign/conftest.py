"""The locked packages of npm that stand beside these tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.node import Packages, Unavailable, installed


@pytest.fixture(scope="session")
def packages() -> Packages:
    try:
        return installed(Path(__file__).parent, oldest_node=22)
    except Unavailable as why:
        pytest.skip(str(why))
