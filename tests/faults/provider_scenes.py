"""What the faults of the provider share: orders to its emulator, and what its history tells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import httpx
import psycopg

from tests.faults.stage import Stage
from tests.system.oracle import Copy, spec_of
from tests.system.rig import answer, until


@contextmanager
def ordered(stage: Stage, *orders: dict[str, Any]) -> Iterator[None]:
    """Have the emulator do faults for the length of a `with` block."""
    answer(stage.rig.emulator.post("/faults", json=list(orders)))
    try:
        yield
    finally:
        answer(stage.rig.emulator.delete("/faults"))


def faulted(stage: Stage) -> int:
    """Count the calls that the ordered faults have struck."""
    return sum(int(order["hits"]) for order in answer(stage.rig.emulator.get("/faults")))


def sum_of(requests: dict[str, dict[str, int]]) -> int:
    """Count calls, whatever they were and whatever came of them."""
    return sum(sum(counts.values()) for counts in requests.values())


def calls(stage: Stage, operation: str, after: int) -> list[tuple[datetime, int]]:
    """List instant and status of the calls of one operation since record *after*, oldest first."""
    found: list[tuple[datetime, int]] = []
    while True:
        page = answer(stage.rig.emulator.get("/history", params={"after": str(after), "kind": "call"}))
        found += [
            (datetime.fromisoformat(record["at"]), int(record["status"]))
            for record in page["records"]
            if record["operation"] == operation
        ]
        if page["last"] == after:
            return found
        after = page["last"]


def last_record(stage: Stage) -> int:
    """Return the number of the newest record in the emulator's history."""
    return int(answer(stage.rig.emulator.get("/state"))["history"])


def rows(stage: Stage, query: str) -> list[tuple[Any, ...]]:
    """Ask the database."""
    with psycopg.connect(stage.database_url, connect_timeout=10) as connection:
        return connection.execute(query.encode()).fetchall()


def execute(stage: Stage, *statements: str) -> None:
    """Change the database: let time pass that no test can wait for."""
    with psycopg.connect(stage.database_url, connect_timeout=10, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def meetings_at(stage: Stage, starts: Sequence[datetime]) -> list[Copy]:
    """Describe a meeting for each start, each with a link and a calendar by turns."""
    return [
        Copy(
            stage.calendars[number % len(stage.calendars)],
            start,
            f"https://meet.google.com/man-ymee-{_letters(number)}",
            "interview",
        )
        for number, start in enumerate(starts)
    ]


def put_in(stage: Stage, copies: Sequence[Copy]) -> None:
    """Put meetings into their calendars in one batch, and tell the oracle."""
    wishes = [{"calendar_id": copy.calendar, **spec_of(copy)} for copy in copies]
    made = answer(stage.rig.emulator.post("/events:batch", json=wishes))
    for event, copy in zip(made, copies, strict=True):
        stage.oracle.copies[event["id"]] = copy


def _letters(number: int) -> str:
    return "".join(chr(97 + number // 26**power % 26) for power in range(3))


def start_anew(stage: Stage, name: str, **changed: str) -> None:
    """
    Stop `serve` or `work` and start it with other settings; wait until it does its work.

    The settings stay for what is started later; an empty one is taken away.
    """
    rig = stage.rig
    rig.stop(name)
    for variable, value in changed.items():
        if value:
            rig.environment[variable] = value
        else:
            rig.environment.pop(variable, None)
    in_tree = rig.environment["PUNCTUAL_BROKER_URL"].startswith("memory")
    rig.start(name, name, *(["--in-tree"] if in_tree else []))
    wait_for(stage, name)


def wait_for(stage: Stage, name: str) -> None:
    """Wait until `serve` answers, or until a worker of the last second has shown that it lives."""
    if name == "serve":
        until(lambda: _is_ready(stage), within=30)
        return
    (began,) = rows(stage, "SELECT extract(epoch FROM clock_timestamp())")[0]
    beat = f"SELECT 1 FROM heartbeats WHERE extract(epoch FROM seen_at) > {float(began) + 0.5}"
    until(lambda: rows(stage, beat), within=30)


def refusals(stage: Stage) -> Counter[str]:
    """Count the attempts of the emulator's webhooks that were answered with anything but a 2xx."""
    found: Counter[str] = Counter()
    for message in answer(stage.rig.emulator.get("/deliveries", params={"limit": "200000"})):
        for attempt in message["attempts"]:
            status = attempt["status"]
            if status is not None and not 200 <= status < 300:
                found[str(status)] += 1
    return found


def unanswered(stage: Stage) -> int:
    """Count webhooks that nobody has accepted yet."""
    return len(answer(stage.rig.emulator.get("/deliveries", params={"state": "pending"})))


def _is_ready(stage: Stage) -> bool:
    try:
        return stage.rig.api.get("/readyz").is_success
    except httpx.TransportError:
        return False
