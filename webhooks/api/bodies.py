"""Reads a request's body strictly, before anybody looks at what it says."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from starlette.requests import ClientDisconnect, Request

from webhooks.api.problems import Problem

LARGEST_BYTES = 1 << 20
DEEPEST = 32

_JSON_TYPE = re.compile(
    r"application/(?:[\w.+-]+\+)?json(?:\s*;\s*charset=\"?utf-8\"?)?\s*", re.IGNORECASE
)
# PostgreSQL stores neither; Python's parser lets both through.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


async def read_body(request: Request) -> bytes:
    """Read the raw body, and stop as soon as it is too large."""
    declared = request.headers.get("content-length", "0")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > LARGEST_BYTES:
        raise Problem("body_too_large")
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > LARGEST_BYTES:
                raise Problem("body_too_large")
    except ClientDisconnect as gone:
        raise Problem("invalid_json", "the body ended early") from gone
    return bytes(body)


def check_media_type(request: Request) -> None:
    """Refuse a body that is not declared as plain JSON in UTF-8."""
    encodings = request.headers.getlist("content-encoding")
    types = request.headers.getlist("content-type")
    if any(encoding.strip().lower() != "identity" for encoding in encodings):
        raise Problem("unsupported_media_type")
    if len(types) != 1 or not _JSON_TYPE.fullmatch(types[0].strip()):
        raise Problem("unsupported_media_type")


def parse_json(body: bytes) -> Any:  # noqa: ANN401  # that is what JSON is
    """Parse a body into what JSON can hold and PostgreSQL can store; a Problem for anything else."""
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant)
    except UnicodeDecodeError as wrong:
        raise Problem("invalid_json", "the body is not UTF-8") from wrong
    except RecursionError as deep:
        raise Problem("invalid_json", f"the body has more than {DEEPEST} levels") from deep
    except ValueError as wrong:
        raise Problem("invalid_json") from wrong
    _check(value)
    return value


def _check(value: object) -> None:
    left: list[tuple[int, object]] = [(1, value)]
    while left:
        level, item = left.pop()
        if isinstance(item, dict | list) and level > DEEPEST:
            raise Problem("invalid_json", f"the body has more than {DEEPEST} levels")
        if isinstance(item, dict):
            left.extend((level + 1, name) for name in item)
            left.extend((level + 1, inner) for inner in item.values())
        elif isinstance(item, list):
            left.extend((level + 1, inner) for inner in item)
        elif isinstance(item, str) and _UNSTORABLE.search(item):
            raise Problem("invalid_json", "text holds NUL or half a surrogate pair")
        elif isinstance(item, float) and not math.isfinite(item):
            raise Problem("invalid_json", "a number is out of range")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Problem("invalid_json", "an object has one name twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise Problem("invalid_json", f"{name} is not JSON")
