"""Read everything stored that has to do with one event."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, and_, or_, select

from models.db import Tx
from models.domain.emitted import subject_of
from models.tables.calendars import Calendar
from models.tables.due import table_of
from models.tables.events import CalendarEvent
from models.tables.inbox import Delivery
from models.tables.outbox import OutboxEvent
from models.tables.slots import ProviderBot, Slot, Want
from models.tables.trail import SyncRun, TrailEntry

CALENDARS = table_of(Calendar)
EVENTS = table_of(CalendarEvent)
DELIVERIES = table_of(Delivery)
OUTBOX = table_of(OutboxEvent)
BOTS = table_of(ProviderBot)
SLOTS = table_of(Slot)
WANTS = table_of(Want)
RUNS = table_of(SyncRun)
TRAIL = table_of(TrailEntry)

#: The newest rows of each source that are read; older ones are cut, and `truncated` says so.
MOST_ROWS = 500
_PROVIDERS = {"recall": "Recall", "google": "Google", "microsoft": "Microsoft"}


@dataclass(frozen=True, slots=True)
class Around:
    """One event with its calendar, its slots, and what happened to all of them."""

    event: RowMapping
    calendar: RowMapping
    slots: Mapping[UUID, RowMapping]
    trail: Sequence[RowMapping]
    runs: Sequence[RowMapping]
    deliveries: Sequence[RowMapping]
    emitted: Sequence[RowMapping]

    @property
    def provider(self) -> str:
        source: str = self.calendar["source"]
        return _PROVIDERS.get(source, source)


def find_event(tx: Tx, name: str) -> UUID | None:
    """Return the event called *name*: our id, else the provider's; None when there is none."""
    try:
        if tx.execute(select(EVENTS.c.id).where(EVENTS.c.id == UUID(name))).first() is not None:
            return UUID(name)
    except ValueError:  # no id of ours looks like that
        pass
    theirs: UUID | None = tx.execute(
        select(EVENTS.c.id)
        .where(EVENTS.c.external_id == name)
        .order_by(EVENTS.c.updated_at.desc())
        .limit(1)
    ).scalar_one_or_none()
    return theirs


def read_around(tx: Tx, event_id: UUID) -> Around | None:
    """Read what there is about an event; None when there is no such event."""
    event = tx.execute(select(EVENTS).where(EVENTS.c.id == event_id)).mappings().one_or_none()
    if event is None:
        return None
    calendar = (
        tx.execute(select(CALENDARS).where(CALENDARS.c.id == event["calendar_id"])).mappings().one()
    )
    own = _newest_trail(tx, TRAIL.c.event_id == event_id)
    slot_ids = {row["slot_id"] for row in own} | {event["attached_slot_id"], wanted_slot(tx, event_id)}
    slot_ids -= {None}
    slots = tx.execute(select(SLOTS).where(SLOTS.c.id.in_(slot_ids))).mappings()
    of_slots = _newest_trail(tx, and_(TRAIL.c.slot_id.in_(slot_ids), TRAIL.c.event_id.is_(None)))
    trail = sorted([*own, *of_slots], key=lambda row: row["id"])
    run_ids = {row["run_id"] for row in own} | {event["run_id"]}
    runs = tx.execute(select(RUNS).where(RUNS.c.id.in_(run_ids - {None}))).mappings().all()
    subjects = [subject_of("calendar_event", event_id)]
    subjects += [subject_of("bot", slot_id) for slot_id in slot_ids]
    emitted = tx.execute(
        select(OUTBOX)
        .where(OUTBOX.c.subject.in_(subjects))
        .order_by(OUTBOX.c.created_at.desc(), OUTBOX.c.sequence.desc())
        .limit(MOST_ROWS)
    )
    return Around(
        event=event,
        calendar=calendar,
        slots={row["id"]: row for row in slots},
        trail=trail,
        runs=runs,
        deliveries=_read_deliveries(tx, calendar, run_ids - {None}, slot_ids),
        emitted=emitted.mappings().all(),
    )


def _newest_trail(tx: Tx, condition: Any) -> list[RowMapping]:  # noqa: ANN401  # SQLAlchemy's own type is private
    rows = tx.execute(select(TRAIL).where(condition).order_by(TRAIL.c.id.desc()).limit(MOST_ROWS))
    return list(rows.mappings())


def _read_deliveries(
    tx: Tx, calendar: RowMapping, run_ids: Iterable[UUID], slot_ids: Iterable[UUID]
) -> Sequence[RowMapping]:
    """Read the notifications that led to the event's syncs, and those about its bots."""
    bots = select(BOTS.c.id).where(BOTS.c.slot_id.in_(list(slot_ids)))
    is_about_calendar = and_(
        DELIVERIES.c.source == calendar["source"],
        DELIVERIES.c.run_id.in_(list(run_ids)),
        DELIVERIES.c.ref.in_([calendar["external_id"], str(calendar["id"])]),
    )
    is_about_bot = and_(
        DELIVERIES.c.ref.in_(bots),
        DELIVERIES.c.type.startswith("bot."),
        DELIVERIES.c.source == "recall",
    )
    found = tx.execute(
        select(*(column for column in DELIVERIES.c if column.name != "body"))
        .where(or_(is_about_calendar, is_about_bot))
        .order_by(DELIVERIES.c.received_at.desc())
        .limit(MOST_ROWS)
    )
    return found.mappings().all()


def wanted_slot(tx: Tx, event_id: UUID) -> UUID | None:
    """Return the slot that an event calls for."""
    return tx.execute(select(WANTS.c.slot_id).where(WANTS.c.event_id == event_id)).scalar_one_or_none()


def shared_with(tx: Tx, event: RowMapping, slot: RowMapping) -> list[dict[str, str]]:
    """
    List the other events that call for the same bot, and what makes them the same meeting.

    `ical_uid`: iCalendar UID and start agree; else `link`: only meeting link and start do.
    """
    found = tx.execute(
        select(
            EVENTS.c.id, EVENTS.c.calendar_id, EVENTS.c.ical_uid, EVENTS.c.start_at, CALENDARS.c.source
        )
        .join(WANTS, WANTS.c.event_id == EVENTS.c.id)
        .join(CALENDARS, CALENDARS.c.id == EVENTS.c.calendar_id)
        .where(WANTS.c.slot_id == slot["id"], EVENTS.c.id != event["id"])
        .order_by(EVENTS.c.created_at, EVENTS.c.id)
        .limit(MOST_ROWS)
    )
    meeting = (event["ical_uid"], event["start_at"])
    return [
        {
            "event_id": str(row.id),
            "calendar_id": str(row.calendar_id),
            "source": row.source,
            "same": "ical_uid" if row.ical_uid and (row.ical_uid, row.start_at) == meeting else "link",
        }
        for row in found
    ]
