"""One meeting in calendars at Recall, at Google and at Outlook: one bot, until the last copy leaves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import permutations
from typing import Any

import pytest

from tests.system.accounts import (
    Person,
    Platforms,
    connect_and_rest,
    hour_from,
    soon,
)
from tests.system.oracle import HOUR, doubled_ever
from tests.system.rig import Rig, answer, until

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.timeout(240)]

NAMES = ("recall", "google", "microsoft")
EMAILS = {name: f"somebody.at.{name}@example.com" for name in NAMES}
ORDERS = list(permutations(NAMES))


@dataclass(frozen=True)
class Copy:
    """One person's copy: how it is put there, and how it leaves."""

    calendar: str
    put: Callable[..., str]
    delete: Callable[[str], None]


@dataclass
class Meeting:
    """One meeting by its iCalendar UID, with the link that each copy of it shows."""

    rig: Rig
    copies: Mapping[str, Copy]
    uid: str
    start: datetime
    organiser: str
    links: Mapping[str, str]
    events: dict[str, str] = field(default_factory=dict)

    def put(self, name: str) -> None:
        """Have a copy arrive, and be known."""
        self.events[name] = self.copies[name].put(
            uid=self.uid,
            start=self.start,
            link=self.links[name],
            organiser=EMAILS[self.organiser],
            is_own=name == self.organiser,
        )
        until(lambda: self.row(name))

    def remove(self, name: str) -> None:
        """Have somebody delete the meeting from their calendar, and that be known and acted on."""
        self.copies[name].delete(self.events.pop(name))
        until(lambda: self.row(name)["deleted"])
        until(self.rig.is_quiet)

    def row(self, name: str) -> dict[str, Any]:
        """Return a copy as the API shows it; nothing before it is known."""
        rows = self.rig.every("/v1/events", calendar_id=self.copies[name].calendar)
        return next((row for row in rows if row["ical_uid"] == self.uid), {})

    def bots(self) -> list[str]:
        """List where bots wait for this meeting."""
        starts = self.start.isoformat()[:19]
        return [
            str(bot["meeting_url"]) for bot in self.rig.live_bots() if bot["join_at"][:19] == starts
        ]

    def until_bots_are(self, *links: str) -> None:
        """Wait until bots wait for this meeting there and nowhere else."""
        try:
            until(lambda: self.bots() == list(links))
        except AssertionError:
            known = [
                bot
                for bot in self.rig.every("/v1/bots")
                if bot["meeting_url"] in set(self.links.values())
            ]
            raise AssertionError(f"wanted: {links}, there: {self.bots()}, known: {known}") from None

    def until_shared(self, told: Mapping[str, Mapping[str, str]]) -> None:
        """Wait until `why` names for each copy who shares its bot, and why."""
        until(lambda: {name: self.shared_by(name) for name in self.events} == told)

    def shared_by(self, name: str) -> dict[str, str]:
        """Name who shares the bot of a copy, and why, as `why` tells it."""
        trail = answer(self.rig.api.get(f"/v1/events/{self.row(name)['id']}/why"))
        name_by_id = {self.row(one)["id"]: one for one in self.events}
        found = trail["slot"]["shared_with"]
        return {name_by_id.get(one["event_id"], "gone"): one["same"] for one in found}


@pytest.fixture(scope="module")
def copies(rig: Rig, platforms: Platforms) -> dict[str, Copy]:
    """Three people whose calendars are followed, each by another road."""
    people = [Person(platforms[name], EMAILS[name]) for name in ("google", "microsoft")]
    for person in people:
        person.join()
    ids = connect_and_rest(rig, *people)
    followed = {
        person.platform.name: of_person(person, calendar_id)
        for person, calendar_id in zip(people, ids, strict=True)
    }
    external_id = rig.calendar(EMAILS["recall"])
    (row,) = until(lambda: rig.every("/v1/calendars", email=EMAILS["recall"]))
    until(lambda: answer(rig.api.get(f"/v1/calendars/{row['id']}"))["last_synced_at"])
    return {**followed, "recall": of_recall(rig, external_id, row["id"])}


def of_person(person: Person, calendar_id: str) -> Copy:
    """Tell how a meeting comes into, and goes from, an account's calendar."""
    uid_field = "iCalUID" if person.platform.name == "google" else "ical_uid"

    def put(*, uid: str, start: datetime, link: str, organiser: str, is_own: bool) -> str:
        guests = {"attendees": [email for email in EMAILS.values() if email != organiser]}
        return person.put(
            link, start, **{uid_field: uid}, **(guests if is_own else {"organizer": organiser})
        )

    return Copy(calendar_id, put, person.delete)


def of_recall(rig: Rig, external_id: str, calendar_id: str) -> Copy:
    """Tell how a meeting comes into, and goes from, a calendar that Recall reads."""

    def put(*, uid: str, start: datetime, link: str, organiser: str, is_own: bool) -> str:
        spec = {
            **hour_from(start),
            "title": "Weekly",
            "link": link,
            "ical_uid": uid,
            "attendees": list(EMAILS.values()),
            "organizer": None if is_own else organiser,
        }
        return str(answer(rig.emulator.post(f"/calendars/{external_id}/events", json=spec))["id"])

    def delete(event: str) -> None:
        answer(rig.emulator.delete(f"/events/{event}"))

    return Copy(calendar_id, put, delete)


CASES = [
    pytest.param(
        order,
        # Over all orders everybody organises now and then, and leaves first, in between, and last.
        NAMES[(nth + differs) % 3],
        differs,
        id=f"{', '.join(order)} leave, {'each with a link of their own' if differs else 'one link'}",
    )
    for differs in (False, True)
    for nth, order in enumerate(ORDERS)
]


@pytest.mark.parametrize(("leaving", "organiser", "differs"), CASES)
def test_three_copies_have_one_bot_until_the_last_one_leaves(
    rig: Rig, copies: Mapping[str, Copy], leaving: tuple[str, ...], organiser: str, *, differs: bool
) -> None:
    nth = ORDERS.index(leaving) + len(ORDERS) * differs
    links = {
        name: f"https://meet.google.com/{'abc'[at * differs]}aa-same-ro{chr(97 + nth)}"
        for at, name in enumerate(NAMES)
    }
    meeting = Meeting(rig, copies, f"uid-{nth}@example.com", soon(24) + nth * HOUR, organiser, links)

    for name in NAMES:
        meeting.put(name)
    until(rig.is_quiet)
    meeting.until_bots_are(links[organiser])

    staying = list(NAMES)
    for name in leaving:
        told = {one: dict.fromkeys(set(staying) - {one}, "ical_uid") for one in staying}
        meeting.until_shared(told)
        staying.remove(name)
        meeting.remove(name)
        speaker = [organiser] if organiser in staying else staying[:1]
        meeting.until_bots_are(*(links[one] for one in speaker))

    assert {link for link, _ in doubled_ever(rig)} & set(links.values()) == set()
