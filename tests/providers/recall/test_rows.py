"""A row is an event or it says why not; nothing in it is an error of ours."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.domain.events import EventStatus
from tests.providers.recall.scripted import page, saying
from worker.ports import FoundEvent, Page, Unreadable
from worker.providers.recall import RecallSource
from worker.providers.recall.rows import newest_by_id, read_row

ROW: dict[str, Any] = {
    "id": "0d9c6f1e-0000-4000-8000-000000000001",
    "calendar_id": "0d9c6f1e-0000-4000-8000-00000000000c",
    "start_time": "2026-11-21T13:00:00Z",
    "end_time": "2026-11-21T14:00:00Z",
    "platform": "google_calendar",
    "platform_id": "abc",
    "ical_uid": "uid-1@google.com",
    "meeting_platform": "zoom",
    "meeting_url": "https://zoom.us/j/81234567890?pwd=x",
    "raw": {
        "summary": "Stand-up",
        "status": "confirmed",
        "start": {"dateTime": "2026-11-21T13:00:00Z"},
        "end": {"dateTime": "2026-11-21T14:00:00Z"},
        "organizer": {"email": "anna@acme.test", "self": True},
    },
    "is_deleted": False,
    "bots": [],
    "created_at": "2026-11-20T00:00:00Z",
    "updated_at": "2026-11-20T10:00:00.123456+00:00",
}


def a_row(**changes: Any) -> dict[str, Any]:
    return {**ROW, **changes}


def read(row: object) -> FoundEvent | Unreadable:
    return read_row(row, email_of=lambda _: "anna@acme.test")


def readable(row: object) -> FoundEvent:
    found = read(row)
    assert isinstance(found, FoundEvent)
    return found


def pages_of(*rows: object, live_only: bool = False, calendar: str | None = None) -> Page:
    with saying(page(*rows)) as recall:
        source = RecallSource(recall.client, email_of=lambda _: "anna@acme.test")
        (found,) = source.changes(None, calendar=calendar, live_only=live_only)
    return found


def test_a_row_is_read() -> None:
    found = readable(ROW)

    assert found.calendar_ref == ROW["calendar_id"]
    assert found.updated_at == datetime(2026, 11, 20, 10, 0, 0, 123456, tzinfo=UTC)
    assert found.event.external_id == ROW["id"]
    assert found.event.title == "Stand-up"
    assert found.event.link is not None


@pytest.mark.parametrize("name", ["id", "calendar_id", "updated_at", "is_deleted", "platform", "raw"])
@pytest.mark.parametrize(
    "value", ["absent", None, 7, 1.5, [], {}, "", "?", "\ud800", "\0", "x" * 5_000]
)
def test_a_row_without_what_matters_is_unreadable(name: str, value: object) -> None:
    row = a_row(**{name: value})
    if value == "absent":
        del row[name]
    if (name, value) == ("raw", {}):
        return  # the fields beside it are enough to read a Google event

    found = read(row)

    assert isinstance(found, Unreadable)
    assert name in found.reason
    assert found.external_id == ("" if name == "id" else ROW["id"])


@pytest.mark.parametrize("row", [None, 7, "row", [], [ROW], True])
def test_what_is_no_object_is_unreadable(row: object) -> None:
    assert read(row) == Unreadable("", None, "row is no object")


@pytest.mark.parametrize(
    "text",
    [
        "yesterday",
        "2026-11-20",
        "2026-11-20T10:00:00",
        "9999-12-31T23:59:59-01:00",
        "2026-13-01T00:00:00Z",
    ],
)
def test_an_impossible_updated_at_is_unreadable(text: str) -> None:
    assert isinstance(read(a_row(updated_at=text)), Unreadable)


def test_a_change_from_the_future_is_taken_as_it_is() -> None:
    found = readable(a_row(updated_at="2030-01-01T00:00:00Z"))

    assert found.updated_at.year == 2030


@pytest.mark.parametrize("raw", [None, [], {}, {"start": 7}, "gone"])
@pytest.mark.parametrize("platform", ["google_calendar", "microsoft_outlook", "other", None])
@pytest.mark.parametrize("start", ["2026-11-21T13:00:00Z", None, "9999-12-31T00:00:00Z"])
def test_a_tombstone_is_a_tombstone_whatever_else_it_says(
    raw: object, platform: object, start: object
) -> None:
    found = readable(
        a_row(is_deleted=True, raw=raw, platform=platform, start_time=start, end_time=None)
    )

    assert found.event.deleted
    assert found.event.external_id == ROW["id"]


def test_a_bare_tombstone_is_cancelled() -> None:
    found = readable(a_row(is_deleted=True, raw=None))

    assert found.event.status is EventStatus.CANCELLED
    assert found.event.link is None


def test_attachments_are_read_and_odd_ones_left_out() -> None:
    bots = [
        {"bot_id": "b1", "start_time": "2026-11-21T13:00:00Z", "deduplication_key": "k"},
        {"bot_id": "b2", "start_time": None, "deduplication_key": 7},
        {"bot_id": None},
        {"bot_id": "../b"},
        {},
        "b3",
        None,
    ]

    found = readable(a_row(bots=bots)).attachments

    assert [(one.bot_id, one.dedup_key, one.join_at is None) for one in found] == [
        ("b1", "k", False),
        ("b2", None, True),
    ]


@pytest.mark.parametrize("bots", [None, {}, "b", 7])
def test_attachments_of_the_wrong_shape_are_none(bots: object) -> None:
    assert readable(a_row(bots=bots)).attachments == ()


def test_of_two_rows_of_one_event_the_newest_counts() -> None:
    old, new = a_row(raw={**ROW["raw"], "summary": "Old"}), a_row(updated_at="2026-11-20T11:00:00Z")

    for rows in ((old, new), (new, old)):
        (found,) = pages_of(*rows).events
        assert found.event.title == "Stand-up"


def test_of_two_equally_new_rows_the_last_counts() -> None:
    other = a_row(raw={**ROW["raw"], "summary": "Other"})

    (found,) = pages_of(ROW, other).events

    assert found.event.title == "Other"


def test_an_unreadable_newer_row_hides_the_readable_older_one() -> None:
    broken = a_row(updated_at="2026-11-20T11:00:00Z", raw=None)

    found = pages_of(ROW, broken)

    assert found.events == ()
    assert [row.external_id for row in found.unreadable] == [ROW["id"]]


def test_one_bad_row_spoils_no_other() -> None:
    found = pages_of(None, ROW, {"id": 7}, a_row(id="e2", raw=[]))

    assert [row.event.external_id for row in found.events] == [ROW["id"]]
    assert len(found.unreadable) == 3


def test_filters_that_recall_ignored_are_applied_here() -> None:
    other, deleted = a_row(id="e2", calendar_id="other"), a_row(id="e3", is_deleted=True)

    found = pages_of(ROW, other, deleted, calendar=str(ROW["calendar_id"]), live_only=True)

    assert [row.event.external_id for row in found.events] == [ROW["id"]]


def test_a_calendars_address_is_asked_for_once_a_listing() -> None:
    asked: list[str] = []

    def email_of(external_id: str) -> str | None:
        asked.append(external_id)
        return None

    with saying(page(*[a_row(id=f"e{number}") for number in range(50)])) as recall:
        list(RecallSource(recall.client, email_of=email_of).changes(None))

    assert asked == [ROW["calendar_id"]]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@given(changes=st.dictionaries(st.sampled_from(sorted(ROW)), json_values, max_size=4))
@settings(max_examples=200, deadline=None)
def test_no_row_raises(changes: dict[str, object]) -> None:
    found = read({**ROW, **changes})

    json.dumps([found.calendar_ref, str(found.updated_at)])
    newest_by_id([found, found])
