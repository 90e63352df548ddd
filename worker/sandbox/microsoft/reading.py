"""
What clients write about events, read into changes of `Details`.

Source: v1.0 metadata (event) for names and values; graph/api/event-update for online meetings and places.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from worker.sandbox.microsoft import refusals, times
from worker.sandbox.microsoft.details import Details, Guest, Person, Place, teams_link
from worker.sandbox.microsoft.mailbox import Mailbox
from worker.sandbox.microsoft.recurrence import Kept
from worker.sandbox.microsoft.zones import UTC_ZONE, Zone, stored_zone

# Known and not for clients to set: sent back by those who read, change and write whole events.
READ_ONLY = frozenset({
    "id", "createdDateTime", "lastModifiedDateTime", "changeKey", "originalStartTimeZone",
    "originalEndTimeZone", "iCalUId", "hasAttachments", "bodyPreview", "isCancelled", "isOrganizer",
    "seriesMasterId", "type", "webLink", "onlineMeetingUrl", "isDraft", "responseStatus", "organizer",
    "onlineMeeting", "originalStart", "attachments", "calendar", "cancelledOccurrences",
    "exceptionOccurrences", "extensions", "instances", "multiValueExtendedProperties",
})  # fmt: skip
ELSEWHERE = frozenset({
    "recurrence", "transactionId", "singleValueExtendedProperties", "isOnlineMeeting",
    "onlineMeetingProvider",
})  # fmt: skip
TIMES = frozenset({"start", "end", "isAllDay"})
ALLOWED = {
    "importance": ("low", "normal", "high"),
    "sensitivity": ("normal", "personal", "private", "confidential"),
    "showAs": ("free", "tentative", "busy", "oof", "workingElsewhere", "unknown"),
    "type": ("required", "optional", "resource"),
}
PLAIN: Mapping[str, tuple[str, type]] = {
    "subject": ("subject", str),
    "importance": ("importance", str),
    "sensitivity": ("sensitivity", str),
    "showAs": ("show_as", str),
    "hideAttendees": ("hides_guests", bool),
    "responseRequested": ("wants_answer", bool),
    "allowNewTimeProposals": ("allows_proposals", bool),
    "isReminderOn": ("reminder_on", bool),
    "reminderMinutesBeforeStart": ("reminder_minutes", int),
}


@dataclass(frozen=True, slots=True)
class Written:
    """A body, understood; *recurrence* is still as it was written."""

    changes: Mapping[str, Any] = field(default_factory=dict)
    recurrence: Mapping[str, Any] | Kept | None = Kept.KEPT
    transaction_id: str | None = None
    properties: Mapping[str, str] = field(default_factory=dict)


def new_event(
    body: Mapping[str, Any], mailbox: Mailbox, now: datetime, *, thread: str
) -> tuple[Details, Written]:
    """
    Read the body of a create into the details of a new event of *mailbox*.

    Raises:
        Refused: start or end is missing, or something is wrong with the body.
    """
    if not isinstance(body.get("start"), Mapping) or not isinstance(body.get("end"), Mapping):
        raise refusals.failed_validation()
    blank = Details(start=now, end=now, organizer=mailbox.owner)
    written = changes_in(body, blank, mailbox, thread=thread)
    return replace(blank, **written.changes), written


def changes_in(body: Mapping[str, Any], before: Details, mailbox: Mailbox, *, thread: str) -> Written:
    """
    Read what *body* changes about *before*; *thread* makes a Teams link the event's own.

    Raises:
        Refused: an unknown property, a value of another kind, an end before the start.
    """
    changes: dict[str, Any] = {}
    for name, value in body.items():
        if name in PLAIN:
            field_name, kind = PLAIN[name]
            changes[field_name] = _plain(name, value, kind)
        elif name in READERS:
            READERS[name](value, before, changes)
        elif name not in READ_ONLY | ELSEWHERE | TIMES and "@" not in name:
            raise refusals.unknown_property(name)
    _read_times(body, before, changes)
    _read_meeting(body, before, changes, mailbox, thread)
    return Written(
        changes,
        body.get("recurrence", Kept.KEPT),
        _transaction(body),
        _properties(body.get("singleValueExtendedProperties")),
    )


def _plain(name: str, value: object, kind: type) -> object:
    if value is None and kind is str:
        return ""
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise refusals.unreadable(f"Cannot convert the value of '{name}' to the expected type.")
    if name in ALLOWED and value not in ALLOWED[name]:
        raise refusals.unreadable(f"Requested value '{value}' was not found.")
    return value


def _read_times(body: Mapping[str, Any], before: Details, changes: dict[str, Any]) -> None:
    all_day = body.get("isAllDay", before.all_day)
    if not TIMES & body.keys():
        return
    start, zone = _moment(body.get("start"), before.start, before.zone, all_day=all_day)
    end, end_zone = _moment(body.get("end"), before.end, before.end_zone, all_day=all_day)
    if end < start or (all_day and (not _is_midnight(start) or not _is_midnight(end) or end == start)):
        raise refusals.failed_validation()
    changes |= {
        "start": start,
        "end": end,
        "zone": zone,
        "end_zone": end_zone,
        "all_day": bool(all_day),
    }


def _moment(wish: object, at: datetime, zone: Zone, *, all_day: bool) -> tuple[datetime, Zone]:
    if wish is None:
        return at, zone
    try:
        said_at, said_in = times.moment(wish)
    except times.UnknownZone as error:
        raise refusals.unknown_zone(str(error)) from error
    except ValueError as error:
        raise refusals.unreadable(
            "Cannot convert the literal to the expected type 'Edm.DateTime'."
        ) from error
    if all_day:
        # Midnight of its own zone; kept as that date's midnight in UTC.
        said_at = said_at.astimezone(said_in.rules).replace(tzinfo=UTC)
    return said_at, stored_zone(said_in.name) or UTC_ZONE


def _is_midnight(at: datetime) -> bool:
    return (at.hour, at.minute, at.second) == (0, 0, 0)


def _read_meeting(
    body: Mapping[str, Any], before: Details, changes: dict[str, Any], mailbox: Mailbox, thread: str
) -> None:
    """
    Make it an online meeting if asked, for good; or none any more if the body lost the link.

    Source: graph/api/event-update, on the meeting blob; metadata, event.isOnlineMeeting.
    """
    if before.join_url and "body" in changes and before.join_url not in changes["body"]:
        changes |= {"is_online": False, "provider": "unknown", "join_url": None}
    elif body.get("isOnlineMeeting") is True and not before.is_online and not mailbox.is_personal:
        link = teams_link(thread, mailbox.tenant_id, mailbox.account.id)
        changes |= {"is_online": True, "provider": "teamsForBusiness", "join_url": link}
        changes["body"] = replace(
            before, body=changes.get("body", before.body), join_url=link
        ).online_body


def _read_body(value: object, _before: Details, changes: dict[str, Any]) -> None:
    if not isinstance(value, Mapping):
        raise refusals.unreadable("Cannot convert the value of 'body' to the expected type.")
    changes["body_type"] = str(value.get("contentType") or "html").lower()
    changes["body"] = str(value.get("content") or "")


def _read_place(value: object, _before: Details, changes: dict[str, Any]) -> None:
    """One place replaces all; a list, if the body has one that is not empty, wins over it."""
    places = value if isinstance(value, list) else [value]
    read = tuple(
        Place(str(each.get("displayName") or ""), each.get("locationUri"))
        for each in places
        if isinstance(each, Mapping) and (each.get("displayName") or each.get("locationUri"))
    )
    if not isinstance(value, list) or read or "places" not in changes:
        changes["places"] = read


def _read_guests(value: object, before: Details, changes: dict[str, Any]) -> None:
    """The list is replaced whole; who was on it before keeps the answer given."""
    guests = []
    for each in value if isinstance(value, list) else []:
        address = each.get("emailAddress") if isinstance(each, Mapping) else None
        if not isinstance(address, Mapping) or not address.get("address"):
            raise refusals.Refused(
                400, "ErrorInvalidRecipients", "At least one recipient is not valid."
            )
        known = before.guest(address["address"])
        guest = known or Guest(Person(address["address"], address.get("name") or ""))
        guests.append(replace(guest, type=str(_plain("type", each.get("type") or "required", str))))
    changes["guests"] = tuple(guests)


def _read_categories(value: object, _before: Details, changes: dict[str, Any]) -> None:
    changes["categories"] = tuple(str(each) for each in value) if isinstance(value, list) else ()


def _transaction(body: Mapping[str, Any]) -> str | None:
    value = body.get("transactionId")
    return str(value) if value else None


def _properties(value: object) -> dict[str, str]:
    if not isinstance(value, list):
        return {}
    return {str(each["id"]): str(each["value"]) for each in value if isinstance(each, Mapping)}


READERS: Mapping[str, Callable[[object, Details, dict[str, Any]], None]] = {
    "body": _read_body,
    "location": _read_place,
    "locations": _read_place,
    "attendees": _read_guests,
    "categories": _read_categories,
}
