"""Push channels: are calendars that we read ourselves told of by one that lives, speaks and is renewed?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import RowMapping, select

from models.db import Tx
from models.tables import due
from models.tables.connections import PushChannel
from worker.checkup.accounts import CALENDARS, IS_READ_DIRECTLY
from worker.checkup.finding import NAMED, Finding, counted

CHANNELS = due.table_of(PushChannel)

#: A channel is opened within seconds after its calendar was read.
OPENED_WITHIN = timedelta(minutes=5)
#: Renewal begins at half a channel's life; with less than this share left it is late.
LATE_SHARE = 0.25


def check_channels(tx: Tx, *, now: datetime) -> Iterator[Finding]:
    """Which calendars have no live channel, a silent one, or one that ends before long?"""
    read = select(CALENDARS.c.id).where(IS_READ_DIRECTLY, CALENDARS.c.last_synced_at.is_not(None))
    calendars = list(tx.execute(read.order_by(CALENDARS.c.id)).scalars())
    channels: dict[UUID, list[RowMapping]] = defaultdict(list)
    wanted = select(CHANNELS).where(CHANNELS.c.is_wanted, CHANNELS.c.closed_at.is_(None))
    for row in tx.execute(wanted.order_by(CHANNELS.c.expires_at)).mappings():
        channels[row["calendar_id"]].append(row)
    without: list[str] = []
    silent: list[str] = []
    late: list[str] = []
    for calendar_id in calendars:
        live = [one for one in channels[calendar_id] if _lives(one, now)]
        if not live:
            if not any(_is_young(one, now) for one in channels[calendar_id]):
                without.append(_named(calendar_id, channels[calendar_id]))
            continue
        longest = live[-1]
        if longest["missed"]:
            silent.append(str(calendar_id))
        if (longest["expires_at"] - now) < (longest["expires_at"] - longest["opened_at"]) * LATE_SHARE:
            late.append(_named(calendar_id, channels[calendar_id]))
    yield from _told(without, silent, late)
    if not (without or silent or late):
        yield Finding(
            "ok", "push channels", f"{counted(len(calendars), 'calendar')}, each with a live one"
        )


def _told(without: Sequence[str], silent: Sequence[str], late: Sequence[str]) -> Iterator[Finding]:
    if without:
        yield Finding(
            "warning",
            "push channels",
            f"{counted(len(without), 'calendar')} without a live one: {_some(without)}",
            "Changes are found by looking. Is the push address public and https? What was set aside is"
            " tried again by `punctual revive channels --all`.",
        )
    if silent:
        yield Finding(
            "warning",
            "push channels",
            f"{len(silent)} kept quiet about changes that our own looks found: {_some(silent)}",
            "Such a channel is replaced by itself. If it is many of them, see whether the proxy lets"
            " POST /webhooks/google and /webhooks/microsoft through.",
        )
    if late:
        yield Finding(
            "warning",
            "push channels",
            f"{len(late)} about to expire and not renewed: {_some(late)}",
            "Is a worker running? The error says what the provider objects to.",
        )


def _lives(channel: RowMapping, now: datetime) -> bool:
    return channel["opened_at"] is not None and channel["expires_at"] > now


def _is_young(channel: RowMapping, now: datetime) -> bool:
    return channel["opened_at"] is None and channel["created_at"] > now - OPENED_WITHIN


def _named(calendar_id: UUID, channels: Sequence[RowMapping]) -> str:
    errors = [one["last_error"] for one in channels if one["last_error"]]
    return f"{calendar_id} ({errors[-1]})" if errors else str(calendar_id)


def _some(names: Sequence[str]) -> str:
    more = f"; and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return "; ".join(names[:NAMED]) + more
