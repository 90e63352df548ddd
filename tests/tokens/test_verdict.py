"""The judge of the tokens proof notices what must not be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.tokens.verdict import Ending, Seen, judge_calm, judge_killed, most_at_once, most_within

ANNA, BELA = "anna@example.com", "bela@example.com"


def refresh(
    at_ms: int, *, account: str = ANNA, granted: bool = True, lasts_ms: int = 50
) -> dict[str, Any]:
    return {
        "kind": "refresh",
        "account": account,
        "granted": granted,
        "began": at_ms,
        "ended": at_ms + lasts_ms,
    }


def revoked(rotations: int, account: str = ANNA) -> dict[str, Any]:
    return {"kind": "revoked", "account": account, "rotations": rotations}


def use(outcome: str) -> dict[str, Any]:
    return {"kind": "use", "account": ANNA, "outcome": outcome}


#: Three refreshes in six seconds, and the tokens used.
FINE = Seen(
    records=[refresh(1000), refresh(2500), refresh(4000), use("accepted"), use("expired")],
    notes=[],
    endings=[Ending(ANNA, "connected", generation=4, told=0)],
    seconds=6,
)
#: A worker was killed after the second refresh: the third comes with a token that is used up.
LOST = replace(
    FINE,
    records=[
        refresh(1000),
        refresh(2500),
        refresh(30_000, granted=False),
        revoked(rotations=1),
        refresh(32_000, granted=False),
        use("revoked"),
    ],
    endings=[Ending(ANNA, "needs_reauth", generation=2, told=1)],
    kills=1,
)


def test_nothing_wrong_is_nothing_wrong() -> None:
    assert judge_calm(FINE).passed
    assert judge_killed(replace(FINE, kills=1)).passed
    assert judge_killed(LOST).passed


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([refresh(5000, granted=False)], "was refused"),
        ([revoked(2)], "lost its family"),
        ([use("refused")], "fresh access tokens were refused"),
        ([refresh(4020)], "2 times at once"),
        ([refresh(at, lasts_ms=10) for at in (4100, 4200, 4300)], "4 times in one second"),
        ([{"kind": "broken", "what": "TypeError"}], "the server broke"),
    ],
)
def test_what_the_server_has_seen_counts(more: list[dict[str, Any]], said: str) -> None:
    result = judge_calm(replace(FINE, records=[*FINE.records, *more]))

    assert not result.passed
    assert said in result.remarks


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"notes": [{"kind": "broken", "what": "KeyError"}]}, "a worker broke"),
        ({"notes": [{"kind": "waited", "what": "being refreshed"}]}, "waited in vain"),
        ({"deaths": [-11]}, "ended with -11"),
        ({"seconds": 60}, "only 3 refreshes"),
        (
            {"endings": [*FINE.endings, Ending(BELA, "connected", 1, told=0)], "seconds": 1},
            "never refreshed",
        ),
        ({"endings": [Ending(ANNA, "needs_reauth", 4, told=1)]}, "is needs_reauth"),
        ({"endings": [Ending(ANNA, "connected", 4, told=1)]}, "told of 1 times"),
        ({"endings": [Ending(ANNA, "connected", 4, told=0, is_parked=True)]}, "is parked"),
    ],
)
def test_in_peace_nobody_notices_anything(change: dict[str, Any], said: str) -> None:
    result = judge_calm(replace(FINE, **change))

    assert not result.passed
    assert said in result.remarks


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        (Ending(ANNA, "connected", 2, told=0), "is connected"),
        (Ending(ANNA, "needs_reauth", 2, told=0), "told 0 times"),
        (Ending(ANNA, "needs_reauth", 2, told=2), "told 2 times"),
        (Ending(ANNA, "needs_reauth", 3, told=1), "by token 2 when 3 was stored"),
    ],
)
def test_a_lost_consent_is_told_once_and_was_not_our_mistake(ending: Ending, said: str) -> None:
    result = judge_killed(replace(LOST, endings=[ending]))

    assert not result.passed
    assert said in result.remarks


def test_a_lost_consent_is_not_asked_about_for_ever() -> None:
    more = [refresh(at, granted=False) for at in (34_000, 36_000)]

    result = judge_killed(replace(LOST, records=[*LOST.records, *more]))

    assert "asked about 4 times" in result.remarks


def test_a_consent_that_lives_is_not_given_up() -> None:
    kept = replace(FINE, kills=1, endings=[Ending(ANNA, "needs_reauth", 4, told=1)])

    assert "without need" in judge_killed(kept).remarks


def test_who_is_refused_without_losing_anything_is_noticed() -> None:
    kept = replace(FINE, kills=1, records=[*FINE.records, refresh(5500, granted=False)])

    assert "kept its family" in judge_killed(kept).remarks


def test_kills_that_never_came_prove_nothing() -> None:
    assert "nobody was killed" in judge_killed(FINE).remarks


def test_other_accounts_do_not_mix() -> None:
    both = replace(FINE, records=[*FINE.records, *(refresh(at, account=BELA) for at in (1010, 2510))])

    assert judge_calm(both).passed


def test_moments_and_stretches_are_counted() -> None:
    assert most_within([0, 999, 1000, 5000], 1000) == 2
    assert most_within([], 1000) == 0
    assert most_at_once([(0, 10), (10, 20), (15, 30)]) == 2
    assert most_at_once([]) == 0
