"""
Faults of our own processes: killed at the worst moment, stopped for minutes, ended, out of memory.

The worst moments are named points (`worker.failpoints`); a process armed with one dies there once.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil  # type: ignore[import-untyped]  # ships no types

from models.tables.due import LEASE, MOST_CRASHES
from tests.faults import judge
from tests.faults.brokers import RabbitMQ
from tests.faults.fault import Fault, Figure, Ground, Result, impossible
from tests.faults.stage import Stage, standing
from tests.system.ledgers import by_subject, ledger, start_consumer
from tests.system.oracle import Copy
from tests.system.rig import answer, until

MANAGED, SELF_MANAGED = "recall_managed", "recall_self_managed"
MODES = (MANAGED, SELF_MANAGED)
#: What stops at nothing of its own, so that a fault sees only its own calls.
UNHURRIED = {"PUNCTUAL_RECONCILE_NEAR_SECONDS": "3600", "PUNCTUAL_RECONCILE_ALL_SECONDS": "3600"}
#: A dead worker's work is done again this soon, beside the time a supervisor takes to start one.
RERUN_WITHIN_S = 30.0
START_S = 10.0
CGROUPS = Path("/sys/fs/cgroup/memory")
HOUR = timedelta(hours=1)


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
        cursor = "SELECT extract(epoch FROM cursor_at) * 1000000 FROM sources WHERE name = 'recall'"
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


def end_everybody(ground: Ground) -> Result:
    """End all workers and receivers with SIGTERM under load, as a deployment does."""
    rounds = 1 if ground.short else 3
    with standing(ground, per_second=40) as stage:
        stage.keeper.keep("other", "worker.cli", "work", "--in-tree")
        slowest, codes = 0.0, Counter[int]()
        for _ in range(rounds):
            with stage.editing(pause_s=0.1):
                time.sleep(3)
                began = time.monotonic()
                ending = {name: stage.rig.processes[name] for name in ("work", "other", "serve")}
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
        until(lambda: stage.count(parked) == 1, within=MOST_CRASHES * 40, every=1)
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


@contextmanager
def relaying(ground: Ground) -> Iterator[tuple[Stage, Path]]:
    """Run Punctual with domain events over AMQP and HTTP, and a downstream service with ledgers."""
    with RabbitMQ.running() as rabbit:
        settings = {
            "PUNCTUAL_EVENTS_URL": rabbit.url,
            "PUNCTUAL_EVENTS_EXCHANGE": f"punctual.{ground.folder.name.lower()}",
        }
        with standing(ground, settings=settings) as stage:
            consumer = start_consumer(stage.rig, rabbit.url, ground.folder)
            try:
                yield stage, ground.folder / "amqp.ledger"
            finally:
                consumer.kill()
                consumer.wait()


def _ledgers_in_order(
    stage: Stage, ground: Ground, amqp: Path, *, repeats: bool = False, **figures: Figure
) -> Result:
    stage.come_to_rest(LEASE.total_seconds() + 60)
    until(lambda: has_all(stage, amqp), within=90, every=0.5)
    first = by_subject(ledger(amqp))
    wrong = [name for name, sequences in first.items() if sequences != sorted(sequences)]
    stage.demand(not wrong, f"{len(wrong)} subjects out of order over AMQP")
    lines = len(amqp.read_text().splitlines())
    again = lines - len(ledger(amqp))
    stage.demand(again > 0 or not repeats, "nothing was published again, so nothing was shown")
    return stage.finish(60, amqp_events=len(ledger(amqp)), published_again=again, **figures)


def has_all(stage: Stage, amqp: Path) -> bool:
    """Say whether everything told since the consumer came has reached it over AMQP."""
    heard = {entry["id"] for entry in ledger(amqp)}
    since = min((entry["sequence"] for entry in ledger(amqp)), default=None)
    told = [entry["id"] for entry in stage.rig.feed()]
    known = [n for n, event_id in enumerate(told) if event_id in heard]
    return since is not None and set(told[known[0] :]) <= heard


# Tools


def arm(stage: Stage, name: str, order: str) -> None:
    """Start a process anew with an order to die; what comes after its death is not armed any more."""
    before = {process.pid for process in stage.processes_of(name)}
    stage.keeper.environments[name] = {"PUNCTUAL_CRASH_AT": order}
    stage.keeper.restart(name)
    until(lambda: stage.processes_of(name) and stage.processes_of(name)[0].pid not in before, within=20)
    stage.keeper.environments.pop(name)
    stage.keeper.deaths.clear()
    until(lambda: "crash_armed" in log_of(stage, name), within=30)
    until(lambda: is_ready(stage), within=40)
    time.sleep(2)  # until it has attached itself to what rings for it


def await_death(stage: Stage, name: str, *, within: float = 60) -> None:
    """Wait until the process has died as ordered and another one has been started."""
    until(lambda: stage.keeper.deaths[name] > 0, within=within)


def is_ready(stage: Stage) -> bool:
    """Say whether the receiver answers that it is ready."""
    with suppress(Exception):  # whatever a starting server says
        return bool(stage.rig.api.get("/readyz").is_success)
    return False


def log_of(stage: Stage, name: str) -> str:
    """Read what a process has said."""
    return (stage.rig.logs / f"{name}.log").read_text(errors="replace")


def create(stage: Stage, *, start: datetime | None = None) -> str:
    """Put a meeting into the first calendar; the emulator's id for it is returned."""
    wish, copy = create_wish(stage, stage.chance.randrange(10**6), start=start)
    calendar = wish.pop("calendar_id")
    made = answer(stage.rig.emulator.post(f"/calendars/{calendar}/events", json=wish))
    stage.oracle.copies[made["id"]] = copy
    return str(made["id"])


def create_wish(
    stage: Stage, number: int, *, start: datetime | None = None
) -> tuple[dict[str, Any], Copy]:
    """Describe a meeting of its own, for the emulator and for the oracle."""
    begins = (start or datetime.now(UTC) + timedelta(days=3, minutes=number % 5000)).replace(
        second=0, microsecond=0
    )
    link = f"https://meet.google.com/{uuid4().hex[:3].translate(_LETTERS)}-{_word(4)}-{_word(3)}"
    copy = Copy(stage.calendars[0], begins, link, "interview")
    wish = {
        "calendar_id": copy.calendar,
        "title": copy.title,
        "start": begins.isoformat(),
        "end": (begins + HOUR).isoformat(),
        "link": link,
        "organizer": "host@elsewhere.org",
        "own_response": "accepted",
    }
    return wish, copy


_LETTERS = str.maketrans("0123456789", "ghijklmnop")


def _word(length: int) -> str:
    return uuid4().hex[:length].translate(_LETTERS)


def move(stage: Stage, event: str, by: timedelta) -> None:
    """Move a meeting."""
    copy = stage.oracle.copies[event]
    start = copy.start + by
    wish = {"start": start.isoformat(), "end": (start + HOUR).isoformat()}
    answer(stage.rig.emulator.patch(f"/events/{event}", json=wish))
    stage.oracle.copies[event] = Copy(copy.calendar, start, copy.link, copy.title)


def decline(stage: Stage, event: str) -> None:
    """Have the calendar's user decline a meeting, which takes its bot away."""
    copy = stage.oracle.copies[event]
    answer(stage.rig.emulator.patch(f"/events/{event}", json={"own_response": "declined"}))
    stage.oracle.copies[event] = Copy(copy.calendar, copy.start, copy.link, copy.title, declined=True)


def seat_of(stage: Stage, event: str) -> tuple[str, str]:
    """Return link and start of a meeting as the emulator shows them on a bot."""
    copy = stage.oracle.copies[event]
    return (str(copy.link), copy.start.isoformat()[:19])


def _at(bot: Mapping[str, Any]) -> tuple[str, str]:
    return (str(bot["meeting_url"]), str(bot["join_at"])[:19])


def age_intents(stage: Stage) -> None:
    """Let two hours pass since every intent was written down."""
    stage.count(
        "WITH aged AS (UPDATE slots SET op_at = op_at - interval '2 hours' WHERE op IS NOT NULL RETURNING 1)"
        " SELECT count(*) FROM aged"
    )


def in_modes(ground: Ground, die: Callable[[Stage, str], dict[str, Figure]]) -> Result:
    """Try it in both bot modes, each on a stage of its own."""
    figures: dict[str, Figure] = {}
    remarks: list[str] = []
    for mode in MODES:
        folder = ground.folder / mode
        folder.mkdir(parents=True, exist_ok=True)
        here = Ground(folder, ground.fresh_database, ground.short, ground.seed)
        with standing(here, bots=mode, settings=UNHURRIED, calendars=1) as stage:
            short_name = mode.removeprefix("recall_").removesuffix("_managed")
            figures |= {f"{short_name}_{name}": value for name, value in die(stage, mode).items()}
            result = stage.finish(60)
            if result.remarks:
                remarks.append(f"{mode}: {result.remarks}")
    return Result(not remarks, figures, "; ".join(remarks))


def _created(mode: str) -> str:
    return "recall.schedule_bot" if mode == MANAGED else "recall.create_bot"


@contextmanager
def memory_bounded(stage: Stage) -> Iterator[Path]:
    """Keep the consumer's processes in a memory cgroup with little room for the length of a `with` block."""
    group = CGROUPS / f"punctual_{uuid4().hex[:8]}"
    group.mkdir()
    home = CGROUPS / _own_group()
    try:
        consumers = [
            process
            for process in stage.processes_of("work")
            if "consumer" in process.cmdline() or "consumer" in process.parent().cmdline()
        ]
        for process in consumers:
            (group / "cgroup.procs").write_text(str(process.pid))
        time.sleep(3)
        used = int((group / "memory.usage_in_bytes").read_text())
        resident = sum(process.memory_info().rss for process in consumers)
        (group / "memory.limit_in_bytes").write_text(str(max(used, resident) + 80 * 1024 * 1024))
        yield group
    finally:
        for pid in (group / "cgroup.procs").read_text().split():
            with suppress(OSError):
                (home / "cgroup.procs").write_text(pid)
        with suppress(OSError):
            group.rmdir()


def _own_group() -> str:
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    return next(line.split(":", 2)[2] for line in lines if line.split(":")[1] == "memory").lstrip("/")


def oom_kills(group: Path) -> int:
    """Count how often the kernel has killed for want of memory in a group."""
    lines = (group / "memory.oom_control").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


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
