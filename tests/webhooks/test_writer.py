"""Commits: together, before the answer, exactly once, and honest about what could not be done."""

from __future__ import annotations

import asyncio
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx
import psycopg
import pytest
import uvloop
from sqlalchemy import Engine, event, func, select, text
from sqlalchemy.engine import make_url
from structlog.testing import capture_logs

from models.db import make_engine
from models.tables.base import new_id
from models.tables.calendars import Calendar
from models.tables.due import ask, table_of
from models.tables.inbox import Delivery
from tests.webhooks.gate import Gate, gate_to
from tests.webhooks.sending import (
    CALENDAR,
    RememberingBell,
    Sender,
    a_runtime,
    add_calendar,
    calendar,
    calendar_update,
    deliveries,
    signed_headers,
    sync_events,
)
from webhooks import arrivals
from webhooks.app import create_app
from webhooks.arrivals import Arrival, Ask, Inbox
from webhooks.line import Line
from webhooks.receive import LARGEST_BODY
from webhooks.server import serving
from webhooks.writer import Verdict, Writer
from worker.jobs import SYNC_WORKSPACE, TAKE_IN

Result = TypeVar("Result")

OTHER_CALENDAR = "6f1c1d1c-0d2f-4ee2-9a2e-4f0e57a0f002"


@pytest.fixture
def gate(database_url: str, db: Engine) -> Iterator[Gate]:
    with gate_to(database_url) as found:
        yield found


@contextmanager
def a_receiver(url: str, **settings: Any) -> Iterator[Sender]:
    """A receiver whose database is at *url*."""
    engine = make_engine(url, pool_size=2, overflow=2)
    with (
        serving(create_app(a_runtime(engine, **settings))) as base_url,
        httpx.Client(base_url=base_url, timeout=10) as client,
    ):
        yield Sender(base_url, client)
    engine.dispose()


def an_arrival(message_id: str, *, ref: str = CALENDAR, body: bytes = b"{}") -> Arrival:
    return Arrival(
        message_id,
        body,
        "stored",
        "calendar.sync_events",
        ref,
        ask=Ask.SYNC,
        job=SYNC_WORKSPACE,
    )


def with_writer(engine: Engine, use: Callable[[Writer], Awaitable[Result]]) -> Result:
    """Run *use* with a writer."""

    async def run() -> Result:
        writer = Writer(engine, source="recall", ring=RememberingBell().ring)
        writer.start()
        try:
            return await use(writer)
        finally:
            await writer.stop()

    return asyncio.run(run())


def posted(sender: Sender, body: bytes = b"", **more: Any) -> tuple[httpx.Response, float]:
    """Post a delivery; the answer and how long it took are returned."""
    began = time.monotonic()
    answer = sender.post(body or sync_events(), **more)
    return answer, time.monotonic() - began


# Together, and exactly once


def test_many_senders_at_once_are_all_stored_exactly_once(
    sender: Sender, db: Engine, bell: RememberingBell
) -> None:
    """500 posts over 16 connections, a third of them repeats, and every answer is looked up at once."""
    chance = random.Random(7)
    refs = [f"{number:08x}-0d2f-4ee2-9a2e-4f0e57a0f001" for number in range(20)]
    ids = {ref: add_calendar(db, ref) for ref in refs}
    fresh = []
    for number in range(333):
        body = sync_events(chance.choice(refs), n=number)
        fresh.append((body, signed_headers(body, message_id=f"msg_{number}")))
    posts = [*fresh, *chance.choices(fresh, k=167)]
    chance.shuffle(posts)
    table = table_of(Delivery)

    def post(one: tuple[bytes, dict[str, str]]) -> tuple[int, bool]:
        answer = sender.post(one[0], headers=one[1])
        with db.begin() as tx:
            stored = tx.execute(
                select(table.c.id).where(table.c.message_id == one[1]["svix-id"])
            ).first()
        return answer.status_code, stored is not None

    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(post, posts))

    assert Counter(outcomes) == {(204, True): 500}
    stored = deliveries(db)
    assert {row["message_id"]: row["body"] for row in stored} == {
        headers["svix-id"]: body for body, headers in fresh
    }
    assert len(stored) == 333
    nudges = Counter(row["ref"] for row in stored)
    for ref, calendar_id in ids.items():
        assert (0 < calendar(db, calendar_id)["wanted"] <= nudges[ref]) or not nudges[ref]


def test_what_waits_is_committed_together(db: Engine) -> None:
    async def store_all(writer: Writer) -> Sequence[Verdict]:
        return await asyncio.gather(
            *(writer.store(an_arrival(f"msg_{number}")) for number in range(200))
        )

    verdicts = with_writer(db, store_all)

    assert set(verdicts) == {Verdict.STORED}
    with db.begin() as tx:
        transactions = tx.execute(
            text("SELECT count(DISTINCT xmin::text) FROM deliveries")
        ).scalar_one()
    assert transactions < 20


def test_one_id_twice_in_a_group_is_one_delivery(db: Engine) -> None:
    async def store_both(writer: Writer) -> Sequence[Verdict]:
        return await asyncio.gather(
            *(writer.store(an_arrival("msg_1", body=body)) for body in (b"{}", b"{}", b'{"other":1}'))
        )

    with capture_logs() as logs:
        verdicts = with_writer(db, store_both)

    assert verdicts == [Verdict.STORED, Verdict.REPEATED, Verdict.REPEATED]
    assert [row["body"] for row in deliveries(db)] == [b"{}"]
    assert [line["event"] for line in logs] == ["delivery_body_differs"]


def test_two_receivers_with_the_same_deliveries_do_not_get_in_each_others_way(db: Engine) -> None:
    refs = [f"{number:08x}-0d2f-4ee2-9a2e-4f0e57a0f001" for number in range(30)]
    for ref in refs:
        add_calendar(db, ref)

    async def race() -> Counter[Verdict]:
        writers = [Writer(db, source="recall", ring=RememberingBell().ring) for _ in range(2)]
        for writer in writers:
            writer.start()
        seen: Counter[Verdict] = Counter()
        for round_number in range(10):
            arrivals = [(f"msg_{round_number}_{number}", ref) for number, ref in enumerate(refs)]
            found = await asyncio.gather(
                *(
                    writer.store(an_arrival(message_id, ref=ref))
                    for writer in writers
                    for message_id, ref in random.sample(arrivals, len(arrivals))
                )
            )
            seen.update(found)
        for writer in writers:
            await writer.stop()
        return seen

    assert asyncio.run(race()) == {Verdict.STORED: 300, Verdict.REPEATED: 300}


def test_the_answer_comes_after_the_commit(sender: Sender, db: Engine) -> None:
    """Somebody else is about to commit the same id: until that is decided there is no answer."""
    body = sync_events()
    headers = signed_headers(body, message_id="msg_1")
    with ThreadPoolExecutor(1) as pool:
        with db.begin() as tx:
            tx.execute(
                text(
                    "INSERT INTO deliveries (id, source, message_id, body) VALUES (:id, 'recall', 'msg_1', :b)"
                ),
                {"id": new_id(), "b": body},
            )
            answer = pool.submit(sender.post, body, headers=headers)
            time.sleep(0.2)
            was_answered = answer.done()

        assert not was_answered
        assert answer.result().status_code == 204
    assert len(deliveries(db)) == 1


def test_an_answer_means_flushed_to_disk_whatever_the_servers_default_is(
    db: Engine, database_url: str
) -> None:
    name = make_url(database_url).database
    with db.begin() as tx:
        tx.execute(text(f'ALTER DATABASE "{name}" SET synchronous_commit = off'))
    hasty = make_engine(database_url)
    inbox = Inbox(hasty, source="recall", notify=False)
    try:
        with hasty.begin() as tx:
            others = tx.execute(text("SHOW synchronous_commit")).scalar_one()
        line = asyncio.run(inbox.open())
        ours = line._connection.execute("SHOW synchronous_commit").fetchone()
    finally:
        inbox.close()
        hasty.dispose()
        with db.begin() as tx:
            tx.execute(text(f'ALTER DATABASE "{name}" RESET synchronous_commit'))

    assert (others, ours) == ("off", ("on",))


@pytest.mark.parametrize("by_id", [False, True], ids=["their name", "our id"])
@pytest.mark.parametrize("rows", [0, 3], ids=["empty", "small and analysed"])
def test_a_plan_made_for_small_tables_is_right_for_large_ones(
    db: Engine, rows: int, *, by_id: bool
) -> None:
    """It is kept for the life of the connection: every row has to be looked up by all of its key."""
    for number in range(rows):
        add_calendar(db, f"calendar_{number}")
    inbox = Inbox(db, source="recall", notify=True, by_id=by_id)
    group = [an_arrival(f"msg_{number}") for number in range(rows)] or [an_arrival("msg")]
    asyncio.run(inbox.store([one._replace(ref=str(new_id())) for one in group] if by_id else group))
    with db.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE calendars, deliveries"))
    plans = []
    for name in arrivals._prepared(""):
        assert inbox._line is not None
        explained = inbox._line._connection.execute(
            f"EXPLAIN EXECUTE {name} ('recall', true, '{new_id()}', 'msg_next', '', '{new_id()}',"
            " ARRAY['{}'::bytea], 'stored', '', 'sync', '')"
        )
        plans.append("\n".join(row[0] for row in explained))
    inbox.close()

    for plan in plans:
        assert not re.search("Seq Scan|Hash Join|Hash .*Join|Merge|Bitmap|Materialize", plan)
        for found in re.finditer(r"Index (?:Only )?Scan using (\w+).*\n\s+Index Cond: (.*)", plan):
            keys = {"ix_calendars_source_external_id": "external_id", "pk_calendars": "id ="}
            keys["uq_calendars_source_external_id"] = "external_id"
            assert keys.get(found[1], "message_id") in found[2]
        assert plan.count("Index Scan") == plan.count("Index Cond") >= 3
        # Which walks them in the order of the key, as everybody locks calendars.
        assert re.search(r"Update on calendars.*\n(.*\n)*.*Index Cond: \(id = ANY", plan)


def test_a_group_larger_than_the_line_takes_at_once_is_stored_whole(db: Engine) -> None:
    inbox = Inbox(db, source="recall", notify=False)
    group = [
        an_arrival(f"msg_{number}", body=random.Random(number).randbytes(10**6)) for number in range(8)
    ]

    async def store() -> None:
        await inbox.store(group)
        inbox.close()

    asyncio.run(store())

    assert {row["message_id"]: row["body"] for row in deliveries(db)} == {
        one.message_id: one.body for one in group
    }


# Waking the workers


def test_in_the_embedded_mode_the_commit_itself_wakes_the_workers(
    db: Engine, database_url: str
) -> None:
    add_calendar(db)
    bell = RememberingBell()
    runtime = a_runtime(db, bell=bell, broker_url="memory://")
    body = sync_events()
    repeated = signed_headers(body)
    with (
        psycopg.connect(database_url, autocommit=True) as ear,
        serving(create_app(runtime)) as url,
        httpx.Client(base_url=url) as client,
    ):
        ear.execute("LISTEN punctual")
        sender = Sender(url, client)
        for one in (repeated, repeated):
            sender.post(body, headers=one)
        sender.post(calendar_update())
        sender.post(sync_events(OTHER_CALENDAR))
        sender.post(b'{"event":"some.thing"}')
        sender.post(b"junk")
        heard = [notify.payload for notify in ear.notifies(timeout=0.3)]

    assert heard == [SYNC_WORKSPACE, TAKE_IN, TAKE_IN]
    assert bell.rings == []


def test_rings_of_one_group_are_rung_once(db: Engine) -> None:
    add_calendar(db)
    bell = RememberingBell()

    async def run() -> None:
        writer = Writer(db, source="recall", ring=bell.ring)
        await asyncio.gather(*(store_started(writer, f"msg_{number}") for number in range(50)))
        await writer.stop()

    async def store_started(writer: Writer, message_id: str) -> None:
        if not writer.is_writing:
            writer.start()
        await writer.store(an_arrival(message_id))

    asyncio.run(run())

    assert 1 <= len(bell.rings) <= 10
    assert set(bell.rings) == {(SYNC_WORKSPACE, None)}


# Not able to commit


def test_without_a_database_the_sender_is_told_to_come_again(gate: Gate, db: Engine) -> None:
    """R75, and recovery."""
    gate.shut()
    body = sync_events()
    headers = signed_headers(body)
    with a_receiver(gate.url) as sender:
        refused, took = posted(sender, body, headers=headers)
        gate.open()
        accepted, _ = posted(sender, body, headers=headers)

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert took < 3
    assert accepted.status_code == 204
    assert len(deliveries(db)) == 1


def test_nobody_waits_longer_than_three_seconds_for_a_database_that_is_silent(
    gate: Gate, db: Engine
) -> None:
    with a_receiver(gate.url) as sender:
        assert posted(sender)[0].status_code == 204
        gate.freeze()
        with ThreadPoolExecutor(8) as pool:
            outcomes = list(pool.map(lambda _: posted(sender), range(8)))
        gate.open()
        again, took = posted(sender)

    assert [answer.status_code for answer, _ in outcomes] == [503] * 8
    assert max(took for _, took in outcomes) < 3
    assert again.status_code == 204
    assert took < 2


def test_a_connection_whose_other_end_is_lost_is_given_up(gate: Gate, db: Engine) -> None:
    """No end of the connection comes, no reset, no time-out of the server: only silence."""
    with a_receiver(gate.url) as sender:
        posted(sender)
        gate.lose()
        lost, _ = posted(sender)
        time.sleep(0.5)
        again, took = posted(sender)

    assert (lost.status_code, again.status_code) == (503, 204)
    assert took < 1


def test_a_commit_nobody_confirmed_is_not_repeated_when_the_sender_comes_again(
    gate: Gate, db: Engine
) -> None:
    calendar_id = add_calendar(db)
    body = sync_events()
    headers = signed_headers(body)
    with a_receiver(gate.url) as sender:
        posted(sender, calendar_update(OTHER_CALENDAR))  # so that there is a connection
        gate.go_mute()
        unknown, took = posted(sender, body, headers=headers)
        gate.cut()
        gate.open()
        again, _ = posted(sender, body, headers=headers)

    assert (unknown.status_code, again.status_code) == (503, 204)
    assert took < 3
    assert [row["body"] for row in deliveries(db) if row["ref"] == CALENDAR] == [body]
    assert calendar(db, calendar_id)["wanted"] == 1


def test_a_connection_lost_while_idle_costs_no_answer(gate: Gate, db: Engine) -> None:
    with a_receiver(gate.url) as sender:
        posted(sender)
        gate.cut()
        after_cut, _ = posted(sender)
        with db.begin() as tx:
            tx.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE pid <> pg_backend_pid() AND query LIKE '%arrived%'"
                )
            )
        after_kill, _ = posted(sender)

    assert (after_cut.status_code, after_kill.status_code) == (204, 204)
    assert len(deliveries(db)) == 3


def test_of_a_group_only_what_is_about_a_held_calendar_is_left_out(db: Engine) -> None:
    held, free = add_calendar(db), add_calendar(db, OTHER_CALENDAR)
    inbox = Inbox(db, source="recall", notify=False)
    group = [
        an_arrival("msg_1"),
        an_arrival("msg_2", ref=OTHER_CALENDAR),
        an_arrival("msg_3", ref="unknown"),
    ]
    with db.begin() as tx:
        tx.execute(text("SELECT 1 FROM calendars WHERE id = :id FOR UPDATE"), {"id": held})
        stored = asyncio.run(inbox.store(group))
    inbox.close()

    assert stored.repeated == set()
    assert stored.left_out == {group[0].message_id}
    assert stored.rings == {SYNC_WORKSPACE, TAKE_IN}
    assert (calendar(db, held)["wanted"], calendar(db, free)["wanted"]) == (0, 1)


def test_whoever_holds_a_calendar_holds_up_only_its_own_nudges(sender: Sender, db: Engine) -> None:
    held, free = add_calendar(db), add_calendar(db, OTHER_CALENDAR)
    body = sync_events()
    headers = signed_headers(body)
    sender.post(calendar_update("00000000-0000-4000-8000-000000000000"))
    with db.begin() as tx:
        tx.execute(text("SELECT 1 FROM calendars WHERE id = :id FOR UPDATE"), {"id": held})
        with ThreadPoolExecutor(2) as pool:
            futures = [
                pool.submit(posted, sender, body, headers=headers),
                pool.submit(posted, sender, sync_events(OTHER_CALENDAR)),
            ]
            (for_held, took), (for_free, _) = [future.result() for future in futures]
    again = sender.post(body, headers=headers)

    assert (for_held.status_code, for_free.status_code, again.status_code) == (503, 204, 204)
    assert took < 3
    assert (calendar(db, held)["wanted"], calendar(db, free)["wanted"]) == (1, 1)
    assert Counter(row["ref"] for row in deliveries(db))[CALENDAR] == 1


def test_an_ask_that_somebody_else_was_just_making_is_not_lost(sender: Sender, db: Engine) -> None:
    calendar_id = add_calendar(db)
    with ThreadPoolExecutor(1) as pool:
        with db.begin() as tx:
            ask(tx, Calendar, [calendar_id])
            answer = pool.submit(posted, sender, calendar_update())
            time.sleep(0.2)
        assert answer.result()[0].status_code == 204

    asked = calendar(db, calendar_id)
    assert (asked["wanted"], asked["needs_check"]) == (2, True)


def test_inserting_events_of_a_calendar_does_not_hold_up_its_nudges(sender: Sender, db: Engine) -> None:
    """Rows that refer to a calendar lock its key, which a nudge does not touch."""
    calendar_id = add_calendar(db)
    with db.begin() as tx:
        tx.execute(text("SELECT 1 FROM calendars WHERE id = :id FOR KEY SHARE"), {"id": calendar_id})
        answer, took = posted(sender)

    assert answer.status_code == 204
    assert took < 0.4


@pytest.mark.parametrize(
    ("number", "size"), [(10_001, 2), (129, LARGEST_BODY)], ids=["by number", "by size"]
)
def test_what_waits_for_the_database_is_bounded(gate: Gate, db: Engine, number: int, size: int) -> None:
    engine = make_engine(gate.url)
    gate.freeze()
    body = b"x" * size

    async def overfill(writer: Writer) -> tuple[float, Sequence[Verdict]]:
        waiting = [
            asyncio.create_task(writer.store(an_arrival(f"msg_{at}", body=body)))
            for at in range(number)
        ]
        began = time.monotonic()
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        took = time.monotonic() - began
        return took, await asyncio.gather(*waiting)

    took, verdicts = with_writer(engine, overfill)
    engine.dispose()

    assert took < 1
    assert set(verdicts) == {Verdict.UNAVAILABLE}


def test_a_stopped_writer_has_committed_what_it_had_and_takes_no_more(db: Engine) -> None:
    async def run() -> tuple[Sequence[Verdict], Verdict]:
        writer = Writer(db, source="recall", ring=RememberingBell().ring)
        writer.start()
        waiting = [
            asyncio.create_task(writer.store(an_arrival(f"msg_{number}"))) for number in range(20)
        ]
        await asyncio.sleep(0)
        await writer.stop()
        return await asyncio.gather(*waiting), await writer.store(an_arrival("msg_late"))

    in_time, late = asyncio.run(run())

    assert set(in_time) == {Verdict.STORED}
    assert late is Verdict.UNAVAILABLE
    assert len(deliveries(db)) == 20


def test_a_writer_keeps_one_connection_and_gives_it_back(database_url: str, db: Engine) -> None:
    before = {thread.name for thread in threading.enumerate()}
    engine = make_engine(database_url, pool_size=1, overflow=0)

    async def store_and_look(writer: Writer) -> int:
        await writer.store(an_arrival("msg_1"))
        with engine.begin() as tx:  # the pool of one is not used up
            return tx.execute(select(func.count()).select_from(Delivery)).scalar_one()

    assert with_writer(engine, store_and_look) == 1
    engine.dispose()
    assert {thread.name for thread in threading.enumerate()} <= before | {"asyncio_0"}


def test_a_line_that_was_lost_while_nothing_was_written_fails_at_once(db: Engine) -> None:
    """On the loop that the receiver runs on: it calls nobody about a socket that is in error."""
    inbox = Inbox(db, source="recall", notify=False)

    async def write_on_what_is_lost() -> float:
        await inbox.store([an_arrival("msg_first")])
        assert inbox._line is not None
        backend = inbox._line._connection.info.backend_pid
        with db.begin() as tx:
            tx.execute(text("SELECT pg_terminate_backend(:backend, 2000)"), {"backend": backend})
        began = time.monotonic()
        with pytest.raises(psycopg.OperationalError):
            await asyncio.wait_for(inbox.store([an_arrival("msg_second")]), 3)
        return time.monotonic() - began

    assert uvloop.run(write_on_what_is_lost()) < 1


def test_a_connection_that_comes_when_nobody_waits_for_it_any_more_is_closed(
    db: Engine, database_url: str
) -> None:
    engine = make_engine(database_url)
    is_connecting, may_go_on = threading.Event(), threading.Event()
    opened: list[psycopg.Connection[Any]] = []

    @event.listens_for(engine, "connect")
    def slowly(connection: psycopg.Connection[Any], _record: object) -> None:
        opened.append(connection)
        is_connecting.set()
        may_go_on.wait(10)

    async def give_up() -> None:
        opening = asyncio.create_task(Line.open(engine, session="SELECT 1", prepared={}))
        await asyncio.to_thread(is_connecting.wait, 10)
        opening.cancel()
        await asyncio.wait({opening})
        may_go_on.set()

    asyncio.run(give_up())

    assert [connection.closed for connection in opened] == [True]


def test_a_connection_that_came_just_before_nobody_waited_for_it_any_more_is_closed(
    db: Engine, database_url: str
) -> None:
    engine = make_engine(database_url)
    opened: list[psycopg.Connection[Any]] = []
    event.listen(engine, "connect", lambda connection, _record: opened.append(connection))

    async def give_up() -> None:
        opening = asyncio.create_task(Line.open(engine, session="SELECT 1", prepared={}))
        await asyncio.sleep(0)
        time.sleep(0.5)  # noqa: ASYNC251  # busy: when the loop looks, the line is there, and so is the end
        opening.cancel()
        await asyncio.wait({opening})
        assert opening.cancelled()

    asyncio.run(give_up())

    assert [connection.closed for connection in opened] == [True]


def test_a_connection_that_cannot_be_prepared_is_closed(db: Engine, database_url: str) -> None:
    engine = make_engine(database_url)
    opened: list[psycopg.Connection[Any]] = []
    event.listen(engine, "connect", lambda connection, _record: opened.append(connection))

    with pytest.raises(psycopg.errors.SyntaxError):
        asyncio.run(Line.open(engine, session="SELECT 1", prepared={"odd": "no statement"}))

    assert [connection.closed for connection in opened] == [True]
