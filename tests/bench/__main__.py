"""
`make bench`: how fast the main path is on this machine.

Prints two things: from a change at the provider to the right bot, on an idle installation with its own
database; and durable notifications a second beside the same receiver that verifies and stores nothing.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.bench.receiver import compare_receivers
from tests.system.rig import Rig, answer, running, until
from worker.bootstrap import embedded_database

MOVES = 40
LINK = "https://meet.google.com/ben-chhh-abc"


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench") as name:
        folder = Path(name)
        with embedded_database(folder) as url, running(folder / "rig", url) as rig:
            seconds = sorted(idle_latencies(rig))
        p50, p95 = statistics.median(seconds), seconds[int(len(seconds) * 0.95)]
        print(f"idle, change notified to bot right: p50 {p50 * 1000:.0f} ms, p95 {p95 * 1000:.0f} ms")
        with embedded_database(folder) as url:
            durable, verified = compare_receivers(url)
        ratio = durable / verified
        print(f"receiver, 64 connections: durable {durable:.0f}/s, verify-only {verified:.0f}/s")
        print(f"durable / verify-only: {ratio:.2f}")


def idle_latencies(rig: Rig) -> list[float]:
    """Move one meeting again and again, waiting for its bot each time; seconds each took."""
    rig.rules()
    calendar = rig.calendar("bench@example.com")
    until(lambda: any(row["last_synced_at"] for row in rig.every("/v1/calendars")))
    start = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    spec = {"title": "Bench", "start": start.isoformat(), "link": LINK}
    spec["end"] = (start + timedelta(hours=1)).isoformat()
    event = answer(rig.emulator.post(f"/calendars/{calendar}/events", json=spec))["id"]
    until(lambda: len(rig.live_bots()) == 1)
    return [_move(rig, event, start + timedelta(hours=n)) for n in range(1, MOVES + 1)]


def _move(rig: Rig, event: str, start: datetime) -> float:
    time.sleep(1.1)
    end = start + timedelta(hours=1)
    began = time.monotonic()
    moved = {"start": start.isoformat(), "end": end.isoformat()}
    answer(rig.emulator.patch(f"/events/{event}", json=moved))
    wanted = [start.isoformat()[:19]]
    until(lambda: [bot["join_at"][:19] for bot in rig.live_bots()] == wanted, every=0.003)
    return time.monotonic() - began


if __name__ == "__main__":
    main()
