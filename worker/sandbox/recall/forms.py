"""Texts on the wire: instants, cursors and merge patches. Knows no state."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlencode

Json = dict[str, Any]


def instant(text: object) -> datetime:
    """
    Read an ISO 8601 date and time; without offset it is UTC.

    Raises:
        ValueError: not such a text.
    """
    if not isinstance(text, str) or len(text) < 10:
        raise ValueError("not a date and time")
    at = datetime.fromisoformat(text)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def rendered(at: datetime, *, with_z: bool) -> str:
    """Write an instant in UTC, with as many digits as it has."""
    text = at.astimezone(UTC).isoformat()
    return text.removesuffix("+00:00") + "Z" if with_z else text


def merged(target: object, patch: object) -> Any:  # noqa: ANN401  # any JSON
    """Apply a JSON merge patch (RFC 7396); None removes a key. Neither argument is changed."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


@dataclass(frozen=True, slots=True)
class Cursor:
    """
    Where a page starts: after *position*, leaving out *offset* rows; or before it when *backwards*.

    The token is base64 of a query string with `p`, as in the docs' own example URL; that is the form of
    Django REST Framework's CursorPagination, and so are the rules for rows with equal positions.
    """

    position: str | None = None
    offset: int = 0
    backwards: bool = False

    def token(self) -> str:
        parts: dict[str, str] = {}
        if self.offset:
            parts["o"] = str(self.offset)
        if self.backwards:
            parts["r"] = "1"
        if self.position is not None:
            parts["p"] = self.position
        return base64.b64encode(urlencode(parts).encode()).decode()

    @classmethod
    def read(cls, token: str) -> Cursor:
        """Raises ValueError: no cursor of ours."""
        try:
            parts = parse_qs(base64.b64decode(token, validate=True).decode("ascii"))
        except (binascii.Error, UnicodeDecodeError) as error:
            raise ValueError("invalid cursor") from error
        if not parts.keys() & {"p", "o", "r"}:
            raise ValueError("invalid cursor")
        position = parts.get("p", [None])[0]
        return cls(position, int(parts.get("o", ["0"])[0]), parts.get("r", ["0"])[0] == "1")


@dataclass(frozen=True, slots=True)
class Page:
    """Indices [start, end) of one page and the cursors of its neighbours."""

    start: int
    end: int
    next: Cursor | None
    previous: Cursor | None


def page_of(positions: Sequence[str], cursor: Cursor, size: int, *, descending: bool) -> Page:
    """Cut the page that *cursor* asks for out of rows whose sort keys, in list order, are *positions*."""

    def is_after(position: str, mark: str) -> bool:
        return position < mark if descending else position > mark

    count = len(positions)
    if cursor.backwards:
        mark = cursor.position
        before = count if mark is None else sum(1 for each in positions if is_after(mark, each))
        end = max(0, before - cursor.offset)
        start = max(0, end - size)
    else:
        mark = cursor.position
        first = (
            0
            if mark is None
            else next((i for i, p in enumerate(positions) if is_after(p, mark)), count)
        )
        start = min(count, first + cursor.offset)
        end = min(count, start + size)
    return Page(start, end, _after(positions, end), _before(positions, start))


def _after(positions: Sequence[str], end: int) -> Cursor | None:
    """Point at row *end*: after the last row with another key, leaving out its equals before it."""
    if end >= len(positions):
        return None
    equals = 0
    while equals < end and positions[end - 1 - equals] == positions[end]:
        equals += 1
    if equals == end:
        return Cursor(None, end)
    return Cursor(positions[end - 1 - equals], equals)


def _before(positions: Sequence[str], start: int) -> Cursor | None:
    if start <= 0:
        return None
    equals = 0
    while start + equals < len(positions) and positions[start + equals] == positions[start - 1]:
        equals += 1
    if start + equals == len(positions):
        return Cursor(None, equals, backwards=True)
    return Cursor(positions[start + equals], equals, backwards=True)
