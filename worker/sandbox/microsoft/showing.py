"""
Events and calendars as Graph shows them.

Sources: learn.microsoft.com/graph/api/resources/event and …/calendar; answers quoted in microsoft-graph-docs.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from worker.sandbox.microsoft.details import Details, Guest, Person, Place
from worker.sandbox.microsoft.mailbox import Calendar, Mailbox
from worker.sandbox.microsoft.switches import Switches
from worker.sandbox.microsoft.times import NEVER, shown_instant, shown_moment, whole_seconds
from worker.sandbox.microsoft.view import Entry
from worker.sandbox.microsoft.zones import UTC_ZONE, Zone
from worker.sandbox.recall.forms import Json, merged

PREVIEW_CHARS = 255
EVENT_TYPE = "#microsoft.graph.event"


@dataclass(frozen=True, slots=True)
class Look:
    """How the caller wants events: *zone* None stands for no wish."""

    switches: Switches
    reader: Mailbox
    zone: Zone | None = None
    immutable: bool = False
    text_body: bool = False
    is_basic: bool = False  # Calendars.ReadBasic shows no body


def whole(entry: Entry, look: Look) -> Json:
    """Show an event with all its properties."""
    item, details = entry.item, entry.details
    shown: Json = {
        **_identity(entry, look),
        **_manner(details),
        "body": _body(details, as_plain=look.text_body),
        "bodyPreview": as_text(details.body)[:PREVIEW_CHARS],
        **_times(details, look),
        **_places(details.places),
        "recurrence": None,
        "isOrganizer": item.is_organizer,
        "organizer": _recipient(details.organizer),
        "attendees": [_guest(guest, entry, look) for guest in details.guests],
        "responseStatus": _answer(details.answer, details.answered_at),
        "isOnlineMeeting": details.is_online,
        "onlineMeetingProvider": details.provider,
        "onlineMeetingUrl": details.online_url,
        "onlineMeeting": {"joinUrl": details.join_url} if details.join_url else None,
    }
    if item.recurrence is not None and entry.on is None:
        shown["recurrence"] = item.recurrence.shown(details.zone.name)
    _hide(shown, entry, look)
    patched: Json = merged(shown, item.raw)
    return patched


def stub(entry: Entry, look: Look) -> Json:
    """
    Show an occurrence as delta does: times and nothing that the master says.

    Source: microsoft-graph-docs #7632, microsoft-graph-docs-contrib #34.
    """
    return {
        "@odata.type": EVENT_TYPE,
        "@odata.etag": f'W/"{entry.item.change_key}"',
        "seriesMasterId": entry.item.id(immutable=look.immutable),
        "type": "occurrence",
        **_times(entry.details, look),
        "id": entry.id(immutable=look.immutable),
    }


def calendar(shown: Calendar, shown_id: str, reader: Mailbox) -> Json:
    """Show a calendar as its owner, or somebody it is shared with, sees it."""
    owner = shown.mailbox
    is_owner = owner is reader
    # Source: calendar.allowedOnlineMeetingProviders; what a personal account may use is seldom more than none.
    providers = [] if owner.is_personal else ["teamsForBusiness"]
    return {
        "id": shown_id,
        "name": shown.name,
        "color": shown.color,
        "hexColor": "",
        "isDefaultCalendar": shown.is_default and is_owner,
        "changeKey": f"{shown_id[-12:-5]}{len(shown.name):04d}==",
        "canShare": is_owner,
        "canViewPrivateItems": is_owner,
        "canEdit": is_owner or reader.account.id in shown.editors,
        "allowedOnlineMeetingProviders": providers,
        "defaultOnlineMeetingProvider": providers[0] if providers else "unknown",
        "isTallyingResponses": shown.is_default and is_owner,
        "isRemovable": not shown.is_default,
        "owner": {"name": owner.account.name, "address": owner.account.email},
    }


def as_text(body: str) -> str:
    """Strip the markup of a body."""
    broken = re.sub(r"(?i)<br\s*/?>|</p>|</div>", "\r\n", body)
    return html.unescape(re.sub(r"<[^>]*>", "", broken)).strip()


def _identity(entry: Entry, look: Look) -> Json:
    item = entry.item
    shown = {
        "@odata.etag": f'W/"{item.change_key}"',
        "id": entry.id(immutable=look.immutable),
        "createdDateTime": shown_instant(item.created_at),
        "lastModifiedDateTime": shown_instant(item.modified_at),
        "changeKey": item.change_key,
        "iCalUId": entry.uid(shared_by_series=look.switches.occurrences_share_ical_uid),
        "type": entry.type,
        "seriesMasterId": None if entry.on is None else item.id(immutable=look.immutable),
        "webLink": f"https://outlook.office365.com/owa/?itemid={quote(entry.id(immutable=False))}"
        "&exvsurl=1&path=/calendar/item",
    }
    if entry.original_start is not None:
        shown["originalStart"] = whole_seconds(entry.original_start)
    if item.transaction_id is not None:  # returned only if it was set (metadata: event.transactionId)
        shown["transactionId"] = item.transaction_id
    return shown


def _manner(details: Details) -> Json:
    return {
        "subject": details.subject,
        "importance": details.importance,
        "sensitivity": details.sensitivity,
        "showAs": details.show_as,
        "categories": list(details.categories),
        "isAllDay": details.all_day,
        "isCancelled": details.is_cancelled,
        "isDraft": False,
        "hasAttachments": False,
        "isReminderOn": details.reminder_on,
        "reminderMinutesBeforeStart": details.reminder_minutes,
        "responseRequested": details.wants_answer,
        "allowNewTimeProposals": details.allows_proposals,
        "hideAttendees": details.hides_guests,
        "originalStartTimeZone": details.zone.name,
        "originalEndTimeZone": details.end_zone.name,
    }


def _times(details: Details, look: Look) -> Json:
    start_zone = end_zone = look.zone or UTC_ZONE
    if look.zone is None and look.switches.own_zone_by_default:
        start_zone, end_zone = details.zone, details.end_zone
    floats = details.all_day and look.switches.all_day_floats
    return {
        "start": shown_moment(details.start, start_zone, is_floating=floats),
        "end": shown_moment(details.end, end_zone, is_floating=floats),
    }


def _places(places: tuple[Place, ...]) -> Json:
    shown = [
        {
            "displayName": place.name,
            "locationType": "default",
            "uniqueId": place.name,
            "uniqueIdType": "private",
        }
        | ({"locationUri": place.uri} if place.uri else {})
        for place in places
    ]
    nowhere = {
        "displayName": "",
        "locationType": "default",
        "uniqueIdType": "unknown",
        "address": {},
        "coordinates": {},
    }
    return {"location": shown[0] if shown else nowhere, "locations": shown}


def _guest(guest: Guest, entry: Entry, look: Look) -> Json:
    answer, at = guest.answer, guest.answered_at
    is_owner = guest.person.is_(entry.item.mailbox.account.email)
    if is_owner and look.switches.own_answer_in_attendees and not entry.item.is_organizer:
        answer, at = entry.details.answer, entry.details.answered_at
    return {"type": guest.type, "status": _answer(answer, at), **_recipient(guest.person)}


def _answer(answer: str, at: datetime | None) -> Json:
    return {"response": answer, "time": NEVER if at is None else shown_instant(at)}


def _recipient(person: Person) -> Json:
    return {"emailAddress": {"name": person.name or person.email, "address": person.email}}


def _body(details: Details, *, as_plain: bool) -> Json:
    if as_plain:
        return {"contentType": "text", "content": as_text(details.body)}
    return {"contentType": details.body_type, "content": details.body}


def _hide(shown: Json, entry: Entry, look: Look) -> None:
    """Take away what the reader's permission does not cover; private events of others show their times only."""
    owner = entry.item.mailbox
    if look.is_basic:
        for name in ("body", "bodyPreview"):
            del shown[name]
    if owner is not look.reader and entry.details.sensitivity == "private":
        shown |= {
            "subject": "Private Appointment",
            "bodyPreview": "",
            "attendees": [],
            "onlineMeeting": None,
            "onlineMeetingUrl": None,
            **_places(()),
        }
        if "body" in shown:
            shown["body"] = {"contentType": "html", "content": ""}
