"""Types that requests and answers are made of; strict, closed, and documented by themselves."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from models.domain.times import parse_instant

DEFAULT_LIMIT = 50
LARGEST_LIMIT = 200
LARGEST_METADATA_BYTES = 16 * 1024

# Controls, line separators and what turns the direction of text around would garble lists and logs.
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_SPACED_OFFSET = re.compile(r"(:\d{2}(?:\.\d+)?) (\d{2}:\d{2})")


class Shape(BaseModel):
    """What every body is: no field is unknown, none is converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Nothing(Shape):
    """No fields at all."""


def _one_line(text: str) -> str:
    if _UNFIT.search(text):
        msg = "must not hold control characters"
        raise ValueError(msg)
    return text


def _instant(value: object) -> datetime:
    """Read a time; in a query `+` arrives as a space, which is put right."""
    if not isinstance(value, str) or len(value) > 50:
        msg = "must be an RFC 3339 time with a zone"
        raise ValueError(msg)
    try:
        return parse_instant(_SPACED_OFFSET.sub(r"\1+\2", value))
    except ValueError as wrong:
        msg = f"must be an RFC 3339 time with a zone: {wrong}"
        raise ValueError(msg) from wrong


def _whole_number(value: object) -> int:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,6}", value):
        return int(value)
    msg = "must be a whole number"
    raise ValueError(msg)


def _truth(value: object) -> bool:
    if value in {"true", "false"}:
        return value == "true"
    msg = "must be true or false"
    raise ValueError(msg)


def _uuid(value: object) -> UUID:
    found = parse_uuid(value) if isinstance(value, str) else None
    if found is None:
        msg = "must be a UUID"
        raise ValueError(msg)
    return found


def parse_uuid(text: str) -> UUID | None:
    """Read a UUID in its usual spelling; None for everything else."""
    try:
        found = UUID(text)
    except ValueError:
        return None
    return found if str(found) == text.lower() else None


def _bounded_object(value: dict[str, Any]) -> dict[str, Any]:
    if len(json.dumps(value, ensure_ascii=False).encode()) > LARGEST_METADATA_BYTES:
        msg = f"must be at most {LARGEST_METADATA_BYTES} bytes of JSON"
        raise ValueError(msg)
    return value


#: A line of text somebody chose.
Line = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_one_line)]
#: A longer text, still one line.
LongLine = Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(_one_line)]
#: A cursor as it came.
CursorText = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_one_line)]
Metadata = Annotated[
    dict[str, Any],
    AfterValidator(_bounded_object),
    Field(description="Anything you want to keep with it, up to 16 KiB of JSON."),
]

_TIME_SCHEMA = {"type": "string", "format": "date-time"}
#: A time in a request, read into an aware instant.
Instant = Annotated[datetime, BeforeValidator(_instant), WithJsonSchema(_TIME_SCHEMA)]
#: A time in an answer, as written.
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
#: An id in an answer, as written.
Id = Annotated[str, Field(json_schema_extra={"format": "uuid"})]
#: An id in a request.
Uuid = Annotated[UUID, BeforeValidator(_uuid), WithJsonSchema({"type": "string", "format": "uuid"})]
#: true or false in a query.
Truth = Annotated[bool, BeforeValidator(_truth), WithJsonSchema({"type": "boolean"})]
#: How many entries to answer with at most.
Limit = Annotated[
    int,
    BeforeValidator(_whole_number),
    Field(ge=1, le=LARGEST_LIMIT, description="Most entries in one answer."),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": LARGEST_LIMIT}),
]


class Query(Shape):
    """The query parameters of an operation; unknown and repeated ones are refused."""


class Listing(Query):
    """What every list takes."""

    limit: Limit = DEFAULT_LIMIT
    cursor: Annotated[
        CursorText | None, Field(description="`next` of the page before; absent for the first page.")
    ] = None


class ProblemFault(Shape):
    """One thing that does not fit."""

    at: str
    message: str


class ProblemBody(Shape):
    """An RFC 9457 problem."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[ProblemFault] = []
