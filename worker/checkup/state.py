"""How the work itself stands: what waits, what was set aside, what is at risk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select

from models.db import Tx
from models.domain.times import rfc3339
from models.tables import due
from models.tables.calendars import Calendar
from models.tables.connections import Connection, PushChannel
from models.tables.events import QuarantinedEvent
from models.tables.inbox import Delivery
from models.tables.installation import Source
from models.tables.outbox import Endpoint, OutboxEvent
from models.tables.slots import Slot
from worker.checkup.finding import NAMED, Finding, counted, worded
from worker.settings import Settings
from worker.views import AT_RISK, is_at_risk

LATE_S, VERY_LATE_S = 60.0, 600.0
DUE_KINDS: Mapping[str, Any] = {
    "calendar": Calendar,
    "bot": Slot,
    "endpoint": Endpoint,
    "source": Source,
    "connection": Connection,
    "push channel": PushChannel,
}


def check_due(tx: Tx) -> Iterator[Finding]:
    """How long has the oldest work been waiting for a worker?"""
    ages: dict[str, float] = {}
    for kind, row in DUE_KINDS.items():
        table = due.table_of(row)
        age = tx.execute(
            select(func.extract("epoch", func.clock_timestamp() - func.min(table.c.due_at))).where(
                due.is_due(table)
            )
        ).scalar_one()
        if age is not None:
            ages[kind] = float(age)
    for kind, age_s in ages.items():
        if age_s > LATE_S:
            yield Finding(
                "fault" if age_s > VERY_LATE_S else "warning",
                "due work",
                f"the oldest {kind} has been waiting for {worded(timedelta(seconds=age_s))}",
                "Are workers running? More of them, or a higher provider budget, may be needed.",
            )
    if all(age_s <= LATE_S for age_s in ages.values()):
        yield Finding("ok", "due work", "nothing waits for long")


def check_parked(tx: Tx) -> Iterator[Finding]:
    """What was set aside because trying again seemed pointless?"""
    revive = {
        "calendar": "Mend the cause, then `punctual revive calendars ID`.",
        "bot": "Look at `punctual why EVENT`, mend the cause, then `punctual revive bots ID`.",
        "endpoint": "Mend the cause, then `punctual revive endpoints ID`.",
        "source": "Mend the cause, then `punctual revive source ID`.",
        "connection": "Mend the cause, then `punctual revive connections ID`.",
        "push channel": "Mend the cause, then `punctual revive channels ID`.",
    }
    is_clean = True
    for kind, row in DUE_KINDS.items():
        table = due.table_of(row)
        key = due.key_of(table)
        found = tx.execute(
            select(key, table.c.last_error)
            .where(table.c.parked_at.is_not(None))
            .order_by(table.c.parked_at)
        ).all()
        if found:
            is_clean = False
            shown = "; ".join(f"{row_id}: {error}" for row_id, error in found[:NAMED])
            yield Finding("fault", "parked", f"{counted(len(found), kind)}: {shown}", revive[kind])
    if is_clean:
        yield Finding("ok", "parked", "nothing is set aside")


def check_quarantine(tx: Tx) -> Iterator[Finding]:
    """What did a provider say that made no sense? Each event is named."""
    events, deliveries = due.table_of(QuarantinedEvent), due.table_of(Delivery)
    found = tx.execute(select(events).order_by(events.c.last_seen_at.desc())).mappings().all()
    for row in found[:NAMED]:
        yield Finding(
            "warning",
            "quarantined event",
            f"calendar {row['calendar_ref'] or 'unknown'}, event {row['external_id']}: {row['reason']}",
            "It is recorded once a readable version comes; report it with these ids.",
        )
    if len(found) > NAMED:
        yield Finding("warning", "quarantined event", f"and {len(found) - NAMED} more")
    rows = tx.execute(
        select(deliveries.c.message_id, deliveries.c.reason, deliveries.c.received_at)
        .where(deliveries.c.state.in_(["quarantined", "parked"]))
        .order_by(deliveries.c.received_at.desc())
    ).all()
    for message_id, reason, received_at in rows[:NAMED]:
        yield Finding(
            "warning",
            "quarantined delivery",
            f"{message_id}, received {rfc3339(received_at)}: {reason}",
            "Signed but not understood; after an update: `punctual deliveries replay --state quarantined`.",
        )
    if not found and not rows:
        yield Finding("ok", "quarantine", "empty")


def check_calendars(tx: Tx) -> Iterator[Finding]:
    """Which calendars have lost their connection?"""
    table = due.table_of(Calendar)
    rows = tx.execute(
        select(table.c.id, table.c.email, table.c.status, table.c.status_reason)
        .where(table.c.deleted_at.is_(None), table.c.status.in_(["needs_reauth", "disconnected"]))
        .order_by(table.c.id)
    ).all()
    for row in rows[:NAMED]:
        because = f": {row.status_reason}" if row.status_reason else ""
        yield Finding(
            "warning",
            "calendar",
            f"{row.id} is {row.status}{because}",
            "Its user has to connect it again"
            + ("; its bots stay until then." if row.status == "needs_reauth" else "."),
        )
    if len(rows) > NAMED:
        yield Finding("warning", "calendar", f"and {len(rows) - NAMED} more")
    total = tx.execute(
        select(func.count()).select_from(table).where(table.c.deleted_at.is_(None))
    ).scalar_one()
    if not rows:
        yield Finding("ok", "calendars", f"all of {total} are connected or connecting")


def check_bots(tx: Tx, *, now: datetime) -> Iterator[Finding]:
    """Which meetings that begin within minutes have no confirmed bot?"""
    table = due.table_of(Slot)
    rows = tx.execute(
        select(table)
        .where(table.c.is_wanted, table.c.ends_at > now, table.c.join_at <= now + AT_RISK)
        .order_by(table.c.join_at)
    ).mappings()
    risky = [row for row in rows if is_at_risk(row, now=now)]
    for row in risky[:NAMED]:
        error = f"; last error: {row['last_error']}" if row["last_error"] else ""
        yield Finding(
            "fault",
            "bot at risk",
            f"{row['id']} should join at {rfc3339(row['join_at'])} and is {row['bot_state']}{error}",
            "`punctual why EVENT` of one of its events tells what happened.",
        )
    if not risky:
        yield Finding("ok", "bots", "none is at risk")


def check_outbox(tx: Tx, settings: Settings) -> Finding:
    """Do domain events leave?"""
    outbox = due.table_of(OutboxEvent)
    has_broker = settings.amqp_url is not None
    waits: ColumnElement[bool] = (outbox.c.published_at if has_broker else outbox.c.position).is_(None)
    size, age, refused = tx.execute(
        select(
            func.count(),
            func.extract("epoch", func.clock_timestamp() - func.min(outbox.c.created_at)),
            func.count().filter(outbox.c.publish_tries > 0),
        ).where(waits)
    ).one()
    if not size:
        return Finding("ok", "outbox", "every domain event has gone out")
    age_s = float(age)
    if has_broker and refused:
        return Finding(
            "fault" if age_s > VERY_LATE_S else "warning",
            "outbox",
            f"the broker returned {refused} of {size} waiting domain events:"
            f" no queue is bound to the exchange {settings.events_exchange!r}",
            "Bind a consumer's queue, or set PUNCTUAL_EVENTS_URL to nothing to publish none.",
        )
    return Finding(
        "ok" if age_s < LATE_S else "warning" if age_s < VERY_LATE_S else "fault",
        "outbox",
        f"{size} domain events wait, the oldest for {worded(timedelta(seconds=age_s))}",
        None if age_s < LATE_S else "Is a worker running, and does the broker answer?",
    )


def check_endpoints(tx: Tx) -> Iterator[Finding]:
    """Which subscribers get nothing, or fail?"""
    table = due.table_of(Endpoint)
    rows = tx.execute(
        select(table.c.id, table.c.state, table.c.state_reason, table.c.failing_since)
        .where(or_(table.c.state == "disabled", table.c.failing_since.is_not(None)))
        .order_by(table.c.id)
    ).all()
    for row in rows[:NAMED]:
        if row.state == "disabled":
            what = f"{row.id} is disabled ({row.state_reason or 'no reason given'})"
            yield Finding("warning", "endpoint", what, f"`punctual endpoints enable {row.id}`")
        else:
            what = f"{row.id} has been failing since {rfc3339(row.failing_since)}"
            yield Finding(
                "warning", "endpoint", what, f"`punctual endpoints test {row.id}` shows the answer"
            )
    if not rows:
        yield Finding("ok", "endpoints", "all of them accept what we post")
