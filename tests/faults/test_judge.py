"""The judge sees what it is there to see: a judge that cannot convict proves nothing."""

from __future__ import annotations

from typing import Any

from tests.faults.judge import gaps, lost_deliveries, overlaps

MEETING = {"meeting_url": "https://meet.google.com/aaa-bbbb-ccc", "join_at": "2026-11-23T10:00:00Z"}


def record(second: int, kind: str, bot: str, **facts: Any) -> dict[str, Any]:
    return {
        "at": f"2026-11-21T09:{second // 60:02}:{second % 60:02}Z",
        "kind": kind,
        "id": bot,
        **facts,
    }


def created(second: int, bot: str, **place: str) -> dict[str, Any]:
    return record(second, "bot.created", bot, **{**MEETING, **place})


def test_two_live_bots_of_one_meeting_are_seen_for_as_long_as_they_overlap() -> None:
    history = [created(0, "a"), created(10, "b"), record(75, "bot.deleted", "a")]

    found = overlaps(history)

    assert found.longest_s == 65


def test_bots_of_different_meetings_do_not_overlap() -> None:
    history = [
        created(0, "a"),
        created(0, "b", join_at="2026-11-23T11:00:00Z"),
        created(0, "c", meeting_url="https://meet.google.com/ddd-eeee-fff"),
        record(500, "bot.deleted", "a"),
    ]

    assert overlaps(history).longest_s == 0


def test_a_bot_that_moves_onto_another_one_overlaps_with_it() -> None:
    history = [
        created(0, "a"),
        created(0, "b", join_at="2026-11-23T11:00:00Z"),
        record(20, "bot.moved", "b", **MEETING),
        record(50, "bot.state", "a", code="done"),
    ]

    assert overlaps(history).longest_s == 30


def test_two_bots_in_one_call_are_counted() -> None:
    history = [
        created(0, "a"),
        created(0, "b"),
        record(5, "bot.state", "a", code="in_call_recording"),
        record(6, "bot.state", "b", code="joining_call"),
        record(7, "bot.deleted", "b"),
    ]

    assert overlaps(history).in_call == 1


def test_only_healthy_time_counts() -> None:
    history = [created(0, "a"), created(0, "b"), record(500, "bot.deleted", "a")]

    assert overlaps(history, lambda _began, _ended: 3.0).longest_s == 3


def test_an_overlap_that_never_ends_is_seen_by_the_next_record() -> None:
    history = [created(0, "a"), created(0, "b"), created(90, "c", join_at="2026-11-23T12:00:00Z")]

    assert overlaps(history).longest_s == 90


def test_gaps_and_wrong_order_are_seen_and_repeats_are_not() -> None:
    entries = [
        {"subject": "bot/1", "sequence": 1},
        {"subject": "bot/1", "sequence": 2},
        {"subject": "bot/2", "sequence": 1},
        {"subject": "bot/2", "sequence": 3},
        {"subject": "bot/3", "sequence": 2},
        {"subject": "bot/3", "sequence": 1},
    ]

    assert gaps(entries) == {"bot/2": [1, 3], "bot/3": [2, 1]}


def test_an_acknowledged_delivery_that_is_not_there_is_lost(database_url: str) -> None:
    assert lost_deliveries(database_url, {"msg_never_stored"}) == {"msg_never_stored"}
