"""Connect an account at Recall: one account is one calendar, however often and from wherever."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid5

import structlog
from sqlalchemy import and_, func, select
from sqlalchemy.dialects.postgresql import insert as upsert

from models.db import Tx
from models.tables.base import new_id
from models.tables.calendars import IS_OF_WORKSPACE
from worker import jobs
from worker.calendars.keeping import RECALL, adopt_row, describe
from worker.calendars.status import CALENDARS, mark_deleted, set_status
from worker.errors import AlreadyGone, ConfigError, TryLater
from worker.ports import CalendarSource, FoundCalendar, NewCalendar
from worker.runtime import Runtime
from worker.views import load_calendars

log = structlog.get_logger(__name__)

_CONNECT_LOCK = 0x434F4E4E  # any number; accounts are stored by one transaction at a time
_TWIN = "the account has another calendar"

#: Keys of create calls are derived from it.
_CONNECTING = UUID("5f4d6a8e-0c53-5b0e-8f0a-3f1f0d3c7a52")
#: How long a new calendar's address is waited for when other accounts might be the same one. Recall
#: learns the address in the background. Source: docs.recall.ai, calendar v2 FAQ (platform_email).
_ADDRESS_WAITS_S = (0.1, 0.2, 0.3, 0.5, 0.9, 1.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class _Rival:
    id: UUID
    external_id: str
    email: str | None


def connect(
    rt: Runtime,
    new: NewCalendar,
    *,
    owner: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    wait: Callable[[float], None] = time.sleep,
) -> tuple[dict[str, Any], bool]:
    """
    Connect an account at Recall, or give the calendar it has there already these credentials.

    The second value says whether the calendar is new to us. Safe to repeat. An account is known by
    platform and address; an address that was not given is waited for up to 5 s, if it matters.

    Raises ConfigError without a Recall key, and the reactions of the port.
    """
    recall = _recall_of(rt)
    found = _reconnect_known(rt, recall, new) if new.email else None
    if found is not None:
        kept = _keep(rt, found, new, owner=owner, metadata=metadata)
    else:
        found = _create(rt, recall, new)
        seen = {rival.id for rival in _rivals(rt, found.external_id, new.platform)}
        found = _with_address(rt, recall, found, new, wait=wait)
        found = _fold_into_older(rt, recall, found, new)
        kept = _keep(rt, found, new, owner=owner, metadata=metadata, only_beside=seen)
    if kept is None:  # somebody has connected another calendar meanwhile, maybe of this account
        found = _with_address(rt, recall, found, new, wait=wait)
        found = _fold_into_older(rt, recall, found, new)
        kept = _keep(rt, found, new, owner=owner, metadata=metadata)
    assert kept is not None  # nothing was asked to be beside it
    view, is_new = kept
    rt.bell.ring(jobs.SYNC_CALENDAR, str(view["id"]))
    rt.bell.ring(jobs.SETTLE)
    rt.bell.ring(jobs.RELAY)
    return view, is_new


def _keep(
    rt: Runtime,
    found: FoundCalendar,
    new: NewCalendar,
    *,
    owner: str | None,
    metadata: Mapping[str, Any] | None,
    only_beside: Collection[UUID] | None = None,
) -> tuple[dict[str, Any], bool] | None:
    """
    Store the account's calendar.

    None, and nothing is stored, when there is a calendar that may be of the same account and is none
    of those named. Accounts are stored by one transaction at a time, so one of two sees the other.
    """
    email = found.email or new.email
    platform = found.platform or new.platform
    with rt.db.begin() as tx:
        tx.execute(select(func.pg_advisory_xact_lock(_CONNECT_LOCK)))
        if only_beside is not None and any(
            rival.id not in only_beside and (email is None or _may_be(rival.email, email))
            for rival in _list_rivals(tx, found.external_id, platform)
        ):
            return None
        calendar_id, is_new = adopt_row(tx, found.external_id, revive=True, now=rt.now())
        describe(tx, calendar_id, owner=owner, metadata=metadata)
        set_status(
            tx,
            calendar_id,
            found.status,
            found.reason,
            now=rt.now(),
            email=email,
            platform=platform,
        )
        view = load_calendars(tx, [calendar_id])[calendar_id]
    return view, is_new


def _reconnect_known(rt: Runtime, recall: CalendarSource, new: NewCalendar) -> FoundCalendar | None:
    """Give the account's calendar the new credentials, wherever it is known: here or at Recall."""
    assert new.email is not None
    with rt.db.begin() as tx:
        known = _same_account(tx, new.platform, new.email)
    if known is None:
        known = next(
            (
                other.external_id
                for other in recall.calendars()
                if other.platform == new.platform and _is_same(other.email, new.email)
            ),
            None,
        )
    if known is None:
        return None
    try:
        return recall.reconnect(known, new)
    except AlreadyGone:
        return None


def _create(rt: Runtime, recall: CalendarSource, new: NewCalendar) -> FoundCalendar:
    """
    Create the calendar, the same one when repeated.

    Recall answers a repeated key from memory for an hour, even when the calendar it once made has
    been deleted since; such an answer is recognised and the call made under the next key.
    """
    told = (new.platform, new.oauth_client_id, new.oauth_client_secret, new.oauth_refresh_token)
    digest = hashlib.sha256(repr(told).encode()).hexdigest()
    key = uuid5(_CONNECTING, f"{rt.install_id}:{digest}")
    found = recall.connect(new, key=key)
    while _was_deleted(rt, found.external_id):
        key = uuid5(key, found.external_id)
        found = recall.connect(new, key=key)
    return found


def _with_address(
    rt: Runtime,
    recall: CalendarSource,
    found: FoundCalendar,
    new: NewCalendar,
    *,
    wait: Callable[[float], None],
) -> FoundCalendar:
    """Wait a little for the address of a new calendar, if another one of ours might be the same account."""
    if new.email or found.email:
        return replace(found, email=found.email or new.email)
    if not _rivals(rt, found.external_id, new.platform):
        return found
    for pause_s in _ADDRESS_WAITS_S:
        wait(pause_s)
        try:
            found = recall.calendar(found.external_id)
        except TryLater:
            continue
        if found.email or found.status in {"needs_reauth", "disconnected"}:
            break
    return found


def _fold_into_older(
    rt: Runtime, recall: CalendarSource, found: FoundCalendar, new: NewCalendar
) -> FoundCalendar:
    """Keep the calendar the account had before, with the new credentials, and remove the new one."""
    if not found.email:
        return found
    rivals = _rivals(rt, found.external_id, new.platform)
    older = next(
        (
            rival.external_id
            for rival in sorted(rivals, key=lambda rival: rival.email is None)
            if _is_same(rival.email or _learn_address(rt, recall, rival), found.email)
        ),
        None,
    )
    if older is None:
        return found
    try:
        kept = recall.reconnect(older, new)
    except AlreadyGone:
        return found
    recall.disconnect(found.external_id)
    _bury(rt, found.external_id)
    log.info("calendar_folded", kept=kept.external_id, removed=found.external_id)
    return replace(kept, email=kept.email or found.email)


def _bury(rt: Runtime, external_id: str) -> None:
    """
    Remember that a calendar is gone, whether or not anybody has seen it here.

    Recall's memory would bring it up again; see `_create`.
    """
    with rt.db.begin() as tx:
        unseen = upsert(CALENDARS).values(
            id=new_id(),
            source=RECALL,
            external_id=external_id,
            status="disconnected",
            status_reason=_TWIN,
            deleted_at=func.now(),
        )
        known = [CALENDARS.c.source, CALENDARS.c.external_id]
        tx.execute(unseen.on_conflict_do_nothing(index_elements=known, index_where=IS_OF_WORKSPACE))
        (calendar_id,) = tx.execute(
            select(CALENDARS.c.id).where(
                CALENDARS.c.source == RECALL, CALENDARS.c.external_id == external_id
            )
        ).one()
        mark_deleted(tx, calendar_id, now=rt.now(), reason=_TWIN)


def _rivals(rt: Runtime, external_id: str, platform: str) -> list[_Rival]:
    with rt.db.begin() as tx:
        return _list_rivals(tx, external_id, platform)


def _list_rivals(tx: Tx, external_id: str, platform: str) -> list[_Rival]:
    """List calendars that were here before this one and may be of the same account, oldest first."""
    live = and_(CALENDARS.c.source == RECALL, CALENDARS.c.deleted_at.is_(None))
    own = select(CALENDARS.c.created_at).where(live, CALENDARS.c.external_id == external_id)
    rivals = (
        select(CALENDARS.c.id, CALENDARS.c.external_id, CALENDARS.c.email)
        .where(
            live,
            CALENDARS.c.external_id != external_id,
            CALENDARS.c.created_at < func.coalesce(own.scalar_subquery(), func.clock_timestamp()),
            func.coalesce(CALENDARS.c.platform, platform) == platform,
        )
        .order_by(CALENDARS.c.created_at)
    )
    return [_Rival(row.id, row.external_id, row.email) for row in tx.execute(rivals)]


def _learn_address(rt: Runtime, recall: CalendarSource, rival: _Rival) -> str | None:
    """Ask Recall whose calendar this is, and remember it."""
    try:
        found = recall.calendar(rival.external_id)
    except (AlreadyGone, TryLater):
        return None
    with rt.db.begin() as tx:
        set_status(
            tx,
            rival.id,
            found.status,
            found.reason,
            now=rt.now(),
            email=found.email,
            platform=found.platform,
        )
    return found.email


def _same_account(tx: Tx, platform: str, email: str) -> str | None:
    """Find the calendar of an account, in the provider's id; a connected one first, then the oldest."""
    found: str | None = tx.execute(
        select(CALENDARS.c.external_id)
        .where(
            CALENDARS.c.source == RECALL,
            CALENDARS.c.deleted_at.is_(None),
            CALENDARS.c.platform == platform,
            func.lower(CALENDARS.c.email) == email.strip().lower(),
        )
        .order_by(CALENDARS.c.status != "connected", CALENDARS.c.created_at)
        .limit(1)
    ).scalar_one_or_none()
    return found


def _was_deleted(rt: Runtime, external_id: str) -> bool:
    with rt.db.begin() as tx:
        deleted = tx.execute(
            select(CALENDARS.c.id).where(
                CALENDARS.c.source == RECALL,
                CALENDARS.c.external_id == external_id,
                CALENDARS.c.deleted_at.is_not(None),
            )
        ).scalar_one_or_none()
    return deleted is not None


def _recall_of(rt: Runtime) -> CalendarSource:
    if rt.recall is None:
        msg = "no Recall API key is configured (PUNCTUAL_RECALL_API_KEY)"
        raise ConfigError(msg)
    return rt.recall


def _may_be(email: str | None, other: str) -> bool:
    return email is None or _is_same(email, other)


def _is_same(email: str | None, other: str) -> bool:
    return email is not None and email.strip().lower() == other.strip().lower()
