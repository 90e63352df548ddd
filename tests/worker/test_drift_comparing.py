"""What a drift report tells, whatever is here, whatever is there, and whatever happens meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import NOON, a_found, an_event
from worker.drifting.comparing import Kept, Look, Shown, compare
from worker.drifting.comparing_bots import compare_bots
from worker.drifting.found import Compared, Kind
from worker.looked import Looked
from worker.ports import FoundBot, FoundEvent
from worker.ports_direct import Window
from worker.storing import content_hash

CALENDAR = UUID(int=1)
SLOT = UUID(int=2)
OLD = NOON - timedelta(days=1)
SPAN = Window(NOON - timedelta(hours=1), NOON + timedelta(days=7))
LAST_LOOK = 10


@dataclass(frozen=True, slots=True)
class Copy:
    """One event on one side: what it says, whether it is deleted, and which version it is."""

    title: str = "Weekly"
    in_days: int = 0
    deleted: bool = False
    version: int = 0

    def found(self, name: str) -> FoundEvent:
        start = NOON + timedelta(days=self.in_days)
        event = an_event(name, title=self.title, start=start, deleted=self.deleted)
        return a_found(event, updated_at=OLD + timedelta(minutes=self.version))

    def row(self, name: str, *, fetch: int = LAST_LOOK - 1) -> dict[str, Any]:
        found = self.found(name)
        return {
            "id": UUID(int=ord(name)),
            "start_at": found.event.start,
            "end_at": found.event.end,
            "deleted": self.deleted,
            "content_hash": content_hash(found),
            "fetch": fetch,
            "provider_updated_at": found.updated_at,
        }


Side = dict[str, Copy]

copies = st.builds(
    Copy,
    title=st.sampled_from(["Weekly", "Monthly"]),
    in_days=st.sampled_from([-3, 0, 1, 30]),
    deleted=st.booleans(),
    version=st.integers(0, 2),
)
sides: st.SearchStrategy[Side] = st.dictionaries(st.sampled_from("abcde"), copies)


def a_look(there: Side, here: Side, *, shown: dict[str, Any] | None = None, **kept: Any) -> Look:
    return Look(
        CALENDAR,
        Shown({name: copy.found(name) for name, copy in there.items()}, **(shown or {})),
        keep(here, **kept),
        Looked("recall", LAST_LOOK, UUID(int=0), NOON),
        SPAN,
        fresh_since=NOON,
    )


def keep(here: Side, **kept: Any) -> Kept:
    return Kept({name: copy.row(name) for name, copy in here.items()}, **kept)


def told(compared: Compared) -> dict[str | None, Kind]:
    names = [one.external_id for one in compared.differences]
    assert len(names) == len(set(names))
    return {one.external_id: one.kind for one in compared.differences}


def expected(there: Side, here: Side) -> dict[str, Kind]:
    """Say in one place what drift is, one event at a time."""
    kinds: dict[str, Kind] = {}
    for name in {*there, *here}:
        theirs, ours = there.get(name), here.get(name)
        if theirs is not None and ours is not None and theirs.version < ours.version:
            continue
        is_there = theirs is not None and not theirs.deleted
        is_here = ours is not None and not ours.deleted
        live = [copy for copy, is_live in ((theirs, is_there), (ours, is_here)) if copy and is_live]
        if not any(copy.in_days in {0, 1} for copy in live):
            continue
        if is_there and not is_here:
            kinds[name] = Kind.EVENT_MISSING
        elif is_here and not is_there:
            kinds[name] = Kind.EVENT_GONE
        elif theirs and ours and replace(theirs, version=0) != replace(ours, version=0):
            kinds[name] = Kind.EVENT_DIFFERS
    return kinds


@given(there=sides, here=sides)
def test_each_event_is_missing_gone_or_different_exactly_when_it_is(there: Side, here: Side) -> None:
    compared = compare(a_look(there, here), keep(here))

    assert told(compared) == expected(there, here)
    assert compared.awaited == 0


@given(side=sides)
def test_a_calendar_does_not_differ_from_itself(side: Side) -> None:
    assert told(compare(a_look(side, side), keep(side))) == {}


@given(there=sides, here=sides)
def test_what_cannot_be_read_is_neither_here_nor_there(there: Side, here: Side) -> None:
    odd = frozenset("abc")

    compared = compare(a_look(there, here, shown={"unreadable": odd}), keep(here))

    assert told(compared) == {
        name: kind for name, kind in expected(there, here).items() if name not in odd
    }


@given(there=sides, here=sides)
def test_a_listing_that_may_hide_something_proves_nothing_gone(there: Side, here: Side) -> None:
    compared = compare(a_look(there, here, shown={"is_complete": False}), keep(here))

    assert told(compared) == {
        name: kind
        for name, kind in expected(there, here).items()
        if kind is not Kind.EVENT_GONE or name in there
    }


@given(there=sides, before=sides, after=sides)
def test_what_of_ours_changed_while_they_were_read_is_not_told(
    there: Side, before: Side, after: Side
) -> None:
    compared = compare(a_look(there, before), keep(after))

    still = {name for name in {*before, *after} if before.get(name) == after.get(name)}
    assert set(told(compared)) <= still | (set(there) - set(before) - set(after))


@given(there=sides, here=sides, when=st.sampled_from(["before", "after"]))
def test_while_all_of_it_is_about_to_be_read_nothing_is_drift(
    there: Side, here: Side, when: str
) -> None:
    due: dict[str, Any] = {"is_due": True, "is_due_whole": True}
    look = a_look(there, here, **(due if when == "before" else {}))

    compared = compare(look, keep(here, **(due if when == "after" else {})))

    assert compared.differences == ()
    assert compared.awaited == len(expected(there, here))


@given(there=sides, here=sides, seen=st.integers(-1, 3))
def test_a_look_that_is_due_sees_to_what_is_newer_than_the_last_one(
    there: Side, here: Side, seen: int
) -> None:
    seen_until = OLD + timedelta(minutes=seen)

    compared = compare(a_look(there, here, is_due=True, seen_until=seen_until), keep(here))

    stays = {
        name: kind
        for name, kind in expected(there, here).items()
        if name in there and there[name].version <= seen
    }
    assert told(compared) == stays
    assert compared.awaited == len(expected(there, here)) - len(stays)


@given(there=sides, here=sides)
def test_a_change_that_has_just_happened_may_still_be_on_its_way(there: Side, here: Side) -> None:
    look = replace(a_look(there, here), fresh_since=OLD - timedelta(minutes=1))

    compared = compare(look, keep(here))

    assert set(told(compared)) == {name for name in expected(there, here) if name not in there}


def test_only_ids_times_and_reasons_are_told() -> None:
    there = {"a": Copy("The Takeover"), "b": Copy("The Takeover")}
    here = {"b": Copy("Weekly"), "c": Copy("Secret")}

    views = [one.view() for one in compare(a_look(there, here), keep(here)).differences]

    assert [view["kind"] for view in views] == ["event_missing", "event_differs", "event_gone"]
    assert not any(word in str(views) for word in ("Takeover", "Weekly", "Secret", "@", "meet.google"))


def a_slot(**columns: Any) -> dict[str, Any]:
    return {
        "id": SLOT,
        "bot_id": "bot-1",
        "bot_state": "scheduled",
        "bot_join_at": NOON,
        "join_at": NOON,
        "closed_at": None,
        "op": None,
        "is_pending": False,
        "parked_at": None,
        "updated_at": OLD,
        **columns,
    }


def a_bot(bot_id: str = "bot-1", *, slot: UUID | None = SLOT, join_at: datetime = NOON) -> FoundBot:
    return FoundBot(bot_id, None if slot is None else str(slot), join_at, "scheduled")


def told_of_bots(*found: FoundBot, slot: dict[str, Any] | None = None, **which: Any) -> Compared:
    slots = [] if slot is None else [slot]
    given_ = {"astray": set(), "missing": [], "unserved": [], **which}
    return compare_bots(found, slots, now=NOON - timedelta(hours=1), **given_)


@pytest.mark.parametrize(
    ("compared", "kind"),
    [
        (told_of_bots(a_bot(), slot=a_slot()), None),
        (told_of_bots(slot=a_slot(), missing=[SLOT]), Kind.BOT_MISSING),
        (told_of_bots(slot=a_slot(bot_id=None), unserved=[SLOT]), Kind.BOT_MISSING),
        (told_of_bots(a_bot("bot-2"), slot=a_slot(), astray={"bot-2"}), Kind.BOT_DOUBLED),
        (told_of_bots(a_bot("bot-2"), astray={"bot-2"}), Kind.BOT_ASTRAY),
        (told_of_bots(a_bot("bot-2", slot=None), astray={"bot-2"}), Kind.BOT_ASTRAY),
        (
            told_of_bots(a_bot("bot-2"), slot=a_slot(bot_id=None), astray={"bot-2"}),
            Kind.BOT_ASTRAY,
        ),
        (
            told_of_bots(a_bot("bot-2"), slot=a_slot(closed_at=OLD), astray={"bot-2"}),
            Kind.BOT_ASTRAY,
        ),
        (
            told_of_bots(a_bot(join_at=NOON + timedelta(minutes=5)), slot=a_slot()),
            Kind.BOT_MISPLACED,
        ),
        (told_of_bots(a_bot(join_at=NOON + timedelta(seconds=30)), slot=a_slot()), None),
        (
            told_of_bots(a_bot(join_at=NOON + timedelta(minutes=5)), slot=a_slot(bot_state="in_call")),
            None,
        ),
    ],
    ids=[
        "in its place",
        "not shown",
        "never made",
        "a second one",
        "of no slot we know",
        "of no slot at all",
        "of a slot that knows of none",
        "of a slot that is closed",
        "moved",
        "moved by seconds",
        "in its call",
    ],
)
def test_a_bot_is_in_its_place_or_what_is_wrong_with_it_is_told(
    compared: Compared, kind: Kind | None
) -> None:
    assert [one.kind for one in compared.differences] == ([] if kind is None else [kind])
    assert compared.awaited == 0


@pytest.mark.parametrize(
    ("columns", "is_left"),
    [
        ({"op": "look"}, True),
        ({"is_pending": True}, True),
        ({"updated_at": NOON - timedelta(hours=1)}, True),
        ({"is_pending": True, "parked_at": OLD}, False),
    ],
    ids=["a call is under way", "due", "touched a moment ago", "set aside"],
)
def test_a_slot_that_is_being_cared_for_is_left_to_itself(
    columns: dict[str, Any], *, is_left: bool
) -> None:
    slot = a_slot(**columns)

    wrong = [
        told_of_bots(slot=slot, missing=[SLOT]),
        told_of_bots(a_bot("bot-2"), slot=slot, astray={"bot-2"}),
        told_of_bots(a_bot(join_at=NOON + timedelta(minutes=5)), slot=slot),
    ]

    assert [len(one.differences) for one in wrong] == [0 if is_left else 1] * 3
    assert [one.awaited for one in wrong] == [1 if is_left else 0] * 3
