"""
What follows a person's consent: the account is connected, by either road, and its calendar followed.

The same account again is the same connection with new tokens; what it missed meanwhile is caught up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import RowMapping, func, insert, select, update

from models.db import Tx
from models.domain.scopes import may_read_events, scopes_to_ask
from models.sealing import place
from models.tables.base import new_id
from models.tables.connections import Connection
from models.tables.due import table_of
from worker import calendars, jobs, tokens
from worker.calendars import set_status
from worker.calendars.keeping import adopt_of_connection, describe
from worker.errors import ConsentLost, Refused
from worker.linking import Arrival, redirect_uri, use_up
from worker.oauth_clients import CALENDAR_PLATFORM, find_app
from worker.ports import NewCalendar
from worker.ports_direct import Account, OAuthApp, OfferedCalendar, Tokens
from worker.runtime import Runtime
from worker.views import load_calendars

log = structlog.get_logger(__name__)

CONNECTIONS = table_of(Connection)
_ACCOUNT_LOCK = 0x4143434F  # any number; accounts are stored by one transaction at a time


class NotAllowed(Exception):
    """The person did not allow what is needed to read a calendar."""


@dataclass(frozen=True, slots=True)
class Connected:
    """A calendar that a person has just connected, as the API shows it."""

    calendar: Mapping[str, Any]
    is_new: bool


def connect_account(rt: Runtime, arrival: Arrival, code: str) -> Connected:
    """
    Turn the code of a consent into a connected calendar, and use up the link.

    Raises:
        NotAllowed: the consent does not cover reading a calendar, or not for longer than an hour.
        ConsentLost: the code is not good (any more).
        AuthorizationLost: the operator's OAuth client is not accepted.
    """
    link = arrival.link
    platform = link["platform"]
    with rt.db.begin() as tx:
        app = find_app(tx, rt.settings, rt.vault, platform, link["oauth_client"])
    authority = rt.authorities[platform]
    asked_at = rt.now()
    given = authority.redeem(
        app, code, redirect_uri=redirect_uri(rt.settings, platform), verifier=arrival.verifier
    )
    asked_for = scopes_to_ask(platform, link["via"], link["scopes"])
    granted = sorted(given.scopes if given.scopes is not None else asked_for)
    if given.refresh_token is None or not may_read_events(platform, granted):
        raise NotAllowed
    account = authority.account(given.access_token)
    if link["via"] == "recall":
        return _hand_to_recall(rt, link, app, account, given.refresh_token)
    offered = _offered(rt, platform, given.access_token, account)
    return _connect_directly(rt, link, app, account, given, granted, offered, asked_at=asked_at)


def _hand_to_recall(
    rt: Runtime, link: RowMapping, app: OAuthApp, account: Account, refresh_token: str
) -> Connected:
    """
    Give Recall the consent; from then on it alone uses and rotates the refresh token.

    Source: docs.recall.ai, calendar v2 integration guide.
    """
    new = NewCalendar(
        platform=CALENDAR_PLATFORM[app.platform],
        oauth_client_id=app.client_id,
        oauth_client_secret=app.client_secret,
        oauth_refresh_token=refresh_token,
        email=account.email,
    )
    view, is_new = calendars.connect(rt, new, owner=link["owner"], metadata=link["metadata"])
    with rt.db.begin() as tx:
        use_up(tx, link["id"], calendar_id=UUID(view["id"]))
    return Connected(view, is_new)


def _offered(
    rt: Runtime, platform: str, access_token: str, account: Account
) -> Sequence[OfferedCalendar]:
    """List the account's calendars; without leave to list, Google's primary one is known by address."""
    try:
        return rt.accounts[platform].calendars(access_token)
    except (ConsentLost, Refused) as refused:
        if platform == "google" and account.email is not None:
            return [OfferedCalendar(account.email, account.email, is_primary=True, may_read=True)]
        raise NotAllowed from refused


def _connect_directly(
    rt: Runtime,
    link: RowMapping,
    app: OAuthApp,
    account: Account,
    given: Tokens,
    granted: Sequence[str],
    offered: Sequence[OfferedCalendar],
    *,
    asked_at: datetime,
) -> Connected:
    primary = next((one for one in offered if one.is_primary and one.may_read), None)
    if primary is None:
        raise NotAllowed
    with rt.db.begin() as tx:
        connection_id = _store_connection(tx, rt, link, app, account, given, granted, asked_at=asked_at)
        calendar_id, is_new = adopt_of_connection(
            tx, connection_id, source=app.platform, external_id=primary.external_id, now=rt.now()
        )
        describe(tx, calendar_id, owner=link["owner"], metadata=link["metadata"])
        ids = tokens.calendars_of(tx, connection_id)
        for known in ids:
            calendars.look_again(tx, known)
            set_status(
                tx,
                known,
                "connected",
                None,
                now=rt.now(),
                email=account.email,
                platform=CALENDAR_PLATFORM[app.platform],
            )
        use_up(tx, link["id"], calendar_id=calendar_id)
        view = load_calendars(tx, [calendar_id])[calendar_id]
    for known in ids:
        rt.bell.ring(jobs.SYNC_CALENDAR, str(known))
    rt.bell.ring(jobs.RELAY)
    log.info("account_connected", connection_id=str(connection_id), platform=app.platform)
    return Connected(view, is_new)


def _store_connection(
    tx: Tx,
    rt: Runtime,
    link: RowMapping,
    app: OAuthApp,
    account: Account,
    given: Tokens,
    granted: Sequence[str],
    *,
    asked_at: datetime,
) -> UUID:
    """Store a consent: the account's connection gets new tokens, or the account its first connection."""
    assert given.refresh_token is not None
    tx.execute(select(func.pg_advisory_xact_lock(_ACCOUNT_LOCK)))
    known = (
        tx.execute(
            select(CONNECTIONS.c.id, CONNECTIONS.c.generation)
            .where(
                CONNECTIONS.c.platform == app.platform,
                CONNECTIONS.c.account == account.id,
                CONNECTIONS.c.deleted_at.is_(None),
            )
            .with_for_update()
        )
        .mappings()
        .one_or_none()
    )
    described = {
        "email": account.email,
        "oauth_client": app.client_id,
        "scopes": list(granted),
        "status": "connected",
        "status_reason": None,
        **({"owner": link["owner"]} if link["owner"] is not None else {}),
    }
    if known is None:
        connection_id, generation = new_id(), 0
        first = rt.vault.seal(
            given.refresh_token, place=place("connections", "refresh_token", connection_id)
        )
        tx.execute(
            insert(CONNECTIONS).values(
                id=connection_id,
                platform=app.platform,
                account=account.id,
                refresh_token=first,
                generation=generation,
                **described,
            )
        )
    else:
        connection_id, generation = known["id"], known["generation"]
        tx.execute(update(CONNECTIONS).where(CONNECTIONS.c.id == connection_id).values(**described))
    tokens.store(tx, rt, connection_id, given, asked_at=asked_at, generation=generation)
    return connection_id
