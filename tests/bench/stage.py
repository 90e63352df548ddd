"""A running Punctual beside the emulator, with as many connected calendars as a benchmark wants."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import psutil  # type: ignore[import-untyped]  # ships no types
from sqlalchemy import Engine, func, insert, text

from models.db import make_engine
from models.tables.base import new_id
from models.tables.calendars import Calendar
from models.tables.due import table_of
from tests.bench.load import Load, Sent, send
from tests.system.rig import SECRET, Rig, answer, running

BATCH = 1_000
#: Budgets no run here comes near: as if the provider had no limits.
UNLIMITED = {
    "PUNCTUAL_RECALL_LIST_PER_MINUTE": "600000",
    "PUNCTUAL_RECALL_SCHEDULE_PER_MINUTE": "6000000",
    "PUNCTUAL_RECALL_OTHER_PER_MINUTE": "600000",
}
_REST = text(
    """
    SELECT (SELECT count(*) FROM deliveries WHERE state = 'stored'),
           (SELECT count(*) FROM calendar_events WHERE unsettled),
           (SELECT count(*) FROM calendars WHERE is_pending),
           (SELECT count(*) FROM sources WHERE is_pending),
           (SELECT count(*) FROM slots WHERE is_pending)
    """
)


@dataclass(frozen=True, slots=True)
class Stage:
    """The rig, its database, and the provider's ids of the calendars that are connected."""

    rig: Rig
    db: Engine
    calendars: Sequence[str]

    def batch(self, changes: Sequence[Mapping[str, Any]]) -> list[str]:
        """Change events at the provider; their ids are returned."""
        ids: list[str] = []
        for first in range(0, len(changes), BATCH):
            part = list(changes[first : first + BATCH])
            ids += [row["id"] for row in answer(self.rig.emulator.post("/events:batch", json=part))]
        return ids

    def notify(self, *, seconds: float, per_second: float, connections: int = 64) -> Sent:
        """Send notifications, each about the next calendar."""
        key = b64decode(SECRET.removeprefix("whsec_"))
        return send(Load(self.rig.base_url, key, self.calendars, connections, seconds, per_second))

    def left(self) -> tuple[int, ...]:
        """Count what is still to be done: deliveries, events, calendars, listings, slots."""
        with self.db.begin() as tx:
            return tuple(tx.execute(_REST).one())

    def rest(self, *, within: float, is_right: Callable[[], bool] = lambda: True) -> float:
        """Wait until nothing is left to do and all is right; the seconds it took."""
        began = monotonic()
        while monotonic() - began < within:
            if not any(self.left()) and is_right():
                return monotonic() - began
            sleep(0.1)
        raise AssertionError(f"not at rest within {within} s: {self.left()}")

    def count(self, query: str) -> int:
        with self.db.begin() as tx:
            return int(tx.execute(text(query)).scalar_one())

    def calls(self, operation: str) -> int:
        """Count the provider's calls of one kind that were carried out since they were last forgotten."""
        statuses = self.rig.requests().get(operation, {})
        return sum(number for status, number in statuses.items() if status.startswith("2"))

    def refused(self) -> int:
        """Count the calls the provider refused because they were too many."""
        return sum(statuses.get("429", 0) for statuses in self.rig.requests().values())

    def rss_mb(self) -> float:
        """Return the resident memory of the processes of Punctual, without the emulator."""
        ours = [process.pid for name, process in self.rig.processes.items() if name != "sandbox"]
        trees = [[psutil.Process(pid), *psutil.Process(pid).children(recursive=True)] for pid in ours]
        return float(sum(one.memory_info().rss for tree in trees for one in tree)) / 1e6


@contextmanager
def staged(
    folder: Path,
    database_url: str,
    *,
    calendars: int,
    settings: Mapping[str, str] | None = None,
    rules: Mapping[str, Any] | None = None,
) -> Iterator[Stage]:
    """
    Run everything, with calendars that are connected and listed; the emulator notifies nobody.

    The calendars are written straight into the tables: connecting thousands is not what is measured.
    """
    db = make_engine(database_url)
    more = {"PUNCTUAL_RECALL_ADOPT": "false", **(settings or {})}
    with running(folder, database_url, settings=more) as rig:
        answer(rig.emulator.put("/webhook", json={"url": None}))
        rig.rules(**(rules or {}))
        refs = [rig.calendar(f"person{nth}@example.com") for nth in range(calendars)]
        with db.begin() as tx:
            tx.execute(
                insert(table_of(Calendar)).values(
                    source="recall",
                    platform="google_calendar",
                    status="connected",
                    needs_check=False,
                    needs_full=False,
                    last_full_at=func.now(),
                    checked_at=func.now(),
                ),
                [
                    {"id": new_id(), "external_id": ref, "email": f"person{nth}@example.com"}
                    for nth, ref in enumerate(refs)
                ],
            )
        yield Stage(rig, db, refs)
    db.dispose()


def meeting(calendar: str, nth: int, *, start: datetime, title: str = "Call") -> dict[str, Any]:
    """Describe an hour's meeting with a link of its own."""
    letters = "".join(chr(97 + nth // 26**power % 26) for power in range(10))
    return {
        "calendar_id": calendar,
        "title": title,
        "start": start.isoformat(),
        "end": (start + timedelta(hours=1)).isoformat(),
        "link": f"https://meet.google.com/{letters[:3]}-{letters[3:7]}-{letters[7:]}",
    }


def tomorrow() -> datetime:
    """Return this hour of tomorrow."""
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    return now + timedelta(days=1)
