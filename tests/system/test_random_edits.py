"""
Two hundred random edits, a fifth of the notifications lost, a fifth doubled, all of them shuffled.

What should stand in the end is worked out from the edits alone, by none of the product's code.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from sqlalchemy import Engine

from tests.system.ledgers import by_subject, ledger, ledgers_agree, start_consumer
from tests.system.oracle import Author, Oracle, bots_as_seats, needless, writes
from tests.system.rig import Rig, answer, running, until

AMQP_URL = os.environ.get("PUNCTUAL_TEST_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672//")
SEED = int(os.environ.get("PUNCTUAL_TEST_SEED", "20261121"))
EDITS = int(os.environ.get("PUNCTUAL_TEST_EDITS", "200"))
pytestmark = [
    pytest.mark.xdist_group("system"),
    pytest.mark.rabbitmq,
    pytest.mark.timeout(400),
]


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
    consumer = start_consumer(rig, AMQP_URL, tmp_path)
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
