"""
Clocks that are wrong: the receiver's by ten minutes, a worker's by an hour, the provider's by five minutes.

One process at a time is told another time of day by a small library that is put before the C library's;
its monotonic clock and its sleeps stay right. (libfaketime 0.9.10 makes Python's `time.sleep` fail.)
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.fault import Fault, Figure, Ground, Result
from tests.faults.provider_scenes import refusals, rows, start_anew, unanswered
from tests.faults.stage import Stage, standing
from tests.system.rig import answer, until

SHIFT = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long ahead(void) {
  const char *said = getenv("CLOCK_AHEAD_S");
  return said ? atol(said) : 0;
}

int clock_gettime(clockid_t id, struct timespec *at) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int failed = real(id, at);
  if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) at->tv_sec += ahead();
  return failed;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
  struct timespec now;
  (void)zone;
  if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
  at->tv_sec = now.tv_sec;
  at->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *at) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (at) *at = now.tv_sec;
  return now.tv_sec;
}
"""
MINUTES, HOUR = 60, 3600


def set_clocks_wrong(ground: Ground) -> Result:
    """Run receiver, worker and provider by clocks that are wrong, one after the other, both ways."""
    library = a_library(ground.folder)
    figures: dict[str, Figure] = {}
    signs = (1,) if ground.short else (1, -1)
    edits = 6 if ground.short else 20
    with standing(ground) as stage:
        stage.edit(10)
        stage.come_to_rest()
        for sign in signs:
            figures |= receiver_off(stage, library, sign * 10 * MINUTES, edits)
            figures |= worker_off(stage, library, sign * HOUR, edits)
            figures |= provider_off(stage, sign * 5 * MINUTES, edits)
        return stage.finish(90, **figures)


def receiver_off(stage: Stage, library: str, ahead_s: int, edits: int) -> dict[str, Figure]:
    """A receiver ten minutes off refuses everything, stores nothing, and the doctor names its clock."""
    stored = count(stage, "deliveries")
    attempts = refusals(stage)
    with told_another_time(stage, "serve", library, ahead_s):
        stage.edit(edits)
        until(lambda: (refusals(stage) - attempts).total() >= 1, within=30)
        time.sleep(1)
        seen = refusals(stage) - attempts
        stage.demand(set(seen) <= {"401"}, f"a receiver {ahead_s} s off answers {dict(seen)}")
        stage.demand(count(stage, "deliveries") == stored, "a stale signature was believed")
        metrics = stage.rig.api.get("/metrics").text
        refused = [
            line
            for line in metrics.splitlines()
            if "deliveries_total" in line and "unauthenticated" in line
        ]
        stage.demand(bool(refused), "no metric counts what was refused")
        # The doctor is asked on the same machine, so by the same clock.
        doctor = stage.rig.start_and_read("doctor")
        stage.demand("clock" in doctor and "older than five minutes" in doctor, "the doctor is silent")
    # The sender comes again with what was refused, and it is taken: what was refused twice, after 5 min.
    rest_s = stage.come_to_rest(90)
    until(lambda: not unanswered(stage), within=5 * MINUTES + 60, every=0.5)
    return {f"receiver_{ahead_s:+}_refused": seen.total(), f"receiver_{ahead_s:+}_rest_s": rest_s}


def worker_off(stage: Stage, library: str, ahead_s: int, edits: int) -> dict[str, Figure]:
    """A worker an hour off holds its leases like any other, beside one whose clock is right."""
    with told_another_time(stage, "work", library, ahead_s):
        with stage.editing(pause_s=0.2):
            time.sleep(edits * 0.3)
        rest_s = stage.come_to_rest(60)
        leases = rows(
            stage,
            "SELECT max(extract(epoch FROM lease_until - now())) FROM"
            " (SELECT lease_until FROM slots UNION ALL SELECT lease_until FROM sources"
            " UNION ALL SELECT lease_until FROM leases) AS held",
        )
        longest_s = float(leases[0][0] or 0)
        stage.demand(longest_s < 10 * MINUTES, f"a lease of {longest_s:.0f} s")
    return {f"worker_{ahead_s:+}_rest_s": rest_s}


def provider_off(stage: Stage, ahead_s: int, edits: int) -> dict[str, Figure]:
    """A provider whose rows and `Date` are minutes off loses no change."""
    answer(stage.rig.emulator.post("/clock", json={"ahead_seconds": ahead_s}))
    with stage.editing(pause_s=0.15):
        time.sleep(edits * 0.3)
    rest_s = stage.come_to_rest(60)
    answer(stage.rig.emulator.post("/clock", json={"ahead_seconds": 0}))
    stage.edit(edits)
    back_s = stage.come_to_rest(60)
    return {f"provider_{ahead_s:+}_rest_s": rest_s, f"provider_{ahead_s:+}_set_right_s": back_s}


@contextmanager
def told_another_time(stage: Stage, name: str, library: str, ahead_s: int) -> Iterator[None]:
    """Run one process by a clock that is wrong for the length of a `with` block."""
    wrong = {"LD_PRELOAD": library, "CLOCK_AHEAD_S": str(ahead_s)}
    start_anew(stage, name, **wrong)
    try:
        yield
    finally:
        start_anew(stage, name, **dict.fromkeys(wrong, ""))


def a_library(folder: Path) -> str:
    """Make the library that tells another time."""
    source, library = folder / "shift.c", folder / "shift.so"
    source.write_text(SHIFT)
    command = ["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return str(library)


def count(stage: Stage, table: str) -> int:
    return int(rows(stage, f"SELECT count(*) FROM {table}")[0][0])


FAULTS = [
    Fault(
        "F53",
        "the receiver's clock 10 min off, a worker's an hour, the provider's 5 min, both ways",
        "the receiver refuses everything with 401 and says why; leases and cursors hold",
        set_clocks_wrong,
        needs=("gcc",),
    ),
]
