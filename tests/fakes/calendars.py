"""A CalendarSource in memory: calendars, events with tombstones, pages, and failures on order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from models.domain.events import Event
from worker.errors import AlreadyGone, Reaction, Refused
from worker.ports import Attachment, FoundCalendar, FoundEvent, NewCalendar, Page, Unreadable

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class _Row:
    calendar_ref: str
    updated_at: datetime
    event: Event
    attachments: tuple[Attachment, ...] = ()


@dataclass(slots=True)
class FakeCalendarSource:
    """
    A workspace that changes only when told: `put_calendar`, `put`, `remove`, `unreadable`.

    `fail` raises once, at the next call or at a page of the next listing. `calls` names every call.
    `now` is the provider's own clock, None when it shows none.
    """

    page_size: int = 100
    now: Callable[[], datetime | None] = lambda: None
    calls: list[str] = field(default_factory=list)
    pages_served: int = 0
    on_page: Callable[[int], None] = lambda _number: None
    _calendars: dict[str, FoundCalendar] = field(default_factory=dict)
    _calendar_by_key: dict[UUID, str] = field(default_factory=dict)
    _rows: dict[str, _Row] = field(default_factory=dict)
    _unreadable: dict[str, Unreadable] = field(default_factory=dict)
    _failures: list[tuple[int, Reaction]] = field(default_factory=list)
    _last: datetime = LONG_AGO

    def put_calendar(
        self, external_id: str, *, email: str | None = None, status: str = "connected"
    ) -> FoundCalendar:
        """Have a calendar, or change it."""
        found = FoundCalendar(external_id, "google_calendar", email, status)
        self._calendars[external_id] = found
        return found

    def lose(
        self, external_id: str, *, status: str = "needs_reauth", reason: str = "invalid_grant"
    ) -> None:
        """Have a calendar lose its authorisation."""
        self._calendars[external_id] = replace(
            self._calendars[external_id], status=status, reason=reason
        )

    def put(
        self,
        calendar_ref: str,
        event: Event,
        *,
        updated_at: datetime | None = None,
        attachments: tuple[Attachment, ...] = (),
    ) -> FoundEvent:
        """Have an event, or change it; every change is later than the one before unless told otherwise."""
        self._last = updated_at or self._last + timedelta(microseconds=1)
        row = _Row(calendar_ref, self._last, event, attachments)
        self._rows[event.external_id] = row
        self._unreadable.pop(event.external_id, None)
        return _found(row)

    def event(self, external_id: str) -> FoundEvent:
        """Return an event as the next listing shows it."""
        return _found(self._rows[external_id])

    def remove(self, external_id: str, *, updated_at: datetime | None = None) -> None:
        """Delete an event: a tombstone stays."""
        row = self._rows[external_id]
        self.put(row.calendar_ref, replace(row.event, deleted=True), updated_at=updated_at)

    def vanish(self, external_id: str) -> None:
        """Have an event leave no trace, as those older than the retention do."""
        del self._rows[external_id]

    def unreadable(self, external_id: str, calendar_ref: str | None, reason: str = "odd") -> None:
        """Have a row that makes no sense."""
        self._last += timedelta(microseconds=1)
        self._unreadable[external_id] = Unreadable(external_id, calendar_ref, reason, self._last)

    def fail(self, reaction: Reaction, *, at_page: int = 0) -> None:
        """Raise once: at the next call, or before page number *at_page* (from 1) of the next listing."""
        self._failures.append((at_page, reaction))

    def calendars(self) -> Iterator[FoundCalendar]:
        self._begin("calendars")
        yield from list(self._calendars.values())

    def calendar(self, external_id: str) -> FoundCalendar:
        self._begin(f"calendar {external_id}")
        return self._known(external_id)

    def connect(self, new: NewCalendar, *, key: UUID) -> FoundCalendar:
        self._begin("connect")
        if key in self._calendar_by_key:
            return self._known(self._calendar_by_key[key])
        if not new.oauth_refresh_token:
            msg = "a calendar without a refresh token"
            raise Refused(msg)
        external_id = str(UUID(int=len(self._calendars) + 1))
        found = FoundCalendar(external_id, new.platform, new.email, "connecting")
        self._calendars[external_id] = found
        self._calendar_by_key[key] = external_id
        return found

    def reconnect(self, external_id: str, new: NewCalendar) -> FoundCalendar:
        self._begin(f"reconnect {external_id}")
        known = self._known(external_id)
        found = replace(known, status="connecting", reason=None, email=new.email or known.email)
        self._calendars[external_id] = found
        return found

    def disconnect(self, external_id: str) -> None:
        self._begin(f"disconnect {external_id}")
        self._calendars.pop(external_id, None)
        self._rows = {
            event_id: row for event_id, row in self._rows.items() if row.calendar_ref != external_id
        }

    def changes(
        self, since: datetime | None, *, calendar: str | None = None, live_only: bool = False
    ) -> Iterator[Page]:
        self._begin(f"changes {calendar or 'workspace'}")
        rows = sorted(
            (
                row
                for row in self._rows.values()
                if (since is None or row.updated_at >= since)
                and calendar in {None, row.calendar_ref}
                and not (live_only and row.event.deleted)
            ),
            key=lambda row: (row.event.start, row.event.external_id),
        )
        odd = tuple(
            row
            for row in self._unreadable.values()
            if calendar in {None, row.calendar_ref}
            and (since is None or (row.updated_at is not None and row.updated_at >= since))
        )
        number = 0
        while number == 0 or rows:
            number += 1
            self._raise_ordered(number)
            self.pages_served += 1
            self.on_page(number)
            page, rows = rows[: self.page_size], rows[self.page_size :]
            events = tuple(_found(row) for row in page)
            yield Page(events, odd if number == 1 else (), self.now())

    def _known(self, external_id: str) -> FoundCalendar:
        if external_id not in self._calendars:
            msg = f"calendar {external_id} is not there"
            raise AlreadyGone(msg)
        return self._calendars[external_id]

    def _begin(self, call: str) -> None:
        self.calls.append(call)
        self._raise_ordered(0)

    def _raise_ordered(self, page: int) -> None:
        for order in self._failures:
            if order[0] == page:
                self._failures.remove(order)
                raise order[1]


def _found(row: _Row) -> FoundEvent:
    return FoundEvent(row.calendar_ref, row.updated_at, row.event, row.attachments)
