"""
The lists of events: events.list with its syncs, and events.instances.

Source: developers.google.com/workspace/calendar/api/v3/reference/events/list, …/instances, …/guides/sync.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import cast

from worker.sandbox.google.api_events import view_of
from worker.sandbox.google.bodies import CHOICES
from worker.sandbox.google.calls import Call
from worker.sandbox.google.finding import find
from worker.sandbox.google.listing import Listed, Wanted, Window, listed, occurrences
from worker.sandbox.google.paging import (
    Frozen,
    Page,
    SyncToken,
    first_page,
    gone,
    next_page,
    read_token,
)
from worker.sandbox.google.refusals import Refusal
from worker.sandbox.google.showing import View, shown
from worker.sandbox.google.store import CalendarRecord, EventRow
from worker.sandbox.google.times import stamp
from worker.sandbox.recall.answers import Answer
from worker.sandbox.recall.forms import Json

NOT_WITH_TOKEN = (
    "iCalUID", "orderBy", "privateExtendedProperty", "q", "sharedExtendedProperty", "timeMin", "timeMax",
    "updatedMin",
)  # fmt: skip
# Lists asked for in these ways give no sync token (seen in the field for orderBy; issues of Google's clients).
NO_TOKEN_WITH = (
    "iCalUID", "orderBy", "privateExtendedProperty", "q", "sharedExtendedProperty", "updatedMin",
)  # fmt: skip
DEFAULT_REMINDERS = [{"method": "popup", "minutes": 10}]


def list_(call: Call) -> Answer:
    """List events: in full, in a window, or what changed since a sync token."""
    calendar = call.calendar("freeBusyReader")
    token = _token(call, calendar)
    view = view_of(call, calendar, sparse=token is not None and not call.flag("showDeleted"))
    if call.one("pageToken"):
        page = next_page(call.world, call.one("pageToken"), _question(call), _size(call))
    else:
        page = first_page(call.world, _frozen(call, calendar, token), _size(call))
    return Answer(200, _body(call, calendar, page, view))


def instances(call: Call) -> Answer:
    """List the occurrences of a series in order of their start."""
    calendar = call.calendar("freeBusyReader")
    series = find(calendar, call.path["eventId"])
    if not isinstance(series, EventRow) or not series.is_series:
        raise Refusal("badRequest", "The requested event is not recurring.")
    if call.one("pageToken"):
        page = next_page(call.world, call.one("pageToken"), _question(call), _size(call))
        return Answer(200, _body(call, calendar, page, view_of(call, calendar)))
    window = _window(call, touches=True)
    found = occurrences(call.world, calendar, series, window, show_deleted=call.flag("showDeleted"))
    if call.one("originalStart"):
        wanted = _original(call.one("originalStart"))
        zone = calendar.time_zone
        found = [each for each in found if each.original and each.original.instant(zone) == wanted]
    frozen = Frozen(_question(call), tuple(Listed(each) for each in found))
    page = first_page(call.world, frozen, _size(call))
    return Answer(200, _body(call, calendar, page, view_of(call, calendar)))


def _token(call: Call, calendar: CalendarRecord) -> SyncToken | None:
    """
    Return the sync token of the call.

    Raises:
        Refusal: parameters that may not go with it, or a token that is dead.
    """
    text = call.one("syncToken")
    if not text:
        return None
    for name in NOT_WITH_TOKEN:
        if call.one(name):
            raise Refusal("badRequest", f"Sync token cannot be used with {name}.", location=name)
    if call.one("showDeleted") and not call.flag("showDeleted"):
        raise Refusal(
            "badRequest", "Sync token cannot be used with showDeleted=false.", location="showDeleted"
        )
    token = read_token(call.world, text, f"events:{calendar.id}", call.account.id)
    has_other_role = token.revision < calendar.role_changed_at.get(call.account.id, 0)
    if token.revision < calendar.forgotten_until or (
        has_other_role and not call.world.switches.token_survives_role_change
    ):
        raise gone()
    is_changed = any(token.parameters.get(name) != value for name, value in _lasting(call).items())
    if is_changed and call.world.switches.changed_parameters_refused:
        raise Refusal(
            "badRequest", "Parameters differ from those of the initial sync.", location="syncToken"
        )
    return token


def _frozen(call: Call, calendar: CalendarRecord, token: SyncToken | None) -> Frozen:
    """Find what the list contains, and the sync token that its last page will carry."""
    world = call.world
    revision = _visible_revision(call, calendar)
    wanted = _wanted_by(call) if token is None else _wanted_since(call, token)
    if revision < calendar.revision:
        wanted = replace(wanted, only_known=revision, only_before=world.now() - _lag(call))
    entries = list(listed(world, calendar, wanted))
    if call.one("orderBy"):
        entries.sort(key=lambda each: _order_key(call, calendar, each))
    lasting = token.parameters if token else _lasting(call) | _window_facts(wanted.window)
    following = SyncToken(
        f"events:{calendar.id}", call.account.id, revision, world.now().timestamp(), lasting
    )
    gives = not any(call.one(name) for name in NO_TOKEN_WITH)
    is_windowed = wanted.window != Window() and token is None
    if is_windowed and not world.switches.windowed_sync_gives_token:
        gives = False
    return Frozen(_question(call), tuple(entries), following.text() if gives else "")


def _wanted_by(call: Call) -> Wanted:
    """Read a full list's parameters."""
    if call.choice("orderBy", ("startTime", "updated")) == "startTime" and not call.flag(
        "singleEvents"
    ):
        text = "The requested ordering is not available for the particular query."
        raise Refusal("badRequest", text, location="orderBy")
    updated_min = call.instant("updatedMin")
    oldest = call.world.now() - timedelta(days=call.world.limits.token_life_days)
    if updated_min is not None and updated_min < oldest:
        raise Refusal("updatedMinTooLongAgo", location="updatedMin")
    return Wanted(
        window=_window(call),
        single_events=call.flag("singleEvents"),
        show_deleted=call.flag("showDeleted"),
        show_hidden=call.flag("showHiddenInvitations"),
        updated_min=updated_min,
        event_types=_event_types(call),
        words=tuple(call.one("q").split()),
        ical_uid=call.one("iCalUID"),
        private_properties=call.many("privateExtendedProperty"),
        shared_properties=call.many("sharedExtendedProperty"),
    )


def _wanted_since(call: Call, token: SyncToken) -> Wanted:
    """Read an incremental list's parameters; what the first list had is taken from the token."""
    facts = token.parameters
    how = call.world.switches.windowed_token
    since, until = (
        datetime.fromtimestamp(facts[name], UTC) if facts.get(name) is not None else None
        for name in ("timeMin", "timeMax")
    )
    return Wanted(
        window=Window() if how == "all" else Window(since, until),
        single_events=bool(facts["singleEvents"]),
        show_deleted=True,
        show_hidden=call.flag("showHiddenInvitations"),
        since_revision=token.revision,
        event_types=tuple(facts["eventTypes"]),
        cancels_leavers=how == "cancels_leavers",
    )


def _visible_revision(call: Call, calendar: CalendarRecord) -> int:
    """Return up to which revision lists show changes: all but those of the last moments, with a lag."""
    lag = _lag(call)
    if not lag:
        return calendar.revision
    newest = call.world.now() - lag
    late = [row.revision for row in calendar.events.values() if row.changed_at > newest]
    return min(late, default=calendar.revision + 1) - 1


def _lag(call: Call) -> timedelta:
    return timedelta(milliseconds=call.world.limits.list_lag_ms)


def _lasting(call: Call) -> Json:
    """Name the parameters that have to stay as they were at the first list."""
    return {
        "singleEvents": call.flag("singleEvents"),
        "eventTypes": sorted(_event_types(call)),
        "maxAttendees": call.one("maxAttendees"),
    }


def _window_facts(window: Window) -> Json:
    return {
        "timeMin": window.since and window.since.timestamp(),
        "timeMax": window.until and window.until.timestamp(),
    }


def _window(call: Call, *, touches: bool = False) -> Window:
    """Raises Refusal: bounds that leave nothing between them."""
    since, until = call.instant("timeMin"), call.instant("timeMax")
    if since is not None and until is not None and since >= until:
        raise Refusal("timeRangeEmpty", location="timeMax")
    return Window(since, until, touches)


def _event_types(call: Call) -> tuple[str, ...]:
    kinds = call.many("eventTypes")
    for kind in kinds:
        if kind not in CHOICES["eventType"]:
            raise Refusal("invalid", f"Invalid string value: {kind}", location="eventTypes")
    return kinds


def _order_key(call: Call, calendar: CalendarRecord, entry: Listed) -> tuple[datetime, str]:
    target = entry.target
    row = target if isinstance(target, EventRow) else target.series
    if call.one("orderBy") == "updated":
        return row.updated_at, target.id
    return target.start.instant(calendar.time_zone), target.id


def _original(text: str) -> datetime:
    """Raises Refusal: `originalStart` is neither an instant nor a day."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise Refusal("invalid", location="originalStart") from error
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def _question(call: Call) -> str:
    """Return the parameters that every page of one list has to repeat."""
    kept = {
        name: values
        for name, values in call.query.items()
        if name not in ("pageToken", "maxResults", "fields", "prettyPrint", "alt", "quotaUser", "key")
    }
    return json.dumps([sorted(kept.items()), sorted(call.path.items()), call.account.id])


def _size(call: Call) -> int:
    limits = call.world.limits
    asked = call.number("maxResults", limits.page_size)
    return min(cast("int", asked), limits.page_size_max)


def _body(call: Call, calendar: CalendarRecord, page: Page, view: View) -> Json:
    is_owner = call.role_in(calendar) == "owner"
    body: Json = {
        "kind": "calendar#events",
        "etag": f'"p{calendar.revision:08d}"',
        "summary": calendar.summary,
        "description": calendar.description,
        "updated": stamp(calendar.updated_at or call.world.now()),
        "timeZone": view.zone or calendar.time_zone,
        "accessRole": call.role_in(calendar),
        "defaultReminders": DEFAULT_REMINDERS if is_owner and calendar.is_primary else [],
    }
    items = [_item(calendar, cast("Listed", each), view) for each in page.entries]
    return body | page.facts | {"items": items}


def _item(calendar: CalendarRecord, entry: Listed, view: View) -> Json:
    event = shown(calendar, entry.target, view)
    if not entry.has_left:
        return event
    kept = ("kind", "etag", "id", "recurringEventId", "originalStartTime")
    return {name: event[name] for name in kept if name in event} | {"status": "cancelled"}
