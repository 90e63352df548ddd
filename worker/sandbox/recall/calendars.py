"""
Calendars: connecting, connected, disconnected, gone.

Sources: docs.recall.ai calendar-v2-webhooks, calendar-v2-faq, calendar-integration-faq,
calendar-v2-google-calendar. The refresh token decides the outcome: `rt:<email>` connects that mailbox;
`bad_grant`, `no_scope` and `bad_secret` (the latter also as client secret) fail; anything else connects.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from worker.sandbox.recall import events, scheduling
from worker.sandbox.recall.announcements import announce_calendar
from worker.sandbox.recall.answers import ApiError
from worker.sandbox.recall.forms import Json
from worker.sandbox.recall.store import CalendarRecord, Workspace

PLATFORMS = ("google_calendar", "microsoft_outlook")
CREDENTIALS = ("oauth_client_id", "oauth_client_secret", "oauth_refresh_token")

# The fixed words are protocol (calendar-integration-faq, calendar-v2-faq); Recall adds provider detail.
REASONS = {
    "bad_grant": "invalid_grant",
    "no_scope": (
        "invalid_scope(detail: None of the supported calendar scopes([calendar.events.readonly, "
        "calendar.readonly, calendar.events, calendar]) present in response([userinfo.email]).)"
    ),
    "bad_secret": "AADSTS7000215: Invalid client secret provided.",
}


def create(ws: Workspace, wish: Mapping[str, Any]) -> CalendarRecord:
    """Register a calendar that was checked before; it starts connecting. The same account twice makes two."""
    now = ws.stamp()
    calendar = CalendarRecord(
        id=ws.new_id(),
        platform=wish["platform"],
        credentials={name: wish[name] for name in CREDENTIALS},
        created_at=now,
        updated_at=now,
        oauth_email=wish.get("oauth_email"),
        webhook_url=wish.get("webhook_url"),
    )
    ws.calendars[calendar.id] = calendar
    ws.note("calendar.created", id=calendar.id, platform=calendar.platform)
    connect(ws, calendar)
    return calendar


def update(ws: Workspace, calendar: CalendarRecord, changes: Mapping[str, Any]) -> None:
    """Take over writable fields; other credentials, or any while not connected, connect anew."""
    before = dict(calendar.credentials)
    calendar.credentials |= {name: changes[name] for name in CREDENTIALS if name in changes}
    for name in ("platform", "oauth_email", "webhook_url"):
        if name in changes:
            setattr(calendar, name, changes[name])
    calendar.updated_at = ws.stamp()
    named = any(name in changes for name in CREDENTIALS)
    is_new = calendar.credentials != before
    if is_new or (named and (not calendar.is_connected or ws.switches.patch_same_token_resyncs)):
        connect(ws, calendar)


def connect(ws: Workspace, calendar: CalendarRecord) -> None:
    """Start connecting; the outcome comes `connect_ms` later."""
    calendar.attempt += 1
    attempt = calendar.attempt
    _enter(ws, calendar, "connecting")

    def finish() -> None:
        if calendar.attempt == attempt and not calendar.deleted:
            _finish_connecting(ws, calendar)

    ws.agenda.add(ws.now() + timedelta(milliseconds=ws.limits.connect_ms), finish)


def connect_now(ws: Workspace, calendar: CalendarRecord) -> None:
    """Connect without waiting."""
    calendar.attempt += 1
    _finish_connecting(ws, calendar)


def disconnect(ws: Workspace, calendar: CalendarRecord, reason: str = "invalid_grant") -> None:
    """Lose the provider's permission: bots that have not left are taken off, events stand still."""
    calendar.attempt += 1
    _enter(ws, calendar, "disconnected", reason)
    _detach_all(ws, calendar, "calendar disconnected")
    announce_calendar(ws, calendar)


def delete(ws: Workspace, calendar: CalendarRecord) -> None:
    """Delete on request: bots that have not left are taken off, and nothing is announced."""
    calendar.attempt += 1
    _detach_all(ws, calendar, "calendar deleted")
    calendar.deleted = True
    _enter(ws, calendar, "disconnected", "deleted")
    match ws.switches.events_of_deleted_calendar:
        case "gone":
            for event in list(ws.events_of(calendar.id)):
                ws.forget(event)
        case "deleted":
            stamp = ws.stamp()
            for event in list(ws.events_of(calendar.id)):
                event.is_deleted = True
                ws.show(event, stamp)
    ws.note("calendar.deleted", id=calendar.id)


def access_token(ws: Workspace, calendar: CalendarRecord) -> Json:
    """Raises ApiError: 400, the refresh token is no longer good."""
    if calendar.status == "disconnected" or _failure(calendar) is not None:
        message = "The refresh token is invalid or was revoked."
        raise ApiError(400, {"code": "bad_refresh_token", "message": message})
    expires_at = ws.now() + timedelta(hours=1)
    return {"token": f"sandbox-access-{ws.new_id()}", "expires_at": ws.text(expires_at)}


def shown(ws: Workspace, calendar: CalendarRecord) -> Json:
    """Render the calendar as the API does, secrets included."""
    changes = calendar.status_changes
    row: Json = {
        "id": calendar.id,
        **calendar.credentials,
        "platform": calendar.platform,
        "webhook_url": calendar.webhook_url,
        "oauth_email": calendar.oauth_email,
        "platform_email": calendar.platform_email,
        "status": calendar.status,
        "status_changes": changes[::-1] if ws.switches.status_changes_newest_first else changes,
        "created_at": ws.text(calendar.created_at),
        "updated_at": ws.text(calendar.updated_at),
    }
    if not ws.switches.unset_calendar_fields_null:
        for name in ("webhook_url", "oauth_email"):
            if row[name] is None:
                del row[name]
    return row


def _finish_connecting(ws: Workspace, calendar: CalendarRecord) -> None:
    if failure := _failure(calendar):
        disconnect(ws, calendar, REASONS[failure])
        return
    token = calendar.credentials["oauth_refresh_token"]
    if token.startswith("rt:"):
        calendar.platform_email = token.removeprefix("rt:").split("#")[0]
    elif calendar.platform_email is None:
        calendar.platform_email = calendar.oauth_email or f"user-{calendar.id[:8]}@example.com"
    if ws.switches.rotated_token_echoed and calendar.platform == "microsoft_outlook":
        calendar.credentials["oauth_refresh_token"] = f"{token.split('#')[0]}#{calendar.attempt}"
    _enter(ws, calendar, "connected")
    announce_calendar(ws, calendar)
    events.load(ws, calendar)


def _failure(calendar: CalendarRecord) -> str | None:
    token = calendar.credentials["oauth_refresh_token"]
    if calendar.credentials["oauth_client_secret"] == "bad_secret":
        return "bad_secret"
    return token if token in REASONS else None


def _enter(ws: Workspace, calendar: CalendarRecord, status: str, reason: str | None = None) -> None:
    calendar.status = status
    calendar.updated_at = ws.stamp()
    change: Json = {"status": status, "created_at": ws.text(calendar.updated_at)}
    if reason is not None:
        # The keys of the extra details are not published; these two are guesses.
        change |= {"reason": reason, "error_code": reason.split(":")[0].split("(")[0]}
    calendar.status_changes.append(change)
    ws.note("calendar.status", id=calendar.id, status=status, reason=reason)


def _detach_all(ws: Workspace, calendar: CalendarRecord, why: str) -> None:
    for event in ws.events_of(calendar.id):
        scheduling.detach_future(ws, event, why)
