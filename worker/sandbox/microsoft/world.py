"""The emulated Graph as a whole under one clock, and the loop that lets time pass."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from worker.sandbox.microsoft.announcing import Announcer
from worker.sandbox.microsoft.api_subscriptions import SubscriptionCalls
from worker.sandbox.microsoft.courier import Courier
from worker.sandbox.microsoft.delta import Rounds
from worker.sandbox.microsoft.gate import Gate
from worker.sandbox.microsoft.store import Store
from worker.sandbox.microsoft.subscriptions import Subscriptions
from worker.sandbox.microsoft.surface import Surface
from worker.sandbox.oauth.grants import Account
from worker.sandbox.oauth.server import AuthorizationServer
from worker.sandbox.recall.clock import Clock

LONGEST_NAP_S = 0.25  # nothing waits longer than this for a wake-up call that got lost


@dataclass(slots=True)
class World:
    """Everything behind one base URL; people and tokens are the authorisation server's."""

    base_url: str
    clock: Clock
    server: AuthorizationServer
    store: Store = field(init=False)
    announcer: Announcer = field(init=False)
    courier: Courier = field(init=False)
    rounds: Rounds = field(init=False)
    gate: Gate = field(init=False)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._build(None)
        self.clock.listeners.append(self._woken.set)

    def reset(self, seed: int | None = None) -> None:
        """
        Begin anew: accounts and grants stay, mailboxes are empty, switches and numbers as at first.

        *seed* makes ids and chances repeatable.
        """
        accounts: list[Account] = [mailbox.account for mailbox in self.store.mailboxes.values()]
        pushes = self.announcer.pushes
        pushes.weather = pushes.weather.with_changes({"paused": True})
        self._build(seed)
        for account in accounts:
            self.store.open_mailbox(account)

    def pulse(self) -> None:
        """Carry out what is due and send what is to be sent."""
        self.store.tick()
        self.courier.rouse()

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
            await self.courier.close()

    async def advance(self, seconds: float, *, settle: bool = True) -> None:
        """
        Move the virtual clock, stopping at every instant at which something is due.

        With *settle*, waits at each stop for the notifications of that instant.
        """
        target = self.clock.now() + timedelta(seconds=seconds)
        await self._stop(settle=settle)
        while (due_at := self._next_at(with_pushes=settle)) is not None and due_at <= target:
            self.clock.jump(max(due_at, self.clock.now()))
            await self._stop(settle=settle)
        self.clock.jump(target)
        await self._stop(settle=settle)

    async def _stop(self, *, settle: bool) -> None:
        self.pulse()
        if settle:
            await self.courier.settled()

    def _next_at(self, *, with_pushes: bool = True) -> datetime | None:
        known = [self.store.agenda.next_at, self.courier.next_at if with_pushes else None]
        return min((at for at in known if at is not None), default=None)

    def _nap_s(self) -> float:
        due_at = self._next_at()
        if due_at is None or self.clock.is_virtual:
            return LONGEST_NAP_S
        return min(LONGEST_NAP_S, max(0.001, (due_at - self.clock.now()).total_seconds()))

    def _build(self, seed: int | None) -> None:
        self.store = Store(self.base_url.rstrip("/"), self.clock)
        self.server.history = self.store.history
        if seed is not None:
            self.store.random = random.Random(seed)
        self.announcer = Announcer(self.store, Subscriptions(self.store))
        self.store.listeners.append(self.announcer.announce)
        self.courier = Courier(self.announcer)
        self.rounds = Rounds(self.store)
        calls = SubscriptionCalls(self.announcer, self.courier)
        self.gate = Gate(self.store, Surface(self.rounds, calls), self.server)
