"""What the emulated service keeps: calendars, the rows of their events, and who has which calendar listed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from worker.sandbox.google.recurrence import Series
from worker.sandbox.google.times import Moment
from worker.sandbox.recall.forms import Json

ROLES = ("none", "freeBusyReader", "reader", "writerWithoutPrivateAccess", "writer", "owner")

# Fields that all copies of an event share; only its organiser may change them.
# Source: developers.google.com/workspace/calendar/api/concepts/sharing (invitations, private and shared).
SHARED = (
    "summary", "description", "location", "start", "end", "recurrence", "attendees", "conferenceData",
    "hangoutLink", "status", "guestsCanInviteOthers", "guestsCanModify", "guestsCanSeeOtherGuests",
    "anyoneCanAddSelf", "attachments", "endTimeUnspecified",
)  # fmt: skip
# What a field is when it is not there; it is neither kept nor shown then.
DEFAULTS: dict[str, object] = {
    "visibility": "default",
    "transparency": "opaque",
    "guestsCanInviteOthers": True,
    "guestsCanModify": False,
    "guestsCanSeeOtherGuests": True,
    "anyoneCanAddSelf": False,
    "endTimeUnspecified": False,
}


@dataclass(frozen=True, slots=True)
class Person:
    email: str
    name: str = ""


@dataclass(slots=True)
class EventRow:
    """
    One calendar's copy of an event: a single one, a series, or an exception to a series.

    *data* holds what clients may write, in wire form, but for start, end and status. *revision* is the
    calendar's when the row last changed; *version* makes its etag.
    """

    id: str
    calendar_id: str
    number: int
    ical_uid: str
    data: Json
    start: Moment
    end: Moment
    organizer: Person
    creator: Person
    created_at: datetime
    updated_at: datetime
    changed_at: datetime
    status: str = "confirmed"
    sequence: int = 0
    version: int = 0
    revision: int = 0
    series_id: str | None = None
    original: Moment | None = None
    overridden: set[str] = field(
        default_factory=set
    )  # what an exception no longer takes from its series
    is_private_copy: bool = False
    status_before: str = ""  # of an exception that is dropped
    keeps_details: bool = True  # once cancelled
    is_dropped: bool = False  # an exception that its series no longer has, or that has no series
    went_with_series: bool = False  # … because that was deleted
    is_hidden: bool = False  # an invitation whose calendar shows only those answered
    gone: dict[str, tuple[Moment, int]] = field(default_factory=dict)  # instances that ceased: revision
    request_ids: set[str] = field(default_factory=set)  # conferences asked for so far

    @property
    def is_series(self) -> bool:
        return bool(self.data.get("recurrence"))

    @property
    def is_exception(self) -> bool:
        return self.series_id is not None

    @property
    def is_cancelled(self) -> bool:
        return self.status == "cancelled"

    @property
    def etag(self) -> str:
        return f'"{3_500_000_000_000_000 + self.version}"'

    def attendee(self, email: str) -> Json | None:
        wanted = email.lower()
        found: Iterable[Json] = self.data.get("attendees", ())
        return next((each for each in found if each["email"].lower() == wanted), None)

    def series(self, calendar_zone: str) -> Series:
        zone = self.start.zone or calendar_zone
        return Series(self.start, tuple(self.data.get("recurrence", ())), zone)


@dataclass(frozen=True, slots=True)
class Instance:
    """One occurrence of a series that is no exception. *is_gone*: the series does not have it any more."""

    series: EventRow
    original: Moment
    is_gone: bool = False

    @property
    def id(self) -> str:
        return f"{self.series.id}_{self.original.key()}"

    @property
    def start(self) -> Moment:
        return self.original

    @property
    def end(self) -> Moment:
        return self.original.plus(self.series.end.minus(self.series.start))

    @property
    def is_cancelled(self) -> bool:
        return self.is_gone or self.series.is_cancelled


@dataclass(slots=True)
class CalendarRecord:
    id: str
    owner_id: str
    summary: str
    time_zone: str
    is_primary: bool = False
    description: str = ""
    events: dict[str, EventRow] = field(default_factory=dict)
    by_series: dict[str, dict[str, None]] = field(
        default_factory=dict
    )  # series id -> ids of exceptions
    revision: int = 0
    roles: dict[str, str] = field(default_factory=dict)  # account id -> role
    version: int = 1
    forgotten_until: int = 0  # sync tokens older than this revision are dead
    role_changed_at: dict[str, int] = field(default_factory=dict)  # account id -> revision
    updated_at: datetime | None = None
    free_busy_error: str = ""
    is_deleted: bool = False

    @property
    def etag(self) -> str:
        return f'"p{self.version:08d}"'

    def role_of(self, account_id: str) -> str:
        return "owner" if account_id == self.owner_id else self.roles.get(account_id, "none")

    def allows(self, account_id: str, role: str) -> bool:
        return ROLES.index(self.role_of(account_id)) >= ROLES.index(role)

    def exceptions_of(self, series_id: str) -> list[EventRow]:
        rows = (self.events.get(each) for each in self.by_series.get(series_id, ()))
        return [row for row in rows if row is not None]


@dataclass(slots=True)
class Entry:
    """A calendar in somebody's list."""

    calendar_id: str
    account_id: str
    revision: int
    is_hidden: bool = False
    is_selected: bool = True
    is_deleted: bool = False
    summary_override: str = ""
    color_id: str = "14"
    version: int = 1


@dataclass(slots=True)
class Mailbox:
    """What an account has at Google Calendar beside its calendars."""

    account_id: str
    settings: dict[str, str]
    primary_id: str
    entries: dict[str, Entry] = field(default_factory=dict)
    revision: int = 0
    settings_revision: int = 0
    setting_changed_at: dict[str, int] = field(default_factory=dict)
    hides_invitations: bool = False  # only invitations that were answered are shown
    created_calendars: int = 0


DEFAULT_SETTINGS = {
    "autoAddHangouts": "true",
    "dateFieldOrder": "DMY",
    "defaultEventLength": "60",
    "format24HourTime": "true",
    "hideInvitations": "false",
    "hideWeekends": "false",
    "locale": "en",
    "remindOnRespondedEventsOnly": "false",
    "showDeclinedEvents": "true",
    "timezone": "UTC",
    "useKeyboardShortcuts": "true",
    "weekStart": "1",
}
