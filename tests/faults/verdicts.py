"""Judging what was said and done: two bots of one slot, and what consumers of domain events were told."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.faults.dying import Trouble


@dataclass(frozen=True)
class Doubles:
    """How often, how long at most, and whether in a call, two bots of one slot lived at once."""

    moments: int
    longest_s: float
    in_call: int


def doubles_in(history: list[dict[str, Any]]) -> Doubles:
    """Replay what happened to bots at Recall and find every time at which a slot had two."""
    slot_of: dict[str, str] = {}
    living: dict[str, set[str]] = defaultdict(set)
    calling: dict[str, set[str]] = defaultdict(set)
    since: dict[str, datetime] = {}
    moments, longest_s, in_call = 0, 0.0, 0
    for record in history:
        bot, at = str(record["id"]), datetime.fromisoformat(record["at"])
        if record["kind"] == "bot.created":
            slot_of[bot] = str(record["metadata"].get("punctual_slot", bot))
        slot = slot_of[bot]
        match record["kind"], record.get("code"):
            case "bot.created", _:
                living[slot].add(bot)
            case ("bot.deleted", _) | ("bot.state", "call_ended" | "done" | "fatal"):
                living[slot].discard(bot)
                calling[slot].discard(bot)
            case "bot.state", "in_call_recording" | "in_call_not_recording":
                calling[slot].add(bot)
        if len(calling[slot]) > 1:
            in_call += 1
        if len(living[slot]) > 1 and slot not in since:
            since[slot] = at
            moments += 1
        elif len(living[slot]) <= 1 and slot in since:
            longest_s = max(longest_s, (at - since.pop(slot)).total_seconds())
    if since:
        raise Trouble(f"two bots to the end in {len(since)} slots")
    return Doubles(moments, longest_s, in_call)


#: A domain event as a consumer sees it: id, subject, sequence.
Line = tuple[str, str, int]


def line_of(event: Mapping[str, Any]) -> Line:
    return (str(event["id"]), str(event["subject"]), int(event["sequence"]))


def check_in_order(whom: str, lines: list[Line]) -> None:
    """Raise Trouble unless the first arrivals of each subject count 1, 2, 3 …"""
    newest: dict[str, int] = defaultdict(int)
    seen: set[str] = set()
    for event_id, subject, sequence in lines:
        if event_id in seen:
            continue
        seen.add(event_id)
        if sequence != newest[subject] + 1:
            raise Trouble(f"{whom}: {subject} went from {newest[subject]} to {sequence}")
        newest[subject] = sequence
