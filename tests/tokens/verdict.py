"""
What must hold of tokens, judged by the authorisation server's own record and by what is stored.

A refresh token works once. So a worker that is killed after the server has replaced it, and before the
new one is stored, loses the consent: whoever comes next with the old one ends the family. That has to be
said once, and asked about no further than it takes to be sure.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.faults.fault import Figure, Result

#: The refusal that ends a family, one to be sure, and one more when its witness is killed as well.
MOST_REFUSALS = 3
MOST_IN_ONE_SECOND = 3
#: Access tokens live for two seconds: on average a connection in use is refreshed more often than this.
LONGEST_BETWEEN_S = 4.0


@dataclass(frozen=True)
class Ending:
    """How the database knows one account in the end; *told* counts its needs_reauth events."""

    account: str
    status: str
    generation: int
    told: int
    is_parked: bool = False


@dataclass(frozen=True)
class Seen:
    """Everything there is to judge by: the server's record, the workers' notes, what is stored."""

    records: Sequence[Mapping[str, Any]]
    notes: Sequence[Mapping[str, Any]]
    endings: Sequence[Ending]
    seconds: float
    kills: int = 0
    deaths: Sequence[int | None] = ()

    def of(self, kind: str) -> list[Mapping[str, Any]]:
        """List the server's records of one kind."""
        return [record for record in self.records if record["kind"] == kind]

    def refreshes(self, *, granted: bool) -> list[Mapping[str, Any]]:
        """List the refreshes that were granted, or refused."""
        return [record for record in self.of("refresh") if bool(record.get("granted")) is granted]

    def noted(self, kind: str) -> list[Mapping[str, Any]]:
        """List the workers' notes of one kind."""
        return [note for note in self.notes if note["kind"] == kind]


def judge_calm(seen: Seen) -> Result:
    """Judge a time in which nobody was killed: nothing was refused, nobody waited in vain."""
    wrong = _always_wrong(seen)
    granted = Counter(record["account"] for record in seen.refreshes(granted=True))
    if granted.total() < len(seen.endings) * seen.seconds / LONGEST_BETWEEN_S:
        wrong.append(f"only {granted.total()} refreshes: nothing is proven")
    wrong += [f"{one.account} was never refreshed" for one in seen.endings if not granted[one.account]]
    if waited := seen.noted("waited"):
        wrong.append(f"{len(waited)} waited in vain, such as: {waited[0]['what']}")
    wrong += [f"{account} lost its family" for account in _lost(seen)]
    for refused in seen.refreshes(granted=False)[:3]:
        wrong.append(f"{refused['account']} was refused: {refused.get('detail')}")
    wrong += [f"{one.account} is {one.status}" for one in seen.endings if one.status != "connected"]
    wrong += [f"{one.account} was told of {one.told} times" for one in seen.endings if one.told]
    return _result(seen, wrong)


def judge_killed(seen: Seen) -> Result:
    """Judge a time in which workers were killed: a consent is kept, or lost cleanly and told once."""
    wrong = _always_wrong(seen)
    lost = _lost(seen)
    refusals = Counter(record["account"] for record in seen.refreshes(granted=False))
    if not seen.kills:
        wrong.append("nobody was killed")
    for one in seen.endings:
        rotations = lost.get(one.account)
        if rotations is None:
            wrong += _wrong_of_kept(one, refusals[one.account])
        else:
            wrong += _wrong_of_lost(one, refusals[one.account], rotations)
    return _result(seen, wrong)


def most_within(moments: Iterable[float], span: float) -> int:
    """Return how many moments at most lie within one span."""
    ordered = sorted(moments)
    most = first = 0
    for last, moment in enumerate(ordered):
        while moment - ordered[first] >= span:
            first += 1
        most = max(most, last - first + 1)
    return most


def most_at_once(stretches: Iterable[tuple[float, float]]) -> int:
    """Return how many stretches of time at most overlap."""
    turns = [turn for began, ended in stretches for turn in ((began, 1), (ended, -1))]
    most = now = 0
    for _, step in sorted(turns):  # who ends in the same moment ends first
        now += step
        most = max(most, now)
    return most


def _wrong_of_kept(one: Ending, refusals: int) -> list[str]:
    wrong = []
    if one.status != "connected" or one.told:
        wrong.append(f"{one.account} is {one.status} without need, told {one.told} times")
    if refusals:
        wrong.append(f"{one.account} was refused {refusals} times and kept its family")
    return wrong


def _wrong_of_lost(one: Ending, refusals: int, rotations: int) -> list[str]:
    """A consent is lost by a token whose successor was never stored, never by one that we had replaced."""
    wrong = []
    if one.status != "needs_reauth" or one.told != 1:
        wrong.append(f"{one.account} lost its family, is {one.status}, told {one.told} times")
    if refusals > MOST_REFUSALS:
        wrong.append(f"{one.account} was asked about {refusals} times after it was lost")
    if one.generation != rotations + 1:
        wrong.append(
            f"{one.account} lost its family by token {rotations + 1} when {one.generation} was stored"
        )
    return wrong


def _always_wrong(seen: Seen) -> list[str]:
    wrong = [f"the server broke: {record['what']}" for record in seen.of("broken")[:3]]
    wrong += [f"a worker broke: {note['what']}" for note in seen.noted("broken")[:3]]
    wrong += [f"a worker ended with {code}" for code in seen.deaths]
    wrong += [f"{one.account} is parked" for one in seen.endings if one.is_parked]
    refused = [record["account"] for record in seen.of("use") if record["outcome"] == "refused"]
    if refused:
        wrong.append(f"{len(refused)} fresh access tokens were refused, such as one of {refused[0]}")
    requests = _by_account(seen.of("refresh"))
    for account, records in requests.items():
        if (most := most_at_once((r["began"], r["ended"]) for r in records)) > 1:
            wrong.append(f"{account} was refreshed {most} times at once")
        if (most := most_within((r["began"] for r in records), 1000.0)) > MOST_IN_ONE_SECOND:
            wrong.append(f"{account} was refreshed {most} times in one second")
    return wrong


def _lost(seen: Seen) -> dict[str, int]:
    """Return the accounts whose family was ended, and how many tokens came before the one that did it."""
    return {record["account"]: record["rotations"] for record in seen.of("revoked")}


def _by_account(records: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    found: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for record in records:
        found[record.get("account") or "nobody we know"].append(record)
    return found


def _result(seen: Seen, wrong: Sequence[str]) -> Result:
    requests = _by_account(seen.of("refresh")).values()
    uses = Counter(record["outcome"] for record in seen.of("use"))
    figures: dict[str, Figure] = {
        "connections": len(seen.endings),
        "refreshes": len(seen.refreshes(granted=True)),
        "refused": len(seen.refreshes(granted=False)),
        "revoked_families": len(seen.of("revoked")),
        "kills": seen.kills,
        "needs_reauth": sum(one.status == "needs_reauth" for one in seen.endings),
        "needs_reauth_events": sum(one.told for one in seen.endings),
        "most_refreshes_in_1_s": max(
            (most_within((r["began"] for r in each), 1000.0) for each in requests), default=0
        ),
        "most_refreshes_at_once": max(
            (most_at_once((r["began"], r["ended"]) for r in each) for each in requests), default=0
        ),
        "most_refusals_of_one": max(
            Counter(r["account"] for r in seen.refreshes(granted=False)).values(), default=0
        ),
        "tokens_used": sum(uses.values()),
        "tokens_expired_in_use": uses["expired"],
        "tokens_refused": uses["refused"],
        "put_off": len(seen.noted("waited")),
    }
    return Result(not wrong, figures, "; ".join(wrong[:6]))
