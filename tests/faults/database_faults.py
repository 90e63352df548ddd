"""
Faults of PostgreSQL: stopped, frozen, cut off, full, read-only, restored from the past.

Each runs against a server of its own, through a proxy where the network is what fails.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from statistics import median
from typing import Any, TypedDict
from uuid import uuid4

import httpx
import psycopg

from tests.faults.disks import fill, may_mount, small_disk
from tests.faults.fault import Fault, Ground, Result, impossible
from tests.faults.lockers import backwards_lockers
from tests.faults.proxy import BLACKHOLE, DEAF, FAIR, Proxy
from tests.faults.servers import Postgres
from tests.faults.stage import Stage, standing

#: How soon deliveries are accepted again once the database is back.
ACCEPTS_WITHIN_S = 2.0


def stop_immediately(ground: Ground) -> Result:
    """Stop the server in the hard way again and again, while deliveries and changes go on."""
    rounds, longest_down_s, calm_s = (2, 3.0, 2.0) if ground.short else (8, 10.0, 5.0)
    back_s: list[float] = []
    with (
        Postgres.running() as postgres,
        standing(ground, database_url=postgres.fresh_database(), per_second=40) as stage,
    ):
        began = time.monotonic()
        with stage.editing() as edits:
            for _ in range(rounds):
                postgres.stop_immediately()
                time.sleep(stage.chance.random() * longest_down_s)
                postgres.start()
                up = time.monotonic()
                time.sleep(calm_s + stage.chance.random() * calm_s)
                back_s.append(accepted_after(stage, up))
        seen = stage.demand_honest_answers(began)
        stage.demand(max(back_s) <= ACCEPTS_WITHIN_S, "accepted again too late")
        return stage.finish(stops=rounds, edits=edits[0], back_s=round(max(back_s), 2), **seen)


def terminate_backends(ground: Ground) -> Result:
    """End every session at the server, every three seconds."""
    rounds = 3 if ground.short else 10
    with (
        Postgres.running() as postgres,
        standing(ground, database_url=postgres.fresh_database(), per_second=40) as stage,
    ):
        began, ended = time.monotonic(), 0
        with stage.editing() as edits:
            for _ in range(rounds):
                time.sleep(3)
                ended += len(postgres.rows(TERMINATE))
        seen = stage.demand_honest_answers(began)
        return stage.finish(sessions_ended=ended, edits=edits[0], **seen)


def freeze(ground: Ground) -> Result:
    """Let the server hang: connections stay open, nobody answers."""
    frozen_s = 8.0 if ground.short else 60.0
    with (
        Postgres.running() as postgres,
        standing(ground, database_url=postgres.fresh_database(), per_second=40) as stage,
        httpx.Client(base_url=stage.rig.base_url, timeout=30, trust_env=False) as client,
        ThreadPoolExecutor(30) as callers,
    ):
        stage.edit(20)
        began = time.monotonic()
        postgres.freeze()
        # Callers of the API pile up behind the database; the receiver and /healthz must not notice.
        header = dict(stage.rig.api.headers)
        asked = [callers.submit(_status, client, "/v1/calendars", header) for _ in range(30)]
        alive_s = 0.0
        while time.monotonic() - began < frozen_s:
            alive_s = max(alive_s, _seconds_of(lambda: _status(client, "/healthz", {})))
            time.sleep(0.5)
        postgres.thaw()
        thawed = time.monotonic()
        stage.edit(10)
        time.sleep(4)
        back_s = accepted_after(stage, thawed)
        stage.demand(alive_s <= 2, f"/healthz took {alive_s:.1f} s")
        stage.demand(back_s <= ACCEPTS_WITHIN_S, f"accepted again only after {back_s:.1f} s")
        strange = {each.result() for each in asked} - {200, 503}
        stage.demand(not strange, f"the API answered {strange}")
        seen = stage.demand_honest_answers(began)
        figures = {"back_s": round(back_s, 2), "slowest_healthz_s": round(alive_s, 2)}
        return stage.finish(120, frozen_s=frozen_s, **figures, **seen)


def lose_the_commit(ground: Ground) -> Result:
    """Let the commit arrive and its answer vanish; then do the same to the request itself."""
    rounds = 3 if ground.short else 15
    with (
        Postgres.running() as postgres,
        Proxy.running(postgres.port) as proxy,
        standing(ground, **_through(postgres, proxy)) as stage,
    ):
        worst_s, statuses = 0.0, []
        for n in range(rounds):
            message_id = f"msg_commit_{ground.seed}_{n}"
            tripped = proxy.trip(message_id.encode(), DEAF if n % 2 == 0 else BLACKHOLE)
            began = time.monotonic()
            first = stage.notify(message_id)
            worst_s = max(worst_s, time.monotonic() - began)
            stage.demand(tripped.is_set(), f"the proxy never saw {message_id}")
            proxy.reset()
            proxy.change(FAIR)
            again = [stage.notify(message_id) for _ in range(3)]
            statuses.append((first, *again))
            rows = stage.count("SELECT count(*) FROM deliveries WHERE message_id = %s", message_id)
            stage.demand(rows == 1, f"{message_id} is there {rows} times")
        stage.demand(
            all(found == (503, 204, 204, 204) for found in statuses), f"answers: {set(statuses)}"
        )
        stage.demand(worst_s <= 3, f"the unknown outcome was answered after {worst_s:.1f} s")
        stage.edit(10)
        return stage.finish(commits_lost=rounds, slowest_answer_s=round(worst_s, 2))


def fill_the_disk(ground: Ground) -> Result:
    """Let the disk run full under the server, and give the space back after a while."""
    if not may_mount():
        return impossible("only root may mount a small file system")
    full_s = 6.0 if ground.short else 20.0
    with (
        small_disk("320m") as disk,
        Postgres.running(disk, max_wal_size="64MB", min_wal_size="32MB") as postgres,
        standing(ground, database_url=postgres.fresh_database(), per_second=40) as stage,
    ):
        stage.edit(20)
        deaths = Counter(stage.keeper.deaths)
        began = time.monotonic()
        filler = fill(disk)
        # What is left goes to bodies of our own making, so that our own writes hit the wall.
        big = bytes(stage.chance.choices(b" \t\r\n", k=200_000))
        first_503 = None
        while time.monotonic() - began < full_s or first_503 is None:
            if stage.notify(f"msg_big_{uuid4().hex}", padding=big) == 503 and first_503 is None:
                first_503 = time.monotonic() - began
            fill(disk, filler)
            assert time.monotonic() - began < 120, "the disk never ran full"
        not_ready = stage.rig.api.get("/readyz").status_code
        filler.unlink()
        if not postgres.answers():
            postgres.kill()
            postgres.start()
        free = time.monotonic()
        stage.edit(10)
        time.sleep(4)
        back_s = accepted_after(stage, free)
        stage.demand(back_s <= ACCEPTS_WITHIN_S + 3, f"accepted again only after {back_s:.1f} s")
        died = Counter(stage.keeper.deaths) - deaths
        stage.demand(died["serve"] == 0, f"the receiver died {died['serve']} times")
        stage.demand(died["work"] == 0, f"the worker died {died['work']} times")
        alerts = (ground.folder / "serve.log").read_text().count("commit_failed")
        stage.demand(alerts > 0, "nothing in the log says that commits fail")
        seen = stage.demand_honest_answers(began)
        figures = {"back_s": round(back_s, 2), "alerts": alerts, "readyz_while_full": not_ready}
        return stage.finish(90, **figures, **seen)


def exhaust_connections(ground: Ground) -> Result:
    """Take every connection the server has, and end ours, so that they have to be made anew."""
    taken_s = 6.0 if ground.short else 20.0
    with (
        Postgres.running(max_connections="60") as postgres,
        standing(ground, database_url=postgres.fresh_database(), per_second=40) as stage,
    ):
        stage.edit(10)
        began = time.monotonic()
        idle: list[psycopg.Connection[Any]] = []
        with suppress(psycopg.OperationalError):
            while True:
                idle.append(psycopg.connect(postgres.url, connect_timeout=3, autocommit=True))
        while time.monotonic() - began < taken_s:
            idle[0].execute(TERMINATE.encode())
            with suppress(psycopg.OperationalError):
                while True:
                    idle.append(psycopg.connect(postgres.url, connect_timeout=3))
            time.sleep(0.2)
        for connection in idle:
            connection.close()
        released = time.monotonic()
        stage.edit(10)
        time.sleep(4)
        back_s = accepted_after(stage, released)
        stage.demand(back_s <= ACCEPTS_WITHIN_S, f"accepted again only after {back_s:.1f} s")
        seen = stage.demand_honest_answers(began)
        stage.demand(bool(seen["503"]), "nobody was ever refused: the fault did not bite")
        return stage.finish(idle_connections=len(idle), back_s=round(back_s, 2), **seen)


def turn_read_only(ground: Ground) -> Result:
    """Let the server refuse every write, as the wrong side of a fail-over does."""
    read_only_s = 6.0 if ground.short else 20.0
    with (
        Postgres.running() as postgres,
        standing(ground, database_url=postgres.fresh_database(), per_second=40) as stage,
    ):
        stage.edit(20)
        began = time.monotonic()
        postgres.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        postgres.execute("SELECT pg_reload_conf()")
        time.sleep(1)
        api = stage.rig.api.put("/v1/rules", json={"select": ["all"]}).status_code
        stage.demand(api == 503, f"the API answers {api} to a change it cannot make")
        for _ in range(10):
            stage.author.create()
        time.sleep(read_only_s)
        middle = time.monotonic()
        refused = stage.sender.statuses(began + 1.5) if stage.sender else {}
        stage.demand(set(refused) == {503}, f"answers while nothing can be written: {refused}")
        # Needs a session that may write although the server says no.
        postgres.execute("SET default_transaction_read_only = off", "ALTER SYSTEM RESET ALL")
        postgres.execute("SELECT pg_reload_conf()")
        time.sleep(4)
        back_s = accepted_after(stage, middle)
        stage.demand(back_s <= ACCEPTS_WITHIN_S, f"accepted again only after {back_s:.1f} s")
        seen = stage.demand_honest_answers(began)
        return stage.finish(back_s=round(back_s, 2), api_answer=api, **seen)


def provoke_deadlocks(ground: Ground) -> Result:
    """Lock our rows in the wrong order from elsewhere, then make every transaction serializable."""
    each_s = 5.0 if ground.short else 20.0
    with (
        Postgres.running(deadlock_timeout="200ms") as postgres,
        standing(ground, database_url=postgres.fresh_database(), per_second=40) as stage,
    ):
        began = time.monotonic()
        with stage.editing(pause_s=0.1) as edits, backwards_lockers(stage.database_url) as locked:
            time.sleep(each_s)
        counts = postgres.rows("SELECT sum(deadlocks)::int FROM pg_stat_database")[0][0]
        postgres.execute("ALTER SYSTEM SET default_transaction_isolation = 'serializable'")
        postgres.execute("SELECT pg_reload_conf()")
        with stage.editing(pause_s=0.1) as more:
            time.sleep(each_s)
        postgres.execute("ALTER SYSTEM RESET default_transaction_isolation")
        postgres.execute("SELECT pg_reload_conf()")
        stage.demand(locked[0] > 0, "no row was ever locked: the fault did not bite")
        seen = stage.demand_honest_answers(began)
        figures = {"edits": edits[0] + more[0], "locks": locked[0], "deadlocks": counts}
        return stage.finish(90, **figures, **seen)


def hold_a_transaction(ground: Ground) -> Result:
    """Leave somebody else's transaction open over our tables, while the queue goes on."""
    held_s = 10.0 if ground.short else 60.0
    with (
        Postgres.running() as postgres,
        standing(ground, database_url=postgres.fresh_database(), per_second=20) as stage,
    ):
        before = [stage.seconds_to_bot() for _ in range(8)]
        with psycopg.connect(stage.database_url) as idle:
            for table in ("slots", "calendars", "calendar_events", "outbox", "deliveries", "sources"):
                idle.execute(f"SELECT count(*) FROM {table}".encode())
            began, during = time.monotonic(), []
            while time.monotonic() - began < held_s:
                during.append(stage.seconds_to_bot())
                stage.edit(5)
            idle.rollback()
        slower = median(during) / median(before)
        stage.demand(slower < 2 or median(during) < 1, f"bots came {slower:.1f} times slower")
        seen = stage.demand_honest_answers(began)
        figures = {
            "before_s": round(median(before), 2),
            "during_s": round(median(during), 2),
            "held_s": held_s,
        }
        return stage.finish(**figures, **seen)


TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'punctual'"


def accepted_after(stage: Stage, moment: float) -> float:
    """Return how long after *moment* the first delivery was accepted; for ever if none was."""
    assert stage.sender is not None
    return stage.sender.accepted_after(moment) or float("inf")


class _Urls(TypedDict):
    database_url: str
    direct_url: str


def _through(postgres: Postgres, proxy: Proxy) -> _Urls:
    """Say where a fresh database is: by way of the proxy for the product, directly for the judge."""
    direct = postgres.fresh_database()
    name = direct.rsplit("/", 1)[1]
    return {"database_url": postgres.url_of(name, port=proxy.port), "direct_url": direct}


def _status(client: httpx.Client, path: str, headers: Mapping[str, str]) -> int:
    try:
        return client.get(path, headers=dict(headers)).status_code
    except httpx.TransportError:
        return 0


def _seconds_of(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


FAULTS = [
    Fault(
        "F19",
        "PostgreSQL stopped with -m immediate and started, again and again, down for 0–10 s",
        "503 within 3 s while down, 2xx within 2 s after; nothing acknowledged is lost",
        stop_immediately,
        short=True,
    ),
    Fault(
        "F20",
        "every PostgreSQL session terminated every 3 s",
        "2xx or 503, never anything else",
        terminate_backends,
        short=True,
    ),
    Fault(
        "F21",
        "PostgreSQL frozen (SIGSTOP) for 60 s: it hangs rather than refuses",
        "503 within 3 s, /healthz within 2 s, 2xx within 2 s after the thaw",
        freeze,
    ),
    Fault(
        "F22",
        "the answer to a commit is lost, and so is a commit on its way",
        "503 within 3 s; the retry is recognised by its message id: one row, 204",
        lose_the_commit,
        short=True,
    ),
    Fault(
        "F23",
        "the disk under PostgreSQL full",
        "503, an alert in the log, nobody of ours dies; goes on once there is space",
        fill_the_disk,
    ),
    Fault(
        "F24",
        "every connection PostgreSQL allows taken by others, ours ended",
        "503 within 3 s, never a hang; back by itself",
        exhaust_connections,
    ),
    Fault(
        "F25",
        "PostgreSQL read-only, as after a fail-over to the wrong side",
        "503 from receiver and API, nothing half done; back by itself",
        turn_read_only,
    ),
    Fault(
        "F28",
        "deadlocks with somebody who locks backwards, then serialization failures everywhere",
        "2xx or 503; every change arrives",
        provoke_deadlocks,
    ),
    Fault(
        "F29",
        "somebody's transaction left open over all our tables",
        "bots come at most twice as slowly",
        hold_a_transaction,
    ),
]
