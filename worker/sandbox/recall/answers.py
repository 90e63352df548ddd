"""What an API call asks and what it gets: requests and answers as values, refusals as one exception."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from worker.sandbox.recall.forms import Json

# The whole text is protocol: docs.recall.ai shows it for scheduling on an ended event.
INVALID = "Unable to process request because invalid data was submitted. Check `errors` field for more details."


@dataclass(frozen=True, slots=True)
class Call:
    """One API call, read and authenticated. *query* keeps repeated parameters."""

    method: str
    path: str
    query: Mapping[str, list[str]] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""

    def one(self, name: str) -> str | None:
        values = self.query.get(name)
        return values[-1] if values and values[-1] != "" else None


@dataclass(frozen=True, slots=True)
class Answer:
    """*body* is JSON; a str is sent as HTML; None as nothing."""

    status: int
    body: Json | list[Any] | str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class ApiError(Exception):
    """The call is answered with a refusal."""

    def __init__(self, status: int, body: Json | str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status}: {body}")
        self.answer = Answer(status, body, headers or {})


def refusal(status: int, code: str, detail: str, *, retry_after_s: int | None = None) -> ApiError:
    """Build an error of the form code and detail."""
    headers = {} if retry_after_s is None else {"retry-after": str(retry_after_s)}
    return ApiError(status, {"code": code, "detail": detail}, headers)


def not_found(model: str) -> ApiError:
    """Build the 404 for a record nobody has."""
    return refusal(404, "not_found", f"No {model} matches the given query.")


def invalid(errors: Mapping[str, list[str]], *, plain: bool = False) -> ApiError:
    """Refuse data: as a bare field map when *plain*, else in the envelope of the scheduling endpoints."""
    if plain:
        return ApiError(400, dict(errors))
    return ApiError(400, {"code": "invalid_request_data", "message": INVALID, "errors": dict(errors)})


def invalid_overall(text: str) -> ApiError:
    """Build the 400 of the scheduling endpoints that concerns no single field."""
    return invalid({"non_field_errors": [text]})
