"""Writing, numbering and reading domain events."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import Engine, func, insert, select, text

from models.domain.emitted import Emitted, Type, event_id
from models.tables.base import new_id
from models.tables.outbox import Endpoint, OutboxEvent, Posting
from tests.publishers.kit import BASE_URL, NOON, FakePublisher, a_runtime, tell, told
from worker.jobs import RELAY
from worker.outbox import emit, feed, number_new, oldest_waiting_at, prune
from worker.rings import list_rings

OUTBOX = OutboxEvent.__table__
POSTINGS = Posting.__table__


def sequences(db: Engine) -> dict[str, list[int]]:
    found = defaultdict(list)
    with db.begin() as tx:
        for subject, sequence in tx.execute(select(OUTBOX.c.subject, OUTBOX.c.sequence)):
            found[subject].append(sequence)
    return {subject: sorted(numbers) for subject, numbers in found.items()}


def an_endpoint(db: Engine, *types: str, state: str = "active") -> object:
    endpoint_id = new_id()
    with db.begin() as tx:
        tx.execute(insert(Endpoint).values(id=endpoint_id, url=b"-", types=list(types), state=state))
    return endpoint_id


def read(
    db: Engine, after: int = 0, *types: str, limit: int = 200
) -> tuple[list[dict[str, object]], int]:
    with db.begin() as tx:
        return feed(tx, after, types, limit, base_url=BASE_URL)


def test_each_subject_counts_from_one(db: Engine) -> None:
    tell(db, "bot/a", "bot/b", "bot/a")
    tell(db, "bot/a")

    assert sequences(db) == {"bot/a": [1, 2, 3], "bot/b": [1]}


def test_emitting_nothing_writes_nothing(db: Engine) -> None:
    with db.begin() as tx:
        emit(tx, [])

    assert sequences(db) == {}


def test_an_id_follows_from_subject_and_sequence(db: Engine) -> None:
    tell(db, "bot/a")

    with db.begin() as tx:
        assert tx.execute(select(OUTBOX.c.id)).scalar() == event_id("bot/a", 1)


def test_a_change_that_is_rolled_back_emits_nothing_and_leaves_no_gap(db: Engine) -> None:
    tell(db, "bot/a")
    with pytest.raises(RuntimeError), db.begin() as tx:
        emit(tx, [told("bot/a")])
        raise RuntimeError
    tell(db, "bot/a")

    assert sequences(db) == {"bot/a": [1, 2]}


def test_concurrent_emitters_leave_no_gap_and_do_not_deadlock(db: Engine) -> None:
    subjects = [f"bot/{nth}" for nth in range(6)]

    def emit_some(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(15):
            some = [told(rng.choice(subjects)) for _ in range(rng.randint(1, 5))]
            try:
                with db.begin() as tx:
                    emit(tx, some)
                    if rng.random() < 0.3:
                        raise InterruptedError
            except InterruptedError:
                pass

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(emit_some, range(8)))

    for numbers in sequences(db).values():
        assert numbers == list(range(1, len(numbers) + 1))


def test_a_late_number_of_an_early_transaction_keeps_its_place(db: Engine) -> None:
    with db.begin() as early:
        early.execute(text("SELECT now()"))
        time.sleep(0.01)
        tell(db, "bot/a")
        emit(early, [told("bot/a")])

    found, _ = read(db)

    assert [event["sequence"] for event in found] == [1, 2]


def test_the_feed_never_skips_under_concurrent_commits(db: Engine) -> None:
    writers, rounds = 6, 12
    stop = threading.Event()
    heard: list[tuple[str, int]] = []

    def write(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(rounds):
            with db.begin() as tx:
                emit(tx, [told(f"bot/{seed}"), told(f"calendar/{seed % 2}")])
                time.sleep(rng.random() * 0.01)

    def follow() -> None:
        after = 0
        while True:
            is_last = stop.is_set()
            found, after = read(db, after, limit=7)
            heard.extend((str(event["subject"]), int(str(event["sequence"]))) for event in found)
            if is_last and not found:
                return

    reader = threading.Thread(target=follow)
    reader.start()
    with ThreadPoolExecutor(writers) as pool:
        list(pool.map(write, range(writers)))
    stop.set()
    reader.join()

    assert len(heard) == writers * rounds * 2
    by_subject = defaultdict(list)
    for subject, sequence in heard:
        by_subject[subject].append(sequence)
    for numbers in by_subject.values():
        assert numbers == list(range(1, len(numbers) + 1))


def test_numberers_queue_up_and_a_number_once_given_stays(db: Engine) -> None:
    tell(db, "bot/a")
    with ThreadPoolExecutor(1) as pool:
        with db.begin() as first:
            number_new(first)
            tell(db, "bot/b")
            reading = pool.submit(read, db)
            time.sleep(0.3)
            assert not reading.done()
            given = first.execute(select(func.max(OUTBOX.c.position))).scalar_one()
        found, _ = reading.result()

    assert [event["subject"] for event in found] == ["bot/a", "bot/b"]
    with db.begin() as tx:
        positions = tx.execute(select(OUTBOX.c.position).order_by(OUTBOX.c.subject)).scalars().all()
    assert positions == [given, given + 1]


def test_the_feed_needs_no_relay_to_be_fresh(db: Engine) -> None:
    tell(db, "bot/a")

    found, after = read(db)

    assert [event["subject"] for event in found] == ["bot/a"]
    assert read(db, after) == ([], after)


def test_the_feed_is_read_in_pages(db: Engine) -> None:
    tell(db, *[f"bot/{nth}" for nth in range(5)])

    first, after = read(db, limit=3)
    second, _ = read(db, after, limit=3)

    assert [event["subject"] for event in first + second] == [f"bot/{nth}" for nth in range(5)]


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        ((), ["bot/a", "calendar/a"]),
        (("bot.*",), ["bot/a"]),
        (("calendar.connected",), ["calendar/a"]),
        (("bot.scheduled", "calendar.*"), ["bot/a", "calendar/a"]),
        (("bot.cancelled",), []),
        (("bot",), []),
        (("b_t.*",), []),
    ],
)
def test_the_feed_shows_the_types_asked_for(
    db: Engine, types: tuple[str, ...], expected: list[str]
) -> None:
    tell(db, "bot/a")
    tell(db, "calendar/a", event_type=Type.CALENDAR_CONNECTED)

    found, _ = read(db, 0, *types)

    assert [event["subject"] for event in found] == expected


def test_the_cursor_passes_what_was_filtered_out(db: Engine) -> None:
    tell(db, "bot/a", "bot/b")

    found, after = read(db, 0, "calendar.*")

    assert found == []
    assert read(db, after) == ([], after)


def test_a_cloud_event_carries_every_attribute_of_the_contract(db: Engine) -> None:
    with db.begin() as tx:
        emit(
            tx,
            [
                Emitted(
                    Type.EVENT_UPDATED,
                    "calendar_event/a",
                    NOON,
                    {"title": "new"},
                    previous={"title": "old"},
                    changed=("title",),
                )
            ],
        )

    (event,), _ = read(db)

    assert event == {
        "specversion": "1.0",
        "id": str(event_id("calendar_event/a", 1)),
        "source": BASE_URL,
        "type": "calendar_event.updated",
        "subject": "calendar_event/a",
        "time": "2026-11-21T12:00:00Z",
        "datacontenttype": "application/json",
        "dataschema": f"{BASE_URL}/schemas/calendar_event.updated.json",
        "sequence": 1,
        "data": {"title": "new", "changed": ["title"], "previous": {"title": "old"}},
    }


def test_numbering_hands_out_to_active_endpoints_that_want_the_type(db: Engine) -> None:
    everything = an_endpoint(db)
    bots = an_endpoint(db, "bot.*")
    exact = an_endpoint(db, "calendar.connected", "bot.failed")
    an_endpoint(db, "bot.failed")
    an_endpoint(db, state="disabled")
    tell(db, "bot/a")
    tell(db, "calendar/a", event_type=Type.CALENDAR_CONNECTED)

    with db.begin() as tx:
        assert number_new(tx) == 2

    with db.begin() as tx:
        owed = {(row.endpoint_id, row.subject) for row in tx.execute(select(POSTINGS))}
        due_ids = set(tx.execute(text("SELECT id FROM endpoints WHERE wanted > done")).scalars())
    assert owed == {
        (everything, "bot/a"),
        (everything, "calendar/a"),
        (bots, "bot/a"),
        (exact, "calendar/a"),
    }
    assert due_ids == {everything, bots, exact}


def test_something_new_does_not_wait_for_an_old_retry(db: Engine) -> None:
    an_endpoint(db)
    with db.begin() as tx:
        tx.execute(text("UPDATE endpoints SET wanted = 1, due_at = now() + interval '5 hours'"))
    tell(db, "bot/a")

    with db.begin() as tx:
        number_new(tx)

    with db.begin() as tx:
        assert tx.execute(text("SELECT due_at <= now() FROM endpoints")).scalar()


def test_something_new_waits_for_an_endpoint_that_is_held(db: Engine) -> None:
    an_endpoint(db)
    with db.begin() as tx:
        tx.execute(
            text(
                "UPDATE endpoints SET wanted = 1,"
                " due_at = now() + interval '5 h', held_until = now() + interval '1 h'"
            )
        )
    tell(db, "bot/a")

    with db.begin() as tx:
        number_new(tx)

    with db.begin() as tx:
        assert tx.execute(text("SELECT due_at = held_until FROM endpoints")).scalar()


def test_numbers_are_given_in_portions(db: Engine) -> None:
    tell(db, *["bot/a"] * 5)

    with db.begin() as tx:
        assert [number_new(tx, most=2) for _ in range(4)] == [2, 2, 1, 0]

    found, _ = read(db)
    assert [event["sequence"] for event in found] == [1, 2, 3, 4, 5]


def test_what_was_never_published_waits_only_where_there_is_a_publisher(db: Engine) -> None:
    feed_only = a_runtime(db)
    tell(db, "bot/a")
    with db.begin() as tx:
        assert (RELAY, None) in list_rings(tx, feed_only)
        number_new(tx)

    with db.begin() as tx:
        assert (RELAY, None) not in list_rings(tx, feed_only)
        assert (RELAY, None) in list_rings(tx, a_runtime(db, publisher=FakePublisher()))
        assert oldest_waiting_at(tx, has_publisher=False) is None
        assert oldest_waiting_at(tx, has_publisher=True) is not None


def test_pruning_keeps_what_is_still_owed_and_goes_on_counting(db: Engine) -> None:
    owed = an_endpoint(db, "bot.*")
    tell(db, "bot/a")
    tell(db, "calendar/a", event_type=Type.CALENDAR_CONNECTED)
    with db.begin() as tx:
        number_new(tx)
        tx.execute(text("UPDATE outbox SET created_at = created_at - interval '40 days'"))
    tell(db, "calendar/a", event_type=Type.CALENDAR_DISCONNECTED)

    with db.begin() as tx:
        now = tx.execute(text("SELECT now()")).scalar_one()
        assert prune(tx, now - timedelta(days=30), keep_unpublished=True) == 0
        assert prune(tx, now - timedelta(days=30)) == 1

    tell(db, "calendar/a", event_type=Type.CALENDAR_CONNECTED)
    assert sequences(db) == {"bot/a": [1], "calendar/a": [2, 3]}
    with db.begin() as tx:
        assert tx.execute(select(POSTINGS.c.endpoint_id)).scalars().all() == [owed]


def test_pruning_forgets_what_was_posted_and_what_a_disabled_endpoint_was_owed(db: Engine) -> None:
    an_endpoint(db, "bot.*")
    an_endpoint(db, "calendar.*")
    tell(db, "bot/a")
    tell(db, "calendar/a", event_type=Type.CALENDAR_CONNECTED)
    with db.begin() as tx:
        number_new(tx)
        tx.execute(text("UPDATE outbox SET created_at = created_at - interval '40 days'"))
        tx.execute(text("UPDATE postings SET state = 'delivered' WHERE subject = 'bot/a'"))
        tx.execute(text("UPDATE endpoints SET state = 'disabled' WHERE types = '[\"calendar.*\"]'"))

    with db.begin() as tx:
        now = tx.execute(text("SELECT now()")).scalar_one()
        assert prune(tx, now - timedelta(days=30)) == 2

    with db.begin() as tx:
        assert tx.execute(select(POSTINGS)).all() == []
