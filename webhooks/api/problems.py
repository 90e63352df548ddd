"""What can go wrong with a request, each under a code that stays; rendered as RFC 9457 problems."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PROBLEM_JSON = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Kind:
    """One sort of problem: its HTTP status, a title that never varies, and what to do about it."""

    status: int
    title: str
    meaning: str


KINDS: Mapping[str, Kind] = {
    "invalid_json": Kind(
        400,
        "The body is not acceptable JSON",
        "Bodies are one UTF-8 JSON value: no duplicate names, no NaN or Infinity, no NUL, at most 32 levels.",
    ),
    "invalid_idempotency_key": Kind(
        400,
        "The Idempotency-Key cannot be used",
        "Send one key of 1 to 255 visible ASCII characters.",
    ),
    "unauthorized": Kind(
        401,
        "A valid API key is required",
        "Send `Authorization: Bearer KEY` with a key that has neither expired nor been revoked.",
    ),
    "forbidden": Kind(
        403, "The API key may not do this", "Use a key with the scope named in the detail."
    ),
    "not_found": Kind(404, "There is no such thing", "It never was, or it was deleted."),
    "method_not_allowed": Kind(
        405, "The method is not allowed here", "The Allow header lists the methods that are."
    ),
    "conflict": Kind(409, "The request does not fit the present state", "See the detail."),
    "needs_reauth": Kind(
        409,
        "The account has to be connected again",
        "Make a connect link for it and give it to its owner.",
    ),
    "provider_not_configured": Kind(
        409,
        "No provider is configured",
        "Set PUNCTUAL_RECALL_API_KEY, or the platform's OAuth client; see the detail.",
    ),
    "request_in_flight": Kind(
        409,
        "The first request with this Idempotency-Key is still being carried out",
        "Wait as long as Retry-After says and ask again.",
    ),
    "body_too_large": Kind(413, "The body is too large", "Bodies have at most 1 MiB."),
    "unsupported_media_type": Kind(
        415,
        "The body is not sent as JSON",
        "Send `Content-Type: application/json`, in UTF-8, without Content-Encoding.",
    ),
    "invalid_request": Kind(
        422,
        "The request does not fit its description",
        "`errors` lists every field that does not fit; fields that are not described are refused.",
    ),
    "invalid_cursor": Kind(
        422,
        "The cursor is not one of this list",
        "Pass back `next` unchanged, with the same filters.",
    ),
    "invalid_rules": Kind(
        422, "Nobody can follow this rule set", "`errors` lists every field that does not fit."
    ),
    "invalid_endpoint": Kind(
        422, "Nothing can be posted there", "The URL has to be reachable for everybody; see the detail."
    ),
    "not_in_series": Kind(
        422, "The event is not part of a series", "Use the scope `occurrence` for a single event."
    ),
    "idempotency_key_reused": Kind(
        422,
        "The Idempotency-Key was used for another request",
        "Take a new key for every new request.",
    ),
    "provider_refused": Kind(
        422, "The provider refused", "The provider will not accept this as it stands; see the detail."
    ),
    "too_many_failures": Kind(
        429,
        "Too many invalid API keys came from this address",
        "Wait as long as Retry-After says.",
    ),
    "internal_error": Kind(
        500, "Something is wrong on our side", "It has been logged under the request id."
    ),
    "provider_rejected_us": Kind(
        502,
        "The provider does not accept our credentials",
        "The operator has to check PUNCTUAL_RECALL_API_KEY and PUNCTUAL_RECALL_REGION, or the OAuth client.",
    ),
    "provider_unavailable": Kind(
        503, "The provider cannot be reached now", "Wait as long as Retry-After says and ask again."
    ),
    "database_unavailable": Kind(
        503, "The database cannot be reached now", "Wait as long as Retry-After says and ask again."
    ),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that does not fit: where it stands, and what was expected. Never the value itself."""

    at: str
    message: str


class Problem(Exception):
    """The request ends here, with a problem of the kind *code*."""

    def __init__(
        self,
        code: str,
        detail: str | None = None,
        *,
        faults: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(code)
        self.code = code
        self.kind = KINDS[code]
        self.detail = detail or self.kind.meaning
        self.faults = tuple(faults)
        self.headers = dict(headers or {})

    def body(self, *, base_url: str, request_id: str) -> dict[str, Any]:
        """Return the problem as its JSON object."""
        shown: dict[str, Any] = {
            "type": f"{base_url}/docs#problem-{self.code}",
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            "code": self.code,
            "request_id": request_id,
        }
        if self.faults:
            shown["errors"] = [{"at": fault.at, "message": fault.message} for fault in self.faults]
        return shown


def as_json(value: object) -> bytes:
    """Write a body the one way we write bodies."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
