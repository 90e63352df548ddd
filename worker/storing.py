"""Store one page of a listing: typed events, their decisions, and the domain events, in one transaction."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, bindparam, func, insert, select, true, update

from models.db import Tx
from models.domain.times import rfc3339
from models.sealing import Vault, place
from models.tables import due
from models.tables.base import new_id
from models.tables.calendars import Calendar
from models.tables.due import table_of
from models.tables.events import CalendarEvent
from models.tables.slots import Slot, Want
from worker.deciding import decide_rows, lock_events, stored_person
from worker.looked import Looked
from worker.news import tell_changes
from worker.ports import FoundEvent, Page
from worker.quarantining import release, set_aside
from worker.views import load_events

EVENTS = table_of(CalendarEvent)
CALENDARS = table_of(Calendar)


@dataclass(frozen=True, slots=True)
class Stored:
    """What a page changed: how many events were news, and the newest version seen on it."""

    changed: int
    newest_at: datetime | None


def store_page(tx: Tx, page: Page, looked: Looked, *, vault: Vault) -> Stored:
    """
    Apply a page: new and changed events, tombstones, and rows that could not be read.

    Safe to repeat: the same page again changes and emits nothing. An event with an older version
    than the stored one is left alone. Calendars that we do not follow are passed over.
    """
    set_aside(tx, page.unreadable, looked.shelf)
    calendars = _calendars(tx, {found.calendar_ref for found in page.events}, looked)
    followed = _newest([found for found in page.events if found.calendar_ref in calendars])
    refs = [found.event.external_id for found in followed]
    refs += [row.external_id for row in page.unreadable]
    known = _known(tx, refs, looked)
    fresh: list[tuple[UUID, FoundEvent]] = []
    changed: list[tuple[RowMapping, FoundEvent]] = []
    for found in followed:
        row = known.get(found.event.external_id)
        if row is None:
            if not found.event.deleted:
                fresh.append((new_id(), found))
        elif is_news(row, found, looked):
            changed.append((row, found))
    before = load_events(tx, [row["id"] for row, _ in changed], vault=vault, redact=True)
    _insert(tx, fresh, calendars, looked, vault=vault)
    _update(tx, changed, calendars, looked, vault=vault)
    rest = {row["external_id"] for row, _ in changed}
    _note_seen(tx, [known[ref] for ref in refs if ref in known and ref not in rest], followed, looked)
    _ask_where_bots_moved(tx, followed, known, looked)
    release(tx, [found.event.external_id for found in followed], looked.shelf)
    ids = [event_id for event_id, _ in fresh] + [row["id"] for row, _ in changed]
    decide_rows(tx, ids, now=looked.now)
    tell_changes(tx, ids, before, looked, vault=vault)
    versions = [found.updated_at for found in page.events]
    versions += [row.updated_at for row in page.unreadable if row.updated_at]
    return Stored(changed=len(ids), newest_at=max(versions, default=None))


def _calendars(tx: Tx, refs: set[str], looked: Looked) -> dict[str, UUID]:
    found = tx.execute(
        select(CALENDARS.c.external_id, CALENDARS.c.id).where(
            CALENDARS.c.source == looked.source,
            CALENDARS.c.external_id.in_(refs),
            CALENDARS.c.deleted_at.is_(None),
            true() if looked.within is None else CALENDARS.c.id == looked.within,
        )
    )
    return {row.external_id: row.id for row in found}


def _newest(found: Sequence[FoundEvent]) -> list[FoundEvent]:
    """Keep the newest version of each event; of equals the later one on the page."""
    by_id: dict[str, FoundEvent] = {}
    for one in found:
        other = by_id.get(one.event.external_id)
        if other is None or one.updated_at >= other.updated_at:
            by_id[one.event.external_id] = one
    return list(by_id.values())


def _known(tx: Tx, refs: Sequence[str], looked: Looked) -> dict[str, RowMapping]:
    # Of a workspace wherever it is stored: Google's ownership transfer moves an event id to another
    # calendar (docs.recall.ai, calendar v2 FAQ).
    ids = (
        tx.execute(
            select(EVENTS.c.id)
            .join(CALENDARS, CALENDARS.c.id == EVENTS.c.calendar_id)
            .where(
                CALENDARS.c.source == looked.source,
                EVENTS.c.external_id.in_(refs),
                true() if looked.within is None else EVENTS.c.calendar_id == looked.within,
            )
        )
        .scalars()
        .all()
    )
    return {row["external_id"]: row for row in lock_events(tx, ids)}


def is_news(row: RowMapping | Mapping[str, Any], found: FoundEvent, looked: Looked) -> bool:
    """
    Say whether what a look found takes the place of the event we have; *row* holds what is stored of it.

    An older version does not, and neither does one that says the same.
    """
    if looked.within is not None:
        is_older = looked.fetch < row["fetch"]
    else:
        is_older = (found.updated_at, looked.fetch) < (row["provider_updated_at"], row["fetch"])
    if is_older:
        return False
    is_back = row["deleted"] and not found.event.deleted  # a listing may have missed it
    return bool(is_back or row["content_hash"] != content_hash(found))


def content_hash(found: FoundEvent) -> bytes:
    """Fingerprint what an event says; equal exactly when nothing that we keep differs."""
    event = found.event
    said = [
        found.calendar_ref,
        event.ical_uid,
        event.series_id,
        event.title,
        rfc3339(event.start),
        rfc3339(event.end),
        event.all_day,
        None if event.organizer is None else stored_person(event.organizer),
        [stored_person(person) for person in event.attendees],
        event.own_response,
        event.is_organizer,
        event.is_private,
        event.status,
        event.deleted,
        None if event.link is None else [event.link.platform, event.link.url, event.link.key],
    ]
    return hashlib.sha256(json.dumps(said).encode()).digest()[:16]


def _columns(
    event_id: UUID,
    found: FoundEvent,
    calendars: Mapping[str, UUID],
    looked: Looked,
    *,
    vault: Vault,
) -> dict[str, Any]:
    event = found.event
    return {
        "calendar_id": calendars[found.calendar_ref],
        "external_id": event.external_id,
        "ical_uid": event.ical_uid,
        "series_id": event.series_id,
        "title": event.title,
        "start_at": event.start,
        "end_at": event.end,
        "all_day": event.all_day,
        "organizer": None if event.organizer is None else stored_person(event.organizer),
        "attendees": [stored_person(person) for person in event.attendees],
        "own_response": None if event.own_response is None else str(event.own_response),
        "is_organizer": event.is_organizer,
        "is_private": event.is_private,
        "status": str(event.status),
        "deleted": event.deleted,
        "meeting_platform": None if event.link is None else event.link.platform,
        "meeting_url": None
        if event.link is None
        else vault.seal(event.link.url, place=place("calendar_events", "meeting_url", event_id)),
        "link_key": None if event.link is None else event.link.key,
        "provider_updated_at": found.updated_at,
        "content_hash": content_hash(found),
        "fetch": looked.fetch,
        "run_id": looked.run_id,
        "notified_at": looked.notified_at,
        "unsettled": True,
    }


def _insert(
    tx: Tx,
    fresh: Sequence[tuple[UUID, FoundEvent]],
    calendars: Mapping[str, UUID],
    looked: Looked,
    *,
    vault: Vault,
) -> None:
    if fresh:
        tx.execute(
            insert(EVENTS),
            [
                {
                    "id": event_id,
                    "bots": stored_attachments(found),
                    "bots_fetch": looked.fetch,
                    **_columns(event_id, found, calendars, looked, vault=vault),
                }
                for event_id, found in fresh
            ],
        )


def _update(
    tx: Tx,
    changed: Sequence[tuple[RowMapping, FoundEvent]],
    calendars: Mapping[str, UUID],
    looked: Looked,
    *,
    vault: Vault,
) -> None:
    _write(
        tx,
        [
            {
                "id": row["id"],
                **_columns(row["id"], found, calendars, looked, vault=vault),
                **_bots_shown(row, found, looked),
            }
            for row, found in changed
        ],
        updated_at=func.now(),
    )


def _note_seen(tx: Tx, rows: Sequence[RowMapping], found: Sequence[FoundEvent], looked: Looked) -> None:
    """Remember what this look showed of events that are no news, readable or not: they are not missing."""
    found_by_ref = {one.event.external_id: one for one in found}
    _write(tx, [_seen(row, found_by_ref.get(row["external_id"]), looked) for row in rows])


def _seen(row: RowMapping, found: FoundEvent | None, looked: Looked) -> dict[str, Any]:
    seen = {
        "id": row["id"],
        "fetch": max(row["fetch"], looked.fetch),
        "provider_updated_at": row["provider_updated_at"],
        "bots": row["bots"],
        "bots_fetch": row["bots_fetch"],
    }
    if found is None:
        return seen
    newest = max(row["provider_updated_at"], found.updated_at)
    return seen | {"provider_updated_at": newest} | _bots_shown(row, found, looked)


def _bots_shown(row: RowMapping, found: FoundEvent, looked: Looked) -> dict[str, Any]:
    """Return the bots that the provider shows on an event, as stored; what a later look saw stays."""
    if looked.fetch <= row["bots_fetch"]:
        return {"bots": row["bots"], "bots_fetch": row["bots_fetch"]}
    return {"bots": stored_attachments(found), "bots_fetch": looked.fetch}


def _write(tx: Tx, rows: Sequence[Mapping[str, Any]], **more: Any) -> None:  # noqa: ANN401  # SQL expressions
    """Update locked events, each with its own values of the same columns, in one round trip."""
    if not rows:
        return
    names = [name for name in rows[0] if name != "id"]
    values = {name: bindparam(f"new_{name}", type_=EVENTS.c[name].type) for name in names}
    tx.execute(
        update(EVENTS).where(EVENTS.c.id == bindparam("row_id")).values(**values, **more),
        [{"row_id": row["id"], **{f"new_{name}": row[name] for name in names}} for row in rows],
    )


def _ask_where_bots_moved(
    tx: Tx, found: Sequence[FoundEvent], known: Mapping[str, RowMapping], looked: Looked
) -> None:
    """Ask for the slots of events we knew on which the provider shows other bots than we thought."""
    moved = [
        row["id"]
        for one in found
        if (row := known.get(one.event.external_id)) is not None
        and _bots_shown(row, one, looked)["bots"] != row["bots"]
    ]
    if moved:
        slots = tx.execute(select(Want.slot_id).where(Want.event_id.in_(moved)).distinct())
        due.ask(tx, Slot, list(slots.scalars()))


def stored_attachments(found: FoundEvent) -> list[dict[str, Any]]:
    """Return the provider's bots of an event as stored."""
    return [{"bot_id": one.bot_id, "dedup_key": one.dedup_key} for one in found.attachments]
