"""
Access tokens of connected accounts: one refresh at a time, stored before anybody uses its result.

A connection's row is what a refresh claims, so that of all processes one asks the provider. The others
wait for what it stores. A refresh token that the provider replaces is durable before the access token
that came with it is given to anybody.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

import structlog
from sqlalchemy import RowMapping, Select, and_, bindparam, func, or_, select, update
from sqlalchemy.exc import SQLAlchemyError

from models.db import Tx
from models.sealing import place
from models.tables import due
from models.tables.calendars import Calendar
from models.tables.connections import Connection
from models.tables.due import table_of
from worker import jobs
from worker.calendars.status import set_status
from worker.errors import ConsentLost, TryLater
from worker.oauth_clients import find_app
from worker.ports_direct import OAuthApp, Tokens
from worker.runtime import Runtime
from worker.turns import Outcome, take_turn

log = structlog.get_logger(__name__)

Result = TypeVar("Result")

CONNECTIONS = table_of(Connection)
CALENDARS = table_of(Calendar)

#: A token that ends sooner is not handed out: the call it is for takes its time too.
LEAST_LEFT = timedelta(minutes=1)
#: One that ends sooner is handed out, and replaced behind its back.
AHEAD = timedelta(minutes=10)
#: Of a token that lives only for a moment, these shares of its life stand for the two.
LEAST_SHARE, AHEAD_SHARE = 0.2, 0.5
#: For so long somebody waits for another's refresh.
PATIENCE = timedelta(seconds=10)
LOOK_EVERY = timedelta(milliseconds=50)
#: A refusal counts only if it comes twice: the first may have been of a token replaced meanwhile.
REFUSALS_TO_BELIEVE = 2
AFTER_REFUSAL = timedelta(seconds=2)
#: How long who holds a new refresh token waits for a database that is away: well below a job's limit.
STORING_WAITS_S = (0.1, 0.5, 1.0, 2.0, 4.0, 8.0)
#: Unused for six months a Google token dies, a Microsoft one after ninety days. Source: Google, "Using
#: OAuth 2.0" (refresh token expiration); Entra, "Refresh tokens".
KEEP_ALIVE_AFTER = timedelta(days=30)

_IS_PUT_OFF = select(
    or_(
        CONNECTIONS.c.parked_at.is_not(None),
        and_(
            CONNECTIONS.c.due_at > func.clock_timestamp(),
            func.coalesce(CONNECTIONS.c.lease_until, func.now()) <= func.clock_timestamp(),
        ),
    )
).where(CONNECTIONS.c.id == bindparam("row_id"))
_ONE: Select[tuple[object, ...]] = select(CONNECTIONS).where(CONNECTIONS.c.id == bindparam("row_id"))


@dataclass(frozen=True, slots=True)
class Access:
    """A token to call a provider with, and whose it is."""

    connection_id: UUID
    platform: str
    generation: int
    email: str | None
    token: str = field(repr=False)


def access(rt: Runtime, connection_id: UUID) -> Access:
    """
    Return an access token that is good for the next call, refreshed if need be.

    Raises:
        ConsentLost: the account has to be connected again.
        TryLater: it cannot be refreshed right now, or somebody else takes long to.
    """
    waited = timedelta()
    while True:
        row = _read(rt, connection_id)
        if not _is_live(row):
            msg = f"connection {connection_id}: {row['status_reason'] or 'disconnected'}"
            raise ConsentLost(msg)
        if _lasts(row, rt.now(), LEAST_LEFT, LEAST_SHARE):
            if not _is_fresh(row, rt.now()):
                rt.bell.ring(jobs.REFRESH, str(connection_id))
            return _opened(rt, row)
        outcome = refresh(rt, connection_id)
        if outcome is Outcome.FINISHED:
            continue
        # Who finds nothing to claim may only have come while another was claiming it.
        if waited >= PATIENCE or outcome is not Outcome.NOTHING_DUE or _is_put_off(rt, connection_id):
            raise _still_waiting(rt, connection_id)
        rt.sleep(LOOK_EVERY.total_seconds())
        waited += LOOK_EVERY


def in_name_of(rt: Runtime, connection_id: UUID, act: Callable[[Access], Result]) -> Result:
    """
    Do something with an account's access token; with another one when the first is not accepted.

    Tokens may end before their time. Raises as `access` does, and what *act* raises.
    """
    given = access(rt, connection_id)
    try:
        return act(given)
    except ConsentLost:
        refuse(rt, given)
    return act(access(rt, connection_id))


def refuse(rt: Runtime, given: Access) -> None:
    """Note that a provider did not accept an access token; the next one asked for is another."""
    with rt.db.begin() as tx:
        tx.execute(
            update(CONNECTIONS)
            .where(
                CONNECTIONS.c.id == given.connection_id,
                CONNECTIONS.c.generation == given.generation,
            )
            .values(access_token=None, access_expires_at=None)
        )


def refresh(rt: Runtime, connection_id: UUID) -> Outcome:
    """
    Refresh a connection's tokens unless somebody does or just has; safe to call at any time.

    A row that failed waits until it is due again, so that nobody storms the provider.
    """
    with rt.db.begin() as tx:
        row = _locked(tx, connection_id)
        is_fresh = _is_fresh(row, rt.now())
        if not is_fresh:
            due.ask(tx, Connection, [connection_id])
    if is_fresh and not row["is_pending"]:
        return Outcome.FINISHED
    # Who asked while another refreshed is served by that, which has to be said in the row.
    outcome = take_turn(rt, Connection, connection_id, lambda claimed: _refresh(rt, claimed))
    return Outcome.FINISHED if is_fresh else outcome


def store(
    tx: Tx, rt: Runtime, connection_id: UUID, tokens: Tokens, *, asked_at: datetime, generation: int
) -> bool:
    """
    Store what a token endpoint gave, in place of refresh token number *generation*.

    False, and nothing is stored, when another has been stored meanwhile. *asked_at* is when the
    provider was asked: a token lives from before the answer came.
    """
    values = {
        "access_token": rt.vault.seal(
            tokens.access_token, place=place("connections", "access_token", connection_id)
        ),
        "access_expires_at": asked_at + tokens.expires_in,
        "refreshed_at": asked_at,
        "refusals": 0,
        "generation": generation + 1,
        "updated_at": func.now(),
    }
    if tokens.refresh_token is not None:
        values["refresh_token"] = rt.vault.seal(
            tokens.refresh_token, place=place("connections", "refresh_token", connection_id)
        )
    stored = tx.execute(
        update(CONNECTIONS)
        .where(CONNECTIONS.c.id == connection_id, CONNECTIONS.c.generation == generation)
        .values(values)
    )
    return bool(stored.rowcount)


def ask_for_idle(tx: Tx, *, now: datetime, limit: int) -> int:
    """Ask for a refresh of connections that nobody has used for so long that they might die of it."""
    idle = (
        select(CONNECTIONS.c.id)
        .where(
            CONNECTIONS.c.status == "connected",
            CONNECTIONS.c.deleted_at.is_(None),
            CONNECTIONS.c.refreshed_at < now - KEEP_ALIVE_AFTER,
            CONNECTIONS.c.is_pending.is_(False),
        )
        .order_by(CONNECTIONS.c.refreshed_at)
        .limit(limit)
    )
    return due.ask(tx, Connection, list(tx.execute(idle).scalars()))


def _refresh(rt: Runtime, claimed: due.Claim) -> None:
    connection_id = claimed.id
    assert isinstance(connection_id, UUID)
    row = _read(rt, connection_id)
    if not _is_live(row) or _is_fresh(row, rt.now()):
        _finish(rt, claimed)
        return
    asked_at = rt.now()
    try:
        tokens = rt.authorities[row["platform"]].refresh(
            _app_of(rt, row),
            rt.vault.open(
                row["refresh_token"], place=place("connections", "refresh_token", connection_id)
            ),
        )
    except ConsentLost as lost:
        _take_refusal(rt, claimed, row, str(lost))
        return
    _store_surely(rt, claimed, row, tokens, asked_at=asked_at)
    log.info("tokens_refreshed", connection_id=str(connection_id), platform=row["platform"])


def _store_surely(
    rt: Runtime, claimed: due.Claim, row: RowMapping, tokens: Tokens, *, asked_at: datetime
) -> None:
    """Store new tokens, again and again while the database is away: nobody else has them."""
    for wait_s in (*STORING_WAITS_S, None):
        try:
            with rt.db.begin() as tx:
                # Not under the fence: a rotated token is stored by whoever got it, late or not.
                store(tx, rt, row["id"], tokens, asked_at=asked_at, generation=row["generation"])
                due.finish(tx, Connection, claimed)
        except SQLAlchemyError as failed:
            if wait_s is None:
                raise
            log.warning("tokens_not_stored", connection_id=str(row["id"]), error=type(failed).__name__)
            rt.sleep(wait_s)
        else:
            return


def _take_refusal(rt: Runtime, claimed: due.Claim, row: RowMapping, reason: str) -> None:
    """
    Believe a refusal of the present refresh token when it comes a second time.

    One of a token that a neighbour has replaced meanwhile says nothing: the neighbour's is used.
    """
    connection_id = row["id"]
    with rt.db.begin() as tx:
        present = _locked(tx, connection_id)
        if present["generation"] != row["generation"]:
            due.finish(tx, Connection, claimed)
            return
        refusals = present["refusals"] + 1
        tx.execute(
            update(CONNECTIONS).where(CONNECTIONS.c.id == connection_id).values(refusals=refusals)
        )
    if refusals < REFUSALS_TO_BELIEVE:
        raise TryLater(reason, after=AFTER_REFUSAL, counts=False, is_definite=True)
    lose(rt, connection_id, reason, generation=row["generation"])
    _finish(rt, claimed)


def lose(rt: Runtime, connection_id: UUID, reason: str, *, generation: int | None = None) -> None:
    """
    Note that an account has to be connected again, and tell the world, once for each of its calendars.

    Bots stay as they are. Nothing happens when the connection has newer tokens than *generation*.
    """
    with rt.db.begin() as tx:
        lost = update(CONNECTIONS).where(
            CONNECTIONS.c.id == connection_id, CONNECTIONS.c.status == "connected"
        )
        if generation is not None:
            lost = lost.where(CONNECTIONS.c.generation == generation)
        changed = tx.execute(
            lost.values(
                status="needs_reauth",
                status_reason=reason,
                access_token=None,
                access_expires_at=None,
                updated_at=func.now(),
            )
        )
        if not changed.rowcount:
            return
        for calendar_id in calendars_of(tx, connection_id):
            set_status(tx, calendar_id, "needs_reauth", reason, now=rt.now())
    log.warning("consent_lost", connection_id=str(connection_id), reason=reason)
    rt.bell.ring(jobs.RELAY)


def calendars_of(tx: Tx, connection_id: UUID) -> list[UUID]:
    """List the followed calendars of a connection, in the order in which rows are locked."""
    return list(
        tx.execute(
            select(CALENDARS.c.id)
            .where(CALENDARS.c.connection_id == connection_id, CALENDARS.c.deleted_at.is_(None))
            .order_by(CALENDARS.c.id)
        ).scalars()
    )


def _finish(rt: Runtime, claimed: due.Claim) -> None:
    with rt.db.begin() as tx:
        due.finish(tx, Connection, claimed)


def _app_of(rt: Runtime, row: RowMapping) -> OAuthApp:
    with rt.db.begin() as tx:
        return find_app(tx, rt.settings, rt.vault, row["platform"], row["oauth_client"])


def _opened(rt: Runtime, row: RowMapping) -> Access:
    return Access(
        connection_id=row["id"],
        platform=row["platform"],
        generation=row["generation"],
        email=row["email"],
        token=rt.vault.open(row["access_token"], place=place("connections", "access_token", row["id"])),
    )


def _read(rt: Runtime, connection_id: UUID) -> RowMapping:
    with rt.db.begin() as tx:
        return tx.execute(_ONE, {"row_id": connection_id}).mappings().one()


def _locked(tx: Tx, connection_id: UUID) -> RowMapping:
    return tx.execute(_ONE.with_for_update(), {"row_id": connection_id}).mappings().one()


def _is_live(row: RowMapping) -> bool:
    return row["status"] == "connected" and row["deleted_at"] is None


def _is_fresh(row: RowMapping, now: datetime) -> bool:
    return _lasts(row, now, AHEAD, AHEAD_SHARE)


def _lasts(row: RowMapping, now: datetime, least: timedelta, share: float) -> bool:
    """Say whether the access token lives on for *least*, or for a *share* of its life if that is less."""
    if row["access_token"] is None:
        return False
    life: timedelta = row["access_expires_at"] - row["refreshed_at"]
    return bool(row["access_expires_at"] - now > min(least, life * share))


def _is_put_off(rt: Runtime, connection_id: UUID) -> bool:
    """Say whether nobody is at it, and nobody will be for a while."""
    with rt.db.begin() as tx:
        return bool(tx.execute(_IS_PUT_OFF, {"row_id": connection_id}).scalar_one())


def _still_waiting(rt: Runtime, connection_id: UUID) -> TryLater:
    row = _read(rt, connection_id)
    what = f"connection {connection_id}: {row['last_error'] or 'its tokens are being refreshed'}"
    after = max(timedelta(seconds=1), row["due_at"] - rt.now())
    return TryLater(what, after=after, counts=False, is_definite=True)
