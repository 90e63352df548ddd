"""
Faults of the machine under us: the network to the database gone, no processor left, no descriptors,
no room for logs.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
from sqlalchemy.engine import make_url

from tests.faults.disks import fill, may_mount, small_disk
from tests.faults.fault import Fault, Figure, Ground, Result, impossible
from tests.faults.proxy import Proxy
from tests.faults.servers import Postgres, wait_for
from tests.faults.stage import Stage, standing
from tests.system.rig import answer

#: The longest lease of a slot; after it nobody may act on what it once knew.
LEASE_S = 27.0
BACK_WITHIN_S = 45.0


@dataclass(frozen=True)
class Namespace:
    """A network of a worker's own, with one cable to the database and one to the provider."""

    name: str
    outside: str
    database: str
    provider: str

    def pull(self) -> None:
        """Take the database's cable out at our end: packets vanish, the worker is not told."""
        _ip("link", "set", self.outside, "down")

    def plug(self) -> None:
        """Put the cable back."""
        _ip("link", "set", self.outside, "up")


def part_worker_from_database(ground: Ground) -> Result:
    """Pull the cable between a worker and the database, while the provider stays within its reach."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return impossible("only root with iproute2 may make network namespaces")
    away_s = 35.0 if ground.short else 60.0
    try:
        with namespace():
            pass
    except subprocess.CalledProcessError as refused:
        return impossible(f"no network namespaces: {refused.stderr.decode().strip()}")
    with (
        namespace() as place,
        Postgres.running() as postgres,
        standing(ground, database_url=postgres.fresh_database(), per_second=10) as stage,
        Proxy.running(postgres.port, host=place.database) as to_database,
        Proxy.running(urlsplit(stage.rig.emulator_url).port or 0, host=place.provider) as to_provider,
    ):
        database = make_url(stage.database_url).set(host=place.database, port=to_database.port)
        stage.keeper.prefixes["work"] = ["ip", "netns", "exec", place.name]
        stage.keeper.environments["work"] = {
            "PUNCTUAL_DATABASE_URL": database.render_as_string(hide_password=False),
            "PUNCTUAL_RECALL_BASE_URL": f"http://{place.provider}:{to_provider.port}",
        }
        stage.kill_all("work")
        stage.seconds_to_bot(60)
        stage.demand(to_provider.accepted > 0, "the worker does not go through its cables")
        # Few enough for one page: the next page's address is the emulator's own, not the cable's.
        with stage.editing(pause_s=0.8):
            time.sleep(2)
            began, at = time.monotonic(), datetime.now(UTC)
            place.pull()
            time.sleep(away_s)
        late = _calls_after(stage, at, LEASE_S)
        place.plug()
        plugged = time.monotonic()
        stage.seconds_to_bot(120)
        back_s = time.monotonic() - plugged
        stage.demand(late == 0, f"{late} calls about bots after the lease had run out")
        stage.demand(back_s <= BACK_WITHIN_S, f"working again only after {back_s:.0f} s")
        seen = stage.demand_honest_answers(began)
        figures: dict[str, Figure] = {"away_s": away_s, "back_s": round(back_s, 1), "late_calls": late}
        return stage.finish(90, **figures, **seen)


def starve(ground: Ground) -> Result:
    """Take every processor away, then all but a few descriptors, then the room for logs."""
    each_s = 8.0 if ground.short else 30.0
    with standing(ground, per_second=20) as stage:
        began = time.monotonic()
        with busy_processors(), stage.editing():
            time.sleep(each_s)
        hungry = stage.demand_honest_answers(began, within=5)
        stage.keeper.prefixes["serve"] = ["prlimit", "--nofile=256", "--"]
        stage.kill_all("serve")
        _wait_until_served(stage)
        few = time.monotonic()
        with idle_connections(stage, 400) as held:
            time.sleep(each_s)
        crowded = stage.demand_honest_answers(few, within=5, also=frozenset({0}))
        stage.demand(bool(crowded["2xx"]), "with 256 descriptors nothing was accepted")
        figures: dict[str, Figure] = {
            "connections_held": held[0],
            **{f"cpu_{name}": value for name, value in hungry.items()},
            **{f"fds_{name}": value for name, value in crowded.items()},
        }
        if may_mount():
            figures |= _fill_the_logs(stage, each_s)
        return stage.finish(90, **figures)


def _fill_the_logs(stage: Stage, seconds: float) -> dict[str, Figure]:
    with small_disk("1m") as disk:
        log = disk / "serve.log"
        stage.keeper.prefixes["serve"] = ["sh", "-c", f'exec "$@" >>{log} 2>&1', "sh"]
        stage.kill_all("serve")
        _wait_until_served(stage)
        fill(disk)
        began = time.monotonic()
        for _ in range(20):
            stage.rig.api.get("/v1/calendars")
            stage.notify(f"msg_{uuid4().hex}", padding=b"not json")
        time.sleep(seconds)
        seen = stage.demand_honest_answers(began)
        stage.demand(not seen["503"], "a full log disk costs deliveries")
        stage.keeper.prefixes.pop("serve")
        stage.kill_all("serve")
        _wait_until_served(stage)
    return {f"logs_{name}": value for name, value in seen.items()}


def _wait_until_served(stage: Stage) -> None:
    time.sleep(1)
    assert wait_for(lambda: _is_served(stage), 30) is not None, "the receiver did not come back"


def _is_served(stage: Stage) -> bool:
    try:
        return stage.rig.api.get("/readyz").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


@contextmanager
def busy_processors() -> Iterator[None]:
    """Keep every processor busy with work of no use for the length of a `with` block."""
    spinners = [multiprocessing.Process(target=_spin, daemon=True) for _ in range(4)]
    for spinner in spinners:
        spinner.start()
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.join()


def _spin() -> None:
    while True:
        sum(range(10_000))


@contextmanager
def idle_connections(stage: Stage, number: int) -> Iterator[list[int]]:
    """Hold connections to the receiver without using them; the list holds how many were accepted."""
    parts = urlsplit(stage.rig.base_url)
    held = [
        socket.create_connection((str(parts.hostname), int(parts.port or 0)), 5) for _ in range(number)
    ]
    try:
        yield [len(held)]
    finally:
        for connection in held:
            connection.close()


@contextmanager
def namespace() -> Iterator[Namespace]:
    """Make a network namespace with two cables to ours for the length of a `with` block."""
    mark = uuid4().hex[:6]
    name = f"pf{mark}"
    _ip("netns", "add", name)
    try:
        _ip("-n", name, "link", "set", "lo", "up")
        ours: list[str] = []
        for end in "ab":
            net = f"10.{201 + (end == 'b')}.{int(mark[:2], 16)}"
            outside, inside = f"pf{end}o{mark}", f"pf{end}i{mark}"
            _ip("link", "add", outside, "type", "veth", "peer", "name", inside, "netns", name)
            _ip("addr", "add", f"{net}.1/24", "dev", outside)
            _ip("link", "set", outside, "up")
            _ip("-n", name, "addr", "add", f"{net}.2/24", "dev", inside)
            _ip("-n", name, "link", "set", inside, "up")
            ours.append(f"{net}.1")
        yield Namespace(name, f"pfao{mark}", *ours)
    finally:
        _ip("netns", "del", name)


def _calls_after(stage: Stage, at: datetime, seconds: float) -> int:
    records = answer(stage.rig.emulator.get("/history", params={"kind": "call"}))["records"]
    return sum(
        (datetime.fromisoformat(record["at"]) - at).total_seconds() > seconds
        and record["method"] != "GET"
        for record in records
    )


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


FAULTS = [
    Fault(
        "F56",
        "the network between a worker and the database gone, the provider still within reach",
        "nothing is changed at the provider once the lease is over; goes on by itself",
        part_worker_from_database,
        needs=("ip",),
    ),
    Fault(
        "F57",
        "no processor left; 256 file descriptors and 400 idle connections; no room for logs",
        "2xx or 503; logging that fails never costs an answer; nothing acknowledged is lost",
        starve,
        needs=("prlimit",),
    ),
]
