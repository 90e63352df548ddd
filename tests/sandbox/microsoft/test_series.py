"""Series: masters, occurrences, exceptions, and what was taken out of them."""

from __future__ import annotations

from tests.sandbox.microsoft.driving import DAILY, WEEK, Graph, Person, an_event, times


def a_series(person: Person, **fields: object) -> tuple[str, list[str]]:
    """Return the id of a daily series that starts on Monday, and those of the week's occurrences."""
    body = {**times("2026-11-23T10:00:00", "2026-11-23T10:30:00"), "recurrence": DAILY, **fields}
    master: str = person.event(**body)["id"]
    return master, [row["id"] for row in person.view()]


def test_lists_show_masters_and_views_show_occurrences(anna: Person) -> None:
    master, days = a_series(anna)
    rows = anna.view()

    assert [row["type"] for row in anna.get("/me/events")["value"]] == ["seriesMaster"]
    assert [row["type"] for row in rows] == ["occurrence"] * 7
    assert {row["seriesMasterId"] for row in rows} == {master}
    assert rows[1]["originalStart"] == "2026-11-24T10:00:00Z"
    assert rows[1]["recurrence"] is None
    assert len(set(days)) == 7


def test_every_occurrence_has_a_uid_of_its_own_that_copies_share(
    graph: Graph, anna: Person, ben: Person
) -> None:
    a_series(anna, attendees=[{"emailAddress": {"address": ben.email}}])

    own, others = ([row["iCalUId"] for row in person.view()] for person in (anna, ben))

    assert own == others
    assert len(set(own)) == 7
    assert own[0][32:40] == "07EA0B17"  # 2026-11-23

    graph.switch(occurrences_share_ical_uid=True)
    assert len({row["iCalUId"] for row in anna.view()}) == 1


def test_the_uid_of_an_event_from_elsewhere_is_kept_and_wrapped_for_its_occurrences(
    graph: Graph, anna: Person
) -> None:
    wish = {"start": "2026-11-23T10:00:00Z", "recurrence": DAILY, "ical_uid": "x@calendar.else.example"}
    made = graph.control("POST", f"/calendars/{anna.email}/events", wish)

    uids = [row["iCalUId"] for row in anna.view()]

    assert made["iCalUId"] == "x@calendar.else.example"
    assert len(set(uids)) == 7
    assert b"x@calendar.else.example".hex().upper() in uids[0]


def test_an_occurrence_that_differs_is_an_exception_and_keeps_its_id(anna: Person) -> None:
    _, days = a_series(anna)

    changed = anna.patch(
        f"/me/events/{days[1]}",
        {"subject": "Other", **times("2026-11-24T15:00:00", "2026-11-24T16:00:00")},
    )

    assert (changed["id"], changed["type"]) == (days[1], "exception")
    assert changed["start"]["dateTime"] == "2026-11-24T15:00:00.0000000"
    assert changed["originalStart"] == "2026-11-24T10:00:00Z"
    assert [row["subject"] for row in anna.view()].count("Plan") == 6


def test_a_change_of_the_series_reaches_what_an_exception_did_not_change(anna: Person) -> None:
    master, days = a_series(anna)
    anna.patch(f"/me/events/{days[1]}", {"subject": "Other"})

    anna.patch(f"/me/events/{master}", {"subject": "New", "location": {"displayName": "Hall"}})

    exception = anna.get(f"/me/events/{days[1]}")
    assert (exception["subject"], exception["location"]["displayName"]) == ("Other", "Hall")


def test_a_new_time_of_the_series_gives_up_its_exceptions(anna: Person) -> None:
    master, days = a_series(anna)
    anna.patch(f"/me/events/{days[1]}", {"subject": "Other"})
    anna.delete(f"/me/events/{days[2]}")

    anna.patch(f"/me/events/{master}", times("2026-11-23T08:00:00", "2026-11-23T08:30:00"))

    rows = anna.view()
    assert {row["type"] for row in rows} == {"occurrence"}
    assert len(rows) == 7


def test_an_occurrence_cannot_reach_the_day_of_its_neighbour(anna: Person) -> None:
    _, days = a_series(anna)
    same_day = times("2026-11-24T23:00:00", "2026-11-24T23:30:00")
    next_day = times("2026-11-25T00:00:00", "2026-11-25T00:30:00")

    assert anna.call("PATCH", f"/me/events/{days[1]}", json=same_day).status_code == 200
    assert anna.refused("PATCH", f"/me/events/{days[1]}", json=next_day) == (
        400,
        "ErrorOccurrenceCrossingBoundary",
    )

    anna.delete(f"/me/events/{days[2]}")
    assert anna.call("PATCH", f"/me/events/{days[1]}", json=next_day).status_code == 200


def test_a_deleted_occurrence_is_gone_and_named_by_its_master_on_request(anna: Person) -> None:
    master, days = a_series(anna)
    anna.patch(f"/me/events/{days[0]}", {"subject": "Other"})
    anna.delete(f"/me/events/{days[1]}")

    found = anna.get(f"/me/events/{master}", _select="cancelledOccurrences,exceptionOccurrences")

    assert anna.refused("GET", f"/me/events/{days[1]}") == (404, "ErrorItemNotFound")
    assert found["cancelledOccurrences"] == [f"OID.{master}.2026-11-24"]
    assert [row["id"] for row in found["exceptionOccurrences"]] == [days[0]]
    assert "cancelledOccurrences" not in anna.get(f"/me/events/{master}")


def test_instances_are_listed_for_a_stretch_of_time(anna: Person) -> None:
    master, days = a_series(anna)
    window = {**WEEK, "endDateTime": "2026-11-25T00:00:00Z"}

    assert [row["id"] for row in anna.get(f"/me/events/{master}/instances", **window)["value"]] == days[
        :2
    ]
    assert anna.refused("GET", f"/me/events/{master}/instances") == (400, "ErrorInvalidParameter")


def test_a_deleted_series_takes_its_occurrences_along(anna: Person) -> None:
    master, days = a_series(anna)

    anna.delete(f"/me/events/{master}")

    assert anna.view() == []
    assert anna.refused("GET", f"/me/events/{days[0]}")[0] == 404


def test_a_series_becomes_a_single_event_and_back(anna: Person) -> None:
    master, _ = a_series(anna)

    single = anna.patch(f"/me/events/{master}", {"recurrence": None})
    assert (single["type"], len(anna.view())) == ("singleInstance", 1)

    series = anna.patch(f"/me/events/{master}", {"recurrence": DAILY})
    assert (series["type"], len(anna.view())) == ("seriesMaster", 7)


def test_an_occurrence_cannot_have_a_pattern(anna: Person) -> None:
    _, days = a_series(anna)

    assert anna.refused("PATCH", f"/me/events/{days[0]}", json={"recurrence": DAILY})[0] == 400


def test_an_all_day_series_stays_on_its_dates_in_every_zone(anna: Person) -> None:
    body = an_event(
        isAllDay=True,
        **times("2026-11-23T00:00:00", "2026-11-24T00:00:00", "Tokyo Standard Time"),
        recurrence=DAILY,
    )
    anna.post("/me/events", body)

    rows = anna.view()

    assert rows[0]["start"]["dateTime"] == "2026-11-23T00:00:00.0000000"
    assert rows[1]["end"]["dateTime"] == "2026-11-25T00:00:00.0000000"


def test_control_finds_an_occurrence_by_its_original_date(graph: Graph, anna: Person) -> None:
    master, days = a_series(anna)

    changed = graph.control("PATCH", f"/events/{master}", {"on": "2026-11-25", "title": "Other"})

    assert (changed["id"], changed["type"]) == (days[2], "exception")
