"""A call to Graph as a value: who asks, about whose mailbox, how the answer shall look."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from worker.sandbox.microsoft import ids, refusals
from worker.sandbox.microsoft.mailbox import Calendar, Item, Mailbox
from worker.sandbox.microsoft.store import Store
from worker.sandbox.microsoft.view import Entry, has_occurrence
from worker.sandbox.microsoft.zones import UTC_ZONE, Zone, zone
from worker.sandbox.oauth.grants import Grant

GRAPH = "https://graph.microsoft.com/"
READ = frozenset({"calendars.readbasic", "calendars.read", "calendars.readwrite"})
READ_WHOLE = frozenset({"calendars.read", "calendars.readwrite"})
WRITE = frozenset({"calendars.readwrite"})
READ_SHARED = frozenset({"calendars.read.shared", "calendars.readwrite.shared"})
WRITE_SHARED = frozenset({"calendars.readwrite.shared"})
_PREFERENCE = re.compile(r'([\w.-]+)\s*=\s*(?:"([^"]*)"|([^\s,;]+))')


@dataclass(frozen=True, slots=True)
class Prefer:
    """What the Prefer headers ask for; *applied* is what the answer says was done."""

    zone: Zone | None = None
    immutable: bool = False
    text_body: bool = False
    page_size: int | None = None
    applied: tuple[str, ...] = ()

    @classmethod
    def read(cls, headers: Iterable[str]) -> Prefer:
        """
        Read all Prefer headers; unknown preferences are ignored.

        Raises:
            Refused: a time zone that is none, or a page size below one.
        """
        taken: dict[str, Any] = {}
        applied = []
        for match in _PREFERENCE.finditer(", ".join(headers)):
            name, value = match[1].lower(), match[2] or match[3]
            match name:
                case "outlook.timezone":
                    taken["zone"] = zone(value)
                    if taken["zone"] is None:
                        raise refusals.unknown_zone(value)
                case "idtype":
                    taken["immutable"] = value.lower() == "immutableid"
                case "outlook.body-content-type":
                    taken["text_body"] = value.lower() == "text"
                case "odata.maxpagesize":
                    if not value.isdecimal() or int(value) < 1:
                        raise refusals.invalid_query("odata.maxpagesize is at least 1.")
                    taken["page_size"] = int(value)
                case _:
                    continue
            applied.append(match[0])
        return cls(**taken, applied=tuple(applied))


@dataclass(frozen=True, slots=True)
class Asked:
    """
    One call, authenticated. *mailbox* is the one the path names; *query* has names in lower case.

    *authority* is what links in answers start with, *path* what follows it.
    """

    store: Store
    grant: Grant
    mailbox: Mailbox
    authority: str
    path: str
    token_ends_at: datetime
    params: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    prefer: Prefer = field(default_factory=Prefer)

    @property
    def scopes(self) -> frozenset[str]:
        return frozenset(scope.removeprefix(GRAPH).lower() for scope in self.grant.scopes)

    @property
    def is_own(self) -> bool:
        return self.mailbox.account.id == self.grant.account.id

    def url(self, query: str = "") -> str:
        return f"{self.authority}{self.path}" + (f"?{query}" if query else "")

    def need(self, scopes: frozenset[str]) -> None:
        """Raises Refused: the token has none of *scopes*."""
        if not scopes & self.scopes:
            raise refusals.access_denied()

    def calendar(self, *, to_write: bool = False) -> Calendar:
        """
        Return the calendar of the path, the default one if it names none.

        Raises:
            Refused: there is none, or it is somebody else's and not shared like that.
        """
        wanted = self.params.get("calendar_id")
        if wanted is None:
            return self.checked(self.mailbox.default_calendar, to_write=to_write)
        if ids.taken_apart(wanted) is None:
            raise refusals.malformed_id()
        found = self.mailbox.calendars.get(wanted) or self.mailbox.shared.get(wanted)
        if found is None:
            raise refusals.not_found()
        return self.checked(found, to_write=to_write)

    def checked(self, calendar: Calendar, *, to_write: bool) -> Calendar:
        """Raises Refused: scopes or sharing do not reach so far."""
        reader = self.grant.account.id
        if calendar.mailbox.account.id == reader:
            self.need(WRITE if to_write else READ)
            return calendar
        self.need(WRITE_SHARED if to_write else READ_SHARED)
        if reader not in (calendar.editors if to_write else calendar.readers | calendar.editors):
            raise refusals.access_denied()
        return calendar

    def entry(self, *, to_write: bool = False) -> Entry:
        """
        Return the event of the path, through its calendar if the path names one.

        Raises:
            Refused: malformed, unknown, or lying elsewhere.
        """
        wanted = ids.taken_apart(self.params["event_id"])
        if wanted is None:
            raise refusals.malformed_id()
        item = self._item(wanted.core, to_write=to_write)
        if item is None or item.is_gone:
            raise refusals.not_found()
        if wanted.on is not None and not has_occurrence(item, wanted.on):
            raise refusals.not_found()
        return Entry(item, wanted.on)

    def _item(self, core: str, *, to_write: bool) -> Item | None:
        if "calendar_id" in self.params:
            calendar = self.calendar(to_write=to_write)
            item = calendar.mailbox.by_core.get(core)
            return item if item is not None and item.calendar is calendar else None
        item = self.mailbox.by_core.get(core)
        if item is None and self.store.switches.shared_events_by_id:
            shared = (calendar.mailbox.by_core.get(core) for calendar in self.mailbox.shared.values())
            item = next((each for each in shared if each is not None), None)
        if item is not None:
            self.checked(item.calendar, to_write=to_write)
        else:
            self.need(WRITE if to_write else READ)
        return item

    @property
    def zone_shown(self) -> Zone:
        return self.prefer.zone or UTC_ZONE
