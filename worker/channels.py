"""
Push channels: who tells us that a calendar changed, opened, renewed with overlap, and stopped.

A channel's secret carries what it is about, under a mark that only we can make, so that the receiver
needs no table to know a notification for ours. Losing every push costs time, nothing else: see upkeep.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy import RowMapping, func, insert, select, update

from models.db import Tx
from models.sealing import Vault
from models.tables import due
from models.tables.base import new_id
from models.tables.calendars import Calendar
from models.tables.connections import PushChannel
from models.tables.due import table_of
from worker import jobs, tokens
from worker.errors import AlreadyGone, ConsentLost, TryLater
from worker.ports_direct import ChannelTaken, OpenChannel
from worker.runtime import Runtime
from worker.tokens import Access
from worker.turns import Outcome, still_mine, take_turn

log = structlog.get_logger(__name__)

CHANNELS = table_of(PushChannel)
CALENDARS = table_of(Calendar)

#: How long a channel is asked to live. Google's can die without a word, so they are kept short;
#: Microsoft's may live 10,080 minutes. Sources: Calendar API, push notifications; Graph, subscription.
LIFE = {"google": timedelta(days=2), "microsoft": timedelta(days=6, hours=20)}
#: A channel that kept quiet about so many changes in a row is taken to be dead.
MOST_MISSED = 2


@dataclass(frozen=True, slots=True)
class ChannelMark:
    """What a channel's secret says: which channel, and which calendar it is about."""

    channel_id: UUID
    calendar_id: UUID


def secret_of(vault: Vault, mark: ChannelMark) -> str:
    """Write a channel's secret: 109 characters, fewer than Graph's 128 and Google's 256."""
    return f"{mark.channel_id.hex}.{mark.calendar_id.hex}.{vault.mark(_text(mark))}"


def read_secret(vault: Vault, secret: str) -> ChannelMark | None:
    """Read a secret that we wrote; None for any other."""
    channel, _, rest = secret.partition(".")
    calendar, _, given = rest.partition(".")
    try:
        mark = ChannelMark(UUID(hex=channel), UUID(hex=calendar))
    except ValueError:
        return None
    return mark if vault.bears(_text(mark), given) else None


def want_one(tx: Tx, calendar_id: UUID) -> None:
    """Make sure that a calendar has a channel, or will have one."""
    wanted = select(CHANNELS.c.id).where(
        CHANNELS.c.calendar_id == calendar_id, CHANNELS.c.is_wanted, CHANNELS.c.closed_at.is_(None)
    )
    if tx.execute(wanted.limit(1)).first() is None:
        _add(tx, calendar_id)


def replace(tx: Tx, calendar_id: UUID) -> None:
    """Have a new channel take over from the one a calendar has."""
    _add(tx, calendar_id)


def want_none(tx: Tx, calendar_id: UUID) -> None:
    """Have every channel of a calendar stopped."""
    _give_up(tx, calendar_id, but=None)


def unwanted_of(tx: Tx, calendar_id: UUID) -> list[UUID]:
    """List a calendar's channels that are to be stopped."""
    query = select(CHANNELS.c.id).where(
        CHANNELS.c.calendar_id == calendar_id,
        CHANNELS.c.is_wanted.is_(False),
        CHANNELS.c.closed_at.is_(None),
    )
    return list(tx.execute(query).scalars())


def heard(tx: Tx, calendar_id: UUID, *, is_ending: bool = False) -> None:
    """Note that a calendar's channel told us something; one that *is ending* has to be renewed now."""
    open_ones = (
        update(CHANNELS)
        .where(
            CHANNELS.c.calendar_id == calendar_id,
            CHANNELS.c.is_wanted,
            CHANNELS.c.opened_at.is_not(None),
            CHANNELS.c.closed_at.is_(None),
        )
        .values(heard_at=func.now(), missed=0)
        .returning(CHANNELS.c.id)
    )
    ids = list(tx.execute(open_ones).scalars())
    if is_ending:
        due.ask(tx, PushChannel, ids)


def missed(tx: Tx, calendar_id: UUID) -> None:
    """Note that a look of our own found what no channel had told; a channel that keeps quiet is replaced."""
    quiet = tx.execute(
        update(CHANNELS)
        .where(
            CHANNELS.c.calendar_id == calendar_id,
            CHANNELS.c.is_wanted,
            CHANNELS.c.closed_at.is_(None),
            CHANNELS.c.opened_at.is_not(None),
        )
        .values(missed=CHANNELS.c.missed + 1)
        .returning(CHANNELS.c.missed)
    ).scalars()
    if any(count >= MOST_MISSED for count in quiet):
        log.warning("push_channel_quiet", calendar_id=str(calendar_id))
        _add(tx, calendar_id)


def ask_for_ageing(tx: Tx, *, now: datetime, limit: int) -> int:
    """Ask for the channels of which half the life is over: time enough for a day's outage."""
    latest = max(LIFE.values()) / 2
    ageing = (
        select(CHANNELS.c.id)
        .where(
            CHANNELS.c.closed_at.is_(None),
            CHANNELS.c.is_wanted,
            CHANNELS.c.is_pending.is_(False),
            CHANNELS.c.expires_at < now + latest,
            CHANNELS.c.expires_at - now < now - CHANNELS.c.opened_at,
        )
        .order_by(CHANNELS.c.expires_at)
        .limit(limit)
    )
    return due.ask(tx, PushChannel, list(tx.execute(ageing).scalars()))


def keep_channel(rt: Runtime, channel_id: UUID) -> Outcome:
    """Open, renew or stop one channel, whatever it needs; safe to call at any time."""
    return take_turn(rt, PushChannel, channel_id, lambda claimed: _keep(rt, claimed, channel_id))


def _keep(rt: Runtime, claimed: due.Claim, channel_id: UUID) -> None:
    with rt.db.begin() as tx:
        channel = tx.execute(select(CHANNELS).where(CHANNELS.c.id == channel_id)).mappings().one()
        calendar = (
            tx.execute(select(CALENDARS).where(CALENDARS.c.id == channel["calendar_id"]))
            .mappings()
            .one()
        )
        still_mine(tx, PushChannel, claimed)
    is_over = channel["closed_at"] is not None
    is_wanted = channel["is_wanted"] and calendar["deleted_at"] is None
    if is_over:
        _finish(rt, claimed)
    elif not is_wanted:
        _stop(rt, claimed, channel, calendar)
    elif calendar["status"] != "connected":
        _finish(rt, claimed)  # once it is connected again, reading it asks for a channel
    elif channel["opened_at"] is None:
        _open(rt, claimed, channel, calendar)
    else:
        _renew(rt, claimed, channel, calendar)


def _open(rt: Runtime, claimed: due.Claim, channel: RowMapping, calendar: RowMapping) -> None:
    mark = ChannelMark(channel["id"], calendar["id"])

    def open_it(access: Access) -> OpenChannel:
        return rt.accounts[access.platform].open_channel(
            access.token,
            calendar["external_id"],
            channel_id=mark.channel_id,
            secret=secret_of(rt.vault, mark),
            until=rt.now() + LIFE[access.platform],
        )

    try:
        opened = tokens.in_name_of(rt, calendar["connection_id"], open_it)
    except AlreadyGone as gone:
        raise TryLater(str(gone)) from gone  # the next look at the calendar says whether it is
    except ChannelTaken:
        # The one that an unanswered call opened ends by itself; nothing says how to stop it.
        with rt.db.begin() as tx:
            still_mine(tx, PushChannel, claimed)
            _close(tx, channel["id"])
            _add(tx, calendar["id"])
            due.finish(tx, PushChannel, claimed)
        return
    with rt.db.begin() as tx:
        # What changed between the last look and now, nobody has told us.
        due.ask(tx, Calendar, [calendar["id"]])
        still_mine(tx, PushChannel, claimed)
        _store(tx, channel["id"], opened)
        _give_up(tx, calendar["id"], but=channel["id"])
        due.finish(tx, PushChannel, claimed)
    rt.bell.ring(jobs.SYNC_CALENDAR, str(calendar["id"]))
    log.info("push_channel_opened", calendar_id=str(calendar["id"]), channel_id=str(channel["id"]))


def _renew(rt: Runtime, claimed: due.Claim, channel: RowMapping, calendar: RowMapping) -> None:
    """Let a channel live longer; where that cannot be, open another, which then ends this one."""

    def renew_it(access: Access) -> OpenChannel | None:
        until = rt.now() + LIFE[access.platform]
        return rt.accounts[access.platform].renew_channel(
            access.token, channel["external_id"], until=until
        )

    try:
        renewed, is_gone = tokens.in_name_of(rt, calendar["connection_id"], renew_it), False
    except AlreadyGone:
        renewed, is_gone = None, True
    with rt.db.begin() as tx:
        if is_gone:
            due.ask(tx, Calendar, [calendar["id"]])
        still_mine(tx, PushChannel, claimed)
        if renewed is not None:
            _store(tx, channel["id"], renewed)
        else:
            _add(tx, calendar["id"])
        if is_gone:
            _close(tx, channel["id"])
        due.finish(tx, PushChannel, claimed)


def _stop(rt: Runtime, claimed: due.Claim, channel: RowMapping, calendar: RowMapping) -> None:
    """Stop a channel; one that we have no token for any more ends by itself."""

    def stop_it(access: Access) -> None:
        rt.accounts[access.platform].close_channel(access.token, channel["id"], channel["external_id"])

    if channel["external_id"] is not None:
        try:
            tokens.in_name_of(rt, calendar["connection_id"], stop_it)
        except (AlreadyGone, ConsentLost) as gone:
            log.info("push_channel_left", channel_id=str(channel["id"]), reason=str(gone))
    with rt.db.begin() as tx:
        still_mine(tx, PushChannel, claimed)
        _close(tx, channel["id"])
        due.finish(tx, PushChannel, claimed)


def _add(tx: Tx, calendar_id: UUID) -> None:
    """Ask for a channel; an unopened one that is wanted already will do."""
    unopened = select(CHANNELS.c.id).where(
        CHANNELS.c.calendar_id == calendar_id,
        CHANNELS.c.is_wanted,
        CHANNELS.c.opened_at.is_(None),
        CHANNELS.c.closed_at.is_(None),
    )
    channel_id = tx.execute(unopened.limit(1)).scalar_one_or_none()
    if channel_id is None:
        channel_id = new_id()
        tx.execute(insert(CHANNELS).values(id=channel_id, calendar_id=calendar_id))
    due.ask(tx, PushChannel, [channel_id])


def _give_up(tx: Tx, calendar_id: UUID, *, but: UUID | None) -> None:
    given_up = (
        update(CHANNELS)
        .where(
            CHANNELS.c.calendar_id == calendar_id,
            CHANNELS.c.id.is_distinct_from(but),
            CHANNELS.c.is_wanted,
            CHANNELS.c.closed_at.is_(None),
        )
        .values(is_wanted=False)
        .returning(CHANNELS.c.id)
    )
    due.ask(tx, PushChannel, list(tx.execute(given_up).scalars()))


def _store(tx: Tx, channel_id: UUID, opened: OpenChannel) -> None:
    tx.execute(
        update(CHANNELS)
        .where(CHANNELS.c.id == channel_id)
        .values(
            external_id=opened.external_id,
            opened_at=func.now(),
            expires_at=opened.expires_at,
            missed=0,
        )
    )


def _close(tx: Tx, channel_id: UUID) -> None:
    tx.execute(update(CHANNELS).where(CHANNELS.c.id == channel_id).values(closed_at=func.now()))


def _finish(rt: Runtime, claimed: due.Claim) -> None:
    with rt.db.begin() as tx:
        due.finish(tx, PushChannel, claimed)


def _text(mark: ChannelMark) -> str:
    return f"push channel {mark.channel_id} of calendar {mark.calendar_id}"
