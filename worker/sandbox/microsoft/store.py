"""All the emulated Graph remembers of mailboxes: who has one, what lies in it, what time it is. No I/O."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime

from worker.sandbox.microsoft.mailbox import Calendar, Item, Mailbox
from worker.sandbox.microsoft.switches import Limits, Switches
from worker.sandbox.microsoft.zones import UTC_ZONE, Zone
from worker.sandbox.oauth.faults import Faults
from worker.sandbox.oauth.flavours import tenant_of
from worker.sandbox.oauth.grants import Account
from worker.sandbox.recall.clock import Agenda, Clock
from worker.sandbox.recall.history import History


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that subscribers may hear of; *change* is created, updated or deleted."""

    change: str
    calendar: Calendar
    ids: tuple[str, str]  # default, immutable
    change_key: str


@dataclass(slots=True)
class Store:
    base_url: str
    clock: Clock
    switches: Switches = field(default_factory=Switches)
    limits: Limits = field(default_factory=Limits)
    random: random.Random = field(default_factory=random.Random)
    agenda: Agenda = field(default_factory=Agenda)
    history: History = field(default_factory=History)
    faults: Faults = field(default_factory=Faults)
    mailboxes: dict[str, Mailbox] = field(default_factory=dict)  # by account id
    copies: dict[str, list[Item]] = field(default_factory=dict)  # of one meeting, by UID
    listeners: list[Callable[[Happening], None]] = field(default_factory=list)
    _by_name: dict[str, Mailbox] = field(default_factory=dict)  # by address and by account id
    _items: int = 0

    def now(self) -> datetime:
        return self.clock.now()

    def open_mailbox(self, account: Account, zone: Zone = UTC_ZONE) -> Mailbox:
        """Return the mailbox of an account, with a default calendar, made on first use."""
        if account.id not in self.mailboxes:
            made = self.mailboxes[account.id] = Mailbox(account, tenant_of(account), zone)
            made.add_calendar("Calendar", is_default=True)
        found = self.mailboxes[account.id]
        found.account = account  # a person may have got another name or address
        self._by_name |= {account.id.lower(): found, account.email.lower(): found}
        return found

    def mailbox_of(self, name: str) -> Mailbox | None:
        """Find a mailbox by address or account id, in any case."""
        return self._by_name.get(name.lower())

    def next_key(self) -> int:
        self._items += 1
        return self._items

    def add(self, item: Item) -> None:
        item.mailbox.place(item, item.calendar)
        self.copies.setdefault(item.uid, []).append(item)
        item.calendar.note(item, "changed")
        self._tell("created", item)

    def touch(self, item: Item, on: date | None = None) -> None:
        """Note that an item, or one occurrence of it, is another than before."""
        self._renew(item)
        item.calendar.note(item, "changed", on)
        self._tell("updated", item, on)

    def touch_series(self, item: Item, on: date) -> None:
        """
        Note that a date was taken out of a series; subscribers hear of the master only.

        Source: microsoft-graph-docs #5520.
        """
        self._renew(item)
        item.calendar.note(item, "occurrence_gone", on)
        self._tell("updated", item)

    def remove(self, item: Item) -> None:
        item.calendar.note(item, "gone")
        self._tell("deleted", item)
        item.mailbox.take_out(item)
        item.is_gone = True
        self.copies[item.uid].remove(item)

    def shift(self, item: Item, calendar: Calendar) -> None:
        """Put an item into another calendar of its mailbox, where it has another default id."""
        item.calendar.note(item, "gone")
        self._tell("deleted", item)
        item.mailbox.take_out(item)
        item.placing += 1
        item.mailbox.place(item, calendar)
        self._renew(item)
        calendar.note(item, "changed")
        self._tell("created", item)

    def tick(self) -> None:
        """Carry out what is due by now."""
        while (due := self.agenda.take(self.now())) is not None:
            due[1]()

    def _renew(self, item: Item) -> None:
        item.version += 1
        item.modified_at = self.now()

    def _tell(self, change: str, item: Item, on: date | None = None) -> None:
        both = (item.id(on), item.id(on, immutable=True))
        for listener in self.listeners:
            listener(Happening(change, item.calendar, both, item.change_key))
