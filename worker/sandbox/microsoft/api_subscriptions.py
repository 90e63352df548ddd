"""
/subscriptions: create, list, get, renew, reauthorise, delete. Endpoints prove themselves first.

Sources: learn.microsoft.com/graph/api/subscription-post-subscriptions, -update, -delete, -reauthorize.
"""

from __future__ import annotations

from dataclasses import dataclass

from worker.sandbox.microsoft import pages, refusals, subscriptions
from worker.sandbox.microsoft.announcing import Announcer
from worker.sandbox.microsoft.asking import READ_WHOLE, Asked
from worker.sandbox.microsoft.courier import Courier
from worker.sandbox.microsoft.subscriptions import Subscription
from worker.sandbox.recall.answers import Answer
from worker.sandbox.recall.forms import Json

CHANGEABLE = frozenset({"expirationDateTime", "notificationUrl"})


@dataclass(frozen=True, slots=True)
class SubscriptionCalls:
    announcer: Announcer
    courier: Courier

    async def create(self, asked: Asked) -> Answer:
        asked.need(READ_WHOLE)
        known = self.announcer.subscriptions
        made = known.wished(asked.body, asked.grant.client_id, asked.mailbox, asked.token_ends_at)
        made.immutable = asked.prefer.immutable
        await self._prove(made.url, made.lifecycle_url)
        known.refuse_duplicate(made)  # two creates may have waited for their endpoints at the same time
        self.announcer.open(made)
        return Answer(201, self._shown(asked, made, with_state=True))

    def list_(self, asked: Asked) -> Answer:
        """List what this application watches for this user."""
        asked.need(READ_WHOLE)
        own = self.announcer.subscriptions.of(asked.grant.client_id, asked.mailbox)
        size, skip = asked.store.limits.largest_page, pages.number(asked, "$skip") or 0
        body: Json = {
            "@odata.context": pages.context_of(asked, "subscriptions"),
            "value": [
                each.shown(with_state=asked.store.switches.client_state_shown)
                for each in own[skip : skip + size]
            ],
        }
        if skip + size < len(own):
            body["@odata.nextLink"] = asked.url(f"$skip={skip + size}")
        return Answer(200, body)

    def retrieve(self, asked: Asked) -> Answer:
        return Answer(200, self._shown(asked, self._found(asked)))

    async def renew(self, asked: Asked) -> Answer:
        """Set a new end; that reauthorises too. A lifecycle URL cannot be added or changed."""
        found = self._found(asked)
        subscriptions.check_names(asked.body)
        if refused := {name for name in asked.body if not name.startswith("@")} - CHANGEABLE:
            named = ", ".join(sorted(refused))
            raise subscriptions.invalid(f"The properties {named} of a subscription cannot be updated.")
        if not asked.body.get("expirationDateTime"):
            raise subscriptions.invalid(
                "expirationDateTime is a required property for subscription renewal."
            )
        expires_at = self.announcer.subscriptions.end(asked.body["expirationDateTime"])
        url = asked.body.get("notificationUrl") or found.url
        if asked.store.switches.renewal_validates or url != found.url:
            await self._prove(url, found.lifecycle_url)
        found.url, found.expires_at = url, expires_at
        self.announcer.authorize(found, asked.token_ends_at)
        return Answer(200, self._shown(asked, found))

    def reauthorize(self, asked: Asked) -> Answer:
        """Renew the authorisation and leave the end as it is."""
        self.announcer.authorize(self._found(asked), asked.token_ends_at)
        return Answer(204)

    def delete(self, asked: Asked) -> Answer:
        found = self._found(asked)
        self.announcer.subscriptions.drop(found)
        return Answer(204)

    async def _prove(self, url: str, lifecycle_url: str | None) -> None:
        await self.courier.validate(url)
        if lifecycle_url is not None:
            await self.courier.validate(lifecycle_url)

    def _found(self, asked: Asked) -> Subscription:
        asked.need(READ_WHOLE)
        for each in self.announcer.subscriptions.of(asked.grant.client_id, asked.mailbox):
            if each.id == asked.params["subscription_id"].lower():
                return each
        raise refusals.Refused(404, "ResourceNotFound", "The object was not found.")

    def _shown(self, asked: Asked, found: Subscription, *, with_state: bool = False) -> Json:
        context = pages.context_of(asked, "subscriptions/$entity")
        with_state = with_state or asked.store.switches.client_state_shown
        return {"@odata.context": context, **found.shown(with_state=with_state)}
