"""One authenticated call to the Calendar API as a value, and how its parameters are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from worker.sandbox.google.creating import Options
from worker.sandbox.google.refusals import Refusal
from worker.sandbox.google.store import ROLES, CalendarRecord, EventRow, Instance
from worker.sandbox.google.times import read_instant
from worker.sandbox.google.world import World
from worker.sandbox.oauth.grants import Account, Grant

UPDATES = ("all", "externalOnly", "none")
FREE_BUSY_SCOPE = "https://www.googleapis.com/auth/calendar.events.freebusy"
WHOLE = frozenset(
    "https://www.googleapis.com/auth/" + name
    for name in ("calendar", "calendar.readonly", "calendar.app.created")
)


@dataclass(frozen=True, slots=True)
class Call:
    world: World
    grant: Grant
    path: Mapping[str, str]
    query: Mapping[str, list[str]]
    body: Mapping[str, Any]
    headers: Mapping[str, str]

    @property
    def account(self) -> Account:
        return self.grant.account

    def one(self, name: str) -> str:
        values = self.query.get(name)
        return values[-1] if values else ""

    def many(self, name: str) -> tuple[str, ...]:
        return tuple(self.query.get(name, ()))

    def flag(self, name: str) -> bool:
        """Raises Refusal: neither true nor false."""
        text = self.one(name).lower()
        if text not in ("", "true", "false"):
            raise Refusal("invalid", f"Invalid boolean value: {text}", location=name)
        return text == "true"

    def number(self, name: str, otherwise: int | None, *, least: int = 1) -> int | None:
        """Raises Refusal: no number, or one below *least*."""
        text = self.one(name)
        if not text:
            return otherwise
        try:
            value = int(text)
        except ValueError as error:
            raise Refusal("invalid", f"Invalid integer value: {text}", location=name) from error
        if value < least:
            raise Refusal("invalid", f"Invalid value '{text}'.", location=name)
        return value

    def instant(self, name: str) -> datetime | None:
        return read_instant(self.one(name), name) if self.one(name) else None

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """Raises Refusal: a value that is none of *choices*; "" stands for a missing one."""
        text = self.one(name)
        if text and text not in choices:
            raise Refusal("invalid", f"Invalid string value: {text}", location=name)
        return text

    def options(self) -> Options:
        """Read the parameters of a write; `sendNotifications` is the old name of `sendUpdates`."""
        version = self.number("conferenceDataVersion", 0, least=0)
        updates = self.choice("sendUpdates", UPDATES)
        if not updates:
            updates = "all" if self.flag("sendNotifications") else "none"
        labels = self.number("eventLabelVersion", 0, least=0)
        return Options(version or 0, updates, self.flag("supportsAttachments"), labels or 0)

    def calendar(self, role: str, name: str = "calendarId") -> CalendarRecord:
        """
        Return the calendar that the path names, `primary` being the caller's own.

        Raises:
            Refusal: there is none, the caller must not know of it, or may not do as much as *role* can.
        """
        calendar_id = self.path.get(name) or self.one(name)
        if calendar_id == "primary":
            return self.world.primary(self.account)
        calendar = self.world.calendars.get(calendar_id)
        if calendar is None or calendar.is_deleted or calendar.role_of(self.account.id) == "none":
            raise Refusal("notFound")
        if not calendar.allows(self.account.id, role):
            raise Refusal("requiredAccessLevel")
        return calendar

    def role_in(self, calendar: CalendarRecord) -> str:
        role = calendar.role_of(self.account.id)
        assert role in ROLES
        return role

    def seen_as(self, calendar: CalendarRecord) -> str:
        """Return the role that decides what is shown; a token for free/busy alone shows no more than that."""
        reading = {name for name in self.grant.scopes if "calendar.events" in name or name in WHOLE}
        return "freeBusyReader" if reading == {FREE_BUSY_SCOPE} else self.role_in(calendar)

    def check_match(self, target: EventRow | Instance) -> None:
        """
        Raises Refusal: `If-Match` names another version.

        Source: developers.google.com/workspace/calendar/api/guides/version-resources.
        """
        wanted = self.headers.get("if-match", "")
        if wanted and wanted.strip() not in ("*", etag_of(target)):
            raise Refusal("conditionNotMet", location="If-Match", location_type="header")


def etag_of(target: EventRow | Instance) -> str:
    """Return the version; occurrences have that of their series."""
    return target.etag if isinstance(target, EventRow) else target.series.etag
