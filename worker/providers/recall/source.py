"""Recall's workspace as a CalendarSource."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import cache
from uuid import UUID

from models.domain.times import rfc3339
from worker.ports import FoundCalendar, FoundEvent, NewCalendar, Page, Unreadable
from worker.providers.recall.calendars import Calendars
from worker.providers.recall.client import EVENTS, LIST, RecallClient
from worker.providers.recall.rows import EmailOf, newest_by_id, read_row


class RecallSource:
    """
    All calendars of one Recall workspace.

    *email_of* finds a calendar's address by Recall's id for it: an event is read through the eyes of
    the calendar's user.
    """

    def __init__(self, client: RecallClient, *, email_of: EmailOf) -> None:
        self._client = client
        self._calendars = Calendars(client)
        self._email_of = email_of

    def calendars(self) -> Iterator[FoundCalendar]:
        """Yield every calendar of the workspace, in no order."""
        return self._calendars.every()

    def calendar(self, external_id: str) -> FoundCalendar:
        """Return one calendar. Raises AlreadyGone when Recall does not know it."""
        return self._calendars.one(external_id)

    def connect(self, new: NewCalendar, *, key: UUID) -> FoundCalendar:
        """
        Create a calendar; *key* makes a repeat within the hour return the same one.

        Source: docs.recall.ai, idempotency.
        """
        return self._calendars.connect(new, key=key)

    def reconnect(self, external_id: str, new: NewCalendar) -> FoundCalendar:
        """Give an existing calendar new credentials; it keeps its id, its events and its bots."""
        return self._calendars.reconnect(external_id, new)

    def disconnect(self, external_id: str) -> None:
        """Remove a calendar and, by Recall's hand, its future bots; one that is gone already is fine."""
        self._calendars.disconnect(external_id)

    def changes(
        self, since: datetime | None, *, calendar: str | None = None, live_only: bool = False
    ) -> Iterator[Page]:
        """
        Yield events changed at or after *since*, page by page; see the port.

        Filters are applied again here: one that Recall does not know may be ignored.
        """
        params: dict[str, str] = {}
        if since is not None:
            params["updated_at__gte"] = rfc3339(since)
        if calendar is not None:
            params["calendar_id"] = calendar
        if live_only:
            params["is_deleted"] = "false"
        pages = self._client.pages(EVENTS, operation="list_events", budget=LIST, params=params)
        email_of = cache(self._email_of)  # a page holds many rows of few calendars
        for rows, served_at in pages:
            found = (read_row(row, email_of=email_of) for row in rows)
            events, unreadable = newest_by_id(
                row for row in found if _was_asked_for(row, calendar, live_only=live_only)
            )
            yield Page(events, unreadable, served_at)


def _was_asked_for(row: FoundEvent | Unreadable, calendar: str | None, *, live_only: bool) -> bool:
    if calendar is not None and row.calendar_ref not in {calendar, None}:
        return False
    return not (live_only and isinstance(row, FoundEvent) and row.event.deleted)
