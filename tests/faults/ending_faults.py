"""Faults of our own processes that are stopped for minutes, told to end or out of memory; and of the relay."""

from __future__ import annotations

import os
import re
import signal
import time
from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # ships no types

from models.tables.due import LEASE, MOST_CRASHES
from tests.faults import judge
from tests.faults.brokers import RabbitMQ
from tests.faults.fault import Fault, Figure, Ground, Result, impossible
from tests.faults.process_scenes import (
    CGROUPS,
    RERUN_WITHIN_S,
    START_S,
    UNHURRIED,
    _at,
    _created,
    _ledgers_in_order,
    arm,
    await_death,
    create,
    in_modes,
    is_ready,
    log_of,
    memory_bounded,
    oom_kills,
    relaying,
    seat_of,
)
from tests.faults.stage import Stage, standing
from tests.system.rig import answer, until

# The worker, stopped and going on


def stop_worker_with_a_lease(ground: Ground) -> Result:
    """Stop a worker that has read a slot, for longer than its lease; another one steals it."""
    return in_modes(ground, lambda stage, _: _stop_at(stage, ground, "reconciling._Run._read:after"))


def stop_worker_before_its_call(ground: Ground) -> Result:
    """Stop a worker between its intent and its call; when it goes on, another one has made the call."""
    return in_modes(ground, lambda stage, mode: _stop_at(stage, ground, f"{_created(mode)}:before"))


def _stop_at(stage: Stage, ground: Ground, point: str) -> dict[str, Figure]:
    stopped_s = 40 if ground.short else 120
    arm(stage, "work", f"{point}:pause=3")
    until(lambda: bool(stage.processes_of("work")), within=20)
    # Alone until it has the slot: the other one begins while the first is stopped.
    event = create(stage)
    until(lambda: "paused_as_ordered" in log_of(stage, "work"), within=30)
    processes = stage.processes_of("work")
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    try:
        stage.keeper.keep("other", "worker.cli", "work", "--in-tree")
        stage.come_to_rest(LEASE.total_seconds() + 40)
        stolen_s = time.monotonic() - began
        time.sleep(max(0.0, stopped_s - stolen_s))
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)
    time.sleep(5)
    stage.come_to_rest()
    seat = seat_of(stage, event)
    made = [r for r in judge.every_record(stage.rig) if r["kind"] == "bot.created"]
    made = [r for r in made if (r["meeting_url"], r["join_at"][:19]) == seat]
    stage.demand(len(made) == 1, f"{len(made)} bots were made for one meeting")
    stage.keeper.forget("other")
    stage.rig.stop("other")
    return {"stopped_s": stopped_s, "stolen_s": round(stolen_s, 1), "bots_made": len(made)}


# Ended in peace, or nearly


def _hears_sigterm(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    caught = re.search(r"^SigCgt:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)


def end_everybody(ground: Ground) -> Result:
    """End all workers and receivers with SIGTERM under load, as a deployment does."""
    rounds = 1 if ground.short else 3
    with standing(ground, per_second=40) as stage:
        stage.keeper.keep("other", "worker.cli", "work", "--in-tree")
        slowest, codes = 0.0, Counter[int]()
        for _ in range(rounds):
            with stage.editing(pause_s=0.1):
                time.sleep(3)
                ending = {name: stage.rig.processes[name] for name in ("work", "other", "serve")}
                for process in ending.values():
                    # Who is still being started has not said yet how it wants to end.
                    until(partial(_hears_sigterm, process.pid), within=40)
                began = time.monotonic()
                for process in ending.values():
                    process.terminate()
                for process in ending.values():
                    codes[process.wait(40)] += 1
                    slowest = max(slowest, time.monotonic() - began)
            until(lambda: is_ready(stage), within=40)
        stage.demand(slowest <= 25, f"ending took {slowest:.0f} s")
        stage.demand(set(codes) == {0}, f"exit codes {dict(codes)}")
        rings = stage.count("SELECT count(*) FROM slots WHERE wanted > done")
        return stage.finish(60, rounds=rounds, slowest_end_s=round(slowest, 1), due_after=rings)


def end_and_kill(ground: Ground) -> Result:
    """SIGTERM, and SIGKILL a second later, as an impatient supervisor does."""
    rounds = 2 if ground.short else 6
    with standing(ground) as stage:
        for _ in range(rounds):
            with stage.editing(pause_s=0.1):
                time.sleep(2 + stage.chance.random() * 2)
                work = stage.rig.processes["work"]
                work.terminate()
                time.sleep(1)
                work.kill()
                work.wait(10)
            stage.come_to_rest(RERUN_WITHIN_S + START_S)
        return stage.finish(60, kills=rounds)


def run_out_of_memory(ground: Ground) -> Result:
    """Give a worker's children so little memory that the kernel kills the one with the big answer."""
    if not os.access(CGROUPS / "cgroup.procs", os.W_OK):
        return impossible("no writable cgroup for memory (v1) on this machine")
    with (
        RabbitMQ.running() as rabbit,
        standing(ground, broker_url=rabbit.url, settings=UNHURRIED) as stage,
        memory_bounded(stage) as group,
    ):
        stage.come_to_rest()
        # One answer of many megabytes, as often as it takes to give up on the slot.
        huge = {"results": [[n] for n in range(1_500_000)]}
        answer(
            stage.rig.emulator.post(
                "/faults",
                json={
                    "kind": "status",
                    "status": 200,
                    "method": "POST",
                    "path": "/bot/",
                    "body": huge,
                    "times": MOST_CRASHES,
                },
            )
        )
        create(stage)
        parked = "SELECT count(*) FROM slots WHERE parked_at IS NOT NULL"
        began = time.monotonic()
        until(lambda: stage.count(parked) == 1, within=MOST_CRASHES * 60, every=1)
        parked_s = time.monotonic() - began
        kills = oom_kills(group)
        stage.demand(kills >= MOST_CRASHES, f"the kernel killed only {kills} times")
        # Nothing else was held up, and a person can revive what was set aside.
        other = create(stage)
        until(
            lambda: any(_at(bot) == seat_of(stage, other) for bot in stage.rig.live_bots()), within=60
        )
        stage.rig.start_and_read("revive", "--all")
        return stage.finish(60, oom_kills=kills, parked_after_s=round(parked_s, 0))


# The relay


def kill_relay_after_publishing(ground: Ground) -> Result:
    """Kill the worker when domain events are with the broker and not yet marked."""
    with relaying(ground) as (stage, amqp):
        arm(stage, "work", "publisher.publish:after")
        create(stage)
        await_death(stage, "work")
        return _ledgers_in_order(stage, ground, amqp, repeats=True)


def run_two_relays(ground: Ground) -> Result:
    """Run two relays, one of them stopped in the middle for longer than its lease."""
    stopped_s = 30 if ground.short else 120
    with relaying(ground) as (stage, amqp):
        arm(stage, "work", "publisher.publish:before:pause=3")
        create(stage)
        until(lambda: "paused_as_ordered" in log_of(stage, "work"), within=40)
        processes = stage.processes_of("work")
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        try:
            stage.keeper.keep("other", "worker.cli", "work", "--in-tree")
            with stage.editing(pause_s=0.5):
                time.sleep(stopped_s)
        finally:
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGCONT)
        with stage.editing(pause_s=0.3):
            time.sleep(3)
        return _ledgers_in_order(stage, ground, amqp, stopped_s=stopped_s)


FAULTS = [
    Fault(
        "F12",
        "a worker is stopped for two minutes with a lease, and goes on",
        "the lease is stolen, what it still writes changes nothing, one bot",
        stop_worker_with_a_lease,
    ),
    Fault(
        "F13",
        "a worker is stopped for two minutes between intent and call, and goes on",
        "its late call falls together with the one made meanwhile: one bot",
        stop_worker_before_its_call,
    ),
    Fault(
        "F14",
        "SIGTERM to all workers and receivers under load",
        "all have ended by themselves within 25 s, nothing is half done",
        end_everybody,
        short=True,
    ),
    Fault(
        "F15",
        "SIGTERM, and SIGKILL one second later",
        "as if killed: the right bots, no doubles",
        end_and_kill,
    ),
    Fault(
        "F16",
        "the kernel kills a worker's child for want of memory, whenever it reads one answer",
        "the child is replaced, each death is counted, the fifth sets the slot aside, others go on",
        run_out_of_memory,
        needs=("rabbitmq-server",),
    ),
    Fault(
        "F17",
        "the worker dies when domain events are published and not marked",
        "published again under the same ids, in order",
        kill_relay_after_publishing,
        needs=("rabbitmq-server",),
    ),
    Fault(
        "F18",
        "two relays at once, one of them stopped for two minutes in the middle",
        "every subject in order, nothing missing",
        run_two_relays,
        needs=("rabbitmq-server",),
    ),
]
