"""Every row of the API's table, over real HTTP to a process of its own on a real database."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from uuid import UUID

import pytest
from sqlalchemy import Engine, delete, text

from models.tables.access import IdempotentRequest
from tests.badinput.corpus_api import NEVER, POLICY, ROWS, ApiRow, Ask
from tests.badinput.line import LONGEST_S, Answer, Heard, next_address
from tests.badinput.rows import exists
from tests.badinput.seeded import GUEST, TITLE, Seeded, seed
from tests.badinput.served import ADMIN_KEY, Served, a_server, keep_keys_at_rest, state_of
from tests.webhooks.sending import SECRET
from webhooks.api.problems import KINDS
from worker import endpoints

pytestmark = pytest.mark.xdist_group("badinput")

INPUTS = [
    pytest.param(row, label, id=f"{row.name} {row.about} - {label}")
    for row in ROWS
    for label in row.inputs
]
#: Nothing that is refused, and nothing shown without a key, holds any of these.
PRIVATE = (ADMIN_KEY, SECRET, SECRET.removeprefix("whsec_"), TITLE, GUEST, "postgresql://", "/work/")
#: How our insides would show.
INSIDES = ("Traceback", "psycopg", "sqlalchemy", "pydantic", '.py"', "SELECT ")


@dataclass(frozen=True)
class World:
    """A server, its database, and what stands in it."""

    server: Served
    db: Engine
    seeded: Seeded

    def tidy(self) -> dict[str, str]:
        """Forget what was remembered for repeats; how the database looks then is returned."""
        with self.db.begin() as tx:
            tx.execute(delete(IdempotentRequest))
        keep_keys_at_rest(self.db)
        return state_of(self.db)

    def ask(self, ask: Ask, *, source: str | None = None) -> Answer:
        """Ask once, from an address of its own unless told otherwise."""
        return self.server.ask(ask.write(self.seeded), source=source)


@pytest.fixture(scope="module")
def world(usual: Served, clean: Engine) -> World:
    seeded = seed(clean)
    world = World(usual, clean, seeded)
    cursor = world.ask(Ask(path="/v1/calendars?limit=1")).json()["next"]
    return replace(world, seeded=replace(seeded, ids={**seeded.ids, "cursor": cursor}))


@pytest.mark.parametrize(("row", "label"), INPUTS)
def test_a_row_is_answered_as_the_table_says_and_changes_no_more(
    world: World, row: ApiRow, label: str
) -> None:
    before = world.tidy()
    for ask in row.first:
        assert world.ask(ask).status < 300

    with ThreadPoolExecutor(4) as pool:
        heard = list(
            pool.map(lambda ask: world.server.hear(ask.write(world.seeded)), row.inputs[label])
        )

    for ask, one in zip(row.inputs[label], heard, strict=True):
        judge(row, ask, one)
    after = state_of(world.db)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert changed <= row.changes
    assert {line["event"] for line in world.server.new_lines() if line["level"] == "error"} == set()
    assert world.ask(Ask()).status == 200


def judge(row: ApiRow, ask: Ask, heard: Heard) -> None:
    """Fail unless one answer came, a right one, in time, that shows nothing it should not."""
    assert heard.is_closed
    assert heard.seconds <= LONGEST_S
    assert heard.status in row.answers, (ask.method, str(ask.path)[:80], heard.raw[:400])
    (answer,) = heard.answers
    shown = answer.body.decode() + str(answer.headers)
    assert "access-control-allow-origin" not in answer.headers
    assert "server" not in answer.headers
    assert not [secret for secret in INSIDES if secret in shown and answer.status >= 400]
    if answer.status >= 400 or ask.key is None:
        assert not [secret for secret in PRIVATE if secret in shown]
    assert "evil.example" not in shown
    if answer.status >= 400 and ask.method != "HEAD":
        assert answer.headers["content-type"] == "application/problem+json"
        code = answer.json()["code"]
        assert not row.codes or code in row.codes, answer.body
        assert code not in KINDS or KINDS[code].status == answer.status
    if row.name == "A1" and answer.status == 401:
        told = {name: value for name, value in answer.json().items() if name != "request_id"}
        assert told == UNAUTHORIZED | {"type": told["type"]}


UNAUTHORIZED = {
    "title": KINDS["unauthorized"].title,
    "status": 401,
    "detail": KINDS["unauthorized"].meaning,
    "code": "unauthorized",
}


def test_templates_come_back_as_they_were_written(world: World) -> None:
    words = ["{{7*7}}", "${jndi:ldap://x}", "{0.__class__}", "(a+)+$"]
    asked = {"title_contains": words, "bot": {"name": "<script>{{7*7}}"}}

    put = world.ask(Ask(method="PUT", path="/v1/rules", said=asked)).json()
    page = world.ask(Ask(path="/docs", key=None)).body

    assert (put["title_contains"], put["bot"]["name"]) == (words, "<script>{{7*7}}")
    assert b"{{7*7}}" not in page


def test_a_request_that_is_still_being_carried_out_is_not_begun_again(world: World) -> None:
    path = "/v1/calendars/{calendar}/sync"
    ask = Ask(method="POST", path=path, more=[b"Idempotency-Key: slow"])
    held = text("SELECT 1 FROM calendars WHERE id = :id FOR UPDATE")

    with ThreadPoolExecutor(1) as pool:
        with world.db.begin() as tx:  # whoever works on the calendar has to wait for us
            tx.execute(held, {"id": UUID(world.seeded.ids["calendar"])})
            first = pool.submit(world.ask, ask)
            until_begun(world)
            second = world.ask(ask)
        done = first.result()
    third = world.ask(ask)

    assert (second.status, second.json()["code"]) == (409, "request_in_flight")
    assert int(second.headers["retry-after"]) > 0
    assert (done.status, third.status) == (202, 202)
    assert third.headers["idempotency-replayed"] == "true"


def until_begun(world: World) -> None:
    """Wait until the first request is noted as begun."""
    for _ in range(200):
        with world.db.begin() as tx:
            if tx.execute(text("SELECT count(*) FROM idempotent_requests WHERE key = 'slow'")).scalar():
                return
        threading.Event().wait(0.02)
    raise AssertionError("nobody began")


def test_guessing_keys_is_slowed_down_for_the_guesser_alone(world: World) -> None:
    guesser = next_address()
    world.ask(Ask(), source=guesser)

    guesses = [
        world.ask(Ask(key=None, more=[b"Authorization: Bearer pk_guess%d" % number]), source=guesser)
        for number in range(100)
    ]
    neighbour = world.ask(Ask(key=None, more=[b"Authorization: Bearer pk_guess"]))
    known = world.ask(Ask(), source=guesser)

    statuses = [answer.status for answer in guesses]
    assert statuses[0] == 401
    assert set(statuses[40:]) == {429}
    assert 0 < int(guesses[-1].headers["retry-after"]) <= 60
    assert (neighbour.status, known.status) == (401, 200)
    metrics = world.ask(Ask(path="/metrics", key=None)).body.decode()
    assert 'punctual_api_rejections_total{reason="throttled"}' in metrics


def test_an_endpoint_that_came_to_point_inside_is_not_connected_to(world: World) -> None:
    """What was allowed once is judged again at every post: the URL, and the address that is connected to."""
    with a_trap() as (port, visits):
        settings = world.seeded.runtime.settings.model_copy(update={"allow_private_endpoints": True})
        lenient = replace(world.seeded.runtime, settings=settings)
        made = endpoints.create(lenient, f"http://127.0.0.1:{port}/", types=(), description=None)

        tried = world.ask(Ask(method="POST", path=f"/v1/endpoints/{made.endpoint['id']}/test"))

        assert tried.status == 200
        assert (tried.json()["succeeded"], tried.json()["status"]) == (False, None)
        assert visits == []


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_a_failure_and_nobody_goes_there(
    world: World, open_server: Served, status: int
) -> None:
    opened = replace(world, server=open_server)
    with a_trap() as (inside, visits), a_trap(status, f"http://127.0.0.1:{inside}/") as (port, asked):
        said = {"url": f"http://127.0.0.1:{port}/"}
        made = opened.ask(Ask(method="POST", path="/v1/endpoints", said=said)).json()

        tried = opened.ask(Ask(method="POST", path=f"/v1/endpoints/{made['id']}/test")).json()

        assert (tried["succeeded"], tried["status"]) == (False, status)
        assert (len(asked), visits) == (1, [])


@pytest.fixture(scope="module")
def open_server(
    tmp_path_factory: pytest.TempPathFactory, database_url: str, world: World
) -> Iterator[Served]:
    """A server whose subscribers may be on this machine."""
    folder = tmp_path_factory.mktemp("open")
    with a_server(folder, database_url, name="open", ALLOW_PRIVATE_ENDPOINTS="true") as served:
        yield served


@contextmanager
def a_trap(status: int = 200, location: str = "") -> Iterator[tuple[int, list[bytes]]]:
    """Listen on a port, answer everybody with *status*, and remember what they said."""
    visits: list[bytes] = []
    answer = f"HTTP/1.1 {status} x\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    line, _ = listener.accept()
                except OSError:
                    return
                with line:
                    visits.append(line.recv(65_536))
                    line.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1]), visits
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("row", [row for row in ROWS if row.elsewhere], ids=lambda row: row.name)
def test_what_a_row_points_to_is_there(row: ApiRow) -> None:
    assert [place for place in row.elsewhere if not exists(place)] == []


def test_the_table_is_whole_and_keeps_its_own_policy() -> None:
    assert {row.name for row in ROWS} == {f"A{number}" for number in range(1, 26)}
    assert set().union(*(row.answers for row in ROWS)) <= POLICY | {503}
    assert not POLICY & NEVER
    assert all(row.inputs or row.elsewhere for row in ROWS)


def test_every_line_of_the_log_is_one_object(world: World) -> None:
    whole = world.server.log.read_bytes()

    assert b"\x1b" not in whole
    assert all(isinstance(json.loads(line), dict) for line in whole.splitlines())
    assert not [secret for secret in PRIVATE[:5] if secret.encode() in whole]
