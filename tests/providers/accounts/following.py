"""Punctual itself before emulated platforms: diaries that people keep, and what we make of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit
from uuid import UUID

from pydantic import SecretStr
from sqlalchemy import Engine, RowMapping, func, select, update

from models.sealing import Vault
from models.tables.calendars import Calendar
from models.tables.due import table_of
from models.tables.events import CalendarEvent
from models.tables.outbox import OutboxEvent
from tests.providers.accounts.kit import ANNA, MEET, REDIRECT, Platform
from tests.worker.account_kit import calendar_id_of, token_of
from tests.worker.world import World
from worker import channels, connections
from worker.consenting import connect_account
from worker.linking import NewLink, come_back, make_link, redirect_uri, set_out
from worker.ports_direct import AccountCalendars
from worker.providers.google import GoogleCalendars
from worker.providers.microsoft import MicrosoftCalendars
from worker.runtime import Runtime
from worker.settings import Settings
from worker.syncing import sync_calendar
from worker.turns import Outcome

HOUR, DAY, WEEK = timedelta(hours=1), timedelta(days=1), timedelta(weeks=1)
_WRITES = "https://www.googleapis.com/auth/calendar"
CALENDARS = table_of(Calendar)
CHANNELS = channels.CHANNELS
EVENTS = table_of(CalendarEvent)
#: Who looked when; all else of an event's row is what we say of it.
_LOOKS = frozenset({"fetch", "bots_fetch"})


@dataclass(frozen=True, slots=True)
class Diary:
    """
    Somebody's own calendar, kept in the platform's own pages.

    Times are aware; the zone they are written in is that of the event. *on* names an occurrence by the
    start it has in its series, in the series' zone.
    """

    platform: Platform
    email: str = ANNA

    @property
    def is_google(self) -> bool:
        return self.platform.name == "google"

    def plan(self, title: str = "Weekly", *, start: datetime, weekly: int = 0, **wish: Any) -> str:
        """Put an hour's meeting in, or so many a week apart; its id, or the series', is returned."""
        body = self._said(title=title, start=start, link=MEET) | wish
        if weekly:
            body["recurrence"] = self.weekly_rule(start, weekly)
        return self._create(body)

    def plan_day(self, title: str, day: date, **wish: Any) -> str:
        """Put a day in, as a day."""
        if self.is_google:
            times = {"start": day.isoformat(), "end": (day + DAY).isoformat()}
            return self._create({"summary": title, **times, **wish})
        times = {
            name: f"{at.isoformat()}T00:00:00" for name, at in (("start", day), ("end", day + DAY))
        }
        return self._create({"title": title, "all_day": True, **times, **wish})

    def change(self, event: str, *, on: datetime | None = None, **wish: Any) -> None:
        """Change what is named, of an event or of one occurrence; a new start lasts an hour too."""
        body = self._said(**wish)
        if on is not None and not self.is_google:
            body["on"] = on.date().isoformat()
        self.platform.control("PATCH", self._path(event, on), body)

    def delete(self, event: str, *, on: datetime | None = None) -> None:
        path = self._path(event, on)
        if on is not None and not self.is_google:
            path += f"?on={on.date().isoformat()}"
        self.platform.control("DELETE", path)

    def split(
        self, series: str, *, first: datetime, before: int, after: int, start: datetime, **wish: Any
    ) -> str:
        """
        Change "this and following" of a weekly series that began at *first*: *before* weeks stay, and a
        new series of *after* weeks begins at *start*. The new one's id is returned.
        """
        if self.is_google:
            at = self._occurrence(series, first + before * WEEK)
            body = {
                "at": at,
                **self._said(start=start, **wish),
                "recurrence": self.weekly_rule(start, after),
            }
            done = self.platform.control("POST", f"{self._path(series)}/split", body)
            return str(done["following"]["id"])
        self.platform.control(
            "PATCH", self._path(series), {"recurrence": self.weekly_rule(first, before)}
        )
        return self.plan(start=start, weekly=after, **wish)

    def repeat(self, event: str, start: datetime, weekly: int) -> None:
        """Make a series of an event, or give a series another length."""
        self.platform.control(
            "PATCH", self._path(event), {"recurrence": self.weekly_rule(start, weekly)}
        )

    def repeat_no_more(self, series: str) -> None:
        """Leave of a series its first meeting, as an event of its own."""
        self.platform.control("PATCH", self._path(series), {"recurrence": None})

    def restore(self, series: str, *, on: datetime) -> None:
        """Have a cancelled occurrence after all; Outlook cannot."""
        self.platform.control("PATCH", self._path(series, on), {"status": "confirmed"})

    def other(self, name: str) -> str:
        """Keep another calendar too; its id is returned."""
        if self.is_google:
            body = {"account": self.email, "summary": name}
            return str(self.platform.control("POST", "/calendars", body)["id"])
        path = f"/accounts/{quote(self.email)}/calendars"
        return str(self.platform.control("POST", path, {"name": name})["id"])

    def move(self, event: str, calendar: str) -> None:
        """Drag an event into another calendar of one's own."""
        if not self.is_google:
            self.platform.control("POST", f"{self._path(event)}/move", {"calendar_id": calendar})
            return
        wish = {"account": self.email, "client_id": self.platform.app.client_id, "scopes": [_WRITES]}
        token = self.platform.control("POST", "/oauth/tokens", wish)["access_token"]
        path = f"/calendar/v3/calendars/{quote(self.email)}/events/{quote(event)}/move"
        answer = self.platform.http.post(
            f"{self.platform.url}{path}",
            params={"destination": calendar},
            headers={"Authorization": f"Bearer {token}"},
        )
        answer.raise_for_status()

    def live_in(self, zone: str) -> None:
        """Have the calendar shown in a zone."""
        if self.is_google:
            self.platform.control("PATCH", f"/calendars/{quote(self.email)}", {"time_zone": zone})
        else:
            self.platform.control("PATCH", f"/accounts/{quote(self.email)}", {"time_zone": zone})

    def forget_cursors(self) -> None:
        if self.is_google:
            self.platform.control("POST", f"/calendars/{quote(self.email)}/expire-sync-tokens", {})
        else:
            self.platform.control("POST", "/delta/forget", {})

    def _create(self, body: dict[str, Any]) -> str:
        made = self.platform.control("POST", f"/calendars/{quote(self.email)}/events", body)
        return str(made["id"])

    def _said(self, **wish: Any) -> dict[str, Any]:
        """Say it in the platform's words."""
        said = dict(wish)
        if self.is_google and "title" in said:
            said["summary"] = said.pop("title")
        start = said.get("start")
        if isinstance(start, datetime):
            said["start"], said["end"] = start.isoformat(), (start + HOUR).isoformat()
            said["zone" if self.is_google else "time_zone"] = getattr(start.tzinfo, "key", "UTC")
        return said

    def weekly_rule(self, start: datetime, times: int) -> Any:
        if self.is_google:
            return [f"RRULE:FREQ=WEEKLY;COUNT={times}"]
        return {
            "pattern": {"type": "weekly", "interval": 1, "daysOfWeek": [f"{start:%A}".lower()]},
            "range": {
                "type": "numbered",
                "numberOfOccurrences": times,
                "startDate": start.date().isoformat(),
            },
        }

    def _occurrence(self, series: str, on: datetime) -> str:
        return f"{series}_{on.astimezone(UTC):%Y%m%dT%H%M%SZ}"

    def _path(self, event: str, on: datetime | None = None) -> str:
        if not self.is_google:
            return f"/events/{quote(event, safe='')}"
        name = event if on is None else self._occurrence(event, on)
        return f"/calendars/{quote(self.email)}/events/{quote(name)}"


@dataclass
class Follower:
    """
    The real use-cases and adapters on a real database; only the bots are fakes.

    Our clock and the platforms' stand still together, at `world.at`.
    """

    db: Engine
    vault: Vault
    platforms: tuple[Platform, ...]
    world: World = field(init=False)
    calendar_id: UUID = field(init=False)

    def __post_init__(self) -> None:
        self.world = World(self.db, self.vault)
        clients: dict[str, Any] = {}
        for platform in self.platforms:
            clients[f"{platform.name}_client_id"] = platform.app.client_id
            clients[f"{platform.name}_client_secret"] = SecretStr(platform.app.client_secret)
        self.world.rt = replace(
            self.world.rt,
            settings=Settings(_env_file=None, **clients),
            authorities={platform.name: platform.authority for platform in self.platforms},
            accounts={platform.name: platform.calendars for platform in self.platforms},
        )
        self.be_at(self.world.at)

    @property
    def rt(self) -> Runtime:
        return self.world.rt

    def be_at(self, now: datetime) -> None:
        """Let it be another time, for everybody."""
        self.world.at = now
        for platform in self.platforms:
            platform.freeze(now)

    def connect(self, platform: Platform | None = None, email: str = ANNA) -> UUID:
        """Have somebody go all the way from a link to a connected calendar, which is read once."""
        at = platform or self.platforms[0]
        uris = [REDIRECT, redirect_uri(self.rt.settings, at.name)]
        at.control("POST", "/oauth/clients", {"client_id": at.app.client_id, "redirect_uris": uris})
        link = make_link(self.rt, NewLink(at.name, "direct", login_hint=email))
        departure = set_out(self.rt, token_of(link))
        answer = at.http.get(departure.url)
        assert answer.status_code in {302, 303}, answer.text
        told = parse_qs(urlsplit(answer.headers["location"]).query)
        arrival = come_back(self.rt, at.name, told["state"][0], departure.browser)
        self.calendar_id = calendar_id_of(connect_account(self.rt, arrival, told["code"][0]))
        self.look()
        return self.calendar_id

    def hear_at(self, url: str) -> None:
        """Have platforms push to where we are served from now on."""
        accounts: dict[str, AccountCalendars] = {}
        for name, calendars in self.rt.accounts.items():
            assert isinstance(calendars, GoogleCalendars | MicrosoftCalendars)
            accounts[name] = replace(calendars, notify_url=f"{url}/webhooks/{name}")
        self.world.rt = replace(self.world.rt, accounts=accounts)

    def follow(self, calendar: str) -> UUID:
        """Have Anna choose another calendar of hers beside her own; it is read once."""
        row = self.world.calendar(self.calendar_id)
        connection_id = row["connection_id"]
        chosen = connections.choose_calendars(self.rt, connection_id, [row["external_id"], calendar])
        assert chosen is not None
        (added,) = [one["calendar_id"] for one in chosen if one["external_id"] == calendar]
        self.look(UUID(added))
        return UUID(added)

    def look(
        self, calendar_id: UUID | None = None, *, told: bool = False, whole: bool = False
    ) -> Outcome:
        """
        Have a calendar looked at, and its bots put right: unasked, or *told* by a push that something
        changed; *whole* is the daily look at everything.
        """
        looked = calendar_id or self.calendar_id
        if told:
            source = self.world.calendar(looked)["source"]
            kind = {"google": "google.exists", "microsoft": "microsoft.changed"}[source]
            self.world.notify(str(looked), kind, source=source)
        self.world.ask(looked, **({"needs_full": True} if whole else {}))
        with self.db.begin() as tx:
            tx.execute(update(CALENDARS).where(CALENDARS.c.id == looked).values(due_at=func.now()))
        outcome = sync_calendar(self.rt, looked)
        self.world.reconcile_all()
        return outcome

    def keep_channels(self) -> None:
        """Open, renew and stop every channel that is due."""
        with self.db.begin() as tx:
            tx.execute(update(CHANNELS).values(due_at=func.now()))
            ids = list(tx.execute(select(CHANNELS.c.id).where(CHANNELS.c.is_pending)).scalars())
        for channel_id in ids:
            channels.keep_channel(self.rt, channel_id)

    def events(self) -> list[RowMapping]:
        """List what we hold of events that are there, the earliest first."""
        query = select(EVENTS).where(EVENTS.c.deleted.is_(False))
        with self.db.begin() as tx:
            return list(tx.execute(query.order_by(EVENTS.c.start_at, EVENTS.c.title)).mappings())

    def starts(self) -> list[datetime]:
        return [row["start_at"] for row in self.events()]

    def joins(self) -> dict[datetime, str]:
        """Return the live bots by the time at which they join."""
        joins = {bot.join_at: bot.bot_id for bot in self.world.bots.live}
        assert len(joins) == len(self.world.bots.live), "two bots for one time"
        return dict(sorted(joins.items()))

    def told(self, about: str = "bot.") -> list[str]:
        return self.world.told(about)

    def trace(self) -> object:
        """Return all that a look could leave behind, but for who looked when."""
        with self.db.begin() as tx:
            rows = tx.execute(select(EVENTS).order_by(EVENTS.c.id)).mappings().all()
            emitted = tx.execute(select(func.count()).select_from(table_of(OutboxEvent))).scalar_one()
        kept = [{name: row[name] for name in row if name not in _LOOKS} for row in rows]
        return kept, emitted, list(self.world.bots.calls)
