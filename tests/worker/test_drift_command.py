"""`punctual drift` as it is typed."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from models.tables import due
from models.tables.calendars import Calendar
from tests.builders import a_calendar, an_event
from tests.worker.commands_kit import Punctual, World, punctual, world
from worker.errors import TryLater
from worker.syncing import sync_calendar

__all__ = ["punctual", "world"]


@pytest.fixture
def drifted(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Anna has a meeting with a bot, and another that we were not told of; the verb sees her provider."""
    world.put()
    world.notify()
    world.work()
    monkeypatch.setattr("worker.bootstrap._recall", lambda *_: (world.source, world.bots))
    monkeypatch.setattr("worker.drifting.looking.SECOND_LOOK", timedelta(0))
    monkeypatch.setattr("worker.drifting.mending.LOOK_EVERY", timedelta(milliseconds=20))
    lose(world)
    return world


def lose(world: World) -> None:
    event = an_event("event-2", title="The Takeover", start=world.start)
    world.source.put("cal-anna", event, updated_at=world.rt.now() - timedelta(hours=1))


@contextmanager
def somebody_at(work: Callable[[], object]) -> Iterator[None]:
    """Have somebody do this again and again meanwhile."""
    stop = threading.Event()

    def go_on() -> None:
        while not stop.wait(0.02):
            work()

    thread = threading.Thread(target=go_on)
    thread.start()
    yield
    stop.set()
    thread.join()


def test_what_has_drifted_is_shown_without_what_people_wrote(
    drifted: World, punctual: Punctual
) -> None:
    result = punctual.run("drift")

    assert result.exit_code == 1
    assert "event_missing" in result.stdout
    assert "event-2" in result.stdout
    assert "2 events of 1 calendars and 1 bots compared: 1 have drifted." in result.stdout
    assert "Takeover" not in result.stdout


def test_programs_get_all_of_it(drifted: World, punctual: Punctual) -> None:
    result = punctual.run("drift", "--json")

    report = json.loads(result.stdout)
    assert result.exit_code == 1
    assert report["clean"] is False
    assert report["compared"] == {"calendars": 1, "events": 2, "bots": 1}
    (one,) = report["differences"]
    assert (one["kind"], one["calendar_id"]) == ("event_missing", str(drifted.calendar_id))


def test_where_nothing_has_drifted_the_exit_code_is_zero(drifted: World, punctual: Punctual) -> None:
    drifted.source.vanish("event-2")

    assert punctual.json("drift")["clean"] is True
    assert "nothing has drifted" in punctual.run("drift").stdout


def test_a_long_list_is_cut_for_people_alone(drifted: World, punctual: Punctual) -> None:
    for number in range(30):
        event = an_event(f"lost-{number}", start=drifted.start)
        drifted.source.put("cal-anna", event, updated_at=drifted.rt.now() - timedelta(hours=1))

    assert "and 11 more" in punctual.run("drift").stdout
    assert len(json.loads(punctual.run("drift", "--json").stdout)["differences"]) == 31


def test_one_calendar_is_called_by_any_of_its_names(drifted: World, punctual: Punctual) -> None:
    a_calendar(drifted.rt.db, "cal-ben")

    assert punctual.run("drift", "--calendar", "anna@example.com").exit_code == 1
    assert punctual.run("drift", "--calendar", "cal-ben").exit_code == 0


def test_a_calendar_that_is_not_connected_is_one_clear_line(drifted: World, punctual: Punctual) -> None:
    a_calendar(drifted.rt.db, "cal-ben", status="needs_reauth")

    result = punctual.run("drift", "--calendar", "cal-ben")

    assert result.exit_code == 1
    assert "is needs_reauth: there is nothing to compare with" in result.stderr


def test_a_provider_that_does_not_answer_is_told_and_fails(drifted: World, punctual: Punctual) -> None:
    drifted.source.vanish("event-2")
    drifted.source.fail(TryLater("recall list_events: 503"))

    result = punctual.run("drift")

    assert result.exit_code == 1
    assert "could not be compared: recall list_events: 503" in result.stdout


def test_what_has_drifted_is_mended_by_workers_and_looked_at_again(
    drifted: World, punctual: Punctual
) -> None:
    with somebody_at(lambda: sync_calendar(drifted.rt, drifted.calendar_id)):
        result = punctual.run("drift", "--fix")

    found, _, left = result.stdout.partition("Afterwards:")
    assert result.exit_code == 0, result.stdout
    assert "1 have drifted" in found
    assert "Still pending" not in found
    assert "nothing has drifted" in left


def test_without_a_worker_it_says_what_is_still_pending(drifted: World, punctual: Punctual) -> None:
    result = punctual.run("drift", "--fix", "--wait", "0")

    assert result.exit_code == 1
    assert f"Still pending: calendar {drifted.calendar_id}: no worker has taken it yet" in result.stdout
    assert "nothing has drifted, 1 being seen to." in result.stdout
    with drifted.rt.db.begin() as tx:
        assert due.list_due(tx, Calendar, limit=1) == [drifted.calendar_id]


def test_programs_get_what_was_found_what_is_pending_and_what_is_left(
    drifted: World, punctual: Punctual
) -> None:
    told = json.loads(punctual.run("drift", "--fix", "--wait", "0", "--json").stdout)

    assert len(told["found"]["differences"]) == 1
    assert [one["id"] for one in told["pending"]] == [str(drifted.calendar_id)]
    assert (told["left"]["clean"], told["left"]["awaited"]) == (True, 1)


def test_where_there_is_nothing_to_mend_nobody_is_asked(drifted: World, punctual: Punctual) -> None:
    drifted.source.vanish("event-2")

    assert punctual.run("drift", "--fix").exit_code == 0
    with drifted.rt.db.begin() as tx:
        assert due.list_due(tx, Calendar, limit=1) == []
