"""Rules over HTTP: which are in force, and what others would change."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, event, text

from models.domain.rules import rule_set, to_json
from tests.builders import NOON, a_calendar, a_link
from tests.webhooks.api.fakes import Api, code_of
from webhooks.api.rulesets import RuleSetShape
from worker import jobs, rulebook

ALL = {"select": ["all"]}


def everything(api: Api) -> list[Any]:
    """Return all that a simulation could change."""
    tables = (
        "calendars",
        "calendar_events",
        "installation",
        "slots",
        "wants",
        "outbox",
        "series_overrides",
    )
    with api.rt.db.begin() as tx:
        return [tx.execute(text(f"SELECT * FROM {table} ORDER BY 1")).all() for table in tables]


def reasons(api: Api) -> list[str]:
    api.settle()
    return [event["record"]["reason"] for event in api.get("/v1/events")["data"]]


def simulate(api: Api, rules: dict[str, Any], **also: Any) -> dict[str, Any]:
    response = api.call("POST", "/v1/rules/simulate", {"rules": rules, **also})
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def counts(difference: dict[str, Any]) -> tuple[int, int, int, int]:
    return (
        len(difference["add"]),
        len(difference["move"]),
        len(difference["remove"]),
        difference["unchanged"],
    )


def test_nothing_is_recorded_until_somebody_says_what(api: Api) -> None:
    assert api.get("/v1/rules") == to_json(rule_set({}))
    assert api.get("/v1/rules")["select"] == []


def test_what_was_put_is_shown_with_every_default(api: Api) -> None:
    put = api.call("PUT", "/v1/rules", {**ALL, "bot": {"name": "Otto"}})

    assert put.status_code == 200
    assert put.json() == api.get("/v1/rules")
    assert put.json()["bot"] == {"name": "Otto", "join_early_seconds": 0, "config": {}}
    assert api.call("PUT", "/v1/rules", put.json()).json() == put.json()


def test_new_rules_decide_about_what_is_coming(api: Api) -> None:
    a_calendar(api.rt.db)
    api.store_event()
    before = reasons(api)
    api.bell.rings.clear()

    api.call("PUT", "/v1/rules", ALL)

    assert (jobs.SETTLE, None) in api.bell.rings
    assert (before, reasons(api)) == (["no_rule"], ["recorded"])


def test_what_has_ended_is_not_decided_again(api: Api) -> None:
    a_calendar(api.rt.db)
    api.store_event()
    api.settle()
    api.clock.at = NOON + timedelta(days=1)

    api.call("PUT", "/v1/rules", ALL)

    with api.rt.db.begin() as tx:
        assert (
            tx.execute(text("SELECT count(*) FROM calendar_events WHERE unsettled")).scalar_one() == 0
        )


def test_a_calendar_follows_the_installation_unless_it_has_rules_of_its_own(api: Api) -> None:
    path = f"/v1/calendars/{a_calendar(api.rt.db)}"
    api.store_event()
    api.call("PUT", "/v1/rules", ALL)

    followed = api.get(f"{path}/rules")
    own = api.call("PUT", f"{path}/rules", {"select": []})
    skipped = reasons(api)
    cleared = api.call("DELETE", f"{path}/rules")

    assert followed == api.get("/v1/rules")
    assert (own.json()["select"], skipped) == ([], ["no_rule"])
    assert (cleared.status_code, api.get(path)["rules"]) == (204, None)
    assert reasons(api) == ["recorded"]


def test_the_documented_rule_set_is_the_one_that_is_read() -> None:
    full = to_json(
        rule_set({**ALL, "title_contains": ["x"], "min_minutes": 5, "bot": {"config": {"a": {"b": 1}}}})
    )

    assert RuleSetShape.model_validate(full).model_dump() == full
    assert set(RuleSetShape.model_fields) == set(full)
    assert RuleSetShape().model_dump() == to_json(rule_set({}))


def test_a_simulation_says_what_would_be_added_and_changes_nothing(api: Api) -> None:
    calendar_id = a_calendar(api.rt.db)
    event_id = api.store_event()
    api.settle()
    before = everything(api)

    difference = simulate(api, ALL)

    (bot,) = difference["add"]
    assert counts(difference) == (1, 0, 0, 0)
    assert (bot["event_id"], bot["calendar_id"]) == (str(event_id), str(calendar_id))
    assert (bot["start"], bot["reason"]) == ("2026-11-23T12:00:00Z", "recorded")
    assert bot["explanation"]
    assert (difference["events"], difference["truncated"]) == (1, False)
    assert everything(api) == before


def test_a_simulation_says_what_would_be_removed_and_why(api: Api) -> None:
    a_calendar(api.rt.db)
    api.store_event("event-1")
    api.store_event("event-2", link="xyz-abcd-efg", title="Secret")
    api.call("PUT", "/v1/rules", ALL)

    difference = simulate(api, {**ALL, "title_excludes": ["secret"]})

    assert counts(difference) == (0, 0, 1, 1)
    assert difference["remove"][0]["reason"] == "title"


def test_a_bot_shared_by_two_calendars_is_counted_once(api: Api) -> None:
    a_calendar(api.rt.db, "cal-anna")
    a_calendar(api.rt.db, "cal-ben")
    api.store_event("event-a", calendar="cal-anna")
    api.store_event("event-b", calendar="cal-ben")

    difference = simulate(api, ALL)

    assert counts(difference) == (1, 0, 0, 0)
    assert len(difference["add"][0]["events"]) == 2


def test_a_bot_that_another_calendar_wants_as_well_is_not_removed(api: Api) -> None:
    anna = a_calendar(api.rt.db, "cal-anna")
    a_calendar(api.rt.db, "cal-ben")
    api.store_event("event-a", calendar="cal-anna")
    api.store_event("event-b", calendar="cal-ben")
    api.call("PUT", "/v1/rules", ALL)

    difference = simulate(api, {"select": []}, calendar_id=str(anna))

    assert counts(difference) == (0, 0, 0, 1)


def test_a_calendar_with_rules_of_its_own_is_not_touched_by_the_installations(api: Api) -> None:
    a_calendar(api.rt.db, rules=to_json(rule_set({})))
    api.store_event()

    assert counts(simulate(api, ALL)) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    "other",
    [{"dedup": "company"}, {"bot": {"name": "Otto"}}, {"bot": {"join_early_seconds": 60}}],
)
def test_other_options_or_another_key_move_a_bot(api: Api, other: dict[str, Any]) -> None:
    a_calendar(api.rt.db)
    api.store_event()
    api.call("PUT", "/v1/rules", ALL)

    assert counts(simulate(api, {**ALL, **other})) == (0, 1, 0, 0)


def test_a_stricter_dedup_keeps_one_bot_and_adds_the_others(api: Api) -> None:
    a_calendar(api.rt.db, "cal-anna")
    a_calendar(api.rt.db, "cal-ben")
    api.store_event("event-a", calendar="cal-anna")
    api.store_event("event-b", calendar="cal-ben")
    api.call("PUT", "/v1/rules", ALL)

    add, move, remove, unchanged = counts(simulate(api, {**ALL, "dedup": "calendar"}))

    assert (add + move, remove, unchanged) in {(2, 1, 0), (2, 0, 0)}


def test_overrides_win_in_a_simulation_too(api: Api) -> None:
    a_calendar(api.rt.db)
    event_id = api.store_event()
    api.call("PATCH", f"/v1/events/{event_id}", {"record": False})

    assert counts(simulate(api, ALL)) == (0, 0, 0, 0)


def test_only_the_first_of_a_series_is_counted_when_the_rules_say_so(api: Api) -> None:
    a_calendar(api.rt.db)
    for day in range(3):
        start = NOON + timedelta(days=day)
        api.store_event(f"event-{day}", series_id="s", start=start, link=a_link().url[-12:])

    difference = simulate(api, {**ALL, "recurring": "first"})

    assert counts(difference) == (1, 0, 0, 0)
    assert difference["add"][0]["start"] == "2026-11-23T12:00:00Z"


def test_what_is_over_deleted_or_without_a_link_calls_for_no_bot(api: Api) -> None:
    a_calendar(api.rt.db)
    api.store_event("over", start=NOON - timedelta(days=3))
    api.store_event("gone", deleted=True)
    api.store_event("nowhere", link=None)

    assert counts(simulate(api, ALL)) == (0, 0, 0, 0)


def test_a_simulation_looks_at_so_many_events_and_says_so(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rulebook, "MOST_SIMULATED", 2)
    a_calendar(api.rt.db)
    for day in range(3):
        api.store_event(f"event-{day}", start=NOON + timedelta(days=day))

    difference = simulate(api, ALL)

    assert (len(difference["add"]), difference["truncated"]) == (2, True)


def test_rules_cannot_be_tried_on_a_calendar_that_is_not_there(api: Api) -> None:
    calendar_id = a_calendar(api.rt.db)
    api.call("DELETE", f"/v1/calendars/{calendar_id}")

    response = api.call("POST", "/v1/rules/simulate", {"rules": ALL, "calendar_id": str(calendar_id)})

    assert (response.status_code, code_of(response)) == (404, "not_found")


def test_the_installations_rules_are_kept_even_before_its_first_start(api: Api) -> None:
    with api.rt.db.begin() as tx:
        tx.execute(text("DELETE FROM installation"))

    api.call("PUT", "/v1/rules", ALL)

    assert api.get("/v1/rules")["select"] == ["all"]


def test_a_database_that_may_only_be_read_is_unavailable_for_changes(api: Api) -> None:
    """As after a fail-over, when the connections still lead to the old side."""

    def only_read(connection: Connection) -> None:
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")

    event.listen(api.rt.db, "begin", only_read)
    try:
        response = api.call("PUT", "/v1/rules", ALL)
    finally:
        event.remove(api.rt.db, "begin", only_read)

    assert (response.status_code, code_of(response)) == (503, "database_unavailable")
    assert "retry-after" in response.headers
