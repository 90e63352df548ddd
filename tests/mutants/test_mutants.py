"""The planted bugs still fit the code, and the machinery that plants them tells dead from alive."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.mutants.mutation import Mutation, Stale, read_catalogue
from tests.mutants.running import Verdict, judge_by_tests, planted
from tests.mutants.trees import ROOT, copy_project

CATALOGUE = read_catalogue()
#: Tests that need no database: one such bug is planted and killed within seconds.
QUICK = (
    "tests/domain/",
    "tests/models/test_sealing.py",
    "tests/providers/recall/test_paging.py",
    "tests/providers/recall/test_reactions.py",
    "tests/publishers/test_late_judgement.py",
    "tests/webhooks/test_verify.py",
    "tests/worker/test_http.py",
    "tests/worker/test_logs.py",
)
#: Another pair every day, the same all day long; any pair by its number.
SEED = int(os.environ.get("PUNCTUAL_TEST_MUTANT_SEED") or datetime.now(UTC).toordinal())


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(tmp_path_factory.mktemp("unspoilt") / "tree")


def quick() -> list[Mutation]:
    return [one for one in CATALOGUE if all(test.startswith(QUICK) for test in one.tests)]


def a_sentence(mutation: Mutation) -> bool:
    return mutation.promise.endswith(".") and len(mutation.promise.split()) > 3


@pytest.mark.parametrize("mutation", CATALOGUE, ids=lambda mutation: mutation.name)
def test_a_planted_bug_fits_the_code_and_its_tests_exist(mutation: Mutation) -> None:
    source = (ROOT / mutation.path).read_text()

    assert mutation.mutated(source) != source
    assert a_sentence(mutation)
    assert mutation.tests
    for test in mutation.tests:
        path, *names = test.split("::")
        assert (ROOT / path).is_file(), test
        if len(names) == 1:
            assert f"def {names[0].partition('[')[0]}(" in (ROOT / path).read_text(), test


def test_there_are_enough_planted_bugs_in_enough_places() -> None:
    assert len(CATALOGUE) >= 24
    assert len({one.path for one in CATALOGUE}) >= 15
    assert len({one.promise for one in CATALOGUE}) == len(CATALOGUE)
    assert len(quick()) >= 10


@pytest.mark.parametrize("nth", [0, 1])
def test_a_planted_bug_is_killed(tree: Path, server_url: str, nth: int) -> None:
    mutation = random.Random(SEED).sample(quick(), 2)[nth]

    judged = judge_by_tests(mutation, tree, database_url=server_url)

    assert judged.verdict is Verdict.KILLED, f"{mutation.name} (seed {SEED}): {judged.by}"


def test_a_change_that_breaks_no_promise_survives(tree: Path, server_url: str) -> None:
    harmless = replace(
        CATALOGUE[0],
        path="models/sealing.py",
        edits=(("KEY_BYTES = 32\n", "KEY_BYTES = 16 + 16\n"),),
        tests=("tests/models/test_sealing.py",),
    )

    judged = judge_by_tests(harmless, tree, database_url=server_url)

    assert (judged.verdict, judged.by) == (Verdict.SURVIVED, "9 tests passed")


@pytest.mark.parametrize(
    ("edit", "verdict"),
    [
        (("KEY_BYTES = 32 ", ""), Verdict.STALE),
        (("\n", "\n\n"), Verdict.STALE),
        (("KEY_BYTES = 32\n", "KEY_BYTES = = 32\n"), Verdict.BROKEN),
        (("KEY_BYTES = 32\n", "KEY_BYTES = no_such_name\n"), Verdict.BROKEN),
    ],
    ids=["not there", "there more than once", "no Python", "does not import"],
)
def test_a_change_that_proves_nothing_is_no_kill(
    tree: Path, server_url: str, edit: tuple[str, str], verdict: Verdict
) -> None:
    useless = replace(
        CATALOGUE[0],
        path="models/sealing.py",
        edits=(edit,),
        tests=("tests/models/test_sealing.py",),
    )

    assert judge_by_tests(useless, tree, database_url=server_url).verdict is verdict


def test_a_test_that_fails_anyway_kills_nothing(tree: Path, server_url: str) -> None:
    mutation = quick()[0]

    judged = judge_by_tests(mutation, tree, database_url=server_url, flawed=[mutation.tests[0]])

    assert judged.verdict is Verdict.BROKEN


def test_the_tree_a_bug_is_planted_from_stays_as_it_is(tree: Path) -> None:
    mutation = CATALOGUE[0]
    before = (tree / mutation.path).read_text()

    with planted(mutation, tree) as copy:
        assert (copy / mutation.path).read_text() != before

    assert (tree / mutation.path).read_text() == before
    assert not copy.exists()


def test_a_file_that_is_gone_makes_a_mutation_stale(tmp_path: Path) -> None:
    with pytest.raises(Stale):
        CATALOGUE[0].plant(tmp_path)
