"""Who has an account in a story: their calendars at Google or Microsoft, and what we are to do with them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from models.domain.events import Event
from tests.fakes import FakeAccountCalendars
from worker.errors import CursorGone
from worker.ports_direct import Account, ChannelTaken, OfferedCalendar, OpenChannel, Reading, Window

#: What one entry of a calendar's log is about: events by id, None where one is there no more.
Entry = Mapping[str, Event | None]


@dataclass
class Calendars(FakeAccountCalendars):
    """
    The calendars of one account. `entries` keeps every version of every event, in the order in which
    cursors pass them; `unsaid` are events that are gone without an entry.
    """

    knows_ids: bool = False
    entries: dict[str, list[Entry]] = field(default_factory=lambda: defaultdict(list))
    unsaid: set[str] = field(default_factory=set)
    quiet: set[str] = field(default_factory=set)
    pushes: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _ids: set[UUID] = field(default_factory=set)

    def put(self, event: Event, calendar: str = "") -> None:
        super().put(event, calendar)
        self.entries[calendar].append({event.external_id: event})
        self.unsaid.discard(event.external_id)

    def remove(self, external_id: str, calendar: str = "") -> None:
        super().remove(external_id, calendar)
        self.entries[calendar].append({external_id: None})

    def remove_series(self, series_id: str, calendar: str = "") -> None:
        """Have a whole series no more; all that is said is its own id."""
        gone = [event.external_id for event in self.present(calendar) if event.series_id == series_id]
        for external_id in gone:
            del self._events[calendar][external_id]
        self._log[calendar].append(series_id)
        self.entries[calendar].append(dict.fromkeys(gone))

    def drop(self, external_id: str, calendar: str) -> None:
        """Have an event no more, and let no change say so."""
        del self._events[calendar][external_id]
        self.unsaid.add(external_id)

    def present(self, calendar: str) -> list[Event]:
        """List the events that are there."""
        return list(self._events.get(calendar, {}).values())

    def said_until(self, calendar: str, cursor: str) -> tuple[list[Entry], list[Entry]]:
        """Return what was said before a cursor, and since."""
        at = int(cursor.partition(":")[2])
        return self.entries[calendar][:at], self.entries[calendar][at:]

    def read_changes(
        self, token: str, calendar: str, cursor: str, window: Window, *, email: str | None
    ) -> Iterator[Reading]:
        if not cursor[:1].isdecimal():
            msg = "no cursor of ours"
            raise CursorGone(msg)
        yield from super().read_changes(token, calendar, cursor, window, email=email)

    def open_channel(
        self, token: str, calendar: str, *, channel_id: UUID, secret: str, until: datetime
    ) -> OpenChannel:
        if self.knows_ids and channel_id in self._ids:
            msg = "400 channelIdNotUnique"
            raise ChannelTaken(msg)
        self._ids.add(channel_id)
        return super().open_channel(token, calendar, channel_id=channel_id, secret=secret, until=until)

    def end_channels(self, now: datetime) -> None:
        """Let the channels go whose time is over."""
        for name in [name for name, (_, _, until) in self.channels.items() if until <= now]:
            del self.channels[name]

    def telling(self, calendar: str) -> list[str]:
        """List the channels that tell of changes in a calendar."""
        return [
            name for name in self.channels if self.watched[name] == calendar and name not in self.quiet
        ]


@dataclass(eq=False)
class Holder:
    """
    Somebody with an account.

    `chosen` are the calendars that are to be followed, `wants_us` is False once the user has let go
    of us. `is_busy` while the user is at the API. `lost_at` is when we gave up the consent.
    """

    platform: str
    account: Account
    calendars: Calendars
    chosen: set[str] = field(default_factory=set)
    wants_us: bool = True
    is_busy: bool = False
    lost_at: datetime | None = None

    @property
    def primary(self) -> str:
        return self.calendars.offered[0].external_id

    @property
    def email(self) -> str:
        assert self.account.email is not None
        return self.account.email


def a_holder(platform: str, number: int, *, page_size: int, may_keep_quiet: bool) -> Holder:
    """Make somebody with a calendar of their own and one of a team, both empty."""
    email = f"holder{number}@example.com"
    primary = email if platform == "google" else f"calendar-of-{number}"
    offered = [
        OfferedCalendar(primary, "Calendar", is_primary=True, may_read=True),
        OfferedCalendar(f"team-of-{number}", "Team", is_primary=False, may_read=True),
    ]
    calendars = Calendars(
        offered=offered,
        page_size=page_size,
        renews=platform == "microsoft",
        may_keep_quiet=may_keep_quiet and platform == "microsoft",
        knows_ids=platform == "google",
    )
    return Holder(platform, Account(f"sub-{number}", email), calendars, {primary})
