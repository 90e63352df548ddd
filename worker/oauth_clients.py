"""Which OAuth clients there are: the operator's own, one per platform, and those registered over the API."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, delete, func, literal, select, tuple_
from sqlalchemy.dialects.postgresql import insert as upsert

from models.db import Tx
from models.sealing import Vault, place
from models.tables.base import new_id
from models.tables.connections import OAuthClient
from models.tables.due import table_of
from worker.errors import ConfigError
from worker.ports_direct import OAuthApp
from worker.settings import Settings
from worker.views import moment

CLIENTS = table_of(OAuthClient)

#: What a platform's calendars are called in the API. Source: Recall's OpenAPI, Calendar.platform.
CALENDAR_PLATFORM = {"google": "google_calendar", "microsoft": "microsoft_outlook"}


def default_app(settings: Settings, platform: str) -> OAuthApp | None:
    """Return the client that the settings name for a platform, None when they name none."""
    match platform:
        case "google":
            client_id, secret = settings.google_client_id, settings.google_client_secret
            tenant = None
        case _:
            client_id, secret = settings.microsoft_client_id, settings.microsoft_client_secret
            tenant = settings.microsoft_tenant
    if client_id is None or secret is None:
        return None
    return OAuthApp(platform, client_id, secret.get_secret_value(), tenant)


def find_app(
    tx: Tx, settings: Settings, vault: Vault, platform: str, client_id: str | None
) -> OAuthApp:
    """
    Return a client by its id, or the platform's default: the settings' own, else the newest.

    Raises ConfigError when there is none.
    """
    default = default_app(settings, platform)
    if default is not None and client_id in {None, default.client_id}:
        return default
    query = select(CLIENTS).where(CLIENTS.c.platform == platform)
    if client_id is not None:
        query = query.where(CLIENTS.c.client_id == client_id)
    row = tx.execute(query.order_by(CLIENTS.c.created_at.desc()).limit(1)).mappings().one_or_none()
    if row is None:
        which = "an OAuth client" if client_id is None else "this OAuth client"
        msg = (
            f"{which} of {platform} is not configured"
            f" (PUNCTUAL_{platform.upper()}_CLIENT_ID, or POST /v1/oauth-clients)"
        )
        raise ConfigError(msg)
    secret = vault.open(row["client_secret"], place=_place(row["id"]))
    return OAuthApp(platform, row["client_id"], secret, row["tenant"])


def register(tx: Tx, vault: Vault, app: OAuthApp) -> tuple[dict[str, Any], bool]:
    """Store a client, or the new secret of one we have; the second value says whether it is new."""
    known = tx.execute(
        select(CLIENTS.c.id).where(
            CLIENTS.c.platform == app.platform, CLIENTS.c.client_id == app.client_id
        )
    ).scalar_one_or_none()
    row_id = known or new_id()
    values = {
        "client_secret": vault.seal(app.client_secret, place=_place(row_id)),
        "tenant": app.tenant,
    }
    stored = upsert(CLIENTS).values(id=row_id, platform=app.platform, client_id=app.client_id, **values)
    row = (
        tx.execute(
            stored.on_conflict_do_update(
                index_elements=[CLIENTS.c.id], set_={**values, "updated_at": func.now()}
            ).returning(CLIENTS)
        )
        .mappings()
        .one()
    )
    return client_view(row), known is None


def list_clients(
    tx: Tx, *, after: tuple[datetime, UUID] | None, limit: int
) -> list[tuple[tuple[datetime, UUID], dict[str, Any]]]:
    """List the registered clients, oldest first, each with its place in the list; never a secret."""
    query = select(CLIENTS)
    if after is not None:
        query = query.where(tuple_(CLIENTS.c.created_at, CLIENTS.c.id) > tuple_(*map(literal, after)))
    rows = tx.execute(query.order_by(CLIENTS.c.created_at, CLIENTS.c.id).limit(limit)).mappings()
    return [((row["created_at"], row["id"]), client_view(row)) for row in rows]


def forget(tx: Tx, client_id: UUID) -> bool:
    """Remove a registered client; its connections cannot be refreshed any more. False: there is none."""
    return bool(tx.execute(delete(CLIENTS).where(CLIENTS.c.id == client_id)).rowcount)


def client_view(row: RowMapping) -> dict[str, Any]:
    """Show a client without its secret."""
    return {
        "id": str(row["id"]),
        "platform": row["platform"],
        "client_id": row["client_id"],
        "tenant": row["tenant"],
        "created_at": moment(row["created_at"]),
        "updated_at": moment(row["updated_at"]),
    }


def _place(row_id: UUID) -> str:
    return place("oauth_clients", "client_secret", row_id)
