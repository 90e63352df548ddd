"""Incremental lists of series: what a deletion, an edit or a shorter rule looks like."""

from __future__ import annotations

import pytest

from tests.sandbox.google.driving import Google, a_series

EVENTS = "calendars/primary/events"


@pytest.fixture
def google() -> Google:
    return Google()


def test_a_deleted_series_is_one_row_and_its_exceptions_without_single_events(google: Google) -> None:
    series = google.insert(**a_series())
    exception = google.patch(f"{series['id']}_20261124T080000Z", summary="Other")
    token = google.everything().token

    google.delete(series)

    assert google.everything(syncToken=token).statuses == {
        series["id"]: "cancelled",
        exception["id"]: "cancelled",
    }
    google.switch(deleted_series_tells_exceptions=False)
    assert google.everything(syncToken=token).ids == [series["id"]]


@pytest.mark.parametrize(("switch", "rows"), [("instances", 5), ("master", 1), ("both", 6)])
def test_with_single_events_a_deleted_series_shows_in_one_of_three_ways(
    google: Google, switch: str, rows: int
) -> None:
    google.switch(deleted_series_as=switch)
    series = google.insert(**a_series())
    token = google.everything(singleEvents="true").token

    google.delete(series)

    changes = google.everything(singleEvents="true", syncToken=token)
    assert len(changes.items) == rows
    assert set(changes.statuses.values()) == {"cancelled"}
    assert (series["id"] in changes.ids) == (switch != "instances")


def test_an_edited_series_brings_all_its_occurrences(google: Google) -> None:
    series = google.insert(**a_series())
    token = google.everything(singleEvents="true").token

    google.patch(series, summary="Renamed")

    changes = google.everything(singleEvents="true", syncToken=token)
    assert [item["summary"] for item in changes.items] == ["Renamed"] * 5


def test_what_a_shortened_series_lost_is_cancelled(google: Google) -> None:
    series = google.insert(**a_series())
    token = google.everything(singleEvents="true").token

    google.patch(series, recurrence=["RRULE:FREQ=DAILY;COUNT=3"])

    statuses = google.everything(singleEvents="true", syncToken=token).statuses
    assert list(statuses.values()).count("confirmed") == 3
    assert statuses[f"{series['id']}_20261127T080000Z"] == "cancelled"


def test_a_moved_series_cancels_the_old_times(google: Google) -> None:
    series = google.insert(**a_series("RRULE:FREQ=DAILY;COUNT=2"))
    token = google.everything(singleEvents="true").token

    google.patch(
        series,
        start={"dateTime": "2026-11-23T10:00:00", "timeZone": "Europe/Berlin"},
        end={"dateTime": "2026-11-23T10:15:00", "timeZone": "Europe/Berlin"},
    )

    assert google.everything(singleEvents="true", syncToken=token).statuses == {
        f"{series['id']}_20261123T090000Z": "confirmed",
        f"{series['id']}_20261124T090000Z": "confirmed",
        f"{series['id']}_20261123T080000Z": "cancelled",
        f"{series['id']}_20261124T080000Z": "cancelled",
    }
