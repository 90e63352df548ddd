"""The trail of one event, from the notification to the domain event."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

from tests.worker.commands_kit import Punctual, World, punctual, world
from worker.errors import TryLater
from worker.rulebook import set_default_rules
from worker.settling import settle
from worker.why import explain, find_event

__all__ = ["punctual", "world"]


def trail_of(world: World, ref: str = "event-1") -> dict[str, Any]:
    with world.rt.db.begin() as tx:
        trail = explain(tx, world.rt.vault, world.event_id(ref), now=world.rt.now())
    assert trail is not None
    return trail


def kinds(trail: dict[str, Any]) -> list[str]:
    return [step["kind"] for step in trail["steps"]]


def texts(trail: dict[str, Any], kind: str) -> list[str]:
    return [step["text"] for step in trail["steps"] if step["kind"] == kind]


def test_the_trail_leads_from_the_notification_to_the_domain_event(world: World) -> None:
    world.put()
    message_id = world.notify()
    world.work()

    trail = trail_of(world)

    assert kinds(trail) == [
        "delivery",
        "sync",
        "change",
        "emitted",
        "rule",
        "slot",
        "call",
        "answer",
        "emitted",
    ]
    assert f"(delivery {message_id})" in trail["steps"][0]["text"]
    assert texts(trail, "emitted")[-1] == "Told subscribers: bot.scheduled #1."


def test_steps_are_in_order_of_time(world: World) -> None:
    world.put()
    world.notify()
    world.work()
    world.put(start=world.start + timedelta(hours=1))
    world.notify()
    world.work()

    instants = [step["at"] for step in trail_of(world)["steps"]]

    assert instants == sorted(instants)


def test_the_decision_and_the_bot_are_told(world: World) -> None:
    world.put()
    world.notify()
    world.work()

    trail = trail_of(world)

    assert trail["decision"]["wanted"] is True
    assert trail["decision"]["reason"] == "recorded"
    assert trail["decision"]["rules"] == "installation"
    assert trail["slot"]["state"] == "scheduled"
    assert trail["slot"]["external_id"] == world.bots.live[0].bot_id
    assert trail["waiting"] == []


def test_a_changed_event_says_which_fields_changed(world: World) -> None:
    world.put()
    world.notify()
    world.work()
    world.put(start=world.start + timedelta(hours=1))
    world.notify()
    world.work()

    trail = trail_of(world)

    assert texts(trail, "change") == ["The event was new to us.", "The event had changed: end, start."]
    assert texts(trail, "rule")[-1] == "Rule: still recorded, because the rules select all events."


def test_an_event_that_is_not_recorded_says_why(world: World) -> None:
    set_default_rules(world.rt, {"select": ["internal"]})
    world.put()
    world.notify()
    world.work()

    trail = trail_of(world)

    assert trail["decision"]["reason"] == "not_selected"
    assert trail["slot"] is None
    assert texts(trail, "rule")[0].startswith("Rule: not recorded, because ")
    assert "call" not in kinds(trail)


def test_a_look_that_nobody_asked_for_is_told_as_one(world: World) -> None:
    world.put()
    with world.rt.db.begin() as tx:
        tx.exec_driver_sql("INSERT INTO sources (name, wanted) VALUES ('recall', 1)")
    world.work()

    (sync,) = texts(trail_of(world), "sync")

    assert "without a notification" in sync


def test_a_call_that_failed_tells_the_answer_and_what_is_waited_for(world: World) -> None:
    world.put()
    world.notify()
    world.bots.fail(TryLater("attach: 503", after=timedelta(hours=1), is_definite=True))
    world.work()

    trail = trail_of(world)

    assert texts(trail, "answer") == ["Recall answered: try later: attach: 503."]
    (waiting,) = trail["waiting"]
    assert waiting.startswith("Its bot has to be brought up to date; the next try is at ")


def test_news_of_the_bot_are_part_of_the_trail(world: World) -> None:
    world.put()
    world.notify()
    world.work()
    bot_id = world.bots.live[0].bot_id
    said = {"event": "bot.joining_call", "data": {"data": {"code": "joining"}, "bot": {"id": bot_id}}}
    world.notify("bot.joining_call", ref=bot_id, body=json.dumps(said).encode())
    world.work()

    trail = trail_of(world)

    assert any("of bot.joining_call" in text for text in texts(trail, "delivery"))


def test_an_event_that_left_its_bot_keeps_the_history_of_it(world: World) -> None:
    world.put()
    world.notify()
    world.work()
    world.remove()
    world.notify()
    world.work()

    trail = trail_of(world)

    assert trail["slot"] is None
    assert texts(trail, "slot")[-1].startswith("The event stopped calling for bot ")
    assert texts(trail, "emitted")[-1].startswith("Told subscribers: bot.cancelled #2 ")


def test_a_word_on_the_event_is_told(world: World, punctual: Punctual) -> None:
    world.put()
    world.notify()
    world.work()

    punctual.json("record", "event-1", "no")
    settle(world.rt)

    trail = trail_of(world)
    assert trail["decision"]["override"] == {"record": False, "scope": "occurrence"}
    assert trail["decision"]["reason"] == "override_skip"


def test_titles_and_people_stay_out_of_the_trail(world: World) -> None:
    world.put(title="Layoffs")
    world.notify()
    world.work()

    told = json.dumps(trail_of(world))

    assert "Layoffs" not in told
    assert "guest@elsewhere.org" not in told


def test_an_unknown_event_has_no_trail(world: World) -> None:
    with world.rt.db.begin() as tx:
        assert explain(tx, world.rt.vault, uuid4()) is None


def test_an_event_is_found_by_either_id(world: World) -> None:
    world.put()
    world.notify()
    world.work()
    ours = world.event_id()

    with world.rt.db.begin() as tx:
        assert find_event(tx, "event-1") == find_event(tx, str(ours)) == ours
        assert find_event(tx, "nobody") is None


def test_the_command_prints_what_the_api_tells(world: World, punctual: Punctual) -> None:
    world.put()
    world.notify()
    world.work()

    assert punctual.json("why", "event-1") == trail_of(world)


def test_the_command_tells_the_trail_in_plain_words(world: World, punctual: Punctual) -> None:
    world.put()
    world.notify()
    world.work()

    result = punctual.run("why", str(world.event_id()))

    assert result.exit_code == 0
    assert "Recorded: The rules select all events." in result.stdout
    for step in trail_of(world)["steps"]:
        assert step["text"] in result.stdout


def test_why_of_an_unknown_event_is_one_clear_line(punctual: Punctual, world: World) -> None:
    result = punctual.run("why", "nobody")

    assert result.exit_code == 1
    assert result.stderr == "punctual: there is no event nobody\n"
