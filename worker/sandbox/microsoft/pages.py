"""Collections: chosen, ordered and cut into pages whose `@odata.nextLink` leads on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from worker.sandbox.microsoft import filters, refusals
from worker.sandbox.microsoft.asking import Asked
from worker.sandbox.microsoft.times import days_between, instant
from worker.sandbox.microsoft.view import Entry
from worker.sandbox.recall.forms import Json

ORDERS: dict[str, Callable[[Entry], Any]] = {
    "start/datetime": lambda entry: entry.details.start,
    "end/datetime": lambda entry: entry.details.end,
    "subject": lambda entry: entry.details.subject.lower(),
    "createddatetime": lambda entry: entry.item.created_at,
    "lastmodifieddatetime": lambda entry: entry.item.modified_at,
}
KNOWN = frozenset({"$select", "$top", "$skip", "$orderby", "$filter", "$expand", "$count"})
# Source: graph/api/calendar-list-calendarview: these two "do not support $select".
NEVER_SELECTED = frozenset({"createdDateTime", "lastModifiedDateTime"})


def arranged(asked: Asked, entries: Iterable[Entry]) -> list[Entry]:
    """
    Return what `$filter` leaves, in the order of `$orderby`.

    Raises:
        Refused: one of them is not understood, or an option is unknown.
    """
    check_options(asked, KNOWN)
    chosen = list(entries)
    if text := asked.query.get("$filter"):
        test = filters.read(text)
        chosen = [entry for entry in chosen if test(entry)]
    for wish in reversed(
        [each.strip() for each in asked.query.get("$orderby", "").split(",") if each.strip()]
    ):
        path, _, direction = wish.partition(" ")
        if path.lower() not in ORDERS or direction.strip().lower() not in ("", "asc", "desc"):
            raise refusals.invalid_query(f"The query parameter '$orderby' does not support '{wish}'.")
        chosen.sort(key=ORDERS[path.lower()], reverse=direction.strip().lower() == "desc")
    return chosen


def check_options(asked: Asked, known: frozenset[str]) -> None:
    """Raises Refused: the query has an option (`$…`) that is not among *known*."""
    for name in asked.query:
        if name.startswith("$") and name not in known:
            raise refusals.invalid_query(f"The query parameter '{name}' is not supported.")


def page(
    asked: Asked,
    rows: list[Entry],
    show: Callable[[Entry], Json],
    context: str,
    *,
    never_selected: frozenset[str] = frozenset(),
) -> Json:
    """Show the page that `$top` and `$skip`, or the page size preferred, cut out of *rows*."""
    limits = asked.store.limits
    size = number(asked, "$top") or asked.prefer.page_size or limits.page_size
    if "$top" in asked.query and not 1 <= size <= limits.largest_page:
        raise refusals.invalid_query(f"The value of '$top' is between 1 and {limits.largest_page}.")
    skip = number(asked, "$skip") or 0
    answer: Json = {"@odata.context": context_of(asked, context)}
    if asked.query.get("$count", "").lower() == "true":
        answer["@odata.count"] = len(rows)
    answer["value"] = [
        selected(asked, show(entry), never_selected) for entry in rows[skip : skip + size]
    ]
    if skip + size < len(rows):
        following = {**asked.query, "$skip": str(skip + size), "$top": str(size)}
        answer["@odata.nextLink"] = asked.url(urlencode(following, safe="$:,/'"))
    return answer


def number(asked: Asked, name: str) -> int | None:
    """Read a query option that is a number. Raises Refused: it is none."""
    text = asked.query.get(name)
    if text is None:
        return None
    if not text.isdecimal():
        raise refusals.invalid_query(f"Invalid value '{text}' for {name} query option found.")
    return int(text)


def selected(asked: Asked, row: Json, never: frozenset[str] = frozenset()) -> Json:
    """Return the properties that `$select` names but *never*, with id and annotations; all without it."""
    wished = [name.strip() for name in asked.query.get("$select", "").split(",") if name.strip()]
    if not wished:
        return row
    names = {name.lower() for name in wished} | {"id"}
    return {
        name: value
        for name, value in row.items()
        if (name.lower() in names and name not in never) or name.startswith("@")
    }


def context_of(asked: Asked, path: str) -> str:
    """Return the `@odata.context` of an answer."""
    return f"{asked.authority}/v1.0/$metadata#{path}"


def window(query: Mapping[str, str], most_days: float) -> tuple[datetime, datetime]:
    """
    Read startDateTime and endDateTime; without an offset they are UTC.

    Raises:
        Refused: one is missing or unreadable, or they are too far apart.
    """
    try:
        start, end = instant(query["startdatetime"]), instant(query["enddatetime"])
    except KeyError as error:
        text = (
            "This request requires a time window specified by the query string parameters StartDateTime "
            "and EndDateTime."
        )
        raise refusals.Refused(400, "ErrorInvalidParameter", text) from error
    except ValueError as error:
        text = "The value of parameter 'StartDateTime' or 'EndDateTime' is invalid."
        raise refusals.Refused(400, "ErrorInvalidParameter", text) from error
    if end < start:
        raise refusals.invalid_request("The end date is before the start date.")
    if days_between(start, end) > most_days:
        raise refusals.invalid_request(
            "The range between the start and end dates is greater than the allowed range. Maximum number "
            f"of days: {most_days}"
        )
    return start, end
