"""
Hostile subscribers: they fail, hang, redirect, flood, drip, and change their address to ours.

The real worker posts to real listeners; one honest subscriber beside them must not notice.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # ships no types

from tests.faults.fault import Fault, Figure, Ground, Result
from tests.faults.provider_scenes import start_anew, wait_for
from tests.faults.stage import Stage, standing
from tests.publishers.sink import Received, Reply, Sink, a_sink
from tests.system.ledgers import by_subject
from tests.system.rig import answer, until

METADATA = "http://169.254.169.254/latest/meta-data/"
GIGABYTE = 1_000_000_000
MOST_GROWTH_MB = 60
#: A public address that nobody answers on; for the length of the fault it is this machine's.
PUBLIC = "44.128.77.1"
NAME = "hooks.subscriber-of-ours.com"


def be_hostile(ground: Ground) -> Result:
    """Answer posts in every bad way side by side; then let a name lead to this machine itself."""
    figures, remarks, passed = _answer_badly(ground)
    if not ground.short:
        result = _change_address(ground)
        passed &= result.passed
        figures |= {f"name_{name}": value for name, value in result.figures.items()}
        remarks = "; ".join(filter(None, [remarks, result.remarks, result.impossible]))
    return Result(passed, figures, remarks)


def _answer_badly(ground: Ground) -> tuple[dict[str, Figure], str, bool]:
    with ExitStack() as opened:
        # As many at once as a worker has by itself: each of those who hang holds one of them.
        usual = {"PUNCTUAL_WORK_CONCURRENCY": "8"}
        stage = opened.enter_context(standing(ground, settings=usual))
        honest, inside = opened.enter_context(a_sink()), opened.enter_context(a_sink())
        sent_bytes = [0]
        ways = _ways(inside, sent_bytes)
        hostile = {way: opened.enter_context(a_sink(reply)) for way, reply in ways.items()}
        earlier = told(stage)
        subscribe(stage, honest.url)
        ids = {way: subscribe(stage, sink.url) for way, sink in hostile.items()}
        before_mb = memory_mb(stage)
        stage.edit(10)
        # Long enough for those who hang to be given up once.
        time.sleep(4 if ground.short else 20)
        stage.edit(5 if ground.short else 20, pause_s=0.2)
        stage.come_to_rest(60)
        began = time.monotonic()
        until(lambda: heard(honest) == told(stage) - earlier, within=60, every=0.2)
        honest_s = time.monotonic() - began
        grown_mb = max(0.0, memory_mb(stage) - before_mb)
        stage.demand(honest_s < 5, f"the honest one had to wait {honest_s:.1f} s more")
        order = {subject: found for subject, found in in_order(honest).items() if found}
        stage.demand(not order, f"out of order at the honest one: {order}")
        stage.demand(not inside.received, "a redirect was followed")
        stage.demand(grown_mb < MOST_GROWTH_MB, f"the worker has grown by {grown_mb:.0f} MB")
        most = 8_000_000 * max(1, len(hostile["gigabyte"].received))
        stage.demand(sent_bytes[0] < most, f"{sent_bytes[0]} bytes of a gigabyte were taken")
        gone = answer(stage.rig.api.get(f"/v1/endpoints/{ids['gone']}"))
        stage.demand(gone["state"] == "disabled", f"after a 410 the endpoint is {gone['state']}")
        tries = {way: len(sink.received) for way, sink in hostile.items()}
        stage.demand(tries["gone"] <= 8, f"{tries['gone']} posts after a 410")
        stage.demand(tries["busy"] <= 16, f"{tries['busy']} posts although asked to wait 60 s")
        for endpoint in ids.values():
            answer(stage.rig.api.delete(f"/v1/endpoints/{endpoint}"))
        counted = {f"posts_{way}": count for way, count in tries.items()}
        result = stage.finish(60, heard=len(heard(honest)), grown_mb=round(grown_mb), **counted)
        return dict(result.figures), result.remarks, result.passed


def _ways(inside: Sink, sent_bytes: list[int]) -> dict[str, Callable[[Received], Reply]]:
    """List the bad ways to answer a post."""

    def gigabyte() -> Iterator[bytes]:
        for _ in range(GIGABYTE // 65_536):
            yield b"x" * 65_536
            sent_bytes[0] += 65_536

    def drip() -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nx-slow: "
        for _ in range(60):
            time.sleep(1)
            yield b"x"

    away = {"location": METADATA}
    here = {"location": inside.url}
    return {
        "failing": lambda _: Reply(500),
        "silent": lambda _: Reply(204, wait_s=60),
        "metadata": lambda _: Reply(301, headers=away),
        "redirect": lambda _: Reply(307, headers=here),
        "gigabyte": lambda _: Reply(500, {"content-length": str(GIGABYTE)}, body=gigabyte()),
        "dripping": lambda _: Reply(raw=drip()),
        "gone": lambda _: Reply(410),
        "busy": lambda _: Reply(429, headers={"retry-after": "60"}),
        "reset": lambda _: Reply(reset=True),
    }


def _change_address(ground: Ground) -> Result:
    """Let a subscriber's name, judged public when it was entered, lead to this machine from then on."""
    if os.geteuid() != 0:
        return Result(passed=True, remarks="a name's change of address needs root: not done")
    folder = ground.folder / "name"
    folder.mkdir(exist_ok=True)
    hosts = folder / "hosts"
    hosts.write_text(f"127.0.0.1 localhost\n{PUBLIC} {NAME}\n")
    with ExitStack() as opened:
        stage = opened.enter_context(
            standing(Ground(folder, ground.fresh_database, ground.short, ground.seed))
        )
        opened.enter_context(a_public_address())
        outside, port = opened.enter_context(listening(PUBLIC, 0))
        inside, _ = opened.enter_context(listening("127.0.0.1", port))
        private = {"PUNCTUAL_ALLOW_PRIVATE_ENDPOINTS": "false"}
        start_anew(stage, "serve", **private)
        work_with_hosts(stage, hosts)
        endpoint = subscribe(stage, f"http://{NAME}:{port}/hook")
        stage.edit(6)
        stage.come_to_rest()
        until(lambda: bool(outside), within=20)
        reached = len(outside)
        hosts.write_text(f"127.0.0.1 localhost\n127.0.0.1 {NAME}\n")
        stage.edit(6)
        stage.come_to_rest()
        until(lambda: forbidden(stage, endpoint) > 0, within=20, every=0.2)
        refused = forbidden(stage, endpoint)
        stage.demand(not inside, f"{len(inside)} posts reached this machine itself")
        hosts.write_text(f"127.0.0.1 localhost\n{PUBLIC} {NAME}\n")
        answer(
            stage.rig.api.post(
                f"/v1/endpoints/{endpoint}/replay", json={"since": "2020-01-01T00:00:00Z"}
            )
        )
        until(lambda: len(outside) > reached, within=90, every=0.5)
        stage.demand(not inside, "a post reached this machine itself")
        answer(stage.rig.api.delete(f"/v1/endpoints/{endpoint}"))
        return stage.finish(60, reached=len(outside), refused=refused)


def work_with_hosts(stage: Stage, hosts: Path) -> None:
    """Start the worker anew where names are looked up in another file of hosts."""
    stage.rig.stop("work")
    command = f"mount --bind {hosts} /etc/hosts && exec {sys.executable} -m worker.cli work --in-tree"
    with (stage.rig.logs / "work.log").open("ab") as log:
        stage.rig.processes["work"] = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", command],
            env=stage.rig.environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    wait_for(stage, "work")


@contextmanager
def a_public_address() -> Iterator[None]:
    """Give this machine a public address for the length of a `with` block."""
    subprocess.run(["ip", "address", "add", f"{PUBLIC}/32", "dev", "lo"], check=True)
    try:
        yield
    finally:
        subprocess.run(["ip", "address", "del", f"{PUBLIC}/32", "dev", "lo"], check=True)


@contextmanager
def listening(address: str, port: int) -> Iterator[tuple[list[bytes], int]]:
    """Take posts at an address; yields what came, and the port."""
    taken: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(self.rfile.read(int(self.headers.get("content-length", 0))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer((address, port), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield taken, server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def subscribe(stage: Stage, url: str) -> str:
    """Make an endpoint for everything and return its id."""
    return str(answer(stage.rig.api.post("/v1/endpoints", json={"url": url}))["id"])


def heard(sink: Sink) -> set[str]:
    """Return the ids of the domain events that reached a subscriber."""
    return {received.event["id"] for received in list(sink.received)}


def told(stage: Stage) -> set[str]:
    """Return the ids of all domain events."""
    return {event["id"] for event in stage.rig.feed()}


def in_order(sink: Sink) -> dict[str, list[int]]:
    """Return, by subject, the sequences whose first arrival did not follow the one before."""
    seen: dict[str, dict[str, Any]] = {}
    for received in list(sink.received):
        seen.setdefault(received.event["id"], received.event)
    return {
        subject: [later for sooner, later in itertools.pairwise(found) if later != sooner + 1]
        for subject, found in by_subject(list(seen.values())).items()
    }


def forbidden(stage: Stage, endpoint: str) -> int:
    """Count the attempts that never left because of where they would have gone."""
    page = answer(stage.rig.api.get(f"/v1/endpoints/{endpoint}/attempts", params={"limit": "200"}))
    return sum("forbidden" in (attempt["error"] or "") for attempt in page["data"])


def memory_mb(stage: Stage) -> float:
    """Return the resident memory of the worker's processes."""
    found = 0.0
    for process in stage.processes_of("work"):
        try:
            found += process.memory_info().rss / 1e6
        except psutil.NoSuchProcess:
            continue
    return found


FAULTS = [
    Fault(
        "F55",
        "subscribers answer 500, nothing, redirects, a gigabyte, drips, 410, 429; a name turns to 127.0.0.1",
        "no redirect followed, nothing inside reached, memory bounded, the honest one notices nothing",
        be_hostile,
        needs=("ip", "unshare"),
    ),
]
