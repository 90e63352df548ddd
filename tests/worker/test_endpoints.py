"""The use-cases around subscribers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
import standardwebhooks
from sqlalchemy import Engine, text

from models.domain.emitted import Type, event_id
from tests.publishers.kit import NOON, FakePoster, a_runtime, tell
from tests.publishers.sink import Reply, Sink, a_sink
from worker import endpoints
from worker.errors import Refused
from worker.outbox import number_all
from worker.posting import post_waiting
from worker.publishers.egress import ForbiddenUrl
from worker.publishers.webhooks import HttpPoster
from worker.runtime import Runtime

URL = "https://hooks.example.com/in"


@pytest.fixture
def sink() -> Iterator[Sink]:
    with a_sink() as started:
        yield started


@pytest.fixture
def rt(db: Engine) -> Iterator[Runtime]:
    poster = HttpPoster(allow_private=True)
    yield a_runtime(db, poster=poster)
    poster.close()


def create(rt: Runtime, url: str = URL, *types: str) -> UUID:
    return UUID(endpoints.create(rt, url, types=types).endpoint["id"])


def secrets_that_signed(sink: Sink, secrets: list[str]) -> list[bool]:
    received = sink.received[-1]
    verdicts = []
    for secret in secrets:
        try:
            standardwebhooks.Webhook(secret).verify(received.body, dict(received.headers))
            verdicts.append(True)
        except standardwebhooks.WebhookVerificationError:
            verdicts.append(False)
    return verdicts


def test_a_new_endpoint_is_shown_with_its_secret_once(rt: Runtime) -> None:
    created = endpoints.create(rt, "HTTPS://Hooks.Example.com/in", types=["bot.*"], description="CRM")

    shown = endpoints.get(rt, UUID(created.endpoint["id"]))

    assert shown == created.endpoint
    assert shown | {"id": 0, "created_at": 0, "updated_at": 0} == {
        "id": 0,
        "url": URL,
        "types": ["bot.*"],
        "description": "CRM",
        "state": "active",
        "state_reason": None,
        "failing_since": None,
        "created_at": 0,
        "updated_at": 0,
    }
    assert created.secret.startswith("whsec_")
    assert created.secret not in repr(created)


def test_neither_url_nor_secret_stands_open_in_the_database(rt: Runtime) -> None:
    created = endpoints.create(rt, f"{URL}?token=canary")

    with rt.db.begin() as tx:
        dump = tx.execute(
            text("SELECT endpoints::text || endpoint_secrets::text FROM endpoints, endpoint_secrets")
        ).scalar_one()
    for secret in ("canary", "hooks.example.com", created.secret):
        assert secret not in dump
        assert secret.encode().hex() not in dump


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/", "http://10.0.0.1/", "http://localhost/", "ftp://x.org/"]
)
def test_a_forbidden_url_makes_no_endpoint(db: Engine, url: str) -> None:
    rt = a_runtime(db, allow_private=False)

    with pytest.raises(ForbiddenUrl):
        endpoints.create(rt, url)

    assert endpoints.list_endpoints(rt) == ([], None)


@pytest.mark.parametrize(
    "name", ["bot", "*", "bot.", "bot.*.*", "bot.unheard_of", "b*", "", "Bot.*", "x" * 1000]
)
def test_an_unknown_type_is_refused(rt: Runtime, name: str) -> None:
    with pytest.raises(Refused):
        create(rt, URL, name)


@pytest.mark.parametrize("name", [*Type, "bot.*", "calendar.*", "calendar_event.*"])
def test_every_type_and_family_can_be_subscribed_to(rt: Runtime, name: str) -> None:
    create(rt, URL, name, name)


def test_endpoints_are_listed_in_pages(rt: Runtime) -> None:
    ids = sorted(str(create(rt)) for _ in range(5))
    found, cursor = [], None

    while True:
        page, cursor = endpoints.list_endpoints(rt, limit=2, cursor=cursor)
        found += [shown["id"] for shown in page]
        if cursor is None:
            break

    assert found == ids
    with pytest.raises(Refused):
        endpoints.list_endpoints(rt, cursor="x' OR 1=1")


def test_only_what_is_named_is_changed(rt: Runtime) -> None:
    endpoint_id = UUID(endpoints.create(rt, URL, types=["bot.*"], description="CRM").endpoint["id"])

    assert endpoints.patch(rt, endpoint_id, {"description": None})
    changed = endpoints.patch(
        rt, endpoint_id, {"types": ["calendar.*"], "url": "https://b.example.com"}
    )

    assert changed is not None
    assert (changed["url"], changed["types"], changed["description"]) == (
        "https://b.example.com/",
        ["calendar.*"],
        None,
    )
    assert changed == endpoints.get(rt, endpoint_id)


def test_a_disabled_endpoint_is_owed_nothing_new(rt: Runtime, sink: Sink) -> None:
    endpoint_id = create(rt, sink.url)
    endpoints.patch(rt, endpoint_id, {"state": "disabled"})
    tell(rt.db, "bot/a")
    number_all(rt)

    endpoints.patch(rt, endpoint_id, {"state": "active"})
    post_waiting(rt, endpoint_id)

    assert sink.received == []


def test_what_waits_goes_at_once_to_a_corrected_url(rt: Runtime, sink: Sink) -> None:
    with a_sink(lambda _: Reply(404)) as wrong:
        endpoint_id = create(rt, wrong.url)
        tell(rt.db, "bot/a")
        number_all(rt)
        post_waiting(rt, endpoint_id)

    endpoints.patch(rt, endpoint_id, {"url": sink.url})
    post_waiting(rt, endpoint_id)

    assert [received.event["subject"] for received in sink.received] == ["bot/a"]


def test_deleting_removes_everything_and_twice_is_false(rt: Runtime, sink: Sink) -> None:
    endpoint_id = create(rt, sink.url)
    tell(rt.db, "bot/a")
    number_all(rt)
    post_waiting(rt, endpoint_id)

    assert endpoints.delete(rt, endpoint_id)
    assert not endpoints.delete(rt, endpoint_id)

    with rt.db.begin() as tx:
        for table in ("endpoints", "endpoint_secrets", "postings", "attempts"):
            assert tx.execute(text(f"SELECT count(*) FROM {table}")).scalar() == 0


def test_a_missing_endpoint_is_none_everywhere(rt: Runtime) -> None:
    missing = uuid4()

    assert endpoints.get(rt, missing) is None
    assert endpoints.patch(rt, missing, {"state": "active"}) is None
    assert endpoints.rotate_secret(rt, missing) is None
    assert endpoints.post_test(rt, missing) is None
    assert endpoints.list_attempts(rt, missing) is None
    assert endpoints.replay(rt, missing, since=NOON) is None


def test_an_old_secret_signs_for_another_24_h(rt: Runtime, sink: Sink) -> None:
    created = endpoints.create(rt, sink.url)
    endpoint_id = UUID(created.endpoint["id"])

    rotated = endpoints.rotate_secret(rt, endpoint_id)
    assert rotated is not None
    endpoints.post_test(rt, endpoint_id)
    assert secrets_that_signed(sink, [created.secret, rotated.secret]) == [True, True]

    with rt.db.begin() as tx:
        tx.execute(text("UPDATE endpoint_secrets SET expires_at = expires_at - interval '24 hours'"))
    endpoints.post_test(rt, endpoint_id)
    assert secrets_that_signed(sink, [created.secret, rotated.secret]) == [False, True]


def test_three_secrets_sign_at_most(rt: Runtime, sink: Sink) -> None:
    created = endpoints.create(rt, sink.url)
    endpoint_id = UUID(created.endpoint["id"])
    secrets = [created.secret]
    for _ in range(4):
        rotated = endpoints.rotate_secret(rt, endpoint_id)
        assert rotated is not None
        secrets.append(rotated.secret)

    endpoints.post_test(rt, endpoint_id)

    assert secrets_that_signed(sink, secrets) == [False, False, True, True, True]
    assert len(sink.received[-1].headers["webhook-signature"].split(" ")) == 3


def test_a_test_goes_to_this_endpoint_alone_and_is_told_at_once(rt: Runtime, sink: Sink) -> None:
    with a_sink() as other:
        endpoint_id = create(rt, sink.url, "calendar.*")
        create(rt, other.url)

        attempt = endpoints.post_test(rt, endpoint_id)
        endpoints.post_test(rt, endpoint_id)

        assert other.received == []
    assert attempt is not None
    assert (attempt["status"], attempt["succeeded"], attempt["type"]) == (204, True, "punctual.test")
    first, second = (received.event for received in sink.received)
    assert (first["sequence"], second["sequence"]) == (1, 2)
    assert first["type"] == "punctual.test"
    assert first["subject"] == f"endpoint/{endpoint_id}"
    assert first["id"] == attempt["event_id"] == str(event_id(f"endpoint/{endpoint_id}", 1))


def test_a_test_tells_why_it_failed(rt: Runtime, sink: Sink) -> None:
    sink.reply = lambda _: Reply(reset=True)
    endpoint_id = create(rt, sink.url)

    attempt = endpoints.post_test(rt, endpoint_id)

    assert attempt is not None
    assert attempt["status"] is None
    assert attempt["error"]
    assert not attempt["succeeded"]


def test_attempts_are_listed_newest_first(rt: Runtime, sink: Sink) -> None:
    endpoint_id = create(rt, sink.url)
    tell(rt.db, *[f"bot/{nth}" for nth in range(4)])
    number_all(rt)
    post_waiting(rt, endpoint_id)
    last = endpoints.post_test(rt, endpoint_id)

    found, cursor = [], None
    while True:
        listed = endpoints.list_attempts(rt, endpoint_id, limit=2, cursor=cursor)
        assert listed is not None
        page, cursor = listed
        found += page
        if cursor is None:
            break

    assert found[0] == last
    assert len({attempt["id"] for attempt in found}) == len(found) == 5
    assert [attempt["at"] for attempt in found] == sorted(
        (attempt["at"] for attempt in found), reverse=True
    )
    for forged in ("x", "2026-11-21T12:00:00Z", "~", "2026-11-21T12:00:00Z~x"):
        with pytest.raises(Refused):
            endpoints.list_attempts(rt, endpoint_id, cursor=forged)


def test_a_replay_since_a_time_posts_everything_of_its_types_again_in_order(
    rt: Runtime, sink: Sink
) -> None:
    endpoint_id = create(rt, sink.url, "bot.*")
    tell(rt.db, "bot/a", "bot/a", "bot/b")
    tell(rt.db, "calendar/a", event_type=Type.CALENDAR_CONNECTED)
    number_all(rt)
    post_waiting(rt, endpoint_id)
    sink.received.clear()

    assert endpoints.replay(rt, endpoint_id, since=NOON + timedelta(seconds=1)) == 0
    assert endpoints.replay(rt, endpoint_id, since=NOON - timedelta(hours=1), until=NOON) == 0
    assert endpoints.replay(rt, endpoint_id, since=NOON) == 3
    post_waiting(rt, endpoint_id)

    posted = [(received.event["subject"], received.event["sequence"]) for received in sink.received]
    assert sorted(posted) == [("bot/a", 1), ("bot/a", 2), ("bot/b", 1)]
    assert posted.index(("bot/a", 1)) < posted.index(("bot/a", 2))


def test_a_replay_brings_back_what_has_failed_or_was_missed(rt: Runtime, sink: Sink) -> None:
    endpoint_id = create(rt, sink.url)
    endpoints.patch(rt, endpoint_id, {"state": "disabled"})
    tell(rt.db, "bot/missed")
    number_all(rt)
    endpoints.patch(rt, endpoint_id, {"state": "active"})
    tell(rt.db, "bot/failed")
    number_all(rt)
    with rt.db.begin() as tx:
        tx.execute(text("UPDATE postings SET state = 'failed', tries = 10"))

    named = [event_id("bot/missed", 1), event_id("bot/failed", 1), uuid4()]
    assert endpoints.replay(rt, endpoint_id, event_ids=named) == 2
    post_waiting(rt, endpoint_id)

    assert {received.event["subject"] for received in sink.received} == {"bot/missed", "bot/failed"}


def test_a_replay_reaches_an_endpoint_that_waits_for_its_next_try(db: Engine) -> None:
    poster = FakePoster()
    rt = a_runtime(db, poster=poster)
    endpoint_id = create(rt)
    tell(db, "bot/a")
    number_all(rt)
    with db.begin() as tx:
        tx.execute(
            text(
                "UPDATE endpoints SET due_at = now() + interval '1 h', held_until = now() + interval '1 h'"
            )
        )

    endpoints.replay(rt, endpoint_id, since=NOON)
    post_waiting(rt, endpoint_id)

    assert len(poster.posted) == 1


def test_a_replay_of_everything_has_to_say_so(rt: Runtime) -> None:
    with pytest.raises(Refused):
        endpoints.replay(rt, create(rt))
