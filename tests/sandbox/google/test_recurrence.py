"""Series, their occurrences and exceptions, over days that have 23 or 25 hours too."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.google.driving import ANNA, BEN, Google, a_series, an_event, guests, reason_of


@pytest.fixture
def google() -> Google:
    return Google()


def starts(items: list[dict[str, Any]]) -> list[str]:
    return [item["start"].get("dateTime") or item["start"]["date"] for item in items]


def expanded(google: Google, **query: str) -> list[dict[str, Any]]:
    return google.everything(singleEvents="true", orderBy="startTime", **query).items


def test_a_series_is_one_row_or_its_occurrences(google: Google) -> None:
    series = google.insert(**a_series())

    as_rows, as_events = google.everything(), expanded(google)

    assert as_rows.ids == [series["id"]]
    assert as_rows.items[0]["recurrence"] == ["RRULE:FREQ=DAILY;COUNT=5"]
    assert len(as_events) == 5
    assert all("recurrence" not in item for item in as_events)


def test_occurrences_name_their_series_and_share_its_uid(google: Google) -> None:
    series = google.insert(**a_series())

    second = expanded(google)[1]

    assert second["id"] == f"{series['id']}_20261124T080000Z"
    assert second["recurringEventId"] == series["id"]
    assert second["originalStartTime"] == {
        "dateTime": "2026-11-24T08:00:00Z",
        "timeZone": "Europe/Berlin",
    }
    assert second["iCalUID"] == series["iCalUID"]


def test_all_day_occurrences_are_named_by_their_date(google: Google) -> None:
    body = a_series(start={"date": "2026-11-23"}, end={"date": "2026-11-24"})
    series = google.insert(**body)

    second = expanded(google)[1]

    assert second["id"] == f"{series['id']}_20261124"
    assert (second["start"], second["end"]) == ({"date": "2026-11-24"}, {"date": "2026-11-25"})


def test_nine_o_clock_stays_nine_o_clock_when_the_clocks_change(google: Google) -> None:
    google.insert(
        **a_series(
            "RRULE:FREQ=DAILY;COUNT=3",
            start={"dateTime": "2027-03-27T09:00:00", "timeZone": "Europe/Berlin"},
            end={"dateTime": "2027-03-27T10:00:00", "timeZone": "Europe/Berlin"},
        )
    )

    assert starts(expanded(google)) == [
        "2027-03-27T08:00:00Z",
        "2027-03-28T07:00:00Z",
        "2027-03-29T07:00:00Z",
    ]
    assert starts(expanded(google, timeZone="Europe/Berlin")) == [
        "2027-03-27T09:00:00+01:00",
        "2027-03-28T09:00:00+02:00",
        "2027-03-29T09:00:00+02:00",
    ]


@pytest.mark.parametrize(
    ("lines", "days"),
    [
        (["RRULE:FREQ=WEEKLY;BYDAY=MO,WE;COUNT=4"], [23, 25, 30, 2]),
        (["RRULE:FREQ=DAILY;UNTIL=20261125T080000Z"], [23, 24, 25]),
        (["RRULE:FREQ=DAILY;UNTIL=20261125T075959Z"], [23, 24]),
        (["RRULE:FREQ=DAILY;UNTIL=20261124"], [23, 24]),
        (["RRULE:FREQ=DAILY;COUNT=3", "EXDATE:20261124T080000Z"], [23, 25]),
        (["RRULE:FREQ=DAILY;COUNT=3", "EXDATE;TZID=Europe/Berlin:20261124T090000"], [23, 25]),
        (["RDATE:20261126T080000Z"], [23, 26]),
        (["RRULE:FREQ=DAILY;COUNT=2", "RDATE;TZID=America/New_York:20261126T030000"], [23, 24, 26]),
        (["RRULE:FREQ=DAILY;COUNT=4", "EXRULE:FREQ=DAILY;INTERVAL=2;COUNT=2"], [24, 26]),
    ],
)
def test_recurrence_lines_mean_what_they_say(google: Google, lines: list[str], days: list[int]) -> None:
    google.insert(**(a_series() | {"recurrence": lines}))

    assert [int(text[8:10]) for text in starts(expanded(google))] == days


@pytest.mark.parametrize(
    "lines",
    [
        ["RRULE:FREQ=SOMETIMES"],
        ["RRULE:FREQ=HOURLY;COUNT=3"],
        ["DTSTART:20261123T080000Z"],
        ["EXDATE:20261123T080000Z"],
        ["RRULE:FREQ=DAILY;UNTIL=soon"],
        ["nonsense"],
    ],
)
def test_lines_that_are_no_recurrence_are_refused(google: Google, lines: list[str]) -> None:
    body = a_series() | {"recurrence": lines}

    answer = google.call("POST", "calendars/primary/events", json=body)

    assert reason_of(answer) == (400, "invalid")


def test_a_series_has_to_say_its_time_zone(google: Google) -> None:
    body = an_event(recurrence=["RRULE:FREQ=DAILY;COUNT=2"])

    answer = google.call("POST", "calendars/primary/events", json=body)

    assert reason_of(answer) == (400, "required")


def test_an_endless_series_is_expanded_as_far_as_the_horizon(google: Google) -> None:
    google.limit(expansion_days=10)
    google.insert(**a_series("RRULE:FREQ=DAILY"))

    assert len(expanded(google)) == 11
    assert len(expanded(google, timeMax="2026-11-26T00:00:00Z")) == 3


def test_a_changed_occurrence_becomes_an_exception(google: Google) -> None:
    series = google.insert(**a_series())

    google.patch(
        f"{series['id']}_20261124T080000Z",
        start={"dateTime": "2026-11-24T13:00:00Z"},
        end={"dateTime": "2026-11-24T14:00:00Z"},
    )

    rows = google.everything().items
    assert [row["id"] for row in rows] == [series["id"], f"{series['id']}_20261124T080000Z"]
    assert rows[1]["originalStartTime"]["dateTime"] == "2026-11-24T08:00:00Z"
    assert starts(expanded(google))[1] == "2026-11-24T13:00:00Z"
    assert len(expanded(google)) == 5


def test_a_deleted_occurrence_stays_as_a_cancelled_exception(google: Google) -> None:
    series = google.insert(**a_series())
    token = google.everything().token
    occurrence = f"{series['id']}_20261124T080000Z"

    google.delete(occurrence)

    [row] = google.everything(syncToken=token).items
    assert row["status"] == "cancelled"
    assert row["recurringEventId"] == series["id"]
    assert row["originalStartTime"]["dateTime"] == "2026-11-24T08:00:00Z"
    assert "summary" not in row
    assert google.everything().statuses[occurrence] == "cancelled"
    assert occurrence not in google.everything(singleEvents="true").ids
    assert reason_of(google.delete(occurrence)) == (410, "deleted")


def test_a_cancelled_exception_may_have_nothing_but_its_id(google: Google) -> None:
    google.switch(cancelled_exceptions_bare=True)
    series = google.insert(**a_series())
    token = google.everything().token

    google.delete(f"{series['id']}_20261124T080000Z")

    [row] = google.everything(syncToken=token).items
    assert row.keys() == {"kind", "etag", "id", "status"}


def test_an_occurrence_can_be_cancelled_by_patching_its_status(google: Google) -> None:
    series = google.insert(**a_series())

    google.patch(f"{series['id']}_20261124T080000Z", status="cancelled")

    assert len(expanded(google)) == 4


def test_exceptions_follow_their_series_in_what_they_do_not_have_otherwise(google: Google) -> None:
    series = google.insert(**a_series())
    occurrence = f"{series['id']}_20261124T080000Z"
    google.patch(occurrence, location="Room 2")

    google.patch(series, summary="Renamed", location="Room 1")

    exception = google.event(occurrence)
    assert (exception["summary"], exception["location"]) == ("Renamed", "Room 2")


def test_a_retimed_series_drops_exceptions_that_no_longer_fit(google: Google) -> None:
    series = google.insert(**a_series())
    google.patch(f"{series['id']}_20261124T080000Z", summary="Other")
    token = google.everything().token

    google.patch(
        series,
        start={"dateTime": "2026-11-23T10:00:00", "timeZone": "Europe/Berlin"},
        end={"dateTime": "2026-11-23T10:15:00", "timeZone": "Europe/Berlin"},
    )

    changes = google.everything(syncToken=token).statuses
    assert changes[f"{series['id']}_20261124T080000Z"] == "cancelled"
    assert google.everything().ids == [series["id"]]
    assert len(expanded(google)) == 5


def test_instances_are_listed_in_order_with_exceptions_in_place(google: Google) -> None:
    series = google.insert(**a_series())
    google.patch(f"{series['id']}_20261124T080000Z", summary="Other")
    google.delete(f"{series['id']}_20261125T080000Z")
    path = f"calendars/primary/events/{series['id']}/instances"

    shown, all_of_them = google.get(path), google.get(path, showDeleted="true")

    assert [item["summary"] for item in shown["items"]] == ["Daily", "Other", "Daily", "Daily"]
    assert len(all_of_them["items"]) == 5
    assert "nextSyncToken" not in shown


def test_an_instance_is_found_by_its_original_start(google: Google) -> None:
    series = google.insert(**a_series())
    path = f"calendars/primary/events/{series['id']}/instances"

    found = google.get(path, originalStart="2026-11-25T09:00:00+01:00")

    assert [item["id"] for item in found["items"]] == [f"{series['id']}_20261125T080000Z"]


def test_instances_come_in_pages(google: Google) -> None:
    series = google.insert(**a_series())
    path = f"calendars/primary/events/{series['id']}/instances"

    first = google.get(path, maxResults=3)
    last = google.get(path, maxResults=3, pageToken=first["nextPageToken"])

    assert [len(first["items"]), len(last["items"])] == [3, 2]


@pytest.mark.parametrize("name", ["_20261124T093000Z", "_20261124", "_soon", "x"])
def test_an_occurrence_that_is_none_is_not_found(google: Google, name: str) -> None:
    series = google.insert(**a_series())

    answer = google.call("GET", f"calendars/primary/events/{series['id']}{name}")

    assert reason_of(answer) == (404, "notFound")


def test_this_and_following_ends_the_series_and_starts_another(google: Google) -> None:
    series = google.insert(**a_series())
    token = google.everything().token

    done = google.control(
        "POST",
        f"/calendars/{ANNA}/events/{series['id']}/split",
        {"at": f"{series['id']}_20261125T080000Z", "summary": "From now on"},
    )

    following = done["following"]
    assert following["iCalUID"] != series["iCalUID"]
    assert set(google.everything(syncToken=token).ids) == {series["id"], following["id"]}
    assert [item["summary"] for item in expanded(google)][:3] == ["Daily", "Daily", "From now on"]


def test_a_guest_of_one_occurrence_has_that_alone(google: Google) -> None:
    series = google.insert(**a_series())
    occurrence = f"{series['id']}_20261124T080000Z"

    google.patch(occurrence, attendees=guests(BEN))

    [row] = google.everything(by=BEN).items
    assert (row["id"], row["recurringEventId"]) == (occurrence, series["id"])
    assert google.call("GET", f"calendars/primary/events/{series['id']}", by=BEN).status_code == 404


def test_a_guest_who_declines_one_occurrence_stays_in_the_others(google: Google) -> None:
    series = google.insert(**a_series(attendees=guests(BEN)))
    occurrence = f"{series['id']}_20261124T080000Z"

    google.patch(occurrence, by=BEN, attendees=[{"email": BEN, "responseStatus": "declined"}])

    assert google.event(occurrence)["attendees"][0]["responseStatus"] == "declined"
    assert google.event(series)["attendees"][0]["responseStatus"] == "needsAction"


def test_a_restored_series_has_its_exceptions_again(google: Google) -> None:
    series = google.insert(**a_series())
    google.patch(f"{series['id']}_20261124T080000Z", summary="Other")
    google.delete(f"{series['id']}_20261125T080000Z")
    google.delete(series)
    token = google.everything(singleEvents="true").token

    google.patch(series, status="confirmed")

    changes = google.everything(singleEvents="true", syncToken=token)
    assert len(changes.ids) == len(set(changes.ids)) == 5
    assert list(changes.statuses.values()).count("cancelled") == 1
    assert [item["summary"] for item in expanded(google)] == ["Daily", "Other", "Daily", "Daily"]


def test_a_series_moved_away_and_back_is_what_it_was(google: Google) -> None:
    series = google.insert(**a_series("RRULE:FREQ=DAILY;COUNT=2"))
    google.patch(f"{series['id']}_20261124T080000Z", summary="Other")
    times: list[dict[str, Any]] = [
        {
            "start": {"dateTime": f"2026-11-23T{hour}:00:00", "timeZone": "Europe/Berlin"},
            "end": {"dateTime": f"2026-11-23T{hour}:15:00", "timeZone": "Europe/Berlin"},
        }
        for hour in ("09", "10")
    ]
    google.patch(series, **times[1])
    token = google.everything(singleEvents="true").token

    google.patch(series, **times[0])

    changes = google.everything(singleEvents="true", syncToken=token)
    assert len(changes.ids) == len(set(changes.ids))
    assert [item["summary"] for item in expanded(google)] == ["Daily", "Other"]
    assert starts(expanded(google)) == ["2026-11-23T08:00:00Z", "2026-11-24T08:00:00Z"]


def test_a_new_guest_of_a_series_does_not_see_what_was_called_off_before(google: Google) -> None:
    series = google.insert(**a_series())
    google.delete(f"{series['id']}_20261124T080000Z")
    google.patch(f"{series['id']}_20261125T080000Z", summary="Other")

    google.patch(series, attendees=guests(BEN))

    seen = google.everything(by=BEN, singleEvents="true", orderBy="startTime").items
    assert [item["summary"] for item in seen] == ["Daily", "Other", "Daily", "Daily"]


def test_a_guest_of_one_occurrence_loses_it_with_the_series(google: Google) -> None:
    series = google.insert(**a_series())
    google.patch(f"{series['id']}_20261124T080000Z", attendees=guests(BEN))

    google.delete(series)

    assert google.everything(by=BEN).items == []


def test_a_guest_s_colour_stays_when_an_occurrence_is_changed(google: Google) -> None:
    series = google.insert(**a_series(attendees=guests(BEN)))
    google.patch(series, by=BEN, colorId="5")

    google.patch(f"{series['id']}_20261124T080000Z", summary="Other")

    occurrence = google.event(f"{series['id']}_20261124T080000Z", by=BEN)
    assert (occurrence["summary"], occurrence["colorId"]) == ("Other", "5")


def test_an_occurrence_of_a_deleted_series_cannot_be_changed(google: Google) -> None:
    series = google.insert(**a_series())
    google.delete(series)
    path = f"calendars/primary/events/{series['id']}_20261124T080000Z"

    answer = google.call("PATCH", path, json={"summary": "Again"})

    assert reason_of(answer) == (410, "deleted")


def test_exceptions_may_survive_a_new_time(google: Google) -> None:
    google.switch(exceptions_survive_retiming=True)
    series = google.insert(**a_series())
    google.patch(f"{series['id']}_20261124T080000Z", summary="Other")

    google.patch(
        series,
        start={"dateTime": "2026-11-23T10:00:00", "timeZone": "Europe/Berlin"},
        end={"dateTime": "2026-11-23T10:15:00", "timeZone": "Europe/Berlin"},
    )

    assert f"{series['id']}_20261124T080000Z" in google.everything().ids
