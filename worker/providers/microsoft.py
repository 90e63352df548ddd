"""
Outlook calendars, read through Microsoft Graph with their owner's token: delta rounds, and subscriptions.

A delta round says what changed; of a series of which anything did, every occurrence is read, because
the round shows occurrences as stubs and may keep quiet about a deleted one.

Sources: Graph v1.0, event: delta; List instances; subscription; "Get change notifications"; "Obtain
immutable identifiers"; Outlook service limits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import httpx
import structlog

from models.domain.times import rfc3339
from worker.errors import AlreadyGone, ConsentLost, CursorGone, Reaction, Refused, TryLater
from worker.http import Answer, Count, count_nothing
from worker.ports import Allowance, FoundEvent, Unreadable
from worker.ports_direct import OfferedCalendar, OpenChannel, Reading, Window
from worker.providers.account_api import MOST_PAGES, AccountApi, alone, rows_of, said, segment
from worker.providers.payloads.fields import (
    MAX_ID_CHARS,
    UnreadableEvent,
    instant_at,
    mapping_at,
    text_at,
)
from worker.providers.payloads.microsoft import read_event

log = structlog.get_logger(__name__)

PAGE_SIZE = 100
#: Of so many series or vanished events the truth is asked for one by one; with more, all is read anew.
MOST_ASKED = 50
#: A series is read so much further than the window: a page of a daily one.
BEYOND = timedelta(days=60)
_PREFER = 'IdType="ImmutableId", outlook.timezone="UTC"'
_FIELDS = (
    "id,iCalUId,subject,start,end,isAllDay,isCancelled,organizer,isOrganizer,attendees,responseStatus,"
    "sensitivity,showAs,type,seriesMasterId,onlineMeeting,onlineMeetingUrl,location,locations,body,"
    "bodyPreview,lastModifiedDateTime"
)
#: Spelled in more than one way; compared without regard to case. Source: Graph, "Use delta query".
_CURSOR_CODES = frozenset({"syncstatenotfound", "syncstateinvalid", "resyncrequired"})
_LOST_CODES = frozenset({"erroraccessdenied", "invalidauthenticationtoken", "unauthorized"})
_THROTTLED_WAIT = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class MicrosoftCalendars:
    """The `AccountCalendars` of Microsoft; *notify_url* is where its notifications go."""

    graph_url: str
    http: httpx.Client
    allowance: Allowance
    notify_url: str
    count: Count = count_nothing
    #: A deleted occurrence may appear in no round. Source: microsoft-graph-docs, PR #4501.
    may_keep_quiet: bool = True

    @property
    def _api(self) -> AccountApi:
        return AccountApi(
            "microsoft",
            f"{self.graph_url}/v1.0",
            self.http,
            _reaction,
            self.allowance,
            headers={"Prefer": f"{_PREFER}, odata.maxpagesize={PAGE_SIZE}"},
            count=self.count,
        )

    def calendars(self, token: str) -> Sequence[OfferedCalendar]:
        """List the mailbox's calendars, the default one first."""
        found: list[OfferedCalendar] = []
        params = {"$top": "100", "$select": "id,name,isDefaultCalendar,canViewPrivateItems"}
        for page in self._pages("/me/calendars", token, params, "list_calendars"):
            for row in rows_of(self._api, page, "value", "list_calendars"):
                external_id = text_at(row, "id", max_chars=MAX_ID_CHARS)
                if external_id:
                    is_default = isinstance(row, dict) and row.get("isDefaultCalendar") is True
                    found.append(
                        OfferedCalendar(
                            external_id, text_at(row, "name"), is_primary=is_default, may_read=True
                        )
                    )
        return sorted(found, key=lambda one: not one.is_primary)

    def read_all(
        self, token: str, calendar: str, window: Window, *, email: str | None
    ) -> Iterator[Reading]:
        """
        Read every event of a window; see the port.

        The cursor is made first, and what it shows is left aside: a calendar view shows occurrences
        whole. What changes in between comes with the next round.
        """
        cursor = self._new_cursor(token, calendar, window)
        params = {**_span(window), "$select": _FIELDS, "$top": str(PAGE_SIZE)}
        path = f"{_of(calendar)}/calendarView"
        for page in self._pages(path, token, params, "list_events"):
            yield self._read(calendar, rows_of(self._api, page, "value", "list_events"), email)
        yield Reading(cursor=cursor)

    def read_changes(
        self, token: str, calendar: str, cursor: str, window: Window, *, email: str | None
    ) -> Iterator[Reading]:
        """Read what has changed since a delta link; see the module."""
        if not self._api.is_ours(cursor):
            msg = "microsoft: the cursor is of another host"
            raise CursorGone(msg)
        singles: dict[str, object] = {}
        series: dict[str, None] = {}
        vanished: dict[str, None] = {}
        following = None
        for page in self._pages(cursor, token, {}, "list_changes"):
            following = text_at(page, "@odata.deltaLink") or None
            for row in rows_of(self._api, page, "value", "list_changes"):
                _sort(row, singles, series, vanished)
        if len(series) + len(vanished) > MOST_ASKED:
            msg = f"microsoft: {len(series)} series and {len(vanished)} events changed at once"
            raise CursorGone(msg)
        read = self._read(calendar, list(singles.values()), email)
        yield Reading(read.events, read.unreadable, replaced=alone(read.events))
        for name in series:
            yield from self._series(token, calendar, name, window, email)
        for name in vanished:
            yield from self._vanished(token, calendar, name, window, email)
        yield Reading(cursor=following)

    def open_channel(
        self, token: str, calendar: str, *, channel_id: UUID, secret: str, until: datetime
    ) -> OpenChannel:
        """
        Subscribe to a calendar's events. One that is in the way is ended first: whose it is nobody can
        tell, as Graph shows no client state.
        """
        del channel_id
        body = {
            "changeType": "created,updated,deleted",
            "notificationUrl": self.notify_url,
            "lifecycleNotificationUrl": self.notify_url,  # it cannot be added later
            "resource": f"me/calendars/{calendar}/events",  # as text: nothing is escaped here
            "expirationDateTime": rfc3339(until),
            "clientState": secret,
            "latestSupportedTlsVersion": "v1_2",
        }
        try:
            found = self._subscribe(token, body)
        except _AlreadySubscribed:
            self._end_rivals(token, str(body["resource"]))
            found = self._subscribe(token, body)
        return self._opened(found, until)

    def renew_channel(self, token: str, external_id: str, *, until: datetime) -> OpenChannel | None:
        """Let a subscription live longer, which also gives it a fresh token."""
        found = self._api.ask(
            "PATCH",
            f"/subscriptions/{segment(external_id)}",
            token,
            operation="renew_channel",
            body={"expirationDateTime": rfc3339(until)},
        )
        return self._opened({"id": external_id, **found}, until)

    def close_channel(self, token: str, channel_id: UUID, external_id: str) -> None:
        """End a subscription; one that is gone already is fine."""
        try:
            self._api.ask(
                "DELETE", f"/subscriptions/{segment(external_id)}", token, operation="close_channel"
            )
        except AlreadyGone:
            log.debug("channel_gone_already", channel_id=str(channel_id))

    def _subscribe(self, token: str, body: Mapping[str, object]) -> Mapping[str, object]:
        return self._api.ask("POST", "/subscriptions", token, operation="open_channel", body=body)

    def _end_rivals(self, token: str, resource: str) -> None:
        for page in self._pages("/subscriptions", token, {}, "list_channels"):
            for row in rows_of(self._api, page, "value", "list_channels"):
                is_rival = text_at(row, "resource").strip("/").lower() == resource.lower()
                is_ours = text_at(row, "notificationUrl") == self.notify_url
                if is_rival and is_ours and (external_id := text_at(row, "id")):
                    self.close_channel(token, UUID(int=0), external_id)

    def _opened(self, found: Mapping[str, object], until: datetime) -> OpenChannel:
        external_id = text_at(found, "id", max_chars=MAX_ID_CHARS)
        if not external_id:
            self._api.unreadable("open_channel", "a subscription without an id")
        return OpenChannel(external_id, instant_at(found, "expirationDateTime") or until)

    def _new_cursor(self, token: str, calendar: str, window: Window) -> str | None:
        cursor = None
        path = f"{_of(calendar)}/calendarView/delta"
        for page in self._pages(path, token, _span(window), "begin_changes"):
            cursor = text_at(page, "@odata.deltaLink") or None
        return cursor

    def _series(
        self, token: str, calendar: str, name: str, window: Window, email: str | None
    ) -> Iterator[Reading]:
        """
        Read every occurrence of a series in the window, and some time beyond: one that was moved out of
        it is no deleted one.

        A series that is not to be found proves nothing, as the round has just shown it: then everything
        is read.
        """
        beyond = Window(window.since, window.until + BEYOND)
        params = {**_span(beyond), "$select": _FIELDS, "$top": str(PAGE_SIZE)}
        rows: list[object] = []
        try:
            path = f"{_of(calendar)}/events/{segment(name)}/instances"
            for page in self._pages(path, token, params, "list_series"):
                rows += rows_of(self._api, page, "value", "list_series")
        except (AlreadyGone, Refused) as odd:
            msg = "microsoft: a series that was told of is not there"
            raise CursorGone(msg) from odd
        read = self._read(calendar, rows, email)
        yield Reading(read.events, read.unreadable, replaced=() if read.unreadable else (name,))

    def _vanished(
        self, token: str, calendar: str, name: str, window: Window, email: str | None
    ) -> Iterator[Reading]:
        """
        Find out what became of an event that left the round: it is deleted, or it is elsewhere now.

        Of a series that is elsewhere, what is left in the window is read.

        Source: event: delta, `@removed` (also given for what moved out of the window).
        """
        try:
            row = self._api.ask(
                "GET",
                f"{_of(calendar)}/events/{segment(name)}",
                token,
                operation="get_event",
                params={"$select": _FIELDS},
            )
        except AlreadyGone:
            yield Reading(removed=(name,))
            return
        except Refused as odd:
            msg = "microsoft: an event that was told of cannot be asked for"
            raise CursorGone(msg) from odd
        if text_at(row, "type") == "seriesMaster":
            yield from self._series(token, calendar, name, window, email)
        else:
            read = self._read(calendar, [row], email)
            yield Reading(read.events, read.unreadable, replaced=alone(read.events))

    def _pages(
        self, path: str, token: str, params: Mapping[str, str], operation: str
    ) -> Iterator[Mapping[str, object]]:
        """Yield page after page; the link to the next one is followed as it is, to no other host."""
        seen: set[str] = set()
        asked: Mapping[str, str] | None = params or None
        for _ in range(MOST_PAGES):
            page = self._api.ask("GET", path, token, operation=operation, params=asked)
            yield page
            following = text_at(page, "@odata.nextLink")
            if not following:
                return
            if following in seen:
                self._api.unreadable(operation, "a page that was read already")
            seen.add(following)
            path, asked = following, None
        self._api.unreadable(operation, f"a listing of more than {MOST_PAGES} pages")

    def _read(self, calendar: str, rows: Sequence[object], email: str | None) -> Reading:
        events: dict[str, FoundEvent] = {}
        unreadable: list[Unreadable] = []
        for row in rows:
            external_id = text_at(row, "id", max_chars=MAX_ID_CHARS)
            if not isinstance(row, dict) or not external_id:
                unreadable.append(Unreadable("", calendar, "id is missing"))
                continue
            if text_at(row, "type") == "seriesMaster":
                continue  # its occurrences are the events
            try:
                event = read_event(row, external_id=external_id, calendar_email=email)
            except UnreadableEvent as odd:
                unreadable.append(Unreadable(external_id, calendar, odd.reason))
                continue
            updated_at = instant_at(row, "lastModifiedDateTime") or event.start
            events[external_id] = FoundEvent(calendar, updated_at, event, ())
        return Reading(tuple(events.values()), tuple(unreadable))


class _AlreadySubscribed(Reaction):
    """There is a subscription to the same thing."""


def _sort(
    row: object, singles: dict[str, object], series: dict[str, None], vanished: dict[str, None]
) -> None:
    """Sort a row of a round by what it says; of rows with one id the last one counts."""
    external_id = text_at(row, "id", max_chars=MAX_ID_CHARS)
    singles.pop(external_id, None)
    vanished.pop(external_id, None)
    if mapping_at(row, "@removed") and external_id:
        vanished[external_id] = None
    elif text_at(row, "type") == "seriesMaster":
        series[external_id] = None
    elif master := text_at(row, "seriesMasterId", max_chars=MAX_ID_CHARS):
        series[master] = None
    else:
        singles[external_id] = row


def _of(calendar: str) -> str:
    return f"/me/calendars/{segment(calendar)}"


def _span(window: Window) -> dict[str, str]:
    return {"startDateTime": rfc3339(window.since), "endDateTime": rfc3339(window.until)}


def _reaction(answer: Answer, body: Mapping[str, object], operation: str) -> Reaction:
    error = mapping_at(body, "error")
    code = said(error.get("code"))
    what = f"microsoft {operation}: {answer.status} {code}".strip()
    known = code.lower()
    is_theirs = bool(error)  # a proxy's page proves nothing
    match answer.status:
        case 401:
            return ConsentLost(what)
        case 410 if operation == "list_changes":
            return CursorGone(what)
        case 400 if operation == "list_changes" and is_theirs:
            return CursorGone(what)  # the link is theirs, as it was given
        case _ if known in _CURSOR_CODES:
            return CursorGone(what)
        case 403 if known in _LOST_CODES:
            return ConsentLost(what)
        case 404 | 410 if is_theirs:
            return AlreadyGone(what)
        case 409 if operation == "open_channel":
            return _AlreadySubscribed(what)
        case 429 | 503 | 504:
            wait = answer.retry_after or _THROTTLED_WAIT
            return TryLater(what, after=wait, counts=answer.status != 429, is_definite=True)
        case status if 400 <= status < 500 and status not in {404, 408, 409, 410, 425} and is_theirs:
            return Refused(what)
        case _:
            return TryLater(what, after=answer.retry_after)
