"""
Keep the copies of an event in line: what its organiser changes, and what a guest answers.

Source: developers.google.com/workspace/calendar/api/concepts/sharing (copies on the calendars of invited
people) and …/v3/reference/events (status cancelled, what organisers' and guests' copies keep).
"""

from __future__ import annotations

from copy import deepcopy
from datetime import datetime, timedelta

from worker.sandbox.google.store import SHARED, CalendarRecord, EventRow, Instance, Person
from worker.sandbox.google.times import Moment
from worker.sandbox.google.world import World
from worker.sandbox.recall.forms import Json

COPIED = tuple(name for name in SHARED if name not in ("start", "end", "status"))


def add_row(world: World, calendar: CalendarRecord, row: EventRow) -> None:
    """File a row under its calendar, its series and its id."""
    calendar.events[row.id] = row
    if row.series_id is not None:
        calendar.by_series.setdefault(row.series_id, {})[row.id] = None
    world.copies.setdefault(row.id, set()).add(calendar.id)


def touch(world: World, row: EventRow, what: str, *, bumps_updated: bool = True) -> None:
    """Give a changed row its stamps, write the change down, and tell those who watch the calendar."""
    calendar, now = world.calendars[row.calendar_id], world.now()
    calendar.revision += 1
    row.revision, row.version, row.changed_at = calendar.revision, world.next_count(), now
    if bumps_updated:
        row.updated_at = calendar.updated_at = now
    world.history.note(
        now, f"event.{what}", calendar=calendar.id, id=row.id, status=row.status, revision=row.revision
    )
    is_gone = row.is_cancelled and world.switches.deletions_say_not_exists
    own = None if world.switches.own_writes_announced else world.acting_client
    world.channels.announce(
        f"events:{calendar.id}", "not_exists" if is_gone else "exists", but_client=own
    )


def is_organizer(row: EventRow) -> bool:
    """Tell whether the row decides about the event; a private copy decides about itself."""
    return row.is_private_copy or row.organizer.email.lower() == row.calendar_id.lower()


def origin_of(world: World, row: EventRow) -> EventRow | Instance | None:
    """Return the copy that decides; None if the organiser is not here."""
    if is_organizer(row):
        return row
    calendar = world.calendars.get(row.organizer.email)
    if calendar is None:
        return None
    found = calendar.events.get(row.id)
    if found is None and row.series_id in calendar.events and row.original is not None:
        return Instance(calendar.events[row.series_id], row.original)
    return found


def row_of(world: World, target: EventRow | Instance) -> EventRow:
    """Return the row itself, or one made for an occurrence; the caller changes it and tells so."""
    return target if isinstance(target, EventRow) else materialized(world, target)


def materialized(world: World, instance: Instance) -> EventRow:
    """Turn an occurrence into a row of its own, equal to its series so far."""
    series, now = instance.series, world.now()
    data = {name: value for name, value in deepcopy(series.data).items() if name != "recurrence"}
    row = EventRow(
        instance.id,
        series.calendar_id,
        world.next_count(),
        series.ical_uid,
        data,
        instance.start,
        instance.end,
        series.organizer,
        series.creator,
        series.created_at,
        now,
        now,
        status=series.status,
        sequence=series.sequence,
        series_id=series.id,
        original=instance.original,
        is_private_copy=series.is_private_copy,
        is_hidden=series.is_hidden,
    )
    add_row(world, world.calendars[series.calendar_id], row)
    return row


def spread(world: World, row: EventRow) -> None:
    """Bring all other copies in line with the organiser's *row*: make, change or cancel them."""
    if row.is_private_copy:
        return
    holders = {
        copy.calendar_id: copy
        for copy in world.rows_of(row.id)
        if copy is not row and copy.ical_uid == row.ical_uid
    }
    invited = _invited(world, row)
    for calendar in invited:
        if _has_left_series(calendar, row):
            continue
        copy = holders.get(calendar.id) or _new_copy(world, calendar, row)
        if copy is not None:
            _bring_in_line(world, copy, row)
    kept = {calendar.id for calendar in invited}
    for calendar_id, copy in holders.items():
        if calendar_id not in kept and not copy.is_cancelled:
            cancel(world, copy, keeps_details=False)


def cancel(world: World, row: EventRow, *, keeps_details: bool, what: str = "cancelled") -> None:
    """Cancel one copy; with a series go the exceptions of the same calendar."""
    row.status, row.keeps_details = "cancelled", keeps_details
    calendar = world.calendars[row.calendar_id]
    series = calendar.events.get(row.series_id or "")
    # For a guest of one occurrence alone it is an event like any other.
    row.is_dropped = row.is_exception and (series is None or series.is_cancelled)
    touch(world, row, what)
    for exception in calendar.exceptions_of(row.id):
        drop_exception(world, exception, with_series=True)


def drop_exception(world: World, exception: EventRow, *, with_series: bool = False) -> None:
    """Let an exception cease with its series, or because the series no longer has its place."""
    if exception.is_dropped:
        return
    exception.status_before, exception.went_with_series = exception.status, with_series
    exception.status, exception.is_dropped, exception.keeps_details = "cancelled", True, False
    touch(world, exception, "dropped")
    if not is_organizer(exception):
        return
    for copy in world.rows_of(exception.id):
        has_series = exception.series_id in world.calendars[copy.calendar_id].events
        if not has_series and not copy.is_cancelled:
            cancel(world, copy, keeps_details=False)


def revive_exceptions(world: World, series: EventRow) -> None:
    """Bring back the exceptions that went with a series which is there again, or has their places again."""
    calendar = world.calendars[series.calendar_id]
    kept = {moment.key() for moment in starts_of(world, series)}
    for exception in calendar.exceptions_of(series.id):
        if exception.is_dropped and exception.original and exception.original.key() in kept:
            exception.status, exception.is_dropped = exception.status_before or "cancelled", False
            exception.went_with_series = False
            exception.keeps_details = not exception.is_cancelled
            touch(world, exception, "restored")


def answer_invitation(world: World, copy: EventRow, entry: Json) -> None:
    """Carry a guest's own entry to the organiser's copy, and from there to all others."""
    email = entry["email"]
    decisive = origin_of(world, copy)
    origin = None if decisive is None else row_of(world, decisive)
    rows = [copy] if origin is None or origin is copy else [origin]
    for row in rows:
        attendees = row.data.setdefault("attendees", [])
        row.data["attendees"] = [
            entry if each["email"].lower() == email.lower() else each for each in attendees
        ]
        if row.is_exception:
            row.overridden.add("attendees")
        copy.is_hidden = False
        touch(world, row, "answered")
        reinherit(world, row, {"attendees"})
    if origin is not None and len(origin.data["attendees"]) <= world.limits.responses_up_to:
        spread(world, origin)
    elif origin is not None and origin is not copy:
        copy.data["attendees"] = deepcopy(origin.data["attendees"])
        touch(world, copy, "answered")


def reinherit(world: World, series: EventRow, changed: set[str]) -> None:
    """Give exceptions what changed in their series, unless they have it otherwise."""
    names = changed & set(COPIED) - {"recurrence"}
    if not series.is_series or not names:
        return
    for exception in world.calendars[series.calendar_id].exceptions_of(series.id):
        taken = names - exception.overridden
        if exception.is_dropped or not taken:
            continue
        for name in taken:
            _copy_field(exception, series, name)
        if not exception.is_cancelled:
            touch(world, exception, "changed")
        if is_organizer(exception):
            spread(world, exception)


def retime(world: World, row: EventRow, before: list[Moment]) -> None:
    """Settle what a series lost by its new times: *before* are the starts it had."""
    calendar = world.calendars[row.calendar_id]
    kept = {moment.key() for moment in starts_of(world, row)}
    for moment in before:
        if moment.key() not in kept:
            row.gone[moment.key()] = (moment, row.revision)
    for key in kept & row.gone.keys():
        del row.gone[key]
    revive_exceptions(world, row)
    if world.switches.exceptions_survive_retiming:
        return
    for exception in calendar.exceptions_of(row.id):
        if exception.original is not None and exception.original.key() not in kept:
            drop_exception(world, exception)


def starts_of(world: World, row: EventRow) -> list[Moment]:
    """List the starts of a series as far ahead as lists expand it."""
    if not row.is_series:
        return []
    calendar = world.calendars[row.calendar_id]
    return list(row.series(calendar.time_zone).starts(horizon(world)))


def horizon(world: World) -> datetime:
    """Return how far ahead lists expand a series without a bound of their own."""
    return world.now() + timedelta(days=world.limits.expansion_days)


def _invited(world: World, row: EventRow) -> list[CalendarRecord]:
    """List the calendars of guests who have an account here, but for the organiser's own."""
    accounts = (world.oauth.account(each["email"]) for each in row.data.get("attendees", ()))
    calendars = [world.primary(account) for account in accounts if account is not None]
    return [calendar for calendar in calendars if calendar.id != row.calendar_id]


def _has_left_series(calendar: CalendarRecord, row: EventRow) -> bool:
    """Tell whether the guest has removed the whole series of which *row* is a part."""
    series = calendar.events.get(row.series_id or "")
    return series is not None and series.is_cancelled and series.keeps_details


def _new_copy(world: World, calendar: CalendarRecord, row: EventRow) -> EventRow | None:
    """Return a guest's first copy; None if there is nothing to invite to, or the id is taken."""
    if row.id in calendar.events:
        return None
    series = calendar.events.get(row.series_id or "")
    if series is not None and not series.is_cancelled and row.original is not None:
        return materialized(world, Instance(series, row.original))
    if row.is_cancelled:
        return None
    now = world.now()
    copy = EventRow(
        row.id,
        calendar.id,
        world.next_count(),
        row.ical_uid,
        {"eventType": "default", "reminders": {"useDefault": True}},
        row.start,
        row.end,
        row.organizer,
        row.creator,
        row.created_at,
        now,
        now,
        series_id=row.series_id,
        original=row.original,
        is_hidden=world.mailboxes[calendar.owner_id].hides_invitations,
    )
    if row.data.get("visibility"):
        copy.data["visibility"] = row.data["visibility"]
    add_row(world, calendar, copy)
    return copy


def _bring_in_line(world: World, copy: EventRow, row: EventRow) -> None:
    """Take over what copies share; a guest who removed the event is left alone."""
    was_removed_by_guest = copy.is_cancelled and copy.keeps_details and not row.is_cancelled
    is_new = copy.revision == 0
    if was_removed_by_guest and not is_new:
        return
    before = _state_of(copy)
    had = starts_of(world, copy)
    was_cancelled = copy.is_cancelled
    for name in COPIED:
        _copy_field(copy, row, name)
    shared = row.data.get("extendedProperties", {}).get("shared")
    properties = {
        kind: pairs
        for kind, pairs in copy.data.pop("extendedProperties", {}).items()
        if kind == "private"
    }
    if shared:
        properties["shared"] = dict(shared)
    if properties:
        copy.data["extendedProperties"] = properties
    copy.start, copy.end, copy.organizer, copy.sequence = (
        row.start,
        row.end,
        row.organizer,
        row.sequence,
    )
    if row.is_cancelled:
        if not copy.is_cancelled:
            cancel(world, copy, keeps_details=False)
        return
    copy.status, copy.keeps_details = row.status, True
    copy.is_dropped = copy.went_with_series = False
    if not is_new and _state_of(copy) == before:
        return
    touch(world, copy, "invited" if is_new else "changed")
    if had:
        retime(world, copy, had)
    elif was_cancelled:
        revive_exceptions(world, copy)


def _copy_field(target: EventRow, source: EventRow, name: str) -> None:
    if name in source.data:
        target.data[name] = deepcopy(source.data[name])
    else:
        target.data.pop(name, None)


def _state_of(row: EventRow) -> object:
    return deepcopy((row.data, row.start, row.end, row.status, row.organizer, row.sequence))


def organizer_on(world: World, calendar: CalendarRecord) -> Person:
    """Return who organises what is created on *calendar*: its owner, or a secondary calendar itself."""
    owner = world.oauth.accounts[calendar.owner_id]
    return Person(calendar.id, owner.name if calendar.is_primary else calendar.summary)
