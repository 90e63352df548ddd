"""Tells us of changes, as Google and Microsoft do: by channel, and not always."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation.accounts.people import Holder
from tests.simulation.provider import HOOK_FAULTS
from webhooks.arrivals import Arrival, Inbox
from webhooks.pushes import _arrival
from worker.channels import read_secret

if TYPE_CHECKING:
    from tests.simulation.accounts.story import AccountsSimulation

#: What says that something changed, by platform.
CHANGED = {"google": "google.exists", "microsoft": "microsoft.changed"}
AGAIN_AFTER_S = 20.0


class Pushes:
    """Carries notifications to the receiver's one statement, for better or worse."""

    def __init__(self, sim: AccountsSimulation) -> None:
        self._sim = sim
        self._inboxes = {
            platform: Inbox(sim.database.receiver, source=platform, notify=False, by_id=True)
            for platform in CHANGED
        }

    def tell(self, holder: Holder, calendar: str, kind: str | None = None) -> None:
        """Send a notification over every channel that watches a calendar."""
        holder.calendars.end_channels(self._sim.now())
        for name in holder.calendars.telling(calendar):
            self._send(holder, name, kind or CHANGED[holder.platform])

    def tell_by(self, holder: Holder, name: str, kind: str) -> None:
        """Send a notification over one channel."""
        self._send(holder, name, kind)

    def close(self) -> None:
        for inbox in self._inboxes.values():
            inbox.close()

    def _send(self, holder: Holder, name: str, kind: str) -> None:
        sim = self._sim
        _, secret, _ = holder.calendars.channels[name]
        mark = read_secret(sim.rt.vault, secret)
        assert mark is not None
        holder.calendars.pushes[name] += 1
        number = holder.calendars.pushes[name]
        # Microsoft's carry nothing that tells a repeat from the next one: each is a message of its own.
        message_id = f"{mark.channel_id.hex}-{number}"
        arrival = _arrival(mark, message_id, kind, b"")
        fault = sim.fault("push", min(0.6, sim.rate * 12), HOOK_FAULTS)
        wait_s = sim.decisions.between("push.latency", 0.005, 0.2)
        if fault == "late":
            wait_s += sim.decisions.between("push.late", 1, 240)
        sim.after(wait_s, lambda: self._deliver(holder.platform, arrival, fault))
        if fault == "doubled":
            again = (
                arrival
                if holder.platform == "google"
                else arrival._replace(message_id=f"{message_id}-again")
            )
            again_s = wait_s + sim.decisions.between("push.again", 0, 30)
            sim.after(again_s, lambda: self._deliver(holder.platform, again, None))

    def _deliver(self, platform: str, arrival: Arrival, fault: str | None) -> None:
        sim = self._sim
        if fault == "lost":
            return
        if fault == "down":
            sim.after(AGAIN_AFTER_S, lambda: self._deliver(platform, arrival, None))
            return
        inbox = self._inboxes[platform]
        stored = sim.provider.receive(inbox, arrival)
        if fault == "unanswered":
            inbox.close()
            sim.after(AGAIN_AFTER_S, lambda: self._deliver(platform, arrival, None))
            return
        sim.provider.acked[arrival.message_id] = sim.now()
        for job in sorted(stored.rings):
            sim.bell.ring(job, None)
