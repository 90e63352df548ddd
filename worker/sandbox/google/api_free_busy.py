"""
freebusy.query: when calendars are busy, and why that is not known.

Source: developers.google.com/workspace/calendar/api/v3/reference/freebusy/query.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from worker.sandbox.google.calls import Call
from worker.sandbox.google.listing import Wanted, Window, listed
from worker.sandbox.google.refusals import Refusal
from worker.sandbox.google.store import CalendarRecord, EventRow
from worker.sandbox.google.times import offset_text, read_instant, read_zone
from worker.sandbox.google.world import World
from worker.sandbox.oauth.grants import Account
from worker.sandbox.recall.answers import Answer
from worker.sandbox.recall.forms import Json

Span = tuple[datetime, datetime]


def query(call: Call) -> Answer:
    """Answer 200 whatever is wrong with single calendars; their errors stand beside the others' times."""
    since, until = (_bound(call, name) for name in ("timeMin", "timeMax"))
    if since >= until:
        raise Refusal("timeRangeEmpty", location="timeMax")
    if until - since > timedelta(days=call.world.limits.free_busy_days):
        raise Refusal("timeRangeTooLong", location="timeMax")
    zone = read_zone(call.body.get("timeZone"), "UTC")
    groups, wanted = _expanded(call)
    most = min(_asked_most(call, "calendarExpansionMax"), call.world.limits.free_busy_calendars)
    calendars: Json = {}
    for number, calendar_id in enumerate(wanted):
        if number >= most:
            calendars[calendar_id] = _error("tooManyCalendarsRequested")
        else:
            calendars[calendar_id] = _told(call, calendar_id, Window(since, until), zone)
    body: Json = {
        "kind": "calendar#freeBusy",
        "timeMin": offset_text(since, zone),
        "timeMax": offset_text(until, zone),
        "calendars": calendars,
    }
    return Answer(200, body | ({"groups": groups} if groups else {}))


def busy_spans(world: World, calendar: CalendarRecord, window: Window) -> list[Span]:
    """Return when the calendar is busy, merged and cut to the window, earliest first."""
    assert window.since is not None
    assert window.until is not None
    wanted = Wanted(window=window, single_events=True)
    spans: list[Span] = []
    for each in listed(world, calendar, wanted):
        target = each.target
        row = target if isinstance(target, EventRow) else target.series
        if _is_busy(row, calendar):
            start = max(target.start.instant(calendar.time_zone), window.since)
            end = min(target.end.instant(calendar.time_zone), window.until)
            spans.append((start, end))
    return list(_merged(sorted(spans)))


def _is_busy(row: EventRow, calendar: CalendarRecord) -> bool:
    """Tell whether an event blocks time: opaque, and not declined by the calendar's owner."""
    if row.is_cancelled or row.data.get("transparency") == "transparent":
        return False
    own = row.attendee(calendar.id)
    return own is None or own.get("responseStatus") != "declined"


def _merged(spans: Iterable[Span]) -> Iterator[Span]:
    last: Span | None = None
    for start, end in spans:
        if last is not None and start <= last[1]:
            last = (last[0], max(last[1], end))
            continue
        if last is not None:
            yield last
        last = (start, end)
    if last is not None:
        yield last


def _told(call: Call, calendar_id: str, window: Window, zone: str) -> Json:
    world = call.world
    asked = call.account.email if calendar_id == "primary" else calendar_id
    calendar = world.calendars.get(asked)
    if calendar is None or calendar.is_deleted or not _may_see(call, calendar):
        return _error("notFound")
    if calendar.free_busy_error:
        return _error(calendar.free_busy_error)
    spans = busy_spans(world, calendar, window)
    busy = [{"start": offset_text(s, zone), "end": offset_text(e, zone)} for s, e in spans]
    return {"busy": busy}


def _may_see(call: Call, calendar: CalendarRecord) -> bool:
    if calendar.allows(call.account.id, "freeBusyReader"):
        return True
    owner = call.world.oauth.accounts[calendar.owner_id]
    shares = call.world.switches.domain_shares_free_busy
    return shares and calendar.is_primary and _domain(owner) == _domain(call.account)


def _domain(account: Account) -> str:
    return account.email.rpartition("@")[2].lower()


def _error(reason: str) -> Json:
    return {"errors": [{"domain": "global", "reason": reason}], "busy": []}


def _expanded(call: Call) -> tuple[Json, list[str]]:
    """Return what is told of groups, and the ids of all calendars asked for, in order."""
    items = call.body.get("items")
    if not isinstance(items, list) or not all(isinstance(i, dict) and i.get("id") for i in items):
        raise Refusal("required", "Missing items.", location="items")
    most = min(_asked_most(call, "groupExpansionMax"), call.world.limits.free_busy_group)
    groups: Json = {}
    wanted: list[str] = []
    for item in items:
        members = call.world.groups.get(item["id"])
        if members is None:
            wanted.append(item["id"])
        elif len(members) > most:
            groups[item["id"]] = {"errors": [{"domain": "global", "reason": "groupTooBig"}]}
        else:
            groups[item["id"]] = {"calendars": list(members)}
            wanted += members
    return groups, list(dict.fromkeys(wanted))


def _asked_most(call: Call, name: str) -> int:
    """Raises Refusal: more than the reference allows."""
    largest = {"calendarExpansionMax": 50, "groupExpansionMax": 100}[name]
    asked = call.body.get(name, largest)
    if not isinstance(asked, int) or not 0 < asked <= largest:
        raise Refusal("invalid", location=name)
    return asked


def _bound(call: Call, name: str) -> datetime:
    text = call.body.get(name)
    if not isinstance(text, str) or not text:
        raise Refusal("required", f"Missing {name}.", location=name)
    return read_instant(text, name)
