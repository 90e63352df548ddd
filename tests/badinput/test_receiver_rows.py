"""Every row of the receiver's table, over raw sockets to a process of its own on a real database."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import Engine, delete, insert, update

from models.tables.base import new_id
from models.tables.calendars import Calendar
from models.tables.due import table_of
from models.tables.inbox import Delivery
from tests.badinput.corpus_receiver import ELSEWHERE_CALENDAR, NEVER, POLICY, ROWS
from tests.badinput.line import LONGEST_S, Heard
from tests.badinput.posts import Post
from tests.badinput.rows import Effect, Row, exists
from tests.badinput.served import Served, a_server, state_of
from tests.webhooks.gate import gate_to
from tests.webhooks.sending import OTHER_SECRET, SECRET, add_calendar, calendar, deliveries
from webhooks.payloads import Unusable, parse

pytestmark = pytest.mark.xdist_group("badinput")

#: A body of bad input takes at most so many times the processor time of a plain document of 200 kB.
MOST_TIMES_A_PLAIN_ONE = 20
PLAIN = json.dumps([{"n": str(number)} for number in range(14_000)])
#: Some alerts are written after the answer.
ALERT_WITHIN_S = 3.0

INPUTS = [
    pytest.param(row, label, id=f"{row.name} {row.about} - {label}")
    for row in ROWS
    for label in row.inputs
    if not row.pace_s
]
DRIPS = [(row, made()) for row in ROWS for made in row.inputs.values() if row.pace_s]


@dataclass(frozen=True)
class World:
    """The servers, by what is special about them, and what they may change."""

    servers: dict[str, Served]
    db: Engine
    calendar_id: UUID

    def tidy(self) -> dict[str, str]:
        """Forget deliveries and what they asked for; how the database looks then is returned."""
        with self.db.begin() as tx:
            tx.execute(delete(Delivery))
            tx.execute(update(table_of(Calendar)).values(wanted=0, done=0))
        return state_of(self.db)


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, database_url: str, clean: Engine, usual: Served
) -> Iterator[World]:
    folder: Path = tmp_path_factory.mktemp("servers")
    with ExitStack() as running, ThreadPoolExecutor() as pool:
        gate = running.enter_context(gate_to(database_url))
        urls = {"rotating": database_url, "secretless": database_url, "cut off": gate.url}
        secrets = {"rotating": f"{SECRET},{OTHER_SECRET}", "secretless": "", "cut off": SECRET}
        begun = {
            name: pool.submit(
                running.enter_context,
                a_server(folder, url, name=name, RECALL_WEBHOOK_SECRETS=secrets[name]),
            )
            for name, url in urls.items()
        }
        servers = {"usual": usual, **{name: server.result() for name, server in begun.items()}}
        gate.shut()
        calendar_id = add_calendar(clean)
        with clean.begin() as tx:
            tx.execute(
                insert(table_of(Calendar)).values(
                    id=new_id(), source="elsewhere", external_id=ELSEWHERE_CALENDAR, status="connected"
                )
            )
        yield World(servers, clean, calendar_id)


@pytest.mark.parametrize(("row", "label"), INPUTS)
def test_a_row_is_answered_as_the_table_says_and_changes_no_more(
    world: World, row: Row, label: str
) -> None:
    server = world.servers[row.to]
    before = world.tidy()
    made = row.inputs[label]()
    *first, last = made if isinstance(made, list) else [made]

    assert all(server.hear(request).status == 204 for request in first)
    heard = server.hear(last)

    judge(row, heard)
    check_effect(world, row, last, before)
    check_log(server, row)
    if row.to == "usual":
        assert server.hear(Post()()).status == 204


@pytest.mark.timeout(60)
def test_who_dawdles_is_told_the_time_while_others_are_served(world: World) -> None:
    server = world.servers["usual"]
    before = world.tidy()

    with ThreadPoolExecutor(len(DRIPS)) as pool:
        dawdling = [
            pool.submit(server.hear, drops, pace_s=row.pace_s)
            for row, drops in DRIPS
            if isinstance(drops, bytes)
        ]
        time.sleep(1)
        busy = [server.hear(Post(is_signed=False)()).seconds for _ in range(20)]
        heard = [one.result() for one in dawdling]

    for (row, _), one in zip(DRIPS, heard, strict=True):
        judge(row, one)
        assert 8 < one.seconds <= LONGEST_S
    assert max(busy) < 1
    assert state_of(world.db) == before
    check_log(server, DRIPS[0][0])


def judge(row: Row, heard: Heard) -> None:
    """Fail unless one answer came, a right one, in time, and the connection was closed after it."""
    assert heard.is_closed
    assert heard.seconds <= LONGEST_S
    assert heard.status in row.answers, heard.raw[:300]
    (answer,) = heard.answers
    if answer.status >= 400 and answer.body:
        assert answer.headers["content-type"] == "application/problem+json"
    match answer.status:
        case 401:
            # One body, and nothing in the headers that tells one reason from another.
            assert answer.body == UNIFORM
            assert set(answer.headers) - {"connection"} == {"date", "content-type", "content-length"}
        case 405:
            assert answer.headers["allow"] == "POST"
        case 503:
            assert int(answer.headers["retry-after"]) > 0
            assert heard.seconds < 3


UNIFORM = b'{"type": "about:blank", "title": "Unauthorized", "status": 401, "code": "unauthorized"}'


def check_effect(world: World, row: Row, request: bytes, before: dict[str, str]) -> None:
    """Fail unless the database holds what the row may leave, and nothing else has changed."""
    after = state_of(world.db)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    found = deliveries(world.db)
    asked = calendar(world.db, world.calendar_id)["wanted"]
    if row.effect is Effect.NOTHING:
        assert changed == set()
        return
    (stored,) = found
    states = {Effect.IGNORED: "ignored", Effect.QUARANTINED: "quarantined"}
    assert stored["state"] == states.get(row.effect, "stored")
    assert request.endswith(stored["body"]) or row.name == "R5"
    if row.effect is Effect.ASKED:
        assert (changed, asked, stored["reason"]) == ({"deliveries", "calendars"}, 1, None)
        return
    assert (changed, asked) == ({"deliveries"}, 0)
    expected = "unknown_calendar" if row.effect is Effect.UNKNOWN else row.reason
    assert stored["reason"] == expected or row.reason is None
    assert stored["ref"] is None or row.effect is not Effect.QUARANTINED


def check_log(server: Served, row: Row) -> None:
    """Fail unless the log tells of the alert, and of nothing else that anybody has to look into."""
    until = time.monotonic() + ALERT_WITHIN_S
    lines = server.new_lines()
    while row.alert and row.alert not in {line["event"] for line in lines}:
        assert time.monotonic() < until, f"no {row.alert}: {lines}"
        time.sleep(0.02)
        lines += server.new_lines()
    odd = [line for line in lines if line["level"] in {"error", "critical"} or "exception" in line]
    assert {line["event"] for line in odd} <= {
        row.alert,
        "no_webhook_secret" if row.name == "R76" else None,
    }
    if row.name == "R5":
        assert (
            server.ask(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").status == 200
        )


@pytest.mark.parametrize("row", [row for row in ROWS if row.elsewhere], ids=lambda row: row.name)
def test_what_a_row_points_to_is_there(row: Row) -> None:
    assert [place for place in row.elsewhere if not exists(place)] == []


def test_the_table_is_whole_and_keeps_its_own_policy() -> None:
    assert {row.name for row in ROWS} == {f"R{number}" for number in range(1, 77)}
    assert set().union(*(row.answers for row in ROWS)) <= POLICY
    assert not POLICY & NEVER
    assert all(row.inputs or row.elsewhere for row in ROWS)


@pytest.mark.parametrize(
    "post",
    [
        pytest.param(post, id=f"{row.name} {label}")
        for row in ROWS
        for label, post in row.inputs.items()
        if isinstance(post, Post) and len(post.body) > 4_096
    ],
)
def test_no_body_takes_long_to_read(post: Post) -> None:
    def read() -> None:
        with suppress(Unusable):
            parse(post.body[:262_144])

    assert processor_s(read) < MOST_TIMES_A_PLAIN_ONE * processor_s(lambda: json.loads(PLAIN))


def processor_s(action: Callable[[], object]) -> float:
    """Return the processor time that an action takes, the least of three times."""
    seconds = []
    for _ in range(3):
        began = time.process_time()
        action()
        seconds.append(time.process_time() - began)
    return min(seconds)
