"""
`/api/v2/calendar-events/`: lists, one event, and its bot.

Source: docs.recall.ai reference, calendar_events_*.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from worker.sandbox.recall import events, scheduling
from worker.sandbox.recall.answers import Answer, Call, invalid, not_found
from worker.sandbox.recall.api_bots import checked_config
from worker.sandbox.recall.api_calendars import (
    REQUIRED,
    asked_instant,
    cursor_page,
    refuse_unknown_query,
)
from worker.sandbox.recall.forms import instant
from worker.sandbox.recall.store import EventRecord, Workspace, is_between

KEY_LIMIT = 2000
_QUERY = {
    "calendar_id", "cursor", "ical_uid", "is_deleted", "start_time", "start_time__gte", "start_time__lte",
    "updated_at__gte",
}  # fmt: skip
_TRUTH = {"true": True, "True": True, "1": True, "false": False, "False": False, "0": False}


def list_(ws: Workspace, call: Call) -> Answer:
    """List one page of the rows that fit all filters."""
    refuse_unknown_query(ws, call, _QUERY)
    order = ws.switches.events_order
    descending, name = order.startswith("-"), order.removeprefix("-")
    field = {"start_time": "start"}.get(name, name)

    def position(event: EventRecord) -> str:
        return str(getattr(event, field))

    asked = (
        order,
        *((key, tuple(call.query[key])) for key in sorted(call.query) if key in _QUERY - {"cursor"}),
    )
    rows, positions = ws.listing(
        asked,
        lambda: sorted(_fitting(ws, call), key=lambda row: (position(row), row.id), reverse=descending),
        position,
    )
    shown = cursor_page(ws, call, positions, ws.limits.page_size, descending=descending)
    start, end = shown.pop("range")
    return Answer(200, shown | {"results": [events.row_of(ws, row) for row in rows[start:end]]})


def retrieve(ws: Workspace, call: Call) -> Answer:
    """Show one row."""
    return Answer(200, events.row_of(ws, _found(ws, call.id)))


async def schedule(ws: Workspace, call: Call) -> Answer:
    """Attach a bot; while the key is held, others on it get 409."""
    event = _found(ws, call.id)
    key, config = _checked_booking(call.body)
    join_at = config.get("join_at")
    keys = scheduling.future_keys(ws, event) | {key}
    scheduling.hold_keys(ws, keys)
    try:
        await _take_time(ws)
        scheduling.schedule(
            ws,
            event,
            key,
            config,
            join_at=instant(join_at) if join_at else None,
            meeting_url=config.get("meeting_url"),
        )
    finally:
        ws.busy_keys -= keys
    return Answer(200, events.row_of(ws, event))


async def unschedule(ws: Workspace, call: Call) -> Answer:
    """Detach the bot; repeated, it answers the same."""
    event = _found(ws, call.id)
    keys = scheduling.future_keys(ws, event)
    scheduling.hold_keys(ws, keys)
    try:
        await _take_time(ws)
        scheduling.unschedule(ws, event)
    finally:
        ws.busy_keys -= keys
    return Answer(200, events.row_of(ws, event))


async def _take_time(ws: Workspace) -> None:
    if ws.limits.schedule_latency_ms:
        await asyncio.sleep(ws.limits.schedule_latency_ms / 1000)


def _found(ws: Workspace, event_id: str) -> EventRecord:
    event = ws.events.get(event_id)
    if event is None or not event.is_visible:
        raise not_found("CalendarEvent")
    return event


def _fitting(ws: Workspace, call: Call) -> list[EventRecord]:
    calendar_id, ical_uid = call.one("calendar_id"), call.one("ical_uid")
    is_deleted, at = call.one("is_deleted"), asked_instant(call, "start_time")
    since, until = asked_instant(call, "start_time__gte"), asked_instant(call, "start_time__lte")
    changed_since = asked_instant(call, "updated_at__gte")
    if calendar_id is not None:
        calendar_id = _uuid(calendar_id)
    if is_deleted is not None and is_deleted not in _TRUTH:
        raise invalid({"is_deleted": ["Must be a valid boolean."]}, plain=True)
    rows: Iterable[EventRecord]
    if changed_since is not None:
        rows = ws.changed_since(changed_since)
    elif calendar_id is not None:
        rows = ws.events_of(calendar_id)
    else:
        rows = ws.events.values()
    return [
        row
        for row in rows
        if row.is_visible
        and (calendar_id is None or row.calendar_id == calendar_id)
        and (is_deleted is None or row.is_deleted == _TRUTH[is_deleted])
        and (ical_uid is None or row.ical_uid.startswith(ical_uid))
        and (at is None or row.start == at)
        and is_between(row.start, since, until)
    ]


def _uuid(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise invalid({"calendar_id": ["Enter a valid UUID."]}, plain=True) from error


def _checked_booking(body: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    errors: dict[str, list[str]] = {}
    key, config = body.get("deduplication_key"), body.get("bot_config")
    if "deduplication_key" not in body:
        errors["deduplication_key"] = [REQUIRED]
    elif not isinstance(key, str) or not key:
        errors["deduplication_key"] = [
            "Not a valid string." if key != "" else "This field may not be blank."
        ]
    elif len(key) > KEY_LIMIT:
        errors["deduplication_key"] = [f"Ensure this field has no more than {KEY_LIMIT} characters."]
    if "bot_config" not in body:
        errors["bot_config"] = [REQUIRED]
    elif not isinstance(config, dict):
        errors["bot_config"] = ["Expected an object."]
    else:
        errors |= checked_config(config)
    if errors:
        raise invalid(errors)
    assert isinstance(key, str)
    assert isinstance(config, dict)
    return key, config
