"""
`/api/v2/calendars/`: what a client may ask and how answers look.

Source: docs.recall.ai reference, calendars_*.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from worker.sandbox.recall import calendars
from worker.sandbox.recall.answers import Answer, Call, invalid, not_found
from worker.sandbox.recall.forms import Cursor, Json, instant, page_of
from worker.sandbox.recall.store import CalendarRecord, Workspace

TEXT_LIMIT = 2000
REQUIRED = "This field is required."
BAD_INSTANT = "Enter a valid date/time."
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_QUERY = {"created_at__gte", "cursor", "email", "platform", "status"}


def create(ws: Workspace, call: Call) -> Answer:
    """Register a calendar; its first answer says connecting."""
    wish = _checked(ws, call.body, is_new=True)
    return Answer(201, calendars.shown(ws, calendars.create(ws, wish)))


def update(ws: Workspace, call: Call) -> Answer:
    """Take over some fields; new credentials reconnect."""
    calendar = found(ws, call.id)
    calendars.update(ws, calendar, _checked(ws, call.body, is_new=False))
    return Answer(200, calendars.shown(ws, calendar))


def retrieve(ws: Workspace, call: Call) -> Answer:
    """Show one calendar, secrets included."""
    return Answer(200, calendars.shown(ws, found(ws, call.id, even_deleted=True)))


def delete(ws: Workspace, call: Call) -> Answer:
    """Delete a calendar and take its bots off."""
    calendars.delete(ws, found(ws, call.id))
    return Answer(204)


def access_token(ws: Workspace, call: Call) -> Answer:
    """Hand out the provider's access token."""
    return Answer(200, calendars.access_token(ws, found(ws, call.id)))


def list_(ws: Workspace, call: Call) -> Answer:
    """List one page; calendars that were deleted do not show."""
    refuse_unknown_query(ws, call, _QUERY)
    since = asked_instant(call, "created_at__gte")
    email, platform, status = call.one("email"), call.one("platform"), call.one("status")
    choice(platform, "platform", calendars.PLATFORMS)
    choice(status, "status", ("connected", "connecting", "disconnected"))

    def fits(calendar: CalendarRecord) -> bool:
        emails = [calendar.platform_email]
        if ws.switches.email_filter_matches_oauth_email:
            emails.append(calendar.oauth_email)
        return (
            not calendar.deleted
            and (since is None or calendar.created_at >= since)
            and (email is None or email in emails)
            and (platform is None or calendar.platform == platform)
            and (status is None or calendar.status == status)
        )

    descending = ws.switches.calendars_order.startswith("-")
    rows = sorted(
        filter(fits, ws.calendars.values()), key=lambda row: row.created_at, reverse=descending
    )
    positions = [str(row.created_at) for row in rows]
    shown = cursor_page(ws, call, positions, ws.limits.calendars_page_size, descending=descending)
    start, end = shown.pop("range")
    return Answer(200, shown | {"results": [calendars.shown(ws, row) for row in rows[start:end]]})


def found(ws: Workspace, calendar_id: str, *, even_deleted: bool = False) -> CalendarRecord:
    """Raises ApiError: 404."""
    calendar = ws.calendars.get(calendar_id)
    may_show = even_deleted and not ws.switches.deleted_calendar_gives_404
    if calendar is None or (calendar.deleted and not may_show):
        raise not_found("Calendar")
    return calendar


def cursor_page(
    ws: Workspace, call: Call, positions: list[str], size: int, *, descending: bool
) -> Json:
    """Return `next`, `previous` and the `range` of rows to show; links keep the other parameters."""
    token = call.one("cursor")
    try:
        cursor = Cursor.read(token) if token else Cursor()
    except (ValueError, binascii.Error) as error:
        raise not_found("page: invalid cursor") from error
    page = page_of(positions, cursor, size, descending=descending)

    def link(cursor: Cursor | None) -> str | None:
        return None if cursor is None else link_with(ws, call, "cursor", cursor.token())

    return {"next": link(page.next), "previous": link(page.previous), "range": (page.start, page.end)}


def link_with(ws: Workspace, call: Call, name: str, value: str) -> str:
    """Make an absolute URL of this call with one parameter replaced."""
    base = ws.base_url.rstrip("/")
    if ws.switches.http_next_links:
        base = "http://" + base.split("://", 1)[-1]
    kept = [(key, each) for key, values in call.query.items() if key != name for each in values]
    return f"{base}{call.path}?{urlencode([(name, value), *kept])}"


def refuse_unknown_query(ws: Workspace, call: Call, known: set[str]) -> None:
    """Refuse parameters that no page documents, if the switch says so."""
    if ws.switches.unknown_query_refused:
        unknown = [name for name in call.query if name not in known]
        if unknown:
            raise invalid({name: ["Unknown query parameter."] for name in unknown}, plain=True)


def asked_instant(call: Call, name: str) -> datetime | None:
    """Read a query parameter; an unescaped "+" is a space and so an error, as on the real server."""
    text = call.one(name)
    if text is None:
        return None
    try:
        return instant(text)
    except ValueError as error:
        raise invalid({name: [BAD_INSTANT]}, plain=True) from error


def choice(value: str | None, name: str, known: tuple[str, ...]) -> None:
    """Refuse a filter value outside of its list."""
    if value is not None and value not in known:
        text = f"Select a valid choice. {value} is not one of the available choices."
        raise invalid({name: [text]}, plain=True)


def _checked(ws: Workspace, body: Mapping[str, Any], *, is_new: bool) -> dict[str, Any]:
    errors: dict[str, list[str]] = {}
    wish = {
        name: body[name]
        for name in (*calendars.CREDENTIALS, "platform", "oauth_email", "webhook_url")
        if name in body
    }
    if is_new:
        errors |= {
            name: [REQUIRED] for name in (*calendars.CREDENTIALS, "platform") if name not in wish
        }
    for name, value in wish.items():
        if value is None and name in ("oauth_email", "webhook_url"):
            continue
        if not isinstance(value, str):
            errors[name] = ["Not a valid string."]
        elif not value:
            errors[name] = ["This field may not be blank."]
        elif len(value) > TEXT_LIMIT:
            errors[name] = [f"Ensure this field has no more than {TEXT_LIMIT} characters."]
        elif name == "platform" and value not in calendars.PLATFORMS:
            errors[name] = [f'"{value}" is not a valid choice.']
        elif name == "oauth_email" and not _EMAIL.fullmatch(value):
            errors[name] = ["Enter a valid email address."]
        elif name == "webhook_url" and not value.startswith(("http://", "https://")):
            errors[name] = ["Enter a valid URL."]
    if errors:
        raise invalid(errors, plain=ws.switches.plain_field_errors)
    return wish
