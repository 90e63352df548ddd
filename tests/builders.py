"""Rows and values with dull defaults: a test names only what matters to it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Engine, insert
from sqlalchemy.dialects.postgresql import insert as upsert

from models.domain.events import Event, EventStatus, MeetingLink, Person, Response
from models.tables.base import new_id
from models.tables.calendars import Calendar
from models.tables.connections import Connection, PushChannel
from models.tables.due import table_of
from models.tables.installation import Installation
from worker.ports import Attachment, FoundEvent

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
RECORD_ALL: dict[str, Any] = {"select": ["all"]}


def an_installation(db: Engine, rules: dict[str, Any] | None = None) -> UUID:
    """Give the database its one installation row, recording everything unless told otherwise."""
    install_id = uuid4()
    with db.begin() as tx:
        statement = upsert(table_of(Installation)).values(
            id=1, install_id=install_id, rules=RECORD_ALL if rules is None else rules
        )
        tx.execute(
            statement.on_conflict_do_update(
                index_elements=["id"], set_={"rules": RECORD_ALL if rules is None else rules}
            )
        )
    return install_id


def a_calendar(db: Engine, ref: str = "cal-anna", **columns: Any) -> UUID:
    """Store a connected Google calendar that has been listed before."""
    calendar_id = new_id()
    values = {
        "id": calendar_id,
        "source": "recall",
        "external_id": ref,
        "platform": "google_calendar",
        "email": f"{ref.removeprefix('cal-')}@example.com",
        "status": "connected",
        "needs_check": False,
        "needs_full": False,
        **columns,
    }
    with db.begin() as tx:
        tx.execute(insert(table_of(Calendar)).values(**values))
    return calendar_id


def a_connection(db: Engine, platform: str = "google", **columns: Any) -> UUID:
    """Store a connected account whose tokens nobody can open."""
    connection_id = new_id()
    values = {
        "id": connection_id,
        "platform": platform,
        "account": f"account-{connection_id}",
        "email": "anna@example.com",
        "oauth_client": "client-1",
        "scopes": [],
        "refresh_token": b"",
        **columns,
    }
    with db.begin() as tx:
        tx.execute(insert(table_of(Connection)).values(**values))
    return connection_id


def a_channel(db: Engine, calendar_id: UUID, **columns: Any) -> UUID:
    """Store a push channel that is open for two days from noon the day before."""
    channel_id = new_id()
    values = {
        "id": channel_id,
        "calendar_id": calendar_id,
        "external_id": f"resource-{channel_id}",
        "opened_at": NOON - timedelta(days=1),
        "expires_at": NOON + timedelta(days=1),
        **columns,
    }
    with db.begin() as tx:
        tx.execute(insert(table_of(PushChannel)).values(**values))
    return channel_id


def an_event(ref: str = "event-1", *, link: str | None = "abc-defg-hij", **fields: Any) -> Event:
    """Describe an hour's meeting on Google Meet with a guest from elsewhere."""
    event = Event(
        external_id=ref,
        ical_uid=f"{ref}@google.com",
        series_id=None,
        title="Weekly",
        start=NOON,
        end=NOON + timedelta(hours=1),
        all_day=False,
        organizer=Person("anna@example.com", Response.ACCEPTED, is_self=True),
        attendees=(
            Person("anna@example.com", Response.ACCEPTED, is_self=True),
            Person("guest@elsewhere.org"),
        ),
        own_response=Response.ACCEPTED,
        is_organizer=True,
        is_private=False,
        status=EventStatus.CONFIRMED,
        deleted=False,
        link=None if link is None else a_link(link),
    )
    if "start" in fields and "end" not in fields:
        fields["end"] = fields["start"] + timedelta(hours=1)
    return replace(event, **fields)


def a_link(code: str = "abc-defg-hij") -> MeetingLink:
    """Name a Google Meet room."""
    url = f"https://meet.google.com/{code}"
    return MeetingLink(platform="google_meet", url=url, key=url.removeprefix("https://"))


def a_found(
    event: Event | None = None,
    *,
    calendar: str = "cal-anna",
    updated_at: datetime = NOON - timedelta(days=1),
    attachments: tuple[Attachment, ...] = (),
) -> FoundEvent:
    """Put an event on a listing."""
    return FoundEvent(
        calendar_ref=calendar,
        updated_at=updated_at,
        event=event or an_event(),
        attachments=attachments,
    )
