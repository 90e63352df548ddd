"""
Judges what happened, by what the world outside remembers: the provider's own history, the senders'
receipts, the feed. None of the product's reasoning is used; the database is read only to look for rows.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg

from tests.system.ledgers import by_subject
from tests.system.oracle import Oracle, bots_as_seats
from tests.system.rig import Rig, answer

LONGEST_OVERLAP_S = 60.0
#: From here to the end of the call a bot can be seen by the people in the meeting.
IN_CALL = frozenset({
    "joining_call", "in_waiting_room", "in_call_not_recording", "recording_permission_allowed",
    "recording_permission_denied", "in_call_recording",
})  # fmt: skip
ENDED = frozenset({"call_ended", "done", "fatal"})


def seconds_to_rest(rig: Rig, oracle: Oracle, *, within: float, quiet: bool = True) -> float:
    """
    Wait until exactly the right bots live and, if *quiet*, nothing is due; return how long that took.

    Fails with the difference when it does not come to that.
    """
    began = time.monotonic()
    wanted = sorted(oracle.seats())
    while True:
        found = bots_as_seats(rig)
        if found == wanted and (not quiet or _is_quiet(rig)):
            return time.monotonic() - began
        if time.monotonic() - began > within:
            why = _why_missing(rig, (Counter(wanted) - Counter(found)).keys())
            raise AssertionError(
                f"not at rest after {within:.0f} s: {_difference(wanted, found)}; due: {_due(rig)}"
                f"; why: {why}"
            )
        time.sleep(0.25)


def acked_by_emulator(rig: Rig) -> set[str]:
    """List the messages of the emulator's own sender that were answered with a 2xx."""
    messages = answer(rig.emulator.get("/deliveries", params={"state": "delivered", "limit": "200000"}))
    return {str(message["id"]) for message in messages}


def lost_deliveries(database_url: str, acked: Iterable[str]) -> set[str]:
    """Return the acknowledged messages of which the database knows nothing."""
    ids = list(acked)
    with psycopg.connect(database_url, connect_timeout=10) as connection:
        found = connection.execute(
            "SELECT message_id FROM deliveries WHERE message_id = ANY(%s)", (ids,)
        ).fetchall()
    return set(ids) - {row[0] for row in found}


def gaps(entries: Sequence[dict[str, Any]]) -> dict[str, list[int]]:
    """Return the subjects whose domain events, each counted once, are not 1, 2, 3 … in that order."""
    return {
        subject: sequences
        for subject, sequences in by_subject(list(entries)).items()
        if sequences != list(range(1, len(sequences) + 1))
    }


def parked(database_url: str) -> list[str]:
    """List rows that have been set aside for a person to look at."""
    found: list[str] = []
    with psycopg.connect(database_url, connect_timeout=10) as connection:
        for table in ("calendars", "slots", "endpoints", "sources"):
            rows = connection.execute(
                f"SELECT last_error FROM {table} WHERE parked_at IS NOT NULL".encode()
            ).fetchall()
            found += [f"{table}: {row[0]}" for row in rows]
        rows = connection.execute("SELECT reason FROM deliveries WHERE state = 'parked'").fetchall()
        found += [f"delivery: {row[0]}" for row in rows]
    return found


@dataclass
class _Bot:
    seat: tuple[str, str]
    state: str = "scheduled"


@dataclass
class Overlaps:
    """How long two live bots had one seat, at worst, and how often two of one seat were in a call."""

    longest_s: float = 0.0
    worst: tuple[str, str] | None = None
    in_call: int = 0
    open_since: dict[tuple[str, str], datetime] = field(default_factory=dict)


def overlaps(
    history: Iterable[dict[str, Any]], is_healthy: Callable[[datetime, datetime], float] | None = None
) -> Overlaps:
    """
    Replay the provider's history and find the times in which two live bots shared link and start.

    *is_healthy* returns the seconds of a stretch in which nothing was broken; only those count.
    """
    healthy = is_healthy or (lambda began, ended: (ended - began).total_seconds())
    bots: dict[str, _Bot] = {}
    found = Overlaps()
    for record in history:
        at = datetime.fromisoformat(record["at"])
        touched = _apply(bots, record)
        if touched:
            _compare(bots, found, at, healthy)
    return found


def every_record(rig: Rig) -> list[dict[str, Any]]:
    """Read the emulator's whole history."""
    records: list[dict[str, Any]] = []
    last = 0
    while True:
        page = answer(rig.emulator.get("/history", params={"after": str(last), "kind": "bot."}))
        records += page["records"]
        if page["last"] == last:
            return records
        last = page["last"]


def _apply(bots: dict[str, _Bot], record: dict[str, Any]) -> bool:
    """Bring *bots* up to this record; True when a bot came, went, moved or changed its state."""
    match record["kind"]:
        case "bot.created":
            bots[record["id"]] = _Bot((record["meeting_url"], record["join_at"][:19]))
        case "bot.moved" if record["id"] in bots:
            bots[record["id"]].seat = (record["meeting_url"], record["join_at"][:19])
        case "bot.deleted":
            bots.pop(record["id"], None)
        case "bot.state" if record["code"] in ENDED:
            bots.pop(record["id"], None)
        case "bot.state" if record["id"] in bots:
            bots[record["id"]].state = record["code"]
        case _:
            return False
    return True


def _compare(
    bots: dict[str, _Bot],
    found: Overlaps,
    at: datetime,
    healthy: Callable[[datetime, datetime], float],
) -> None:
    counts = Counter(bot.seat for bot in bots.values())
    doubled = {seat for seat, count in counts.items() if count > 1}
    for seat in list(found.open_since):
        lasted = healthy(found.open_since[seat], at)
        if lasted > found.longest_s:
            found.longest_s, found.worst = lasted, seat
        if seat not in doubled:
            del found.open_since[seat]
    for seat in doubled:
        found.open_since.setdefault(seat, at)
    calls: defaultdict[tuple[str, str], int] = defaultdict(int)
    for bot in bots.values():
        if bot.seat in doubled and bot.state in IN_CALL:
            calls[bot.seat] += 1
    found.in_call += sum(count > 1 for count in calls.values())


def _is_quiet(rig: Rig) -> bool:
    try:
        return rig.is_quiet()
    except Exception:  # whatever a stopping server says: it is not quiet then
        return False


def _due(rig: Rig) -> object:
    try:
        return rig.api.get("/readyz").json()
    except Exception as broken:
        return repr(broken)


def _why_missing(rig: Rig, seats: Iterable[tuple[str, str]]) -> object:
    """Ask Punctual itself why bots are not there: what it knows of the slot, and its explanation."""
    try:
        urls = {url for url, _ in seats}
        slots = [bot for bot in rig.every("/v1/bots") if bot["meeting_url"] in urls]
        events = [event for bot in slots for event in bot["event_ids"]][:3]
        return slots[:3], [rig.api.get(f"/v1/events/{event}/why").json() for event in events]
    except Exception as broken:
        return repr(broken)


def _difference(wanted: list[tuple[str, str]], found: list[tuple[str, str]]) -> str:
    missing, superfluous = Counter(wanted) - Counter(found), Counter(found) - Counter(wanted)
    return (
        f"{len(wanted)} wanted, {missing.total()} missing {list(missing)[:3]}, "
        f"{superfluous.total()} too many {list(superfluous)[:3]}"
    )
