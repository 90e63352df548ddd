"""Posting to subscribers: in order per subject, at least once, patient with each, waiting for none."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
import standardwebhooks
from sqlalchemy import Engine, select, text

from models.tables.outbox import Attempt, Endpoint, Posting
from tests.publishers.kit import FakeBell, FakePoster, a_runtime, tell
from tests.publishers.sink import Received, Reply, Sink, a_sink
from worker import endpoints
from worker.outbox import number_all
from worker.ports import PostAnswer
from worker.posting import SIDE_BY_SIDE, WAITS, PostOutcome, post_waiting, wait_after
from worker.publishers.webhooks import HttpPoster
from worker.runtime import Runtime
from worker.turns import Outcome

POSTINGS = Posting.__table__
ATTEMPTS = Attempt.__table__
ENDPOINTS = Endpoint.__table__


@pytest.fixture
def sink() -> Iterator[Sink]:
    with a_sink() as started:
        yield started


@pytest.fixture
def rt(db: Engine) -> Iterator[Runtime]:
    poster = HttpPoster(allow_private=True)
    yield a_runtime(db, poster=poster)
    poster.close()


def subscribe(rt: Runtime, url: str, *types: str) -> tuple[UUID, str]:
    created = endpoints.create(rt, url, types=types)
    return UUID(created.endpoint["id"]), created.secret


def order(sink: Sink) -> dict[str, list[int]]:
    by_subject = defaultdict(list)
    for received in sink.received:
        by_subject[received.event["subject"]].append(received.event["sequence"])
    return dict(by_subject)


def tell_and_post(rt: Runtime, endpoint_id: UUID, *subjects: str) -> PostOutcome:
    tell(rt.db, *subjects)
    number_all(rt)
    return post_waiting(rt, endpoint_id)


def one(db: Engine, statement: str) -> Any:
    with db.begin() as tx:
        return tx.execute(text(statement)).scalar_one()


def be_late(db: Engine) -> None:
    """Let the next try of everything be due now."""
    with db.begin() as tx:
        tx.execute(text("UPDATE endpoints SET due_at = now(), held_until = NULL"))
        tx.execute(text("UPDATE postings SET due_at = now() WHERE state = 'waiting'"))


def states(db: Engine) -> list[tuple[str, int]]:
    with db.begin() as tx:
        query = select(POSTINGS.c.state, POSTINGS.c.tries).order_by(POSTINGS.c.position)
        return [tuple(row) for row in tx.execute(query)]


def test_what_waits_is_posted_signed_and_recorded(rt: Runtime, sink: Sink) -> None:
    endpoint_id, secret = subscribe(rt, sink.url)

    outcome = tell_and_post(rt, endpoint_id, "bot/a")

    (received,) = sink.received
    assert (
        standardwebhooks.Webhook(secret).verify(received.body, dict(received.headers)) == received.event
    )
    assert received.headers["webhook-id"] == received.event["id"]
    assert (outcome.turn, outcome.delivered, outcome.failed) == (Outcome.FINISHED, 1, 0)
    assert states(rt.db) == [("delivered", 1)]
    assert one(rt.db, "SELECT wanted = done FROM endpoints")
    assert one(rt.db, "SELECT count(*) FROM attempts WHERE succeeded AND status = 204") == 1


def test_nothing_is_posted_when_nothing_waits(rt: Runtime, sink: Sink) -> None:
    endpoint_id, _ = subscribe(rt, sink.url)

    assert post_waiting(rt, endpoint_id).turn is Outcome.NOTHING_DUE
    assert sink.received == []


def test_each_subject_is_posted_in_order(rt: Runtime, sink: Sink) -> None:
    endpoint_id, _ = subscribe(rt, sink.url)

    tell_and_post(rt, endpoint_id, *["bot/a", "bot/b", "calendar/c"] * 10)

    assert order(sink) == {subject: list(range(1, 11)) for subject in ("bot/a", "bot/b", "calendar/c")}


def test_subjects_go_out_side_by_side(rt: Runtime, sink: Sink) -> None:
    sink.reply = lambda _: Reply(wait_s=0.3)
    endpoint_id, _ = subscribe(rt, sink.url)
    began = time.monotonic()

    tell_and_post(rt, endpoint_id, *[f"bot/{nth}" for nth in range(8)])

    assert len(sink.received) == 8
    assert time.monotonic() - began < 1.5


def test_a_failure_holds_up_its_own_subject_only(rt: Runtime, sink: Sink) -> None:
    sink.reply = lambda received: Reply(422 if received.event["subject"] == "bot/a" else 204)
    endpoint_id, _ = subscribe(rt, sink.url)

    tell_and_post(rt, endpoint_id, "bot/a", "bot/a", "bot/b", "bot/b")

    assert order(sink) == {"bot/a": [1], "bot/b": [1, 2]}

    sink.reply = lambda _: Reply()
    be_late(rt.db)
    post_waiting(rt, endpoint_id)

    assert order(sink) == {"bot/a": [1, 1, 2], "bot/b": [1, 2]}


def test_a_repeat_carries_the_same_id_and_a_new_time(rt: Runtime, sink: Sink) -> None:
    sink.reply = lambda _: Reply(500)
    endpoint_id, _ = subscribe(rt, sink.url)

    tell_and_post(rt, endpoint_id, "bot/a")
    be_late(rt.db)
    post_waiting(rt, endpoint_id)

    first, second = sink.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body


@pytest.mark.parametrize(
    "reply",
    [Reply(500), Reply(404), Reply(418), Reply(302, {"location": "/"}), Reply(reset=True)],
    ids=["500", "404", "418", "302", "reset"],
)
def test_a_failed_post_is_tried_again_after_5_s(rt: Runtime, sink: Sink, reply: Reply) -> None:
    sink.reply = lambda _: reply
    endpoint_id, _ = subscribe(rt, sink.url)

    outcome = tell_and_post(rt, endpoint_id, "bot/a")

    assert (outcome.delivered, outcome.failed) == (0, 1)
    assert states(rt.db) == [("waiting", 1)]
    assert 3 < one(rt.db, "SELECT extract(epoch FROM due_at - now()) FROM endpoints") <= 5
    assert one(rt.db, "SELECT wanted > done AND parked_at IS NULL AND tries = 0 FROM endpoints")
    assert one(rt.db, "SELECT failing_since IS NOT NULL FROM endpoints")


def test_the_waits_are_those_of_the_contract() -> None:
    minutes = [wait.total_seconds() / 60 for wait in WAITS]

    assert minutes == [5 / 60, 5, 30, 120, 300, 600, 840, 1200, 1440]
    assert wait_after(1, chance=0.0) == WAITS[0]
    assert WAITS[8] < (wait_after(9, chance=0.99) or WAITS[0]) < 1.3 * WAITS[8]
    assert wait_after(10, chance=0.0) is None


def test_after_ten_tries_a_posting_has_failed_and_its_subject_goes_on(rt: Runtime, sink: Sink) -> None:
    sink.reply = lambda received: Reply(500 if received.event["sequence"] == 1 else 204)
    endpoint_id, _ = subscribe(rt, sink.url)
    tell_and_post(rt, endpoint_id, "bot/a", "bot/a")

    for _ in range(9):
        be_late(rt.db)
        post_waiting(rt, endpoint_id)

    assert order(sink) == {"bot/a": [1] * 10 + [2]}
    assert states(rt.db) == [("failed", 10), ("delivered", 1)]
    assert one(rt.db, "SELECT wanted = done FROM endpoints")


def test_410_disables_the_endpoint_and_keeps_what_it_was_owed(rt: Runtime, sink: Sink) -> None:
    sink.reply = lambda _: Reply(410)
    endpoint_id, _ = subscribe(rt, sink.url)

    outcome = tell_and_post(rt, endpoint_id, "bot/a")
    tell_and_post(rt, endpoint_id, "bot/b")

    assert outcome.disabled == "the endpoint answered 410 Gone"
    shown = endpoints.get(rt, endpoint_id)
    assert shown is not None
    assert (shown["state"], shown["state_reason"]) == ("disabled", "the endpoint answered 410 Gone")
    assert len(sink.received) == 1
    assert one(rt.db, "SELECT wanted = done FROM endpoints")

    sink.reply = lambda _: Reply()
    endpoints.patch(rt, endpoint_id, {"state": "active"})
    post_waiting(rt, endpoint_id)

    assert order(sink) == {"bot/a": [1, 1]}


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_endpoint_is_left_alone_for_as_long_as_it_asks(
    rt: Runtime, sink: Sink, status: int
) -> None:
    sink.reply = lambda _: Reply(status, {"retry-after": "120"})
    endpoint_id, _ = subscribe(rt, sink.url)

    tell_and_post(rt, endpoint_id, *[f"bot/{nth}" for nth in range(20)])
    tell_and_post(rt, endpoint_id, "bot/new")

    assert len(sink.received) <= 8
    assert 100 < one(rt.db, "SELECT extract(epoch FROM due_at - now()) FROM endpoints") <= 120


def test_a_long_retry_after_is_capped(rt: Runtime, sink: Sink) -> None:
    sink.reply = lambda _: Reply(503, {"retry-after": "86400"})
    endpoint_id, _ = subscribe(rt, sink.url)

    tell_and_post(rt, endpoint_id, "bot/a")

    assert 800 < one(rt.db, "SELECT extract(epoch FROM due_at - now()) FROM endpoints") <= 900


def test_an_endpoint_that_does_not_answer_is_not_asked_for_everything(rt: Runtime, sink: Sink) -> None:
    sink.reply = lambda _: Reply(reset=True)
    endpoint_id, _ = subscribe(rt, sink.url)

    tell_and_post(rt, endpoint_id, *[f"bot/{nth}" for nth in range(30)])
    assert len(sink.received) == 8
    be_late(rt.db)
    post_waiting(rt, endpoint_id)

    assert len(sink.received) == 9


def test_an_endpoint_that_recovers_gets_everything(rt: Runtime, sink: Sink) -> None:
    sink.reply = lambda _: Reply(503)
    endpoint_id, _ = subscribe(rt, sink.url)
    tell_and_post(rt, endpoint_id, *[f"bot/{nth % 7}" for nth in range(30)])

    sink.received.clear()
    sink.reply = lambda _: Reply()
    be_late(rt.db)
    outcome = post_waiting(rt, endpoint_id)

    assert outcome.delivered == 30
    assert all(numbers == sorted(numbers) for numbers in order(sink).values())
    assert one(rt.db, "SELECT failing_since IS NULL AND held_until IS NULL FROM endpoints")


def test_five_days_of_only_failures_disable_an_endpoint(rt: Runtime, sink: Sink) -> None:
    sink.reply = lambda _: Reply(500)
    endpoint_id, _ = subscribe(rt, sink.url)
    tell_and_post(rt, endpoint_id, "bot/a", "bot/b")

    for age in ("4 days 23 hours", "5 days"):
        assert one(rt.db, "SELECT state FROM endpoints") == "active"
        with rt.db.begin() as tx:
            tx.execute(text(f"UPDATE endpoints SET failing_since = now() - interval '{age}'"))
        be_late(rt.db)
        post_waiting(rt, endpoint_id)

    assert one(rt.db, "SELECT state_reason FROM endpoints") == "nothing but failures for 5 days"


def test_one_success_ends_a_row_of_failures(rt: Runtime, sink: Sink) -> None:
    sink.reply = lambda received: Reply(500 if received.event["subject"] == "bot/a" else 204)
    endpoint_id, _ = subscribe(rt, sink.url)
    tell_and_post(rt, endpoint_id, "bot/a")
    with rt.db.begin() as tx:
        tx.execute(text("UPDATE endpoints SET failing_since = now() - interval '4 days'"))

    tell_and_post(rt, endpoint_id, "bot/b")

    assert one(rt.db, "SELECT failing_since IS NULL FROM endpoints")


def test_one_slow_endpoint_delays_no_other(rt: Runtime, sink: Sink) -> None:
    with a_sink(lambda _: Reply(wait_s=3)) as slow:
        slow_id, _ = subscribe(rt, slow.url)
        quick_id, _ = subscribe(rt, sink.url)
        tell(rt.db, *[f"bot/{nth}" for nth in range(20)])
        number_all(rt)

        with ThreadPoolExecutor(2) as pool:
            began = time.monotonic()
            slowly = pool.submit(post_waiting, rt, slow_id)
            quickly = pool.submit(post_waiting, rt, quick_id).result()
            took = time.monotonic() - began
            slow.stopping.set()
            slowly.result()

    assert quickly.delivered == 20
    assert took < 2


def test_a_worker_that_dies_after_posting_posts_the_same_again(rt: Runtime, sink: Sink) -> None:
    class Died(BaseException):
        pass

    endpoint_id, _ = subscribe(rt, sink.url)
    real = rt.poster

    class DyingPoster(FakePoster):
        def post(self, *args: Any, **kwargs: Any) -> PostAnswer:
            real.post(*args, **kwargs)
            raise Died

    with pytest.raises(Died):
        tell_and_post(a_runtime(rt.db, poster=DyingPoster()), endpoint_id, "bot/a")
    assert post_waiting(rt, endpoint_id).turn is Outcome.NOTHING_DUE
    with rt.db.begin() as tx:
        tx.execute(text("UPDATE endpoints SET lease_until = now() - interval '1 s'"))
    post_waiting(rt, endpoint_id)

    assert order(sink) == {"bot/a": [1, 1]}
    assert len({received.headers["webhook-id"] for received in sink.received}) == 1


def test_a_run_that_posted_something_did_not_die_for_nothing(rt: Runtime) -> None:
    """Else the fifth kill in a row would set a busy endpoint aside that nothing is wrong with."""

    class Died(BaseException):
        pass

    endpoint_id, _ = subscribe(rt, "https://hooks.example.com/punctual")
    with rt.db.begin() as tx:
        tx.execute(text("UPDATE endpoints SET crashes = 3"))
    posted = 0

    class DyingPoster(FakePoster):
        def post(self, *args: Any, **kwargs: Any) -> PostAnswer:
            nonlocal posted
            posted += 1
            if posted > SIDE_BY_SIDE:
                raise Died
            return super().post(*args, **kwargs)

    subjects = [f"bot/{number}" for number in range(SIDE_BY_SIDE + 1)]
    with pytest.raises(Died):
        tell_and_post(a_runtime(rt.db, poster=DyingPoster()), endpoint_id, *subjects)

    assert one(rt.db, "SELECT crashes FROM endpoints") == 0


def test_a_run_that_died_at_its_first_post_did(rt: Runtime) -> None:
    class Died(BaseException):
        pass

    endpoint_id, _ = subscribe(rt, "https://hooks.example.com/punctual")

    class DyingPoster(FakePoster):
        def post(self, *args: Any, **kwargs: Any) -> PostAnswer:
            raise Died

    with pytest.raises(Died):
        tell_and_post(a_runtime(rt.db, poster=DyingPoster()), endpoint_id, "bot/a")

    assert one(rt.db, "SELECT crashes FROM endpoints") == 1


def test_a_run_that_lost_its_lease_records_nothing(rt: Runtime, sink: Sink) -> None:
    endpoint_id, _ = subscribe(rt, sink.url)

    def lose_the_lease(_: Received) -> Reply:
        with rt.db.begin() as tx:
            tx.execute(text("UPDATE endpoints SET fence = fence + 1"))
        return Reply()

    sink.reply = lose_the_lease
    outcome = tell_and_post(rt, endpoint_id, "bot/a")

    assert outcome.turn is Outcome.LOST
    assert states(rt.db) == [("waiting", 0)]
    assert one(rt.db, "SELECT wanted > done FROM endpoints")


def test_an_endpoint_deleted_while_posting_is_let_go(rt: Runtime, sink: Sink) -> None:
    endpoint_id, _ = subscribe(rt, sink.url)

    def delete_it(_: Received) -> Reply:
        endpoints.delete(rt, endpoint_id)
        return Reply()

    sink.reply = delete_it

    assert tell_and_post(rt, endpoint_id, "bot/a").turn is Outcome.LOST


def test_no_transaction_is_open_while_posting(db: Engine) -> None:
    open_ones = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE state LIKE 'idle in%' AND datname = current_database()"
    )
    counts = []

    def count(_url: str, _id: str) -> PostAnswer:
        counts.append(one(db, open_ones))
        return PostAnswer(204, None, None, 1)

    rt = a_runtime(db, poster=FakePoster(count))
    endpoint_id, _ = subscribe(rt, "https://example.com/")

    tell_and_post(rt, endpoint_id, "bot/a")

    assert counts == [0]


def test_what_comes_while_posting_is_posted_too_or_stays_due(rt: Runtime, sink: Sink) -> None:
    endpoint_id, _ = subscribe(rt, sink.url)

    def tell_more(received: Received) -> Reply:
        if received.event["subject"] == "bot/a":
            tell(rt.db, "bot/later")
            number_all(rt)
        return Reply()

    sink.reply = tell_more
    tell_and_post(rt, endpoint_id, "bot/a")
    post_waiting(rt, endpoint_id)

    assert order(sink) == {"bot/a": [1], "bot/later": [1]}
    assert one(rt.db, "SELECT wanted = done FROM endpoints")


def test_a_run_ends_in_time_and_rings_for_the_rest(db: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.posting.ROUNDS_BEGIN_WITHIN", WAITS[0] * 0.1)

    def answer(_url: str, _id: str) -> PostAnswer:
        time.sleep(0.3)
        return PostAnswer(204, None, None, 300)

    bell = FakeBell()
    rt = a_runtime(db, poster=FakePoster(answer), bell=bell)
    endpoint_id, _ = subscribe(rt, "https://example.com/")

    outcome = tell_and_post(rt, endpoint_id, *["bot/a"] * 10)

    assert 1 <= outcome.delivered < 10
    assert bell.rings[-1] == ("post", str(endpoint_id))
    assert one(db, "SELECT wanted > done AND due_at <= now() AND lease_until IS NULL FROM endpoints")


def test_emitters_relays_and_posters_at_once_lose_nothing(rt: Runtime, sink: Sink) -> None:
    flaky = {"n": 0}
    lock = threading.Lock()

    def reply(_: Received) -> Reply:
        with lock:
            flaky["n"] += 1
            return Reply(500 if flaky["n"] % 9 == 0 else 204)

    sink.reply = reply
    endpoint_id, _ = subscribe(rt, sink.url)
    stop = threading.Event()

    def keep_posting() -> None:
        while not stop.is_set():
            number_all(rt)
            post_waiting(rt, endpoint_id)
            be_late(rt.db)

    with ThreadPoolExecutor(3) as pool:
        posters = [pool.submit(keep_posting) for _ in range(2)]
        for nth in range(30):
            tell(rt.db, f"bot/{nth % 4}", "calendar/x")
        until = time.monotonic() + 20
        while time.monotonic() < until:
            if one(rt.db, "SELECT count(*) FROM postings WHERE state = 'delivered'") == 60:
                break
            time.sleep(0.05)
        stop.set()
        for poster in posters:
            poster.result()

    assert one(rt.db, "SELECT count(*) FROM postings WHERE state = 'delivered'") == 60
    for numbers in order(sink).values():
        firsts = list(dict.fromkeys(numbers))
        assert firsts == list(range(1, len(firsts) + 1))
