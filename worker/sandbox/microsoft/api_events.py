"""Events: list, get, create, change, delete, cancel and answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta

from worker.sandbox.microsoft import (
    filters,
    meetings,
    pages,
    reading,
    recurrence,
    refusals,
    showing,
    view,
)
from worker.sandbox.microsoft.asking import READ_WHOLE, Asked
from worker.sandbox.microsoft.details import Details
from worker.sandbox.microsoft.mailbox import Calendar, Item, Posted
from worker.sandbox.microsoft.recurrence import Kept, NewPattern
from worker.sandbox.microsoft.showing import Look
from worker.sandbox.microsoft.view import Entry
from worker.sandbox.recall.answers import Answer
from worker.sandbox.recall.forms import Json

ANSWERS = {"accept": "accepted", "decline": "declined", "tentativelyaccept": "tentativelyAccepted"}


def look(asked: Asked) -> Look:
    """Tell how the caller wants events shown."""
    return Look(
        switches=asked.store.switches,
        reader=asked.store.mailboxes[asked.grant.account.id],
        zone=asked.prefer.zone,
        immutable=asked.prefer.immutable,
        text_body=asked.prefer.text_body,
        is_basic=not any(scope.removesuffix(".shared") in READ_WHOLE for scope in asked.scopes),
    )


def list_(asked: Asked) -> Answer:
    """List single events and series masters."""
    calendars = [asked.calendar()]
    spans = asked.store.switches.me_events_spans_mailbox and not asked.path.lower().count("/calendar")
    if spans:
        calendars = list(asked.mailbox.calendars.values())
    rows = pages.arranged(asked, [Entry(item) for each in calendars for item in each.items.values()])
    shape = look(asked)
    wished = filters.expanded_property(asked.query.get("$expand", ""))
    context = f"users('{asked.mailbox.account.id}')/events"
    return Answer(
        200, pages.page(asked, rows, lambda each: _with_property(each, shape, wished), context)
    )


def retrieve(asked: Asked) -> Answer:
    """Show an event; a master can also name its exceptions and the occurrences taken out, if selected."""
    entry = asked.entry()
    return Answer(200, _single(asked, entry))


def create(asked: Asked) -> Answer:
    """
    Put an event into the calendar and invite its attendees.

    Source: graph/api/calendar-post-events; transactionId: v1.0 metadata, the refusal alcionai/corso #2490.
    """
    calendar = asked.calendar(to_write=True)
    repeated = _repeated(asked, calendar)
    if repeated is not None:
        return Answer(201, _single(asked, Entry(repeated)))
    details, written = reading.new_event(
        asked.body, calendar.mailbox, asked.store.now(), thread=_thread(asked, calendar)
    )
    if len(details.guests) > asked.store.limits.most_attendees:
        raise refusals.failed_validation()
    pattern = _pattern(written.recurrence, details)
    item = meetings.create(
        asked.store,
        calendar,
        details,
        recurrence=None if pattern is Kept.KEPT else pattern,
        transaction_id=written.transaction_id,
        properties=written.properties,
    )
    if written.transaction_id:
        posted = Posted(item, dict(asked.body), asked.store.now())
        calendar.mailbox.by_transaction[written.transaction_id] = posted
    return Answer(201, _single(asked, Entry(item)))


def update(asked: Asked) -> Answer:
    """Change what the body names, of one event, a series or one occurrence."""
    entry = asked.entry(to_write=True)
    item, before = entry.item, entry.details
    written = reading.changes_in(asked.body, before, item.mailbox, thread=item.uid)
    item.properties.update(written.properties)
    if entry.on is None:
        pattern = _pattern(written.recurrence, replace(before, **written.changes))
        meetings.change(asked.store, item, written.changes, recurrence=pattern)
    elif isinstance(written.recurrence, Mapping):
        raise refusals.failed_validation()
    else:
        try:
            meetings.change_occurrence(asked.store, item, entry.on, written.changes)
        except meetings.CrossingBoundary as error:
            text = "Modified occurrence is crossing or overlapping adjacent occurrence."
            raise refusals.Refused(400, "ErrorOccurrenceCrossingBoundary", text) from error
    return Answer(200, _single(asked, entry))


def delete(asked: Asked) -> Answer:
    """Delete an event or one occurrence; the organiser's attendees hear that it is off."""
    entry = asked.entry(to_write=True)
    meetings.remove(asked.store, entry.item, entry.on)
    return Answer(204)


def cancel(asked: Asked) -> Answer:
    """Call a meeting off; only the organiser may. Source: graph/api/event-cancel."""
    entry = asked.entry(to_write=True)
    try:
        meetings.cancel(asked.store, entry.item, entry.on)
    except meetings.NotOrganizer as error:
        raise refusals.invalid_request("You need to be an organizer to cancel a meeting.") from error
    return Answer(202)


def answering(action: str) -> Callable[[Asked], Answer]:
    """Return the operation that answers an invitation with *action*."""

    def respond(asked: Asked) -> Answer:
        entry = asked.entry(to_write=True)
        body = {name.lower(): value for name, value in asked.body.items()}
        tells = body.get("sendresponse", True) is not False
        if body.get("proposednewtime") and not (tells and entry.details.allows_proposals):
            raise refusals.invalid_request("A new time cannot be proposed.")
        try:
            meetings.respond(
                asked.store, entry.item, ANSWERS[action.lower()], on=entry.on, tells_organizer=tells
            )
        except meetings.IsOrganizer as error:
            text = "You can't respond to this meeting because you're the meeting organizer."
            raise refusals.invalid_request(text) from error
        return Answer(202)

    return respond


def _single(asked: Asked, entry: Entry) -> Json:
    item, shape = entry.item, look(asked)
    wished = filters.expanded_property(asked.query.get("$expand", ""))
    context = pages.context_of(asked, f"users('{asked.mailbox.account.id}')/events/$entity")
    shown = {"@odata.context": context, **_with_property(entry, shape, wished)}
    if entry.type == "seriesMaster":
        asked_for = {name.strip() for name in asked.query.get("$select", "").split(",")}
        asked_for |= {name.strip() for name in asked.query.get("$expand", "").split(",")}
        if "cancelledOccurrences" in asked_for:
            master = item.id(immutable=shape.immutable)
            shown["cancelledOccurrences"] = [f"OID.{master}.{on}" for on in sorted(item.removed_on)]
        if "exceptionOccurrences" in asked_for:
            days = sorted(on for on in item.exceptions if view.has_occurrence(item, on))
            shown["exceptionOccurrences"] = [showing.whole(Entry(item, on), shape) for on in days]
    chosen = pages.selected(asked, shown)
    if "exceptionOccurrences" in shown:
        chosen["exceptionOccurrences"] = shown["exceptionOccurrences"]
    return chosen


def _with_property(entry: Entry, shape: Look, wished: str | None) -> Json:
    shown = showing.whole(entry, shape)
    if wished is not None and wished in entry.item.properties:
        value = entry.item.properties[wished]
        shown["singleValueExtendedProperties"] = [{"id": wished, "value": value}]
    return shown


def _pattern(wish: object, details: Details) -> NewPattern:
    if wish is None or isinstance(wish, Kept):
        return wish
    try:
        return recurrence.read(wish, view.date_of(details, details.start))
    except (ValueError, TypeError, KeyError) as error:
        raise refusals.failed_validation() from error


def _repeated(asked: Asked, calendar: Calendar) -> Item | None:
    """
    Return the event that this transactionId made before.

    Raises:
        Refused: it made a different one, or a repeat is refused at all.
    """
    known = calendar.mailbox.by_transaction.get(str(asked.body.get("transactionId") or ""))
    memory = timedelta(seconds=asked.store.limits.transaction_memory_s)
    if known is None or asked.store.now() - known.at > memory:
        return None
    is_same = known.body == dict(asked.body) and not known.item.is_gone
    if is_same and asked.store.switches.repeated_transaction == "same_event":
        return known.item
    text = (
        "The TransactionId specified in the request has already been used to create a different event."
    )
    raise refusals.Refused(
        409, "ErrorDuplicateTransactionId", f"Your request can't be completed. {text}"
    )


def _thread(asked: Asked, calendar: Calendar) -> str:
    return f"{calendar.id}|{asked.store.now().isoformat()}|{asked.store.random.random()}"
