"""An AccountCalendars in memory: one calendar's events, a cursor over their changes, channels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from models.domain.events import Event
from worker.errors import AlreadyGone, CursorGone, Reaction
from worker.ports import FoundEvent, Unreadable
from worker.ports_direct import ChannelTaken, OfferedCalendar, OpenChannel, Reading, Window

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
PRIMARY = "anna@example.com"


@dataclass(slots=True)
class FakeAccountCalendars:
    """
    Calendars that change only when told: `put`, `remove`, `remove_series`, `spoil`.

    Only those that are *offered* are there. `fail` raises once at the next call. `forget_cursors`
    makes every cursor unknown. `calls` names every call, `tokens` what it was made with. `renews` says
    that channels can be renewed; `watched` is the calendar that each one is about.
    """

    offered: list[OfferedCalendar] = field(
        default_factory=lambda: [OfferedCalendar(PRIMARY, "Anna", is_primary=True, may_read=True)]
    )
    page_size: int = 2
    renews: bool = False
    may_keep_quiet: bool = False
    calls: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    channels: dict[str, tuple[UUID, str, datetime]] = field(default_factory=dict)
    watched: dict[str, str] = field(default_factory=dict)
    _events: dict[str, dict[str, Event]] = field(default_factory=dict)
    _unreadable: dict[str, dict[str, Unreadable]] = field(default_factory=dict)
    _series: dict[str, str] = field(default_factory=dict)
    _log: dict[str, list[str]] = field(default_factory=dict)
    _times_forgotten: int = 0
    _failures: list[Reaction] = field(default_factory=list)

    def put(self, event: Event, calendar: str = PRIMARY) -> None:
        """Have an event, or change it."""
        if event.series_id is not None:
            self._series[event.external_id] = event.series_id
        self._events.setdefault(calendar, {})[event.external_id] = event
        self._unreadable.get(calendar, {}).pop(event.external_id, None)
        self._log.setdefault(calendar, []).append(event.external_id)

    def remove(self, external_id: str, calendar: str = PRIMARY) -> None:
        """Have an event no more."""
        del self._events[calendar][external_id]
        self._log[calendar].append(external_id)

    def remove_series(self, series_id: str, calendar: str = PRIMARY) -> None:
        """Have a series no more; nothing but its own name is told."""
        events = self._events[calendar]
        for name in [one for one, event in events.items() if event.series_id == series_id]:
            del events[name]
        self._log[calendar].append(series_id)

    def spoil(self, external_id: str, calendar: str = PRIMARY) -> None:
        """Have an event's row make no sense."""
        row = Unreadable(external_id, calendar, "start is missing")
        self._unreadable.setdefault(calendar, {})[external_id] = row
        self._log.setdefault(calendar, []).append(external_id)

    def forget_cursors(self) -> None:
        """Know no cursor that was given out until now."""
        self._times_forgotten += 1

    def fail(self, *reactions: Reaction) -> None:
        """Raise these, one a call, before anything happens."""
        self._failures.extend(reactions)

    def calendars(self, token: str) -> Sequence[OfferedCalendar]:
        self._note("calendars", token)
        return sorted(self.offered, key=lambda one: not one.is_primary)

    def read_all(
        self, token: str, calendar: str, window: Window, *, email: str | None
    ) -> Iterator[Reading]:
        del email
        self._note("read_all", token)
        self._check(calendar)
        cursor = self._cursor(calendar)
        found = [event for event in self._events.get(calendar, {}).values() if _is_in(event, window)]
        odd = tuple(self._unreadable.get(calendar, {}).values())
        yield from self._pages(calendar, found)
        yield Reading(unreadable=odd, cursor=cursor)

    def read_changes(
        self, token: str, calendar: str, cursor: str, window: Window, *, email: str | None
    ) -> Iterator[Reading]:
        del email
        self._note("read_changes", token)
        self._check(calendar)
        age, _, since = cursor.partition(":")
        if not since.isdecimal() or age != str(self._times_forgotten):
            msg = "the cursor is too old"
            raise CursorGone(msg)
        touched = dict.fromkeys(self._log.get(calendar, [])[int(since) :])
        following = self._cursor(calendar)  # what changes while this is read comes with the next look
        present, odd = self._events.get(calendar, {}), self._unreadable.get(calendar, {})
        yield from self._pages(calendar, [present[name] for name in touched if name in present])
        for series_id in dict.fromkeys(self._series[name] for name in touched if name in self._series):
            yield self._whole(calendar, series_id, window)
        yield Reading(
            unreadable=tuple(odd[name] for name in touched if name in odd),
            removed=tuple(name for name in touched if name not in present and name not in odd),
            cursor=following,
        )

    def open_channel(
        self, token: str, calendar: str, *, channel_id: UUID, secret: str, until: datetime
    ) -> OpenChannel:
        self._note("open_channel", token)
        self._check(calendar)
        if channel_id in {one for one, _, _ in self.channels.values()}:
            msg = "there is a channel of this id"
            raise ChannelTaken(msg)
        name = f"resource-{len(self.watched) + 1}"
        self.watched[name] = calendar
        self.channels[name] = (channel_id, secret, until)
        return OpenChannel(name, until)

    def renew_channel(self, token: str, external_id: str, *, until: datetime) -> OpenChannel | None:
        self._note("renew_channel", token)
        if not self.renews:
            return None
        if external_id not in self.channels:
            msg = "no such channel"
            raise AlreadyGone(msg)
        channel_id, secret, _ = self.channels[external_id]
        self.channels[external_id] = (channel_id, secret, until)
        return OpenChannel(external_id, until)

    def close_channel(self, token: str, channel_id: UUID, external_id: str) -> None:
        self._note("close_channel", token)
        del channel_id
        self.channels.pop(external_id, None)

    def _pages(self, calendar: str, found: list[Event]) -> Iterator[Reading]:
        odd = self._unreadable.get(calendar, {})
        rows = [_found(calendar, event) for event in found if event.external_id not in odd]
        for at in range(0, len(rows), self.page_size):
            part = tuple(rows[at : at + self.page_size])
            lone = tuple(one.event.external_id for one in part if one.event.series_id is None)
            yield Reading(part, replaced=lone)

    def _whole(self, calendar: str, series_id: str, window: Window) -> Reading:
        """Read a series; one with an occurrence that makes no sense is not whole."""
        odd = self._unreadable.get(calendar, {})
        events = [one for one in self._events[calendar].values() if one.series_id == series_id]
        rows = [_found(calendar, one) for one in events if one.external_id not in odd]
        inside = tuple(row for row in rows if _is_in(row.event, window))
        return Reading(inside, replaced=(series_id,) if len(rows) == len(events) else ())

    def _cursor(self, calendar: str) -> str:
        return f"{self._times_forgotten}:{len(self._log.get(calendar, []))}"

    def _check(self, calendar: str) -> None:
        if calendar not in {one.external_id for one in self.offered}:
            msg = "no such calendar"
            raise AlreadyGone(msg)

    def _note(self, call: str, token: str) -> None:
        self.calls.append(call)
        self.tokens.append(token)
        if self._failures:
            raise self._failures.pop(0)


def _is_in(event: Event, window: Window) -> bool:
    return event.end > window.since and event.start < window.until


def _found(calendar: str, event: Event) -> FoundEvent:
    return FoundEvent(calendar, LONG_AGO + timedelta(seconds=1), event, ())
