"""
Several calls in one: multipart/mixed, each part an HTTP request of its own, answered in the same order.

Source: developers.google.com/workspace/calendar/api/guides/batch (a batch of n calls counts as n).
"""

from __future__ import annotations

import json
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from worker.sandbox.google.gate import Arrived, served
from worker.sandbox.google.refusals import Refusal
from worker.sandbox.google.world import World
from worker.sandbox.oauth.serving import Outcome, response_of

MOST = 1000
BOUNDARY = "batch_of_the_sandbox"


async def answer(world: World, request: Request) -> Response:
    """Serve every part; a part without a token of its own has that of the batch."""
    head = f"content-type: {request.headers.get('content-type', '')}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + await request.body())
    if not message.is_multipart():
        return response_of(Refusal("badRequest").answer())
    parts = list(message.iter_parts())
    if len(parts) > MOST:
        return response_of(Refusal("badRequest", "The batch request has too many parts.").answer())
    outer = {"authorization": request.headers.get("authorization", "")}
    outcomes = [await served(world, _arrived(part, outer)) for part in parts]
    told = [_part(part, outcome) for part, outcome in zip(parts, outcomes, strict=True)]
    body = "".join(f"--{BOUNDARY}\r\n{each}\r\n" for each in told) + f"--{BOUNDARY}--\r\n"
    return Response(body.encode(), 200, media_type=f"multipart/mixed; boundary={BOUNDARY}")


def _arrived(part: Message, outer: dict[str, str]) -> Arrived:
    """Read the request inside a part."""
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    line, _, rest = payload.lstrip().partition(b"\n")
    verb, _, target = line.decode(errors="replace").strip().partition(" ")
    path, _, query = target.rpartition(" ")[0].partition("?")
    inner = BytesParser(policy=HTTP).parsebytes(rest)
    headers = outer | {name.lower(): str(value) for name, value in inner.items()}
    body = inner.get_payload(decode=True)
    return Arrived(verb.upper(), path, query, headers, body if isinstance(body, bytes) else b"")


def _part(part: Message, outcome: Outcome) -> str:
    """Write the response to one part; its Content-ID is the request's with `response-` before it."""
    answer = outcome.answer
    status = outcome.status if isinstance(answer, bytes) else answer.status
    if isinstance(answer, bytes):
        body, headers = answer.decode(errors="replace"), {}
    else:
        body = "" if answer.body is None else json.dumps(answer.body)
        headers = dict(answer.headers)
    content_id = part.get("Content-ID", "").strip("<>")
    lines = [
        "Content-Type: application/http",
        f"Content-ID: <response-{content_id}>",
        "",
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Content-Type: application/json; charset=UTF-8",
        *(f"{name}: {value}" for name, value in headers.items()),
        "",
        body,
    ]
    return "\r\n".join(lines)
