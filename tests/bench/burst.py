"""
(c) Twenty thousand notifications in ten seconds about a thousand calendars, each for one changed event.

Of twenty meetings in a calendar one has a bot: it is moved; the others get a new title. Once under
Recall's real limits, which the emulator enforces, and once without any.
"""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from sqlalchemy import text

from tests.bench.outcome import Demand, Measured
from tests.bench.stage import UNLIMITED, Stage, meeting, staged, tomorrow
from tests.system.rig import answer

CALENDARS, EACH, SECONDS = 1_000, 20, 10
SHIFT = timedelta(hours=2)


def measure(folder: Path, database_url: str, *, scale: float, limited: bool) -> Measured:
    """Send the burst and wait until every bot is right."""
    calendars = max(5, int(CALENDARS * scale))
    settings = {} if limited else UNLIMITED
    rules = {"title_contains": ["Call"]}
    with staged(folder, database_url, calendars=calendars, settings=settings, rules=rules) as stage:
        answer(stage.rig.emulator.patch("/limits", json={"enabled": False}))
        events, meetings = _prepared(stage, calendars)
        if limited:
            answer(stage.rig.emulator.patch("/limits", json={"enabled": True}))
        answer(stage.rig.emulator.delete("/requests"))
        figures = _burst(stage, events, meetings, scale=scale, limited=limited)
    name = "burst_limited" if limited else "burst"
    demands = [
        Demand("accepted share", at_least=1.0),
        Demand("list calls / (changed events / 100)", at_most=1.05),
        Demand("bots right at rest", at_least=1.0),
    ]
    if limited:
        demands.append(Demand("calls refused by the provider (429)", at_most=0))
    else:
        demands.append(Demand("seconds from the last notification to all right", at_most=60))
    return Measured(name, figures, demands if scale >= 1 else ())


def _prepared(stage: Stage, calendars: int) -> tuple[list[str], list[dict[str, Any]]]:
    """Have every meeting known and every bot in its place."""
    meetings = [
        meeting(
            stage.calendars[nth % calendars],
            nth,
            start=tomorrow() + timedelta(minutes=nth % 5_000),
            title=f"{'Call' if nth < calendars else 'Focus'} {nth}",
        )
        for nth in range(calendars * EACH)
    ]
    events = stage.batch(meetings)
    with stage.db.begin() as tx:
        # The provider's budget in our tables is emptied by preparing; the burst begins with a full one.
        tx.execute(text("UPDATE sources SET wanted = wanted + 1, due_at = now()"))
    stage.notify(seconds=0.5, per_second=2)
    began = monotonic()
    while stage.count("SELECT count(*) FROM calendar_events") < len(events):
        assert monotonic() - began < 600, stage.left()
        sleep(0.5)
    stage.rest(within=900, is_right=lambda: len(stage.rig.live_bots()) == calendars)
    with stage.db.begin() as tx:
        tx.execute(text("DELETE FROM budgets"))
    return events, meetings


def _burst(
    stage: Stage, events: list[str], meetings: list[dict[str, Any]], *, scale: float, limited: bool
) -> dict[str, float]:
    calendars = len(stage.calendars)
    seconds = max(1, int(SECONDS * min(1, scale * 2)))
    changer = threading.Thread(target=_change, args=(stage, events, meetings, seconds))
    changer.start()
    sleep(0.2)
    sent = stage.notify(seconds=seconds, per_second=len(events) / seconds)
    changer.join()
    stage.notify(seconds=0.5, per_second=4)  # the last change may have come after the last word of it
    ended = monotonic()
    expected = {(one["link"], (_start(one) + SHIFT).isoformat()[:19]) for one in meetings[:calendars]}

    def is_right() -> bool:
        return {(bot["meeting_url"], bot["join_at"][:19]) for bot in stage.rig.live_bots()} == expected

    stage.rest(within=1_200, is_right=is_right)
    took = monotonic() - ended
    lists = stage.calls("calendar_events_list")
    return {
        "notifications": float(sum(sent.statuses.values())),
        "accepted share": sent.accepted / sum(sent.statuses.values()),
        "ack p50 ms": sent.quantile_ms(0.5),
        "ack p99 ms": sent.quantile_ms(0.99),
        "ack max ms": sent.latencies_ms[-1],
        "changed events": float(len(events)),
        "list calls": float(lists),
        "list calls / (changed events / 100)": lists / (len(events) / 100),
        "bot calls / moved bots": stage.calls("calendar_events_bot_create") / calendars,
        "calls refused by the provider (429)": float(stage.refused()),
        "bots right at rest": float(is_right()),
        "seconds from the last notification to all right": took,
        "memory MB": stage.rss_mb(),
        "limits": float(limited),
    }


def _start(one: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(one["start"])


def _change(stage: Stage, events: list[str], meetings: list[dict[str, Any]], seconds: int) -> None:
    """Change every event, a second's share each second."""
    calendars = len(stage.calendars)
    began = monotonic()
    share = -(-len(events) // seconds)
    for nth, first in enumerate(range(0, len(events), share)):
        wait = began + nth - monotonic()
        if wait > 0:
            sleep(wait)
        stage.batch(
            [
                _moved(events[at], meetings[at])
                if at < calendars
                else {"id": events[at], "title": f"Renamed {at}"}
                for at in range(first, min(first + share, len(events)))
            ]
        )


def _moved(event_id: str, one: dict[str, Any]) -> dict[str, Any]:
    start = _start(one) + SHIFT
    end = start + timedelta(hours=1)
    return {"id": event_id, "start": start.isoformat(), "end": end.isoformat()}
