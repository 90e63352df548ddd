"""
What a signed body says: strict JSON first, then one of the notifications we know.

Stricter than Python where Python and PostgreSQL disagree, or where two readers could: duplicate
keys, NaN, numbers without end, NUL, lone surrogates, deep nesting. Knows no HTTP and no database.

Source of the shapes: docs.recall.ai, calendar v2 webhooks, bot status change events; Recall's
webhook schema catalogue.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NoReturn

from models.domain.times import parse_instant

DEEPEST = 32
LONGEST_TYPE = 128
LONGEST_CODE = 128
#: No number that means anything to us is longer; Python itself gives up at 4,300.
MOST_DIGITS = 64

_TYPE = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
#: How nearly every notification is written. It leaves nothing open: no escapes, no key twice, ASCII.
_USUAL = re.compile(
    rb'\{"event": ?"(calendar\.sync_events|calendar\.update)", ?"data": ?\{"calendar_id": ?"'
    rb'([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})"'
    rb'(?:, ?"last_updated_ts": ?"[0-9TZ:.+-]{1,40}")?\}\}'
)
#: A string is one token even when it never ends: no byte is looked at twice.
_STRUCTURE = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)

#: Named like a status, but lines of a log. Source: docs.recall.ai, bot logs.
_NOT_A_STATUS = frozenset({"bot.log", "bot.output_log"})


class Fault(StrEnum):
    """Why a signed body is of no use; stored as the delivery's reason."""

    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    TOO_DEEP = "too_deep"
    DUPLICATE_KEY = "duplicate_key"
    BAD_NUMBER = "bad_number"
    BAD_CHARACTERS = "bad_characters"
    NOT_AN_OBJECT = "not_an_object"
    BAD_TYPE = "bad_type"
    BAD_SHAPE = "bad_shape"
    BAD_ID = "bad_id"


class Unusable(Exception):
    """Signed, and still nothing we can act on."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class CalendarUpdated:
    """The calendar object itself changed; look at it again."""

    type: str
    ref: str


@dataclass(frozen=True, slots=True)
class EventsChanged:
    """Events of a calendar changed. Since when is the sender's opinion; we have our own cursor."""

    type: str
    ref: str


@dataclass(frozen=True, slots=True)
class BotChanged:
    """
    A bot reached a state.

    *code* may be one nobody has documented. *changed_at* is None when it was missing or made no
    sense. *metadata* is what somebody wrote on the bot when making it; not necessarily us.
    """

    type: str
    ref: str
    code: str
    sub_code: str | None
    changed_at: datetime | None
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Unknown:
    """A type we have no use for."""

    type: str


Notification = CalendarUpdated | EventsChanged | BotChanged | Unknown


def parse(body: bytes) -> Notification:
    """Read a signed body. Raises Unusable, and nothing else, for whatever does not make sense."""
    usual = _USUAL.fullmatch(body)
    if usual is not None:
        ref = usual[2].decode().lower()
        if usual[1] == b"calendar.sync_events":
            return EventsChanged("calendar.sync_events", ref)
        return CalendarUpdated("calendar.update", ref)
    return _parse_any(body)


def _parse_any(body: bytes) -> Notification:
    message = read_json(body)
    if not isinstance(message, dict):
        raise Unusable(Fault.NOT_AN_OBJECT)
    kind = message.get("event")
    if not isinstance(kind, str) or len(kind) > LONGEST_TYPE or not _TYPE.fullmatch(kind):
        raise Unusable(Fault.BAD_TYPE)
    match kind:
        case "calendar.update":
            return CalendarUpdated(kind, _uuid(_object(message, "data"), "calendar_id"))
        case "calendar.sync_events":
            return EventsChanged(kind, _uuid(_object(message, "data"), "calendar_id"))
        case "bot.status_change":
            return _legacy_bot(kind, _object(message, "data"))
        case _ if kind.startswith("bot.") and kind not in _NOT_A_STATUS:
            return _bot(kind, _object(message, "data"))
        case _:
            return Unknown(kind)


def read_json(body: bytes) -> object:
    """Read strict JSON. Raises Unusable with the reason."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise Unusable(Fault.NOT_UTF8) from None
    if body.count(b"[") + body.count(b"{") > DEEPEST and _is_too_deep(body):
        raise Unusable(Fault.TOO_DEEP)
    try:
        value = _DECODER.decode(text)
    except ValueError:
        raise Unusable(Fault.NOT_JSON) from None
    if b"\\u" in body and not _is_storable(value):
        raise Unusable(Fault.BAD_CHARACTERS)
    return value


def _bot(kind: str, data: dict[str, Any]) -> BotChanged:
    bot, status = _object(data, "bot"), _object(data, "data")
    metadata = bot.get("metadata")
    return BotChanged(
        type=kind,
        ref=_uuid(bot, "id"),
        code=_code(status),
        sub_code=_text_or_none(status.get("sub_code")),
        changed_at=_instant_or_none(status.get("updated_at")),
        metadata=metadata if isinstance(metadata, dict) else {},
    )


def _legacy_bot(kind: str, data: dict[str, Any]) -> BotChanged:
    status = _object(data, "status")
    return BotChanged(
        type=kind,
        ref=_uuid(data, "bot_id"),
        code=_code(status),
        sub_code=_text_or_none(status.get("sub_code")),
        changed_at=_instant_or_none(status.get("created_at")),
        metadata={},
    )


def _object(parent: dict[str, Any], name: str) -> dict[str, Any]:
    value = parent.get(name)
    if not isinstance(value, dict):
        raise Unusable(Fault.BAD_SHAPE)
    return value


def _uuid(parent: dict[str, Any], name: str) -> str:
    value = parent.get(name)
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise Unusable(Fault.BAD_ID)
    return value.lower()


def _code(status: dict[str, Any]) -> str:
    code = status.get("code")
    if not isinstance(code, str) or not 0 < len(code) <= LONGEST_CODE:
        raise Unusable(Fault.BAD_SHAPE)
    return code


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) and len(value) <= LONGEST_CODE else None


def _instant_or_none(value: object) -> datetime | None:
    try:
        return parse_instant(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _is_too_deep(body: bytes) -> bool:
    # Outside strings only; an unfinished string hides nothing that the parser would go into.
    depth = 0
    for token in _STRUCTURE.finditer(body):
        first = body[token.start()]
        if first in b"[{":
            depth += 1
            if depth > DEEPEST:
                return True
        elif first in b"]}":
            depth -= 1
    return False


def _is_storable(value: object) -> bool:
    match value:
        case str():
            return "\x00" not in value and not any("\ud800" <= letter <= "\udfff" for letter in value)
        case list():
            return all(_is_storable(item) for item in value)
        case dict():
            return all(_is_storable(name) and _is_storable(item) for name, item in value.items())
        case _:
            return True


def _once_each(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Unusable(Fault.DUPLICATE_KEY)
    return found


def _whole_number(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise Unusable(Fault.BAD_NUMBER)
    return int(digits)


def _number(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise Unusable(Fault.BAD_NUMBER)
    return value


def _no_number(_name: str) -> NoReturn:
    raise Unusable(Fault.BAD_NUMBER)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_once_each,
    parse_int=_whole_number,
    parse_float=_number,
    parse_constant=_no_number,
)
