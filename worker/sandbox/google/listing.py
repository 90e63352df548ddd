"""
What a list of events contains: rows or occurrences, inside a window, since a revision.

Source: developers.google.com/workspace/calendar/api/v3/reference/events/list and …/guides/sync.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from worker.sandbox.google import copies
from worker.sandbox.google.showing import matches_text
from worker.sandbox.google.store import CalendarRecord, EventRow, Instance
from worker.sandbox.google.times import Moment
from worker.sandbox.google.world import World

Target = EventRow | Instance
EVER = datetime(9000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Window:
    """*since* bounds the end, *until* the start, both exclusive; *touches* lets an end at *since* in."""

    since: datetime | None = None
    until: datetime | None = None
    touches: bool = False

    def has(self, target: Target, zone: str) -> bool:
        return self.spans(target.start, target.end, zone)

    def spans(self, start: Moment, end: Moment, zone: str) -> bool:
        if self.until is not None and start.instant(zone) >= self.until:
            return False
        if self.since is None:
            return True
        ends_at = end.instant(zone)
        return ends_at > self.since or (self.touches and ends_at == self.since)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A list as it was asked for. *since_revision* None is a full list."""

    window: Window = Window()
    single_events: bool = False
    show_deleted: bool = False
    show_hidden: bool = False
    since_revision: int | None = None
    updated_min: datetime | None = None
    event_types: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    ical_uid: str = ""
    private_properties: tuple[str, ...] = ()
    shared_properties: tuple[str, ...] = ()
    cancels_leavers: bool = False  # rows outside the window are listed as cancelled
    only_known: int | None = None  # changes beyond this revision are not visible yet
    only_before: datetime | None = None  # … and neither are rows younger than this

    @property
    def is_incremental(self) -> bool:
        return self.since_revision is not None

    @property
    def tells_deleted(self) -> bool:
        return self.show_deleted or self.is_incremental or self.updated_min is not None


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry of a list; *has_left* shows it as cancelled though it is not."""

    target: Target
    has_left: bool = False


def listed(world: World, calendar: CalendarRecord, wanted: Wanted) -> Iterator[Listed]:
    """Yield what is asked for in a stable order: that of creation, occurrences by time."""
    for row in list(calendar.events.values()):
        if not _is_concerned(row, wanted):
            continue
        if wanted.single_events and row.is_series:
            yield from _occurrences(world, calendar, row, wanted)
        else:
            yield from _row(world, calendar, row, wanted)


def occurrences(
    world: World, calendar: CalendarRecord, series: EventRow, window: Window, *, show_deleted: bool
) -> list[Target]:
    """List the instances of one series by their start, exceptions in their places."""
    found: list[Target] = [
        row
        for row in calendar.exceptions_of(series.id)
        if not row.is_dropped and (show_deleted or not row.is_cancelled)
    ]
    if show_deleted or not series.is_cancelled:
        found += _regular(world, calendar, series, window)
    inside = [each for each in found if window.has(each, calendar.time_zone)]
    return sorted(inside, key=lambda each: (each.start.instant(calendar.time_zone), each.id))


def _is_concerned(row: EventRow, wanted: Wanted) -> bool:
    """Apply the filters that concern a series as a whole as well as a single row."""
    if wanted.since_revision is not None and row.revision <= wanted.since_revision:
        return False
    if wanted.only_known is not None and row.revision > wanted.only_known:
        is_too_new = wanted.only_before is not None and row.created_at > wanted.only_before
        if wanted.is_incremental or is_too_new:
            return False
    if row.is_hidden and not wanted.show_hidden:
        return False
    if wanted.updated_min is not None and row.updated_at < wanted.updated_min:
        return False
    if wanted.ical_uid and row.ical_uid != wanted.ical_uid:
        return False
    if wanted.event_types and row.data.get("eventType", "default") not in wanted.event_types:
        return False
    if wanted.words and not matches_text(row, wanted.words):
        return False
    properties = row.data.get("extendedProperties", {})
    return _has_all(properties.get("private", {}), wanted.private_properties) and _has_all(
        properties.get("shared", {}), wanted.shared_properties
    )


def _row(world: World, calendar: CalendarRecord, row: EventRow, wanted: Wanted) -> Iterator[Listed]:
    is_told = wanted.single_events or world.switches.deleted_series_tells_exceptions
    if row.went_with_series and not is_told:
        return
    if row.is_cancelled and not wanted.tells_deleted:
        # Source: the reference on showDeleted: such exceptions are included all the same.
        is_kept = row.is_exception and not row.is_dropped and not wanted.single_events
        if not is_kept:
            return
    is_inside = (
        _touches_window(calendar, row, wanted.window)
        if row.is_series
        else wanted.window.has(row, calendar.time_zone)
    )
    if is_inside:
        yield Listed(row)
    elif wanted.cancels_leavers:
        yield Listed(row, has_left=True)


def _occurrences(
    world: World, calendar: CalendarRecord, series: EventRow, wanted: Wanted
) -> Iterator[Listed]:
    """Yield a series as occurrences; what it lost is cancelled in an incremental list."""
    if series.is_cancelled and not wanted.tells_deleted:
        return
    as_what = world.switches.deleted_series_as if series.is_cancelled else "instances"
    if as_what in ("master", "both") and wanted.is_incremental:
        yield Listed(series)
    if as_what == "master" and wanted.is_incremental:
        return
    for each in _regular(world, calendar, series, wanted.window):
        yield Listed(each)
    for moment, revision in list(series.gone.values()):
        gone = Instance(series, moment, is_gone=True)
        is_news = wanted.since_revision is not None and revision > wanted.since_revision
        if is_news and gone.id not in calendar.events and wanted.window.has(gone, calendar.time_zone):
            yield Listed(gone)


def _regular(
    world: World, calendar: CalendarRecord, series: EventRow, window: Window
) -> Iterator[Instance]:
    """Yield the occurrences of a series that are no exceptions."""
    exceptions = calendar.exceptions_of(series.id)
    replaced = {row.original.key() for row in exceptions if row.original}
    until = min(window.until or EVER, max(copies.horizon(world), window.since or copies.horizon(world)))
    for moment in series.series(calendar.time_zone).starts(until):
        instance = Instance(series, moment)
        if moment.key() not in replaced and window.has(instance, calendar.time_zone):
            yield instance


def _touches_window(calendar: CalendarRecord, series: EventRow, window: Window) -> bool:
    """Tell whether any occurrence lies in the window."""
    if window.since is None and window.until is None:
        return True
    zone, span = calendar.time_zone, series.end.minus(series.start)
    until = window.until or EVER
    return any(
        window.spans(moment, moment.plus(span), zone) for moment in series.series(zone).starts(until)
    )


def _has_all(properties: dict[str, str], constraints: tuple[str, ...]) -> bool:
    pairs = (each.partition("=") for each in constraints)
    return all(properties.get(name) == value for name, _, value in pairs)
