"""
Faults of our own processes that are killed at the worst moment.

The worst moments are named points (`worker.failpoints`); a process armed with one dies there once.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from models.tables.due import LEASE
from tests.faults import judge
from tests.faults.brokers import RabbitMQ
from tests.faults.fault import Fault, Figure, Ground, Result
from tests.faults.process_scenes import (
    MANAGED,
    RERUN_WITHIN_S,
    START_S,
    UNHURRIED,
    _created,
    age_intents,
    arm,
    await_death,
    create,
    create_wish,
    decline,
    in_modes,
    is_ready,
    move,
    seat_of,
)
from tests.faults.stage import Stage, standing
from tests.system.rig import answer, until

# The receiver


def kill_receiver(ground: Ground) -> Result:
    """Kill the receiver again and again while deliveries come."""
    rounds = 3 if ground.short else 20
    with standing(ground, per_second=60) as stage:
        began = time.monotonic()
        for _ in range(rounds):
            time.sleep(0.5 + stage.chance.random() * 2)
            stage.kill_all("serve")
            until(lambda: is_ready(stage), within=40)
        torn = stage.count("SELECT count(*) FROM deliveries WHERE octet_length(body) = 0")
        stage.demand(not torn, f"{torn} deliveries without a body")
        resets = stage.sender.statuses(began).get(0, 0) if stage.sender else 0
        return stage.finish(60, kills=rounds, resets=resets)


def kill_receiver_after_commit(ground: Ground) -> Result:
    """Kill the receiver when the delivery is committed and nobody has been answered."""
    return _receiver_at(ground, "receiver.store:after", stored=1)


def kill_receiver_before_commit(ground: Ground) -> Result:
    """Kill the receiver when it has the delivery and has not written it."""
    return _receiver_at(ground, "receiver.store:before", stored=0)


def _receiver_at(ground: Ground, point: str, *, stored: int) -> Result:
    with standing(ground, settings=UNHURRIED) as stage:
        stage.come_to_rest()
        message = f"msg_{uuid4().hex}"
        rows = "SELECT count(*) FROM deliveries WHERE message_id = %s"
        asked = "SELECT wanted FROM calendars WHERE external_id = %s"
        asks = stage.count(asked, stage.calendars[0])
        arm(stage, "serve", point)
        first = stage.notify(message)
        await_death(stage, "serve")
        stage.demand(first == 0, f"the dying receiver answered {first}")
        found = stage.count(rows, message)
        stage.demand(found == stored, f"{found} rows after the death")
        until(lambda: is_ready(stage), within=40)
        again = stage.notify(message)
        stage.demand(again == 204, f"the repeat was answered {again}")
        stage.demand(stage.count(rows, message) == 1, "not exactly one row")
        bumps = stage.count(asked, stage.calendars[0]) - asks
        stage.demand(bumps == 1, f"the calendar was asked for {bumps} times")
        return stage.finish(60, asked_for=bumps)


# The worker, killed


def kill_worker(ground: Ground) -> Result:
    """Kill any of a worker's processes every 2 to 10 s while changes are made."""
    if ground.short:
        with standing(ground) as stage:
            return _kill_worker(stage, rounds=2, kill=lambda: stage.kill_all("work"))
    with RabbitMQ.running() as rabbit, standing(ground, broker_url=rabbit.url) as stage:
        return _kill_worker(stage, rounds=8, kill=lambda: stage.kill_one("work"))


def _kill_worker(stage: Stage, *, rounds: int, kill: Callable[[], object]) -> Result:
    edits, back_s = 0, []
    for _ in range(rounds):
        with stage.editing() as made:
            time.sleep(2 + stage.chance.random() * 8)
            kill()
            killed = time.monotonic()
        edits += made[0]
        stage.come_to_rest(RERUN_WITHIN_S + START_S)
        back_s.append(time.monotonic() - killed)
    # What the dead one held is free after its lease; what is left is the supervisor's and ours.
    slowest = max(back_s)
    stage.demand(
        slowest <= RERUN_WITHIN_S + START_S, f"a killed worker's work took {slowest:.0f} s to be done"
    )
    return stage.finish(60, kills=rounds, edits=edits, rerun_s=round(slowest, 1))


def kill_between_intent_and_call(ground: Ground) -> Result:
    """Kill the worker when the intent is committed and Recall has not been called."""
    return in_modes(ground, lambda stage, _: _die_creating(stage, "reconciling._Run._intend:after"))


def kill_between_call_and_commit(ground: Ground) -> Result:
    """Kill the worker when Recall has made the bot and nothing of it is written down."""
    return in_modes(ground, lambda stage, mode: _die_creating(stage, f"{_created(mode)}:after"))


def kill_and_let_the_key_expire(ground: Ground) -> Result:
    """The same, and the worker comes back when Recall has long forgotten the idempotency key."""

    def die(stage: Stage, mode: str) -> dict[str, Figure]:
        answer(stage.rig.emulator.patch("/limits", json={"idempotency_ttl_s": 1.0}))
        return _die_creating(stage, f"{_created(mode)}:after", while_dead=lambda: age_intents(stage))

    return in_modes(ground, die)


def kill_and_let_lists_lag(ground: Ground) -> Result:
    """The same, and Recall's lists show a new bot only after half a minute."""

    def die(stage: Stage, mode: str) -> dict[str, Figure]:
        answer(stage.rig.emulator.patch("/switches", json={"bot_list_lag_s": 30.0}))
        return _die_creating(stage, f"{_created(mode)}:after")

    return in_modes(ground, die)


def _die_creating(
    stage: Stage, point: str, *, while_dead: Callable[[], object] = lambda: None
) -> dict[str, Figure]:
    arm(stage, "work", point)
    event = create(stage)
    await_death(stage, "work")
    died = time.monotonic()
    while_dead()
    stage.come_to_rest(LEASE.total_seconds() + 40)
    rerun_s = time.monotonic() - died
    seat = seat_of(stage, event)
    made = [
        record
        for record in judge.every_record(stage.rig)
        if record["kind"] == "bot.created" and (record["meeting_url"], record["join_at"][:19]) == seat
    ]
    stage.demand(len(made) == 1, f"{len(made)} bots were made for one meeting")
    stage.demand(rerun_s <= RERUN_WITHIN_S + START_S, f"done again only after {rerun_s:.0f} s")
    return {"bots_made": len(made), "rerun_s": round(rerun_s, 1)}


def kill_between_delete_and_commit(ground: Ground) -> Result:
    """Kill the worker when Recall has removed the bot and nothing of it is written down."""

    def die(stage: Stage, mode: str) -> dict[str, Figure]:
        event = create(stage)
        stage.come_to_rest()
        operation = "recall.unschedule_bot" if mode == MANAGED else "recall.delete_bot"
        arm(stage, "work", f"{operation}:after")
        decline(stage, event)
        await_death(stage, "work")
        stage.come_to_rest(LEASE.total_seconds() + 40)
        told = Counter(entry["type"] for entry in stage.rig.feed())
        stage.demand(told["bot.cancelled"] == 1, f"cancelled was told {told['bot.cancelled']} times")
        return {"bot_cancelled_events": told["bot.cancelled"]}

    return in_modes(ground, die)


def kill_while_moving(ground: Ground) -> Result:
    """Kill the worker between the new bot and the old one, where a move needs both."""

    def die(stage: Stage, mode: str) -> dict[str, Figure]:
        if mode == MANAGED:
            # Another time makes another bot under the same key.
            answer(stage.rig.emulator.patch("/switches", json={"adopt_stable_keys": False}))
            event, point = create(stage), "recall.schedule_bot:after"
        else:
            # This near, a bot cannot be changed any more: it is deleted and made anew.
            event = create(stage, start=datetime.now(UTC) + timedelta(minutes=9))
            point = "recall.delete_bot:after"
        stage.come_to_rest()
        arm(stage, "work", point)
        move(stage, event, timedelta(minutes=15))
        await_death(stage, "work")
        stage.come_to_rest(LEASE.total_seconds() + 40)
        return {"double_s": round(judge.overlaps(judge.every_record(stage.rig)).longest_s, 1)}

    return in_modes(ground, die)


def kill_within_a_listing(ground: Ground) -> Result:
    """Kill the worker when it has read the second page of many."""
    with standing(ground, settings=UNHURRIED) as stage:
        stage.come_to_rest()
        answer(stage.rig.emulator.patch("/limits", json={"page_size": 5}))
        epoch = "coalesce(extract(epoch FROM cursor_at) * 1000000, 0)"
        cursor = f"SELECT {epoch} FROM sources WHERE name = 'recall'"
        arm(stage, "work", "recall.list_events:after:2")
        before = stage.count(cursor)
        many = [create_wish(stage, n) for n in range(30)]
        made = answer(stage.rig.emulator.post("/events:batch", json=[wish for wish, _ in many]))
        for row, (_, copy) in zip(made, many, strict=True):
            stage.oracle.copies[row["id"]] = copy
        await_death(stage, "work")
        stage.demand(stage.count(cursor) == before, "the cursor moved although the listing did not end")
        stage.come_to_rest(LEASE.total_seconds() + 60)
        told = Counter(
            entry["subject"] for entry in stage.rig.feed() if entry["type"] == "calendar_event.created"
        )
        stage.demand(
            len(told) == 30 and set(told.values()) == {1},
            f"{len(told)} events were told of, at most {max(told.values(), default=0)} times each",
        )
        return stage.finish(60, events_told=len(told))


FAULTS = [
    Fault(
        "F1",
        "the receiver is killed at any moment, again and again, under load",
        "rows are absent or whole, what was acknowledged is there, repeats are recognised",
        kill_receiver,
        short=True,
    ),
    Fault(
        "F2",
        "the receiver dies after the commit, before the answer",
        "the sender comes again and is told 204; one row, one ask",
        kill_receiver_after_commit,
        short=True,
    ),
    Fault(
        "F3",
        "the receiver dies before the commit",
        "no row; the sender comes again and it is stored",
        kill_receiver_before_commit,
        short=True,
    ),
    Fault(
        "F4",
        "a worker's process is killed every 2 to 10 s while changes are made",
        "its work is done again within 30 s and a start; the right bots, no doubles",
        kill_worker,
        short=True,
    ),
    Fault(
        "F5",
        "the worker dies between the intent and the call",
        "one bot, made by the next owner, within 30 s and a start",
        kill_between_intent_and_call,
    ),
    Fault(
        "F6",
        "the worker dies when the bot is made and not written down",
        "the same key gives the same bot: one bot",
        kill_between_call_and_commit,
        short=True,
    ),
    Fault(
        "F7",
        "the same, and the idempotency key has expired",
        "found and adopted before anything is made: one bot",
        kill_and_let_the_key_expire,
    ),
    Fault(
        "F8",
        "the same, and the provider's lists lag by 30 s",
        "one bot",
        kill_and_let_lists_lag,
    ),
    Fault(
        "F9",
        "the worker dies when the bot is removed and that is not written down",
        "removing it again is success, and is told once",
        kill_between_delete_and_commit,
    ),
    Fault(
        "F10",
        "the worker dies in the middle of a move that takes two calls",
        "one bot at the new place; two scheduled ones for 60 s at most",
        kill_while_moving,
    ),
    Fault(
        "F11",
        "the worker dies on the second page of seven",
        "the cursor has not moved, all is listed again, nothing is told twice",
        kill_within_a_listing,
        short=True,
    ),
]
