"""A page becomes rows and domain events: newest wins, repeats are silent, secrets stay sealed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, inspect, select, text

from models.domain.events import EventStatus, MeetingLink, Person, Response
from models.sealing import Vault, place
from models.tables.outbox import OutboxEvent
from tests.builders import NOON, a_calendar, a_found, a_link, an_event
from tests.worker.world import World
from worker.ports import Attachment, FoundEvent, Unreadable
from worker.storing import content_hash, stored_attachments

FIRST = NOON - timedelta(days=1)
KEY = a_link().key
PASSCODE = "s3cretPass"


@pytest.fixture
def world(db: Engine, vault: Vault) -> World:
    return World(db, vault)


@pytest.fixture
def anna(world: World) -> UUID:
    return a_calendar(world.db)


def version(minutes: float) -> Any:
    return FIRST + timedelta(minutes=minutes)


def bots_of(world: World) -> list[str]:
    return [bot["bot_id"] for bot in world.events()["event-1"]["bots"]]


def last_told(world: World) -> dict[str, Any]:
    with world.db.begin() as tx:
        found: dict[str, Any] = tx.execute(
            select(OutboxEvent.data)
            .where(OutboxEvent.subject.like("calendar_event/%"))
            .order_by(OutboxEvent.sequence.desc())
            .limit(1)
        ).scalar_one()
        return found


def test_an_event_that_was_deleted_and_is_there_again_is_recorded_again(
    world: World, anna: UUID
) -> None:
    world.store(a_found())
    world.reconcile_all()
    world.store(a_found(an_event(deleted=True), updated_at=version(1)))
    world.reconcile_all()
    assert world.live() == []

    world.store(a_found(updated_at=version(2)))
    world.reconcile_all()

    assert world.live() == [(a_link().url, NOON)]
    kinds = ("created", "deleted", "updated")
    assert world.told("calendar_event.") == [f"calendar_event.{kind}" for kind in kinds]
    assert last_told(world)["previous"]["deleted"] is True


def test_an_event_deleted_twice_is_told_once(world: World, anna: UUID) -> None:
    world.store(a_found())
    for minutes in (1, 2):
        world.store(a_found(an_event(deleted=True), updated_at=version(minutes)))

    assert world.told("calendar_event.") == ["calendar_event.created", "calendar_event.deleted"]


def test_a_tombstone_of_an_event_never_seen_is_passed_over(world: World, anna: UUID) -> None:
    assert world.store(a_found(an_event(deleted=True))) == 0

    assert world.events() == {}
    assert world.told("") == []


def test_the_same_page_twice_emits_nothing_and_asks_no_slot(world: World, anna: UUID) -> None:
    page = [a_found(an_event(f"e{n}", start=NOON + timedelta(hours=n))) for n in range(3)]
    world.store(*page)
    world.reconcile_all()
    before, calls = world.told(""), list(world.bots.calls)

    assert world.store(*page) == 0
    world.reconcile_all()

    assert world.told("") == before
    assert world.bots.calls == calls


def test_a_new_version_that_says_nothing_new_is_no_news_but_is_the_version(
    world: World, anna: UUID
) -> None:
    world.store(a_found())

    assert world.store(a_found(updated_at=version(5))) == 0
    assert world.events()["event-1"]["provider_updated_at"] == version(5)
    assert world.store(a_found(an_event(title="Old"), updated_at=version(4))) == 0

    assert world.titles() == {"event-1": "Weekly"}
    assert world.told("calendar_event.") == ["calendar_event.created"]


def test_of_two_versions_with_one_time_the_later_look_wins(world: World, anna: UUID) -> None:
    early, late = world.fetch(), world.fetch()
    world.store(a_found(an_event(title="Later look")), fetch=late)

    world.store(a_found(an_event(title="Earlier look")), fetch=early)

    assert world.titles() == {"event-1": "Later look"}


def test_of_two_versions_on_one_page_the_newest_is_stored(world: World, anna: UUID) -> None:
    world.store(
        a_found(an_event(title="Old")),
        a_found(an_event(title="New"), updated_at=version(2)),
        a_found(an_event(title="Middle"), updated_at=version(1)),
    )

    assert world.titles() == {"event-1": "New"}
    assert world.told("calendar_event.") == ["calendar_event.created"]


def test_a_stale_version_in_another_calendar_does_not_take_the_event_along(
    world: World, anna: UUID
) -> None:
    ben = a_calendar(world.db, "cal-ben")
    world.store(a_found())
    world.store(a_found(calendar="cal-ben", updated_at=version(2)))
    assert world.events()["event-1"]["calendar_id"] == ben

    world.store(a_found(updated_at=version(1)))

    assert world.events()["event-1"]["calendar_id"] == ben


def test_an_event_handed_to_another_calendar_is_told_as_changed(world: World, anna: UUID) -> None:
    ben = a_calendar(world.db, "cal-ben")
    world.store(a_found())

    world.store(a_found(calendar="cal-ben", updated_at=version(1)))

    data = last_told(world)
    assert (data["calendar_id"], data["previous"]) == (str(ben), {"calendar_id": str(anna)})


def test_attachments_are_noted_without_news_and_have_the_slot_looked_at(
    world: World, anna: UUID
) -> None:
    world.store(a_found())
    world.reconcile_all()
    before = world.told("")

    world.store(a_found(attachments=(Attachment("bot-9", KEY, NOON),)))

    slot = world.slot()
    assert bots_of(world) == ["bot-9"]
    assert slot["wanted"] > slot["done"]
    assert world.told("") == before


def test_attachments_are_noted_by_newer_looks_only(world: World, anna: UUID) -> None:
    early, late = world.fetch(), world.fetch()
    world.store(a_found(attachments=(Attachment("bot-1", KEY, NOON),)), fetch=late)

    world.store(a_found(attachments=(Attachment("bot-0", KEY, NOON),)), fetch=early)

    assert bots_of(world) == ["bot-1"]


def test_a_look_that_confirms_the_attachments_outdates_the_looks_before_it(
    world: World, anna: UUID
) -> None:
    shown = (Attachment("bot-1", KEY, NOON),)
    world.store(a_found(attachments=shown))
    early, late = world.fetch(), world.fetch()
    world.store(a_found(attachments=shown), fetch=late)

    world.store(a_found(attachments=()), fetch=early)

    assert bots_of(world) == ["bot-1"]


def test_a_look_from_before_a_bot_was_put_there_does_not_take_it_away(world: World, anna: UUID) -> None:
    world.store(a_found())
    before_the_call = world.fetch()
    with world.db.begin() as tx:
        tx.execute(
            text("UPDATE calendar_events SET bots = :bots, bots_fetch = nextval('fetches')"),
            {"bots": f'[{{"bot_id": "mine", "dedup_key": "{KEY}"}}]'},
        )

    world.store(a_found(an_event(title="New"), updated_at=version(1)), fetch=before_the_call)

    assert bots_of(world) == ["mine"]
    assert world.titles() == {"event-1": "New"}


def test_stored_attachments_say_which_bot_under_which_key() -> None:
    found = a_found(attachments=(Attachment("bot-1", KEY, NOON), Attachment("bot-2", None, None)))

    assert stored_attachments(found) == [
        {"bot_id": "bot-1", "dedup_key": KEY},
        {"bot_id": "bot-2", "dedup_key": None},
    ]


CHANGES: dict[str, Callable[[FoundEvent], FoundEvent]] = {
    "calendar": lambda one: replace(one, calendar_ref="cal-ben"),
    "title": lambda one: replace(one, event=replace(one.event, title="Other")),
    "start": lambda one: replace(one, event=replace(one.event, start=NOON - timedelta(minutes=1))),
    "end": lambda one: replace(one, event=replace(one.event, end=NOON + timedelta(hours=2))),
    "all day": lambda one: replace(one, event=replace(one.event, all_day=True)),
    "organiser": lambda one: replace(one, event=replace(one.event, organizer=None)),
    "a guest": lambda one: replace(one, event=replace(one.event, attendees=())),
    "a guest's answer": lambda one: replace(
        one,
        event=replace(
            one.event,
            attendees=(one.event.attendees[0], Person("guest@elsewhere.org", Response.DECLINED)),
        ),
    ),
    "own answer": lambda one: replace(one, event=replace(one.event, own_response=Response.DECLINED)),
    "organising": lambda one: replace(one, event=replace(one.event, is_organizer=False)),
    "privacy": lambda one: replace(one, event=replace(one.event, is_private=True)),
    "status": lambda one: replace(one, event=replace(one.event, status=EventStatus.TENTATIVE)),
    "deletion": lambda one: replace(one, event=replace(one.event, deleted=True)),
    "series": lambda one: replace(one, event=replace(one.event, series_id="series-1")),
    "no link": lambda one: replace(one, event=replace(one.event, link=None)),
    "passcode": lambda one: replace(
        one, event=replace(one.event, link=replace(a_link(), url=f"{a_link().url}?pwd=1"))
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_everything_an_event_says_is_part_of_its_fingerprint(name: str) -> None:
    assert content_hash(CHANGES[name](a_found())) != content_hash(a_found())


def test_version_and_bots_are_no_part_of_the_fingerprint() -> None:
    other = a_found(updated_at=version(9), attachments=(Attachment("bot-1", KEY, NOON),))

    assert content_hash(other) == content_hash(a_found())


@pytest.mark.parametrize("name", sorted(set(CHANGES) - {"calendar"}))
def test_every_change_of_an_event_is_told_once(world: World, anna: UUID, name: str) -> None:
    world.store(a_found())
    changed = replace(CHANGES[name](a_found()), updated_at=version(1))

    world.store(changed)
    world.store(changed)

    kind = "deleted" if name == "deletion" else "updated"
    # What we do not show can change without anything to be told.
    told = [] if name in {"organising", "privacy"} else [f"calendar_event.{kind}"]
    assert world.told("calendar_event.") == ["calendar_event.created", *told]


def test_an_unreadable_row_is_kept_aside_until_a_readable_version_comes(
    world: World, anna: UUID
) -> None:
    for _ in range(2):
        world.store(unreadable=(Unreadable("event-1", "cal-anna", "no start"),))
    assert world.count("quarantined_events", "reason = 'no start'") == 1

    world.store(a_found())

    assert world.count("quarantined_events") == 0
    assert world.titles() == {"event-1": "Weekly"}


def test_an_unreadable_row_leaves_the_event_as_it_was_last_read(world: World, anna: UUID) -> None:
    world.store(a_found())
    world.reconcile_all()

    world.store(unreadable=(Unreadable("event-1", "cal-anna", "no start", version(1)),))
    world.reconcile_all()

    assert world.titles() == {"event-1": "Weekly"}
    assert len(world.live()) == 1


def test_rows_without_an_id_are_counted_per_calendar(world: World, anna: UUID) -> None:
    world.store(
        unreadable=(
            Unreadable("", "cal-anna", "id is missing"),
            Unreadable("", "cal-anna", "id is missing"),
            Unreadable("", None, "row is no object"),
        )
    )

    assert world.count("quarantined_events") == 2


def test_a_very_long_reason_is_cut(world: World, anna: UUID) -> None:
    world.store(unreadable=(Unreadable("event-1", "cal-anna", "x" * 5_000),))

    assert world.count("quarantined_events", "length(reason) = 200") == 1


def test_a_passcode_is_sealed_at_rest_and_leaves_in_no_domain_event(world: World, anna: UUID) -> None:
    plain = f"https://zoom.us/j/123456789?pwd={PASSCODE}"
    link = MeetingLink("zoom", plain, "zoom.us/j/123456789")
    world.store(a_found(replace(an_event(), link=link)))
    world.reconcile_all()
    other = replace(link, url=f"{plain}2")
    world.store(
        a_found(replace(an_event(start=NOON + timedelta(hours=1)), link=other), updated_at=NOON)
    )
    world.reconcile_all()
    world.store(a_found(replace(an_event(deleted=True), link=other), updated_at=version(9999)))
    world.reconcile_all()

    assert [step.seat.meeting_url for step in world.bots.steps if step.seat] == [plain, f"{plain}2"]
    assert len(world.told("bot.")) == 3
    assert rows_holding(world, PASSCODE) == []
    row = world.events()["event-1"]
    where = place("calendar_events", "meeting_url", row["id"])
    assert world.vault.open(row["meeting_url"], place=where) == f"{plain}2"


def rows_holding(world: World, secret: str) -> list[str]:
    """Name the tables of which a row holds a secret, as text or as bytes."""
    held = []
    with world.db.begin() as tx:
        for table in inspect(world.db).get_table_names():
            found = tx.execute(
                text(
                    f'SELECT count(*) FROM "{table}" AS r'
                    " WHERE r::text LIKE :plain OR r::text LIKE :hex"
                ),
                {"plain": f"%{secret}%", "hex": f"%{secret.encode().hex()}%"},
            ).scalar_one()
            held += [table] if found else []
    return held


def test_the_search_for_secrets_finds_one_that_is_there(world: World) -> None:
    a_calendar(world.db, "cal-odd", owner=PASSCODE)
    world.notify("nobody", body={"url": PASSCODE})

    assert set(rows_holding(world, PASSCODE)) == {"calendars", "deliveries"}


def test_a_series_made_anew_under_other_ids_keeps_its_bots(world: World, anna: UUID) -> None:
    def occurrences(name: str) -> list[FoundEvent]:
        return [
            a_found(an_event(f"{name}-{n}", series_id=name, start=NOON + timedelta(days=n)))
            for n in range(3)
        ]

    world.store(*occurrences("old"))
    world.reconcile_all()
    bots = set(world.bots.bots)

    gone = [
        replace(one, event=replace(one.event, deleted=True), updated_at=version(1))
        for one in occurrences("old")
    ]
    world.store(*gone, *occurrences("new"))
    world.reconcile_all()

    assert set(world.bots.bots) == bots
    assert world.told("bot.") == ["bot.scheduled"] * 3


def test_a_deleted_calendars_events_are_passed_over(world: World) -> None:
    a_calendar(world.db, deleted_at=NOON)

    assert world.store(a_found()) == 0
    assert world.events() == {}
