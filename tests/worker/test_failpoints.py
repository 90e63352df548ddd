"""Named points at every commit and every call, at which a process can be made to die."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, text

from models.db import make_engine
from tests.fakes import FakeBell, FakePoster
from tests.fakes.publisher import FakePublisher
from worker import failpoints
from worker.errors import ConfigError
from worker.failpoints import CRASH_AT, CRASH_LOG, Deed, Order, PlantedError, commit_sites, read_orders

ROOT = Path(failpoints.__file__).parent.parent
#: A commit of the product that is easily made: its point, and a program that passes it.
POINT = "bootstrap.install_id"
PROGRAM = """
import sys
from tests.fakes import FakeBell, FakePoster
import httpx
from models.db import make_engine
from worker import failpoints
from worker.bootstrap import install_id
db = make_engine(sys.argv[1], pool_size=1)
failpoints.install(db=db, http=httpx.Client(), bell=FakeBell(), poster=FakePoster(), publisher=None)
for n in range(3):
    try:
        install_id(db)
    except Exception as planted:
        print("said", type(planted).__name__)
    print("said", n, flush=True)
"""


def said(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line.removeprefix("said ") for line in done.stdout.splitlines() if line.startswith("said ")]


def run(database_url: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, database_url],
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("text_of_order", "order"),
    [
        ("settling.settle:before", Order("settling.settle:before")),
        ("settling.settle:after:3", Order("settling.settle:after", 3)),
        ("recall.create_bot:before:raise", Order("recall.create_bot:before", 1, Deed.RAISE)),
        ("bell.relay:after:2:kill", Order("bell.relay:after", 2)),
        ("poster.post:after:pause=120", Order("poster.post:after", 1, Deed.PAUSE, 120.0)),
        ("receiver.store:before:2:pause=.5".replace("=.5", "=0.5"),
         Order("receiver.store:before", 2, Deed.PAUSE, 0.5)),
    ],
)  # fmt: skip
def test_an_order_is_read(text_of_order: str, order: Order) -> None:
    assert read_orders(text_of_order) == (order,)


def test_several_orders_are_separated_by_commas() -> None:
    both = read_orders("settling.settle:before, publisher.publish:after:2")

    assert [order.point for order in both] == ["settling.settle:before", "publisher.publish:after"]


@pytest.mark.parametrize(
    "wrong",
    [
        "settling.settle",
        "settling.settle:during",
        "settling.settle:before:0",
        "settling.settle:before:x",
        "settling.settle:before:1:2",
        "settling.settle:before:explode",
        "settling.settle:before:pause",
        "settling.settle:before:pause=-1",
        "settling.settle:before:pause=9999",
        "settling.no_such_function:before",
        "bell.no_such_job:before",
        "settling.settle:before,",
        ":before",
    ],
)
def test_a_malformed_order_is_refused_at_the_start(wrong: str) -> None:
    with pytest.raises(ConfigError, match=CRASH_AT):
        read_orders(wrong)


def test_the_process_dies_at_the_pass_that_was_ordered(database_url: str, db: Engine) -> None:
    put_installation(db)

    before = run(database_url, **{CRASH_AT: f"{POINT}:before"})
    third = run(database_url, **{CRASH_AT: f"{POINT}:after:3"})

    assert (before.returncode, said(before)) == (-signal.SIGKILL, [])
    assert (third.returncode, said(third)) == (-signal.SIGKILL, ["0", "1"])


def test_an_armed_process_says_so_loudly(database_url: str, db: Engine) -> None:
    put_installation(db)

    armed = run(database_url, **{CRASH_AT: f"{POINT}:after:9"})

    assert armed.returncode == 0
    assert "crash_armed" in armed.stdout + armed.stderr


def test_a_point_can_raise_and_the_transaction_is_not_committed(database_url: str, db: Engine) -> None:
    put_installation(db)

    raised = run(database_url, **{CRASH_AT: f"{POINT}:before:2:raise"})

    assert said(raised) == ["0", "PlantedError", "1", "2"]


def test_a_point_can_stand_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CRASH_AT, "poster.post:before:pause=0.2")
    poster = FakePoster()
    failpoints.watch(poster, "post", "poster.post")
    began = time.monotonic()

    poster.post("http://sub.test", b"{}", message_id="1", secrets=())

    assert 0.2 <= time.monotonic() - began < 2
    assert len(poster.posts) == 1


def test_every_point_passed_is_written_down(database_url: str, db: Engine, tmp_path: Path) -> None:
    put_installation(db)

    run(database_url, **{CRASH_LOG: str(tmp_path / "passed")})

    assert (tmp_path / "passed").read_text().splitlines() == [f"{POINT}:before", f"{POINT}:after"] * 3


def test_calls_are_named_after_what_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(CRASH_LOG, str(tmp_path / "passed"))
    http = httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(204)))
    bell, publisher = FakeBell(), FakePublisher()
    db = make_engine("postgresql://nobody@127.0.0.1:1/none", pool_size=1)
    failpoints.install(db=db, http=http, bell=bell, poster=FakePoster(), publisher=publisher)

    http.send(
        http.build_request("GET", "http://recall.test", extensions={"operation": "recall.get_bot"})
    )
    bell.ring("settle")
    publisher.publish([])

    assert (tmp_path / "passed").read_text().splitlines() == [
        f"{site}:{side}"
        for site in ("recall.get_bot", "bell.settle", "publisher.publish")
        for side in ("before", "after")
    ]


def test_without_an_order_nothing_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CRASH_AT, raising=False)
    monkeypatch.delenv(CRASH_LOG, raising=False)
    db = make_engine("postgresql://nobody@127.0.0.1:1/none", pool_size=1)
    http, bell, poster = httpx.Client(), FakeBell(), FakePoster()

    failpoints.install(db=db, http=http, bell=bell, poster=poster, publisher=None)

    for port, method in ((db.dialect, "do_commit"), (http, "send"), (bell, "ring"), (poster, "post")):
        assert method not in vars(port)


def test_no_transaction_of_the_product_is_without_a_name() -> None:
    """Whoever commits in another way than by `with ….begin()` has to make it a point as well."""
    named = commit_sites()
    found: list[str] = []
    for folder in ("worker", "webhooks", "models"):
        for path in (ROOT / folder).rglob("*.py"):
            if "sandbox" in path.parts or "migrations" in path.parts:
                continue
            for call in ast.walk(ast.parse(path.read_text())):
                if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
                    continue
                is_begin = call.func.attr == "begin" and (str(path), call.lineno) not in named
                if is_begin or call.func.attr == "commit":
                    found.append(f"{path.relative_to(ROOT)}:{call.lineno}")

    assert found == []
    assert len(set(named.values())) == len(named) >= 100


def put_installation(db: Engine) -> None:
    with db.begin() as tx:
        tx.execute(
            text("INSERT INTO installation (id, install_id, rules) VALUES (1, gen_random_uuid(), '{}')")
        )


def test_a_planted_error_is_no_reaction_of_the_product() -> None:
    assert not issubclass(PlantedError, ConfigError)
