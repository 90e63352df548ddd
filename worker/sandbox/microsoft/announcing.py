"""
Turn what happens into notifications, and the life of subscriptions into lifecycle notifications.

Sources: learn.microsoft.com/graph/api/resources/changenotification,
…/change-notifications-lifecycle-events.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from worker.sandbox.microsoft.pushes import Notice, Pushes
from worker.sandbox.microsoft.store import Happening, Store
from worker.sandbox.microsoft.subscriptions import Subscription, Subscriptions
from worker.sandbox.microsoft.times import shown_instant
from worker.sandbox.recall.forms import Json


@dataclass(slots=True)
class Announcer:
    store: Store
    subscriptions: Subscriptions
    pushes: Pushes = field(default_factory=Pushes)

    def announce(self, happening: Happening) -> None:
        """Owe a notification to every subscription that watches this."""
        switches = self.store.switches
        kinds = [happening.change]
        if happening.change == "created" and switches.create_sends_updated_too:
            kinds.append("updated")
        if happening.change == "updated":
            kinds *= max(1, switches.updates_per_edit)
        for kind in kinds:
            for subscription in list(self.subscriptions.watching(happening.calendar, kind)):
                self._owe(subscription, kind, _changed(self.store, subscription, happening, kind))

    def open(self, subscription: Subscription) -> None:
        """Let a subscription live, whose endpoints have proved themselves."""
        self.subscriptions.add(subscription)
        self.plan_notices(subscription)

    def authorize(self, subscription: Subscription, until: datetime) -> None:
        """Let a subscription be good as long as the token that asks; what was lost meanwhile is told of."""
        subscription.authorized_until = until
        self.plan_notices(subscription)
        if subscription.has_lost:
            subscription.has_lost = False
            if self.store.switches.missed_after_loss:
                self.tell(subscription, "missed")

    def plan_notices(self, subscription: Subscription) -> None:
        """Ask for reauthorisation shortly before the token or the subscription ends, and at the token's end."""
        subscription.notices_due += 1
        if not self.store.switches.notifications_need_live_token:
            return
        end = min(subscription.authorized_until, subscription.expires_at)
        before = timedelta(seconds=self.store.limits.reauthorize_before_s)
        for at in (end - before, end):
            if self.store.now() < at < subscription.expires_at:
                self.store.agenda.add(at, self._challenge(subscription, subscription.notices_due))

    def tell(self, subscription: Subscription, event: str) -> Notice | None:
        """Owe a lifecycle notification, if there is a URL for it."""
        if subscription.lifecycle_url is None or subscription.is_silent:
            return None
        body = {
            "subscriptionId": subscription.id,
            "subscriptionExpirationDateTime": shown_instant(subscription.expires_at),
            "tenantId": subscription.mailbox.tenant_id,
            "clientState": subscription.client_state,
            "lifecycleEvent": event,
        }
        return self._owe(subscription, event, body, is_lifecycle=True)

    def remove(self, subscription: Subscription) -> None:
        """Take a subscription away as the service does; its lifecycle URL hears of it."""
        self.tell(subscription, "subscriptionRemoved")
        self.subscriptions.drop(subscription)

    def fate(self, notice: Notice, now: datetime) -> str:
        """
        Tell what becomes of a notice about to be sent: send, wait, or lost.

        While the token of a subscription is dead, its notifications wait or get lost. What a subscription owed
        that is gone is not sent any more, but for its lifecycle notices.
        """
        subscription = notice.subscription
        if notice.is_lifecycle:
            return "send"
        if not self.subscriptions.has(subscription):
            return "lost"
        if self._is_authorized(subscription):
            return "send"
        is_old = now - notice.created_at >= timedelta(seconds=self.store.limits.retry_for_s)
        if self.store.switches.paused_notifications == "lost" or is_old:
            return "lost"
        return "wait"

    def note_loss(self, notice: Notice) -> None:
        """Remember that a notice was given up; `missed` goes out, at once if the subscription is authorised."""
        subscription = notice.subscription
        if notice.is_lifecycle or not self.subscriptions.has(subscription):
            return
        subscription.has_lost = True
        if self._is_authorized(subscription) and self.store.switches.missed_after_loss:
            subscription.has_lost = False
            self.tell(subscription, "missed")

    def _is_authorized(self, subscription: Subscription) -> bool:
        needs_token = self.store.switches.notifications_need_live_token
        return not needs_token or self.store.now() < subscription.authorized_until

    def _challenge(self, subscription: Subscription, plan: int) -> Callable[[], None]:
        def challenge() -> None:
            if subscription.notices_due == plan and self.subscriptions.has(subscription):
                self.tell(subscription, "reauthorizationRequired")

        return challenge

    def _owe(
        self, subscription: Subscription, kind: str, body: Json, *, is_lifecycle: bool = False
    ) -> Notice:
        store = self.store
        return self.pushes.queue(
            subscription, kind, body, store.now(), store.limits, store.random, is_lifecycle=is_lifecycle
        )


def _changed(store: Store, subscription: Subscription, happening: Happening, kind: str) -> Json:
    """Source: graph/change-notifications-delivery-webhooks, the example of a notification."""
    mailbox = subscription.mailbox
    event_id = happening.ids[subscription.immutable]
    path = f"Users/{mailbox.account.id}/Events/{event_id}"
    seed = f"{subscription.id}|{event_id}|{happening.change_key}|{kind}|{store.random.random()}"
    return {
        "id": hashlib.sha256(seed.encode()).hexdigest()[:22],
        "subscriptionId": subscription.id,
        "subscriptionExpirationDateTime": shown_instant(subscription.expires_at),
        "clientState": subscription.client_state,
        "changeType": kind,
        "resource": path,
        "resourceData": {
            "@odata.type": "#Microsoft.Graph.Event",
            "@odata.id": path,
            "@odata.etag": f'W/"{happening.change_key}"',
            "id": event_id,
        },
        "tenantId": mailbox.tenant_id,
    }
