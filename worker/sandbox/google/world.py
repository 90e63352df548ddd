"""All that one emulated Google holds, under one clock, and the loop that lets time pass."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from worker.sandbox.google.channels import Channels
from worker.sandbox.google.limits import Limits, Quota
from worker.sandbox.google.store import DEFAULT_SETTINGS, CalendarRecord, Entry, EventRow, Mailbox
from worker.sandbox.google.switches import Switches
from worker.sandbox.oauth.faults import Faults
from worker.sandbox.oauth.flavours import GOOGLE
from worker.sandbox.oauth.grants import Account
from worker.sandbox.oauth.server import AuthorizationServer
from worker.sandbox.recall.clock import Agenda, Clock
from worker.sandbox.recall.history import History

LONGEST_NAP_S = 0.25  # nothing waits longer than this for a wake-up call that got lost
BASE32HEX = "0123456789abcdefghijklmnopqrstuv"


@dataclass(slots=True)
class World:
    """State and time. Calendars are found by id; `primary` makes an account's own on first use."""

    base_url: str
    clock: Clock
    chance: random.Random = field(default_factory=random.Random)
    history: History = field(default_factory=History)
    switches: Switches = field(default_factory=Switches)
    limits: Limits = field(default_factory=Limits)
    agenda: Agenda = field(default_factory=Agenda)
    quota: Quota = field(default_factory=Quota)
    calendars: dict[str, CalendarRecord] = field(default_factory=dict)
    mailboxes: dict[str, Mailbox] = field(default_factory=dict)
    copies: dict[str, set[str]] = field(
        default_factory=dict
    )  # event id -> ids of calendars that have it
    groups: dict[str, list[str]] = field(default_factory=dict)
    listings: dict[str, object] = field(default_factory=dict)  # frozen lists that pages are cut from
    acting_client: str | None = None  # whose call is being carried out
    count: int = 0  # numbers rows, versions and whatever else has to differ
    oauth: AuthorizationServer = field(init=False)
    channels: Channels = field(init=False)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.oauth = AuthorizationServer(GOOGLE, self.clock, self.history, self.chance)
        self.channels = Channels(self.clock, self.agenda, self.history, self.chance)
        self.clock.listeners.append(self._woken.set)

    @property
    def faults(self) -> Faults:
        return self.oauth.faults

    def now(self) -> datetime:
        return self.clock.now()

    def next_count(self) -> int:
        self.count += 1
        return self.count

    def mailbox(self, account: Account) -> Mailbox:
        """Return the account's mailbox, made with its primary calendar on first use."""
        mailbox = self.mailboxes.get(account.id)
        if mailbox is None:
            mailbox = self.mailboxes[account.id] = Mailbox(
                account.id, dict(DEFAULT_SETTINGS), account.email
            )
            calendar = CalendarRecord(account.email, account.id, account.email, "UTC", is_primary=True)
            self.install(calendar)
        return mailbox

    def primary(self, account: Account) -> CalendarRecord:
        return self.calendars[self.mailbox(account).primary_id]

    def install(self, calendar: CalendarRecord) -> None:
        """Add a calendar and put it into its owner's list."""
        calendar.updated_at = self.now()
        self.calendars[calendar.id] = calendar
        self.enlist(calendar, self.mailboxes[calendar.owner_id])

    def enlist(self, calendar: CalendarRecord, mailbox: Mailbox) -> Entry:
        """Put a calendar into somebody's list."""
        entry = mailbox.entries.setdefault(calendar.id, Entry(calendar.id, mailbox.account_id, 0))
        entry.is_deleted = False
        self.touch_entry(mailbox, entry)
        return entry

    def touch_entry(self, mailbox: Mailbox, entry: Entry) -> None:
        mailbox.revision += 1
        entry.revision = mailbox.revision
        entry.version = self.next_count()
        self.channels.announce(f"calendarList:{mailbox.account_id}")

    def rows_of(self, event_id: str) -> Iterator[EventRow]:
        """Yield all copies of an event."""
        for calendar_id in sorted(self.copies.get(event_id, ())):
            row = self.calendars[calendar_id].events.get(event_id)
            if row is not None:
                yield row

    def fresh_id(self) -> str:
        return "".join(self.chance.choices(BASE32HEX, k=26))

    def reset(self, seed: int | None = None) -> None:
        """Forget everything but the switches and limits; *seed* makes ids and chances repeatable."""
        if seed is not None:
            self.chance.seed(seed)
        for kept in (self.calendars, self.mailboxes, self.copies, self.groups, self.listings):
            kept.clear()
        while self.agenda.take(datetime.max.replace(tzinfo=UTC)) is not None:
            pass
        self.quota = Quota()
        self.channels.forget()
        self.history = self.channels.history = History()
        self.oauth.forget_all(self.history)

    def pulse(self) -> None:
        """Carry out what is due."""
        while (due := self.agenda.take(self.now())) is not None:
            due[1]()

    def wake(self) -> None:
        self._woken.set()

    async def run(self) -> None:
        """Pulse whenever something is due or somebody calls `wake`, until cancelled."""
        try:
            while True:
                self.pulse()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._nap_s()):
                        await self._woken.wait()
                self._woken.clear()
        finally:
            await self.channels.close()

    async def advance(self, seconds: float, *, settle: bool = True) -> None:
        """
        Move the virtual clock, stopping at every instant at which something is due.

        With *settle*, waits at each stop for the notifications of that instant, so that retries keep their
        distances.
        """
        target = self.now() + timedelta(seconds=seconds)
        await self._stop(settle=settle)
        while (due_at := self.agenda.next_at) is not None and due_at <= target:
            self.clock.jump(max(due_at, self.now()))
            await self._stop(settle=settle)
        self.clock.jump(target)
        await self._stop(settle=settle)

    async def _stop(self, *, settle: bool) -> None:
        self.pulse()
        if settle:
            await self.channels.settled()

    def _nap_s(self) -> float:
        due_at = self.agenda.next_at
        if due_at is None or self.clock.is_virtual:
            return LONGEST_NAP_S
        return min(LONGEST_NAP_S, max(0.001, (due_at - self.now()).total_seconds()))
