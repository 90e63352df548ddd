"""Stretches of time: calendarView, its delta, and the instances of a series."""

from __future__ import annotations

from worker.sandbox.microsoft import delta, pages, refusals, showing, view
from worker.sandbox.microsoft.api_events import look
from worker.sandbox.microsoft.asking import Asked
from worker.sandbox.microsoft.delta import ForgottenToken, MalformedToken, Rounds
from worker.sandbox.microsoft.times import whole_seconds
from worker.sandbox.microsoft.view import Entry
from worker.sandbox.recall.answers import Answer
from worker.sandbox.recall.forms import Json

# Source: graph/api/event-delta ($select is not supported, nor are the others).
NOT_WITH_DELTA = ("$orderby", "$filter", "$select", "$expand", "$search", "$top")
GONE = frozenset({"SyncStateNotFound", "resyncRequired"})


def calendar_view(asked: Asked) -> Answer:
    """List singles, occurrences and exceptions that overlap the window, whole, a page at a time."""
    calendar = asked.calendar()
    start, end = pages.window(asked.query, asked.store.limits.view_days)
    entries = list(view.entries_between(calendar.items.values(), start, end))
    if asked.store.switches.view_order == "start":
        entries.sort(key=lambda entry: entry.details.start)
    rows = pages.arranged(asked, entries)
    shape, context = look(asked), f"users('{asked.mailbox.account.id}')/calendarView"
    return Answer(
        200,
        pages.page(
            asked,
            rows,
            lambda entry: showing.whole(entry, shape),
            context,
            never_selected=pages.NEVER_SELECTED,
        ),
    )


def instances(asked: Asked) -> Answer:
    """List the occurrences and exceptions of a series within the window."""
    entry = asked.entry()
    start, end = pages.window(asked.query, asked.store.limits.view_days)
    if entry.item.recurrence is None:
        raise refusals.invalid_request("The event is not a series.")
    rows = pages.arranged(asked, view.instances(entry.item, start, end))
    shape, context = look(asked), f"users('{asked.mailbox.account.id}')/events/instances"
    return Answer(200, pages.page(asked, rows, lambda each: showing.whole(each, shape), context))


def changes(asked: Asked, rounds: Rounds) -> Answer:
    """Begin a round, go on with one, or begin the next one."""
    calendar = asked.calendar()
    if any(name in asked.query for name in NOT_WITH_DELTA):
        names = ", ".join(NOT_WITH_DELTA)
        raise refusals.invalid_query(
            "The following parameters are not supported with change tracking over the 'Events' resource: "
            f"'{names}'."
        )
    size = asked.prefer.page_size or asked.store.limits.page_size
    token = asked.query.get("$skiptoken") or asked.query.get("$deltatoken")
    try:
        if token:
            found = rounds.resume(token, calendar, size)
        else:
            start, end = pages.window(asked.query, asked.store.limits.view_days)
            found = rounds.begin(calendar, start, end, size)
    except MalformedToken as error:
        raise refusals.invalid_query("Badly formed token.") from error
    except ForgottenToken as error:
        raise _forgotten(asked, error) from error
    name, parameter = ("deltaLink", "$deltatoken") if found.is_last else ("nextLink", "$skiptoken")
    body: Json = {
        "@odata.context": pages.context_of(asked, "Collection(event)"),
        f"@odata.{name}": asked.url(f"{parameter}={found.token}"),
        "value": [_row(asked, row) for row in found.rows],
    }
    return Answer(200, body)


def _row(asked: Asked, row: Entry | delta.Removed) -> Json:
    """Show occurrences as stubs, everything else whole. Source: microsoft-graph-docs #7632."""
    if isinstance(row, delta.Removed):
        return row.shown(immutable=asked.prefer.immutable)
    shape = look(asked)
    if row.type == "occurrence":
        return showing.stub(row, shape)
    return {"@odata.type": showing.EVENT_TYPE, **showing.whole(row, shape)}


def _forgotten(asked: Asked, error: ForgottenToken) -> refusals.Refused:
    """Source: graph/delta-query-overview (410, Location); the spelling and text: microsoft-graph-docs #2350."""
    code = asked.store.switches.dead_delta_token
    kept = "".join(f"[{each}]" for each in error.chain.generations) if error.chain else ""
    highest = error.chain.highest if error.chain else 0
    text = f"The sync state generation is not found; generation={error.generation};[highest={highest}]{kept}."
    headers = {}
    if code in GONE and asked.store.switches.dead_delta_location:
        span = ""
        if error.chain:
            start, end = whole_seconds(error.chain.start), whole_seconds(error.chain.end)
            span = f"startDateTime={start}&endDateTime={end}&"
        headers["location"] = asked.url(f"{span}$deltatoken=")
    return refusals.Refused(410 if code in GONE else 400, code, text, headers)
