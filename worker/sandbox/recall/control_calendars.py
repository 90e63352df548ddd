"""Control of the calendar providers' side: connect mailboxes, put events in, change and delete them."""

from __future__ import annotations

from worker.sandbox.recall import calendars, events
from worker.sandbox.recall.control_calls import Asked
from worker.sandbox.recall.forms import Json
from worker.sandbox.recall.store import EventRecord


def calendars_list(asked: Asked) -> object:
    """List calendars without their secrets."""
    return [_calendar_shown(asked, calendar.id) for calendar in asked.ws.calendars.values()]


def calendar_create(asked: Asked) -> object:
    """Make a connected calendar; `connected: false` leaves it connecting as the API would."""
    body = dict(asked.body)
    platform = {"google": "google_calendar", "outlook": "microsoft_outlook"}.get(
        body.get("platform", "google"), body.get("platform")
    )
    if platform not in calendars.PLATFORMS:
        raise ValueError("platform is google_calendar or microsoft_outlook")
    wish = {
        "platform": platform,
        "oauth_client_id": body.get("oauth_client_id", "sandbox-client"),
        "oauth_client_secret": body.get("oauth_client_secret", "sandbox-secret"),
        "oauth_refresh_token": body.get("oauth_refresh_token", f"rt:{body['email']}"),
        "oauth_email": body.get("oauth_email"),
        "webhook_url": body.get("webhook_url"),
    }
    calendar = calendars.create(asked.ws, wish)
    if body.get("connected", True):
        calendars.connect_now(asked.ws, calendar)
    return _calendar_shown(asked, calendar.id)


def calendar_disconnect(asked: Asked) -> object:
    """Lose the permission for `reason`; bad_grant, no_scope, bad_secret stand for documented texts."""
    reason = asked.body.get("reason") or "bad_grant"
    calendars.disconnect(asked.ws, asked.calendar(), calendars.REASONS.get(reason, reason))
    return _calendar_shown(asked, asked.path["id"])


def calendar_reconnect(asked: Asked) -> object:
    """Get the permission back; changes made meanwhile are loaded."""
    calendar = asked.calendar()
    calendar.credentials["oauth_refresh_token"] = asked.body.get(
        "oauth_refresh_token", f"rt:{calendar.platform_email}"
    )
    calendars.connect_now(asked.ws, calendar)
    return _calendar_shown(asked, calendar.id)


def events_list(asked: Asked) -> object:
    """List events of a calendar, those the API does not show yet too."""
    return [_event_shown(asked, event) for event in asked.ws.events_of(asked.calendar().id)]


def event_create(asked: Asked) -> object:
    """Put an event in."""
    event = events.create(asked.ws, asked.calendar(), asked.body)
    events.show(asked.ws, [event])
    return _event_shown(asked, event)


def event_show(asked: Asked) -> object:
    """Show an event as the control API sees it."""
    return _event_shown(asked, asked.event())


def event_edit(asked: Asked) -> object:
    """Change what is named."""
    event = asked.event()
    _edit(asked, event, dict(asked.body))
    events.show(asked.ws, [event])
    return _event_shown(asked, event)


def event_cancel(asked: Asked) -> object:
    """Let the organiser cancel it."""
    event = asked.event()
    events.cancel(event)
    events.show(asked.ws, [event])
    return _event_shown(asked, event)


def event_delete(asked: Asked) -> object:
    """Delete it at the provider."""
    event = asked.event()
    events.remove(event)
    events.show(asked.ws, [event])
    return _event_shown(asked, event)


def events_batch(asked: Asked) -> object:
    """
    Change many events in one go, announced once per calendar.

    An item with `calendar_id` alone creates; with `id` it edits, or with `cancel` or `delete` true does that.
    """
    changed: list[EventRecord] = []
    for item in asked.body:
        wish = dict(item)
        event_id = wish.pop("id", None)
        if event_id is None:
            event = events.create(asked.ws, asked.calendar(wish.pop("calendar_id")), wish)
        else:
            event = asked.event(event_id)
            if wish.pop("delete", False):
                events.remove(event)
            elif wish.pop("cancel", False):
                events.cancel(event)
            else:
                _edit(asked, event, wish)
        changed.append(event)
    events.show(asked.ws, changed)
    return [_event_shown(asked, event) for event in changed]


def _edit(asked: Asked, event: EventRecord, wish: Json) -> None:
    calendar_id = wish.pop("calendar_id", None)
    events.edit(asked.ws, event, wish)
    if calendar_id is not None and calendar_id != event.calendar_id:
        events.transfer(asked.ws, event, asked.calendar(calendar_id))


def _event_shown(asked: Asked, event: EventRecord) -> Json:
    """Render Recall's row, with `_emulator` saying whether the API shows it and whether it is up to date."""
    row = events.row_of(asked.ws, event)
    return row | {"id": event.id, "_emulator": {"visible": event.is_visible, "held": event.is_held}}


def _calendar_shown(asked: Asked, calendar_id: str) -> Json:
    row = calendars.shown(asked.ws, asked.calendar(calendar_id))
    return {name: value for name, value in row.items() if name not in calendars.CREDENTIALS} | {
        "deleted": asked.calendar(calendar_id).deleted
    }
