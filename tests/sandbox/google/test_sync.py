"""Full and incremental lists: tokens, pages, windows, what is refused, and what a deletion looks like."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.google.driving import ANNA, BEN, Google, guests, reason_of

EVENTS = "calendars/primary/events"


@pytest.fixture
def google() -> Google:
    return Google()


def test_only_the_last_page_carries_the_sync_token(google: Google) -> None:
    for _ in range(5):
        google.insert()

    first = google.list(maxResults=2)
    second = google.list(maxResults=2, pageToken=first["nextPageToken"])
    last = google.list(maxResults=2, pageToken=second["nextPageToken"])

    assert [len(page["items"]) for page in (first, second, last)] == [2, 2, 1]
    assert ["nextSyncToken" in page for page in (first, second, last)] == [False, False, True]
    assert ["nextPageToken" in page for page in (first, second, last)] == [True, True, False]


def test_a_sync_token_brings_what_changed_since(google: Google) -> None:
    kept, moved, gone = google.insert(), google.insert(), google.insert()
    token = google.everything().token
    google.patch(moved, summary="Moved")
    google.delete(gone)
    new = google.insert()

    changes = google.everything(syncToken=token)

    assert changes.statuses == {
        moved["id"]: "confirmed",
        gone["id"]: "cancelled",
        new["id"]: "confirmed",
    }
    assert kept["id"] not in changes.ids


def test_nothing_changed_brings_an_empty_page_and_a_token(google: Google) -> None:
    google.insert()
    token = google.everything().token

    changes = google.everything(syncToken=token)

    assert changes.items == []
    assert changes.token


def test_changes_between_two_pages_are_in_the_next_incremental_list(google: Google) -> None:
    events = [google.insert() for _ in range(4)]
    first = google.list(maxResults=2)
    google.patch(events[0], summary="While paging")
    last = google.list(maxResults=2, pageToken=first["nextPageToken"])

    changes = google.everything(syncToken=last["nextSyncToken"])

    assert changes.ids == [events[0]["id"]]


def test_incremental_pages_repeat_the_sync_token(google: Google) -> None:
    token = google.everything().token
    for _ in range(3):
        google.insert()
    page = google.list(syncToken=token, maxResults=2)

    without = google.call("GET", EVENTS, params={"pageToken": page["nextPageToken"], "maxResults": 2})
    with_token = google.list(syncToken=token, maxResults=2, pageToken=page["nextPageToken"])

    assert reason_of(without) == (400, "invalid")
    assert len(with_token["items"]) == 1
    assert "nextSyncToken" in with_token


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("iCalUID", "x@google.com"),
        ("orderBy", "updated"),
        ("privateExtendedProperty", "a=b"),
        ("q", "word"),
        ("sharedExtendedProperty", "a=b"),
        ("timeMin", "2026-11-23T00:00:00Z"),
        ("timeMax", "2026-11-23T00:00:00Z"),
        ("updatedMin", "2026-11-23T00:00:00Z"),
        ("showDeleted", "false"),
    ],
)
def test_some_parameters_are_refused_beside_a_sync_token(google: Google, name: str, value: str) -> None:
    token = google.everything().token

    answer = google.call("GET", EVENTS, params={"syncToken": token, name: value})

    assert reason_of(answer) == (400, "badRequest")


@pytest.mark.parametrize(
    "query", [{"singleEvents": "true"}, {"eventTypes": "default"}, {"maxAttendees": "1"}]
)
def test_other_parameters_must_be_those_of_the_first_list(
    google: Google, query: dict[str, str]
) -> None:
    token = google.everything().token

    strict = google.call("GET", EVENTS, params={"syncToken": token, **query})
    google.switch(changed_parameters_refused=False)
    lenient = google.call("GET", EVENTS, params={"syncToken": token, **query})

    assert strict.status_code == 400
    assert lenient.status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        {"orderBy": "updated"},
        {"q": "standup"},
        {"updatedMin": "2026-11-20T00:00:00Z"},
        {"iCalUID": "x"},
    ],
)
def test_some_lists_give_no_sync_token(google: Google, query: dict[str, str]) -> None:
    google.insert()

    assert "nextSyncToken" not in google.list(**query)


def test_an_expired_token_asks_for_a_full_sync(google: Google) -> None:
    google.insert()
    token = google.everything().token

    google.control("POST", f"/calendars/{ANNA}/expire-sync-tokens")
    refused = google.call("GET", EVENTS, params={"syncToken": token})
    fresh = google.everything()

    assert reason_of(refused) == (410, "fullSyncRequired")
    assert google.everything(syncToken=fresh.token).items == []


def test_a_token_grows_too_old_by_itself(google: Google) -> None:
    token = google.everything().token

    google.pass_(days=31)

    google.tokens.clear()
    answer = google.call("GET", EVENTS, params={"syncToken": token})
    assert reason_of(answer) == (410, "fullSyncRequired")


def test_a_changed_role_makes_the_token_useless(google: Google) -> None:
    google.control("PUT", f"/calendars/{ANNA}/entries/{BEN}", {"role": "reader"})
    path = f"calendars/{ANNA}/events"
    token = google.everything(by=BEN, calendar=ANNA).token

    google.control("PUT", f"/calendars/{ANNA}/entries/{BEN}", {"role": "writer"})

    answer = google.call("GET", path, by=BEN, params={"syncToken": token})
    assert reason_of(answer) == (410, "fullSyncRequired")


def test_a_token_that_is_none_is_refused_one_way_or_the_other(google: Google) -> None:
    invalid = google.call("GET", EVENTS, params={"syncToken": "garbage"})
    google.switch(garbage_token_is_gone=True)
    gone = google.call("GET", EVENTS, params={"syncToken": "garbage"})

    assert reason_of(invalid) == (400, "invalid")
    assert reason_of(gone) == (410, "fullSyncRequired")


def test_a_token_belongs_to_one_calendar_and_one_person(google: Google) -> None:
    token = google.everything().token

    answer = google.call("GET", EVENTS, by=BEN, params={"syncToken": token})

    assert answer.status_code == 400


def test_an_update_time_too_long_ago_is_gone(google: Google) -> None:
    answer = google.call("GET", EVENTS, params={"updatedMin": "2026-01-01T00:00:00Z"})

    assert reason_of(answer) == (410, "updatedMinTooLongAgo")


def test_updated_min_lists_deleted_events_too(google: Google) -> None:
    google.insert()
    google.pass_(minutes=10)
    gone = google.insert()
    google.delete(gone)

    recent = google.everything(updatedMin="2026-11-23T09:05:00Z")

    assert recent.statuses == {gone["id"]: "cancelled"}


def test_pages_may_be_short_and_empty(google: Google) -> None:
    events = [google.insert() for _ in range(20)]
    google.limit(page_shortfall=0.9)

    sizes = []
    page = google.list(maxResults=2)
    while "nextPageToken" in page:
        sizes.append(len(page["items"]))
        page = google.list(maxResults=2, pageToken=page["nextPageToken"])

    assert 0 in sizes
    assert sum(sizes) + len(page["items"]) == len(events)
    assert "nextSyncToken" in page


def test_a_page_token_of_another_question_is_refused(google: Google) -> None:
    for _ in range(3):
        google.insert()
    page = google.list(maxResults=2)

    answer = google.call("GET", EVENTS, params={"pageToken": page["nextPageToken"], "q": "x"})

    assert reason_of(answer) == (400, "invalid")


def test_pages_hold_at_most_2500(google: Google) -> None:
    google.limit(page_size=3, page_size_max=4)
    for _ in range(5):
        google.insert()

    assert len(google.list()["items"]) == 3
    assert len(google.list(maxResults=9999)["items"]) == 4
    assert google.call("GET", EVENTS, params={"maxResults": 0}).status_code == 400


def test_deleted_events_show_only_when_asked_for(google: Google) -> None:
    gone = google.insert()
    google.delete(gone)

    assert google.everything().items == []
    assert google.everything(showDeleted="true").statuses == {gone["id"]: "cancelled"}


def test_an_incremental_list_tells_nothing_of_deleted_events_but_their_id(google: Google) -> None:
    event = google.insert()
    token = google.everything().token
    google.delete(event)

    [sparse] = google.everything(syncToken=token).items
    [full] = google.everything(syncToken=token, showDeleted="true").items

    assert sparse.keys() == {"kind", "etag", "id", "status"}
    assert full["summary"] == "Standup"


def test_a_guest_of_a_cancelled_event_keeps_no_details(google: Google) -> None:
    event = google.insert(attendees=guests(BEN))
    google.delete(event)

    [row] = google.everything(by=BEN, showDeleted="true").items

    assert row.keys() == {"kind", "etag", "id", "status"}


def test_purged_events_are_gone_for_good(google: Google) -> None:
    event = google.insert()
    token = google.everything().token
    google.delete(event)

    google.control("POST", f"/calendars/{ANNA}/purge")

    assert google.everything(showDeleted="true").items == []
    assert google.call("GET", EVENTS, params={"syncToken": token}).status_code == 410


def windowed(google: Google) -> tuple[str, Any, Any, Any]:
    """Return the token of a windowed list, and an event inside, one outside, one that leaves."""
    inside = google.insert()
    outside = google.insert(
        start={"dateTime": "2027-03-01T11:00:00Z"}, end={"dateTime": "2027-03-01T12:00:00Z"}
    )
    leaver = google.insert()
    window = {"timeMin": "2026-11-01T00:00:00Z", "timeMax": "2026-12-31T00:00:00Z"}
    token = google.everything(**window).token
    google.patch(inside, summary="Inside")
    google.patch(outside, summary="Outside")
    google.patch(
        leaver,
        start={"dateTime": "2027-02-01T11:00:00Z"},
        end={"dateTime": "2027-02-01T12:00:00Z"},
    )
    return token, inside, outside, leaver


def test_a_windowed_list_is_followed_by_all_changes(google: Google) -> None:
    token, inside, outside, leaver = windowed(google)

    changes = google.everything(syncToken=token)

    assert set(changes.ids) == {inside["id"], outside["id"], leaver["id"]}


def test_or_only_by_changes_inside_its_window(google: Google) -> None:
    google.switch(windowed_token="inside")
    token, inside, _, _ = windowed(google)

    assert google.everything(syncToken=token).ids == [inside["id"]]


def test_or_by_cancelled_rows_for_what_lies_outside(google: Google) -> None:
    google.switch(windowed_token="cancels_leavers")
    token, inside, outside, leaver = windowed(google)

    assert google.everything(syncToken=token).statuses == {
        inside["id"]: "confirmed",
        outside["id"]: "cancelled",
        leaver["id"]: "cancelled",
    }


def test_a_windowed_list_may_give_no_token_at_all(google: Google) -> None:
    google.switch(windowed_sync_gives_token=False)

    assert "nextSyncToken" not in google.list(timeMin="2026-11-01T00:00:00Z")
    assert "nextSyncToken" in google.list()


def test_the_window_bounds_end_and_start_exclusively(google: Google) -> None:
    event = google.insert()

    def found(**window: str) -> bool:
        return google.everything(**window).ids == [event["id"]]

    assert found(timeMin="2026-11-23T11:29:59Z")
    assert not found(timeMin="2026-11-23T11:30:00Z")
    assert found(timeMax="2026-11-23T11:00:01Z")
    assert not found(timeMax="2026-11-23T11:00:00Z")


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        (
            {"timeMin": "2026-11-23T11:00:00Z", "timeMax": "2026-11-23T11:00:00Z"},
            "timeRangeEmpty",
        ),
        ({"timeMin": "2026-11-23T11:00:00"}, "badRequest"),
        ({"timeMin": "tomorrow"}, "badRequest"),
        ({"orderBy": "startTime"}, "badRequest"),
        ({"singleEvents": "perhaps"}, "invalid"),
        ({"eventTypes": "party"}, "invalid"),
        ({"timeZone": "Mars/Olympus"}, "invalid"),
    ],
)
def test_lists_that_make_no_sense_are_refused(
    google: Google, query: dict[str, str], reason: str
) -> None:
    assert reason_of(google.call("GET", EVENTS, params=query)) == (400, reason)


def test_lists_may_lag_behind_and_lose_nothing(google: Google) -> None:
    old = google.insert()
    google.pass_(seconds=60)
    google.limit(list_lag_ms=2000)
    token = google.everything().token
    new = google.insert()
    google.patch(old, summary="Later")

    at_once = google.everything(syncToken=token)
    full = google.everything()
    google.pass_(seconds=3)
    later = google.everything(syncToken=at_once.token)

    assert at_once.items == []
    assert full.ids == [old["id"]]
    assert set(later.ids) == {old["id"], new["id"]}


def test_a_token_may_survive_a_changed_role(google: Google) -> None:
    google.switch(token_survives_role_change=True)
    google.control("PUT", f"/calendars/{ANNA}/entries/{BEN}", {"role": "reader"})
    token = google.everything(by=BEN, calendar=ANNA).token

    google.control("PUT", f"/calendars/{ANNA}/entries/{BEN}", {"role": "writer"})

    assert google.everything(by=BEN, calendar=ANNA, syncToken=token).items == []
