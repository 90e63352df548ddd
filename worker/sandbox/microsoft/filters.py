"""
`$filter`, of the kinds that clients of calendars use: comparisons joined by `and`, and extended properties.

Source: learn.microsoft.com/graph/filter-query-parameter; singlevaluelegacyextendedproperty-get.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

from worker.sandbox.microsoft import refusals
from worker.sandbox.microsoft.times import instant, shown_instant
from worker.sandbox.microsoft.view import Entry

Test = Callable[[Entry], bool]

COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq, "ne": operator.ne, "ge": operator.ge, "gt": operator.gt, "le": operator.le,
    "lt": operator.lt,
}  # fmt: skip
INSTANTS: dict[str, Callable[[Entry], str]] = {
    "start/datetime": lambda entry: shown_instant(entry.details.start),
    "end/datetime": lambda entry: shown_instant(entry.details.end),
    "createddatetime": lambda entry: shown_instant(entry.item.created_at),
    "lastmodifieddatetime": lambda entry: shown_instant(entry.item.modified_at),
}
VALUES: dict[str, Callable[[Entry], object]] = {
    "subject": lambda entry: entry.details.subject,
    "icaluid": lambda entry: entry.uid(shared_by_series=False),
    "type": lambda entry: entry.type,
    "iscancelled": lambda entry: entry.details.is_cancelled,
    "isallday": lambda entry: entry.details.all_day,
    "isorganizer": lambda entry: entry.item.is_organizer,
    "sensitivity": lambda entry: entry.details.sensitivity,
    "showas": lambda entry: entry.details.show_as,
    "transactionid": lambda entry: entry.item.transaction_id,
}
_QUOTED = r"'((?:[^']|'')*)'"
_COMPARISON = re.compile(
    rf"([\w/]+)\s+(eq|ne|ge|gt|le|lt)\s+(?:{_QUOTED}|([\w:.+-]+))\s*", re.IGNORECASE
)
_STARTS = re.compile(rf"startswith\(\s*subject\s*,\s*{_QUOTED}\s*\)\s*", re.IGNORECASE)
_PROPERTY = re.compile(
    rf"singleValueExtendedProperties/any\(\s*(\w+)\s*:\s*\1/id\s+eq\s+{_QUOTED}"
    rf"\s+and\s+\1/value\s+eq\s+{_QUOTED}\s*\)\s*",
    re.IGNORECASE,
)
_AND = re.compile(r"and\s+", re.IGNORECASE)
_EXPANDED = re.compile(
    rf"singleValueExtendedProperties\(\s*\$filter\s*=\s*id\s+eq\s+{_QUOTED}\s*\)", re.IGNORECASE
)


def read(text: str) -> Test:
    """
    Read a filter.

    Raises:
        Refused: it is of no kind known here.
    """
    tests: list[Test] = []
    rest = text.strip()
    while True:
        test, rest = _one(rest)
        tests.append(test)
        if not rest:
            return lambda entry: all(test(entry) for test in tests)
        joined = _AND.match(rest)
        if joined is None:
            raise _invalid()
        rest = rest[joined.end() :]


def expanded_property(text: str) -> str | None:
    """Return the id of the extended property that `$expand` asks for."""
    match = _EXPANDED.search(text)
    return _unquoted(match[1]) if match else None


def _one(text: str) -> tuple[Test, str]:
    if match := _PROPERTY.match(text):
        name, value = _unquoted(match[2]), _unquoted(match[3])
        return (lambda entry: entry.item.properties.get(name) == value), text[match.end() :]
    if match := _STARTS.match(text):
        head = _unquoted(match[1]).lower()
        return (lambda entry: entry.details.subject.lower().startswith(head)), text[match.end() :]
    if match := _COMPARISON.match(text):
        literal = _unquoted(match[3]) if match[3] is not None else match[4]
        return _comparison(match[1].lower(), match[2].lower(), literal), text[match.end() :]
    raise _invalid()


def _comparison(path: str, operation: str, literal: str) -> Test:
    compare = COMPARED[operation]
    if path in INSTANTS:
        try:
            border = shown_instant(instant(literal))
        except ValueError as error:
            raise _invalid() from error
        written = INSTANTS[path]
        return lambda entry: compare(written(entry), border)
    if path not in VALUES or operation not in ("eq", "ne"):
        raise _invalid()
    value = VALUES[path]
    wanted: object = {"true": True, "false": False}.get(literal.lower(), literal)
    return lambda entry: compare(value(entry), wanted)


def _unquoted(text: str) -> str:
    return text.replace("''", "'")


def _invalid() -> refusals.Refused:
    text = "The query filter contains one or more invalid nodes."
    return refusals.Refused(400, "ErrorInvalidUrlQueryFilter", text)
