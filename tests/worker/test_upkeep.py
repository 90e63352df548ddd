"""What happens although nobody asked: one worker at a time rings, looks, settles, parks and tidies."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, insert, text, update

from models.sealing import Vault
from models.tables import due
from models.tables.base import new_id
from models.tables.due import MOST_CRASHES, MOST_TRIES, table_of
from models.tables.installation import Lease
from models.tables.outbox import Endpoint
from models.tables.slots import Slot
from tests.builders import NOON, a_calendar, a_found, an_event, an_installation
from tests.worker.world import SOURCES, World, real_now
from worker import jobs
from worker.duties import perform
from worker.reconciling import reconcile
from worker.settling import settle
from worker.turns import Outcome
from worker.upkeep import PARK_EVERY, RING_AGAIN, Upkeep

DUTIES = (jobs.FIND_CALENDARS, jobs.SWEEP_BOTS)
CALM: dict[str, Any] = {"last_full_at": NOON + timedelta(days=3650)}


@pytest.fixture
def world(db: Engine, vault: Vault) -> World:
    return World(db, vault)


@pytest.fixture
def upkeep(world: World) -> Upkeep:
    """The first upkeep of the installation, its periodic duties done just now."""
    keeper = Upkeep(world.rt, name="first")
    listed(world, timedelta(0))
    keeper.tick()
    for duty in DUTIES:
        perform(world.rt, duty)
    world.bell.take()
    return keeper


def listed(world: World, ago: timedelta) -> None:
    """Have the workspace been listed some time ago."""
    with world.db.begin() as tx:
        tx.execute(text("DELETE FROM sources"))
        tx.execute(insert(SOURCES).values(name="recall", listed_at=real_now() - ago))


def stopped() -> threading.Event:
    """Return a word to stop that has been given already."""
    stop = threading.Event()
    stop.set()
    return stop


def wait(world: World, duration: timedelta = timedelta(seconds=6)) -> None:
    world.at += duration


def rings(world: World, keeper: Upkeep) -> list[tuple[str, str | None]]:
    world.bell.take()
    keeper.tick()
    return world.bell.take()


def is_asked(world: World) -> bool:
    row = world.workspace()
    return bool(row["wanted"] > row["done"])


def an_endpoint(world: World) -> UUID:
    endpoint_id = new_id()
    with world.db.begin() as tx:
        tx.execute(insert(table_of(Endpoint)).values(id=endpoint_id, url=b"", wanted=1))
    return endpoint_id


def test_everything_that_is_due_is_rung_for(world: World, upkeep: Upkeep) -> None:
    plain = a_calendar(world.db, **CALM)
    own = a_calendar(world.db, "cal-own", needs_check=True, **CALM)
    endpoint = an_endpoint(world)
    world.store(a_found())
    world.ask(plain)
    world.ask(own)
    with world.db.begin() as tx:
        tx.execute(text("UPDATE calendar_events SET unsettled = true"))
    world.notify("cal-unknown")

    heard = rings(world, upkeep)

    assert set(heard) == {
        (jobs.SYNC_WORKSPACE, None),
        (jobs.SYNC_CALENDAR, str(own)),
        (jobs.RECONCILE, str(world.slot_id())),
        (jobs.POST, str(endpoint)),
        (jobs.SETTLE, None),
        (jobs.TAKE_IN, None),
        (jobs.RELAY, None),
    }


def test_when_nothing_is_due_nothing_is_rung_for(world: World, upkeep: Upkeep) -> None:
    a_calendar(world.db, **CALM)

    assert rings(world, upkeep) == []


@pytest.mark.parametrize(
    "columns",
    [
        {"parked_at": NOON},
        {"due_at": real_now() + timedelta(hours=1)},
        {"lease_until": real_now() + timedelta(hours=1)},
    ],
    ids=["parked", "put off", "being worked on"],
)
def test_what_is_not_due_now_is_not_rung_for(
    world: World, upkeep: Upkeep, columns: dict[str, Any]
) -> None:
    own = a_calendar(world.db, needs_check=True, **CALM)
    world.ask(own)
    world.change_calendar(own, **columns)

    assert rings(world, upkeep) == []


def test_bots_of_the_soonest_meetings_are_rung_for_first(world: World, upkeep: Upkeep) -> None:
    a_calendar(world.db, **CALM)
    hours = [5, 1, 9, 3]
    world.store(*[a_found(an_event(f"e{n}", start=NOON + timedelta(hours=n))) for n in hours])
    with world.db.begin() as tx:
        rows = tx.execute(text("SELECT id FROM slots ORDER BY start_at")).scalars().all()

    heard = [ref for job, ref in rings(world, upkeep) if job == jobs.RECONCILE]

    assert heard == [str(slot_id) for slot_id in rows]


def test_the_same_ring_is_not_repeated_at_once_but_is_later(world: World, upkeep: Upkeep) -> None:
    own = a_calendar(world.db, needs_check=True, **CALM)
    world.ask(own)

    counts = [len(rings(world, upkeep)) for _ in range(2)]
    wait(world, RING_AGAIN)

    assert [*counts, len(rings(world, upkeep))] == [1, 0, 1]


def test_one_upkeep_at_a_time_has_the_duty(world: World, upkeep: Upkeep) -> None:
    a_calendar(world.db, needs_check=True, **CALM)
    second = Upkeep(world.rt, name="second")

    assert [second.tick(), upkeep.tick(), second.tick()] == [False, True, False]
    assert second.done_at == {}


def test_a_second_upkeep_takes_over_when_the_first_died(world: World, upkeep: Upkeep) -> None:
    second = Upkeep(world.rt, name="second")
    with world.db.begin() as tx:
        tx.execute(update(Lease).values(lease_until=real_now() - timedelta(seconds=1)))

    assert second.tick() is True
    assert upkeep.tick() is False


def test_a_second_upkeep_takes_over_at_once_when_the_first_stops(world: World, upkeep: Upkeep) -> None:
    stop = threading.Event()
    stop.set()
    upkeep.keep_up(stop)

    assert Upkeep(world.rt, name="second").tick() is True
    assert world.count("heartbeats", "worker = 'first'") == 0


def test_whoever_stops_does_not_take_the_duty_from_the_holder(world: World, upkeep: Upkeep) -> None:
    Upkeep(world.rt, name="second").keep_up(stopped())

    assert Upkeep(world.rt, name="third").tick() is False


@pytest.mark.parametrize(
    "lost",
    [
        "UPDATE heartbeats SET seen_at = seen_at - interval '1 s' WHERE worker = 'first'",
        "DELETE FROM heartbeats",
    ],
)
def test_bots_are_compared_at_once_when_the_database_lost_its_last_seconds(
    world: World, upkeep: Upkeep, lost: str
) -> None:
    in_peace = rings(world, upkeep)
    with world.db.begin() as tx:
        tx.execute(text(lost))

    gone_back = rings(world, upkeep)
    for duty in DUTIES:
        perform(world.rt, duty)
    afterwards = rings(world, upkeep)

    sweep = (jobs.SWEEP_BOTS, None)
    assert [sweep in heard for heard in (in_peace, gone_back, afterwards)] == [False, True, False]


@pytest.mark.parametrize(("minutes", "is_asked_for"), [(0, False), (1, True)])
def test_a_worker_that_starts_has_bots_compared_unless_that_was_just_done(
    world: World, upkeep: Upkeep, minutes: int, is_asked_for: bool
) -> None:
    upkeep.keep_up(stopped())
    with world.db.begin() as tx:
        ago = {"ago": timedelta(minutes=minutes)}
        tx.execute(text("UPDATE duties SET performed_at = performed_at - :ago"), ago)

    heard = rings(world, Upkeep(world.rt, name="second"))

    assert ((jobs.SWEEP_BOTS, None) in heard) is is_asked_for


def test_a_comparison_that_kills_its_worker_is_set_aside_however_often_one_starts(
    world: World, upkeep: Upkeep
) -> None:
    upkeep.keep_up(stopped())
    with world.db.begin() as tx:
        tx.execute(
            text(
                "UPDATE duties SET performed_at = NULL, wanted = wanted + 1, due_at = now(), crashes = 5"
                " WHERE name = :name"
            ),
            {"name": jobs.SWEEP_BOTS},
        )

    for start in range(3):
        Upkeep(world.rt, name=f"start-{start}").tick()

    assert perform(world.rt, jobs.SWEEP_BOTS) is Outcome.NOTHING_DUE


def test_every_upkeep_shows_that_it_lives(world: World, upkeep: Upkeep) -> None:
    Upkeep(world.rt, name="second").tick()

    assert world.count("heartbeats", "seen_at > now() - interval '5 s'") == 2


def test_a_meeting_that_ended_is_settled_and_keeps_its_place(world: World, upkeep: Upkeep) -> None:
    a_calendar(world.db, **CALM)
    world.store(a_found())
    world.reconcile_all()
    before = world.told("")
    world.at = NOON + timedelta(hours=1)

    assert (jobs.SETTLE, None) not in rings(world, upkeep)
    assert (jobs.SETTLE, None) in rings(world, upkeep)
    settle(world.rt)

    event = world.events()["event-1"]
    assert (event["is_wanted"], event["reason"]) == (False, "ended")
    assert world.told("") == before
    assert len(world.live()) == 1
    wait(world)
    upkeep.tick()
    assert not world.events()["event-1"]["unsettled"]


def a_daily_series(world: World, **first: Any) -> None:
    an_installation(world.db, {"select": ["all"], "recurring": "first"})
    a_calendar(world.db, **CALM)
    for n in range(3):
        fields = first if n == 0 else {}
        start = NOON + timedelta(days=n)
        world.store(a_found(an_event(f"day-{n}", series_id="daily", start=start, **fields)))


def wanted(world: World) -> list[str]:
    return sorted(ref for ref, row in world.events().items() if row["is_wanted"])


def test_of_a_series_recorded_once_the_next_is_recorded_when_the_first_ended(
    world: World, upkeep: Upkeep
) -> None:
    a_daily_series(world)
    assert wanted(world) == ["day-0"]

    world.at = NOON + timedelta(hours=2)
    upkeep.tick()
    settle(world.rt)

    assert wanted(world) == ["day-1"]


def test_of_a_series_recorded_once_the_next_is_recorded_although_the_first_had_no_bot(
    world: World, upkeep: Upkeep
) -> None:
    a_daily_series(world, link=None)
    assert wanted(world) == []

    world.at = NOON + timedelta(hours=2)
    upkeep.tick()
    settle(world.rt)

    assert wanted(world) == ["day-1"]
    wait(world)
    upkeep.tick()
    assert not any(row["unsettled"] for row in world.events().values())


@pytest.mark.parametrize(
    ("meeting_in", "listed_ago", "looks"),
    [
        (timedelta(hours=1), timedelta(minutes=6), True),
        (timedelta(hours=1), timedelta(minutes=4), False),
        (timedelta(hours=3), timedelta(minutes=6), False),
        (timedelta(hours=3), timedelta(minutes=61), True),
        (None, timedelta(minutes=61), True),
        (None, timedelta(minutes=59), False),
    ],
)
def test_the_workspace_is_listed_unasked_more_often_when_a_meeting_is_near(
    world: World,
    upkeep: Upkeep,
    meeting_in: timedelta | None,
    listed_ago: timedelta,
    looks: bool,
) -> None:
    a_calendar(world.db, **CALM)
    if meeting_in is not None:
        world.store(a_found(an_event(start=world.at + meeting_in)))
    listed(world, listed_ago)
    wait(world)

    upkeep.tick()

    assert is_asked(world) is looks


def test_a_look_without_being_asked_finds_what_no_webhook_told(world: World, upkeep: Upkeep) -> None:
    a_calendar(world.db, **CALM)
    listed(world, timedelta(hours=2))
    world.put()
    wait(world)

    upkeep.tick()
    assert (jobs.SYNC_WORKSPACE, None) in rings(world, upkeep)
    world.list_changes()

    assert world.titles() == {"event-1": "Weekly"}
    assert not is_asked(world)


def test_a_workspace_never_listed_is_listed_although_its_row_is_missing(world: World) -> None:
    a_calendar(world.db, **CALM)
    world.list_changes()

    Upkeep(world.rt).tick()

    assert is_asked(world)


def test_a_listing_that_was_set_aside_in_an_outage_is_tried_again(world: World, upkeep: Upkeep) -> None:
    long_ago = real_now() - timedelta(hours=2)
    with world.db.begin() as tx:
        tx.execute(update(SOURCES).values(wanted=3, tries=20, parked_at=long_ago))
    wait(world)

    upkeep.tick()

    assert (jobs.SYNC_WORKSPACE, None) in rings(world, upkeep)
    assert world.workspace()["parked_at"] is None


def test_a_listing_that_was_set_aside_just_now_stays_so(world: World, upkeep: Upkeep) -> None:
    with world.db.begin() as tx:
        tx.execute(update(SOURCES).values(wanted=3, tries=20, parked_at=real_now()))
    wait(world)

    upkeep.tick()

    assert world.workspace()["parked_at"] is not None


def test_calendars_are_listed_fully_every_day_one_at_a_time_the_stalest_first(
    world: World, upkeep: Upkeep
) -> None:
    stale = [
        a_calendar(world.db, f"cal-{n}", last_full_at=real_now() - timedelta(days=n)) for n in (2, 4, 3)
    ]
    never = a_calendar(world.db, "cal-never")
    fresh = a_calendar(world.db, "cal-fresh", last_full_at=real_now() - timedelta(hours=23))
    order: list[set[UUID]] = []
    for _ in range(6):
        wait(world)
        upkeep.tick()
        due_now = [one for one in (*stale, never, fresh) if world.calendar(one)["needs_full"]]
        order.append({*due_now} - {one for some in order for one in some})

    assert order == [{never}, {stale[1]}, {stale[2]}, {stale[0]}, set(), set()]


@pytest.mark.parametrize(
    "columns", [{"deleted_at": NOON}, {"status": "needs_reauth"}, {"status": "disconnected"}]
)
def test_a_calendar_that_cannot_be_listed_is_not_listed_daily(
    world: World, upkeep: Upkeep, columns: dict[str, Any]
) -> None:
    calendar_id = a_calendar(world.db, **columns)
    wait(world)

    upkeep.tick()

    assert not world.is_due(calendar_id)


def let_duties_age(world: World, age: timedelta) -> None:
    with world.db.begin() as tx:
        tx.execute(text("UPDATE duties SET performed_at = performed_at - :age"), {"age": age})


@pytest.mark.parametrize(
    ("age", "rung_for"),
    [
        (timedelta(minutes=4), set()),
        (timedelta(minutes=6), {jobs.SWEEP_BOTS}),
        (timedelta(minutes=61), {jobs.SWEEP_BOTS, jobs.FIND_CALENDARS}),
    ],
)
def test_bots_are_swept_every_five_minutes_and_calendars_looked_for_every_hour(
    world: World, upkeep: Upkeep, age: timedelta, rung_for: set[str]
) -> None:
    let_duties_age(world, age)
    wait(world)
    upkeep.tick()

    assert {job for job, _ in rings(world, upkeep)} == rung_for


def test_a_tick_asks_no_provider_for_anything(world: World, upkeep: Upkeep) -> None:
    a_calendar(world.db, **CALM)
    world.store(a_found())
    world.source.calls.clear()
    world.bots.calls.clear()
    for age in (timedelta(minutes=6), timedelta(hours=2), timedelta(days=2)):
        let_duties_age(world, age)
        wait(world, age)

        upkeep.tick()

    assert world.source.calls == []
    assert world.bots.calls == []


def test_a_row_whose_runs_all_died_is_parked_and_holds_up_nobody(world: World, upkeep: Upkeep) -> None:
    a_calendar(world.db, **CALM)
    world.store(a_found(an_event("bad")), a_found(an_event("good", start=NOON + timedelta(hours=2))))
    with world.db.begin() as tx:
        bad = tx.execute(text("SELECT id FROM slots ORDER BY start_at LIMIT 1")).scalar_one()
        tx.execute(
            text("UPDATE slots SET crashes = :most WHERE id = :id"), {"most": MOST_CRASHES, "id": bad}
        )
    wait(world, PARK_EVERY)

    upkeep.tick()
    while reconcile(world.rt) != "nothing_due":
        world.hurry()

    assert world.count("slots", "parked_at IS NOT NULL AND last_error LIKE '5 runs%'") == 1
    assert [at for _, at in world.live()] == [NOON + timedelta(hours=2)]
    assert (jobs.RECONCILE, str(bad)) not in rings(world, upkeep)


def test_a_row_that_has_crashed_and_is_being_run_is_not_parked(world: World, upkeep: Upkeep) -> None:
    own = a_calendar(world.db, needs_check=True, **CALM)
    world.ask(own, crashes=MOST_CRASHES, lease_until=real_now() + timedelta(minutes=1))
    wait(world)

    upkeep.tick()

    assert world.calendar(own)["parked_at"] is None


def fill(world: World, at: datetime, name: str) -> None:
    """Have one of everything that is kept for a while, all of one age."""
    statements = [
        "INSERT INTO sync_runs (id, source, scope, started_at) VALUES (:run, 'recall', :name, :at)",
        "INSERT INTO trail (at, step, facts, run_id) VALUES (:at, :name, '{}', :run)",
        (
            "INSERT INTO quarantined_events (source, external_id, reason, last_seen_at)"
            " VALUES ('recall', :name, 'odd', :at)"
        ),
        (
            "INSERT INTO outbox (id, subject, sequence, type, time, data, position, created_at)"
            " VALUES (:run, :name, 1, 'bot.scheduled', :at, '{}', nextval('outbox_positions'), :at)"
        ),
        *(
            "INSERT INTO deliveries (id, source, message_id, type, body, state, received_at)"
            f" VALUES (gen_random_uuid(), 'recall', :name || '{state}', :name, '', '{state}', :at)"
            for state in ("done", "ignored", "quarantined", "stored", "parked")
        ),
    ]
    values = {"run": new_id(), "name": name, "at": at}
    with world.db.begin() as tx:
        for statement in statements:
            used = {key: value for key, value in values.items() if f":{key}" in statement}
            tx.execute(text(statement), used)


def test_tidying_removes_what_is_old_and_nothing_else(world: World, upkeep: Upkeep) -> None:
    fill(world, world.at - timedelta(days=32), "old")
    fill(world, world.at - timedelta(days=29), "month")
    fill(world, world.at - timedelta(days=13), "fortnight")
    wait(world, timedelta(hours=1))

    upkeep.tick()

    kept = {
        (table, name)
        for table, column in [
            ("sync_runs", "scope"),
            ("trail", "step"),
            ("quarantined_events", "external_id"),
            ("outbox", "subject"),
        ]
        for name in ("old", "month", "fortnight")
        if world.count(table, f"{column} = '{name}'")
    }
    tables = ("sync_runs", "trail", "quarantined_events", "outbox")
    assert kept == {(table, name) for table in tables for name in ("month", "fortnight")}
    deliveries = [
        world.count("deliveries", f"type = '{name}'") for name in ("old", "month", "fortnight")
    ]
    assert deliveries == [2, 2, 5]
    assert world.count("deliveries", "type = 'old' AND state IN ('stored', 'parked')") == 2


def test_tidying_removes_meetings_and_places_sixty_days_after_their_end(
    world: World, upkeep: Upkeep
) -> None:
    a_calendar(world.db, **CALM)
    for n in range(3):
        world.store(a_found(an_event(f"e{n}", start=NOON + timedelta(days=n))))
    world.reconcile_all()
    world.store(a_found(an_event("e2", start=NOON + timedelta(days=2), deleted=True), updated_at=NOON))
    world.reconcile_all()
    world.at = NOON + timedelta(days=60, hours=2)
    upkeep.tick()
    settle(world.rt)
    wait(world, timedelta(hours=1))

    upkeep.tick()

    assert sorted(world.events()) == ["e1", "e2"]
    wait(world, timedelta(hours=1))
    upkeep.tick()
    assert world.count("slots") == 2


def test_tidying_removes_dead_workers_and_bots_long_gone(world: World, upkeep: Upkeep) -> None:
    a_calendar(world.db, **CALM)
    world.store(a_found())
    world.reconcile_all()
    with world.db.begin() as tx:
        tx.execute(
            text(
                "INSERT INTO heartbeats (worker, seen_at) VALUES ('dead', now() - interval '25 h'),"
                " ('quiet', now() - interval '23 h')"
            )
        )
        tx.execute(
            text(
                "INSERT INTO provider_bots (id, origin, state, first_seen_at) VALUES"
                " ('old', 'created', 'done', :at), ('recent', 'created', 'done', :now)"
            ),
            {"at": world.at - timedelta(days=121), "now": world.at},
        )
        tx.execute(
            text("UPDATE provider_bots SET first_seen_at = :at WHERE id = 'bot-1'"),
            {"at": world.at - timedelta(days=121)},
        )
    wait(world, timedelta(hours=1))

    upkeep.tick()

    assert world.count("heartbeats", "worker IN ('quiet', 'first')") == 2
    assert world.count("heartbeats") == 2
    assert world.count("provider_bots", "id IN ('recent', 'bot-1')") == 2
    assert world.count("provider_bots") == 2


def test_a_duty_that_fails_does_not_end_the_upkeep(world: World, upkeep: Upkeep) -> None:
    stop = threading.Event()
    ticks: list[int] = []

    class Failing(Upkeep):
        def tick(self) -> bool:
            ticks.append(1)
            if len(ticks) == 2:
                stop.set()
            msg = "a bug"
            raise ValueError(msg)

    Failing(world.rt, name="second").keep_up(stop)

    assert len(ticks) == 2


def test_without_a_recall_key_the_rest_is_still_kept_up(world: World) -> None:
    object.__setattr__(world.rt, "recall", None)
    object.__setattr__(world.rt, "bots", None)
    a_calendar(world.db)

    assert Upkeep(world.rt).tick() is True

    assert world.count("calendars", "needs_full") == 0


@pytest.mark.parametrize(("tries", "is_revived"), [(MOST_TRIES, True), (0, False)])
def test_what_an_outage_set_aside_is_tried_again_after_an_hour_and_nothing_else(
    world: World, upkeep: Upkeep, tries: int, is_revived: bool
) -> None:
    a_calendar(world.db, **CALM)
    world.store(a_found())
    world.change_slot(parked_at=real_now() - timedelta(minutes=61), tries=tries)
    wait(world, timedelta(minutes=2))

    upkeep.tick()

    assert (world.slot()["parked_at"] is None) is is_revived


@pytest.mark.parametrize(("minutes", "is_tried"), [(9, False), (11, True)])
def test_what_its_workers_died_of_runs_once_more_after_ten_minutes(
    world: World, upkeep: Upkeep, minutes: int, is_tried: bool
) -> None:
    a_calendar(world.db, **CALM)
    world.store(a_found())
    world.change_slot(parked_at=real_now() - timedelta(minutes=minutes), crashes=MOST_CRASHES)
    wait(world, timedelta(minutes=2))

    upkeep.tick()

    assert (world.slot()["parked_at"] is None) is is_tried


def test_what_dies_again_is_set_aside_again_at_once(world: World, upkeep: Upkeep) -> None:
    a_calendar(world.db, **CALM)
    world.store(a_found())
    world.change_slot(parked_at=real_now() - timedelta(minutes=11), crashes=MOST_CRASHES)
    wait(world, timedelta(minutes=2))
    upkeep.tick()
    with world.db.begin() as tx:
        assert due.claim(tx, Slot) is not None
    world.change_slot(lease_until=real_now() - timedelta(seconds=1))
    wait(world, timedelta(minutes=2))

    upkeep.tick()

    assert world.slot()["parked_at"] is not None


@pytest.mark.parametrize("is_near", [True, False])
def test_what_everything_or_a_meeting_waits_for_runs_again_after_a_minute(
    world: World, upkeep: Upkeep, is_near: bool
) -> None:
    a_calendar(world.db, **CALM)
    world.store(a_found())
    lately = real_now() - timedelta(seconds=70)
    world.change_slot(parked_at=lately, crashes=MOST_CRASHES)
    with world.db.begin() as tx:
        tx.execute(update(SOURCES).values(wanted=3, crashes=MOST_CRASHES, parked_at=lately))
    wait(world, timedelta(minutes=2))
    if is_near:
        world.at = NOON + timedelta(minutes=5)

    upkeep.tick()

    assert world.workspace()["parked_at"] is None
    assert (world.slot()["parked_at"] is None) is is_near


def test_what_was_set_aside_a_moment_ago_stays_there(world: World, upkeep: Upkeep) -> None:
    a_calendar(world.db, **CALM)
    world.store(a_found())
    world.change_slot(parked_at=real_now(), tries=MOST_TRIES)
    wait(world, timedelta(minutes=2))

    upkeep.tick()

    assert world.slot()["parked_at"] is not None


def test_a_bot_set_aside_in_an_outage_is_tried_again_soon_while_its_meeting_goes_on(
    world: World, upkeep: Upkeep
) -> None:
    a_calendar(world.db, **CALM)
    world.store(a_found())
    world.change_slot(parked_at=real_now() - timedelta(minutes=2), tries=MOST_TRIES)
    wait(world, timedelta(minutes=2))
    upkeep.tick()
    assert world.slot()["parked_at"] is not None

    world.at = NOON + timedelta(minutes=5)
    upkeep.tick()

    assert world.slot()["parked_at"] is None


def test_what_is_revived_comes_back_one_by_one_the_soonest_first(world: World, upkeep: Upkeep) -> None:
    a_calendar(world.db, **CALM)
    hours = [5, 1, 9, 3]
    world.store(*[a_found(an_event(f"e{n}", start=NOON + timedelta(hours=n))) for n in hours])
    world.change_slot(parked_at=real_now() - timedelta(hours=2), tries=MOST_TRIES)
    wait(world, timedelta(minutes=2))

    upkeep.tick()

    with world.db.begin() as tx:
        due_at = tx.execute(text("SELECT due_at FROM slots ORDER BY start_at")).scalars().all()
    gaps = [later - earlier for earlier, later in pairwise(due_at)]
    assert all(gap > timedelta(milliseconds=200) for gap in gaps)
    assert due_at[-1] - due_at[0] < timedelta(minutes=1)
