"""
Some seeds of the simulation, every story that once found a bug, and proof that it can find one.

Each plays in a process of its own, because the order of sets depends on how a process hashes texts.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.simulation.decisions import Decisions
from tests.simulation.shrinking import reduce

pytestmark = [pytest.mark.xdist_group("simulation"), pytest.mark.timeout(300)]
ROOT = Path(__file__).parent.parent.parent
FEW = os.environ.get("PUNCTUAL_TEST_SIMULATED_SEEDS", "6")

#: Seeds that find a planted bug soon, by the name of the bug in `mutants`.
FINDS: dict[str, int] = {"no_fence": 1, "early_cursor": 0}

#: Seeds that found a bug, and what it was; how the product answers it is tested where that is kept.
FOUND: dict[int, str] = {
    1190: "a bot refused while its calendar was away for a moment stayed refused",
    2028: "a bot called for while its calendar was connecting was never made",
    1493: "a row whose runs had died five times was not waited for until it came back by itself",
    1294: "a repeat that surely did nothing made the first try forgotten: two bots",
}
#: The same for connected accounts; all but 118 were faults of the fake and of the judge.
FOUND_OF_ACCOUNTS: dict[int, str] = {
    143: "a turn that slept through its lease counted as one that could have known better",
    183: "the fake gave a cursor from the end of a reading, past what had changed meanwhile",
    118: "a run that slept, was given up for dead and ended well left its row set aside for ever",
    173: "a token was sent again while who had been given the next one slept with it",
    394: "a token that came to a turn which had slept through its lease was missed, though another was good",
}


def played(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("worlds", ["recall", "accounts"])
def test_some_seeds_violate_nothing(worlds: str) -> None:
    done = played("--worlds", worlds, "--seeds", FEW, "--shrink", "0")

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{FEW} seeds" in done.stdout


@pytest.mark.parametrize(
    ("worlds", "seed"),
    [*(("recall", seed) for seed in FOUND), *(("accounts", seed) for seed in FOUND_OF_ACCOUNTS)],
)
def test_what_once_found_a_fault_violates_nothing(worlds: str, seed: int) -> None:
    done = played("--worlds", worlds, "--first", str(seed), "--seeds", "1", "--shrink", "0")

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("worlds", ["recall", "accounts"])
def test_a_seed_tells_the_same_story_twice(worlds: str) -> None:
    told = ("--worlds", worlds, "--replay", "4", "--trace")
    first, second = played(*told), played(*told)

    assert first.returncode == second.returncode == 0, first.stdout[-2000:] + first.stderr
    assert first.stdout == second.stdout


@pytest.mark.parametrize("bug", FINDS)
def test_a_planted_bug_is_found(bug: str) -> None:
    done = played(
        "--mutant",
        bug,
        "--first",
        str(FINDS[bug]),
        "--seeds",
        "25",
        "--stop-after",
        "1",
        "--shrink",
        "0",
    )

    assert done.returncode == 1, done.stdout + done.stderr
    assert "violations: 1" in done.stdout


def test_a_fault_left_out_leaves_the_other_faults_where_they_were() -> None:
    chance = Decisions(7)
    for _ in range(300):
        chance.fault("call", 0.1, {"lost": 1, "late": 2})
    kept = dict(list(chance.taken.items())[::2])

    again = Decisions(7, kept)
    for _ in range(300):
        again.fault("call", 0.1, {"lost": 1, "late": 2})

    assert len(chance.taken) > 10
    assert again.taken == kept


def test_what_a_failure_does_not_need_is_left_out() -> None:
    def still_fails(kept: Sequence[int]) -> bool:
        return 3 in kept and 17 in kept

    assert reduce(range(20), still_fails) == [3, 17]
