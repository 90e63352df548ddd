"""A user opens a link and is connected; from then on the calendar is read by us, through real processes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from tests.providers.accounts.kit import ANNA
from tests.system.accounts import (
    Person,
    Platforms,
    connect_and_rest,
    soon,
)
from tests.system.rig import Rig, until

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.timeout(180)]


def bots(rig: Rig, link: str) -> list[dict[str, Any]]:
    return [bot for bot in rig.live_bots() if link in str(bot["meeting_url"])]


def told(rig: Rig) -> list[str]:
    return [event["type"] for event in rig.feed() if event["type"].startswith("bot.")]


@pytest.mark.parametrize(
    ("name", "link"),
    [
        ("google", "https://meet.google.com/abc-defg-hij"),
        ("microsoft", "https://meet.google.com/xyz-abcd-efg"),
    ],
    ids=["google", "microsoft"],
)
def test_what_a_connected_user_plans_moves_and_cancels_is_followed(
    rig: Rig, platforms: Platforms, name: str, link: str
) -> None:
    anna = Person(platforms[name], ANNA)
    connect_and_rest(rig, anna)

    event = anna.put(link, soon())
    (bot,) = until(lambda: bots(rig, link))
    later = soon(5)
    anna.move(event, later)
    until(lambda: [datetime.fromisoformat(b["join_at"]) for b in bots(rig, link)] == [later])
    anna.delete(event)
    until(lambda: not bots(rig, link))
    until(lambda: told(rig)[-1:] == ["bot.cancelled"])

    assert told(rig)[-3:] == ["bot.scheduled", "bot.rescheduled", "bot.cancelled"]
    assert bot["id"]
