"""Payloads nobody should send: read as far as they make sense, refused by one error otherwise."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.domain.events import Event, Response
from tests.providers.payloads.builders import (
    ANNA,
    JSON,
    READERS,
    TIMES,
    Reader,
    a_google_event,
    a_graph_event,
    graph_guest,
    read_google,
    read_graph,
)
from worker.providers.payloads.fields import UnreadableEvent

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
GOOGLE_FIELDS = [*a_google_event(), "conferenceData", "recurrence", "visibility", "location"]
GRAPH_FIELDS = [*a_graph_event(), "@removed", "locations", "location", "body"]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("external_id", ["", " ", None, 7, "a\0b", "\ud800", "a" * 2_000])
def test_an_event_without_a_usable_id_is_unreadable(read: Reader, external_id: Any) -> None:
    with pytest.raises(UnreadableEvent, match="id"):
        read({}, external_id=external_id, calendar_email=ANNA, start=NOON)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("raw", [None, [], "event", 7])
def test_what_is_no_object_is_unreadable(read: Reader, raw: Any) -> None:
    with pytest.raises(UnreadableEvent):
        read(raw, external_id="event-1", calendar_email=ANNA, start=NOON)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    "known",
    [
        {"start": datetime(2026, 11, 23, 12)},
        {"start": datetime(9999, 6, 1, tzinfo=UTC)},
        {"start": datetime.min.replace(tzinfo=UTC)},
        {"start": NOON, "end": datetime.max.replace(tzinfo=UTC)},
    ],
)
def test_times_that_cannot_be_stored_are_unreadable(read: Reader, known: dict[str, Any]) -> None:
    with pytest.raises(UnreadableEvent):
        read({}, external_id="event-1", calendar_email=ANNA, **known)


@pytest.mark.parametrize("read", READERS)
def test_an_empty_payload_is_an_event_when_the_caller_knows_its_start(read: Reader) -> None:
    event = read({}, external_id="event-1", calendar_email=None, start=NOON)

    assert (event.title, event.attendees, event.link) == ("", (), None)


def test_text_is_cleaned_and_cut() -> None:
    titles = ["\0Stand\ud800up \0", "x" * 5_000, 7]

    read = [read_google(a_google_event(summary=title)).title for title in titles]

    assert read == ["Standup", "x" * 1_000, ""]


def test_no_message_of_an_unreadable_event_repeats_the_payload() -> None:
    raw = a_google_event(summary="Merger", start={"dateTime": "Merger"}, description="Merger")

    with pytest.raises(UnreadableEvent) as unreadable:
        read_google(raw)

    assert "Merger" not in str(unreadable.value)
    assert "@" not in str(unreadable.value)


def test_of_ten_thousand_guests_a_thousand_and_the_user_stay() -> None:
    crowd = [{"email": f"guest{number}@acme.test"} for number in range(10_000)]

    event = read_google(
        a_google_event(attendees=[*crowd, {"email": ANNA, "responseStatus": "accepted"}])
    )

    assert len(event.attendees) == 1_000
    assert event.own_response is Response.ACCEPTED


@pytest.mark.parametrize("email", ["", "anna", "@", "a b@acme.test", "a" * 320 + "@acme.test", 7, None])
def test_a_broken_address_is_empty_and_its_answer_still_counts(email: Any) -> None:
    guest = {"email": email, "self": True, "responseStatus": "declined"}

    event = read_google(a_google_event(attendees=[guest]), calendar_email=None)

    assert event.attendees[0].email == ""
    assert event.own_response is Response.DECLINED


def test_five_megabytes_of_description_take_no_time() -> None:
    began = time.perf_counter()

    read_google(a_google_event(hangoutLink=None, description="https://a.b/ &amp;" * 300_000))
    read_graph(a_graph_event(onlineMeeting=None, body={"content": "<a href='" * 500_000}))

    assert time.perf_counter() - began < 1


@pytest.mark.parametrize("field", GOOGLE_FIELDS)
@pytest.mark.parametrize("value", [None, True, 7, 1.5, "x", [], ["x", 7, None], {}, {"x": {}}])
def test_a_google_field_of_the_wrong_type_reads_as_absent(field: str, value: Any) -> None:
    raw = {**a_google_event(), field: value}

    assert_fits(read_google(raw, start=NOON))


@pytest.mark.parametrize("field", GRAPH_FIELDS)
@pytest.mark.parametrize("value", [None, True, 7, 1.5, "x", [], ["x", 7, None], {}, {"x": {}}])
def test_a_graph_field_of_the_wrong_type_reads_as_absent(field: str, value: Any) -> None:
    raw = {**a_graph_event(), field: value}

    assert_fits(read_graph(raw, start=NOON))


def test_a_guest_of_the_wrong_type_hides_no_other() -> None:
    guests: list[object] = [None, 7, [], {"emailAddress": "x"}, graph_guest(ANNA, "accepted")]

    event = read_graph(a_graph_event(attendees=guests, responseStatus=None))

    assert event.own_response is Response.ACCEPTED


def assert_fits(event: Event) -> None:
    """Check what the database and the rules rely on."""
    texts = [event.external_id, event.ical_uid, event.series_id or "", event.title]
    texts += [person.email for person in event.attendees]
    assert all("\0" not in text and text.encode() is not None for text in texts)
    assert event.start < event.end
    assert event.start.tzinfo is UTC
    assert len(event.title) <= 1_000
    assert len(event.attendees) <= 1_000
    assert all(len(person.email) <= 320 for person in event.people())


@pytest.mark.parametrize("read", READERS)
@given(data=st.data())
def test_any_payload_is_an_event_or_unreadable(read: Reader, data: st.DataObject) -> None:
    fields = GOOGLE_FIELDS if read is READERS[0] else GRAPH_FIELDS
    whole = a_google_event() if read is READERS[0] else a_graph_event()
    odd = data.draw(st.dictionaries(st.sampled_from(fields), JSON | TIMES, max_size=6))
    start = data.draw(st.sampled_from([None, NOON]))
    raw = {**(whole if data.draw(st.booleans()) else {}), **odd}

    with suppress(UnreadableEvent):
        assert_fits(
            read(
                raw,
                external_id="event-1",
                calendar_email=data.draw(st.none() | st.text(max_size=12)),
                start=start,
                meeting_url=data.draw(st.none() | st.text(max_size=30)),
                ical_uid=data.draw(st.none() | st.text(max_size=12)),
            )
        )
