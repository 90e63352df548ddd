"""The operator's verbs, each as it is typed."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, func, select, update

from models.sealing import read_keys
from models.tables.calendars import Calendar
from models.tables.due import table_of
from models.tables.events import CalendarEvent
from models.tables.inbox import Delivery
from models.tables.outbox import OutboxEvent
from tests.builders import NOON, a_calendar
from tests.publishers.sink import Reply, a_sink
from tests.worker.commands_kit import Punctual, World, punctual, world

__all__ = ["punctual", "world"]

HOOK = "http://127.0.0.1:8443/hook"
CALENDARS = table_of(Calendar)


@pytest.fixture
def meeting(world: World) -> World:
    """Anna has one meeting, and its bot is scheduled."""
    world.put()
    world.notify()
    world.work()
    return world


def column_of(db: Engine, column: Any) -> Any:
    with db.begin() as tx:
        return tx.execute(select(column)).scalar_one()


def newest_position(db: Engine) -> int:
    with db.begin() as tx:
        return tx.execute(select(func.max(OutboxEvent.position))).scalar_one() or 0


def test_calendars_are_listed(world: World, punctual: Punctual) -> None:
    (calendar,) = punctual.json("calendars", "list")

    assert (calendar["id"], calendar["status"]) == (str(world.calendar_id), "connected")


def test_a_table_shows_what_the_list_holds(world: World, punctual: Punctual) -> None:
    result = punctual.run("calendars", "list")

    assert str(world.calendar_id) in result.stdout
    assert "anna@example.com" in result.stdout


def test_an_empty_list_says_so(punctual: Punctual) -> None:
    assert punctual.run("calendars", "list").stdout == "No calendars yet.\n"
    assert punctual.json("calendars", "list") == []


def test_calendars_are_listed_by_status(db: Engine, world: World, punctual: Punctual) -> None:
    lost = a_calendar(db, "cal-ben", status="needs_reauth")

    (calendar,) = punctual.json("calendars", "list", "--status", "needs_reauth")

    assert calendar["id"] == str(lost)


@pytest.mark.parametrize("name", ["cal-anna", "Anna@Example.com"])
def test_a_calendar_is_called_by_any_of_its_names(world: World, punctual: Punctual, name: str) -> None:
    assert punctual.json("calendars", "show", name)["id"] == str(world.calendar_id)


def test_an_address_of_two_calendars_names_none(db: Engine, world: World, punctual: Punctual) -> None:
    a_calendar(db, "cal-anna-2", email="anna@example.com", platform="microsoft_outlook")

    result = punctual.run("calendars", "show", "anna@example.com")

    assert result.exit_code == 1
    assert result.stderr.startswith("punctual: several calendars have the email anna@example.com")


def test_an_unknown_calendar_is_one_clear_line(punctual: Punctual) -> None:
    result = punctual.run("calendars", "show", str(uuid4()))

    assert result.exit_code == 1
    assert result.stderr.startswith("punctual: there is no calendar ")


def test_a_calendar_is_adopted_by_its_id_at_recall(db: Engine, punctual: Punctual) -> None:
    calendar = punctual.json("calendars", "adopt", "cal-ben", "--owner", "ben")

    assert (calendar["external_id"], calendar["owner"]) == ("cal-ben", "ben")
    assert column_of(db, CALENDARS.c.wanted) == 1


def test_a_calendar_is_paused_and_resumed(world: World, punctual: Punctual) -> None:
    assert punctual.json("calendars", "pause", "cal-anna")["paused"] is True
    assert punctual.json("calendars", "resume", "cal-anna")["paused"] is False


def test_syncing_revives_a_parked_calendar(db: Engine, world: World, punctual: Punctual) -> None:
    with db.begin() as tx:
        tx.execute(update(CALENDARS).values(parked_at=NOON, needs_full=False))

    result = punctual.run("calendars", "sync", "cal-anna")

    assert result.exit_code == 0
    assert column_of(db, CALENDARS.c.parked_at) is None
    assert column_of(db, CALENDARS.c.needs_full) is True


def test_without_a_recall_key_a_calendar_is_not_half_disconnected(
    world: World, punctual: Punctual
) -> None:
    result = punctual.run("calendars", "disconnect", "cal-anna", "--yes")

    assert result.exit_code == 1
    assert "PUNCTUAL_RECALL_API_KEY" in result.stderr
    assert punctual.json("calendars", "show", "cal-anna")["status"] == "connected"


def test_disconnecting_asks_first(world: World, punctual: Punctual) -> None:
    result = punctual.run(
        "calendars", "disconnect", "cal-anna", stdin="n\n", recall_api_key="sandbox-key"
    )

    assert "Disconnect anna@example.com" in result.stdout
    assert punctual.json("calendars", "show", "cal-anna")["status"] == "connected"


def test_a_provider_that_cannot_be_reached_is_one_clear_line(world: World, punctual: Punctual) -> None:
    result = punctual.run(
        "calendars",
        "disconnect",
        "cal-anna",
        "--yes",
        recall_api_key="sandbox-key",
        recall_base_url="http://127.0.0.1:1",
    )

    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1


def test_events_are_listed_with_their_decisions(meeting: World, punctual: Punctual) -> None:
    (event,) = punctual.json("events", "list", "--calendar", "cal-anna", "--recorded")

    assert event["external_id"] == "event-1"
    assert event["record"]["reason"] == "recorded"
    assert punctual.json("events", "list", "--not-recorded") == []


def test_events_that_have_ended_are_listed_on_request(meeting: World, punctual: Punctual) -> None:
    with meeting.rt.db.begin() as tx:
        past = meeting.rt.now() - timedelta(days=1)
        tx.execute(update(table_of(CalendarEvent)).values(start_at=past, end_at=past))

    assert punctual.json("events", "list") == []
    assert len(punctual.json("events", "list", "--past")) == 1


def test_a_title_cannot_move_the_cursor(world: World, punctual: Punctual) -> None:
    world.put(title="\x1b[2J\x1b]0;owned\x07Weekly [bold]x[/bold]\r")
    world.notify()
    world.work()

    shown = punctual.run("events", "list").stdout

    assert "\x1b" not in shown
    assert "Weekly [bold]x[/bold]" in shown


def test_a_single_event_is_recorded_whatever_the_rules_say(meeting: World, punctual: Punctual) -> None:
    punctual.json("rules", "set", "-", stdin="{}")

    event = punctual.json("record", "event-1", "yes")

    assert event["record"] == {
        "override": True,
        "wanted": True,
        "reason": "override_record",
        "explanation": event["record"]["explanation"],
    }
    assert punctual.json("record", "event-1", "auto")["record"]["reason"] == "no_rule"


def test_a_single_event_has_no_series(meeting: World, punctual: Punctual) -> None:
    result = punctual.run("record", "event-1", "no", "--series")

    assert result.exit_code == 1
    assert "is not part of a series" in result.stderr


def test_a_whole_series_is_left_out(world: World, punctual: Punctual) -> None:
    world.put("one", series_id="weekly")
    world.put("two", series_id="weekly", start=world.start + timedelta(days=7))
    world.notify()
    world.work()

    punctual.json("record", "one", "no", "--series")

    reasons = [event["record"]["reason"] for event in punctual.json("events", "list")]
    assert reasons == ["override_skip", "override_skip"]


def test_domain_events_are_told_one_a_line(meeting: World, punctual: Punctual) -> None:
    result = punctual.run("events", "tail", "--no-follow", "--after", "0", "--json")

    told = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["type"] for event in told] == ["calendar_event.created", "bot.scheduled"]


def test_domain_events_are_told_by_type(meeting: World, punctual: Punctual) -> None:
    result = punctual.run("events", "tail", "--no-follow", "--types", "bot.*")

    (line,) = result.stdout.splitlines()
    assert "bot.scheduled" in line
    assert int(line.split()[0]) == newest_position(meeting.rt.db)


def test_a_type_that_does_not_exist_is_refused(punctual: Punctual) -> None:
    result = punctual.run("events", "tail", "--no-follow", "--types", "bots.*")

    assert result.exit_code == 1
    assert "no domain event is of type bots.*" in result.stderr


def test_deliveries_are_listed_by_state(world: World, punctual: Punctual) -> None:
    message_id = world.notify()

    (delivery,) = punctual.json("deliveries", "list", "--state", "stored")

    assert delivery["message_id"] == message_id
    assert punctual.json("deliveries", "list", "--state", "parked") == []


def test_a_delivery_is_replayed_by_the_senders_id(meeting: World, punctual: Punctual) -> None:
    (delivery,) = punctual.json("deliveries", "replay", "msg_1")

    assert delivery["state"] == "stored"
    assert column_of(meeting.rt.db, Delivery.run_id) is None


def test_all_quarantined_deliveries_are_replayed_at_once(world: World, punctual: Punctual) -> None:
    world.notify()
    world.notify()
    with world.rt.db.begin() as tx:
        tx.execute(update(Delivery).values(state="quarantined", reason="odd"))

    assert len(punctual.json("deliveries", "replay", "--state", "quarantined")) == 2


def test_replaying_nothing_in_particular_is_refused(punctual: Punctual) -> None:
    assert punctual.run("deliveries", "replay").exit_code == 1


def test_an_unknown_delivery_is_one_clear_line(punctual: Punctual) -> None:
    result = punctual.run("deliveries", "replay", "msg_404")

    assert (result.exit_code, result.stderr) == (1, "punctual: there is no delivery msg_404\n")


def test_rules_are_set_from_standard_input_and_shown(world: World, punctual: Punctual) -> None:
    punctual.json("rules", "set", "-", stdin='{"select": ["external"]}')

    assert punctual.json("rules", "show")["select"] == ["external"]


def test_rules_are_set_from_a_file(world: World, punctual: Punctual, tmp_path: Any) -> None:
    (tmp_path / "rules.json").write_text('{"select": ["own"]}')

    punctual.json("rules", "set", "rules.json")

    assert punctual.json("rules", "show")["select"] == ["own"]


def test_a_calendar_has_rules_of_its_own_until_they_are_cleared(
    world: World, punctual: Punctual
) -> None:
    punctual.json("rules", "set", "-", "--calendar", "cal-anna", stdin='{"select": ["own"]}')
    own = punctual.json("rules", "show", "--calendar", "cal-anna")

    punctual.run("rules", "clear", "cal-anna")

    assert own["select"] == ["own"]
    assert punctual.json("rules", "show", "--calendar", "cal-anna")["select"] == ["all"]


def test_wrong_rules_are_refused_with_every_fault(world: World, punctual: Punctual) -> None:
    result = punctual.run("rules", "set", "-", stdin='{"select": ["everything"], "colour": 1}')

    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 2
    assert punctual.json("rules", "show")["select"] == ["all"]


def test_rules_that_are_no_json_are_refused(world: World, punctual: Punctual) -> None:
    result = punctual.run("rules", "set", "-", stdin="select: all")

    assert result.exit_code == 1
    assert "holds no JSON" in result.stderr


def test_a_simulation_tells_what_would_change_and_changes_nothing(
    meeting: World, punctual: Punctual
) -> None:
    result = punctual.json("rules", "simulate", "-", stdin="{}")

    assert [bot["reason"] for bot in result["remove"]] == ["no_rule"]
    assert punctual.json("events", "list", "--recorded")
    assert "Would remove 1" in punctual.run("rules", "simulate", "-", stdin="{}").stdout


def test_an_endpoint_is_added_tested_rotated_and_removed(world: World, punctual: Punctual) -> None:
    with a_sink() as sink:
        made = punctual.json("endpoints", "add", sink.url, allow_private_endpoints="true")
        listed = punctual.json("endpoints", "list")
        tried = punctual.json("endpoints", "test", made["id"], allow_private_endpoints="true")
    rotated = punctual.json("endpoints", "rotate", made["id"])
    punctual.run("endpoints", "remove", made["id"], "--yes")

    assert made["secret"].startswith("whsec_")
    assert "secret" not in listed[0]
    assert tried["succeeded"] is True
    assert rotated["secret"] != made["secret"]
    assert punctual.json("endpoints", "list") == []


def test_a_test_that_is_not_accepted_fails(world: World, punctual: Punctual) -> None:
    private = {"allow_private_endpoints": "true"}
    with a_sink() as sink:
        sink.reply = lambda _: Reply(status=500)
        made = punctual.json("endpoints", "add", sink.url, **private)
        result = punctual.run("endpoints", "test", made["id"], **private)

    assert result.exit_code == 1
    assert "the endpoint did not accept the test: 500" in result.stderr


def test_a_private_endpoint_is_refused_in_one_line(world: World, punctual: Punctual) -> None:
    result = punctual.run("endpoints", "add", HOOK)

    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1


def test_what_was_told_is_replayed_to_an_endpoint(meeting: World, punctual: Punctual) -> None:
    made = punctual.json("endpoints", "add", HOOK, allow_private_endpoints="true")

    assert punctual.json("endpoints", "replay", made["id"], "--since", "1h") == {"replayed": 2}
    assert punctual.run("endpoints", "replay", made["id"], "--since", "soon").exit_code == 1


def test_a_disabled_endpoint_is_enabled(world: World, punctual: Punctual) -> None:
    made = punctual.json("endpoints", "add", HOOK, allow_private_endpoints="true")
    with world.rt.db.begin() as tx:
        tx.exec_driver_sql("UPDATE endpoints SET state = 'disabled', state_reason = 'gone'")

    assert punctual.json("endpoints", "enable", made["id"])["state"] == "active"


def test_a_fresh_encryption_key_can_be_used_as_it_is(punctual: Punctual) -> None:
    (key,) = read_keys(punctual.run("keys", "new").stdout)

    assert len(key) == 32


def test_an_api_key_is_shown_once_and_can_be_revoked(world: World, punctual: Punctual) -> None:
    made = punctual.json("keys", "api", "new", "ci", "--scope", "write", "--days", "7")
    (listed,) = punctual.json("keys", "api", "list")
    punctual.run("keys", "api", "revoke", made["id"])

    assert made["key"].startswith(made["prefix"])
    assert "key" not in listed
    assert listed["scopes"] == ["write"]
    assert punctual.json("keys", "api", "list") == []
    assert punctual.run("keys", "api", "revoke", made["id"]).exit_code == 1


def test_settings_are_shown_without_their_secrets(punctual: Punctual) -> None:
    secret = base64.b64encode(b"w" * 24).decode()
    shown = punctual.run(
        "settings",
        "--json",
        recall_api_key="recall-key-of-somebody",
        recall_webhook_secrets=f"whsec_{secret}",
        database_url="postgresql://me:hush@db/punctual",
    ).stdout

    settings = json.loads(shown)
    assert settings["PUNCTUAL_RECALL_API_KEY"] == "set"
    assert settings["PUNCTUAL_DATABASE_URL"] == "postgresql://me:***@db/punctual"
    assert not any(word in shown for word in ("hush", "recall-key-of", secret, "an-admin-key"))


def test_a_database_that_is_down_is_one_clear_line(punctual: Punctual) -> None:
    result = punctual.run("calendars", "list", database_url="postgresql://nobody@127.0.0.1:1/nothing")

    assert result.exit_code == 1
    assert result.stderr.startswith("punctual: the database cannot be reached: ")
    assert len(result.stderr.splitlines()) == 1


def test_before_the_first_run_a_verb_says_what_to_do(punctual: Punctual, tmp_path: Any) -> None:
    result = punctual.run("calendars", "list", database_url=None, data_dir=str(tmp_path / "nothing"))

    assert result.exit_code == 2
    assert "run `punctual up` first" in result.stderr
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize(
    "verb",
    [
        ["calendars", "list"],
        ["events", "list"],
        ["deliveries", "list"],
        ["endpoints", "list"],
        ["keys", "api", "list"],
    ],
)
def test_every_listing_takes_json(world: World, punctual: Punctual, verb: list[str]) -> None:
    assert isinstance(punctual.json(*verb), list)
