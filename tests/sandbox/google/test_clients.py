"""Other people's clients against the emulator, unchanged: Google's own for Python, and gcal_sync."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import httplib2  # type: ignore[import-untyped]  # it has no types
import pytest
from gcal_sync.api import GoogleCalendarService, LocalListEventsRequest, SyncEventsRequest
from gcal_sync.auth import AbstractAuth
from gcal_sync.sync import CalendarEventSyncManager, CalendarListSyncManager
from google.auth.exceptions import RefreshError
from google.oauth2.credentials import Credentials
from google_auth_httplib2 import AuthorizedHttp  # type: ignore[import-untyped]  # nor has this
from googleapiclient.discovery import build  # type: ignore[import-untyped]  # nor this
from googleapiclient.errors import HttpError  # type: ignore[import-untyped]  # nor this

from tests.sandbox.google.driving import ANNA, BEN, CLIENT, SCOPES, a_series, an_event
from worker.sandbox.google.app import create_google
from worker.sandbox.google.world import World
from worker.sandbox.server import running

CALENDAR = (SCOPES + "calendar",)


class Served:
    """An emulator on a socket, and tokens for it."""

    def __init__(self, url: str, world: World) -> None:
        self.url, self.world = url, world

    def tokens(self, email: str = ANNA) -> dict[str, Any]:
        account = self.world.oauth.account(email)
        assert account is not None
        return self.world.oauth.mint(account, CLIENT, CALENDAR)

    def http(self, tokens: dict[str, Any]) -> AuthorizedHttp:
        credentials = Credentials(  # type: ignore[no-untyped-call]  # Google left it untyped
            tokens["access_token"],
            refresh_token=tokens["refresh_token"],
            token_uri=f"{self.url}/token",
            client_id=CLIENT.client_id,
            client_secret=CLIENT.client_secret,
        )
        return AuthorizedHttp(credentials, http=httplib2.Http(timeout=10))


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    app = create_google(base_url="http://google.test")
    with running(lambda _: app) as url:
        yield Served(url, app.state.world)


@pytest.fixture(autouse=True)
def _fresh(served: Served) -> None:
    """Empty the emulator and let Anna and Ben in."""
    with httplib2_closed() as http:
        http.request(f"{served.url}/_emulator/reset", "POST", body="{}")
    world = served.world
    world.oauth.add_client(CLIENT)
    for email in (ANNA, BEN):
        world.mailbox(world.oauth.add_account(email))


class httplib2_closed:  # noqa: N801  # reads as what it yields
    """Yield a client of httplib2 and close its connections."""

    def __enter__(self) -> httplib2.Http:
        self.http = httplib2.Http(timeout=10)
        return self.http

    def __exit__(self, *_: object) -> None:
        self.http.close()


@pytest.fixture
def tokens(served: Served) -> dict[str, Any]:
    return served.tokens()


@pytest.fixture
def service(served: Served, tokens: dict[str, Any]) -> Iterator[Any]:
    """Google's client, as documented for another endpoint."""
    http = served.http(tokens)
    made = build(
        "calendar",
        "v3",
        http=http,
        static_discovery=True,
        client_options={"api_endpoint": f"{served.url}/calendar/v3/"},
    )
    yield made
    made.close()


def test_google_s_client_writes_lists_and_syncs(service: Any) -> None:
    events = service.events()
    made = events.insert(calendarId="primary", body=an_event(), conferenceDataVersion=1).execute()
    first = events.list(calendarId="primary", showDeleted=True).execute()

    events.patch(calendarId="primary", eventId=made["id"], body={"summary": "Renamed"}).execute()
    changes = events.list(
        calendarId="primary", showDeleted=True, syncToken=first["nextSyncToken"]
    ).execute()
    events.delete(calendarId="primary", eventId=made["id"]).execute()

    assert [item["summary"] for item in changes["items"]] == ["Renamed"]
    with pytest.raises(HttpError) as gone:
        events.delete(calendarId="primary", eventId=made["id"]).execute()
    assert gone.value.status_code == 410


def test_google_s_client_pages_through_a_list(service: Any) -> None:
    for _ in range(5):
        service.events().insert(calendarId="primary", body=an_event()).execute()

    found = []
    request = service.events().list(calendarId="primary", maxResults=2)
    while request is not None:
        page = request.execute()
        found += page["items"]
        request = service.events().list_next(request, page)

    assert len(found) == 5


def test_google_s_client_opens_and_stops_a_channel(service: Any) -> None:
    body = {"id": "c-1", "type": "web_hook", "address": "http://127.0.0.1:1/", "params": {"ttl": "60"}}

    channel = service.events().watch(calendarId="primary", body=body).execute()

    service.channels().stop(body={"id": "c-1", "resourceId": channel["resourceId"]}).execute()


def test_google_s_client_reads_lists_settings_and_free_busy(service: Any) -> None:
    day = {"timeMin": "2026-11-23T00:00:00Z", "timeMax": "2026-11-24T00:00:00Z"}

    listed = service.calendarList().list().execute()
    busy = service.freebusy().query(body=day | {"items": [{"id": ANNA}]}).execute()

    assert [item["id"] for item in listed["items"]] == [ANNA]
    assert service.settings().get(setting="timezone").execute()["value"] == "UTC"
    assert busy["calendars"] == {ANNA: {"busy": []}}


def test_google_s_client_sends_batches(service: Any, served: Served) -> None:
    service._batch_path = None
    batch = service.new_batch_http_request()
    batch._batch_uri = f"{served.url}/batch/calendar/v3"
    answers: dict[str, Any] = {}
    batch.add(
        service.events().insert(calendarId="primary", body=an_event(id="batch")),
        callback=lambda name, answer, error: answers.update({name: answer or error}),
        request_id="one",
    )
    batch.add(
        service.events().insert(calendarId="primary", body=an_event(id="batch")),
        callback=lambda name, answer, error: answers.update({name: answer or error}),
        request_id="two",
    )

    batch.execute()

    assert answers["one"]["id"] == "batch"
    assert answers["two"].status_code == 409


def test_google_s_client_tries_again_when_told_to(service: Any, served: Served) -> None:
    served.world.faults.order({"reason": "rateLimitExceeded", "times": 1})

    request = service.events().list(calendarId="primary")
    request._sleep = lambda _seconds: None
    listed = request.execute(num_retries=1)

    assert listed["items"] == []


def test_google_s_client_refreshes_what_has_expired(service: Any, served: Served) -> None:
    for family in served.world.oauth.ledger.families:
        served.world.oauth.ledger.drop_access(family)

    listed = service.events().list(calendarId="primary").execute()

    assert listed["items"] == []


def test_google_s_client_notices_that_access_is_gone(service: Any, served: Served) -> None:
    served.world.oauth.forget()

    with pytest.raises(RefreshError, match="invalid_grant"):
        service.events().list(calendarId="primary").execute()


class Auth(AbstractAuth):
    """What gcal_sync asks its users to write."""

    def __init__(self, session: aiohttp.ClientSession, host: str, token: str) -> None:
        super().__init__(session, host)
        self._token = token

    async def async_get_access_token(self) -> str:
        return self._token


def with_gcal_sync(served: Served, story: Callable[[GoogleCalendarService], Awaitable[None]]) -> None:
    """Run *story* with a service of gcal_sync that talks to the emulator."""

    async def told() -> None:
        token = served.tokens()["access_token"]
        async with aiohttp.ClientSession() as session:
            await story(GoogleCalendarService(Auth(session, f"{served.url}/calendar/v3", token)))

    asyncio.run(told())


def window() -> LocalListEventsRequest:
    return LocalListEventsRequest(
        start_time=datetime(2026, 11, 23, tzinfo=UTC), end_time=datetime(2026, 12, 23, tzinfo=UTC)
    )


def test_gcal_sync_follows_changes_and_starts_over_after_a_410(served: Served) -> None:
    world = served.world

    async def story(service: GoogleCalendarService) -> None:
        manager = CalendarEventSyncManager(service, ANNA)

        async def names() -> list[str]:
            await manager.run()
            listed = await manager.store_service.async_list_events(window())
            return sorted(event.summary for event in listed.events)

        await service._auth.post("calendars/primary/events", json=an_event(id="first", summary="A"))
        await service._auth.post("calendars/primary/events", json=a_series("RRULE:FREQ=DAILY;COUNT=2"))
        assert await names() == ["A", "Daily", "Daily"]
        await service.async_patch_event("primary", "first", {"summary": "B"})
        assert await names() == ["B", "Daily", "Daily"]
        world.calendars[ANNA].revision += 1
        world.calendars[ANNA].forgotten_until = world.calendars[ANNA].revision
        await service.async_delete_event("primary", "first")
        assert await names() == ["Daily", "Daily"]

    with_gcal_sync(served, story)

    lists = world.history.request_counts()["events.list"]
    assert lists == {"200": 3, "410": 1}


def test_gcal_sync_reads_short_pages_to_the_end(served: Served) -> None:
    served.world.limits = type(served.world.limits)(page_size_max=2)

    async def story(service: GoogleCalendarService) -> None:
        for number in range(5):
            await service._auth.post("calendars/primary/events", json=an_event(summary=str(number)))
        manager = CalendarEventSyncManager(service, ANNA)
        await manager.run()
        listed = await manager.store_service.async_list_events(window())
        assert len(listed.events) == 5

    try:
        with_gcal_sync(served, story)
    finally:
        served.world.limits = type(served.world.limits)()


def test_gcal_sync_deletes_one_occurrence(served: Served) -> None:
    async def story(service: GoogleCalendarService) -> None:
        await service._auth.post("calendars/primary/events", json=a_series())
        manager = CalendarEventSyncManager(service, ANNA)
        await manager.run()
        events = (await manager.store_service.async_list_events(window())).events
        uid = events[1].ical_uuid
        assert uid is not None

        await manager.store_service.async_delete_event(uid, events[1].id)
        await manager.run()

        left = (await manager.store_service.async_list_events(window())).events
        assert [event.start.value.day for event in left] == [23, 25, 26, 27]

    with_gcal_sync(served, story)


def test_gcal_sync_follows_the_list_of_calendars(served: Served) -> None:
    async def story(service: GoogleCalendarService) -> None:
        manager = CalendarListSyncManager(service)
        await manager.run()
        await service._auth.post("calendars", json={"summary": "Team"})
        await manager.run()
        listed = await manager.store_service.async_list_calendars()
        assert [calendar.summary for calendar in listed.calendars] == [ANNA, "Team"]

    with_gcal_sync(served, story)


def test_gcal_sync_keeps_to_a_window(served: Served) -> None:
    async def story(service: GoogleCalendarService) -> None:
        since = datetime(2026, 11, 1, tzinfo=UTC)
        wish = SyncEventsRequest(
            calendar_id=ANNA, start_time=since, end_time=since + timedelta(days=60)
        )
        manager = CalendarEventSyncManager(service, request_template=wish)
        await service._auth.post("calendars/primary/events", json=an_event())
        await manager.run()
        await manager.run()
        assert len((await manager.store_service.async_list_events(window())).events) == 1

    with_gcal_sync(served, story)
