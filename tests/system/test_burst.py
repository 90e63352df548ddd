"""Five hundred notifications for fifty calendars: few listings, and no call that changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.system.rig import Rig, answer, running, until

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.timeout(240)]

CALENDARS, CHANGES = 50, 500


@pytest.fixture
def rig(tmp_path: Path, database_url: str, db: Engine) -> Iterator[Rig]:
    settings = {
        "PUNCTUAL_RECALL_LIST_PER_MINUTE": "6000",
        "PUNCTUAL_RECALL_SCHEDULE_PER_MINUTE": "60000",
        "PUNCTUAL_RECALL_OTHER_PER_MINUTE": "6000",
    }
    with running(tmp_path, database_url, settings=settings) as rig:
        rig.rules()
        yield rig


def test_a_burst_costs_few_listings_and_one_call_per_bot(rig: Rig) -> None:
    answer(rig.emulator.patch("/limits", json={"enabled": False}))
    calendars = [rig.calendar(f"burst{n}@example.com") for n in range(CALENDARS)]
    until(
        lambda: len([c for c in rig.every("/v1/calendars") if c["last_synced_at"]]) == CALENDARS,
        within=60,
    )
    until(rig.is_quiet, within=20)
    answer(rig.emulator.put("/webhook", json={"paused": True}))
    answer(rig.emulator.delete("/requests"))
    start = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)

    for n in range(CHANGES):
        begins = start + n * timedelta(minutes=7)
        code = "".join(chr(97 + n // 26**power % 26) for power in range(3))
        spec = {
            "title": f"Meeting {n}",
            "start": begins.isoformat(),
            "end": (begins + timedelta(minutes=30)).isoformat(),
            "link": f"https://meet.google.com/bur-stst-{code}",
        }
        answer(rig.emulator.post(f"/calendars/{calendars[n % CALENDARS]}/events", json=spec))

    answer(rig.emulator.put("/webhook", json={"paused": False}))
    until(lambda: len(rig.live_bots()) == CHANGES, within=60, every=0.2)
    until(lambda: not rig.every("/v1/deliveries", state="stored"), within=20)
    calls = rig.requests()
    assert sum(calls["calendar_events_list"].values()) <= CHANGES / 100 + 2
    assert calls["calendar_events_bot_create"] == {"200": CHANGES}
    assert len(rig.every("/v1/deliveries", state="done")) >= CHANGES
