"""
The database comes back from the past: a fail-over that loses its last seconds, an old backup.

The world outside has gone on meanwhile, and nobody tells the product that its memory is older.
"""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # ships no types

from tests.faults.fault import Fault, Ground, Result
from tests.faults.provider_scenes import execute
from tests.faults.servers import Postgres
from tests.faults.stage import Stage, standing


def lose_the_last_seconds(ground: Ground) -> Result:
    """Fail over to a copy of the database as it was some seconds ago; processes go on running."""
    results = [
        _fall_back(ground, bots, forgotten=8 if ground.short else 25, restarts=False)
        for bots in ("recall_managed", "recall_self_managed")
    ]
    return _both(results)


def restore_an_old_backup(ground: Ground) -> Result:
    """Restore a backup since which most of the calendar has changed, as an operator does, and start."""
    results = [
        _fall_back(ground, bots, forgotten=30 if ground.short else 120, restarts=True)
        for bots in ("recall_managed", "recall_self_managed")
    ]
    return _both(results)


def _fall_back(ground: Ground, bots: str, *, forgotten: int, restarts: bool) -> Result:
    folder = ground.folder / bots
    folder.mkdir(parents=True, exist_ok=True)
    place = Ground(folder, ground.fresh_database, ground.short, ground.seed)
    with (
        Postgres.running() as postgres,
        standing(place, database_url=postgres.fresh_database(), per_second=10, bots=bots) as stage,
    ):
        stage.edit(20 if ground.short else 60)
        stage.come_to_rest(60, quiet=False)
        time.sleep(3)
        promised = set(stage.sender.acked) if stage.sender else set()
        backup = _copy(postgres)
        before = time.monotonic()
        stage.edit(forgotten, pause_s=0.05)
        with suppress(AssertionError):
            stage.come_to_rest(30, quiet=False)  # what is forgotten was done, bots and all
        told = {event["id"] for event in stage.rig.feed()}
        lived = len(stage.rig.live_bots())
        forgotten_s = round(time.monotonic() - before, 1)
        if restarts:
            for name in ("serve", "work"):
                _suspend(stage, name)
        postgres.stop_immediately()
        shutil.rmtree(postgres.data)
        backup.rename(postgres.data)
        postgres.start()
        if restarts:
            # Nobody restores a backup within a minute: what was done just before it has been a while ago.
            execute(stage, "UPDATE duties SET performed_at = performed_at - interval '1 minute'")
            for name in ("serve", "work"):
                stage.kill_all(name)
        # What was promised after the copy was made is the loss that asynchronous replication permits.
        stage.promises = promised
        # Rules are kept nowhere else: whoever restores a backup sets them again.
        stage.author.insist_on_rules()
        stage.edit(10)
        result = stage.finish(
            400, forgotten_s=forgotten_s, forgotten_changes=forgotten, bots_then=lived
        )
        again = {event["id"] for event in stage.rig.feed()}
        return Result(
            result.passed,
            {**result.figures, "events_forgotten": len(told - again)},
            result.remarks,
        )


def _copy(postgres: Postgres) -> Path:
    """Take a base backup of the running server; it is as consistent as PostgreSQL makes it."""
    backup = postgres.folder / "backup"
    postgres.run(
        *("pg_basebackup", "-h", "127.0.0.1", "-p", str(postgres.port), "-U", "postgres"),
        *("-D", str(backup), "-X", "stream", "-c", "fast"),
    )
    return backup


def _suspend(stage: Stage, name: str) -> None:
    for process in stage.processes_of(name):
        with suppress(psutil.NoSuchProcess):
            process.suspend()


def _both(results: list[Result]) -> Result:
    return Result(
        all(result.passed for result in results),
        {
            f"{kind}_{name}": value
            for kind, result in zip(("managed", "self"), results, strict=True)
            for name, value in result.figures.items()
        },
        "; ".join(result.remarks for result in results if result.remarks),
    )


FAULTS = [
    Fault(
        "F26",
        "fail-over to a database that has lost its last seconds; the processes run on",
        "every bot right again by itself, none doubled; deliveries are lost within the lost seconds only",
        lose_the_last_seconds,
    ),
    Fault(
        "F27",
        "an old backup restored, while most meetings have changed since",
        "bots the database does not know are adopted or taken away, none doubled",
        restore_an_old_backup,
    ),
]
