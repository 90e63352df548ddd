"""One emulator for all tests of the Recall adapters."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tenacity import wait_none

from tests.contracts.emulated import Emulator, running_recall


@pytest.fixture(scope="session")
def recall_server() -> Iterator[Emulator]:
    with running_recall() as emulator:
        yield emulator


@pytest.fixture
def recall(recall_server: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    """An empty workspace at noon; nobody waits between tries."""
    monkeypatch.setattr("worker.http._backing_off", wait_none())
    recall_server.reset()
    return recall_server
