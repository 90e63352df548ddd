"""A database with one thing of every kind, and keys of every scope, for the API to be asked about."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Engine, insert, select

from models.db import Tx
from models.sealing import Vault, place
from models.tables.access import ApiKey
from models.tables.base import new_id
from models.tables.connections import Connection
from models.tables.due import table_of
from models.tables.events import CalendarEvent
from models.tables.inbox import Delivery
from models.tables.slots import Slot
from tests.badinput.served import ADMIN_KEY
from tests.builders import a_calendar, a_found, an_event, an_installation
from tests.webhooks.sending import a_runtime
from worker import endpoints
from worker.access import Scope, ensure_admin_key, key_digest, make_key
from worker.looked import Looked, next_fetch
from worker.oauth_clients import register
from worker.outbox import number_all
from worker.ports import Page
from worker.ports_direct import OAuthApp
from worker.runtime import Runtime
from worker.settling import settle
from worker.storing import store_page

EXPIRED_KEY = "pk_" + "expiredexpiredexpired" * 2
REVOKED_KEY = "pk_" + "revokedrevokedrevoked" * 2
#: Seals as the servers of these tests do.
VAULT = Vault([b"e" * 32])
#: What nobody without a key may be shown.
TITLE = "Merger with Umbrella"
GUEST = "guest-of-merger@elsewhere.org"


@dataclass(frozen=True, slots=True)
class Seeded:
    """Ids by kind, and keys by what they may."""

    ids: dict[str, str]
    keys: dict[str, str]
    runtime: Runtime


def seed(engine: Engine, *, endpoint_url: str = "https://hooks.example.com/punctual") -> Seeded:
    """Fill an empty database; the servers' own admin key is among the keys."""
    install_id = an_installation(engine, {"select": ["all"]})
    rt = _runtime(engine, install_id)
    calendars = [a_calendar(engine, ref) for ref in ("cal-anna", "cal-ben", "cal-carl")]
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    for number, name in enumerate(("anna", "ben")):
        _store(rt, f"event-{name}", f"cal-{name}", soon + number * timedelta(hours=2))
    settle(rt)
    number_all(rt)
    with engine.begin() as tx:
        keys = _keys(tx)
    settings = rt.settings.model_copy(update={"allow_private_endpoints": True})
    lenient = replace(rt, settings=settings)
    made = endpoints.create(lenient, endpoint_url, types=(), description=None)
    ids = {
        "calendar": str(calendars[0]),
        "event": _one(engine, select(table_of(CalendarEvent).c.id)),
        "bot": _one(engine, select(table_of(Slot).c.id)),
        "endpoint": str(made.endpoint["id"]),
        "delivery": _a_delivery(engine),
        "key": _one(engine, select(table_of(ApiKey).c.id).where(table_of(ApiKey).c.name == "read")),
        "nobody": str(uuid4()),
    }
    return Seeded(ids, keys, rt)


def connect_somebody(seeded: Seeded) -> None:
    """Have an account that was connected, through a client registered over the API, and lost its consent."""
    connection_id, vault = new_id(), seeded.runtime.vault
    app = OAuthApp("google", "client-1", "secret-1")
    with seeded.runtime.db.begin() as tx:
        register(tx, vault, app)
        where = place("connections", "refresh_token", connection_id)
        tx.execute(
            insert(table_of(Connection)).values(
                id=connection_id,
                platform=app.platform,
                account="sub-anna",
                email="anna@example.com",
                oauth_client=app.client_id,
                scopes=["openid"],
                status="needs_reauth",
                refresh_token=vault.seal("refresh-1", place=where),
            )
        )


def _runtime(engine: Engine, install_id: UUID) -> Runtime:
    return replace(a_runtime(engine), vault=VAULT, install_id=install_id)


def _store(rt: Runtime, ref: str, calendar: str, start: datetime) -> None:
    event = an_event(ref, title=TITLE, start=start)
    found = a_found(event, calendar=calendar, updated_at=datetime.now(UTC) - timedelta(hours=1))
    with rt.db.begin() as tx:
        looked = Looked("recall", next_fetch(tx), uuid4(), datetime.now(UTC))
        store_page(tx, Page(events=(found,)), looked, vault=rt.vault)


def _keys(tx: Tx) -> dict[str, str]:
    keys = {
        scope.value: str(make_key(tx, scope.value, frozenset([scope]), expires_at=None)["key"])
        for scope in Scope
    }
    yesterday = datetime.now(UTC) - timedelta(days=1)
    for key, columns in (
        (EXPIRED_KEY, {"expires_at": yesterday}),
        (REVOKED_KEY, {"revoked_at": yesterday}),
    ):
        values: dict[str, Any] = {"name": "old", "prefix": key[:6], "scopes": ["admin"], **columns}
        tx.execute(insert(table_of(ApiKey)).values(id=new_id(), digest=key_digest(key), **values))
    ensure_admin_key(tx, ADMIN_KEY)
    return {**keys, "settings": ADMIN_KEY, "expired": EXPIRED_KEY, "revoked": REVOKED_KEY}


def _a_delivery(engine: Engine) -> str:
    delivery_id = new_id()
    with engine.begin() as tx:
        tx.execute(
            insert(table_of(Delivery)).values(
                id=delivery_id,
                source="recall",
                message_id="msg_seeded",
                type="calendar.update",
                body=b'{"event":"calendar.update","data":{}}',
                state="done",
            )
        )
    return str(delivery_id)


def _one(engine: Engine, query: Any) -> str:
    with engine.begin() as tx:
        return str(tx.execute(query.limit(1)).scalar_one())
