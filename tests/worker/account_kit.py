"""An installation whose users connect their own accounts: fakes outside, everything else real."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import psycopg
from pydantic import SecretStr
from sqlalchemy import Engine, RowMapping, func, select, update
from sqlalchemy.exc import OperationalError

from models.db import Tx
from models.sealing import Vault
from models.tables.calendars import Calendar
from models.tables.connections import Connection, PushChannel
from models.tables.due import table_of
from tests.fakes import FakeAccountCalendars, FakeAuthority
from tests.worker.world import World
from worker import channels, tokens
from worker.consenting import Connected, connect_account
from worker.linking import NewLink, come_back, make_link, set_out
from worker.ports_direct import Account
from worker.runtime import Runtime
from worker.settings import Settings
from worker.syncing import sync_calendar
from worker.turns import Outcome

ANNA = Account("sub-anna", "anna@example.com")
READS = frozenset({"https://www.googleapis.com/auth/calendar.events.readonly"})
CONNECTIONS = table_of(Connection)
CHANNELS = table_of(PushChannel)
CALENDARS = table_of(Calendar)


@dataclass
class Accounts:
    """The parts, and the verbs a test speaks in."""

    db: Engine
    vault: Vault
    authority: FakeAuthority = field(default_factory=FakeAuthority)
    accounts: FakeAccountCalendars = field(default_factory=FakeAccountCalendars)
    world: World = field(init=False)

    def __post_init__(self) -> None:
        self.world = World(self.db, self.vault)
        settings = Settings(
            _env_file=None,
            google_client_id="client-1",
            google_client_secret=SecretStr("secret-1"),
            microsoft_client_id="client-2",
            microsoft_client_secret=SecretStr("secret-2"),
        )
        self.world.rt = replace(
            self.world.rt,
            settings=settings,
            authorities={"google": self.authority, "microsoft": self.authority},
            accounts={"google": self.accounts, "microsoft": self.accounts},
        )

    @property
    def rt(self) -> Runtime:
        return self.world.rt

    def link(self, platform: str = "google", **wish: Any) -> dict[str, Any]:
        """Make a link for a user."""
        return make_link(self.rt, NewLink(platform, wish.pop("via", "direct"), **wish))

    def connect(
        self, account: Account = ANNA, *, scopes: frozenset[str] | None = None, **wish: Any
    ) -> Connected:
        """Have a user go all the way from a link to a connected calendar."""
        platform = wish.get("platform", "google")
        departure = set_out(self.rt, token_of(self.link(**wish)))
        state = parse_qs(urlsplit(departure.url).query)["state"][0]
        arrival = come_back(self.rt, platform, state, departure.browser)
        granted = scopes or (READS if platform == "google" else frozenset({"Calendars.Read"}))
        return connect_account(self.rt, arrival, self.authority.consent(account, granted))

    def read(self, calendar_id: UUID) -> Outcome:
        """Give a calendar the look that it is due for, at once."""
        with self.db.begin() as tx:
            tx.execute(update(CALENDARS).values(due_at=func.now()))
        return sync_calendar(self.rt, calendar_id)

    def keep_channels(self) -> None:
        """Open, renew and stop every channel that is due."""
        with self.db.begin() as tx:
            tx.execute(update(CHANNELS).values(due_at=func.now()))
            ids = list(tx.execute(select(CHANNELS.c.id).where(CHANNELS.c.is_pending)).scalars())
        for channel_id in ids:
            channels.keep_channel(self.rt, channel_id)

    def connection(self) -> RowMapping:
        """Return the one connection there is."""
        with self.db.begin() as tx:
            return tx.execute(select(CONNECTIONS)).mappings().one()

    def channels(self) -> list[RowMapping]:
        """Return the channels that are not closed, oldest first."""
        query = select(CHANNELS).where(CHANNELS.c.closed_at.is_(None)).order_by(CHANNELS.c.id)
        with self.db.begin() as tx:
            return list(tx.execute(query).mappings())

    def let_token_expire(self) -> None:
        """Let the access token's life be over."""
        self.world.at += timedelta(hours=2)

    def refresh(self) -> Outcome:
        """Refresh the one connection, past any wait."""
        with self.db.begin() as tx:
            tx.execute(update(CONNECTIONS).values(due_at=func.now()))
        return tokens.refresh(self.rt, self.connection()["id"])


class UnsteadyDatabase:
    """An engine that is away for a while, once it is told to be."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._left = self._times = 0

    def be_away_for(self, times: int, *, after: int = 0) -> None:
        """Begin no transaction so many times, *after* some that are begun."""
        self._left, self._times = after, times

    def begin(self) -> AbstractContextManager[Tx]:
        self._left -= 1
        if self._left < 0 < self._times:
            self._times -= 1
            raise OperationalError("BEGIN", None, psycopg.OperationalError("the server is away"))
        return self._engine.begin()


def on_unsteady_database(rt: Runtime) -> tuple[Runtime, UnsteadyDatabase]:
    """Put a runtime on a database that may be away."""
    unsteady = UnsteadyDatabase(rt.db)
    return replace(rt, db=cast("Engine", unsteady)), unsteady


def calendar_id_of(connected: Connected) -> UUID:
    return UUID(connected.calendar["id"])


def token_of(link: Mapping[str, Any]) -> str:
    """Take the token out of a link's address."""
    found = re.fullmatch(r"http://127\.0\.0\.1:8080/connect/([\w-]+)", link["url"])
    assert found is not None
    return found[1]
