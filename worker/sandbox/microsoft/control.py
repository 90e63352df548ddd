"""
`/_emulator/`: what no client of Graph can do. Change calendars as their users would, break things, move time.

Bodies and answers are JSON. `/_emulator/oauth/` is the authorisation server's own (see `oauth.control`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta

from starlette.routing import Route

from worker.sandbox.microsoft import faults
from worker.sandbox.microsoft.control_events import EventControl
from worker.sandbox.microsoft.control_inside import InsideControl
from worker.sandbox.microsoft.control_people import PeopleControl
from worker.sandbox.microsoft.switches import with_choices
from worker.sandbox.microsoft.world import World
from worker.sandbox.oauth.calls import Action, Asked, control_routes
from worker.sandbox.recall.forms import instant, rendered
from worker.sandbox.recall.switches import replaced


def routes(world: World) -> list[Route]:
    """List the routes of the control API over *world*."""

    def before() -> None:
        world.store.tick()

    def after() -> None:
        world.wake()

    actions = (
        *Control(world).actions(),
        *InsideControl(world).actions(),
        *PeopleControl(world).actions(),
        *EventControl(world).actions(),
    )
    return control_routes("/_emulator", actions, before=before, after=after)


@dataclass(frozen=True, slots=True)
class Control:
    """Time, switches, numbers, weather and faults."""

    world: World

    def actions(self) -> tuple[tuple[str, str, Action], ...]:
        return (
            ("POST", "/clock", self.set_clock),
            ("GET", "/switches", lambda _: asdict(self.world.store.switches)),
            ("PATCH", "/switches", self.set_switches),
            ("GET", "/limits", lambda _: asdict(self.world.store.limits)),
            ("PATCH", "/limits", self.set_limits),
            ("GET", "/weather", lambda _: asdict(self.world.announcer.pushes.weather)),
            ("PATCH", "/weather", self.set_weather),
            ("GET", "/faults", lambda _: [asdict(each) for each in self.world.store.faults.orders]),
            ("POST", "/faults", self.order_faults),
            ("DELETE", "/faults", self.clear_faults),
            ("POST", "/reset", self.reset),
        )

    async def set_clock(self, asked: Asked) -> object:
        """
        Choose the mode, set or advance the time; advancing delivers the notifications due on the way.

        `ahead_seconds` makes the real clock wrong.
        """
        body, world = asked.body, self.world
        mode = body.get("mode")
        if mode not in (None, "real", "virtual"):
            raise ValueError("mode is real or virtual")
        if "ahead_seconds" in body:
            world.clock.ahead = timedelta(seconds=float(body["ahead_seconds"]))
        if mode == "real" or "ahead_seconds" in body:
            world.clock.jump(None)
        elif mode == "virtual" or "now" in body:
            world.clock.jump(instant(body["now"]) if "now" in body else world.clock.now())
        if seconds := float(body.get("advance_seconds") or 0):
            if not world.clock.is_virtual:
                raise ValueError("only a virtual clock can be advanced; send mode: virtual")
            await world.advance(seconds, settle=bool(body.get("settle", True)))
        return {
            "mode": "virtual" if world.clock.is_virtual else "real",
            "now": rendered(world.clock.now(), with_z=True),
            "ahead_seconds": world.clock.ahead.total_seconds(),
        }

    def set_switches(self, asked: Asked) -> Mapping[str, object]:
        """Flip the switches named and show all."""
        store = self.world.store
        store.switches = with_choices(store.switches, asked.body)
        return asdict(store.switches)

    def set_limits(self, asked: Asked) -> Mapping[str, object]:
        """Change the numbers named and show all."""
        store = self.world.store
        store.limits = replaced(store.limits, asked.body)
        return asdict(store.limits)

    def set_weather(self, asked: Asked) -> Mapping[str, object]:
        """Make delivery of notifications as bad as named and show all; `seed` makes chances repeatable."""
        wish = dict(asked.body)
        if (seed := wish.pop("seed", None)) is not None:
            self.world.store.random.seed(seed)
        pushes = self.world.announcer.pushes
        pushes.weather = pushes.weather.with_changes(wish)
        return asdict(pushes.weather)

    def order_faults(self, asked: Asked) -> object:
        """Order one fault or a list of them."""
        wishes = asked.body if isinstance(asked.body, list) else [asked.body]
        orders = [asdict(faults.order(self.world.store.faults, wish)) for wish in wishes]
        return orders if isinstance(asked.body, list) else orders[0]

    def clear_faults(self, _asked: Asked) -> object:
        """Withdraw all faults."""
        orders = self.world.store.faults.orders
        cleared = len(orders)
        orders.clear()
        return {"cleared": cleared}

    def reset(self, asked: Asked) -> object:
        """Begin anew; accounts and grants stay. `seed` makes ids and chances repeatable."""
        self.world.reset(asked.body.get("seed"))
        return {"accounts": len(self.world.store.mailboxes)}
