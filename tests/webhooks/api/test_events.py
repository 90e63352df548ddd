"""Events and bots over HTTP, and what people say about events."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import insert, select, update

from models.sealing import place
from models.tables.base import new_id
from models.tables.due import table_of
from models.tables.events import CalendarEvent, SeriesOverride
from models.tables.outbox import OutboxEvent
from models.tables.slots import Slot
from tests.builders import NOON, a_calendar
from tests.webhooks.api.fakes import Api, code_of
from worker import jobs

EVENTS = table_of(CalendarEvent)
SLOTS = table_of(Slot)
ALL = {"select": ["all"]}


def a_slot(api: Api, key: str = "k", **columns: Any) -> UUID:
    slot_id = new_id()
    sealed = api.rt.vault.seal(
        "https://zoom.us/j/1?pwd=x", place=place("slots", "meeting_url", slot_id)
    )
    values = {
        "id": slot_id,
        "key": key,
        "link_key": "zoom.us/j/1",
        "meeting_platform": "zoom",
        "meeting_url": sealed,
        "start_at": NOON,
        "ends_at": NOON + timedelta(hours=1),
        "join_at": NOON,
        "config": {},
        "seat_hash": b"",
        **columns,
    }
    with api.rt.db.begin() as tx:
        tx.execute(insert(SLOTS).values(**values))
    return slot_id


def series(api: Api, size: int = 3) -> list[UUID]:
    return [
        api.store_event(f"event-{day}", series_id="s", start=NOON + timedelta(days=day))
        for day in range(size)
    ]


def decided(api: Api, event_ids: list[UUID]) -> list[str]:
    return [api.get(f"/v1/events/{event_id}")["record"]["reason"] for event_id in event_ids]


def test_an_event_shows_its_decision_and_its_bot(api: Api) -> None:
    calendar_id = a_calendar(api.rt.db, rules=ALL)
    event_id = api.store_event()
    api.settle()

    event = api.get(f"/v1/events/{event_id}")

    (bot,) = api.get("/v1/bots")["data"]
    assert event["calendar_id"] == str(calendar_id)
    assert event["record"]["wanted"] is True
    assert event["meeting_url"] == "https://meet.google.com/abc-defg-hij"
    assert event["bot"]["id"] == bot["id"]
    assert bot["event_ids"] == [str(event_id)]
    assert api.get(f"/v1/bots/{bot['id']}") == bot


def test_events_are_listed_by_start_page_by_page(api: Api) -> None:
    a_calendar(api.rt.db)
    ids = [api.store_event(f"event-{n}", start=NOON + timedelta(hours=n % 3)) for n in range(6)]

    listed: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        page = api.get("/v1/events", params={"limit": "2", **({"cursor": cursor} if cursor else {})})
        listed += page["data"]
        cursor = page["next"]
        if cursor is None:
            break
        api.store_event(f"earlier-{len(listed)}", start=NOON - timedelta(hours=1))

    assert [event["start"] for event in listed] == sorted(event["start"] for event in listed)
    assert {event["id"] for event in listed} == {str(event_id) for event_id in ids}


def test_events_are_filtered(api: Api) -> None:
    anna = a_calendar(api.rt.db, "cal-anna", rules=ALL)
    a_calendar(api.rt.db, "cal-ben", rules={"select": []})
    first = api.store_event("event-1")
    second = api.store_event("event-2", start=NOON + timedelta(days=1), deleted=True)
    third = api.store_event("event-3", calendar="cal-ben", start=NOON + timedelta(days=2))
    api.settle()

    found = {
        query: {event["id"] for event in api.get(f"/v1/events?{query}")["data"]}
        for query in (
            f"calendar_id={anna}",
            "start_gte=2026-11-24T12:00:00Z",
            "start_lt=2026-11-24T12:00:00Z",
            "deleted=true",
            "deleted=false&recorded=false",
            "recorded=true",
        )
    }

    expected = [{first, second}, {second, third}, {first}, {second}, {third}, {first}]
    assert list(found.values()) == [{str(event_id) for event_id in ids} for ids in expected]


@pytest.mark.parametrize(
    ("rules", "record", "reason"),
    [({"select": []}, True, "override_record"), (ALL, False, "override_skip"), (ALL, None, "recorded")],
)
def test_a_word_on_an_event_shows_at_once(
    api: Api, rules: dict[str, Any], record: bool | None, reason: str
) -> None:
    a_calendar(api.rt.db, rules=rules)
    event_id = api.store_event()
    api.settle()

    response = api.call("PATCH", f"/v1/events/{event_id}", {"record": record})

    shown = response.json()["record"]
    assert response.status_code == 200
    assert (shown["override"], shown["reason"], shown["wanted"]) == (
        record,
        reason,
        record is not False,
    )
    assert (jobs.SETTLE, None) in api.bell.rings


def test_a_word_on_an_event_moves_its_bot_and_is_told_once(api: Api) -> None:
    a_calendar(api.rt.db)
    event_id = api.store_event()
    api.settle()

    for _ in range(2):
        api.call("PATCH", f"/v1/events/{event_id}", {"record": True})
        api.settle()

    with api.rt.db.begin() as tx:
        types = list(tx.execute(select(OutboxEvent.type).order_by(OutboxEvent.sequence)).scalars())
    assert types.count("calendar_event.updated") == 1
    assert len(api.get("/v1/bots?state=wanted")["data"]) == 1


def test_a_word_on_a_series_counts_for_all_of_it_and_one_on_an_occurrence_wins(api: Api) -> None:
    a_calendar(api.rt.db)
    events = series(api)
    api.settle()

    api.call("PATCH", f"/v1/events/{events[1]}", {"record": False})
    response = api.call("PATCH", f"/v1/events/{events[0]}", {"record": True, "scope": "series"})

    assert response.json()["record"]["reason"] == "override_record"
    assert decided(api, events) == ["override_record", "override_skip", "override_record"]
    late = api.store_event("event-9", series_id="s", start=NOON + timedelta(days=9))
    api.settle()
    assert decided(api, [late]) == ["override_record"]


def test_a_word_on_a_series_can_be_changed_and_taken_back(api: Api) -> None:
    a_calendar(api.rt.db)
    events = series(api)
    reasons = []

    for record in (True, False, None, None):
        api.call("PATCH", f"/v1/events/{events[0]}", {"record": record, "scope": "series"})
        api.settle()
        reasons.append(decided(api, events))

    assert reasons == [
        [word] * 3 for word in ("override_record", "override_skip", "no_rule", "no_rule")
    ]
    with api.rt.db.begin() as tx:
        assert tx.execute(select(table_of(SeriesOverride))).all() == []


def test_a_single_event_has_no_series(api: Api) -> None:
    a_calendar(api.rt.db)
    event_id = api.store_event()

    response = api.call("PATCH", f"/v1/events/{event_id}", {"record": True, "scope": "series"})

    assert (response.status_code, code_of(response)) == (422, "not_in_series")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"record": "yes"},
        {"record": 1},
        {"record": True, "scope": "all"},
        {"record": True, "id": "x"},
        [],
    ],
)
def test_a_word_that_is_unclear_is_refused(api: Api, body: Any) -> None:
    a_calendar(api.rt.db)
    event_id = api.store_event()

    response = api.call("PATCH", f"/v1/events/{event_id}", body)

    assert (response.status_code, code_of(response)) == (422, "invalid_request")


def test_an_event_explains_itself(api: Api) -> None:
    a_calendar(api.rt.db, rules=ALL)
    event_id = api.store_event()
    api.settle()

    why = api.get(f"/v1/events/{event_id}/why")

    assert why["decision"]["reason"] == "recorded"
    assert why["steps"]


def test_bots_are_listed_by_the_time_they_join_and_filtered(api: Api) -> None:
    slots = [a_slot(api, f"k{n}", join_at=NOON + timedelta(hours=n)) for n in range(3)]
    with api.rt.db.begin() as tx:
        tx.execute(
            update(SLOTS).where(SLOTS.c.id == slots[1]).values(bot_state="scheduled", bot_id="b1")
        )

    found = [
        [bot["id"] for bot in api.get(f"/v1/bots?{query}")["data"]]
        for query in (
            "",
            "state=scheduled",
            "join_at_gte=2026-11-23T13:00:00Z",
            "join_at_lt=2026-11-23T13:00:00Z",
        )
    ]

    ids = [str(slot) for slot in slots]
    assert found == [ids, ids[1:2], ids[1:], ids[:1]]
    first = api.get("/v1/bots?limit=2")
    assert [bot["id"] for bot in first["data"]] == ids[:2]
    assert [bot["id"] for bot in api.get(f"/v1/bots?limit=2&cursor={first['next']}")["data"]] == ids[2:]
    assert code_of(api.call("GET", "/v1/bots?state=lost")) == "invalid_request"


def test_the_bots_at_risk_are_those_that_say_so(api: Api) -> None:
    states = ["wanted", "scheduled", "joining", "in_call", "done", "failed", "cancelled"]
    for minute in (-70, -5, 0, 5, 9, 10, 11, 60):
        for state in states:
            for bot_id in (None, f"bot {minute} {state}"):
                for is_wanted in (True, False):
                    join_at = NOON + timedelta(minutes=minute)
                    a_slot(
                        api,
                        f"{minute}{state}{bot_id}{is_wanted}",
                        join_at=join_at,
                        start_at=join_at,
                        ends_at=join_at + timedelta(hours=1),
                        bot_state=state,
                        bot_id=None if bot_id is None else f"{bot_id} {is_wanted}",
                        is_wanted=is_wanted,
                    )
    api.clock.at = NOON

    at_risk = listed(api, "at_risk=true")
    safe = listed(api, "at_risk=false")

    assert all(bot["at_risk"] for bot in at_risk)
    assert not any(bot["at_risk"] for bot in safe)
    assert len(at_risk) + len(safe) == 8 * 7 * 4
    assert at_risk


def listed(api: Api, query: str) -> list[dict[str, Any]]:
    bots: list[dict[str, Any]] = []
    page = api.get(f"/v1/bots?limit=200&{query}")
    bots += page["data"]
    while page["next"]:
        page = api.get(f"/v1/bots?limit=200&{query}&cursor={page['next']}")
        bots += page["data"]
    return bots
