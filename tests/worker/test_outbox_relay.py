"""Publishing domain events: in order per subject, at least once, whatever dies."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from sqlalchemy import Engine, insert, select, text

from models.tables.base import new_id
from models.tables.outbox import Endpoint, OutboxEvent
from tests.publishers.kit import FakeBell, FakePublisher, a_runtime, tell
from worker.jobs import POST, RELAY
from worker.outbox import number_new, relay, relaying
from worker.ports import Outgoing
from worker.rings import list_rings

OUTBOX = OutboxEvent.__table__


def until_somebody_waits_for_a_lock(db: Engine) -> None:
    end = time.monotonic() + 10
    with db.connect() as looking:
        while not looking.execute(
            text(
                "SELECT 1 FROM pg_stat_activity"
                " WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
        ).first():
            assert time.monotonic() < end
            looking.rollback()


def first_deliveries(publisher: FakePublisher) -> dict[str, list[int]]:
    by_subject = defaultdict(list)
    seen = set()
    for outgoing in publisher.seen:
        if outgoing.id not in seen:
            seen.add(outgoing.id)
            by_subject[outgoing.subject].append(outgoing.sequence)
    return dict(by_subject)


def unpublished(db: Engine) -> list[tuple[str, int]]:
    with db.begin() as tx:
        query = select(OUTBOX.c.subject, OUTBOX.c.sequence).where(OUTBOX.c.published_at.is_(None))
        return [tuple(row) for row in tx.execute(query.order_by(OUTBOX.c.position))]


def retry_now(db: Engine) -> None:
    with db.begin() as tx:
        refused = "SELECT id FROM outbox WHERE publish_after IS NOT NULL ORDER BY id FOR NO KEY UPDATE"
        ids = tx.execute(text(refused)).scalars().all()
        tx.execute(text("UPDATE outbox SET publish_after = now() WHERE id = ANY(:ids)"), {"ids": ids})


def test_everything_is_published_in_order_and_once(db: Engine) -> None:
    publisher = FakePublisher()
    tell(db, "bot/a", "bot/a", "bot/b", "bot/a")

    outcome = relay(a_runtime(db, publisher=publisher))

    assert outcome.numbered == outcome.published == 4
    assert first_deliveries(publisher) == {"bot/a": [1, 2, 3], "bot/b": [1]}
    assert len(publisher.seen) == 4
    assert relay(a_runtime(db, publisher=publisher)).published == 0


def test_a_refused_event_holds_up_its_own_subject_only(db: Engine) -> None:
    def refuse(outgoing: Outgoing) -> str | None:
        return "NO_ROUTE" if (outgoing.subject, outgoing.sequence) == ("bot/a", 2) else None

    publisher = FakePublisher(refuse)
    tell(db, "bot/a", "bot/a", "bot/a", "bot/b", "bot/b")
    rt = a_runtime(db, publisher=publisher)

    outcome = relay(rt)

    assert (outcome.published, outcome.refused) == (3, 1)
    assert unpublished(db) == [("bot/a", 2), ("bot/a", 3)]
    with db.begin() as tx:
        assert (RELAY, None) not in list_rings(tx, rt)

    publisher.verdict = lambda _: None
    retry_now(db)
    relay(rt)

    assert first_deliveries(publisher)["bot/a"] == [1, 2, 3]


def test_a_refused_event_waits_longer_each_time(db: Engine) -> None:
    rt = a_runtime(db, publisher=FakePublisher(lambda _: "NO_ROUTE"))
    tell(db, "bot/a")
    waits = []

    for _ in range(4):
        relay(rt)
        with db.begin() as tx:
            waits.append(tx.execute(text("SELECT publish_after - now() FROM outbox")).scalar_one())
        retry_now(db)

    assert waits == sorted(waits)
    assert waits[-1] > 4 * waits[0]


def test_an_unreachable_broker_changes_nothing(db: Engine) -> None:
    publisher = FakePublisher(is_down=True)
    tell(db, "bot/a")
    rt = a_runtime(db, publisher=publisher)

    outcome = relay(rt)

    assert outcome.unreachable == "no broker"
    with db.begin() as tx:
        assert tx.execute(select(OUTBOX.c.publish_tries, OUTBOX.c.publish_after)).one() == (0, None)

    publisher.is_down = False
    assert relay(rt).published == 1


def test_a_crash_between_publishing_and_marking_repeats_the_same_id(db: Engine) -> None:
    class Crash(BaseException):
        pass

    class CrashingPublisher(FakePublisher):
        def publish(self, batch: object) -> list[str | None]:
            super().publish(batch)  # type: ignore[arg-type]  # whatever it is
            raise Crash

    crashing, publisher = CrashingPublisher(), FakePublisher()
    tell(db, "bot/a", "bot/a")

    with pytest.raises(Crash):
        relay(a_runtime(db, publisher=crashing))
    relay(a_runtime(db, publisher=publisher))

    assert crashing.seen[0].id == publisher.seen[0].id
    assert first_deliveries(publisher) == {"bot/a": [1, 2]}


def test_two_relays_at_once_keep_the_order_and_lose_nothing(db: Engine) -> None:
    publisher = FakePublisher()
    rng = random.Random(7)
    publisher.verdict = lambda _: "flaky" if rng.random() < 0.5 else None
    rt = a_runtime(db, publisher=publisher)
    stop = threading.Event()

    def keep_relaying(nth: int) -> None:
        while not stop.is_set():
            if nth == 0:
                # As if its lease had run out while it was publishing.
                with db.begin() as tx:
                    tx.execute(text("UPDATE leases SET lease_until = now() - interval '1 s'"))
            relay(rt)
            retry_now(db)

    with ThreadPoolExecutor(3) as pool:
        relays = [pool.submit(keep_relaying, nth) for nth in range(3)]
        for nth in range(40):
            tell(db, f"bot/{nth % 3}", "calendar/x")
        while unpublished(db):
            stop.wait(0.05)
        stop.set()
        for relaying in relays:
            relaying.result()

    for numbers in first_deliveries(publisher).values():
        assert numbers == list(range(1, len(numbers) + 1))
    assert len({outgoing.id for outgoing in publisher.seen}) == 80


def test_a_relay_that_finds_another_one_at_work_leaves_it_alone(db: Engine) -> None:
    publisher = FakePublisher()
    tell(db, "bot/a")
    with db.begin() as tx:
        tx.execute(text("INSERT INTO leases VALUES ('relay', 'somebody', now() + interval '10 s')"))

    outcome = relay(a_runtime(db, publisher=publisher))

    assert outcome.is_busy
    assert outcome.numbered == 1
    assert publisher.seen == []


def test_the_lease_of_a_dead_relay_runs_out(db: Engine) -> None:
    tell(db, "bot/a")
    with db.begin() as tx:
        tx.execute(text("INSERT INTO leases VALUES ('relay', 'dead', now() - interval '1 s')"))

    assert relay(a_runtime(db, publisher=FakePublisher())).published == 1

    with db.begin() as tx:
        assert tx.execute(text("SELECT count(*) FROM leases")).scalar() == 0


def test_what_another_relay_numbered_meanwhile_is_published_too(db: Engine) -> None:
    publisher = FakePublisher()

    def number_another(outgoing: Outgoing) -> None:
        if outgoing.subject == "bot/a":
            tell(db, "bot/late")
            with db.begin() as tx:
                number_new(tx)

    publisher.verdict = number_another
    tell(db, "bot/a")

    relay(a_runtime(db, publisher=publisher))

    assert [outgoing.subject for outgoing in publisher.seen] == ["bot/a", "bot/late"]


def test_what_is_numbered_while_a_relay_ends_is_published(db: Engine) -> None:
    publisher = FakePublisher()
    rt = a_runtime(db, publisher=publisher)

    with ThreadPoolExecutor(1) as pool:
        with db.begin() as tx:
            assert relaying._take_batch(tx, holder="about to end") == []
            tell(db, "bot/a")
            other = pool.submit(relay, rt)
            until_somebody_waits_for_a_lock(db)
        outcome = other.result(10)

    assert outcome.published == 1
    assert len(publisher.seen) == 1


def test_without_a_publisher_events_are_numbered_and_endpoints_rung_for(db: Engine) -> None:
    bell, endpoint_id = FakeBell(), new_id()
    with db.begin() as tx:
        tx.execute(insert(Endpoint).values(id=endpoint_id, url=b"-"))
    tell(db, "bot/a")

    outcome = relay(a_runtime(db, bell=bell))

    assert (outcome.numbered, outcome.published) == (1, 0)
    assert bell.rings == [(POST, str(endpoint_id))]
    assert UUID(bell.rings[0][1]) == endpoint_id
