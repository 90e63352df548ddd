"""
Faults of what tells us of changes: webhooks lost, repeated, shuffled, late; listings that change while
they are read.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from tests.faults.fault import Fault, Figure, Ground, Result
from tests.faults.provider_scenes import meetings_at, put_in
from tests.faults.stage import Stage, standing
from tests.system.ledgers import by_subject
from tests.system.oracle import bots_as_seats
from tests.system.rig import answer, until

#: Looked for unasked: every so often while a meeting is near, and seldom otherwise.
NEAR_S, ALL_S = 5, 600


def lose_webhooks(ground: Ground) -> Result:
    """Lose all webhooks; then send half of them tenfold, shuffle them, delay them, send only old ones."""
    edits, late_s = (5, 10) if ground.short else (25, 60)
    settings = {
        "PUNCTUAL_RECONCILE_NEAR_SECONDS": str(NEAR_S),
        "PUNCTUAL_RECONCILE_ALL_SECONDS": str(ALL_S),
    }
    ways: dict[str, dict[str, Any]] = {
        "lost": {"drop": 1.0},
        "tenfold": {"duplicate": 0.5, "copies": 10},
        "shuffled": {"shuffle_ms": 3000, "seed": ground.seed},
        "late": {"delay_ms": late_s * 1000},
        "old": {"drop": 1.0},
    }
    figures: dict[str, Figure] = {}
    with standing(ground, settings=settings) as stage:
        stage.edit(10)
        for way, wish in ways.items():
            plain = {"drop": 0.0, "duplicate": 0.0, "shuffle_ms": 0, "delay_ms": 0}
            answer(stage.rig.emulator.put("/webhook", json=plain))
            # With meetings within two hours we look often; some, since an edit may move one away.
            near = stage.author.base - timedelta(days=2)
            put_in(stage, meetings_at(stage, [near + timedelta(minutes=90 + n) for n in range(4)]))
            stage.come_to_rest()
            answer(stage.rig.emulator.put("/webhook", json=plain | wish))
            stage.edit(edits)
            if way == "old":
                answer(stage.rig.emulator.post("/deliveries/replay", json={"state": "delivered"}))
            rest_s = stage.come_to_rest(60)
            figures[f"{way}_s"] = rest_s
            stage.demand(
                rest_s <= 6 * NEAR_S, f"{way}: found after {rest_s} s, looked every {NEAR_S} s"
            )
        # The late ones come now, and have nothing to tell.
        before = bots_as_seats(stage.rig), changes(stage)
        until(lambda: not on_the_way(stage), within=late_s + 60, every=0.2)
        stage.come_to_rest(60)
        stage.demand(
            (bots_as_seats(stage.rig), changes(stage)) == before, "late webhooks changed something"
        )
        return stage.finish(60, edits=edits * len(ways), **figures)


def change_while_paging(ground: Ground) -> Result:
    """Change events while they are listed, many under one updated_at, some committed late."""
    together, page_size = (150, 20) if ground.short else (500, 40)
    with standing(ground, calendars=6) as stage:
        emulator = stage.rig.emulator
        answer(emulator.patch("/limits", json={"page_size": page_size, "latency_ms": 40}))
        answer(emulator.patch("/switches", json={"batch_shares_stamp": True}))
        starts = [stage.author.base + timedelta(minutes=9 * n) for n in range(together)]
        stage.chance.shuffle(starts)
        with stage.editing(pause_s=0.05) as edits:
            put_in(stage, meetings_at(stage, starts))
            time.sleep(5)
            shift_together(stage, starts)
            time.sleep(5)
        stage.demand(stamps(stage) >= together / 2, "no two changes shared their updated_at")
        first_s = stage.come_to_rest(180)
        # From now on nobody tells of a change, and half of them appear late under an older updated_at.
        answer(emulator.put("/webhook", json={"drop": 1.0}))
        late = {"late_commit_ms": 2500, "late_commit_rate": 0.5}
        answer(emulator.patch("/switches", json=late))
        stage.edit(20 if ground.short else 60, pause_s=0.1)
        late_s = stage.come_to_rest(120)
        answer(emulator.patch("/switches", json={"late_commit_ms": 0}))
        with suppress(AssertionError):  # what calls for no bot is not waited for by `come_to_rest`
            until(lambda: not not_known(stage), within=60, every=1)
        missed = not_known(stage)
        stage.demand(not missed, f"{len(missed)} events not as the provider shows them: {missed[:2]}")
        return stage.finish(
            60, together=together, edits=edits[0], rest_paging_s=first_s, rest_late_s=late_s
        )


def shift_together(stage: Stage, starts: list[datetime]) -> None:
    """Move many meetings by a day in one batch, so that they change pages under one new updated_at."""
    moved = [
        (event, copy)
        for event, copy in list(stage.oracle.copies.items())
        if copy.start in set(starts) and not copy.gone
    ][: len(starts) // 2]
    day = timedelta(days=1)
    wishes = [
        {
            "id": event,
            "start": (copy.start + day).isoformat(),
            "end": (copy.start + day + timedelta(hours=1)).isoformat(),
        }
        for event, copy in moved
    ]
    answer(stage.rig.emulator.post("/events:batch", json=wishes))
    for event, copy in moved:
        stage.author._know(event, start=copy.start + day)


def stamps(stage: Stage) -> int:
    """Count the events that share their updated_at with another."""
    seen = Counter(
        event["updated_at"]
        for calendar in stage.calendars
        for event in answer(stage.rig.emulator.get(f"/calendars/{calendar}/events"))
    )
    return sum(count for count in seen.values() if count > 1)


def not_known(stage: Stage) -> list[str]:
    """List the events that the API does not show as the provider does."""
    known = {
        event["external_id"]: (event["start"][:19], event["deleted"])
        for event in stage.rig.every("/v1/events")
    }
    missed = []
    for calendar in stage.calendars:
        for row in answer(stage.rig.emulator.get(f"/calendars/{calendar}/events")):
            shown = (row["start_time"][:19], row["is_deleted"])
            if row["_emulator"]["visible"] and known.get(row["id"], (None, True)) != shown:
                is_unseen_tombstone = row["is_deleted"] and row["id"] not in known
                missed += [] if is_unseen_tombstone else [f"{row['id']}: {known.get(row['id'])}"]
    return missed


def changes(stage: Stage) -> dict[str, int]:
    """Count the domain events of each subject."""
    return {subject: len(found) for subject, found in by_subject(stage.rig.feed()).items()}


def on_the_way(stage: Stage) -> int:
    """Count webhooks that are still to be sent or under way."""
    webhooks = answer(stage.rig.emulator.get("/state"))["webhooks"]
    return int(webhooks["waiting"]) + int(webhooks["in_flight"])


FAULTS = [
    Fault(
        "F51",
        "webhooks all lost; half of them tenfold; shuffled; late; only old ones",
        "found by looking unasked; what is old or late changes nothing",
        lose_webhooks,
        short=True,
    ),
    Fault(
        "F52",
        "events change while they are listed, hundreds under one updated_at, some late under an older one",
        "every change is applied: the cursor never passes one",
        change_while_paging,
        short=True,
    ),
]
