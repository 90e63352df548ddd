"""
A seeded author of random edits at the provider, and the oracle that knows what should stand in the end.

What should stand is worked out from the edits alone, by none of the product's code.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.system.rig import Rig, answer

HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Copy:
    """One calendar's copy of a meeting, as the oracle knows it."""

    calendar: str
    start: datetime
    link: str | None
    title: str
    declined: bool = False
    gone: bool = False


class Oracle:
    """Knows which bots should live: one per link and start of every copy that calls for one."""

    def __init__(self) -> None:
        self.copies: dict[str, Copy] = {}
        self.excluded: list[str] = []

    def seats(self) -> set[tuple[str, str]]:
        return {
            (copy.link, copy.start.isoformat()[:19])
            for copy in self.copies.values()
            if copy.link
            and not copy.gone
            and not copy.declined
            and not any(word in copy.title for word in self.excluded)
        }


class Author:
    """Makes random edits at the provider, and tells the oracle of each."""

    def __init__(self, rig: Rig, oracle: Oracle, calendars: list[str], seed: int) -> None:
        self.rig, self.oracle, self.calendars = rig, oracle, calendars
        self.chance = random.Random(seed)
        self.base = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)

    def edit(self) -> None:
        kinds = ["create"] * 4 + ["move"] * 5 + ["relink"] * 3 + ["cancel", "delete"]
        kinds += ["share"] * 3 + ["respond"] * 3 + ["rule"]
        living = [event for event, copy in self.oracle.copies.items() if not copy.gone]
        kind = self.chance.choice(kinds) if len(living) > 5 else "create"
        getattr(self, kind)(*([] if kind in {"create", "rule"} else [self.chance.choice(living)]))

    def create(self) -> None:
        copy = Copy(self._calendar(), self._start(), self._link(), self._title())
        self._put_in(copy)

    def share(self, event: str) -> None:
        copy = self.oracle.copies[event]
        self._put_in(replace(copy, calendar=self._calendar(), declined=False))

    def move(self, event: str) -> None:
        start = self._start()
        self._change(event, start=start.isoformat(), end=(start + HOUR).isoformat())
        self._know(event, start=start)

    def relink(self, event: str) -> None:
        link = self._link()
        self._change(event, link=link)
        self._know(event, link=link)

    def respond(self, event: str) -> None:
        declined = self.chance.random() < 0.5
        self._change(event, own_response="declined" if declined else "accepted")
        self._know(event, declined=declined)

    def cancel(self, event: str) -> None:
        answer(self.rig.emulator.post(f"/events/{event}/cancel"))
        self._know(event, gone=True)

    def delete(self, event: str) -> None:
        answer(self.rig.emulator.delete(f"/events/{event}"))
        self._know(event, gone=True)

    def rule(self) -> None:
        self.oracle.excluded = self.chance.choice([[], ["secret"], ["secret", "weekly"]])
        self.rig.rules(title_excludes=self.oracle.excluded)

    def _put_in(self, copy: Copy) -> None:
        made = answer(self.rig.emulator.post(f"/calendars/{copy.calendar}/events", json=spec_of(copy)))
        self.oracle.copies[made["id"]] = copy

    def _change(self, event: str, **fields: Any) -> None:
        answer(self.rig.emulator.patch(f"/events/{event}", json=fields))

    def _know(self, event: str, **fields: Any) -> None:
        self.oracle.copies[event] = replace(self.oracle.copies[event], **fields)

    def _calendar(self) -> str:
        return self.chance.choice(self.calendars)

    def _start(self) -> datetime:
        return self.base + HOUR * self.chance.randrange(24)

    def _title(self) -> str:
        return self.chance.choice(["weekly sync", "secret plan", "interview"])

    def _link(self) -> str:
        letters = "".join(self.chance.choice("abcdefgh") for _ in range(3))
        return f"https://meet.google.com/ran-domm-{letters}"


def bots_as_seats(rig: Rig) -> list[tuple[str, str]]:
    """List live bots by link and start, one entry per bot, so that a double shows."""
    return sorted((str(bot["meeting_url"]), bot["join_at"][:19]) for bot in rig.live_bots())


def writes(rig: Rig) -> dict[str, dict[str, int]]:
    """Count the calls that change something at the provider."""
    return {
        operation: counts
        for operation, counts in rig.requests().items()
        if not operation.endswith(("_list", "_retrieve"))
    }


def needless(rig: Rig) -> dict[str, int]:
    """
    Count the writes about bots whose outcome was already so: the provider says 404 to them.

    A look may find that a bot has gone since it was heard of; that is what looks are for.
    """
    return {
        operation: counts["404"]
        for operation, counts in rig.requests().items()
        if operation.startswith("bot_") and operation != "bot_retrieve" and counts.get("404")
    }


def spec_of(copy: Copy) -> dict[str, Any]:
    """Write a copy of a meeting as the emulator's control API takes it."""
    return {
        "title": copy.title,
        "start": copy.start.isoformat(),
        "end": (copy.start + HOUR).isoformat(),
        "link": copy.link,
        "organizer": "host@elsewhere.org",
        "own_response": "accepted",
    }


def doubled_ever(rig: Rig) -> set[tuple[str, str]]:
    """Name the links and starts at which two bots lived at the same time, by the provider's history."""
    seat_by_bot: dict[str, tuple[str, str]] = {}
    doubled: set[tuple[str, str]] = set()
    told = answer(rig.emulator.get("/history", params={"kind": "bot.", "limit": "500000"}))
    for record in told["records"]:
        match record["kind"]:
            case "bot.created" | "bot.moved":
                seat = (record["meeting_url"], record["join_at"][:19])
                others = {bot: known for bot, known in seat_by_bot.items() if bot != record["id"]}
                doubled |= {seat} & set(others.values())
                seat_by_bot[record["id"]] = seat
            case "bot.deleted":
                seat_by_bot.pop(record["id"], None)
    return doubled
