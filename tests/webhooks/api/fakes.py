"""A management API in memory of HTTP: the real application on a real database, called without a socket."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
from anyio.from_thread import BlockingPortal
from pydantic import SecretStr
from sqlalchemy import Engine, insert, select
from starlette.applications import Starlette

from models.sealing import Vault
from models.tables.access import ApiKey
from models.tables.base import new_id
from models.tables.due import table_of
from models.tables.events import CalendarEvent
from tests.builders import NOON, a_found, an_event
from tests.fakes.bell import FakeBell
from tests.fakes.calendars import FakeCalendarSource
from tests.fakes.poster import FakePoster
from tests.webhooks.api.conformity import check
from webhooks.api import routes
from worker.access import Scope, key_digest, make_key
from worker.looked import Looked, next_fetch
from worker.ports import FoundCalendar, NewCalendar, Page
from worker.runtime import Runtime
from worker.settings import Settings
from worker.settling import settle
from worker.storing import store_page

BASE_URL = "http://punctual.test"
YESTERDAY = NOON - timedelta(days=1)


@dataclass
class Clock:
    """A clock that stands still unless moved."""

    at: datetime = YESTERDAY

    def __call__(self) -> datetime:
        return self.at


@dataclass(slots=True)
class Recall(FakeCalendarSource):
    """
    A workspace that, like the real one, learns an account's address a while after it was connected.

    It answers a repeated key from memory, whatever became of the calendar. The account is what comes
    before the colon of a refresh token: `anna@example.com:1`. No call may happen while a transaction
    is open.
    """

    db: Engine | None = None
    looks_until_known: int = 1
    _looks: dict[str, int] = field(default_factory=dict)
    _account: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)

    def connect(self, new: NewCalendar, *, key: UUID) -> FoundCalendar:
        known = self._calendar_by_key.get(key)
        if known is not None:
            return self._calendars.get(known) or FoundCalendar(known, new.platform, None, "connecting")
        self._begin("connect")
        found = FoundCalendar(str(uuid4()), new.platform, new.email, "connecting")
        self._calendars[found.external_id] = found
        self._calendar_by_key[key] = found.external_id
        self._account[found.external_id] = new.oauth_refresh_token.partition(":")[0]
        self.tokens[found.external_id] = new.oauth_refresh_token
        return found

    def reconnect(self, external_id: str, new: NewCalendar) -> FoundCalendar:
        found = FakeCalendarSource.reconnect(self, external_id, new)
        self.tokens[external_id] = new.oauth_refresh_token
        return found

    def calendar(self, external_id: str) -> FoundCalendar:
        found = FakeCalendarSource.calendar(self, external_id)
        self._looks[external_id] = self._looks.get(external_id, 0) + 1
        if self._looks[external_id] >= self.looks_until_known and external_id in self._account:
            return self.put_calendar(external_id, email=self._account[external_id])
        return found

    def _begin(self, call: str) -> None:
        if self.db is not None:
            held = self.db.pool.checkedout()  # type: ignore[attr-defined]  # of the pools we use
            assert held == 0, "a call inside a transaction"
        FakeCalendarSource._begin(self, call)


class Api:
    """
    The API and somebody who calls it.

    `key` is sent with every request unless the request says otherwise; it has the scope `admin`.
    """

    def __init__(
        self, engine: Engine, portal: BlockingPortal, *, install_id: UUID | None = None
    ) -> None:
        self.clock = Clock()
        self.bell = FakeBell()
        self.poster = FakePoster()
        self.recall = Recall(db=engine)
        self.rt = Runtime(
            settings=Settings(
                _env_file=None,
                public_url=BASE_URL,
                allow_private_endpoints=True,
                database_url=SecretStr("postgresql://unused"),
            ),
            db=engine,
            vault=Vault([b"k" * 32]),
            install_id=install_id or uuid4(),
            bell=self.bell,
            poster=self.poster,
            now=self.clock,
            chance=random.random,
            recall=self.recall,
        )
        self._portal = portal
        self.restart()
        self.key = self.make_key(Scope.ADMIN)

    def restart(self, **changes: Any) -> None:
        """Start the application anew, forgetting what it kept in memory."""
        self.rt = replace(self.rt, **changes)
        app = Starlette(routes=routes(self.rt))
        transport = httpx.ASGITransport(app, raise_app_exceptions=True)
        self._client = httpx.AsyncClient(transport=transport, base_url=BASE_URL)

    def make_key(self, *scopes: Scope, expires_at: datetime | None = None) -> str:
        """Make a key with these scopes."""
        with self.rt.db.begin() as tx:
            made = make_key(tx, "test", frozenset(scopes), expires_at=expires_at)
        return str(made["key"])

    def store_key(self, key: str, **columns: Any) -> None:
        """Store a key as it is, whatever its state."""
        values = {"name": "test", "prefix": key[:6], "scopes": ["admin"], **columns}
        with self.rt.db.begin() as tx:
            tx.execute(insert(table_of(ApiKey)).values(id=new_id(), digest=key_digest(key), **values))

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = "",
        headers: dict[str, str] | None = None,
        content: bytes | None = None,
        params: dict[str, str] | None = None,
        repeat: str | None = None,
    ) -> httpx.Response:
        """Send one request; *body* goes as JSON, *content* as it is, *repeat* as the Idempotency-Key."""
        sent = dict(headers or {})
        if key is not None:
            sent.setdefault("Authorization", f"Bearer {key or self.key}")
        if repeat is not None:
            sent["Idempotency-Key"] = repeat
        if content is None and body is not None:
            content = json.dumps(body).encode()
        if content is not None:
            sent.setdefault("Content-Type", "application/json")

        async def send() -> httpx.Response:
            return await self._client.request(
                method, path, content=content, headers=sent, params=params
            )

        response = self._portal.call(send)
        check(method, response)
        return response

    def get(self, path: str, **options: Any) -> Any:
        """Get JSON that is expected to be there."""
        response = self.call("GET", path, **options)
        assert response.status_code == 200, response.text
        return response.json()

    def at_once(self, *calls: Callable[[], httpx.Response]) -> list[httpx.Response]:
        """Carry out several calls at the same time."""
        with ThreadPoolExecutor(len(calls)) as threads:
            return [future.result() for future in [threads.submit(call) for call in calls]]

    def store_event(self, ref: str = "event-1", *, calendar: str = "cal-anna", **fields: Any) -> UUID:
        """Store an event as a listing would, and return its id."""
        if fields.get("deleted"):  # only what was there once leaves a trace
            self.store_event(ref, calendar=calendar, **{**fields, "deleted": False})
        updated_at = self.clock.at + timedelta(seconds=bool(fields.get("deleted")))
        found = a_found(an_event(ref, **fields), calendar=calendar, updated_at=updated_at)
        with self.rt.db.begin() as tx:
            looked = Looked("recall", next_fetch(tx), uuid4(), self.clock.at)
            store_page(tx, Page(events=(found,)), looked, vault=self.rt.vault)
            event_id: UUID = tx.execute(
                select(CalendarEvent.id).where(CalendarEvent.external_id == ref)
            ).scalar_one()
        return event_id

    def settle(self) -> None:
        """Do what a worker would do about unsettled events."""
        settle(self.rt)


def code_of(response: httpx.Response) -> str:
    """Return the code of a problem, which has to be one."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    problem = response.json()
    assert problem["status"] == response.status_code
    return str(problem["code"])
