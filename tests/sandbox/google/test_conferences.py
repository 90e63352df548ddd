"""Google Meet on events: asked for, made a little later, ignored, kept and removed."""

from __future__ import annotations

import pytest

from tests.sandbox.google.driving import (
    Google,
)

EVENTS = "calendars/primary/events"
OWN_ID = "0123456789abcdefghijklmnopqrstuv"


@pytest.fixture
def google() -> Google:
    return Google()


def test_a_conference_is_ignored_without_version_one(google: Google) -> None:
    request = {"createRequest": {"requestId": "r1", "conferenceSolutionKey": {"type": "hangoutsMeet"}}}

    without = google.insert(conferenceData=request)
    with_one = google.insert(conferenceData=request, query={"conferenceDataVersion": 1})

    assert "conferenceData" not in without
    assert with_one["conferenceData"]["createRequest"]["status"] == {"statusCode": "success"}
    assert with_one["conferenceData"]["entryPoints"][0]["uri"] == with_one["hangoutLink"]


def test_a_conference_takes_its_time(google: Google) -> None:
    google.limit(conference_ms=5000)
    request = {"createRequest": {"requestId": "r1", "conferenceSolutionKey": {"type": "hangoutsMeet"}}}

    event = google.insert(conferenceData=request, query={"conferenceDataVersion": 1})
    google.pass_(seconds=5)
    later = google.event(event)

    assert event["conferenceData"]["createRequest"]["status"] == {"statusCode": "pending"}
    assert "hangoutLink" not in event
    assert "hangoutLink" in later


def test_a_conference_may_fail(google: Google) -> None:
    google.switch(conference_requests="failure")
    request = {"createRequest": {"requestId": "r1", "conferenceSolutionKey": {"type": "hangoutsMeet"}}}

    event = google.insert(conferenceData=request, query={"conferenceDataVersion": 1})

    assert event["conferenceData"]["createRequest"]["status"] == {"statusCode": "failure"}
    assert "entryPoints" not in event["conferenceData"]


def test_a_request_id_used_before_is_ignored(google: Google) -> None:
    request = {"createRequest": {"requestId": "r1", "conferenceSolutionKey": {"type": "hangoutsMeet"}}}
    version = {"conferenceDataVersion": 1}
    event = google.insert(conferenceData=request, query=version)

    again = google.patch(event, conferenceData=request, query=version)
    fresh = google.patch(
        event,
        conferenceData={"createRequest": {**request["createRequest"], "requestId": "r2"}},
        query=version,
    )

    assert again["hangoutLink"] == event["hangoutLink"]
    assert fresh["hangoutLink"] != event["hangoutLink"]


def test_a_patch_without_version_keeps_the_conference_and_null_with_one_removes_it(
    google: Google,
) -> None:
    request = {"createRequest": {"requestId": "r1", "conferenceSolutionKey": {"type": "hangoutsMeet"}}}
    event = google.insert(conferenceData=request, query={"conferenceDataVersion": 1})

    kept = google.patch(event, summary="New", conferenceData=None)
    removed = google.patch(event, conferenceData=None, query={"conferenceDataVersion": 1})

    assert "hangoutLink" in kept
    assert "hangoutLink" not in removed
