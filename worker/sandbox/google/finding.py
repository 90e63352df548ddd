"""Find events by the ids that lists show, and see them as a client would write them."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime, timedelta

from worker.sandbox.google.bodies import Draft
from worker.sandbox.google.refusals import Refusal
from worker.sandbox.google.store import CalendarRecord, EventRow, Instance
from worker.sandbox.recall.forms import Json


def find(calendar: CalendarRecord, event_id: str) -> EventRow | Instance:
    """
    Return a row or an occurrence of a series by its id.

    Raises:
        Refusal: there is neither.
    """
    row = calendar.events.get(event_id)
    if row is not None:
        return row
    series_id, _, key = event_id.rpartition("_")
    series = calendar.events.get(series_id)
    if series is None or not series.is_series:
        raise Refusal("notFound")
    for moment in series.series(calendar.time_zone).starts(_named_day(key) + timedelta(days=2)):
        if moment.key() == key:
            return Instance(series, moment)
    raise Refusal("notFound")


def document(row: EventRow, calendar_zone: str) -> Json:
    """Return the row as a client would have to write it."""
    zone = row.start.zone or calendar_zone
    times = {"start": row.start.shown(zone, calendar_zone), "end": row.end.shown(zone, calendar_zone)}
    return deepcopy(row.data) | times | {"status": row.status}


def changed_fields(row: EventRow, draft: Draft, calendar_zone: str) -> set[str]:
    """Name what *draft* has otherwise than *row*; conferences are looked at apart."""
    names = (row.data.keys() | draft.data.keys()) - {"conferenceData", "hangoutLink"}
    changed = {name for name in names if row.data.get(name) != draft.data.get(name)}
    if row.is_exception:
        changed.discard("recurrence")
    for name in ("start", "end"):
        before, after = getattr(row, name), getattr(draft, name)
        # A zone written out that was the calendar's all along is no change.
        if (before.at, before.on, before.zone or calendar_zone) != (
            after.at,
            after.on,
            after.zone or calendar_zone,
        ):
            changed.add(name)
    return changed | ({"status"} if row.status != draft.status else set())


def _named_day(key: str) -> datetime:
    """Raises Refusal: *key* is not the end of an instance's id."""
    try:
        return datetime.strptime(key[:8], "%Y%m%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise Refusal("notFound") from error
