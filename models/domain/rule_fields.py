"""
The fields of a JSON object read strictly, every fault noted in one line with the field's path.

Knows types and bounds, not what the fields mean. Faults never repeat values, which may be anything.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection
from typing import Any

MAX_LIST_ENTRIES = 200
MAX_WORD_CHARS = 200
MAX_NAME_CHARS = 100
MAX_CONFIG_BYTES = 64 * 1024
MAX_CONFIG_LEVELS = 32
_MAX_INTEGER = 2**63

# controls, halves of surrogate pairs, line separators, and what turns the direction of text around
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028-\u202e\u2066-\u2069]")
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class StrictFields:
    """One JSON object being read: *faults* grows with each field that is not as it must be."""

    def __init__(self, path: str, value: object) -> None:
        self._path = path
        self._unread: dict[str, object] = {}
        self._faults: list[str] = []
        if not isinstance(value, dict):
            self._faults.append(f"{path or 'rules'}: must be an object")
        else:
            self._unread = {name: item for name, item in value.items() if isinstance(name, str)}
            if len(self._unread) != len(value):
                self._note("", "names must be text")

    def faults(self) -> list[str]:
        """List what was wrong, fields that nobody asked for included."""
        unknown = [f"{self._at(_shown(name))}: unknown field" for name in self._unread]
        return self._faults + unknown

    def field(self, name: str, default: object) -> object:
        """Take the field's value unread, *default* when it is missing."""
        return self._unread.pop(name, default)

    def flag(self, name: str) -> bool:
        """Read true or false; false when missing."""
        value = self.field(name, False)
        if not isinstance(value, bool):
            self._note(name, "must be true or false")
        return value is True

    def count(self, name: str, most: int) -> int:
        """Read a whole number from 0 to *most*; 0 when missing."""
        value = self.field(name, 0)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most:
            return value
        self._note(name, f"must be a whole number from 0 to {most}")
        return 0

    def count_or_none(self, name: str, most: int) -> int | None:
        """Read a whole number from 0 to *most*; None when missing or null."""
        if self._unread.get(name) is None:
            self.field(name, None)
            return None
        return self.count(name, most)

    def number(self, name: str, most: int) -> float | None:
        """Read a number from 0 to *most*; None when missing or null."""
        value = self.field(name, None)
        if value is None:
            return None
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most:
            return value
        self._note(name, f"must be a number from 0 to {most}")
        return None

    def in_order(self, low_name: str, low: float | None, high_name: str, high: float | None) -> None:
        """Note a fault where the least of a range is more than its most."""
        if low is not None and high is not None and low > high:
            self._note(high_name, f"must not be less than {low_name}")

    def choice(self, name: str, allowed: Collection[str], default: str) -> str:
        """Read one of *allowed*."""
        value = self.field(name, default)
        if isinstance(value, str) and value in allowed:
            return value
        self._note(name, f"must be one of {', '.join(allowed)}")
        return default

    def choices(self, name: str, allowed: Collection[str]) -> tuple[str, ...]:
        """Read a list of *allowed*, without repeats; empty when missing."""
        expected = f"must be one of {', '.join(sorted(allowed))}"
        return self._list(name, expected, lambda text: text if text in allowed else None)

    def words(self, name: str) -> tuple[str, ...]:
        """Read a list of words to look for, in lower case; an empty word would be everywhere."""
        expected = f"must be text of 1 to {MAX_WORD_CHARS} characters without control characters"
        return self._list(name, expected, _word)

    def domains(self, name: str) -> tuple[str, ...]:
        """Read a list of domain names, in lower case, such as `example.com`."""
        return self._list(name, "must be a domain such as example.com", _domain)

    def label(self, name: str, default: str) -> str:
        """Read a line of text that people will see."""
        value = self.field(name, default)
        fits = isinstance(value, str) and value.strip() and not _UNFIT.search(value)
        if isinstance(value, str) and fits and len(value) <= MAX_NAME_CHARS:
            return value
        self._note(name, f"must be text of 1 to {MAX_NAME_CHARS} characters without control characters")
        return default

    def json_object(self, name: str) -> dict[str, Any]:
        """Read any JSON object of bounded size and depth, as a copy; empty when missing."""
        value = self.field(name, {})
        if not isinstance(value, dict):
            self._note(name, "must be an object")
            return {}
        if fault := _fault_of_json(value):
            self._note(name, fault)
            return {}
        written = json.dumps(value, ensure_ascii=False)
        if len(written.encode()) > MAX_CONFIG_BYTES:
            self._note(name, f"must be at most {MAX_CONFIG_BYTES} bytes")
            return {}
        copied: dict[str, Any] = json.loads(written)
        return copied

    def _list(self, name: str, expected: str, read: Callable[[str], str | None]) -> tuple[str, ...]:
        value = self.field(name, [])
        if not isinstance(value, list):
            self._note(name, "must be a list")
            return ()
        if len(value) > MAX_LIST_ENTRIES:
            self._note(name, f"must have at most {MAX_LIST_ENTRIES} entries")
            return ()
        entries = [read(entry) if isinstance(entry, str) else None for entry in value]
        for position, entry in enumerate(entries):
            if entry is None:
                self._note(f"{name}[{position}]", expected)
        return tuple(dict.fromkeys(entry for entry in entries if entry is not None))

    def _note(self, name: str, fault: str) -> None:
        self._faults.append(f"{self._at(name)}: {fault}")

    def _at(self, name: str) -> str:
        return ".".join(part for part in (self._path, name) if part) or "rules"


def _word(text: str) -> str | None:
    lower = text.lower()
    fits = 0 < len(lower) <= MAX_WORD_CHARS and lower.strip() and not _UNFIT.search(lower)
    return lower if fits else None


def _domain(text: str) -> str | None:
    lower = text.lower()
    labels = lower.split(".")
    fits = len(lower) <= MAX_WORD_CHARS and len(labels) > 1 and all(map(_LABEL.fullmatch, labels))
    return lower if fits else None


def _fault_of_json(value: dict[Any, Any]) -> str | None:
    """Find what JSON or the database could not hold; never deeper or longer than the bounds."""
    left: list[tuple[int, object]] = [(1, value)]
    seen = 0
    while left:
        level, item = left.pop()
        seen += 1
        if level > MAX_CONFIG_LEVELS:
            return f"must be at most {MAX_CONFIG_LEVELS} levels deep"
        if seen + len(left) > MAX_CONFIG_BYTES:  # each value takes a byte at least
            return f"must be at most {MAX_CONFIG_BYTES} bytes"
        match item:
            case dict():
                if not all(isinstance(key, str) and not _UNSTORABLE.search(key) for key in item):
                    return "must have names of storable text"
                left.extend((level + 1, inner) for inner in item.values())
            case list():
                left.extend((level + 1, inner) for inner in item)
            case str() if _UNSTORABLE.search(item):
                return "must not contain NUL or halves of surrogate pairs"
            case bool() | str() | None:
                pass
            case int() if abs(item) < _MAX_INTEGER:
                pass
            case float() if math.isfinite(item):
                pass
            case _:
                return "must be JSON with finite numbers of at most 64 bits"
    return None


def _shown(name: str) -> str:
    """Write a field's name so that it stays one short line wherever it is shown."""
    return ascii(name[:40])[1:-1]
