"""
Google Calendar, read with its owner's token: full and incremental listings, and push channels.

Sources: Calendar API v3 discovery document; "Synchronize resources efficiently"; "Get push
notifications"; "Handle API errors".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
import structlog

from models.domain.events import EventStatus
from models.domain.times import rfc3339
from worker.errors import (
    AlreadyGone,
    AuthorizationLost,
    ConsentLost,
    CursorGone,
    Reaction,
    Refused,
    TryLater,
)
from worker.http import Answer, Count, count_nothing
from worker.ports import Allowance, FoundEvent, Unreadable
from worker.ports_direct import (
    ChannelTaken,
    OfferedCalendar,
    OpenChannel,
    Reading,
    Window,
)
from worker.providers.account_api import MOST_PAGES, AccountApi, alone, rows_of, said, segment
from worker.providers.payloads.fields import (
    MAX_ID_CHARS,
    UnreadableEvent,
    instant_at,
    mapping_at,
    text_at,
)
from worker.providers.payloads.google import read_event

log = structlog.get_logger(__name__)

#: A page of them stays far below the size of an answer that we read.
PAGE_SIZE = 250
#: Birthdays and working locations are no meetings; the rest may be. They have to be asked for alike
#: with and without a token. Source: events.list, eventTypes; "Manage ... working location events".
EVENT_TYPES = ["default", "fromGmail", "focusTime", "outOfOffice"]
#: Of so many series every occurrence is read after a change; with more, everything is.
MOST_SERIES = 50
#: Without a hint: Google promises no Retry-After. Source: "Handle API errors" (exponential backoff).
QUOTA_WAIT = timedelta(seconds=20)
_READERS = frozenset({"reader", "writerWithoutPrivateAccess", "writer", "owner"})
_RATE_REASONS = frozenset(
    {"rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded", "dailyLimitExceeded"}
)
#: What says that the operator has to change something at Google.
OPERATOR_REASONS = frozenset({"accessNotConfigured", "projectNotLinked", "keyInvalid"})


@dataclass(frozen=True, slots=True)
class GoogleCalendars:
    """The `AccountCalendars` of Google; *notify_url* is where its pushes go."""

    api_url: str
    http: httpx.Client
    allowance: Allowance
    notify_url: str
    count: Count = count_nothing
    #: What a windowed listing's token tells of events that leave the window is not documented. Source:
    #: "Synchronize resources efficiently", which has no more than an example with timeMin.
    may_keep_quiet: bool = True

    @property
    def _api(self) -> AccountApi:
        return AccountApi(
            "google",
            f"{self.api_url}/calendar/v3",
            self.http,
            _reaction,
            self.allowance,
            count=self.count,
        )

    def calendars(self, token: str) -> Sequence[OfferedCalendar]:
        """List the calendars an account can see, its own first; those it may only see busy are marked."""
        found: list[OfferedCalendar] = []
        for page in self._pages(
            "/users/me/calendarList", token, {"maxResults": "250"}, "list_calendars"
        ):
            for row in rows_of(self._api, page, "items", "list_calendars"):
                external_id = text_at(row, "id", max_chars=MAX_ID_CHARS)
                if external_id and not _is_true(row, "deleted"):
                    found.append(
                        OfferedCalendar(
                            external_id,
                            text_at(row, "summaryOverride") or text_at(row, "summary"),
                            is_primary=_is_true(row, "primary"),
                            may_read=text_at(row, "accessRole") in _READERS,
                            zone=text_at(row, "timeZone") or None,
                        )
                    )
        return sorted(found, key=lambda one: not one.is_primary)

    def read_all(
        self, token: str, calendar: str, window: Window, *, email: str | None
    ) -> Iterator[Reading]:
        """Read every event of a window; see the port. The cursor is the last page's sync token."""
        params = {"timeMin": rfc3339(window.since), "timeMax": rfc3339(window.until)}
        for page in self._event_pages(token, calendar, params, "list_events"):
            reading, _ = self._read(calendar, page, email)
            yield reading

    def read_changes(
        self, token: str, calendar: str, cursor: str, window: Window, *, email: str | None
    ) -> Iterator[Reading]:
        """
        Read what has changed since a sync token.

        Of a series of which anything changed, every occurrence is read: which of them a change of the
        series makes come and go is not documented to be told one by one.
        """
        series: dict[str, None] = {}
        following: str | None = None
        singles: set[str] = set()
        for page in self._event_pages(token, calendar, {"syncToken": cursor}, "list_changes"):
            reading, touched = self._read(calendar, page, email)
            series |= dict.fromkeys(touched)
            following = reading.cursor
            lone = alone(reading.events)
            singles.update(lone)
            yield Reading(reading.events, reading.unreadable, reading.removed, lone)
        for name in singles:
            series.pop(name, None)  # it was one, and is none any more
        if len(series) > MOST_SERIES:
            msg = f"google: {len(series)} series changed at once"
            raise CursorGone(msg)
        for name in series:
            yield from self._series(token, calendar, name, window, email)
        yield Reading(cursor=following)

    def open_channel(
        self, token: str, calendar: str, *, channel_id: UUID, secret: str, until: datetime
    ) -> OpenChannel:
        """
        Open a watch channel; raises ChannelTaken when one of this id was opened before.

        The answer says when it really ends. Source: events.watch, Channel.
        """
        found = self._api.ask(
            "POST",
            f"/calendars/{segment(calendar)}/events/watch",
            token,
            operation="open_channel",
            body={
                "id": str(channel_id),
                "type": "web_hook",
                "address": self.notify_url,
                "token": secret,
                "expiration": str(int(until.timestamp() * 1000)),
            },
        )
        resource_id = text_at(found, "resourceId", max_chars=MAX_ID_CHARS)
        if not resource_id:
            self._api.unreadable("open_channel", "a channel without a resource")
        return OpenChannel(resource_id, _expiry(found) or until)

    def renew_channel(self, token: str, external_id: str, *, until: datetime) -> OpenChannel | None:
        """Say that only a new channel lives longer. Source: "Get push notifications", renewal."""
        del token, external_id, until
        return None

    def close_channel(self, token: str, channel_id: UUID, external_id: str) -> None:
        """Stop a channel; one that is gone already is fine."""
        try:
            self._api.ask(
                "POST",
                "/channels/stop",
                token,
                operation="close_channel",
                body={"id": str(channel_id), "resourceId": external_id},
            )
        except AlreadyGone:
            log.debug("channel_gone_already", channel_id=str(channel_id))

    def _series(
        self, token: str, calendar: str, name: str, window: Window, email: str | None
    ) -> Iterator[Reading]:
        """
        Read every occurrence of a series in the window.

        One that is not to be found proves nothing: whoever is invited to one occurrence alone has no
        series, and what was just made may not be found yet. Then everything is read. Source: "Handle
        API errors", 404.
        """
        params = {"timeMin": rfc3339(window.since), "timeMax": rfc3339(window.until)}
        found: list[FoundEvent] = []
        unreadable: list[Unreadable] = []
        try:
            path = f"/calendars/{segment(calendar)}/events/{segment(name)}/instances"
            for page in self._pages(
                path, token, {**params, "maxResults": str(PAGE_SIZE)}, "list_series"
            ):
                reading, _ = self._read(calendar, page, email)
                found += reading.events
                unreadable += reading.unreadable
        except (AlreadyGone, Refused) as odd:
            msg = "google: a series that was told of is not there"
            raise CursorGone(msg) from odd
        yield Reading(tuple(found), tuple(unreadable), replaced=() if unreadable else (name,))

    def _event_pages(
        self, token: str, calendar: str, params: Mapping[str, str], operation: str
    ) -> Iterator[Mapping[str, object]]:
        asked: dict[str, str | list[str]] = {
            "singleEvents": "true",
            "maxResults": str(PAGE_SIZE),
            "eventTypes": EVENT_TYPES,
            **params,
        }
        return self._pages(f"/calendars/{segment(calendar)}/events", token, asked, operation)

    def _pages(
        self, path: str, token: str, params: Mapping[str, str | list[str]], operation: str
    ) -> Iterator[Mapping[str, object]]:
        """Yield page after page: the token of the next one decides, a page may well be empty."""
        position: dict[str, str] = {}
        for _ in range(MOST_PAGES):
            page = self._api.ask("GET", path, token, operation=operation, params={**params, **position})
            yield page
            following = text_at(page, "nextPageToken")
            if not following:
                return
            if position.get("pageToken") == following:
                self._api.unreadable(operation, "a page that was read already")
            position = {"pageToken": following}
        self._api.unreadable(operation, f"a listing of more than {MOST_PAGES} pages")

    def _read(
        self, calendar: str, page: Mapping[str, object], email: str | None
    ) -> tuple[Reading, Iterable[str]]:
        """Read a page, and which series it is about."""
        events: list[FoundEvent] = []
        unreadable: list[Unreadable] = []
        removed: list[str] = []
        series: list[str] = []
        for row in rows_of(self._api, page, "items", "list_events"):
            external_id = text_at(row, "id", max_chars=MAX_ID_CHARS)
            if not isinstance(row, dict) or not external_id:
                unreadable.append(Unreadable("", calendar, "id is missing"))
                continue
            # All that is sure to be there of a cancelled row is its id. Source: Event, `status`.
            if text_at(row, "status") == EventStatus.CANCELLED:
                removed.append(external_id)
                series += [name] if (name := text_at(row, "recurringEventId")) else []
                continue
            try:
                event = read_event(row, external_id=external_id, calendar_email=email)
            except UnreadableEvent as odd:
                unreadable.append(Unreadable(external_id, calendar, odd.reason))
                continue
            series += [event.series_id] if event.series_id is not None else []
            updated_at = instant_at(row, "updated") or event.start
            events.append(FoundEvent(calendar, updated_at, event, ()))
        cursor = text_at(page, "nextSyncToken") or None
        return Reading(tuple(events), tuple(unreadable), tuple(removed), cursor=cursor), series


def _reaction(answer: Answer, body: Mapping[str, object], operation: str) -> Reaction:
    error = mapping_at(body, "error")
    reason = _reason(error)
    what = f"google {operation}: {answer.status} {reason}".strip()
    is_theirs = bool(error)  # a proxy's page proves nothing
    match answer.status:
        case 401:
            return ConsentLost(what)
        case 403 if reason in _RATE_REASONS:
            return _throttled(answer, what)
        case 403 if reason in OPERATOR_REASONS:
            return AuthorizationLost(what)
        case 403 if is_theirs:
            return ConsentLost(what)
        case 404 if is_theirs:
            return AlreadyGone(what)
        case 410 if reason in {"fullSyncRequired", "updatedMinTooLongAgo"}:
            return CursorGone(what)
        case 410 if is_theirs:
            return CursorGone(what) if operation == "list_changes" else AlreadyGone(what)
        case 400 if operation == "list_changes" and is_theirs:
            return CursorGone(what)
        case 400 if reason == "channelIdNotUnique":
            return ChannelTaken(what)
        case 429:
            return _throttled(answer, what)
        case status if 400 <= status < 500 and status not in {403, 404, 408, 410, 425} and is_theirs:
            return Refused(what)
        case _:
            return TryLater(what, after=answer.retry_after)


def _throttled(answer: Answer, what: str) -> TryLater:
    return TryLater(what, after=answer.retry_after or QUOTA_WAIT, counts=False, is_definite=True)


def _reason(error: Mapping[str, object]) -> str:
    """Return the first reason of an error. Source: "Handle API errors" (errors[].reason)."""
    errors = error.get("errors")
    first = errors[0] if isinstance(errors, list) and errors else {}
    return said(first.get("reason")) if isinstance(first, dict) else ""


def _expiry(channel: Mapping[str, object]) -> datetime | None:
    """Read when a channel ends: milliseconds, as text or number."""
    value = channel.get("expiration")
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not text.isdecimal() or len(text) > 14:
        return None
    return datetime.fromtimestamp(int(text) / 1000, UTC)


def _is_true(row: object, name: str) -> bool:
    return isinstance(row, dict) and row.get(name) is True
