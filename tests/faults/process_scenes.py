"""What the faults of our processes are made of: deaths armed and awaited, meetings to move, bounded memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from models.tables.due import LEASE
from tests.faults.brokers import RabbitMQ
from tests.faults.fault import Figure, Ground, Result
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
    until(lambda: {process.pid for process in stage.processes_of(name)} - before, within=20)
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


#: Far less than a huge answer takes once it is read.
ROOM_BYTES = 100 * 1024 * 1024


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
        # What the processes had before they came is charged elsewhere, and shared by them besides.
        used = int((group / "memory.usage_in_bytes").read_text())
        (group / "memory.limit_in_bytes").write_text(str(used + ROOM_BYTES))
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
