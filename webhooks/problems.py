"""RFC 9457 problem details for what is not the management API's own."""

from __future__ import annotations

import json
from http import HTTPStatus

from starlette.responses import Response

PROBLEM_JSON = "application/problem+json"


def problem_body(status: HTTPStatus, *, code: str | None = None, detail: str | None = None) -> bytes:
    """Write a problem; without a *code* the status alone says it."""
    body: dict[str, object] = {"type": "about:blank", "title": status.phrase, "status": status.value}
    body["code"] = code or status.name.lower()
    if detail is not None:
        body["detail"] = detail
    return json.dumps(body).encode()


def problem(status: HTTPStatus, *, code: str | None = None, detail: str | None = None) -> Response:
    """Answer with a problem."""
    return Response(
        problem_body(status, code=code, detail=detail), status.value, media_type=PROBLEM_JSON
    )
