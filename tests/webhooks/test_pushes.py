"""Pushes of Google and Microsoft: stored before they are answered, known by the secret of their channel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import Engine, select

from models.sealing import Vault
from models.tables.due import table_of
from models.tables.inbox import Delivery
from tests.worker.account_kit import Accounts, calendar_id_of
from webhooks.app import create_app
from webhooks.pushes import LARGEST_BODY
from webhooks.server import serving
from worker import intake
from worker.channels import ChannelMark, secret_of

DELIVERIES = table_of(Delivery)


@dataclass
class Pusher:
    """A provider that pushes about one calendar, over a channel of ours."""

    accounts: Accounts
    url: str
    http: httpx.Client
    mark: ChannelMark

    @property
    def secret(self) -> str:
        return secret_of(self.accounts.vault, self.mark)

    def google(
        self, state: str = "exists", number: int = 2, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        given = {
            "X-Goog-Channel-ID": str(self.mark.channel_id),
            "X-Goog-Channel-Token": self.secret,
            "X-Goog-Resource-State": state,
            "X-Goog-Message-Number": str(number),
            "X-Goog-Resource-ID": "resource-1",
            **(headers or {}),
        }
        return self.http.post(f"{self.url}/webhooks/google", headers=given)

    def microsoft(self, *items: object) -> httpx.Response:
        return self.http.post(f"{self.url}/webhooks/microsoft", json={"value": list(items)})

    def item(self, **fields: object) -> dict[str, object]:
        return {
            "subscriptionId": "sub-1",
            "clientState": self.secret,
            "changeType": "updated",
            "resource": "Users/u/Events/e",
            **fields,
        }

    def stored(self) -> list[tuple[str, str, str]]:
        with self.accounts.db.begin() as tx:
            rows = tx.execute(select(DELIVERIES).order_by(DELIVERIES.c.id)).mappings()
            return [(row["source"], row["type"], row["ref"]) for row in rows]


@pytest.fixture
def pusher(db: Engine, vault: Vault, request: pytest.FixtureRequest) -> Iterator[Pusher]:
    accounts = Accounts(db, vault)
    platform = getattr(request, "param", "google")
    calendar_id = calendar_id_of(accounts.connect(platform=platform))
    accounts.read(calendar_id)
    with serving(create_app(accounts.rt)) as url, httpx.Client(timeout=10) as http:
        yield Pusher(accounts, url, http, ChannelMark(uuid4(), calendar_id))


def is_due(pusher: Pusher) -> bool:
    return pusher.accounts.world.is_due(pusher.mark.calendar_id)


def test_a_push_of_google_is_stored_and_its_calendar_asked_for(pusher: Pusher) -> None:
    assert pusher.google().status_code == 200

    assert pusher.stored() == [("google", "google.exists", str(pusher.mark.calendar_id))]
    assert is_due(pusher)


def test_the_same_push_again_is_one_delivery(pusher: Pusher) -> None:
    pusher.google(number=7)
    pusher.google(number=7)
    pusher.google(number=9)

    assert len(pusher.stored()) == 2


def test_the_message_that_confirms_a_channel_asks_for_nothing(pusher: Pusher) -> None:
    assert pusher.google("sync", 1).status_code == 200

    assert pusher.stored() == []
    assert not is_due(pusher)


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Goog-Channel-Token": ""},
        {"X-Goog-Channel-Token": "made-up"},
        {"X-Goog-Channel-ID": str(UUID(int=1))},
        {"X-Goog-Resource-State": "trash"},
    ],
    ids=["no secret", "a made-up secret", "the secret of another channel", "a state of Drive's"],
)
def test_what_is_not_ours_is_answered_kindly_and_forgotten(
    pusher: Pusher, headers: dict[str, str]
) -> None:
    """Any other answer would have it sent again and again."""
    assert pusher.google(headers=headers).status_code == 200

    assert pusher.stored() == []


def test_a_delivery_is_done_when_its_calendar_was_read(pusher: Pusher) -> None:
    pusher.google()

    pusher.accounts.read(pusher.mark.calendar_id)

    with pusher.accounts.db.begin() as tx:
        assert tx.execute(select(DELIVERIES.c.state)).scalar_one() == "done"


def test_a_push_about_a_calendar_that_is_forgotten_is_ignored(pusher: Pusher) -> None:
    gone = Pusher(pusher.accounts, pusher.url, pusher.http, ChannelMark(uuid4(), uuid4()))
    gone.google()

    intake.take_in(pusher.accounts.rt)

    with pusher.accounts.db.begin() as tx:
        assert tx.execute(select(DELIVERIES.c.state)).scalar_one() == "ignored"


microsoft = pytest.mark.parametrize("pusher", ["microsoft"], indirect=True)


@microsoft
def test_the_validation_token_is_echoed_as_plain_text(pusher: Pusher) -> None:
    answer = pusher.http.post(
        f"{pusher.url}/webhooks/microsoft", params={"validationToken": "Validation: <b>x</b>"}
    )

    assert (answer.status_code, answer.text) == (200, "Validation: <b>x</b>")
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["x-content-type-options"] == "nosniff"


@microsoft
def test_each_notification_of_a_post_is_stored_by_itself(pusher: Pusher) -> None:
    foreign = pusher.item(clientState="made-up")

    answer = pusher.microsoft(pusher.item(), foreign, 17, pusher.item(changeType="created"))

    assert answer.status_code == 202
    changed = ("microsoft", "microsoft.changed", str(pusher.mark.calendar_id))
    assert pusher.stored() == [changed, changed]
    assert is_due(pusher)


@microsoft
@pytest.mark.parametrize("event", ["missed", "subscriptionRemoved", "reauthorizationRequired"])
def test_what_is_said_about_a_subscription_asks_for_its_calendar(pusher: Pusher, event: str) -> None:
    pusher.microsoft(pusher.item(lifecycleEvent=event))

    assert [kind for _, kind, _ in pusher.stored()] == [f"microsoft.{event}"]
    assert is_due(pusher)


@microsoft
def test_the_client_state_is_kept_nowhere(pusher: Pusher) -> None:
    pusher.microsoft(pusher.item())

    with pusher.accounts.db.begin() as tx:
        body = tx.execute(select(DELIVERIES.c.body)).scalar_one()
    assert pusher.secret.encode() not in body


@microsoft
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b'{"value": {}}', 400),
        (b"[" * 100_000, 400),
        (b" " * (LARGEST_BODY + 1), 413),
        (b'{"value": []}', 202),
    ],
    ids=["empty", "a list", "no list in it", "too deep", "too large", "nothing in it"],
)
def test_a_body_that_makes_no_sense_is_refused(pusher: Pusher, body: bytes, status: int) -> None:
    answer = pusher.http.post(f"{pusher.url}/webhooks/microsoft", content=body)

    assert answer.status_code == status
    assert pusher.stored() == []


@microsoft
def test_a_subscription_that_is_about_to_end_is_renewed_at_once(pusher: Pusher) -> None:
    accounts = pusher.accounts
    accounts.accounts.renews = True
    accounts.keep_channels()
    accounts.read(pusher.mark.calendar_id)
    accounts.accounts.calls.clear()
    pusher.microsoft(pusher.item(lifecycleEvent="reauthorizationRequired"))

    accounts.read(pusher.mark.calendar_id)
    accounts.keep_channels()

    assert "renew_channel" in accounts.accounts.calls
