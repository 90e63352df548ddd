"""The same story on every broker, each worker and receiver a process of its own."""

from __future__ import annotations

import os
import signal
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import Engine

from tests.system.rig import Rig, answer, running, until

AMQP_URL = os.environ.get("PUNCTUAL_TEST_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672//")
REDIS_URL = os.environ.get("PUNCTUAL_TEST_REDIS_URL", "redis://127.0.0.1:6379/7")
pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.timeout(180)]


@pytest.mark.parametrize(
    "broker_url",
    [
        pytest.param("memory://", id="memory"),
        pytest.param(AMQP_URL, id="rabbitmq", marks=pytest.mark.rabbitmq),
        pytest.param(REDIS_URL, id="redis", marks=pytest.mark.redis),
    ],
)
def test_a_bot_comes_moves_survives_its_worker_and_goes(
    broker_url: str, tmp_path: Path, database_url: str, db: Engine
) -> None:
    skip_unless_reachable(broker_url)
    with running(tmp_path, database_url, broker_url=broker_url) as rig:
        rig.rules()
        calendar = rig.calendar("anna@example.com")
        until(lambda: any(row["last_synced_at"] for row in rig.every("/v1/calendars")))
        start = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)
        spec = {
            "title": "Weekly",
            "start": start.isoformat(),
            "end": (start + timedelta(hours=1)).isoformat(),
            "link": "https://meet.google.com/bro-kers-abc",
        }
        event = answer(rig.emulator.post(f"/calendars/{calendar}/events", json=spec))["id"]
        until(lambda: seats(rig) == [start])

        kill_the_worker(rig)
        later = start + timedelta(hours=5)
        end = later + timedelta(hours=1)
        moved = {"start": later.isoformat(), "end": end.isoformat()}
        answer(rig.emulator.patch(f"/events/{event}", json=moved))
        rig.start("work", "work", *(["--in-tree"] if broker_url.startswith("memory") else []))
        until(lambda: seats(rig) == [later], within=45)

        answer(rig.emulator.delete(f"/events/{event}"))
        until(lambda: seats(rig) == [])
        until(lambda: told(rig)[-1:] == ["bot.cancelled"], within=45)
        # The worker may have died before or after it had told of the bot's first place.
        assert told(rig) in (TOLD, [TOLD[0], TOLD[2]])


TOLD = ["bot.scheduled", "bot.rescheduled", "bot.cancelled"]


def told(rig: Rig) -> list[str]:
    """List the domain events about bots."""
    return [event["type"] for event in rig.feed() if event["type"].startswith("bot.")]


def seats(rig: Rig) -> list[datetime]:
    """List when live bots join."""
    return sorted(datetime.fromisoformat(bot["join_at"]) for bot in rig.live_bots())


def kill_the_worker(rig: Rig) -> None:
    """Kill the worker and whatever it had started, as a machine that loses power does."""
    process = rig.processes.pop("work")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def skip_unless_reachable(url: str) -> None:
    parts = urlsplit(url)
    if parts.hostname is None:
        return
    try:
        socket.create_connection((parts.hostname, parts.port or 0), 1).close()
    except OSError:
        pytest.skip(f"nothing listens at {parts.hostname}:{parts.port}")
