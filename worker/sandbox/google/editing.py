"""
Change, delete and answer events, as their organiser or as a guest.

Source: developers.google.com/workspace/calendar/api/v3/reference/events (patch, update, delete) and
…/concepts/sharing (what guests may change).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker.sandbox.google import copies
from worker.sandbox.google.bodies import Draft
from worker.sandbox.google.conferences import take_conference
from worker.sandbox.google.copies import (
    answer_invitation,
    cancel,
    is_organizer,
    origin_of,
    row_of,
    spread,
    touch,
)
from worker.sandbox.google.creating import Options, check_sequence, draft_of, note_mail, understood
from worker.sandbox.google.finding import changed_fields, document
from worker.sandbox.google.refusals import Refusal
from worker.sandbox.google.store import SHARED, CalendarRecord, EventRow, Instance
from worker.sandbox.google.world import World
from worker.sandbox.recall.forms import Json, merged

# Changes of these are a new revision for the guests. Source: RFC 5546 section 2.1.4.
RESCHEDULING = frozenset({"start", "end", "recurrence", "status"})


def change(
    world: World,
    calendar: CalendarRecord,
    target: EventRow | Instance,
    body: Mapping[str, Any],
    options: Options,
    *,
    is_patch: bool,
) -> EventRow:
    """
    Let an event be what *body* says, or what it says differently if *is_patch*.

    Raises:
        Refusal: no event any more, a stale sequence, or shared fields that are not the guest's to change.
    """
    if target.is_cancelled and (isinstance(target, Instance) or target.is_dropped):
        raise Refusal("deleted")
    row = row_of(world, target)
    is_new = row is not target
    try:
        known = document(row, calendar.time_zone)
        unseen = {
            name: value for name, value in known.items() if name not in understood(known, options)
        }
        doc = (
            merged(known, understood(body, options)) if is_patch else understood(body, options) | unseen
        )
        if is_new and not is_patch:
            doc.setdefault("status", "confirmed")
        check_sequence(row, body)
        if row.is_exception:
            doc.pop("recurrence", None)
        if body.get("attendeesOmitted"):
            doc["attendees"] = _with_own_entry_only(row, body.get("attendees") or [])
        if not options.supports_attachments and "attachments" in doc:
            doc["attachments"] = row.data.get("attachments")
        doc["eventType"] = doc.get("eventType") or row.data.get("eventType", "default")
        draft = draft_of(world, calendar, doc, options)
        if draft.data["eventType"] != row.data.get("eventType", "default"):
            raise Refusal("eventTypeRestriction", "The event type cannot be changed.")
        if draft.status == "cancelled" and not row.is_cancelled:
            remove(world, calendar, row, options)
            return row
        changed = changed_fields(row, draft, calendar.time_zone)
        if not is_organizer(row) and not options.as_organizer:
            return _changed_by_guest(world, calendar, row, draft, changed, body, options)
    except Refusal:
        if is_new:  # what was refused leaves no exception behind
            del calendar.events[row.id]
            world.copies[row.id].discard(calendar.id)
        raise
    conference = body.get("conferenceData") if "conferenceData" in body or not is_patch else ...
    _apply(world, row, draft, changed, conference, options, is_new=is_new)
    note_mail(world, row, options, "changed")
    return row


def remove(
    world: World, calendar: CalendarRecord, target: EventRow | Instance, options: Options
) -> EventRow:
    """
    Delete an event: for all if its organiser does it, else for the guest, who thereby declines.

    Raises:
        Refusal: it is deleted already.
    """
    if target.is_cancelled:
        raise Refusal("deleted")
    row = row_of(world, target)
    if is_organizer(row) or options.as_organizer:
        row.sequence += 1
        cancel(world, row, keeps_details=is_organizer(row), what="deleted")
        spread(world, row)
        note_mail(world, row, options, "cancelled")
        return row
    cancel(world, row, keeps_details=True, what="removed")
    own = row.attendee(calendar.id)
    if own is not None:
        answer_invitation(world, row, own | {"responseStatus": "declined"})
    return row


def respond(
    world: World,
    calendar: CalendarRecord,
    target: EventRow | Instance,
    response: str,
    comment: str = "",
) -> EventRow:
    """
    Answer an invitation as the owner of *calendar*.

    Raises:
        Refusal: the owner is not invited.
    """
    shown = target if isinstance(target, EventRow) else target.series
    own = shown.attendee(calendar.id)
    if own is None:
        raise Refusal("notFound", "The user is not invited.")
    if target.is_cancelled:
        raise Refusal("deleted")
    entry = own | {"responseStatus": response} | ({"comment": comment} if comment else {})
    row = row_of(world, target)
    answer_invitation(world, row, entry)
    return row


def _apply(
    world: World,
    row: EventRow,
    draft: Draft,
    changed: set[str],
    conference: object,
    options: Options,
    *,
    is_new: bool,
) -> None:
    """Write a draft into the organiser's row and let everybody have it; ... leaves the conference alone."""
    had, was_cancelled = copies.starts_of(world, row), row.is_cancelled
    kept = {name: row.data[name] for name in ("conferenceData", "hangoutLink") if name in row.data}
    row.data = draft.data | kept
    row.start, row.end, row.status = draft.start, draft.end, draft.status
    if row.status != "cancelled":
        row.keeps_details, row.is_dropped, row.went_with_series = True, False, False
    if conference is not ... and take_conference(
        world, row, conference, version=options.conference_version
    ):
        changed = changed | {"conferenceData", "hangoutLink"}
    if not changed and not is_new:
        return
    if changed & RESCHEDULING:
        row.sequence += 1
    if row.is_exception:
        row.overridden |= changed & set(SHARED)
    touch(world, row, "changed", bumps_updated=changed != {"reminders"})
    if had and changed & {"start", "end", "recurrence"}:
        copies.retime(world, row, had)
    elif was_cancelled and not row.is_cancelled:
        copies.revive_exceptions(world, row)
    spread(world, row)
    copies.reinherit(world, row, changed)


def _changed_by_guest(
    world: World,
    calendar: CalendarRecord,
    row: EventRow,
    draft: Draft,
    changed: set[str],
    body: Mapping[str, Any],
    options: Options,
) -> EventRow:
    """
    Keep what is the guest's own, pass the answer on, and refuse the rest unless guests may modify.

    Raises:
        Refusal: shared fields changed that only the organiser may change.
    """
    origin = origin_of(world, row)
    own = row.attendee(calendar.id)
    asked_own = next(
        (a for a in draft.data.get("attendees", ()) if a["email"] == calendar.id.lower()), own
    )
    shared = {
        name for name in changed if name in SHARED and not _is_just_own(row, draft, name, calendar)
    }
    may_modify = bool(row.data.get("guestsCanModify"))
    if shared and not may_modify and not (shared == {"attendees"} and _only_adds(row, draft)):
        raise Refusal("forbiddenForNonOrganizer")
    private = changed - set(SHARED)
    for name in private:
        if name in draft.data:
            row.data[name] = draft.data[name]
        else:
            row.data.pop(name, None)
    if private:
        touch(world, row, "changed", bumps_updated=private != {"reminders"})
    if shared and origin is not None:
        passed = {name: body.get(name) for name in shared if name in body}
        owner = world.calendars[row.organizer.email]
        change(world, owner, origin, passed, options, is_patch=True)
    elif asked_own is not None and asked_own != own:
        answer_invitation(world, row, asked_own)
    if row.revision == 0:
        touch(world, row, "changed")  # an occurrence that is a row of its own now
    return row


def _is_just_own(row: EventRow, draft: Draft, name: str, calendar: CalendarRecord) -> bool:
    """Tell whether attendees differ in nothing but the guest's own entry."""
    if name != "attendees":
        return False
    own = calendar.id.lower()
    if not any(each["email"] == own for each in draft.data.get("attendees", ())):
        return False
    before = [each for each in row.data.get("attendees", ()) if each["email"] != own]
    return before == [each for each in draft.data.get("attendees", ()) if each["email"] != own]


def _only_adds(row: EventRow, draft: Draft) -> bool:
    after = {each["email"] for each in draft.data.get("attendees", ())}
    before = {each["email"] for each in row.data.get("attendees", ())}
    return row.data.get("guestsCanInviteOthers", True) and before < after


def _with_own_entry_only(row: EventRow, given: list[Json]) -> list[Json]:
    """Take from *given* the caller's own answer alone. Source: attendeesOmitted in the reference."""
    own = {str(each.get("email", "")).lower(): each for each in given}
    return [
        each | own[each["email"]]
        if each["email"] == row.calendar_id.lower() and each["email"] in own
        else each
        for each in row.data.get("attendees", [])
    ]
