"""Delta: rounds and pages, stubs and masters, what is told of deletions, and tokens that are forgotten."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.microsoft.driving import (
    DAILY,
    WEEK,
    Graph,
    Person,
    Round,
    an_event,
    invited,
    times,
)

SMALL = "odata.maxpagesize=2"
STUB = {"@odata.type", "@odata.etag", "seriesMasterId", "type", "start", "end", "id"}


def hours(person: Person, *wanted: int) -> list[str]:
    """Create half an hour at each of the hours wanted and return the ids."""
    return [person.event(subject=str(hour), **at(hour))["id"] for hour in wanted]


def at(hour: int) -> dict[str, Any]:
    return times(f"2026-11-24T{hour:02}:00:00", f"2026-11-24T{hour:02}:30:00")


def a_series(person: Person) -> tuple[str, list[str]]:
    body = {**times("2026-11-23T10:00:00", "2026-11-23T10:30:00"), "recurrence": DAILY}
    master: str = person.event(subject="Daily", **body)["id"]
    return master, [row["id"] for row in person.view() if row["seriesMasterId"] == master]


def ids(found: Round) -> list[str]:
    return [row["id"] for row in found.rows]


def test_the_first_round_shows_all_and_the_next_only_what_changed(anna: Person) -> None:
    first, second = hours(anna, 10, 11)
    begun = anna.begin()
    third = hours(anna, 12)[0]
    anna.patch(f"/me/events/{first}", {"subject": "New"})
    anna.delete(f"/me/events/{second}")

    changes = anna.resume(begun.link)

    assert set(ids(begun)) == {first, second}
    assert begun.link.startswith("http://graph.test/v1.0/me/calendarView/delta?$deltatoken=")
    assert set(ids(changes)) == {first, second, third}
    assert changes.removed == {second}
    assert next(row for row in changes.rows if row["id"] == second) == {
        "@odata.type": "#microsoft.graph.event",
        "id": second,
        "@removed": {"reason": "deleted"},
    }
    assert anna.resume(changes.link).rows == []


def test_pages_lead_on_by_whole_links_until_a_delta_link(anna: Person) -> None:
    hours(anna, 9, 10, 11, 12, 13)

    begun = anna.begin(SMALL)

    assert [len(page) for page in begun.pages] == [2, 2, 1]


def test_the_answer_says_that_changes_are_tracked(anna: Person) -> None:
    answer = anna.call("GET", "/me/calendarView/delta", params=WEEK, headers={"prefer": SMALL})

    assert answer.headers["preference-applied"] == f"{SMALL}, odata.track-changes"


def test_a_series_comes_as_master_and_stubs_on_one_page_and_exceptions_come_whole(anna: Person) -> None:
    master, days = a_series(anna)
    anna.patch(f"/me/events/{days[2]}", {"subject": "Other"})
    hours(anna, 15)

    begun = anna.begin(SMALL)

    assert len(begun.pages[0]) == 8
    assert [row["id"] for row in begun.of_type("seriesMaster")] == [master]
    assert all(set(row) == STUB for row in begun.of_type("occurrence"))
    assert len(begun.of_type("occurrence")) == 6
    assert [row["subject"] for row in begun.of_type("exception")] == ["Other"]


def test_a_series_may_be_cut_by_pages(graph: Graph, anna: Person) -> None:
    graph.switch(series_split_over_pages=True)
    a_series(anna)

    assert [len(page) for page in anna.begin(SMALL).pages] == [2, 2, 2, 2]


def test_a_changed_series_comes_again_with_all_its_stubs(anna: Person) -> None:
    master, days = a_series(anna)
    begun = anna.begin()
    anna.patch(f"/me/events/{master}", {"subject": "New"})

    changes = anna.resume(begun.link)

    assert ids(changes) == [master, *days]
    assert changes.rows[0]["subject"] == "New"


@pytest.mark.parametrize("how", ["silent", "series", "removed"])
def test_a_deleted_occurrence_is_told_of_as_the_switch_says(
    graph: Graph, anna: Person, how: str
) -> None:
    graph.switch(deleted_occurrence_in_delta=how)
    master, days = a_series(anna)
    begun = anna.begin()
    anna.delete(f"/me/events/{days[2]}")

    changes = anna.resume(begun.link)

    match how:
        case "silent":
            assert changes.rows == []
        case "series":
            assert ids(changes) == [master, *days[:2], *days[3:]]
        case _:
            assert changes.removed == {days[2]}
            assert len(changes.rows) == 1


def test_a_silently_deleted_occurrence_is_missed_once_the_series_comes_again(anna: Person) -> None:
    master, days = a_series(anna)
    begun = anna.begin()
    anna.delete(f"/me/events/{days[2]}")
    anna.patch(f"/me/events/{master}", {"subject": "New"})

    changes = anna.resume(begun.link)

    assert ids(changes) == [master, *days[:2], *days[3:]]
    assert changes.removed == set()


@pytest.mark.parametrize("lists", [False, True])
def test_a_removed_series_is_told_of_by_its_master(graph: Graph, anna: Person, lists: bool) -> None:
    graph.switch(removed_series_lists_occurrences=lists)
    master, days = a_series(anna)
    begun = anna.begin()
    anna.delete(f"/me/events/{master}")

    assert anna.resume(begun.link).removed == ({master, *days} if lists else {master})


def test_the_window_is_frozen_and_what_leaves_it_is_removed(anna: Person) -> None:
    inside = hours(anna, 10)[0]
    begun = anna.begin()
    anna.patch(f"/me/events/{inside}", times("2026-12-24T10:00:00", "2026-12-24T10:30:00"))

    assert anna.resume(begun.link).removed == {inside}


def test_what_changed_outside_the_window_all_along_may_be_removed_too(
    graph: Graph, anna: Person
) -> None:
    begun = anna.begin()
    outside = anna.event(**times("2026-12-24T10:00:00", "2026-12-24T10:30:00"))["id"]

    assert anna.resume(begun.link).removed == {outside}

    graph.switch(removed_rows_for_strangers=False)
    assert anna.resume(begun.link).rows == []


def test_what_moves_to_another_calendar_is_removed_here_and_new_there(
    graph: Graph, anna: Person
) -> None:
    other = graph.control("POST", f"/accounts/{anna.email}/calendars", {"name": "Other"})["id"]
    event_id = hours(anna, 10)[0]
    here, there = anna.begin(), anna.begin(calendar=f"/calendars/{other}")

    moved = graph.control("POST", f"/events/{event_id}/move", {"calendar_id": other})["id"]

    assert anna.resume(here.link).removed == {event_id}
    assert ids(anna.resume(there.link)) == [moved]


def test_links_work_with_either_format_of_ids(anna: Person) -> None:
    event_id = hours(anna, 10)[0]
    immutable = 'IdType="ImmutableId"'
    lasting = anna.get(f"/me/events/{event_id}", prefer=immutable)["id"]
    begun = anna.begin()
    anna.delete(f"/me/events/{event_id}")

    assert anna.resume(begun.link, prefer=immutable).removed == {lasting}
    assert anna.resume(begun.link).removed == {event_id}


def test_rows_are_shown_in_the_zone_each_request_asks_for(anna: Person) -> None:
    hours(anna, 10)

    begun = anna.begin('outlook.timezone="Tokyo Standard Time"')

    assert begun.rows[0]["start"] == {
        "dateTime": "2026-11-24T19:00:00.0000000",
        "timeZone": "Tokyo Standard Time",
    }


@pytest.mark.parametrize("option", ["$select", "$filter", "$expand", "$orderby", "$search", "$top"])
def test_options_of_lists_are_refused(anna: Person, option: str) -> None:
    params = {**WEEK, option: "subject"}

    assert anna.refused("GET", "/me/calendarView/delta", params=params) == (400, "ErrorInvalidUrlQuery")


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("SyncStateNotFound", 410),
        ("resyncRequired", 410),
        ("syncStateNotFound", 400),
        ("SyncStateInvalid", 400),
    ],
)
def test_a_forgotten_token_asks_for_a_new_round(
    graph: Graph, anna: Person, code: str, status: int
) -> None:
    graph.switch(dead_delta_token=code)
    event_id = hours(anna, 10)[0]
    begun = anna.begin()
    graph.control("POST", "/delta/forget", {"account": anna.email})

    answer = anna.call("GET", begun.link)

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    if status == 410:
        assert ids(anna._followed(answer.headers["location"], "", None)) == [event_id]
    else:
        assert "location" not in answer.headers


def test_only_the_newest_tokens_of_a_chain_are_remembered(anna: Person) -> None:
    links = [anna.begin().link]
    for hour in (10, 11, 12):
        hours(anna, hour)
        links.append(anna.resume(links[-1]).link)

    assert anna.call("GET", links[0]).json()["error"]["message"] == (
        "The sync state generation is not found; generation=1;[highest=4][2][3][4]."
    )
    assert anna.resume(links[1]).rows


def test_the_same_token_gives_the_same_changes_again(anna: Person) -> None:
    begun = anna.begin()
    event_id = hours(anna, 10)[0]

    for _ in range(5):
        assert ids(anna.resume(begun.link)) == [event_id]


def test_a_token_given_out_before_a_later_change_does_not_hide_it(anna: Person) -> None:
    begun = anna.begin()
    first = hours(anna, 10)[0]
    earlier = anna.resume(begun.link)
    second = hours(anna, 11)[0]
    later = anna.resume(begun.link)

    assert (ids(earlier), ids(later)) == ([first], [first, second])
    assert ids(anna.resume(earlier.link)) == [second]
    assert ids(anna.resume(later.link)) == []


def test_what_changes_during_a_round_comes_with_the_next(anna: Person) -> None:
    first, *_ = hours(anna, 9, 10, 11)
    page = anna.call("GET", "/me/calendarView/delta", params=WEEK, headers={"prefer": SMALL}).json()
    anna.patch(f"/me/events/{first}", {"subject": "New"})

    rest = anna.resume(page["@odata.nextLink"])

    assert len(rest.rows) == 1
    assert ids(anna.resume(rest.link)) == [first]


def test_the_chains_of_a_mailbox_are_forgotten_oldest_first(graph: Graph, anna: Person) -> None:
    graph.control("PATCH", "/limits", {"delta_states": 2})
    links = [anna.begin().link for _ in range(3)]

    assert [anna.call("GET", link).status_code for link in links] == [410, 200, 200]


def test_a_token_is_good_for_its_calendar_alone(graph: Graph, anna: Person) -> None:
    other = graph.control("POST", f"/accounts/{anna.email}/calendars", {"name": "Other"})["id"]
    token = anna.begin().link.partition("=")[2]

    there = f"/me/calendars/{other}/calendarView/delta"
    assert anna.refused("GET", there, params={"$deltatoken": token})[0] == 410
    assert anna.refused("GET", there, params={"$deltatoken": "!"}) == (400, "ErrorInvalidUrlQuery")


def test_pages_may_be_empty_and_rows_may_come_twice(graph: Graph, anna: Person) -> None:
    graph.switch(empty_delta_pages=True, delta_repeats_rows=True)
    hours(anna, 10, 11, 12)

    begun = anna.begin()

    assert [len(page) for page in begun.pages] == [0, 5]
    assert len(set(ids(begun))) == 3


def test_an_answer_and_a_cancellation_are_changes_of_the_copies(anna: Person, ben: Person) -> None:
    made = anna.post("/me/events", an_event(attendees=invited(ben.email)))
    own, other = anna.begin(), ben.begin()
    ben.post(f"/me/events/{ben.event_id('Plan')}/accept")
    anna.delete(f"/me/events/{made['id']}")

    rows: list[Any] = ben.resume(other.link).rows

    assert anna.resume(own.link).removed == {made["id"]}
    assert [row["isCancelled"] for row in rows] == [True]


def test_every_spelling_of_the_function_is_known(anna: Person) -> None:
    for name in ("delta", "delta()", "microsoft.graph.delta()"):
        assert anna.call("GET", f"/me/calendarView/{name}", params=WEEK).status_code == 200
