"""
Does the work itself when nobody hears the bell: the broker is away, or no worker consumes from it.

Whether that is so is read from the database alone: something has been due for longer than any
consumer would leave it. Knows no broker; a consumer that does hear again takes its turns beside this one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError

from worker.rings import Ring, list_rings
from worker.runtime import Runtime

log = structlog.get_logger(__name__)

LOOK_EVERY = timedelta(seconds=1)
#: A worker whose broker is there hears within a second; a burst may keep it busy for some more.
UNHEARD_AFTER = timedelta(seconds=15)
#: Once nobody has heard, whatever follows from the work is not left waiting as long again.
ALONE_FOR = timedelta(minutes=1)
UNHEARD_WHILE_ALONE = timedelta(seconds=1)


@dataclass(slots=True)
class StandIn:
    """One process's readiness to do everybody's work; *perform* runs a job to its end."""

    rt: Runtime
    perform: Callable[[str, str | None], object]
    clock: Callable[[], float] = time.monotonic
    since: dict[Ring, float] = field(default_factory=dict)
    alone_until: float = float("-inf")

    def stand_by(self, stop: threading.Event) -> None:
        """Look every second, until told to stop; what fails is logged and looked at again."""
        while not stop.wait(LOOK_EVERY.total_seconds()):
            try:
                for job, row_id in self.unheard():
                    if stop.is_set():
                        return
                    self.perform(job, row_id)
            except SQLAlchemyError as unreachable:
                log.warning("standing_in_without_database", error=type(unreachable).__name__)
            except Exception:
                log.exception("standing_in_failed")

    def unheard(self) -> list[Ring]:
        """List what has been due for so long that nobody can have heard of it."""
        with self.rt.db.begin() as tx:
            rings = list_rings(tx, self.rt)
        now = self.clock()
        self.since = {ring: self.since.get(ring, now) for ring in rings}
        is_alone = now < self.alone_until
        patience = UNHEARD_WHILE_ALONE if is_alone else UNHEARD_AFTER
        found = [ring for ring in rings if now - self.since[ring] >= patience.total_seconds()]
        if found:
            if not is_alone:
                log.warning("bell_unheard_standing_in", jobs=len(found))
            self.alone_until = now + ALONE_FOR.total_seconds()
        return found
