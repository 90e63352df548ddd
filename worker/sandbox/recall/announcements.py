"""The two calendar webhooks. Source: docs.recall.ai calendar-v2-webhooks."""

from __future__ import annotations

from datetime import datetime, timedelta

from worker.sandbox.recall.forms import rendered
from worker.sandbox.recall.store import CalendarRecord, Workspace


def announce_calendar(ws: Workspace, calendar: CalendarRecord) -> None:
    """Say that the calendar object changed."""
    _send(ws, calendar, "calendar.update", {"calendar_id": calendar.id})


def announce_events(ws: Workspace, calendar: CalendarRecord, changed_at: datetime) -> None:
    """
    Say that rows with `updated_at` from *changed_at* on are worth a look.

    With `sync_debounce_ms`, changes share one message that names the oldest of them.
    """
    if ws.switches.sync_debounce_ms <= 0:
        _send_sync(ws, calendar, changed_at)
        return
    is_waiting = calendar.pending_sync is not None
    calendar.pending_sync = min(changed_at, calendar.pending_sync or changed_at)
    if not is_waiting:
        ws.agenda.add(
            ws.now() + timedelta(milliseconds=ws.switches.sync_debounce_ms),
            lambda: _flush(ws, calendar),
        )


def _flush(ws: Workspace, calendar: CalendarRecord) -> None:
    changed_at, calendar.pending_sync = calendar.pending_sync, None
    if changed_at is not None and not calendar.deleted:
        _send_sync(ws, calendar, changed_at)


def _send_sync(ws: Workspace, calendar: CalendarRecord, changed_at: datetime) -> None:
    # Webhooks render instants with a numeric offset, whatever the API does (Svix catalogue examples).
    data = {"calendar_id": calendar.id, "last_updated_ts": rendered(changed_at, with_z=False)}
    _send(ws, calendar, "calendar.sync_events", data)


def _send(ws: Workspace, calendar: CalendarRecord, event: str, data: dict[str, str]) -> None:
    ws.send(event, dict(data), calendar_id=calendar.id)
    if ws.switches.webhook_url_still_posts and calendar.webhook_url:
        ws.outgoing.queue(event, dict(data), ws.now(), ws.random, url=calendar.webhook_url)
