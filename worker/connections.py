"""Connected accounts: list them, see which calendars they offer, choose some, and let go of one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import RowMapping, func, literal, select, tuple_, update

from models.db import Tx
from models.sealing import place
from models.tables.calendars import Calendar
from models.tables.connections import Connection
from models.tables.due import table_of
from worker import channels, jobs, tokens
from worker.calendars import lock_upcoming, mark_deleted, set_status
from worker.calendars.keeping import adopt_of_connection
from worker.errors import ConfigError, Reaction
from worker.oauth_clients import CALENDAR_PLATFORM, find_app
from worker.ports_direct import OfferedCalendar
from worker.runtime import Runtime
from worker.views import moment

log = structlog.get_logger(__name__)

CONNECTIONS = table_of(Connection)
CALENDARS = table_of(Calendar)


class NotOffered(Exception):
    """A chosen calendar is not among those that the account may read."""


def list_connections(
    tx: Tx,
    *,
    after: tuple[datetime, UUID] | None,
    limit: int,
    matching: Mapping[str, str] | None = None,
) -> list[tuple[tuple[datetime, UUID], dict[str, Any]]]:
    """List connected accounts, oldest first, each with its place in the list."""
    query = select(CONNECTIONS).where(CONNECTIONS.c.deleted_at.is_(None))
    for column, value in (matching or {}).items():
        query = query.where(CONNECTIONS.c[column] == value)
    if after is not None:
        query = query.where(
            tuple_(CONNECTIONS.c.created_at, CONNECTIONS.c.id) > tuple_(*map(literal, after))
        )
    rows = tx.execute(query.order_by(CONNECTIONS.c.created_at, CONNECTIONS.c.id).limit(limit))
    return [((row["created_at"], row["id"]), connection_view(row)) for row in rows.mappings()]


def find_connection(tx: Tx, connection_id: UUID) -> dict[str, Any] | None:
    """Show one connected account; None when there is none, or not any more."""
    row = _find(tx, connection_id)
    return None if row is None else connection_view(row)


def offered_calendars(rt: Runtime, connection_id: UUID) -> list[dict[str, Any]] | None:
    """
    List the calendars an account can see now, and which of them are followed.

    Asks the provider. None when there is no such connection; raises what the ports raise.
    """
    with rt.db.begin() as tx:
        row = _find(tx, connection_id)
    if row is None:
        return None
    offered = _offered(rt, connection_id)
    with rt.db.begin() as tx:
        followed = _followed(tx, connection_id)
    return [_offer_view(one, followed.get(one.external_id)) for one in offered]


def choose_calendars(
    rt: Runtime, connection_id: UUID, chosen: Collection[str]
) -> list[dict[str, Any]] | None:
    """
    Follow exactly these calendars of an account; those left out lose their bots.

    None when there is no such connection; raises NotOffered, and what the ports raise.
    """
    with rt.db.begin() as tx:
        row = _find(tx, connection_id)
    if row is None:
        return None
    offered = _offered(rt, connection_id)
    if set(chosen) - {one.external_id for one in offered if one.may_read}:
        raise NotOffered
    with rt.db.begin() as tx:
        _follow(tx, rt, row, offered, chosen)
        followed = _followed(tx, connection_id)
    for calendar_id in followed.values():
        rt.bell.ring(jobs.SYNC_CALENDAR, str(calendar_id))
    rt.bell.ring(jobs.SETTLE)
    rt.bell.ring(jobs.RELAY)
    return [_offer_view(one, followed.get(one.external_id)) for one in offered]


def remove_connection(rt: Runtime, connection_id: UUID) -> bool:
    """
    Let go of an account: its calendars are deleted here, its channels stopped, its consent given back.

    False when there is none. Giving back is tried once: what the provider does not hear, the person
    can still do.
    """
    with rt.db.begin() as tx:
        row = _find(tx, connection_id)
        if row is None:
            return False
        calendar_ids = tokens.calendars_of(tx, connection_id)
    for calendar_id in calendar_ids:
        with rt.db.begin() as tx:
            channels.want_none(tx, calendar_id)
        _stop_channels(rt, calendar_id)
        with rt.db.begin() as tx:
            mark_deleted(tx, calendar_id, now=rt.now(), reason="deleted by the user")
    with rt.db.begin() as tx:
        tx.execute(
            update(CONNECTIONS)
            .where(CONNECTIONS.c.id == connection_id, CONNECTIONS.c.deleted_at.is_(None))
            .values(deleted_at=func.now(), access_token=None, updated_at=func.now())
        )
    _give_back(rt, row)
    rt.bell.ring(jobs.SETTLE)
    rt.bell.ring(jobs.RELAY)
    return True


def connection_view(row: RowMapping) -> dict[str, Any]:
    """Show a connected account; never a token."""
    return {
        "id": str(row["id"]),
        "platform": row["platform"],
        "email": row["email"],
        "owner": row["owner"],
        "oauth_client_id": row["oauth_client"],
        "scopes": row["scopes"],
        "status": row["status"],
        "status_reason": row["status_reason"],
        "refreshed_at": moment(row["refreshed_at"]),
        "created_at": moment(row["created_at"]),
        "updated_at": moment(row["updated_at"]),
    }


def _follow(
    tx: Tx,
    rt: Runtime,
    row: RowMapping,
    offered: Sequence[OfferedCalendar],
    chosen: Collection[str],
) -> None:
    followed = _followed(tx, row["id"])
    lock_upcoming(tx, followed.values(), now=rt.now())
    for external_id, calendar_id in followed.items():
        if external_id not in chosen:
            channels.want_none(tx, calendar_id)
            mark_deleted(tx, calendar_id, now=rt.now(), reason="not chosen any more")
    for one in offered:
        if one.external_id in chosen and one.external_id not in followed:
            calendar_id, _ = adopt_of_connection(
                tx, row["id"], source=row["platform"], external_id=one.external_id, now=rt.now()
            )
            set_status(
                tx,
                calendar_id,
                "connected",
                None,
                now=rt.now(),
                email=row["email"],
                platform=CALENDAR_PLATFORM[row["platform"]],
            )


def _offered(rt: Runtime, connection_id: UUID) -> Sequence[OfferedCalendar]:
    return tokens.in_name_of(
        rt, connection_id, lambda given: rt.accounts[given.platform].calendars(given.token)
    )


def _stop_channels(rt: Runtime, calendar_id: UUID) -> None:
    """Stop a calendar's channels now, while there is still a token to do it with."""
    with rt.db.begin() as tx:
        ids = channels.unwanted_of(tx, calendar_id)
    for channel_id in ids:
        channels.keep_channel(rt, channel_id)


def _give_back(rt: Runtime, row: RowMapping) -> None:
    try:
        with rt.db.begin() as tx:
            app = find_app(tx, rt.settings, rt.vault, row["platform"], row["oauth_client"])
        refresh_token = rt.vault.open(
            row["refresh_token"], place=place("connections", "refresh_token", row["id"])
        )
        rt.authorities[row["platform"]].revoke(app, refresh_token)
    except (Reaction, ConfigError) as failed:
        log.warning("consent_not_given_back", connection_id=str(row["id"]), error=str(failed))


def _find(tx: Tx, connection_id: UUID) -> RowMapping | None:
    live = select(CONNECTIONS).where(
        CONNECTIONS.c.id == connection_id, CONNECTIONS.c.deleted_at.is_(None)
    )
    return tx.execute(live).mappings().one_or_none()


def _followed(tx: Tx, connection_id: UUID) -> dict[str, UUID]:
    rows = tx.execute(
        select(CALENDARS.c.external_id, CALENDARS.c.id)
        .where(CALENDARS.c.connection_id == connection_id, CALENDARS.c.deleted_at.is_(None))
        .order_by(CALENDARS.c.id)
    )
    return {row.external_id: row.id for row in rows}


def _offer_view(one: OfferedCalendar, calendar_id: UUID | None) -> dict[str, Any]:
    return {
        "external_id": one.external_id,
        "name": one.name,
        "is_primary": one.is_primary,
        "may_read": one.may_read,
        "time_zone": one.zone,
        "followed": calendar_id is not None,
        "calendar_id": None if calendar_id is None else str(calendar_id),
    }
