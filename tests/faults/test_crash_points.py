"""What the runner of crash points plans and how it judges; and one chapter of its story, with real deaths."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.faults.crash_points import Asked, left_out, plan, plan_pairs, run
from tests.faults.crashing import MODES
from tests.faults.crashing_account_story import POINTS
from tests.faults.dying import RECEIVER, WORKER, Trouble
from tests.faults.verdicts import check_in_order, doubles_in
from worker.failpoints import commit_sites, read_orders

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
PASSED = {
    (WORKER, "one"): ["a:before", "a:after", "b:before", "b:after", "c:before"],
    (WORKER, "two"): ["b:before", "b:after"],
    (RECEIVER, "one"): ["receiver.store:before", "receiver.store:after"],
}


def all_of_them(_point: str) -> bool:
    return True


def test_every_point_is_visited_once() -> None:
    visits = plan(PASSED, all_of_them, chance=random.Random(1), in_a_row=2)

    visited = Counter((visit.role, point) for visit in visits for point in visit.points)

    assert set(visited.values()) == {1}
    assert {point for _, point in visited} == {point for points in PASSED.values() for point in points}


def test_points_are_visited_in_the_order_in_which_they_are_passed() -> None:
    for visit in plan(PASSED, all_of_them, chance=random.Random(1), in_a_row=3):
        passed = PASSED[visit.role, visit.chapter]

        assert len(visit.points) <= 3
        assert list(visit.points) == sorted(visit.points, key=passed.index)


def test_in_every_chapter_means_each_point_wherever_it_is_passed() -> None:
    visits = plan(PASSED, all_of_them, chance=random.Random(1), in_a_row=1, every_chapter=True)

    assert len(visits) == sum(map(len, PASSED.values()))


def test_every_commit_of_connected_accounts_is_one_that_the_story_has_to_pass() -> None:
    """A new transaction there is listed, and the exhaustive runner says when no chapter passes it."""
    modules = (
        *("tokens.", "channels.", "connections.", "consenting.", "linking.", "syncing.direct."),
        "webhooks.api.connections.",
    )
    ours = {site for site in commit_sites().values() if site.startswith(modules)}
    listed = {point for points in POINTS.values() for point in points}

    assert ours == {point for point in listed if point.startswith(modules)}
    for point in listed:
        assert read_orders(f"{point}:after")


def test_a_point_that_no_chapter_passes_is_trouble() -> None:
    passed = {
        (role, "one"): [f"{site}:{side}" for site in sites for side in ("before", "after")]
        for role, sites in POINTS.items()
    }
    assert list(left_out("recall_managed", passed)) == []

    passed[WORKER, "one"].remove("tokens.refuse:after")

    assert list(left_out("recall_managed", passed)) == [
        "recall_managed: worker never passes tokens.refuse:after"
    ]


def test_pairs_are_every_two_deaths_that_can_follow_each_other() -> None:
    pairs = {(visit.chapter, visit.points) for visit in plan_pairs(PASSED, all_of_them)}

    assert ("one", ("a:after", "c:before")) in pairs
    assert ("one", ("a:after", "a:after")) in pairs
    assert ("one", ("c:before", "a:after")) not in pairs
    assert len(pairs) == 15 + 3 + 3


def born(bot: str, slot: str, at: int) -> dict[str, Any]:
    marks = {"punctual_slot": slot}
    return {"kind": "bot.created", "id": bot, "at": instant(at), "metadata": marks}


def in_state(bot: str, code: str, at: int) -> dict[str, Any]:
    return {"kind": "bot.state", "id": bot, "at": instant(at), "code": code}


def gone(bot: str, at: int) -> dict[str, Any]:
    return {"kind": "bot.deleted", "id": bot, "at": instant(at)}


def instant(seconds: int) -> str:
    return (NOON + timedelta(seconds=seconds)).isoformat()


def test_two_bots_of_a_slot_are_seen_however_short_it_was() -> None:
    doubles = doubles_in([born("x", "s", 0), born("y", "s", 5), gone("x", 12), born("z", "t", 13)])

    assert (doubles.moments, doubles.longest_s, doubles.in_call) == (1, 7.0, 0)


def test_two_bots_of_a_slot_in_a_call_are_seen() -> None:
    both = [born("x", "s", 0), born("y", "s", 1)]
    calls = [in_state("x", "in_call_recording", 2), in_state("y", "in_call_recording", 3)]

    assert doubles_in([*both, *calls, gone("x", 4)]).in_call == 1


def test_a_bot_that_stays_double_to_the_end_is_trouble() -> None:
    with pytest.raises(Trouble):
        doubles_in([born("x", "s", 0), born("y", "s", 5)])


@pytest.mark.parametrize("sequences", [[1, 3], [2], [2, 1]])
def test_a_gap_or_a_wrong_order_is_trouble(sequences: list[int]) -> None:
    with pytest.raises(Trouble):
        check_in_order("feed", [(f"id{n}", "bot/1", n) for n in sequences])


def test_a_repeat_is_no_trouble() -> None:
    check_in_order("feed", [("a", "bot/1", 1), ("b", "bot/1", 2), ("a", "bot/1", 1), ("c", "bot/1", 3)])


@pytest.mark.timeout(180)
@pytest.mark.parametrize("mode", MODES)
def test_a_worker_that_dies_while_a_meeting_moves_leaves_one_bot(
    mode: str, tmp_path: Path, database_url: str, db: Engine
) -> None:
    del db  # emptied
    asked = Asked(mode, chapter="a_meeting_moves", only=r"^reconciling\._Run\._(intend|record)")

    account = run(tmp_path, database_url, asked)

    assert sum(map(len, account.points.values())) >= 40
    assert account.troubles == []
    assert account.unreached == []
    assert len(set(account.visited)) == 4


@pytest.mark.timeout(180)
def test_a_worker_that_dies_while_it_gets_a_token_leaves_one_bot_and_a_live_channel(
    tmp_path: Path, database_url: str, db: Engine
) -> None:
    del db  # emptied
    only = r"^(tokens\._store_surely|microsoft\.refresh|syncing\.direct\._finish)"
    chapter = "the_tokens_of_an_account_end_at_microsoft"

    account = run(tmp_path, database_url, Asked(MODES[0], chapter=chapter, only=only))

    assert account.troubles == []
    assert account.unreached == []
    assert len(set(account.visited)) == 6
