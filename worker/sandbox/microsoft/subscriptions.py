"""
Subscriptions: what may be watched, for how long, and what their end looks like. Does no I/O.

Sources: learn.microsoft.com/graph/api/resources/subscription, …/api/subscription-post-subscriptions,
graph/change-notifications-lifecycle-events.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from worker.sandbox.microsoft import refusals
from worker.sandbox.microsoft.mailbox import Calendar, Mailbox
from worker.sandbox.microsoft.store import Store
from worker.sandbox.microsoft.times import instant, shown_instant
from worker.sandbox.recall.forms import Json

CHANGE_TYPES = ("created", "updated", "deleted")
LIFECYCLE_EVENTS = ("reauthorizationRequired", "subscriptionRemoved", "missed")
MOST_STATE_CHARS = 128
_RESOURCE = re.compile(
    r"/?(?:me|users/(?P<user>[^/]+))(?:/calendars/(?P<calendar>[^/]+)|/calendar)?/events/?",
    re.IGNORECASE,
)
# Known to the metadata; anything else is no property of a subscription.
KNOWN = frozenset({
    "id", "changeType", "notificationUrl", "lifecycleNotificationUrl", "resource", "expirationDateTime",
    "clientState", "latestSupportedTlsVersion", "applicationId", "creatorId", "includeResourceData",
    "encryptionCertificate", "encryptionCertificateId", "notificationQueryOptions", "notificationUrlAppId",
    "vapidPublicKey", "webPushEncryptionP256dhPublicKey", "webPushEncryptionSecret",
})  # fmt: skip


@dataclass(slots=True, eq=False)
class Subscription:
    """*calendar* None watches the whole mailbox. A silent one looks alive and sends nothing."""

    id: str
    client_id: str
    creator_id: str
    mailbox: Mailbox
    resource: str
    change_types: frozenset[str]
    change_type: str
    url: str
    expires_at: datetime
    authorized_until: datetime
    calendar: Calendar | None = None
    lifecycle_url: str | None = None
    client_state: str | None = None
    tls_version: str = "v1_2"
    immutable: bool = False
    is_silent: bool = False
    has_lost: bool = False  # … notifications since it was last authorised
    notices_due: int = 0  # a newer plan of lifecycle notices makes an older void

    def shown(self, *, with_state: bool) -> Json:
        return {
            "id": self.id,
            "resource": self.resource,
            "applicationId": self.client_id,
            "changeType": self.change_type,
            "clientState": self.client_state if with_state else None,
            "notificationUrl": self.url,
            "notificationQueryOptions": None,
            "lifecycleNotificationUrl": self.lifecycle_url,
            "expirationDateTime": shown_instant(self.expires_at),
            "creatorId": self.creator_id,
            "includeResourceData": None,
            "latestSupportedTlsVersion": self.tls_version,
            "encryptionCertificate": None,
            "encryptionCertificateId": None,
            "notificationUrlAppId": None,
        }

    def watches(self, calendar: Calendar, change: str) -> bool:
        return self.calendar in (None, calendar) and change in self.change_types


@dataclass(slots=True)
class Subscriptions:
    """All that were made and not ended; those that expired are left out."""

    store: Store
    _by_mailbox: dict[str, dict[str, Subscription]] = field(default_factory=dict)

    def add(self, subscription: Subscription) -> None:
        self._by_mailbox.setdefault(subscription.mailbox.account.id, {})[subscription.id] = subscription

    def drop(self, subscription: Subscription) -> None:
        self._by_mailbox.get(subscription.mailbox.account.id, {}).pop(subscription.id, None)

    def has(self, subscription: Subscription) -> bool:
        return subscription in self.on(subscription.mailbox)

    def on(self, mailbox: Mailbox) -> list[Subscription]:
        """List those of a mailbox, of all applications."""
        now = self.store.now()
        own = self._by_mailbox.get(mailbox.account.id, {})
        return [each for each in own.values() if each.expires_at > now]

    def alive(self) -> list[Subscription]:
        return [each for mailbox in self.store.mailboxes.values() for each in self.on(mailbox)]

    def of(self, client_id: str, mailbox: Mailbox) -> list[Subscription]:
        """List those that an application made for the owner of a mailbox."""
        return [each for each in self.on(mailbox) if each.client_id == client_id]

    def wished(
        self, body: Mapping[str, Any], client_id: str, creator: Mailbox, authorized_until: datetime
    ) -> Subscription:
        """
        Read the body of a create; the endpoints have not proved themselves yet.

        Raises:
            Refused: something is missing, wrong, too long, or watched already.
        """
        check_names(body)
        for name in ("changeType", "notificationUrl", "resource", "expirationDateTime"):
            if not body.get(name):
                raise invalid(f"{name} is a required property for subscription creation.")
        if body.get("includeResourceData"):
            raise invalid("Notifications with resource data are not available here.")
        mailbox, calendar = self._watched(str(body["resource"]), creator)
        made = Subscription(
            id=str(uuid.UUID(int=self.store.random.getrandbits(128), version=4)),
            client_id=client_id,
            creator_id=creator.account.id,
            mailbox=mailbox,
            resource=body["resource"],
            change_types=_change_types(body["changeType"]),
            change_type=body["changeType"],
            url=_url(body["notificationUrl"], "notificationUrl"),
            expires_at=self.end(body["expirationDateTime"]),
            authorized_until=authorized_until,
            calendar=calendar,
            lifecycle_url=_url(body["lifecycleNotificationUrl"], "lifecycleNotificationUrl")
            if body.get("lifecycleNotificationUrl")
            else None,
            client_state=_state(body.get("clientState")),
            tls_version=body.get("latestSupportedTlsVersion") or "v1_2",
        )
        self.refuse_duplicate(made)
        if len(self.on(mailbox)) >= self.store.limits.subscriptions_per_mailbox:
            text = "The mailbox has reached its maximum number of subscriptions."
            raise refusals.Refused(403, "ExtensionError", text)
        return made

    def refuse_duplicate(self, wished: Subscription) -> None:
        """Raises Refused: the application already watches the same for the same. Source: docs-contrib #8573."""
        if not self.store.switches.duplicate_subscriptions_refused:
            return
        for each in self.of(wished.client_id, wished.mailbox):
            if each.calendar is wished.calendar and each.change_types == wished.change_types:
                text = f"Subscription Id {each.id} already exists for the requested combination"
                raise refusals.Refused(409, "Conflict", text)

    def end(self, wish: object) -> datetime:
        """
        Return when a subscription ends that asks for *wish*; less than the shortest life is made longer.

        Raises:
            Refused: no instant, or too far away. Source of the text: microsoft-graph-docs #2988.
        """
        limits, now = self.store.limits, self.store.now()
        try:
            asked = instant(wish)
        except ValueError as error:
            raise invalid("expirationDateTime is not a date and time.") from error
        if asked > now + timedelta(seconds=limits.longest_life_s):
            minutes = round(limits.longest_life_s / 60)
            raise refusals.Refused(
                400,
                "ExtensionError",
                f"Subscription expiration can only be {minutes} minutes in the future.",
            )
        return max(asked, now + timedelta(seconds=limits.shortest_life_s))

    def watching(self, calendar: Calendar, change: str) -> Iterator[Subscription]:
        for each in self.on(calendar.mailbox):
            if each.watches(calendar, change) and not each.is_silent:
                yield each

    def _watched(self, resource: str, creator: Mailbox) -> tuple[Mailbox, Calendar | None]:
        match = _RESOURCE.fullmatch(resource)
        if match is None or (match["calendar"] and not self.store.switches.calendar_subscriptions):
            raise invalid(f"The value '{resource}' of parameter 'Resource' is not supported.")
        mailbox = self.store.mailbox_of(match["user"]) if match["user"] else creator
        if mailbox is None:
            raise refusals.not_found()
        if mailbox is not creator:
            raise refusals.access_denied()
        if not match["calendar"]:
            return mailbox, None
        calendar = mailbox.calendars.get(match["calendar"])
        if calendar is None:
            raise refusals.not_found()
        return mailbox, calendar


def check_names(body: Mapping[str, Any]) -> None:
    """Raises Refused: the body has a property that no subscription has."""
    for name in body:
        if name not in KNOWN and not name.startswith("@"):
            raise refusals.unknown_property(name, "subscription")


def invalid(text: str) -> refusals.Refused:
    """Refuse what a body of a subscription says."""
    return refusals.Refused(400, "InvalidRequest", text)


def _change_types(text: object) -> frozenset[str]:
    named = [each.strip().lower() for each in str(text).split(",")]
    if any(each not in CHANGE_TYPES for each in named):
        raise invalid(f"The value '{text}' of parameter 'ChangeType' is invalid.")
    return frozenset(named)


def _url(value: object, name: str) -> str:
    """Graph demands https; on loopback there are no certificates, so http will do here."""
    if not isinstance(value, str) or not value.lower().startswith(("https://", "http://")):
        raise invalid(f"{name} is not a valid URL.")
    return value


def _state(value: object) -> str | None:
    if value is not None and (not isinstance(value, str) or len(value) > MOST_STATE_CHARS):
        raise invalid(f"clientState is a string of at most {MOST_STATE_CHARS} characters.")
    return value
