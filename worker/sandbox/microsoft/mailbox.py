"""Mailboxes, their calendars and what lies in them: each attendee's copy of a meeting is an item of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from worker.sandbox.microsoft import ids
from worker.sandbox.microsoft.details import Details, Person
from worker.sandbox.microsoft.recurrence import Recurrence
from worker.sandbox.microsoft.zones import UTC_ZONE, Zone
from worker.sandbox.oauth.flavours import PERSONAL_TENANT
from worker.sandbox.oauth.grants import Account
from worker.sandbox.recall.forms import Json


@dataclass(slots=True, eq=False)
class Item:
    """
    A single event or a series with its exceptions.

    *exceptions* say by original date what differs from the series; *removed_on* are the dates left out.
    """

    key: int
    mailbox: Mailbox = field(repr=False)
    calendar: Calendar = field(repr=False)
    uid: str
    details: Details
    is_organizer: bool
    created_at: datetime
    modified_at: datetime
    recurrence: Recurrence | None = None
    exceptions: dict[date, Mapping[str, Any]] = field(default_factory=dict)
    removed_on: set[date] = field(default_factory=set)
    transaction_id: str | None = None
    properties: dict[str, str] = field(default_factory=dict)  # singleValueExtendedProperties by id
    raw: Json = field(default_factory=dict)  # merge patch over what clients see
    version: int = 1
    placing: int = 0  # how often it changed calendars
    is_gone: bool = False

    def core(self, *, immutable: bool) -> str:
        """Return the middle of its id: a default one also depends on the calendar it lies in."""
        if immutable:
            return ids.core_of(self.mailbox.account.id, self.key)
        return ids.core_of(self.mailbox.account.id, self.calendar.id, self.key, self.placing)

    def id(self, on: date | None = None, *, immutable: bool = False) -> str:
        return ids.item_id(self.core(immutable=immutable), on, immutable=immutable)

    @property
    def change_key(self) -> str:
        return ids.change_key(self.key, self.version)


@dataclass(frozen=True, slots=True)
class Change:
    """
    A line of a calendar's log. *cores* are the default and the immutable one at that time.

    *kind* is changed, gone, or occurrence_gone, which is also a change of the series.
    """

    n: int
    item: Item
    kind: str
    cores: tuple[str, str]
    on: date | None = None


@dataclass(slots=True, eq=False)
class Calendar:
    """A calendar folder. *editors* and *readers* are accounts it is shared with, by id."""

    id: str
    mailbox: Mailbox = field(repr=False)
    name: str
    is_default: bool = False
    color: str = "auto"
    items: dict[int, Item] = field(default_factory=dict)
    log: list[Change] = field(default_factory=list)
    readers: set[str] = field(default_factory=set)
    editors: set[str] = field(default_factory=set)

    def note(self, item: Item, kind: str, on: date | None = None) -> None:
        cores = (item.core(immutable=False), item.core(immutable=True))
        self.log.append(Change(len(self.log) + 1, item, kind, cores, on))


@dataclass(frozen=True, slots=True)
class Posted:
    """What a transactionId stands for: the event made of the first body that carried it."""

    item: Item
    body: Mapping[str, Any]
    at: datetime


@dataclass(slots=True, eq=False)
class Mailbox:
    account: Account
    tenant_id: str
    zone: Zone = UTC_ZONE
    is_enabled: bool = True
    calendars: dict[str, Calendar] = field(default_factory=dict)
    shared: dict[str, Calendar] = field(
        default_factory=dict
    )  # other people's, by the id they have here
    by_core: dict[str, Item] = field(default_factory=dict)
    by_transaction: dict[str, Posted] = field(default_factory=dict)

    @property
    def is_personal(self) -> bool:
        return self.tenant_id == PERSONAL_TENANT

    @property
    def owner(self) -> Person:
        return Person(self.account.email, self.account.name)

    @property
    def default_calendar(self) -> Calendar:
        return next(calendar for calendar in self.calendars.values() if calendar.is_default)

    def add_calendar(self, name: str, *, is_default: bool = False) -> Calendar:
        made = ids.calendar_id(self.account.id, name, len(self.calendars))
        calendar = self.calendars[made] = Calendar(made, self, name, is_default)
        return calendar

    def place(self, item: Item, calendar: Calendar) -> None:
        """Put an item into one of the own calendars; its default id is then found again."""
        item.calendar = calendar
        calendar.items[item.key] = item
        for immutable in (False, True):
            self.by_core[item.core(immutable=immutable)] = item

    def take_out(self, item: Item) -> None:
        del item.calendar.items[item.key]
        for immutable in (False, True):
            self.by_core.pop(item.core(immutable=immutable), None)
