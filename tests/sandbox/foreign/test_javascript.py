"""Google's client for Node against our emulator, unchanged."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.node import Packages
from tests.sandbox.google.driving import ANNA, CLIENT, SCOPES, an_event
from worker.sandbox.google.app import create_google
from worker.sandbox.google.world import World
from worker.sandbox.server import running

SOURCES = Path(__file__).parent


@pytest.fixture
def emulator() -> Iterator[tuple[str, World]]:
    app = create_google(base_url="http://google.test")
    with running(lambda _: app) as url:
        world: World = app.state.world
        world.oauth.add_client(CLIENT)
        world.mailbox(world.oauth.add_account(ANNA))
        yield url, world


def test_google_s_client_for_node_writes_pages_syncs_watches_and_is_refused_as_by_google(
    packages: Packages, emulator: tuple[str, World]
) -> None:
    url, world = emulator
    account = world.oauth.account(ANNA)
    assert account is not None
    tokens = world.oauth.mint(account, CLIENT, (SCOPES + "calendar",))
    for family in world.oauth.ledger.families:
        world.oauth.ledger.drop_access(family)  # so that the client has to refresh first

    seen = _run(
        packages,
        {
            "url": url,
            "tokens": {name: tokens[name] for name in ("access_token", "refresh_token")},
            "client": {"id": CLIENT.client_id, "secret": CLIENT.client_secret},
            "event": an_event(),
        },
    )

    assert seen == {
        "calendars": [ANNA],
        "paged": [["One", "Two"], ["Three"]],
        "changes": [["confirmed", "Renamed"], ["cancelled", None]],
        "watched": "api#channel",
        "stopped": 204,
        "deletedTwice": 410,
        "nonsense": 400,
        "both": 400,
        "refreshed": True,
    }


def _run(packages: Packages, wish: dict[str, Any]) -> Any:
    done = subprocess.run(
        [packages.node, str(SOURCES / "calendar.mjs"), str(packages.home), json.dumps(wish)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
