"""
`/_emulator/`: what no client of Google can do. Change calendars as users do, break things, move time, look in.

Bodies and answers are JSON. What concerns people, applications and tokens is under `/_emulator/oauth/`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from starlette.routing import Route

from worker.sandbox.google.control_events import EventControl
from worker.sandbox.google.control_people import PeopleControl
from worker.sandbox.google.switches import replaced
from worker.sandbox.google.world import World
from worker.sandbox.oauth.calls import Action, Asked, Unknown, control_routes
from worker.sandbox.recall import switches as plain
from worker.sandbox.recall.forms import instant, rendered


def routes(world: World) -> list[Route]:
    """List the routes of the control API over *world*."""
    control = Control(world)
    actions = (
        *control.actions(),
        *PeopleControl(world).actions(),
        *EventControl(world).actions(),
    )
    return control_routes("/_emulator", actions, before=world.pulse, after=world.wake)


class Control:
    """Time, faults, switches, numbers, push and history."""

    def __init__(self, world: World) -> None:
        self.world = world

    def actions(self) -> tuple[tuple[str, str, Action], ...]:
        return (
            ("GET", "/state", self.state),
            ("POST", "/reset", self.reset),
            ("POST", "/clock", self.set_clock),
            ("GET", "/history", self.history),
            ("GET", "/requests", lambda _: self.world.history.request_counts()),
            ("DELETE", "/requests", self.forget_requests),
            ("GET", "/switches", lambda _: asdict(self.world.switches)),
            ("PATCH", "/switches", self.set_switches),
            ("GET", "/limits", lambda _: asdict(self.world.limits)),
            ("PATCH", "/limits", self.set_limits),
            ("GET", "/faults", lambda _: [asdict(each) for each in self.world.faults.orders]),
            ("POST", "/faults", self.order_fault),
            ("DELETE", "/faults", self.clear_faults),
            ("GET", "/push", lambda _: asdict(self.world.channels.delivery)),
            ("PUT", "/push", lambda asked: self.world.channels.configure(asked.body)),
            ("GET", "/channels", self.channels),
            ("PATCH", "/channels/{id}", self.change_channel),
            ("POST", "/channels/{id}/announce", self.announce),
            ("GET", "/notices", lambda _: [each.shown() for each in self.world.channels.notices]),
        )

    def state(self, _asked: Asked) -> object:
        """Summarise in numbers."""
        world = self.world
        rows = [row for calendar in world.calendars.values() for row in calendar.events.values()]
        now = world.now()
        return {
            "base_url": world.base_url,
            "now": rendered(now, with_z=True),
            "clock": "virtual" if world.clock.is_virtual else "real",
            "accounts": len(world.oauth.accounts),
            "calendars": len(world.calendars),
            "events": dict(Counter(row.status for row in rows)),
            "channels": sum(channel.is_live(now) for channel in world.channels.by_id.values()),
            "notices": dict(Counter(notice.outcome for notice in world.channels.notices)),
            "faults": len(world.faults.orders),
            "history": world.history.count,
            "requests": sum(world.history.requests.values()),
        }

    def reset(self, asked: Asked) -> object:
        """Forget everything but switches and limits; a `seed` makes ids and chances repeatable."""
        self.world.reset(asked.body.get("seed"))
        return {}

    async def set_clock(self, asked: Asked) -> object:
        """
        Choose the mode (real, virtual), set `now` or advance by `advance_seconds`.

        Advancing sends the notifications due on the way. `ahead_seconds` makes the real clock wrong.
        """
        body, clock = asked.body, self.world.clock
        mode = body.get("mode")
        if mode not in (None, "real", "virtual"):
            raise ValueError("mode is real or virtual")
        if "ahead_seconds" in body:
            clock.ahead = timedelta(seconds=float(body["ahead_seconds"]))
        if mode == "real" or "ahead_seconds" in body:
            clock.jump(None)
        elif mode == "virtual" or "now" in body:
            clock.jump(instant(body["now"]) if "now" in body else clock.now())
        if seconds := float(body.get("advance_seconds") or 0):
            if not clock.is_virtual:
                raise ValueError("only a virtual clock can be advanced; send mode: virtual")
            await self.world.advance(seconds, settle=bool(body.get("settle", True)))
        return {
            "mode": "virtual" if clock.is_virtual else "real",
            "now": rendered(clock.now(), with_z=True),
            "ahead_seconds": clock.ahead.total_seconds(),
        }

    def history(self, asked: Asked) -> object:
        """List records numbered above `after`, at most `limit` (10000); `kind` keeps kinds that start so."""
        history = self.world.history
        records = history.after(asked.number("after", 0), asked.number("limit", 10_000))
        last = records[-1]["n"] if records else asked.number("after", 0)
        if kind := asked.query.get("kind"):
            records = [record for record in records if record["kind"].startswith(kind)]
        return {"records": records, "last": last, "count": history.count}

    def forget_requests(self, _asked: Asked) -> object:
        """Start counting anew."""
        self.world.history.requests.clear()
        return {}

    def set_switches(self, asked: Asked) -> object:
        """Flip the switches named and show all."""
        self.world.switches = replaced(self.world.switches, asked.body)
        self.world.channels.unreachable_is_retried = self.world.switches.unreachable_is_retried
        return asdict(self.world.switches)

    def set_limits(self, asked: Asked) -> object:
        """Change the numbers named and show all."""
        self.world.limits = plain.replaced(self.world.limits, asked.body)
        return asdict(self.world.limits)

    def order_fault(self, asked: Asked) -> object:
        """Order one fault or a list of them (see `worker.sandbox.oauth.faults`)."""
        wishes = asked.body if isinstance(asked.body, list) else [asked.body]
        orders = [asdict(self.world.faults.order(wish)) for wish in wishes]
        return orders if isinstance(asked.body, list) else orders[0]

    def clear_faults(self, _asked: Asked) -> object:
        """Withdraw all faults."""
        cleared = len(self.world.faults.orders)
        self.world.faults.orders.clear()
        return {"cleared": cleared}

    def channels(self, _asked: Asked) -> object:
        """List channels, ended ones too."""
        return [self._shown(channel_id) for channel_id in self.world.channels.by_id]

    def change_channel(self, asked: Asked) -> object:
        """Let a channel be silently dead (`dead`), or end at `expires_at`."""
        channel = self.world.channels.by_id.get(asked.path["id"])
        if channel is None:
            raise Unknown(f"no channel {asked.path['id']}")
        if "dead" in asked.body:
            channel.is_dead = bool(asked.body["dead"])
        if "expires_at" in asked.body:
            channel.expires_at = instant(asked.body["expires_at"])
        return self._shown(channel.id)

    def announce(self, asked: Asked) -> object:
        """Send a notification without a change, with `state` (exists) if named."""
        channel = self.world.channels.by_id.get(asked.path["id"])
        if channel is None:
            raise Unknown(f"no channel {asked.path['id']}")
        self.world.channels.announce(channel.watched, asked.body.get("state", "exists"))
        return {}

    def _shown(self, channel_id: str) -> dict[str, Any]:
        channel = self.world.channels.by_id[channel_id]
        return channel.shown() | {
            "address": channel.address,
            "watched": channel.watched,
            "account": self.world.oauth.accounts[channel.account_id].email,
            "live": channel.is_live(self.world.now()),
            "dead": channel.is_dead,
        }
