"""
One row of Recall's event listing as a FoundEvent, or as Unreadable with the reason; never an error.

Source: Recall's OpenAPI, schema CalendarEvent; docs.recall.ai, calendar event platform data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from models.domain.events import Event, EventStatus
from worker.ports import Attachment, FoundEvent, Unreadable
from worker.providers.payloads import google, microsoft
from worker.providers.payloads.fields import MAX_ID_CHARS, UnreadableEvent, instant_at, text_at
from worker.providers.recall.reading import id_at, objects_at

LONGEST_DEDUP_KEY = 2_000  # docs.recall.ai, schedule bot for calendar event

#: Finds the address of a calendar by Recall's id for it.
EmailOf = Callable[[str], str | None]

_READER_BY_PLATFORM = {
    "google_calendar": google.read_event,
    "microsoft_outlook": microsoft.read_event,
}


def read_row(row: object, *, email_of: EmailOf) -> FoundEvent | Unreadable:
    """Read one row of a listing."""
    if not isinstance(row, dict):
        return Unreadable("", None, "row is no object")
    external_id = id_at(row)
    calendar_ref = id_at(row, "calendar_id")
    updated_at = instant_at(row, "updated_at")
    if external_id is None:
        return Unreadable("", calendar_ref, "id is missing", updated_at)
    if calendar_ref is None:
        return Unreadable(external_id, None, "calendar_id is missing", updated_at)
    if updated_at is None:
        return Unreadable(external_id, calendar_ref, "updated_at is missing or no instant")
    try:
        event = _event(row, external_id, updated_at, email_of(calendar_ref))
    except UnreadableEvent as unreadable:
        return Unreadable(external_id, calendar_ref, unreadable.reason, updated_at)
    return FoundEvent(calendar_ref, updated_at, event, attachments_of(row))


def newest_by_id(
    found: Iterable[FoundEvent | Unreadable],
) -> tuple[tuple[FoundEvent, ...], tuple[Unreadable, ...]]:
    """Split into events and unreadable rows, keeping of each id the newest; the last of equals."""
    newest: dict[str, FoundEvent | Unreadable] = {}
    nameless: list[Unreadable] = []
    for row in found:
        external_id = row.event.external_id if isinstance(row, FoundEvent) else row.external_id
        before = newest.get(external_id)
        if isinstance(row, Unreadable) and not external_id:
            nameless.append(row)
        elif before is None or _is_newer(row, before):
            newest[external_id] = row
    events = tuple(row for row in newest.values() if isinstance(row, FoundEvent))
    unreadable = (row for row in newest.values() if isinstance(row, Unreadable))
    return events, (*unreadable, *nameless)


def attachments_of(row: Mapping[str, object]) -> tuple[Attachment, ...]:
    """Read which bots an event carries; entries without a bot id are left out."""
    entries = ((id_at(entry, "bot_id"), entry) for entry in objects_at(row, "bots"))
    return tuple(
        Attachment(
            bot_id=bot_id,
            dedup_key=text_at(entry, "deduplication_key", max_chars=LONGEST_DEDUP_KEY) or None,
            join_at=instant_at(entry, "start_time"),
        )
        for bot_id, entry in entries
        if bot_id is not None
    )


def _event(
    row: Mapping[str, object], external_id: str, updated_at: datetime, calendar_email: str | None
) -> Event:
    deleted = row.get("is_deleted")
    if not isinstance(deleted, bool):
        raise UnreadableEvent("is_deleted is neither true nor false")
    try:
        read = _READER_BY_PLATFORM.get(text_at(row, "platform"))
        if read is None:
            raise UnreadableEvent("platform is unknown")
        raw = row.get("raw")
        if not isinstance(raw, dict):
            raise UnreadableEvent("raw is no object")
        return read(
            raw,
            external_id=external_id,
            calendar_email=calendar_email,
            start=instant_at(row, "start_time"),
            end=instant_at(row, "end_time"),
            deleted=deleted,
            meeting_url=text_at(row, "meeting_url") or None,
            ical_uid=text_at(row, "ical_uid", max_chars=MAX_ID_CHARS) or None,
        )
    except UnreadableEvent:
        if not deleted:
            raise
        return _tombstone(row, external_id, updated_at)


def _tombstone(row: Mapping[str, object], external_id: str, updated_at: datetime) -> Event:
    """Make the event of a row that can say nothing any more but that it was deleted."""
    start = instant_at(row, "start_time") or updated_at
    return Event(
        external_id=external_id,
        ical_uid=text_at(row, "ical_uid", max_chars=MAX_ID_CHARS),
        series_id=None,
        title="",
        start=start,
        end=max(start, instant_at(row, "end_time") or start),
        all_day=False,
        organizer=None,
        attendees=(),
        own_response=None,
        is_organizer=False,
        is_private=False,
        status=EventStatus.CANCELLED,
        deleted=True,
        link=None,
    )


def _is_newer(row: FoundEvent | Unreadable, before: FoundEvent | Unreadable) -> bool:
    if before.updated_at is None:
        return True
    return row.updated_at is not None and row.updated_at >= before.updated_at
