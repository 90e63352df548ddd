"""(b) From a change at the provider to the right bot: one at a time, and two hundred a second."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import text

from tests.bench.outcome import Demand, Measured, quantile
from tests.bench.stage import UNLIMITED, Stage, meeting, staged, tomorrow
from tests.system.rig import answer, until

MOVES = 40
CALENDARS = 100
EVENTS = 2_000
RATE, SECONDS = 200, 20
#: Letters of a Google Meet code, in a link and in what we call its place.
CODE = len("abc-defg-hij")


def measure(folder: Path, database_url: str, *, scale: float) -> Measured:
    """Move meetings and wait for their bots; latency counts from the change to the bot's new time."""
    calendars, count = max(4, int(CALENDARS * scale)), max(20, int(EVENTS * scale))
    rate, seconds = max(10, RATE * min(1, scale * 5)), max(1.0, SECONDS * scale)
    with staged(folder, database_url, calendars=calendars, settings=UNLIMITED) as stage:
        answer(stage.rig.emulator.patch("/limits", json={"enabled": False}))
        answer(
            stage.rig.emulator.put("/webhook", json={"url": f"{stage.rig.base_url}/webhooks/recall"})
        )
        made = [
            meeting(stage.calendars[nth % calendars], nth, start=tomorrow()) for nth in range(count)
        ]
        events = stage.batch(made)
        placing_s = _until_placed(stage, count)
        idle = sorted(_idle(stage, events[0], max(3, int(MOVES * scale))))
        busy, late_s = _busy(stage, events, made, rate=rate, seconds=seconds)
    figures = {
        "idle p50 ms": statistics.median(idle) * 1000,
        "idle p95 ms": quantile(idle, 0.95) * 1000,
        f"p50 ms at {rate:g} changes/s": statistics.median(busy) * 1000,
        f"p95 ms at {rate:g} changes/s": quantile(busy, 0.95) * 1000,
        f"p99 ms at {rate:g} changes/s": quantile(busy, 0.99) * 1000,
        "seconds from the last change to all right": late_s,
        "bots placed/s at first": count / placing_s,
    }
    demands = (Demand("idle p50 ms", at_most=2_000), Demand("idle p95 ms", at_most=15_000))
    return Measured("latency", figures, demands)


def _until_placed(stage: Stage, count: int) -> float:
    began = time.monotonic()
    until(lambda: len(stage.rig.live_bots()) >= count, within=180, every=0.2)
    took = time.monotonic() - began
    stage.rest(within=60)
    return took


def _idle(stage: Stage, event: str, moves: int) -> list[float]:
    took = []
    for nth in range(1, moves + 1):
        time.sleep(1.1)
        start = tomorrow() + timedelta(days=3, hours=nth)
        began = time.monotonic()
        answer(stage.rig.emulator.patch(f"/events/{event}", json=_moved(start)))
        wanted = start.isoformat()[:19]
        until(
            lambda: stage.count(
                f"SELECT count(*) FROM slots WHERE bot_join_at = '{wanted}Z' AND bot_hash = seat_hash"  # noqa: B023  # asked before the loop goes on
            ),
            every=0.003,
        )
        took.append(time.monotonic() - began)
    return took


def _busy(
    stage: Stage, events: Sequence[str], made: Sequence[dict[str, Any]], *, rate: float, seconds: float
) -> tuple[list[float], float]:
    """
    Move one meeting after the other at a steady rate, and note when each one's bot stood right.

    A meeting that is moved again counts from its last move.
    """
    moved_at: dict[str, tuple[float, str]] = {}
    links = [one["link"][-CODE:] for one in made]
    right_at: dict[str, float] = {}
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(stage, moved_at, right_at, stop))
    watcher.start()
    began = time.monotonic()
    total = int(rate * seconds)
    for nth in range(total):
        wait = began + nth / rate - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        at = nth % len(events)
        start = tomorrow() + timedelta(days=5, minutes=nth)
        right_at.pop(links[at], None)
        moved_at[links[at]] = (time.monotonic(), start.isoformat()[:19])
        answer(stage.rig.emulator.patch(f"/events/{events[at]}", json=_moved(start)))
    ended = time.monotonic()
    try:
        until(lambda: len(right_at) == len(moved_at), within=120, every=0.05)
    finally:
        stop.set()
        watcher.join()
    late_s = time.monotonic() - ended
    stage.rest(within=60)
    return sorted(right_at[link] - moved_at[link][0] for link in moved_at), late_s


def _watch(
    stage: Stage,
    moved_at: dict[str, tuple[float, str]],
    right_at: dict[str, float],
    stop: threading.Event,
) -> None:
    """Note when bots are at the time their meeting was moved to; looks twenty times a second."""
    standing = text("SELECT link_key, bot_join_at FROM slots WHERE bot_hash = seat_hash")
    while not stop.wait(0.05):
        with stage.db.begin() as tx:
            found = {link[-CODE:]: at.isoformat()[:19] for link, at in tx.execute(standing)}
        now = time.monotonic()
        for link, (_, start) in list(moved_at.items()):
            if link not in right_at and found.get(link) == start:
                right_at[link] = now


def _moved(start: datetime) -> dict[str, str]:
    return {"start": start.isoformat(), "end": (start + timedelta(hours=1)).isoformat()}
