"""All workspaces of one emulator under one clock, and the loop that lets time pass."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from worker.sandbox.recall.clock import Clock
from worker.sandbox.recall.sender import Sender
from worker.sandbox.recall.store import Workspace

LONGEST_NAP_S = 0.25  # nothing waits longer than this for a wake-up call that got lost


@dataclass(slots=True)
class World:
    base_url: str
    clock: Clock
    default_key: str
    workspaces: dict[str, Workspace] = field(default_factory=dict)
    senders: dict[str, Sender] = field(default_factory=dict)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.workspace(self.default_key)
        self.clock.listeners.append(self._woken.set)

    def workspace(self, key: str | None = None) -> Workspace:
        """Return the workspace of a key, made on first use."""
        key = key or self.default_key
        if key not in self.workspaces:
            self._install(Workspace(key, self.base_url, self.clock))
        return self.workspaces[key]

    def reset(self, key: str | None = None, seed: int | None = None) -> Workspace:
        """Empty a workspace; its webhook endpoint stays configured. *seed* makes ids and chances repeatable."""
        before = self.workspace(key)
        fresh = Workspace(before.key, self.base_url, self.clock)
        if seed is not None:
            fresh.random = random.Random(seed)
        fresh.outgoing.configure(before.outgoing.endpoint)
        before.outgoing.endpoint = before.outgoing.endpoint.with_changes({"paused": True})
        self._install(fresh)
        return fresh

    def pulse(self) -> None:
        """Carry out what is due in every workspace and send what is to be sent."""
        for key, ws in list(self.workspaces.items()):
            ws.tick()
            self.senders[key].rouse()

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
            for sender in list(self.senders.values()):
                await sender.close()

    async def advance(self, seconds: float, *, settle: bool = True) -> None:
        """
        Move the virtual clock, stopping at every instant at which something is due.

        With *settle*, waits at each stop for the webhooks of that instant, so that retries keep their
        distances.
        """
        target = self.clock.now() + timedelta(seconds=seconds)
        await self._stop(settle=settle)
        while (due_at := self._next_at(with_webhooks=settle)) is not None and due_at <= target:
            self.clock.jump(max(due_at, self.clock.now()))
            await self._stop(settle=settle)
        self.clock.jump(target)
        await self._stop(settle=settle)

    async def _stop(self, *, settle: bool) -> None:
        self.pulse()
        if settle:
            for sender in list(self.senders.values()):
                await sender.settled()

    def _next_at(self, *, with_webhooks: bool = True) -> datetime | None:
        known = [ws.agenda.next_at for ws in self.workspaces.values()]
        if with_webhooks:
            known += [sender.next_at for sender in self.senders.values()]
        return min((at for at in known if at is not None), default=None)

    def _nap_s(self) -> float:
        due_at = self._next_at()
        if due_at is None or self.clock.is_virtual:
            return LONGEST_NAP_S
        return min(LONGEST_NAP_S, max(0.001, (due_at - self.clock.now()).total_seconds()))

    def _install(self, ws: Workspace) -> None:
        self.workspaces[ws.key] = ws
        self.senders[ws.key] = Sender(ws)
