"""
(d) The provider comes back after a long outage, and five thousand calendars have changed meanwhile.

After a few minutes of outage nothing here changes any more: the listing is tried once a minute, and
notifications pile up as rows. So the outage lasts until that state is reached and a minute longer;
two hours of it look the same, with more rows of the same kind.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from time import monotonic, sleep

from sqlalchemy import text

from tests.bench.outcome import Demand, Measured
from tests.bench.stage import Stage, meeting, staged, tomorrow
from tests.system.rig import answer
from worker.syncing.workspace import PROBE, TRIES_BEFORE_PROBING

CALENDARS = 5_000
#: Of twenty calendars one has its meeting within the next two hours.
NEAR_SHARE = 20
MINUTE = 60.0


def measure(folder: Path, database_url: str, *, scale: float) -> Measured:
    """Let the provider come back and watch the calls, minute by minute, until every bot stands."""
    calendars = max(20, int(CALENDARS * scale))
    is_whole = scale >= 0.1
    with staged(folder, database_url, calendars=calendars) as stage:
        answer(stage.rig.emulator.post("/faults", json={"status": 503, "path": "^/api/"}))
        soon = tomorrow() - timedelta(days=1) + timedelta(hours=1, minutes=20)
        stage.batch(
            [
                meeting(
                    ref,
                    nth,
                    start=soon + timedelta(minutes=nth % 30)
                    if nth % NEAR_SHARE == 0
                    else tomorrow() + timedelta(minutes=nth),
                )
                for nth, ref in enumerate(stage.calendars)
            ]
        )
        sent = stage.notify(seconds=max(1, calendars / 500), per_second=500)
        outage_s = _wait_for_the_knocking(stage, is_whole=is_whole)
        figures, calls = _recover(stage, calendars)
    figures |= {
        "calendars": float(calendars),
        "accepted share during the outage": sent.accepted / sum(sent.statuses.values()),
        "outage s": outage_s,
    }
    demands = (
        Demand("accepted share during the outage", at_least=1.0),
        Demand("most calls in a minute / limit", at_most=1.0),
        Demand("calls a minute while work is left / limit", at_least=0.7),
        Demand("calls refused by the provider (429)", at_most=0),
        Demand("last near meeting right / all right", at_most=0.5),
        Demand("seconds to the first listing", at_most=PROBE.total_seconds() * 1.2),
    )
    return Measured("outage", figures, demands if is_whole else (), {"bot calls per 10 s": calls})


def _wait_for_the_knocking(stage: Stage, *, is_whole: bool) -> float:
    began = monotonic()
    tries = TRIES_BEFORE_PROBING if is_whole else 1
    while stage.count("SELECT coalesce(max(tries), 0) FROM sources") < tries:
        assert monotonic() - began < 600
        sleep(0.5)
    sleep(PROBE.total_seconds() if is_whole else 0)
    return monotonic() - began


def _recover(stage: Stage, calendars: int) -> tuple[dict[str, float], list[tuple[float, float]]]:
    answer(stage.rig.emulator.delete("/requests"))
    answer(stage.rig.emulator.delete("/faults"))
    began = monotonic()
    first_listing = near_right = 0.0
    timeline: list[tuple[float, int]] = [(0.0, 0)]
    near = text(
        "SELECT count(*) FROM calendar_events e LEFT JOIN wants w ON w.event_id = e.id"
        " LEFT JOIN slots s ON s.id = w.slot_id"
        " WHERE e.start_at < now() + interval '2 hours' AND s.bot_hash IS NOT DISTINCT FROM s.seat_hash"
        " AND s.bot_id IS NOT NULL"
    )
    near_calendars = -(-calendars // NEAR_SHARE)
    while True:
        sleep(1)
        at = monotonic() - began
        assert at < calendars / 5 + 300, stage.left()
        timeline.append((at, stage.calls("calendar_events_bot_create")))
        if not first_listing and stage.calls("calendar_events_list"):
            first_listing = at
        if not near_right:
            with stage.db.begin() as tx:
                near_right = at if tx.execute(near).scalar_one() >= near_calendars else 0.0
        if timeline[-1][1] >= calendars and not any(stage.left()):
            break
    limit = 600.0
    minutes = [
        done - max((d for t, d in timeline if t <= at - MINUTE), default=0) for at, done in timeline
    ]
    figures = {
        "seconds to the first listing": first_listing,
        "seconds to the last near meeting right": near_right,
        "seconds to all right": timeline[-1][0],
        "last near meeting right / all right": near_right / timeline[-1][0],
        "bot calls / calendars": timeline[-1][1] / calendars,
        "list calls": float(stage.calls("calendar_events_list")),
        "most calls in a minute / limit": max(minutes) / limit,
        "calls a minute while work is left / limit": _rate(timeline, calendars) / limit,
        "calls refused by the provider (429)": float(stage.refused()),
    }
    tens = [
        (at, float(done - max((d for t, d in timeline if t <= at - 10), default=0)))
        for at, done in timeline[10::10]
    ]
    return figures, tens


def _rate(timeline: list[tuple[float, int]], calendars: int) -> float:
    """Return the calls a minute after the first burst and before the last few."""
    steady = [(at, done) for at, done in timeline if 0.1 * calendars <= done <= 0.95 * calendars]
    (began, first), (ended, last) = steady[0], steady[-1]
    return MINUTE * (last - first) / (ended - began)
