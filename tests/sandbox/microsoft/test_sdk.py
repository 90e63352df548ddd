"""Judged by msgraph-sdk: it drives the emulator unchanged, and its models know all that comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.sandbox.microsoft.driving import DAILY, NOW, Endpoint, Person, invited, times
from tests.sandbox.microsoft.sdk import client_for, lost_in, read_event, strangers_in, written_back

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def run(person: Person, story: Callable[[Any], Awaitable[Any]]) -> Any:
    """Let the library tell *story* to the emulator."""

    async def told() -> Any:
        return await story(client_for(person))

    return asyncio.run(told())


def test_it_reads_the_person_and_the_calendars(anna: Person) -> None:
    me = run(anna, lambda graph: graph.me.get())
    calendars = run(anna, lambda graph: graph.me.calendars.get())
    default = run(anna, lambda graph: graph.me.calendar.get())

    assert me.mail == "anna@corp.example"
    assert [(each.name, each.is_default_calendar, each.can_edit) for each in calendars.value] == [
        ("Calendar", True, True)
    ]
    assert default.id == calendars.value[0].id
    assert strangers_in(me) | strangers_in(calendars) | strangers_in(default) == set()


def test_it_creates_changes_and_deletes_an_event(anna: Person, ben: Person) -> None:
    from msgraph.generated.models.attendee import Attendee
    from msgraph.generated.models.date_time_time_zone import DateTimeTimeZone
    from msgraph.generated.models.email_address import EmailAddress
    from msgraph.generated.models.event import Event
    from msgraph.generated.models.location import Location

    wished = Event(
        subject="Plan",
        start=DateTimeTimeZone(date_time="2026-11-24T10:00:00", time_zone="Pacific Standard Time"),
        end=DateTimeTimeZone(date_time="2026-11-24T11:00:00", time_zone="Pacific Standard Time"),
        attendees=[Attendee(email_address=EmailAddress(address="ben@corp.example"))],
        location=Location(display_name="Room 1"),
        is_online_meeting=True,
        transaction_id="once",
    )
    made = run(anna, lambda graph: graph.me.events.post(wished))
    changed = run(
        anna, lambda graph: graph.me.events.by_event_id(made.id).patch(Event(subject="Plan B"))
    )
    found = run(anna, lambda graph: graph.me.events.by_event_id(made.id).get())
    run(anna, lambda graph: graph.me.events.by_event_id(made.id).delete())
    left = run(anna, lambda graph: graph.me.events.get())

    assert made.start.date_time == "2026-11-24T18:00:00.0000000"
    assert made.online_meeting.join_url.startswith("https://teams.microsoft.com/l/meetup-join/")
    assert (changed.subject, found.subject, left.value) == ("Plan B", "Plan B", [])
    assert strangers_in(made) | strangers_in(changed) | strangers_in(found) == set()


def test_it_pages_through_a_calendar_view(anna: Person) -> None:
    from kiota_abstractions.base_request_configuration import RequestConfiguration
    from msgraph.generated.users.item.calendar_view.calendar_view_request_builder import (
        CalendarViewRequestBuilder,
    )

    for hour in range(10, 15):
        anna.event(**times(f"2026-11-24T{hour}:00:00", f"2026-11-24T{hour}:30:00"), subject=str(hour))
    asked = CalendarViewRequestBuilder.CalendarViewRequestBuilderGetQueryParameters(
        start_date_time="2026-11-24T00:00:00Z",
        end_date_time="2026-11-25T00:00:00Z",
        top=2,
        orderby=["start/dateTime desc"],
    )

    async def story(graph: Any) -> list[Any]:
        page = await graph.me.calendar_view.get(RequestConfiguration(query_parameters=asked))
        rows = list(page.value)
        while page.odata_next_link:
            page = await graph.me.calendar_view.with_url(page.odata_next_link).get()
            rows += page.value
        return rows

    rows = run(anna, story)

    assert [row.subject for row in rows] == ["14", "13", "12", "11", "10"]
    assert strangers_in(rows) == set()


def test_it_follows_delta_over_pages_and_rounds(anna: Person) -> None:
    from kiota_abstractions.base_request_configuration import RequestConfiguration
    from msgraph.generated.users.item.calendar_view.delta.delta_request_builder import (
        DeltaRequestBuilder,
    )

    for hour in range(10, 15):
        anna.event(**times(f"2026-11-24T{hour}:00:00", f"2026-11-24T{hour}:30:00"), subject=str(hour))
    anna.event(subject="Daily", recurrence=DAILY)
    asked = DeltaRequestBuilder.DeltaRequestBuilderGetQueryParameters(
        start_date_time="2026-11-23T00:00:00Z", end_date_time="2026-11-30T00:00:00Z"
    )
    config: RequestConfiguration[Any] = RequestConfiguration(query_parameters=asked)
    config.headers.add("Prefer", "odata.maxpagesize=2")

    async def followed(graph: Any, page: Any) -> tuple[list[Any], str]:
        rows = list(page.value)
        while page.odata_next_link:
            page = await graph.me.calendar_view.delta.with_url(page.odata_next_link).get(config)
            rows += page.value
        return rows, page.odata_delta_link

    async def first(graph: Any) -> tuple[list[Any], str]:
        return await followed(graph, await graph.me.calendar_view.delta.get(config))

    rows, link = run(anna, first)
    anna.delete(f"/me/events/{anna.event_id('12')}")

    async def second(graph: Any) -> tuple[list[Any], str]:
        return await followed(graph, await graph.me.calendar_view.delta.with_url(link).get(config))

    changes, _ = run(anna, second)

    assert [row.type.value for row in rows].count("occurrence") == 7
    assert {row.subject for row in rows if row.subject} == {"10", "11", "12", "13", "14", "Daily"}
    assert [row.additional_data["@removed"] for row in changes] == [{"reason": "deleted"}]
    assert strangers_in(rows) | strangers_in(changes) == set()


def test_it_lists_the_instances_of_a_series_with_an_exception(anna: Person) -> None:
    from kiota_abstractions.base_request_configuration import RequestConfiguration
    from msgraph.generated.users.item.events.item.instances.instances_request_builder import (
        InstancesRequestBuilder,
    )

    master = anna.event(recurrence=DAILY, attendees=invited("ben@corp.example"))
    second = anna.view()[1]
    anna.patch(f"/me/events/{second['id']}", {"subject": "Other"})
    asked = InstancesRequestBuilder.InstancesRequestBuilderGetQueryParameters(
        start_date_time="2026-11-23T00:00:00Z", end_date_time="2026-11-26T00:00:00Z"
    )

    found = run(
        anna,
        lambda graph: graph.me.events.by_event_id(master["id"]).instances.get(
            RequestConfiguration(query_parameters=asked)
        ),
    )

    assert [row.type.value for row in found.value] == ["occurrence", "exception", "occurrence"]
    assert found.value[1].original_start == datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
    assert strangers_in(found) == set()


def test_it_answers_and_cancels_invitations(anna: Person, ben: Person) -> None:
    from msgraph.generated.users.item.events.item.accept.accept_post_request_body import (
        AcceptPostRequestBody,
    )
    from msgraph.generated.users.item.events.item.cancel.cancel_post_request_body import (
        CancelPostRequestBody,
    )

    made = anna.event(attendees=invited("ben@corp.example"))
    copy_id = ben.event_id("Plan")
    run(
        ben,
        lambda graph: graph.me.events.by_event_id(copy_id).accept.post(
            AcceptPostRequestBody(comment="yes", send_response=True)
        ),
    )
    answered = run(anna, lambda graph: graph.me.events.by_event_id(made["id"]).get())
    run(
        anna,
        lambda graph: graph.me.events.by_event_id(made["id"]).cancel.post(
            CancelPostRequestBody(comment="no")
        ),
    )
    copy = run(ben, lambda graph: graph.me.events.by_event_id(copy_id).get())

    assert answered.attendees[0].status.response.value == "accepted"
    assert (copy.is_cancelled, copy.subject) == (True, "Canceled: Plan")
    assert strangers_in(answered) | strangers_in(copy) == set()


def test_it_keeps_subscriptions(anna: Person, endpoint: Endpoint) -> None:
    from msgraph.generated.models.subscription import Subscription

    wished = Subscription(
        change_type="created,updated,deleted",
        notification_url=endpoint.url,
        lifecycle_notification_url=endpoint.url,
        resource="me/events",
        expiration_date_time=NOW + timedelta(days=1),
        client_state="state",
    )
    made = run(anna, lambda graph: graph.subscriptions.post(wished))
    renewed = run(
        anna,
        lambda graph: graph.subscriptions.by_subscription_id(made.id).patch(
            Subscription(expiration_date_time=NOW + timedelta(days=2))
        ),
    )
    run(anna, lambda graph: graph.subscriptions.by_subscription_id(made.id).reauthorize.post())
    listed = run(anna, lambda graph: graph.subscriptions.get())
    run(anna, lambda graph: graph.subscriptions.by_subscription_id(made.id).delete())
    left = run(anna, lambda graph: graph.subscriptions.get())

    assert (made.client_state, made.resource) == ("state", "me/events")
    assert renewed.expiration_date_time == NOW + timedelta(days=2)
    assert ([each.id for each in listed.value], left.value) == ([made.id], [])
    assert strangers_in(made) | strangers_in(renewed) | strangers_in(listed) == set()


def test_it_asks_for_free_and_busy_times(anna: Person, ben: Person) -> None:
    from msgraph.generated.models.date_time_time_zone import DateTimeTimeZone
    from msgraph.generated.users.item.calendar.get_schedule.get_schedule_post_request_body import (
        GetSchedulePostRequestBody,
    )

    ben.event()
    wished = GetSchedulePostRequestBody(
        schedules=["ben@corp.example", "nobody@corp.example"],
        start_time=DateTimeTimeZone(date_time="2026-11-24T09:00:00", time_zone="UTC"),
        end_time=DateTimeTimeZone(date_time="2026-11-24T12:00:00", time_zone="UTC"),
        availability_view_interval=60,
    )

    found = run(anna, lambda graph: graph.me.calendar.get_schedule.post(wished))

    assert [row.availability_view for row in found.value] == ["020", ""]
    assert found.value[1].error.response_code == "ErrorMailRecipientNotFound"
    assert strangers_in(found) == set()


@pytest.mark.parametrize(
    "wish",
    [
        {
            "online": True,
            "attendees": ["ben@corp.example", {"email": "x@else.example", "type": "optional"}],
        },
        {"link": "https://zoom.us/j/1", "private": True, "show_as": "workingElsewhere"},
        {"all_day": True, "start": "2026-11-24"},
        {
            "recurrence": DAILY,
            "time_zone": "Europe/Vienna",
            "custom_zone": True,
            "own_response": "tentative",
        },
        {"organizer": "boss@else.example", "own_response": "declined", "hide_attendees": True},
    ],
)
def test_it_knows_every_property_and_every_value(
    anna: Person, ben: Person, wish: dict[str, object]
) -> None:
    at = {"start": "2026-11-24T10:00:00", **wish}
    anna.graph.control("POST", f"/calendars/{anna.email}/events", at)
    rows = [*anna.view(), *anna.get("/me/events")["value"], *anna.begin().rows, *ben.view()]

    models = [read_event(row) for row in rows]

    assert strangers_in(models) == set()
    assert [lost_in(written_back(model), row) for model, row in zip(models, rows, strict=True)] == [
        set() for _ in rows
    ]


def test_it_understands_a_refusal(anna: Person) -> None:
    from msgraph.generated.models.o_data_errors.o_data_error import ODataError

    made = anna.event()
    anna.delete(f"/me/events/{made['id']}")

    with pytest.raises(ODataError) as caught:
        run(anna, lambda graph: graph.me.events.by_event_id(made["id"]).get())

    error = caught.value.error
    assert error is not None
    assert (error.code, caught.value.response_status_code) == ("ErrorItemNotFound", 404)
    assert error.inner_error is not None
    assert error.inner_error.request_id
    assert strangers_in(error) == set()
