"""
Events at the calendar provider, and when and how Recall's rows come to show them.

Sources: docs.recall.ai scheduling guide (window of -1 to +28 days, what happens to bots),
calendar-integration-faq (60 days of rows).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from worker.sandbox.recall import raw, scheduling
from worker.sandbox.recall.announcements import announce_events
from worker.sandbox.recall.forms import merged
from worker.sandbox.recall.raw import EventSpec, Origin
from worker.sandbox.recall.store import CalendarRecord, EventRecord, Workspace


def create(ws: Workspace, calendar: CalendarRecord, wish: Mapping[str, Any]) -> EventRecord:
    """
    Enter an event at the provider; `show` makes Recall notice.

    Raises:
        ValueError: the description is no good.
    """
    spec = raw.described(wish, None, ws.now())
    now = ws.stamp()
    event_id = ws.new_id()
    platform_id = raw.instance_id(calendar.platform, spec, event_id)
    event = EventRecord(
        id=event_id,
        calendar_id=calendar.id,
        platform_id=platform_id,
        spec=spec,
        created_at=now,
        updated_at=now,
        start=spec.start,
        end=spec.end,
        ical_uid=raw.ical_uid_of(calendar.platform, platform_id, spec),
    )
    ws.show(event, now)
    calendar.event_ids.add(event.id)
    ws.note("event.created", id=event.id, calendar_id=calendar.id)
    return event


def edit(ws: Workspace, event: EventRecord, wish: Mapping[str, Any]) -> None:
    """Raises ValueError: the description is no good."""
    _flush_late(event)
    event.spec = raw.described(wish, event.spec, ws.now())
    event.is_held = True


def cancel(event: EventRecord) -> None:
    """Let the organiser cancel the event."""
    _flush_late(event)
    event.spec = replace(event.spec, cancelled=True, sequence=event.spec.sequence + 1)
    event.is_held = True


def remove(event: EventRecord) -> None:
    """Delete at the provider; Recall's row becomes a tombstone."""
    _flush_late(event)
    event.spec = replace(event.spec, deleted=True, sequence=event.spec.sequence + 1)
    event.is_held = True


def transfer(ws: Workspace, event: EventRecord, calendar: CalendarRecord) -> None:
    """Give an event to another calendar under the same id. Source: docs.recall.ai calendar-v2-faq."""
    ws.calendars[event.calendar_id].event_ids.discard(event.id)
    event.calendar_id = calendar.id
    calendar.event_ids.add(event.id)
    event.is_held = True


def show(ws: Workspace, changed: Iterable[EventRecord]) -> None:
    """
    Let Recall notice changes: update the rows where its window allows, and announce once per calendar.

    Rows outside the window stay as they are until the clock brings them in; those of a calendar that is
    not connected, until it is.
    """
    oldest_by_calendar: dict[str, datetime] = {}
    shared = ws.stamp() if ws.switches.batch_shares_stamp else None
    for event in changed:
        calendar = ws.calendars[event.calendar_id]
        if not calendar.is_connected:
            continue
        if not _is_shown(ws, event):
            _plan_roll_in(ws, event)
            continue
        stamp = shared or ws.stamp()
        if _is_late(ws):
            _show_late(ws, event, calendar, stamp)
            continue
        publish(ws, event, stamp)
        oldest_by_calendar.setdefault(calendar.id, stamp)
    for calendar_id, stamp in oldest_by_calendar.items():
        announce_events(ws, ws.calendars[calendar_id], stamp)


def load(ws: Workspace, calendar: CalendarRecord) -> None:
    """Do a calendar's first or next full sync: what changed since shares one `updated_at`."""
    stamp = ws.stamp()
    loaded = 0
    for event in list(ws.events_of(calendar.id)):
        if event.is_held and _is_shown(ws, event):
            publish(ws, event, stamp)
            loaded += 1
        elif event.is_held:
            _plan_roll_in(ws, event)
        elif ws.switches.reconnect_touches_all:
            ws.show(event, stamp)
            loaded += 1
    announce_events(ws, calendar, stamp)
    ws.note("calendar.loaded", id=calendar.id, events=loaded)


def publish(ws: Workspace, event: EventRecord, stamp: datetime) -> None:
    """Make the row say what the provider says; a moved event keeps its bots as they were booked."""
    spec, calendar = event.spec, ws.calendars[event.calendar_id]
    was_at = (event.start, event.meeting_url)
    if not event.is_visible:
        event.created_at = stamp
    origin = Origin(
        calendar.platform, calendar.platform_email or "", event.platform_id, event.created_at, stamp
    )
    event.raw = raw.payload(spec, origin)
    link = raw.link_in_payload(event.raw)
    event.meeting_platform, event.meeting_url = link or (None, None)
    event.start, event.end = spec.start, spec.end
    event.ical_uid = raw.ical_uid_of(calendar.platform, event.platform_id, spec)
    is_out = (
        event.is_visible
        and not _is_in_window(ws, spec)
        and ws.switches.moved_out_of_window == "deleted"
    )
    event.is_deleted = (
        spec.deleted or is_out or (spec.cancelled and ws.switches.cancelled_maps_to_is_deleted)
    )
    event.is_visible, event.is_held = True, False
    ws.show(event, stamp)
    ws.note(
        "event.shown",
        id=event.id,
        calendar_id=calendar.id,
        is_deleted=event.is_deleted,
        updated_at=ws.text(stamp),
    )
    if event.is_deleted or spec.cancelled:
        scheduling.detach_future(ws, event, "event deleted")
    elif ws.switches.auto_reschedule and was_at != (event.start, event.meeting_url):
        scheduling.follow(ws, event)
    _plan_purge(ws, event)


def row_of(ws: Workspace, event: EventRecord) -> dict[str, Any]:
    """Render the row as the API shows it, with the patch that makes it malformed on request."""
    row = {
        "id": event.id,
        "start_time": ws.text(event.start),
        "end_time": ws.text(event.end),
        "calendar_id": event.calendar_id,
        "raw": event.raw,
        "platform": ws.calendars[event.calendar_id].platform,
        "platform_id": event.platform_id,
        "ical_uid": event.ical_uid,
        "meeting_platform": event.meeting_platform,
        "meeting_url": event.meeting_url,
        "created_at": ws.text(event.created_at),
        "updated_at": ws.text(event.updated_at),
        "is_deleted": event.is_deleted,
        "bots": [
            {
                "bot_id": ref.bot_id,
                "start_time": ws.text(ref.start_time),
                "deduplication_key": ref.deduplication_key,
                "meeting_url": ref.meeting_url,
            }
            for ref in event.refs
        ],
    }
    patched: dict[str, Any] = merged(row, event.spec.row) if event.spec.row else row
    return patched


def _is_in_window(ws: Workspace, spec: EventSpec) -> bool:
    now, limits = ws.now(), ws.limits
    since, until = (
        now - timedelta(seconds=limits.window_past_s),
        now + timedelta(seconds=limits.window_ahead_s),
    )
    return spec.end >= since and spec.start <= until


def _is_shown(ws: Workspace, event: EventRecord) -> bool:
    if _is_in_window(ws, event.spec):
        # A row that never showed does not appear as a tombstone.
        return event.is_visible or not event.spec.deleted
    return event.is_visible and (event.spec.deleted or ws.switches.moved_out_of_window != "held")


def _plan_roll_in(ws: Workspace, event: EventRecord) -> None:
    spec = event.spec
    at = spec.start - timedelta(seconds=ws.limits.window_ahead_s)
    if at <= ws.now() or spec.deleted:
        return

    def roll_in() -> None:
        calendar = ws.calendars.get(event.calendar_id)
        if event.spec is not spec or not event.is_held or calendar is None or not calendar.is_connected:
            return
        stamp = ws.stamp() if ws.switches.roll_in_bumps_updated_at else event.updated_at
        ws.slack = max(ws.slack, ws.now() - stamp)
        publish(ws, event, stamp)
        if ws.switches.roll_in_sends_webhook:
            announce_events(ws, calendar, stamp)

    ws.agenda.add(at, roll_in)


def _plan_purge(ws: Workspace, event: EventRecord) -> None:
    at = event.end + timedelta(seconds=ws.limits.retention_s)

    def purge() -> None:
        if (
            ws.events.get(event.id) is event
            and event.end + timedelta(seconds=ws.limits.retention_s) <= ws.now()
        ):
            ws.forget(event)
            ws.note("event.purged", id=event.id)

    ws.agenda.add(max(at, ws.now()), purge)


def _is_late(ws: Workspace) -> bool:
    return ws.switches.late_commit_ms > 0 and ws.random.random() < ws.switches.late_commit_rate


def _show_late(ws: Workspace, event: EventRecord, calendar: CalendarRecord, stamp: datetime) -> None:
    """Commit later with the stamp taken now, as a slow transaction would."""
    delay = timedelta(milliseconds=ws.switches.late_commit_ms)

    def commit() -> None:
        if commit not in event.late:
            return
        event.late.remove(commit)
        if event.is_held and calendar.is_connected and ws.events.get(event.id) is event:
            ws.slack = max(ws.slack, ws.now() - stamp)
            publish(ws, event, stamp)
            announce_events(ws, calendar, stamp)

    event.late.append(commit)
    ws.agenda.add(ws.now() + delay, commit)


def _flush_late(event: EventRecord) -> None:
    for commit in list(event.late):
        commit()
