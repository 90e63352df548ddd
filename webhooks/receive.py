"""
POST /webhooks/recall: from a request to an answer.

Checks what costs nothing first, the signature before the content, and answers once the delivery is
committed. Whatever goes wrong on our side is a 503, so that the sender comes again: a 500 would say
nothing more, a redirect would lose the body, and senders switch an endpoint off that answers 410.
Bare ASGI, because this is the one path that has to be fast.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from time import monotonic
from typing import assert_never

import structlog
from prometheus_client import Counter
from starlette.types import Message, Receive, Scope, Send

from webhooks.arrivals import Arrival, Ask
from webhooks.payloads import (
    BotChanged,
    CalendarUpdated,
    EventsChanged,
    Unknown,
    Unusable,
    parse,
)
from webhooks.problems import PROBLEM_JSON, problem_body
from webhooks.shortcut import Headers
from webhooks.verify import (
    SIGNATURE_HEADERS,
    AmbiguousSignature,
    Signed,
    read_signature,
    verify,
)
from webhooks.writer import Verdict, Writer
from worker import jobs, metrics
from worker.errors import VerificationFailed

log = structlog.get_logger(__name__)

LARGEST_BODY = 256 * 1024
#: Svix comes again after 5 s, then after 5 minutes.
RETRY_AFTER_S = 5
#: More bad signatures than this from one address within the window are answered 429.
MOST_STRIKES = 100
STRIKES_WINDOW_S = 10.0
MOST_STRIKERS = 4096
#: The alert about missing secrets, at most once in so many seconds.
ALERT_EVERY_S = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """A ready-made response, and the name under which it is counted; each is made once, and only itself."""

    start: Message
    body: Message
    counted: Counter

    @property
    def status(self) -> int:
        return int(self.start["status"])

    @property
    def headers(self) -> Headers:
        found: Headers = self.start["headers"]
        return found

    @property
    def content(self) -> bytes:
        found: bytes = self.body["body"]
        return found


class ClientGone(Exception):
    """Nobody is there any more to be answered."""


class BodyTooLarge(Exception):
    """More than we read."""


class Receiver:
    """The ASGI application behind one sender's URL."""

    def __init__(
        self, *, source: str, keys: Sequence[bytes], writer: Writer, now: Callable[[], datetime]
    ) -> None:
        self._keys = tuple(keys)
        self._writer = writer
        self._now = now
        self._strikes = Strikes()
        self._quiet_until = 0.0
        answer = _answers_of(source)
        self._stored = answer("stored", HTTPStatus.NO_CONTENT)
        self._repeated = answer("repeated", HTTPStatus.NO_CONTENT)
        self._ignored = answer("ignored", HTTPStatus.NO_CONTENT)
        self._quarantined = answer("quarantined", HTTPStatus.ACCEPTED)
        self._ambiguous = answer("malformed", HTTPStatus.BAD_REQUEST)
        self._unsigned = answer("unauthenticated", HTTPStatus.UNAUTHORIZED)
        self._bad_method = answer("bad_method", HTTPStatus.METHOD_NOT_ALLOWED, allow="POST")
        self._too_large = answer("too_large", HTTPStatus.REQUEST_ENTITY_TOO_LARGE, connection="close")
        self._encoded = answer("encoded", HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
        self._too_many = answer(
            "rate_limited", HTTPStatus.TOO_MANY_REQUESTS, retry_after=str(int(STRIKES_WINDOW_S))
        )
        later = str(RETRY_AFTER_S)
        unavailable = HTTPStatus.SERVICE_UNAVAILABLE
        self._unavailable = answer("unavailable", unavailable, retry_after=later)
        self._unconfigured = answer("unconfigured", unavailable, retry_after=later)
        self._failed = answer("failed", unavailable, retry_after=later)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; nothing but a failing *send* is ever raised."""
        try:
            answer = await self._answer(scope, receive)
        except ClientGone:
            return
        except asyncio.CancelledError:
            answer = self._unavailable  # shutting down: uvicorn would make it a 500
        except Exception:
            log.exception("receiver_failed")
            answer = self._failed
        answer.counted.inc()
        await send(answer.start if not _is_held_back(scope, answer) else _closing(answer.start))
        await send(answer.body)

    def admit(self, headers: Headers) -> Signed | None:
        """Judge by the head alone: what is signed as it should be may be answered by `answer_to`."""
        try:
            found = self._read_head(headers)
        except Exception:  # whatever it is, the long way meets it again, answers and logs it
            return None
        return found if isinstance(found, Signed) else None

    def answer_to(
        self,
        signed: Signed,
        client: tuple[str, int] | None,
        body: bytes,
        reply: Callable[[Answer], None],
    ) -> None:
        """Judge an admitted request by its whole body; *reply* is called once, now or after the commit."""

        def settled(verdict: Verdict) -> None:
            answer = self._answer_of(verdict, arrival)
            answer.counted.inc()
            reply(answer)

        try:
            verify(signed, body, self._keys)
            arrival = arrival_of(signed.message_id, body)
        except VerificationFailed:
            refusal = self._refuse_unsigned(client)
        except Exception:
            log.exception("receiver_failed")
            refusal = self._failed
        else:
            self._writer.put(arrival, settled)
            return
        refusal.counted.inc()
        reply(refusal)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        try:
            if scope["method"] != "POST":
                return self._bad_method
            signed = self._read_head(scope["headers"])
            if isinstance(signed, Answer):
                return signed
            body = await _read_body(receive)
            verify(signed, body, self._keys)
        except AmbiguousSignature:
            return self._ambiguous
        except VerificationFailed:
            return self._refuse_unsigned(scope["client"])
        except BodyTooLarge:
            return self._too_large
        arrival = arrival_of(signed.message_id, body)
        return self._answer_of(await self._writer.store(arrival), arrival)

    def _read_head(self, headers: Headers) -> Signed | Answer:
        """Read who says to have signed it, or say why that does not matter; raises as `read_signature`."""
        signature: list[tuple[bytes, bytes]] = []
        for header in headers:
            name = header[0]
            if name in SIGNATURE_HEADERS:
                signature.append(header)
            elif name == b"content-length" and int(header[1]) > LARGEST_BODY:
                return self._too_large
            elif name == b"content-encoding" and header[1].strip().lower() not in (b"", b"identity"):
                return self._encoded
        if not self._keys:
            self._alert()
            return self._unconfigured
        return read_signature(signature, now=self._now().timestamp())

    def _refuse_unsigned(self, client: tuple[str, int] | None) -> Answer:
        return self._too_many if self._strikes.are_too_many(client) else self._unsigned

    def _answer_of(self, verdict: Verdict, arrival: Arrival) -> Answer:
        if verdict is Verdict.UNAVAILABLE:
            return self._unavailable
        if arrival.state == "quarantined":
            log.warning("delivery_quarantined", message_id=arrival.message_id, reason=arrival.reason)
            return self._quarantined
        if verdict is Verdict.REPEATED:
            return self._repeated
        return self._ignored if arrival.state == "ignored" else self._stored

    def _alert(self) -> None:
        if monotonic() >= self._quiet_until:
            self._quiet_until = monotonic() + ALERT_EVERY_S
            log.error("no_webhook_secret", setting="PUNCTUAL_RECALL_WEBHOOK_SECRETS")


def arrival_of(message_id: str, body: bytes) -> Arrival:
    """Say how a signed body is to be stored, and what is to happen then."""
    try:
        notification = parse(body)
    except Unusable as unusable:
        return Arrival(message_id, body, "quarantined", reason=unusable.fault.value)
    match notification:
        case EventsChanged(kind, ref):
            return Arrival(message_id, body, "stored", kind, ref, ask=Ask.SYNC, job=jobs.SYNC_WORKSPACE)
        case CalendarUpdated(kind, ref):
            return Arrival(message_id, body, "stored", kind, ref, ask=Ask.CHECK, job=jobs.TAKE_IN)
        case BotChanged(kind, ref):
            return Arrival(message_id, body, "stored", kind, ref, job=jobs.TAKE_IN)
        case Unknown(kind):
            return Arrival(message_id, body, "ignored", kind, reason="unknown_type")
        case _:
            assert_never(notification)


class Strikes:
    """
    Bad signatures per address, in bounded memory; the longest known address is forgotten first.

    Only what failed verification is counted and slowed: an honest sender behind the same proxy as a
    noisy one is never refused.
    """

    def __init__(self) -> None:
        self._by_address: dict[str, tuple[float, int]] = {}

    def are_too_many(self, client: tuple[str, int] | None) -> bool:
        """Count one more bad signature; True when there were too many in this window."""
        address = client[0] if client else ""
        now = monotonic()
        began_at, count = self._by_address.pop(address, (now, 0))
        if now - began_at > STRIKES_WINDOW_S:
            began_at, count = now, 0
        if len(self._by_address) >= MOST_STRIKERS:
            del self._by_address[next(iter(self._by_address))]
        self._by_address[address] = (began_at, count + 1)
        return count >= MOST_STRIKES


async def _read_body(receive: Receive) -> bytes:
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        body: bytes = message.get("body", b"")
        if len(body) > LARGEST_BODY:
            raise BodyTooLarge
        return body
    chunks: list[bytes] = []
    size = 0
    while True:
        if message["type"] != "http.request":
            raise ClientGone
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > LARGEST_BODY:
            raise BodyTooLarge
        if not message.get("more_body", False):
            return b"".join(chunks)
        message = await receive()


def _is_held_back(scope: Scope, answer: Answer) -> bool:
    # Who waits for `100 Continue` and is refused may or may not send the body: only closing is clear.
    return answer.start["status"] >= HTTPStatus.BAD_REQUEST and any(
        name == b"expect" for name, _ in scope["headers"]
    )


def _closing(start: Message) -> Message:
    return {**start, "headers": [*start["headers"], (b"connection", b"close")]}


def _answers_of(source: str) -> Callable[..., Answer]:
    def answer(result: str, status: HTTPStatus, **headers: str) -> Answer:
        content = b""
        all_headers = [
            (name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()
        ]
        if status >= HTTPStatus.BAD_REQUEST:
            content = problem_body(status)
            all_headers.append((b"content-type", PROBLEM_JSON.encode()))
        if status is not HTTPStatus.NO_CONTENT:
            all_headers.append((b"content-length", str(len(content)).encode()))
        return Answer(
            start={"type": "http.response.start", "status": int(status), "headers": all_headers},
            body={"type": "http.response.body", "body": content},
            counted=metrics.DELIVERIES.labels(source, result),
        )

    return answer
