"""Both platforms, each emulated once for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine
from tenacity import wait_none

from models.sealing import Vault
from tests.providers.accounts.following import Diary, Follower
from tests.providers.accounts.kit import Platform, running_google, running_microsoft
from webhooks.app import create_app
from webhooks.server import serving


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


@pytest.fixture(params=["google", "microsoft"])
def platform(request: pytest.FixtureRequest) -> Platform:
    """Each platform in turn, unless a test names its own."""
    found: Platform = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def diary(platform: Platform) -> Diary:
    """Anna's, empty yet."""
    return Diary(platform)


@pytest.fixture
def follower(db: Engine, vault: Vault, platform: Platform) -> Follower:
    """Punctual before that platform; nobody is connected yet."""
    return Follower(db, vault, (platform,))


@pytest.fixture
def hearing(follower: Follower) -> Iterator[Follower]:
    """The same, served where the platform's pushes reach it."""
    with serving(create_app(follower.rt)) as url:
        follower.hear_at(url)
        yield follower
