"""One meeting seen through several calendars is one slot, also while its copies disagree on the link."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, RowMapping, delete, select, text

from models.domain.events import Event, Person, Response
from models.sealing import Vault, place
from models.tables.due import table_of
from models.tables.events import CalendarEvent
from models.tables.slots import Slot, Want
from tests.builders import NOON, a_calendar, a_found, a_link, an_event
from tests.worker.test_settling import Store, give_bots, open_slots, store, version, wants
from worker.why import explain

__all__ = ["store"]

ANNA = Person("anna@example.com", Response.ACCEPTED)
ROOM, OTHER, THIRD = "aaa-aaaa-aaa", "bbb-bbbb-bbb", "ccc-cccc-ccc"


def organisers(ref: str = "a", *, link: str = ROOM, **fields: object) -> Event:
    return an_event(ref, link=link, ical_uid="uid-1", organizer=ANNA, is_organizer=True, **fields)


def guests(ref: str = "b", *, link: str = OTHER, **fields: object) -> Event:
    return an_event(ref, link=link, ical_uid="uid-1", organizer=ANNA, is_organizer=False, **fields)


def three_calendars(db: Engine) -> None:
    """Connect the organiser's calendar through Recall, one guest's at Google and one at Microsoft."""
    a_calendar(db, "cal-anna")
    a_calendar(db, "cal-ben")
    a_calendar(db, "cal-eve")


def url_of(slot: RowMapping, vault: Vault) -> str:
    return vault.open(slot["meeting_url"], place=place("slots", "meeting_url", slot["id"]))


def wanted_slots(db: Engine) -> list[RowMapping]:
    return [slot for slot in open_slots(db) if slot["is_wanted"]]


def test_copies_with_different_links_share_the_organisers(
    db: Engine, store: Store, vault: Vault
) -> None:
    three_calendars(db)

    store(a_found(guests(), calendar="cal-ben"))
    store(a_found(organisers()))

    (slot,) = wanted_slots(db)
    assert wants(db) == 2
    assert url_of(slot, vault) == a_link(ROOM).url
    assert slot["link_key"] == a_link(ROOM).key
    assert slot["key"].endswith(a_link(ROOM).key)


def test_a_scheduled_bot_goes_along_when_the_organisers_copy_comes_later(
    db: Engine, store: Store
) -> None:
    three_calendars(db)
    store(a_found(guests(), calendar="cal-ben"))
    give_bots(db)
    (before,) = open_slots(db)

    store(a_found(organisers()))

    (after,) = open_slots(db)
    assert after["id"] == before["id"]
    assert after["bot_id"] == before["bot_id"]


def test_a_link_that_changes_in_one_copy_after_the_other_is_one_slot_all_the_time(
    db: Engine, store: Store, vault: Vault
) -> None:
    three_calendars(db)
    store(a_found(organisers()), a_found(guests(link=ROOM), calendar="cal-ben"))
    (before,) = open_slots(db)

    store(a_found(guests(link=OTHER), calendar="cal-ben", updated_at=version(0.1)))
    (between,) = wanted_slots(db)
    assert url_of(between, vault) == a_link(ROOM).url
    store(a_found(organisers(link=OTHER), updated_at=version(0.2)))

    (after,) = wanted_slots(db)
    assert after["id"] == between["id"] == before["id"]
    assert url_of(after, vault) == a_link(OTHER).url
    assert wants(db) == 2


def test_the_organisers_link_takes_its_guests_along_at_once(
    db: Engine, store: Store, vault: Vault
) -> None:
    three_calendars(db)
    store(a_found(organisers()), a_found(guests(link=ROOM), calendar="cal-ben"))

    store(a_found(organisers(link=THIRD), updated_at=version(0.1)))

    (slot,) = wanted_slots(db)
    assert url_of(slot, vault) == a_link(THIRD).url
    assert wants(db) == 2


def test_when_the_organiser_is_gone_the_guests_link_counts_again(
    db: Engine, store: Store, vault: Vault
) -> None:
    three_calendars(db)
    store(a_found(organisers()), a_found(guests(), calendar="cal-ben"))

    store(a_found(organisers(deleted=True), updated_at=version(0.1)))

    (slot,) = wanted_slots(db)
    assert url_of(slot, vault) == a_link(OTHER).url
    assert wants(db) == 1


def test_when_the_organisers_copy_moves_away_the_guests_keeps_its_time_until_it_follows(
    db: Engine, store: Store
) -> None:
    three_calendars(db)
    store(a_found(organisers()), a_found(guests(), calendar="cal-ben"))
    later = NOON + timedelta(hours=2)

    store(a_found(organisers(start=later), updated_at=version(0.1)))
    assert sorted(slot["start_at"] for slot in wanted_slots(db)) == [NOON, later]
    store(a_found(guests(start=later), calendar="cal-ben", updated_at=version(0.2)))

    (slot,) = wanted_slots(db)
    assert slot["start_at"] == later


def test_the_last_copy_out_leaves_no_slot_wanted(db: Engine, store: Store) -> None:
    three_calendars(db)
    store(a_found(organisers()), a_found(guests(), calendar="cal-ben"))

    store(a_found(organisers(deleted=True), updated_at=version(0.1)))
    store(a_found(guests(deleted=True), calendar="cal-ben", updated_at=version(0.1)))

    assert wanted_slots(db) == []
    assert wants(db) == 0


def test_a_meeting_that_ended_keeps_the_bot_its_copies_share(db: Engine, store: Store) -> None:
    three_calendars(db)
    store(a_found(organisers()), a_found(guests(), calendar="cal-ben"))
    give_bots(db, "in_call")

    with db.begin() as tx:
        tx.execute(text("UPDATE calendar_events SET unsettled = true"))
    store(now=NOON + timedelta(hours=2))

    (slot,) = open_slots(db)
    assert slot["is_wanted"]
    assert wants(db) == 2


def test_a_stranger_who_knows_the_uid_calls_no_bot_away(db: Engine, store: Store, vault: Vault) -> None:
    three_calendars(db)
    store(a_found(guests(link=ROOM), calendar="cal-ben"))
    eve = Person("eve@example.com", Response.ACCEPTED, is_self=True)
    forged = an_event("c", link=THIRD, ical_uid="uid-1", organizer=eve, is_organizer=True)

    store(a_found(forged, calendar="cal-eve"))
    store(a_found(guests("d", link=OTHER), calendar="cal-eve"))

    by_url = {url_of(slot, vault): slot for slot in wanted_slots(db)}
    assert by_url.keys() == {a_link(ROOM).url, a_link(THIRD).url}


def test_why_says_that_anothers_link_counts_and_who_shares_the_bot(
    db: Engine, store: Store, vault: Vault
) -> None:
    three_calendars(db)
    store(a_found(organisers()), a_found(guests(), calendar="cal-ben"))
    store(a_found(an_event("c", link=ROOM), calendar="cal-eve"))

    with db.begin() as tx:
        found = tx.execute(select(CalendarEvent.external_id, CalendarEvent.id))
        ids = {row.external_id: row.id for row in found}
        trail = explain(tx, vault, ids["b"], now=NOON)

    assert trail is not None
    assert {other["event_id"]: other["same"] for other in trail["slot"]["shared_with"]} == {
        str(ids["a"]): "ical_uid",
        str(ids["c"]): "link",
    }
    texts = [step["text"] for step in trail["steps"] if step["kind"] == "slot"]
    assert any(f"copy of the meeting of event {ids['a']}" in text for text in texts)


_LINKS = st.sampled_from([ROOM, OTHER, THIRD])
_CHANGES = st.lists(
    st.tuples(st.sampled_from(["cal-anna", "cal-ben", "cal-eve"]), _LINKS, st.booleans()),
    min_size=1,
    max_size=8,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(changes=_CHANGES)
def test_whatever_changes_in_whichever_order_there_is_one_slot_with_the_speakers_link(
    db: Engine, vault: Vault, store: Store, changes: list[tuple[str, str, bool]]
) -> None:
    with db.begin() as tx:
        for table in (Want, CalendarEvent, Slot):
            tx.execute(delete(table_of(table)))
        tx.execute(text("DELETE FROM calendars"))
    three_calendars(db)
    links: dict[str, str] = {}
    known: list[str] = []
    for nth, (calendar, link, is_deleted) in enumerate(changes):
        build = organisers if calendar == "cal-anna" else guests
        found = build(calendar, link=link, deleted=is_deleted)
        store(a_found(found, calendar=calendar, updated_at=version(nth / 100)))
        if is_deleted:
            links.pop(calendar, None)
        else:
            links[calendar] = link
            known += [] if calendar in known else [calendar]

        slots = wanted_slots(db)
        speaker = min(links, key=lambda one: (one != "cal-anna", known.index(one)), default=None)
        urls = [] if speaker is None else [a_link(links[speaker]).url]
        assert [url_of(slot, vault) for slot in slots] == urls
        assert wants(db) == len(links)
