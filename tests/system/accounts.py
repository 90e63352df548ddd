"""Google and Microsoft beside a running Punctual: people with accounts there, and what they plan."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from starlette.applications import Starlette

from models.domain.times import rfc3339
from tests.providers.accounts.kit import Platform, running_google, running_microsoft
from tests.system.oracle import HOUR, Copy, Oracle, bots_as_seats
from tests.system.rig import Rig, answer, running, until

Platforms = Mapping[str, Platform]


@contextmanager
def running_platforms(*listening: Callable[[Starlette], Starlette]) -> Iterator[Platforms]:
    """Serve both emulated platforms for the length of a `with` block."""
    with running_google(*listening) as google, running_microsoft(*listening) as microsoft:
        yield {"google": google, "microsoft": microsoft}


@contextmanager
def running_with(
    platforms: Platforms, folder: Path, database_url: str, **settings: str
) -> Iterator[Rig]:
    """Run Punctual beside both platforms, which know it as a client; *settings* lack `PUNCTUAL_`."""
    with running(folder, database_url, settings=settings_of(platforms, **settings)) as rig:
        answer(rig.emulator.patch("/limits", json={"enabled": False}))
        rig.rules()
        for platform in platforms.values():
            platform.reset()
            register(rig, platform)
        yield rig


def settings_of(platforms: Platforms, **settings: str) -> dict[str, str]:
    """Write what a process has to be told to use the platforms; *settings* come on top."""
    google, microsoft = platforms["google"], platforms["microsoft"]
    wanted = {
        "GOOGLE_CLIENT_ID": google.app.client_id,
        "GOOGLE_CLIENT_SECRET": google.app.client_secret,
        "GOOGLE_ACCOUNTS_URL": google.url,
        "GOOGLE_OAUTH_URL": google.url,
        "GOOGLE_API_URL": google.url,
        "MICROSOFT_CLIENT_ID": microsoft.app.client_id,
        "MICROSOFT_CLIENT_SECRET": microsoft.app.client_secret,
        "MICROSOFT_LOGIN_URL": microsoft.url,
        "MICROSOFT_GRAPH_URL": microsoft.url,
        # Nothing here is about budgets, and a minute's wait would hide what is.
        "RECALL_BOT_CREATE_PER_MINUTE": "6000",
        "RECALL_LIST_PER_MINUTE": "6000",
        "RECALL_SCHEDULE_PER_MINUTE": "6000",
        "RECALL_OTHER_PER_MINUTE": "6000",
        **settings,
    }
    return {f"PUNCTUAL_{name}": value for name, value in wanted.items()}


def register(rig: Rig, platform: Platform) -> None:
    """Register our client with the one address that people come back to."""
    client = {
        "client_id": platform.app.client_id,
        "client_secret": platform.app.client_secret,
        "redirect_uris": [f"{rig.base_url}/oauth/{platform.name}/callback"],
    }
    platform.control("POST", "/oauth/clients", client)


@dataclass(frozen=True)
class Person:
    """Somebody with an account at a platform, and what they do there without any token of ours."""

    platform: Platform
    email: str

    def join(self) -> None:
        """Open the account."""
        self.platform.control("POST", "/accounts", {"email": self.email})

    def put(self, link: str, start: datetime, **wish: Any) -> str:
        """Plan an hour's meeting; its id is returned."""
        is_google = self.platform.name == "google"
        body = {
            ("summary" if is_google else "title"): "Weekly",
            **hour_from(start),
            "link": link,
            **wish,
        }
        path = f"/calendars/{quote(self.email, safe='')}/events"
        return str(self.platform.control("POST", path, body)["id"])

    def move(self, event: str, start: datetime) -> None:
        self.change(event, **hour_from(start))

    def relink(self, event: str, link: str) -> None:
        self.change(event, link=link)

    def change(self, event: str, **wish: Any) -> None:
        self.platform.control("PATCH", self._path_of(event), wish)

    def delete(self, event: str) -> None:
        self.platform.control("DELETE", self._path_of(event))

    def delete_one(self, series: str, start: datetime) -> None:
        """Take one occurrence out of a series."""
        if self.platform.name == "google":
            self.delete(f"{series}_{start:%Y%m%dT%H%M%SZ}")
        else:
            self.platform.control("DELETE", f"{self._path_of(series)}?on={start:%Y-%m-%d}")

    def _path_of(self, event: str) -> str:
        is_google = self.platform.name == "google"
        of_calendar = f"/calendars/{quote(self.email, safe='')}" if is_google else ""
        return f"{of_calendar}/events/{quote(event, safe='')}"


def hour_from(start: datetime) -> dict[str, str]:
    """Write the times of a meeting of an hour."""
    return {"start": rfc3339(start), "end": rfc3339(start + HOUR)}


def connect(rig: Rig, person: Person) -> str:
    """Make a link and go through it as the person's browser would; our id of the calendar is returned."""
    name = person.platform.name
    wanted = {"platform": name, "via": "direct", "login_hint": person.email}
    link = answer(rig.api.post("/v1/connect-links", json=wanted))
    with httpx.Client(follow_redirects=True, timeout=20, trust_env=False) as browser:
        page = browser.get(link["url"])
    assert "connected" in page.text, page.text
    calendars = rig.every("/v1/calendars", email=person.email)
    (calendar,) = [one for one in calendars if one["source"] == name]
    return str(calendar["id"])


def connect_and_rest(rig: Rig, *people: Person) -> list[str]:
    """Connect accounts and wait until each provider has somebody of ours to tell of changes."""
    platforms = {person.platform.name: person.platform for person in people}.values()
    before = sum(len(channels_of(platform)) for platform in platforms)
    ids = [connect(rig, person) for person in people]
    until(lambda: all(answer(rig.api.get(f"/v1/calendars/{one}"))["last_synced_at"] for one in ids))
    until(lambda: sum(len(channels_of(one)) for one in platforms) >= before + len(people))
    until(rig.is_quiet)
    return ids


def channels_of(platform: Platform) -> list[dict[str, Any]]:
    """List what the platform would push over."""
    if platform.name == "google":
        return [one for one in platform.control("GET", "/channels") if one["live"]]
    found: list[dict[str, Any]] = platform.control("GET", "/subscriptions")
    return found


def push_badly(platform: Platform, **how: object) -> None:
    """Lose, double, or shuffle a platform's pushes."""
    if platform.name == "google":
        platform.control("PUT", "/push", how)
    else:
        platform.control("PATCH", "/weather", how)


@dataclass(frozen=True)
class Push:
    """What became of a push about a change: its end, and how often it was sent."""

    fate: str
    sent: int


def pushes_of(platform: Platform) -> list[Push]:
    """List every push about a change, oldest first."""
    if platform.name == "google":
        notices = platform.control("GET", "/notices")
        return [Push(one["outcome"], len(one["statuses"])) for one in notices if one["state"] != "sync"]
    newest_first = platform.control("GET", "/notifications?limit=100000")
    return [Push(one["state"], len(one["attempts"])) for one in reversed(newest_first)]


def until_seated(rig: Rig, seats: AbstractSet[tuple[str, str]], *, within: float = 20) -> None:
    """Wait until there is one bot in each of these seats, and no other; else say which are wrong."""
    wanted = sorted(seats)
    try:
        until(lambda: bots_as_seats(rig) == wanted, within=within)
    except AssertionError:
        there = Counter(bots_as_seats(rig))
        missing, needless = Counter(wanted) - there, there - Counter(wanted)
        raise AssertionError(f"missing: {list(missing)}, needless: {list(needless)}") from None


def soon(hours: float = 3) -> datetime:
    return (datetime.now(UTC) + timedelta(hours=hours)).replace(microsecond=0)


class Planner:
    """
    Makes random edits in people's calendars, and tells the oracle of each.

    Meetings begin within *span* from *base*, on the minute grid of *step*, and share few enough links
    and times that two people often end up in one.
    """

    def __init__(
        self,
        oracle: Oracle,
        people: Sequence[Person],
        seed: int,
        *,
        base: datetime,
        span: timedelta = timedelta(hours=24),
        step: timedelta = HOUR,
    ) -> None:
        self.oracle, self.people = oracle, people
        self.chance = random.Random(seed)
        self.starts = [base + step * nth for nth in range(span // step)]
        self.events: dict[str, tuple[Person, str]] = {}

    def edit(self) -> None:
        """Make one edit; a calendar is filled a little before anything else happens."""
        living = [
            key for key, copy in self.oracle.copies.items() if key in self.events and not copy.gone
        ]
        kinds = ["create"] * 4 + ["share"] * 2 + ["move"] * 5 + ["relink"] * 3 + ["cancel"] * 3
        kind = self.chance.choice(kinds) if len(living) > 3 else "create"
        getattr(self, kind)(*([] if kind == "create" else [self.chance.choice(living)]))

    def create(self) -> None:
        self._put(self._person(), self._link(), self.chance.choice(self.starts))

    def share(self, event: str) -> None:
        """Plan what somebody else may have planned already: the same place and time."""
        copy = self.oracle.copies[event]
        assert copy.link is not None
        self._put(self._person(), copy.link, copy.start)

    def move(self, event: str) -> None:
        person, event_id = self.events[event]
        start = self.chance.choice(self.starts)
        person.move(event_id, start)
        self._know(event, start=start)

    def relink(self, event: str) -> None:
        person, event_id = self.events[event]
        link = self._link()
        person.relink(event_id, link)
        self._know(event, link=link)

    def cancel(self, event: str) -> None:
        person, event_id = self.events[event]
        person.delete(event_id)
        self._know(event, gone=True)

    def _put(self, person: Person, link: str, start: datetime) -> None:
        event_id = person.put(link, start)
        key = f"{person.platform.name}/{person.email}/{event_id}"
        self.events[key] = (person, event_id)
        self.oracle.copies[key] = Copy(person.email, start, link, "Weekly")

    def _know(self, event: str, **fields: Any) -> None:
        self.oracle.copies[event] = replace(self.oracle.copies[event], **fields)

    def _person(self) -> Person:
        return self.chance.choice(self.people)

    def _link(self) -> str:
        letters = "".join(self.chance.choice("abcdefgh") for _ in range(3))
        return f"https://meet.google.com/ran-domm-{letters}"
