"""
What hostile or broken rows of a listing do: nothing to their neighbours.

The rows are those of test_hostile_answers.py; each test's id begins with the number of its row.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select, text
from tenacity import wait_none

from models.domain.times import rfc3339
from models.sealing import Vault
from models.tables.due import table_of
from models.tables.outbox import OutboxEvent
from models.tables.slots import Slot
from tests.builders import a_calendar
from tests.providers.recall.hostile import (
    AHEAD,
    a_page,
    a_row,
    list_anew,
    quarantined,
    recall_says,
)
from tests.providers.recall.test_rows import ROW
from tests.worker.world import World
from worker.providers.recall.client import EVENTS
from worker.turns import Outcome


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.http._backing_off", wait_none())


@pytest.fixture
def world(db: Engine, vault: Vault) -> World:
    return World(db, vault)


# P4, P5, P6, P10, P11: rows that are none -----------------------------------------------------

FUTURE = "2036-01-01T00:00:00Z"
DAY = {"summary": "Day", "start": {"date": "2026-11-24"}, "end": {"date": "2026-11-25"}}
GAP = {"dateTime": "2027-03-28T02:30:00", "timeZone": "Europe/Berlin"}
FOLD = {"dateTime": "2026-10-25T02:30:00", "timeZone": "Europe/Berlin"}
NO_ZONE = {"dateTime": "2026-11-24T02:30:00"}


def timed(start: object, end: object = None, **changes: Any) -> dict[str, Any]:
    raw = {"summary": "Odd", "status": "confirmed", "start": start, "end": end or start}
    return a_row("odd", raw=raw, start_time=None, end_time=None, **changes)


def without(name: str) -> dict[str, Any]:
    return {field: value for field, value in a_row("odd").items() if field != name}


# What becomes of the odd row: "aside" is kept apart with a reason; anything else is the reason of
# the decision about it once it is stored.
ODD_ROWS: dict[str, tuple[object, str]] = {
    "P4 no id": (without("id"), "aside"),
    "P4 id a number": (a_row("odd") | {"id": 7}, "aside"),
    "P4 no object": ("row", "aside"),
    "P5 no version": (without("updated_at"), "aside"),
    "P5 version null": (a_row("odd", updated_at=None), "aside"),
    "P5 version of the future": (a_row("odd", updated_at=FUTURE), "recorded"),
    "P6 no start": (a_row("odd", start_time=None, raw={}), "aside"),
    "P6 only a date": (a_row("odd", start_time=None, end_time=None, raw=DAY), "all_day"),
    "P6 end before start": (
        a_row("odd", end_time="2026-11-21T12:00:00Z", start_time="2026-11-24T12:00:00Z"),
        "recorded",
    ),
    "P6 year 9999": (a_row("odd", start_time="9999-12-31T23:59:59-01:00", raw={}), "aside"),
    "P6 hour that does not exist": (timed(GAP), "recorded"),
    "P6 hour that exists twice": (timed(FOLD), "ended"),
    "P6 no zone": (timed(NO_ZONE), "aside"),
    "P6 zone nobody knows": (timed(GAP | {"timeZone": "Mars/Olympus"}), "aside"),
    "P10 NUL": (a_row("odd", raw=ROW["raw"] | {"summary": "a\0b"}), "recorded"),
    "P10 lone surrogate": (a_row("odd", raw=ROW["raw"] | {"summary": "a\ud800b"}), "recorded"),
    "P10 five megabytes of description": (
        a_row("odd", raw=ROW["raw"] | {"description": "x" * 5_000_000}),
        "recorded",
    ),
    "P10 ten thousand guests": (
        a_row(
            "odd", raw=ROW["raw"] | {"attendees": [{"email": f"g{n}@b.test"} for n in range(10_000)]}
        ),
        "recorded",
    ),
    "P11 fields we do not know": (
        a_row("odd", colour={"deep": [1]}, raw=ROW["raw"] | {"eventType": "birthParty", "new": {}}),
        "recorded",
    ),
    "P11 words we do not know": (
        a_row(
            "odd", meeting_platform="holodeck", raw=ROW["raw"] | {"status": "maybe", "visibility": "x"}
        ),
        "recorded",
    ),
}


@pytest.mark.parametrize(("row", "expected"), ODD_ROWS.values(), ids=ODD_ROWS)
def test_an_odd_row_is_read_or_set_aside_and_holds_up_no_other(
    world: World, row: object, expected: str
) -> None:
    a_calendar(world.db)
    moved = {"start_time": "2026-11-24T12:00:00Z", "end_time": "2026-11-24T13:00:00Z"}
    if isinstance(row, dict) and row.get("start_time") == ROW["start_time"]:
        row = row | moved
    with recall_says(world, a_page(row, a_row("event-2", **moved))) as line:
        assert list_anew(world) is Outcome.FINISHED
        assert list_anew(world) is Outcome.FINISHED

    assert "event-2" in world.titles()
    assert len(line.requests) == 2
    stored = world.events().get("odd")
    if expected == "aside":
        assert stored is None
        assert len(quarantined(world)) == 1
    else:
        assert stored is not None
        assert quarantined(world) == []
        assert stored["end_at"] > stored["start_at"]
        assert stored["reason"] == expected
        assert len(json.dumps(stored["attendees"])) < 256 * 1024
    cursor = world.workspace()["cursor_at"]
    assert cursor <= datetime.now(UTC) + timedelta(seconds=1)
    # The next change is found, wherever the odd row's version would have taken the cursor.
    with recall_says(world, a_page(a_row("event-3", **moved))) as line:
        assert list_anew(world) is Outcome.FINISHED
    assert rfc3339(cursor)[:4] == "2026"
    assert "event-3" in world.titles()


def test_p4_of_one_id_twice_the_newest_counts_on_one_page_and_on_two(world: World) -> None:
    a_calendar(world.db)
    now = datetime.now(UTC)

    def version(title: str, seconds_ago: float) -> dict[str, Any]:
        raw = ROW["raw"] | {"summary": title}
        return a_row(raw=raw, updated_at=rfc3339(now - timedelta(seconds=seconds_ago)))

    def first(request: bytes) -> bytes:
        host = request.lower().partition(b"host: ")[2].partition(b"\r\n")[0].decode()
        rows = [version("Second", 5), version("First", 9)]
        return a_page(*rows, following=f"http://{host}{EVENTS}?cursor=2")

    for last, expected in ((version("Third", 2), "Third"), (version("Late", 7), "Third")):
        with recall_says(world, first, a_page(last)):
            assert list_anew(world) is Outcome.FINISHED
        assert world.titles() == {"event-1": expected}


def test_p5_versions_that_go_down_or_stand_still_lose_nothing(world: World) -> None:
    a_calendar(world.db)
    now = datetime.now(UTC)
    same = rfc3339(now)
    falling = [a_row(f"down-{n}", updated_at=rfc3339(now - timedelta(seconds=n + 1))) for n in range(5)]
    equal = [a_row(f"same-{n}", updated_at=same) for n in range(5)]

    with recall_says(world, a_page(*falling, *equal)):
        assert list_anew(world) is Outcome.FINISHED
    with recall_says(world, a_page(a_row("same-5", updated_at=same))) as line:
        assert list_anew(world) is Outcome.FINISHED

    assert len(world.titles()) == 11
    (asked,) = line.asked
    since = asked.partition("updated_at__gte=")[2].partition("&")[0].partition(" ")[0]
    assert since.replace("%3A", ":") <= same, "the equal ones are asked for again"


# P7, P8, P9: links and tombstones ------------------------------------------------------------

BARE = {"summary": "Talk", "status": "confirmed", "organizer": {"email": "a@b.test", "self": True}}


def show(world: World, **changes: Any) -> None:
    """List one more version of the one event, and settle."""
    with recall_says(world, a_page(a_row(raw=BARE, **{**AHEAD, **changes}))):
        assert list_anew(world) is Outcome.FINISHED


def test_p7_a_link_comes_changes_and_goes_and_the_slot_with_it(world: World) -> None:
    a_calendar(world.db)
    seen: list[tuple[str | None, int]] = []

    for url in (None, "https://zoom.us/j/81234567890", "https://zoom.us/j/89999999999", None):
        show(world, meeting_url=url)
        with world.db.begin() as tx:
            slots = table_of(Slot)
            wanted = tx.execute(select(slots.c.link_key).where(slots.c.is_wanted)).scalars().all()
        seen.append((wanted[0] if wanted else None, len(wanted)))

    assert seen == [(None, 0), ("zoom:81234567890", 1), ("zoom:89999999999", 1), (None, 0)]
    assert world.events()["event-1"]["reason"] == "no_link"


NO_LINKS = {
    "P8 javascript": "javascript:alert(document.domain)",
    "P8 metadata service": "http://169.254.169.254/latest/meta-data/",
    "P8 look-alike": "https://zoom.us.evil.com/j/81234567890",
    "P8 as user": "https://zoom.us@evil.com/j/81234567890",
    "P8 short as user": "https://zoom.us@evil",
    "P8 20 KB": "https://evil.com/j/" + "8" * 20_000,
    "P8 20 KB of a real host": "https://zoom.us/j/" + "8" * 20_000,
    "P8 loopback": "http://127.0.0.1:5432/",
    "P8 file": "file:///etc/passwd",
    "P8 data": "data:text/html,https://zoom.us",
    "P8 only spaces": "   ",
}


@pytest.mark.parametrize("url", NO_LINKS.values(), ids=NO_LINKS)
def test_a_link_that_leads_astray_is_no_link(world: World, url: str) -> None:
    a_calendar(world.db)

    show(world, meeting_url=url)

    event = world.events()["event-1"]
    assert (event["meeting_url"], event["link_key"], event["reason"]) == (None, None, "no_link")
    assert world.count("slots") == 0


ONE_LINK = {
    "P8 upper case": "HTTPS://ZOOM.US/j/81234567890",
    "P8 behind a line break": "https://evil.com/\r\nHost: zoom.us/j/81234567890",
    "P8 spaces": "  https://zoom.us/j/812 3456 7890 ".replace(" 3456 ", "-3456-"),
    "P8 tracking": "https://zoom.us/j/81234567890?utm_source=mail&fbclid=1",
    "P8 two links": "https://zoom.us/j/81234567890 https://zoom.us/j/89999999999",
    "P8 passcode": "https://us02web.zoom.us/j/81234567890?pwd=Hidden1Pass2Code3",
}


@pytest.mark.parametrize("url", ONE_LINK.values(), ids=ONE_LINK)
def test_every_writing_of_a_link_is_that_link_and_its_passcode_stays_here(
    world: World, url: str
) -> None:
    a_calendar(world.db)

    show(world, meeting_url=url)

    assert world.events()["event-1"]["link_key"] == "zoom:81234567890"
    with world.db.begin() as tx:
        told = json.dumps([dict(row) for row in tx.execute(select(OutboxEvent.data)).mappings()])
        kept = str(tx.execute(text("SELECT e.* FROM calendar_events e")).mappings().all())
    assert "calendar_event" in told or "zoom" in told
    assert "Hidden1Pass2Code3" not in told
    assert "Hidden1Pass2Code3" not in kept


def test_p9_deleted_back_again_and_deleted_twice(world: World) -> None:
    a_calendar(world.db)
    for is_deleted in (False, True, True, False, True, True):
        show(world, is_deleted=is_deleted)

    assert world.told("calendar_event") == [
        "calendar_event.created",
        "calendar_event.deleted",
        "calendar_event.updated",
        "calendar_event.deleted",
    ]
    assert world.count("slots", "is_wanted") == 0
