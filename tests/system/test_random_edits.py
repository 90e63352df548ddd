"""
Two hundred random edits, a fifth of the notifications lost, a fifth doubled, all of them shuffled.

What should stand in the end is worked out here, from the edits alone, by none of the product's code.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from sqlalchemy import Engine

from tests.system.rig import Rig, answer, free_port, running, until

AMQP_URL = os.environ.get("PUNCTUAL_TEST_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672//")
SEED = int(os.environ.get("PUNCTUAL_TEST_SEED", "20261121"))
EDITS = int(os.environ.get("PUNCTUAL_TEST_EDITS", "200"))
HOUR = timedelta(hours=1)
pytestmark = [
    pytest.mark.xdist_group("system"),
    pytest.mark.rabbitmq,
    pytest.mark.timeout(400),
]


@dataclass(frozen=True)
class Copy:
    """One calendar's copy of a meeting, as the oracle knows it."""

    calendar: str
    start: datetime
    link: str | None
    title: str
    declined: bool = False
    gone: bool = False


class Oracle:
    """Knows which bots should live: one per link and start of every copy that calls for one."""

    def __init__(self) -> None:
        self.copies: dict[str, Copy] = {}
        self.excluded: list[str] = []

    def seats(self) -> set[tuple[str, str]]:
        return {
            (copy.link, copy.start.isoformat()[:19])
            for copy in self.copies.values()
            if copy.link
            and not copy.gone
            and not copy.declined
            and not any(word in copy.title for word in self.excluded)
        }


class Author:
    """Makes random edits at the provider, and tells the oracle of each."""

    def __init__(self, rig: Rig, oracle: Oracle, calendars: list[str], seed: int) -> None:
        self.rig, self.oracle, self.calendars = rig, oracle, calendars
        self.chance = random.Random(seed)
        self.base = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)

    def edit(self) -> None:
        kinds = ["create"] * 4 + ["move"] * 5 + ["relink"] * 3 + ["cancel", "delete"]
        kinds += ["share"] * 3 + ["respond"] * 3 + ["rule"]
        living = [event for event, copy in self.oracle.copies.items() if not copy.gone]
        kind = self.chance.choice(kinds) if len(living) > 5 else "create"
        getattr(self, kind)(*([] if kind in {"create", "rule"} else [self.chance.choice(living)]))

    def create(self) -> None:
        copy = Copy(self._calendar(), self._start(), self._link(), self._title())
        self._put_in(copy)

    def share(self, event: str) -> None:
        copy = self.oracle.copies[event]
        self._put_in(replace(copy, calendar=self._calendar(), declined=False))

    def move(self, event: str) -> None:
        start = self._start()
        self._change(event, start=start.isoformat(), end=(start + HOUR).isoformat())
        self._know(event, start=start)

    def relink(self, event: str) -> None:
        link = self._link()
        self._change(event, link=link)
        self._know(event, link=link)

    def respond(self, event: str) -> None:
        declined = self.chance.random() < 0.5
        self._change(event, own_response="declined" if declined else "accepted")
        self._know(event, declined=declined)

    def cancel(self, event: str) -> None:
        answer(self.rig.emulator.post(f"/events/{event}/cancel"))
        self._know(event, gone=True)

    def delete(self, event: str) -> None:
        answer(self.rig.emulator.delete(f"/events/{event}"))
        self._know(event, gone=True)

    def rule(self) -> None:
        self.oracle.excluded = self.chance.choice([[], ["secret"], ["secret", "weekly"]])
        self.rig.rules(title_excludes=self.oracle.excluded)

    def _put_in(self, copy: Copy) -> None:
        spec = {
            "title": copy.title,
            "start": copy.start.isoformat(),
            "end": (copy.start + HOUR).isoformat(),
            "link": copy.link,
            "organizer": "host@elsewhere.org",
            "own_response": "accepted",
        }
        made = answer(self.rig.emulator.post(f"/calendars/{copy.calendar}/events", json=spec))
        self.oracle.copies[made["id"]] = copy

    def _change(self, event: str, **fields: Any) -> None:
        answer(self.rig.emulator.patch(f"/events/{event}", json=fields))

    def _know(self, event: str, **fields: Any) -> None:
        self.oracle.copies[event] = replace(self.oracle.copies[event], **fields)

    def _calendar(self) -> str:
        return self.chance.choice(self.calendars)

    def _start(self) -> datetime:
        return self.base + HOUR * self.chance.randrange(24)

    def _title(self) -> str:
        return self.chance.choice(["weekly sync", "secret plan", "interview"])

    def _link(self) -> str:
        letters = "".join(self.chance.choice("abcdefgh") for _ in range(3))
        return f"https://meet.google.com/ran-domm-{letters}"


@pytest.fixture(params=["recall_managed", "recall_self_managed"])
def rig(request: pytest.FixtureRequest, tmp_path: Path, database_url: str, db: Engine) -> Iterator[Rig]:
    broker = urlsplit(AMQP_URL)
    try:
        socket.create_connection((broker.hostname or "127.0.0.1", broker.port or 5672), 1).close()
    except OSError:
        pytest.skip("no RabbitMQ at PUNCTUAL_TEST_AMQP_URL")
    settings = {
        "PUNCTUAL_BOT_MODE": request.param,
        "PUNCTUAL_RECALL_BOT_CREATE_PER_MINUTE": "6000",
        "PUNCTUAL_EVENTS_EXCHANGE": f"punctual.test.{uuid4().hex[:8]}",
        "PUNCTUAL_RECONCILE_NEAR_SECONDS": "5",
        "PUNCTUAL_RECONCILE_ALL_SECONDS": "5",
        "PUNCTUAL_RECALL_LIST_PER_MINUTE": "600",
        "PUNCTUAL_RECALL_SCHEDULE_PER_MINUTE": "6000",
        "PUNCTUAL_RECALL_OTHER_PER_MINUTE": "6000",
    }
    with running(tmp_path, database_url, broker_url=AMQP_URL, settings=settings) as rig:
        yield rig


def test_after_two_hundred_random_edits_every_ledger_and_the_provider_agree(
    rig: Rig, tmp_path: Path
) -> None:
    answer(rig.emulator.patch("/limits", json={"enabled": False}))
    rig.rules()
    consumer = start_consumer(rig, tmp_path)
    try:
        calendars = [rig.calendar(f"person{n}@example.com") for n in range(6)]
        until(
            lambda: len([c for c in rig.every("/v1/calendars") if c["last_synced_at"]]) == 6, within=40
        )
        answer(
            rig.emulator.put(
                "/webhook", json={"drop": 0.2, "duplicate": 0.2, "shuffle": True, "seed": SEED}
            )
        )
        oracle = Oracle()
        author = Author(rig, oracle, calendars, SEED)

        for _ in range(EDITS):
            author.edit()

        until(lambda: bots_as_seats(rig) == sorted(oracle.seats()), within=90, every=0.5)
        until(lambda: ledgers_agree(rig, tmp_path), within=60, every=0.5)
        # Nothing moves afterwards: two more looks find nothing to do.
        calls, lists = writes(rig), rig.requests()["calendar_events_list"]["200"]
        until(lambda: rig.requests()["calendar_events_list"]["200"] >= lists + 2, within=30)
        assert writes(rig) == calls
        assert bots_as_seats(rig) == sorted(oracle.seats())
        assert needless(rig) == {}
        for subject, sequences in by_subject(ledger(tmp_path / "amqp.ledger")).items():
            assert sequences == list(range(1, len(sequences) + 1)), subject
        for subject, sequences in by_subject(ledger(tmp_path / "http.ledger")).items():
            assert sequences == list(range(1, len(sequences) + 1)), subject
    finally:
        consumer.send_signal(signal.SIGKILL)
        consumer.wait()


def start_consumer(rig: Rig, folder: Path) -> subprocess.Popen[bytes]:
    port, secret = free_port(), folder / "secret"
    made = answer(rig.api.post("/v1/endpoints", json={"url": f"http://127.0.0.1:{port}/in"}))
    secret.write_text(made["secret"])
    exchange = rig.environment["PUNCTUAL_EVENTS_EXCHANGE"]
    arguments = [AMQP_URL, exchange, f"{exchange}.ledger", str(port), str(folder), str(secret)]
    root = Path(__file__).parent.parent.parent
    consumer = subprocess.Popen([sys.executable, "-m", "tests.system.consumer", *arguments], cwd=root)
    until(lambda: consumer.poll() is None and _listens(port))
    return consumer


def bots_as_seats(rig: Rig) -> list[tuple[str, str]]:
    """List live bots by link and start, one entry per bot, so that a double shows."""
    return sorted((str(bot["meeting_url"]), bot["join_at"][:19]) for bot in rig.live_bots())


def writes(rig: Rig) -> dict[str, dict[str, int]]:
    """Count the calls that change something at the provider."""
    return {
        operation: counts
        for operation, counts in rig.requests().items()
        if not operation.endswith(("_list", "_retrieve"))
    }


def needless(rig: Rig) -> dict[str, int]:
    """Count the calls about bots whose outcome was already so: the provider says 404 to them."""
    return {
        operation: counts["404"]
        for operation, counts in rig.requests().items()
        if operation.startswith("bot_") and counts.get("404")
    }


def ledger(path: Path) -> list[dict[str, Any]]:
    """Read a ledger without repeats: the first arrival of each id."""
    seen: dict[str, dict[str, Any]] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        entry = json.loads(line)
        seen.setdefault(entry["id"], entry)
    return list(seen.values())


def by_subject(entries: list[dict[str, Any]]) -> dict[str, list[int]]:
    sequences: dict[str, list[int]] = defaultdict(list)
    for entry in entries:
        sequences[entry["subject"]].append(int(entry["sequence"]))
    return sequences


def ledgers_agree(rig: Rig, folder: Path) -> bool:
    feed = {event["id"] for event in rig.feed()}
    amqp = {entry["id"] for entry in ledger(folder / "amqp.ledger")}
    http = {entry["id"] for entry in ledger(folder / "http.ledger")}
    return feed == amqp == http


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
