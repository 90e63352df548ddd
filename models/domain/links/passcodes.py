"""Which parts of a link let people in, so that logs and domain events can leave them out."""

from __future__ import annotations

import re

_NAMES = r"pwd|p|tk|pw|passcode|password|pass|jwt|roomkey|zak|token|secret"
_NAME = re.compile(rf"[?&](?:{_NAMES})=[^&#*]", re.IGNORECASE)
# `?pwd=…`, `&amp;pwd=…`, and the same percent-encoded inside a wrapper, once or several times
_VALUE = re.compile(
    rf"((?:[?&;#]|%(?:25)*(?:3f|26|23))(?:{_NAMES})(?:=|%(?:25)*3d))"
    r"(?:(?!%(?:25){0,9}(?:26|23))[^&#\s])*",
    re.IGNORECASE,
)
_USER = re.compile(r"(://)[^/?#@\s]{1,500}@")
_BLUEJEANS = re.compile(r"(bluejeans\.com/\d{1,20}/)\d+", re.IGNORECASE)


def redacted(url: str) -> str:
    """Write *url* with every passcode-like value replaced by `***`; for logs and domain events."""
    return _BLUEJEANS.sub(r"\1***", _USER.sub(r"\1***@", _VALUE.sub(r"\1***", url)))


def has_passcode(url: str) -> bool:
    """Say whether a canonical link carries what lets people in."""
    return bool(_NAME.search(url))
