"""(e) One listing of ten thousand events: rows a second, and what the worker's memory grows by."""

from __future__ import annotations

import multiprocessing
from datetime import timedelta
from pathlib import Path
from time import perf_counter

from tests.bench.memory import Memory
from tests.bench.outcome import Demand, Measured
from tests.bench.stage import UNLIMITED, meeting, staged, tomorrow
from tests.system.rig import answer

EVENTS, CALENDARS = 10_000, 100


def measure(folder: Path, database_url: str, *, scale: float) -> Measured:
    """List new events, then the same events changed, from a worker process that does nothing else."""
    count, calendars = max(50, int(EVENTS * scale)), max(2, int(CALENDARS * scale))
    with staged(folder, database_url, calendars=calendars, settings=UNLIMITED) as stage:
        answer(stage.rig.emulator.patch("/limits", json={"enabled": False}))
        stage.rig.stop("work")  # the listing runs in a process that is measured
        meetings = [
            meeting(
                stage.calendars[nth % calendars],
                nth,
                start=tomorrow() + timedelta(minutes=nth % 20_000),
                title="Focus",
            )
            for nth in range(count)
        ]
        events = stage.batch(meetings)
        environment = stage.rig.environment
        new_s, new_mb = _listed(environment)
        assert stage.count("SELECT count(*) FROM calendar_events WHERE NOT unsettled") == count
        stage.batch([{"id": event, "title": "Renamed"} for event in events])
        changed_s, changed_mb = _listed(environment)
        renamed = "SELECT count(*) FROM calendar_events WHERE title = 'Renamed' AND NOT unsettled"
        assert stage.count(renamed) == count
    figures = {
        "events": float(count),
        "new rows/s": count / new_s,
        "changed rows/s": count / changed_s,
        "memory grown by new MB": new_mb,
        "memory grown by changed MB": changed_mb,
    }
    demands = (Demand("memory grown by new MB", at_most=100),) if scale >= 1 else ()
    return Measured("listing", figures, demands)


def _listed(environment: dict[str, str]) -> tuple[float, float]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_list_here, (environment,))


def _list_here(environment: dict[str, str]) -> tuple[float, float]:
    """List and settle; the seconds it took and the megabytes the process grew by."""
    import os

    os.environ.update({name: value for name, value in environment.items() if "PUNCTUAL" in name})
    from sqlalchemy import text

    from worker.bootstrap import build
    from worker.settings import Settings
    from worker.syncing import sync_workspace

    built = build(Settings(_env_file=None))
    with built.runtime.db.begin() as tx:
        tx.execute(text("INSERT INTO sources (name) VALUES ('recall') ON CONFLICT DO NOTHING"))
        tx.execute(
            text(
                "UPDATE sources SET wanted = wanted + 1, due_at = now(), listed_at = NULL, lease_until = NULL"
            )
        )
    memory = Memory.watched()
    began = perf_counter()
    outcome = sync_workspace(built.runtime)
    took = perf_counter() - began
    grown = memory.grown_mb()
    built.close()
    assert outcome == "finished", outcome
    return took, grown
