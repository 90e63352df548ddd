"""A burst of rings for one job: one run at a time, and one after the last ring."""

from __future__ import annotations

import threading

import pytest

from worker.merging import Merged


class Job:
    """Runs until it is let go, and notes when it began and whether another one ran."""

    def __init__(self) -> None:
        self.runs = 0
        self.at_once = 0
        self.most_at_once = 0
        self.is_running = threading.Event()
        self.may_end = threading.Semaphore(0)

    def __call__(self) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.runs += 1
        self.is_running.set()
        assert self.may_end.acquire(timeout=5)
        self.at_once -= 1


def test_rings_that_come_during_a_run_make_one_more() -> None:
    job = Job()
    merged = Merged(job)
    first = threading.Thread(target=merged)
    first.start()
    assert job.is_running.wait(5)

    for _ in range(50):
        merged()  # returns at once, though the first run goes on
    assert job.runs == 1
    job.may_end.release(2)
    first.join(5)

    assert (job.runs, job.most_at_once) == (2, 1)


def test_a_ring_after_the_last_run_runs_again() -> None:
    job = Job()
    merged = Merged(job)
    job.may_end.release(3)

    for _ in range(3):
        merged()

    assert job.runs == 3


def test_no_ring_is_lost_between_many_threads() -> None:
    seen: list[int] = []
    asked = [0]
    merged = Merged(lambda: seen.append(asked[0]))

    def ring_often() -> None:
        for _ in range(500):
            asked[0] += 1
            merged()

    threads = [threading.Thread(target=ring_often) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert seen[-1] == asked[0]  # some run began after the last ring


def test_a_run_that_fails_says_so_and_the_next_ring_runs_again() -> None:
    outcomes = iter([KeyError("once"), None])
    runs: list[object] = []

    def work() -> None:
        outcome = next(outcomes)
        runs.append(outcome)
        if outcome is not None:
            raise outcome

    merged = Merged(work)

    with pytest.raises(KeyError):
        merged()
    merged()

    assert len(runs) == 2
