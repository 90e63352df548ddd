"""A user opens a link and is connected; from then on the calendar is read by us, through real processes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from sqlalchemy import Engine

from tests.conftest import empty_tables
from tests.providers.accounts.kit import ANNA, Platform, running_google, running_microsoft
from tests.system.rig import Rig, answer, running, until

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.timeout(180)]
LINK = "https://meet.google.com/abc-defg-hij"


@pytest.fixture(scope="module")
def platforms() -> Iterator[dict[str, Platform]]:
    with running_google() as google, running_microsoft() as microsoft:
        yield {"google": google, "microsoft": microsoft}


@pytest.fixture(scope="module")
def rig(
    tmp_path_factory: pytest.TempPathFactory,
    database_url: str,
    engine: Engine,
    platforms: dict[str, Platform],
) -> Iterator[Rig]:
    empty_tables(engine)
    google, microsoft = platforms["google"], platforms["microsoft"]
    settings = {
        "PUNCTUAL_GOOGLE_CLIENT_ID": google.app.client_id,
        "PUNCTUAL_GOOGLE_CLIENT_SECRET": google.app.client_secret,
        "PUNCTUAL_GOOGLE_ACCOUNTS_URL": google.url,
        "PUNCTUAL_GOOGLE_OAUTH_URL": google.url,
        "PUNCTUAL_GOOGLE_API_URL": google.url,
        "PUNCTUAL_MICROSOFT_CLIENT_ID": microsoft.app.client_id,
        "PUNCTUAL_MICROSOFT_CLIENT_SECRET": microsoft.app.client_secret,
        "PUNCTUAL_MICROSOFT_LOGIN_URL": microsoft.url,
        "PUNCTUAL_MICROSOFT_GRAPH_URL": microsoft.url,
    }
    with running(tmp_path_factory.mktemp("accounts"), database_url, settings=settings) as rig:
        rig.rules()
        for platform in platforms.values():
            platform.reset()
            client = {
                "client_id": platform.app.client_id,
                "client_secret": platform.app.client_secret,
                "redirect_uris": [f"{rig.base_url}/oauth/{platform.name}/callback"],
            }
            platform.control("POST", "/oauth/clients", client)
        yield rig


def connect(rig: Rig, platform: str) -> str:
    """Make a link and go through it as a browser would; our id of the calendar is returned."""
    link = answer(rig.api.post("/v1/connect-links", json={"platform": platform, "via": "direct"}))
    with httpx.Client(follow_redirects=True, timeout=20, trust_env=False) as browser:
        page = browser.get(link["url"])
    assert "connected" in page.text, page.text
    (calendar,) = [one for one in rig.every("/v1/calendars") if one["source"] == platform]
    return str(calendar["id"])


def soon(hours: float = 3) -> datetime:
    return (datetime.now(UTC) + timedelta(hours=hours)).replace(microsecond=0)


def bots(rig: Rig, link: str) -> list[dict[str, Any]]:
    return [bot for bot in rig.live_bots() if link in str(bot["meeting_url"])]


def told(rig: Rig) -> list[str]:
    return [event["type"] for event in rig.feed() if event["type"].startswith("bot.")]


def has_channel(rig: Rig, platform: Platform) -> bool:
    """Say whether the provider tells us of changes by now, and we have looked once since."""
    where = "channels" if platform.name == "google" else "subscriptions"
    return bool(platform.control("GET", f"/{where}")) and rig.is_quiet()


def put(platform: Platform, link: str, start: datetime) -> str:
    """Have Anna put a meeting into her calendar, without any token of ours."""
    calendar = ANNA
    if platform.name == "microsoft":
        calendar = platform.control("GET", f"/accounts/{ANNA}/calendars")[0]["id"]
    body = {
        ("summary" if platform.name == "google" else "title"): "Weekly",
        "start": start.isoformat(),
        "end": (start + timedelta(hours=1)).isoformat(),
        "link": link,
    }
    path = f"/calendars/{quote(calendar, safe='')}/events"
    return str(platform.control("POST", path, body)["id"])


@pytest.mark.parametrize("name", ["google", "microsoft"])
def test_what_a_connected_user_plans_moves_and_cancels_is_followed(
    rig: Rig, platforms: dict[str, Platform], name: str
) -> None:
    platform = platforms[name]
    link = {"google": LINK, "microsoft": "https://meet.google.com/xyz-abcd-efg"}[name]
    calendar = connect(rig, name)
    until(lambda: answer(rig.api.get(f"/v1/calendars/{calendar}"))["last_synced_at"])
    until(lambda: has_channel(rig, platform))

    event = put(platform, link, soon())
    (bot,) = until(lambda: bots(rig, link))
    later = soon(5)
    where = f"/calendars/{quote(ANNA)}" if name == "google" else ""
    path = f"{where}/events/{quote(event, safe='')}"
    moved = {"start": later.isoformat(), "end": (later + timedelta(hours=1)).isoformat()}
    platform.control("PATCH", path, moved)
    until(lambda: [datetime.fromisoformat(b["join_at"]) for b in bots(rig, link)] == [later])
    platform.control("DELETE", path)
    until(lambda: not bots(rig, link))
    until(lambda: told(rig)[-1:] == ["bot.cancelled"])

    assert told(rig)[-3:] == ["bot.scheduled", "bot.rescheduled", "bot.cancelled"]
    assert bot["id"]
