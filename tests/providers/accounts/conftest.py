"""Both platforms, each emulated once for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tenacity import wait_none

from tests.providers.accounts.kit import Platform, running_google, running_microsoft


@pytest.fixture(scope="session")
def google_server() -> Iterator[Platform]:
    with running_google() as platform:
        yield platform


@pytest.fixture(scope="session")
def microsoft_server() -> Iterator[Platform]:
    with running_microsoft() as platform:
        yield platform


@pytest.fixture
def google(google_server: Platform, monkeypatch: pytest.MonkeyPatch) -> Platform:
    monkeypatch.setattr("worker.http._backing_off", wait_none())
    google_server.reset()
    return google_server


@pytest.fixture
def microsoft(microsoft_server: Platform, monkeypatch: pytest.MonkeyPatch) -> Platform:
    monkeypatch.setattr("worker.http._backing_off", wait_none())
    microsoft_server.reset()
    return microsoft_server
