"""
Free and busy times of people: `getSchedule`.

Source: learn.microsoft.com/graph/api/calendar-getschedule, …/resources/scheduleinformation.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from worker.sandbox.microsoft import refusals, times, view
from worker.sandbox.microsoft.asking import READ, Asked
from worker.sandbox.microsoft.details import Details
from worker.sandbox.microsoft.mailbox import Mailbox
from worker.sandbox.microsoft.pages import context_of
from worker.sandbox.microsoft.times import shown_moment
from worker.sandbox.recall.answers import Answer
from worker.sandbox.recall.forms import Json

DIGITS = {"free": 0, "workingElsewhere": 0, "tentative": 1, "busy": 2, "oof": 3, "unknown": 2}
SLOT_MINUTES = (30, 5, 1440)  # default, least, most


def answer(asked: Asked) -> Answer:
    """Answer for each address asked about; a wrong one has an error of its own inside a 200."""
    asked.need(READ)
    if asked.mailbox.is_personal:
        raise refusals.access_denied()
    body = {name.lower(): value for name, value in asked.body.items()}
    limits = asked.store.limits
    start, end = _moment(body.get("starttime")), _moment(body.get("endtime"))
    schedules = body.get("schedules") or []
    if len(schedules) > limits.schedules_at_once:
        text = f"The number of mailboxes is more than the limit of {limits.schedules_at_once}."
        raise refusals.Refused(400, "ErrorMailboxDataArrayTooBig", text)
    if times.days_between(start, end) > limits.schedule_days:
        text = (
            "The requested time duration specified for FreeBusyViewOptions.TimeWindow is too long. The "
            f"allowed limit = {limits.schedule_days} days; the actual limit = "
            f"{times.days_between(start, end):.0f} days."
        )
        raise refusals.Refused(400, "ErrorTimeIntervalTooBig", text)
    usual, least, most = SLOT_MINUTES
    minutes = body.get("availabilityviewinterval") or usual
    if not isinstance(minutes, int) or not least <= minutes <= most or end <= start:
        raise refusals.failed_validation()
    slot = timedelta(minutes=minutes)
    rows = [_schedule(asked, str(address), start, end, slot) for address in schedules]
    context = context_of(asked, "Collection(microsoft.graph.scheduleInformation)")
    return Answer(200, {"@odata.context": context, "value": rows})


def _moment(wish: object) -> datetime:
    try:
        return times.moment(wish)[0]
    except times.UnknownZone as error:
        raise refusals.unknown_zone(str(error)) from error
    except ValueError as error:
        raise refusals.failed_validation() from error


def _schedule(asked: Asked, address: str, start: datetime, end: datetime, slot: timedelta) -> Json:
    mailbox = asked.store.mailbox_of(address)
    if mailbox is None or not mailbox.is_enabled:
        text = f"Unable to resolve e-mail address {address} to an Active Directory object."
        return _failed(address, "ErrorMailRecipientNotFound", text)
    items = mailbox.default_calendar.items.values()
    entries = sorted(
        (entry.details for entry in view.entries_between(items, start, end)),
        key=lambda each: each.start,
    )
    if len(entries) > asked.store.limits.schedule_items:
        return _failed(address, "5006", "The result set contains too many calendar entries.")
    return {
        "scheduleId": address,
        "availabilityView": _digits(entries, start, end, slot),
        "scheduleItems": [_item(asked, mailbox, details) for details in entries],
        "workingHours": {
            "daysOfWeek": ["monday", "tuesday", "wednesday", "thursday", "friday"],
            "startTime": "08:00:00.0000000",
            "endTime": "17:00:00.0000000",
            "timeZone": {"name": mailbox.zone.name},
        },
    }


def _failed(address: str, code: str, text: str) -> Json:
    return {
        "scheduleId": address,
        "availabilityView": "",
        "scheduleItems": [],
        "error": {"message": text, "responseCode": code},
    }


def _digits(entries: list[Details], start: datetime, end: datetime, slot: timedelta) -> str:
    """Write a digit for each slot: the least free thing in it."""
    written = ""
    at = start
    while at < end:
        until = min(at + slot, end)
        inside = [DIGITS[each.show_as] for each in entries if each.start < until and each.end > at]
        written += str(max(inside, default=0))
        at = until
    return written


def _item(asked: Asked, mailbox: Mailbox, details: Details) -> Json:
    """Show one entry; what it is about only to its owner and to whom the calendar is shared."""
    shown: dict[str, Any] = {
        "status": details.show_as,
        "start": shown_moment(details.start, asked.zone_shown, is_floating=details.all_day),
        "end": shown_moment(details.end, asked.zone_shown, is_floating=details.all_day),
    }
    calendar, reader = mailbox.default_calendar, asked.grant.account.id
    if reader == mailbox.account.id or reader in calendar.readers | calendar.editors:
        place: Mapping[str, str] = {"location": details.places[0].name} if details.places else {}
        shown |= {"isPrivate": details.sensitivity == "private", "subject": details.subject, **place}
    return shown
