"""
Nobody tells us of anything, and every bot is right when a bound of the backstop is over.

Both platforms as their emulators show them over HTTP, through our own adapters; time moves on by hand,
for the platforms, for us and for what the database remembers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest
from sqlalchemy import Engine, Table, select, update

from models.sealing import Vault
from tests.providers.accounts.kit import ANNA
from tests.system.accounts import (
    Person,
    Planner,
    Platforms,
    channels_of,
    push_badly,
    pushes_of,
    running_platforms,
)
from tests.system.oracle import Oracle
from tests.worker.account_kit import CALENDARS, CHANNELS, CONNECTIONS, Accounts, token_of
from webhooks.app import create_app
from webhooks.server import serving
from worker import channels, polling
from worker.clock import utc_now
from worker.consenting import connect_account
from worker.linking import NewLink, come_back, make_link, set_out
from worker.polling import READ_WHOLE_EVERY
from worker.providers.google import GoogleCalendars
from worker.providers.microsoft import MicrosoftCalendars
from worker.syncing import sync_calendar

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
#: A look may lead to a new channel, which leads to a look, and to the end of the old channel.
MOST_ROUNDS = 4
ANCHOR = "https://meet.google.com/anc-horr-sss"
LINK = "https://meet.google.com/abc-defg-hij"
#: Five days in a row, in either platform's words.
DAILY: dict[str, dict[str, Any]] = {
    "google": {"zone": "UTC", "recurrence": ["RRULE:FREQ=DAILY;COUNT=5"]},
    "microsoft": {
        "recurrence": {
            "pattern": {"type": "daily", "interval": 1},
            "range": {"type": "numbered", "numberOfOccurrences": 5},
        }
    },
}
Seats = set[tuple[str, str]]


@dataclass
class Deaf:
    """An installation that no push reaches, its users at both platforms, and the time of all of them."""

    accounts: Accounts
    platforms: Platforms

    def connect(self, person: Person) -> UUID:
        """Have somebody agree at their platform; our id of the calendar is returned."""
        rt, name = self.accounts.rt, person.platform.name
        link = make_link(rt, NewLink(name, "direct", login_hint=person.email))
        departure = set_out(rt, token_of(link))
        answer = person.platform.http.get(departure.url)
        told = parse_qs(urlsplit(answer.headers["location"]).query)
        arrival = come_back(rt, name, told["state"][0], departure.browser)
        return UUID(connect_account(rt, arrival, told["code"][0]).calendar["id"])

    def pass_time(self, span: timedelta) -> None:
        """Let time pass for everybody."""
        self.accounts.world.at += span
        for platform in self.platforms.values():
            platform.control("POST", "/clock", {"advance_seconds": span.total_seconds()})
        with self.accounts.db.begin() as tx:
            for table, columns in (
                (CALENDARS, ("last_synced_at", "last_full_at", "due_at")),
                (CHANNELS, ("opened_at", "due_at")),
                (CONNECTIONS, ("due_at",)),
            ):
                tx.execute(update(table).values({name: table.c[name] - span for name in columns}))

    def look(self) -> None:
        """Ask as upkeep does, a few times in a row, and do what is due until nothing is."""
        rt = self.accounts.rt
        for _ in range(MOST_ROUNDS):
            with rt.db.begin() as tx:
                polling.ask_for_unseen(tx, rt)
            with rt.db.begin() as tx:
                polling.ask_for_accounts(tx, now=rt.now())
            for calendar_id in self._due(CALENDARS):
                sync_calendar(rt, calendar_id)
            for channel_id in self._due(CHANNELS):
                channels.keep_channel(rt, channel_id)
        assert not self._due(CALENDARS) + self._due(CHANNELS)
        self.accounts.world.reconcile_all()

    def seats(self) -> Seats:
        """List live bots by link and start."""
        live = [(url, at.isoformat()[:19]) for url, at in self.accounts.world.live()]
        assert len(live) == len(set(live))
        return set(live)

    def _due(self, table: Table) -> list[UUID]:
        with self.accounts.db.begin() as tx:
            return list(tx.execute(select(table.c.id).where(table.c.is_pending)).scalars())


@pytest.fixture(scope="module")
def platforms() -> Iterator[Platforms]:
    with running_platforms() as platforms:
        yield platforms


@pytest.fixture
def deaf(db: Engine, vault: Vault, platforms: Platforms) -> Iterator[Deaf]:
    accounts = Accounts(db, vault)
    accounts.world.at = utc_now().replace(microsecond=0)
    with serving(create_app(accounts.rt)) as url:
        adapters = {
            name: replace(
                cast("GoogleCalendars | MicrosoftCalendars", platform.calendars),
                notify_url=f"{url}/webhooks/{name}",
            )
            for name, platform in platforms.items()
        }
        authorities = {name: platform.authority for name, platform in platforms.items()}
        accounts.world.rt = replace(accounts.rt, authorities=authorities, accounts=adapters)
        for name, platform in platforms.items():
            platform.reset()
            back = f"{accounts.rt.settings.base_url}/oauth/{name}/callback"
            client = {"client_id": platform.app.client_id, "redirect_uris": [back]}
            platform.control("POST", "/oauth/clients", client)
            platform.control(
                "POST", "/clock", {"mode": "virtual", "now": accounts.world.at.isoformat()}
            )
        yield Deaf(accounts, platforms)
        for platform in platforms.values():
            push_badly(platform, drop=0.0)
            platform.control("POST", "/clock", {"mode": "real"})


def everybody(deaf: Deaf, anchored_at: datetime) -> list[Person]:
    """
    Have somebody connected at each platform, with a channel over which nothing will ever come.

    Each has one meeting that stays where it is.
    """
    people = [Person(platform, ANNA) for platform in deaf.platforms.values()]
    for person in people:
        person.put(ANCHOR, anchored_at)
        deaf.connect(person)
    deaf.look()
    for platform in deaf.platforms.values():
        assert channels_of(platform)
        push_badly(platform, drop=1.0)
    return people


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(
    ("begins", "bound"),
    [(timedelta(hours=1), timedelta(minutes=5)), (timedelta(hours=48), timedelta(hours=1))],
    ids=["meetings of the next two hours within five minutes", "all meetings within an hour"],
)
def test_what_was_edited_is_right_when_the_bound_is_over_and_unseen_before(
    deaf: Deaf, begins: timedelta, bound: timedelta, seed: int
) -> None:
    base = deaf.accounts.world.at + begins
    people = everybody(deaf, base + 55 * MINUTE)
    oracle = Oracle()
    planner = Planner(oracle, people, seed, base=base, span=50 * MINUTE, step=5 * MINUTE)
    staying = deaf.seats()
    assert len(staying) == 1

    for _ in range(3):
        before = deaf.seats()
        for _ in range(12):
            planner.edit()
        deaf.pass_time(bound - SECOND)
        deaf.look()
        assert deaf.seats() == before

        deaf.pass_time(2 * SECOND)
        deaf.look()
        assert deaf.seats() == oracle.seats() | staying

    for platform in deaf.platforms.values():
        assert {push.sent for push in pushes_of(platform)} == {0}


@pytest.mark.parametrize(
    ("name", "is_told_of_it"), [("google", True), ("microsoft", False)], ids=["google", "microsoft"]
)
def test_an_occurrence_that_was_deleted_without_a_word_is_found_within_a_day(
    deaf: Deaf, name: str, *, is_told_of_it: bool
) -> None:
    """Graph's rounds keep quiet about it; whoever reads the calendar whole sees it."""
    world = deaf.accounts.world
    base = world.at + timedelta(hours=72)
    everybody(deaf, base)
    anna = Person(deaf.platforms[name], ANNA)
    staying = deaf.seats()
    series = anna.put(LINK, base, **DAILY[name])
    deaf.pass_time(HOUR + SECOND)
    deaf.look()
    days = {(LINK, f"{base + timedelta(days=nth):%Y-%m-%dT%H:%M:%S}") for nth in range(5)}
    assert deaf.seats() == days | staying

    anna.delete_one(series, base + timedelta(days=2))
    rest = {seat for seat in days if seat[1][:10] != f"{base + timedelta(days=2):%Y-%m-%d}"} | staying
    deaf.pass_time(HOUR + SECOND)
    deaf.look()
    assert deaf.seats() == (rest if is_told_of_it else days | staying)

    deaf.pass_time(READ_WHOLE_EVERY)
    deaf.look()
    assert deaf.seats() == rest
