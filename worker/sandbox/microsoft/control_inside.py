"""Control of what is inside: summary, history, counts, notifications, subscriptions, delta tokens."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice

from worker.sandbox.microsoft.subscriptions import LIFECYCLE_EVENTS, Subscription
from worker.sandbox.microsoft.times import shown_instant
from worker.sandbox.microsoft.world import World
from worker.sandbox.oauth.calls import Action, Asked, Unknown
from worker.sandbox.recall.forms import Json, instant, rendered


@dataclass(frozen=True, slots=True)
class InsideControl:
    world: World

    def actions(self) -> tuple[tuple[str, str, Action], ...]:
        return (
            ("GET", "/state", self.state),
            ("GET", "/history", self.history),
            ("GET", "/requests", lambda _: self.world.store.history.request_counts()),
            ("DELETE", "/requests", self.forget_requests),
            ("GET", "/notifications", self.notifications),
            ("POST", "/notifications/replay", self.replay),
            ("GET", "/subscriptions", self.subscriptions),
            ("POST", "/subscriptions/{id}/lifecycle", self.lifecycle),
            ("POST", "/subscriptions/{id}/silence", self.silence),
            ("DELETE", "/subscriptions/{id}", self.remove),
            ("POST", "/subscriptions/{id}/unauthorize", self.unauthorize),
            ("POST", "/delta/forget", self.forget_tokens),
        )

    def state(self, _asked: Asked) -> object:
        """Summarise in numbers."""
        world, store, pushes = self.world, self.world.store, self.world.announcer.pushes
        now = store.now()
        return {
            "now": rendered(now, with_z=True),
            "clock": "virtual" if store.clock.is_virtual else "real",
            "accounts": len(store.mailboxes),
            "calendars": sum(len(mailbox.calendars) for mailbox in store.mailboxes.values()),
            "items": sum(
                len(calendar.items)
                for each in store.mailboxes.values()
                for calendar in each.calendars.values()
            ),
            "subscriptions": len(world.announcer.subscriptions.alive()),
            "notifications": dict(pushes.counts)
            | {"in_flight": pushes.in_flight, "waiting": pushes.waiting},
            "endpoints": {host: health.state(now) for host, health in pushes.health.items()},
            "delta_rounds": sum(bool(chain.generations) for chain in world.rounds.chains.values()),
            "faults": len(store.faults.orders),
            "history": store.history.count,
            "requests": sum(store.history.requests.values()),
        }

    def history(self, asked: Asked) -> object:
        """List records numbered above `after`, at most `limit` (10000); `kind` keeps kinds that start so."""
        history = self.world.store.history
        records = history.after(asked.number("after", 0), asked.number("limit", 10_000))
        last = records[-1]["n"] if records else asked.number("after", 0)
        if kind := asked.query.get("kind"):
            records = [record for record in records if record["kind"].startswith(kind)]
        return {"records": records, "last": last, "count": history.count}

    def forget_requests(self, _asked: Asked) -> object:
        """Start counting anew."""
        self.world.store.history.requests.clear()
        return {}

    def notifications(self, asked: Asked) -> object:
        """List what endpoints were owed, newest first: `limit` (1000), `state`, `kind`, `subscription`."""
        query = asked.query
        fitting = (
            notice.shown()
            for notice in reversed(self.world.announcer.pushes.notices.values())
            if query.get("state") in (None, notice.state)
            and query.get("kind") in (None, notice.kind)
            and query.get("subscription") in (None, notice.subscription.id)
        )
        return list(islice(fitting, asked.number("limit", 1000)))

    def replay(self, asked: Asked) -> object:
        """Send again: `ns`, or all in `state`, or all since `since`; else everything."""
        body, pushes = asked.body, self.world.announcer.pushes
        since = instant(body["since"]) if body.get("since") else None
        chosen = [
            notice
            for notice in list(pushes.notices.values())
            if (body.get("ns") is None or notice.n in body["ns"])
            and body.get("state") in (None, notice.state)
            and (since is None or notice.created_at >= since)
        ]
        for notice in chosen:
            pushes.replay(notice, self.world.store.now())
        return {"replayed": len(chosen)}

    def subscriptions(self, _asked: Asked) -> object:
        """List all that are alive, silent ones too, with counts of what they were owed."""
        announcer = self.world.announcer
        owed = Counter(notice.subscription.id for notice in announcer.pushes.notices.values())
        return [_shown(each, owed[each.id]) for each in announcer.subscriptions.alive()]

    def lifecycle(self, asked: Asked) -> object:
        """Send a lifecycle notification: `event`; subscriptionRemoved also removes the subscription."""
        event = asked.body["event"]
        if event not in LIFECYCLE_EVENTS:
            raise ValueError(f"event is one of {', '.join(LIFECYCLE_EVENTS)}")
        found = self._found(asked)
        if event == "subscriptionRemoved":
            self.world.announcer.remove(found)
        else:
            self.world.announcer.tell(found, event)
        return {"has_lifecycle_url": found.lifecycle_url is not None}

    def silence(self, asked: Asked) -> object:
        """Let a subscription look alive and send nothing; `silent: false` ends that."""
        found = self._found(asked)
        found.is_silent = bool(asked.body.get("silent", True))
        return _shown(found, 0)

    def remove(self, asked: Asked) -> object:
        """Make a subscription vanish without a word."""
        self.world.announcer.subscriptions.drop(self._found(asked))
        return {}

    def unauthorize(self, asked: Asked) -> object:
        """Let the token behind a subscription end now, or in `in_seconds`."""
        found = self._found(asked)
        span = timedelta(seconds=float(asked.body.get("in_seconds", 0)))
        found.authorized_until = self.world.store.now() + span
        self.world.announcer.plan_notices(found)
        return _shown(found, 0)

    def forget_tokens(self, asked: Asked) -> object:
        """Forget every delta token of `account`, or of everybody."""
        name = asked.body.get("account")
        mailbox = self.world.store.mailbox_of(name) if name else None
        if name and mailbox is None:
            raise Unknown(f"no account {name}")
        return {"forgotten": self.world.rounds.forget(mailbox.account.id if mailbox else None)}

    def _found(self, asked: Asked) -> Subscription:
        for each in self.world.announcer.subscriptions.alive():
            if each.id == asked.path["id"]:
                return each
        raise Unknown(f"no subscription {asked.path['id']}")


def _shown(subscription: Subscription, owed: int) -> Json:
    inside = {
        "account": subscription.mailbox.account.email,
        "authorized_until": shown_instant(subscription.authorized_until),
        "silent": subscription.is_silent,
        "immutable": subscription.immutable,
        "owed": owed,
    }
    return {**subscription.shown(with_state=True), "_emulator": inside}
