"""
The one door for HTTP calls to providers: one long-lived client, bounded in every direction.

What it tries again are calls that may be repeated, briefly. What a status means is not known here;
each provider translates its own.
"""

from __future__ import annotations

import json
import re
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, cast
from uuid import UUID

import httpx
import structlog
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    retry_if_result,
    stop_after_attempt,
    stop_before_delay,
    wait_exponential,
    wait_random,
)

from models.domain.times import as_utc
from worker.clock import utc_now
from worker.errors import TryLater
from worker.http.network import bounded_transport, until

log = structlog.get_logger(__name__)

CONNECT_TIMEOUT_S = 3.0
READ_TIMEOUT_S = 10.0
TOTAL_TIMEOUT_S = 15.0  # of one call with all its tries; three such calls fit into jobs.SOFT_LIMIT
LARGEST_BODY_BYTES = 16 * 1024 * 1024  # after decompression
MOST_TRIES = 3
LONGEST_TRYING_S = 8.0
LONGEST_HINT = timedelta(seconds=5)  # a longer Retry-After is for the row, not for a waiting worker

_SECONDS = re.compile(r"-?\d{1,9}(\.\d{1,9})?", re.ASCII)
_PASSING = frozenset({502, 503, 504})
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_CONNECTION_LOST = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.ReadError,
    httpx.WriteError,
    httpx.CloseError,
    httpx.RemoteProtocolError,
)
_backing_off = wait_exponential(multiplier=0.25, max=2.0) + wait_random(0, 0.25)

#: A query; a list repeats its name.
Params = Mapping[str, str | list[str]]

#: Told of every answer and every failure: provider, operation, status, seconds it took.
Count = Callable[[str, str, str, float], None]


def count_nothing(_provider: str, _operation: str, _status: str, _seconds: float) -> None:
    """Be the counter of those who do not count."""


@dataclass(frozen=True, slots=True)
class Answer:
    """
    What the other side said, whatever the status.

    *is_doubtful* means that an earlier try of this call may have arrived too.
    """

    status: int
    headers: httpx.Headers = field(repr=False)
    body: bytes = field(repr=False)
    is_doubtful: bool = False

    @property
    def served_at(self) -> datetime | None:
        """The other side's clock, None when it does not say."""
        return _http_date(self.headers.get("date", ""))

    @property
    def retry_after(self) -> timedelta | None:
        """
        How long the other side asks us to wait: never negative, None when it says nothing sensible.

        Source: RFC 9110, 10.2.3 (seconds or an HTTP date).
        """
        text = self.headers.get("retry-after", "").strip()
        if _SECONDS.fullmatch(text):
            return timedelta(seconds=max(0.0, float(text)))
        until = _http_date(text)
        return max(timedelta(), until - (self.served_at or utc_now())) if until else None


def build_client(*, transport: httpx.BaseTransport | None = None) -> httpx.Client:
    """
    Make the client of a process: no proxy from the environment, no cookies, no redirects, HTTP/1.1.

    Close it when the process ends. *transport* replaces the network.
    """
    return httpx.Client(
        transport=transport or bounded_transport(),
        timeout=httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S, pool=CONNECT_TIMEOUT_S),
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        headers={"User-Agent": "punctual", "Accept": "application/json", "Accept-Encoding": "gzip"},
        follow_redirects=False,
        trust_env=False,
    )


def call(
    http: httpx.Client,
    method: str,
    url: str,
    *,
    provider: str,
    operation: str,
    headers: Mapping[str, str] | None = None,
    params: Params | None = None,
    body: Mapping[str, Any] | None = None,
    form: Mapping[str, str] | None = None,
    key: UUID | None = None,
    may_repeat: bool = True,
    permit: Callable[[], None] = lambda: None,
    count: Count = count_nothing,
    sleep: Callable[[float], None] = time.sleep,
) -> Answer:
    """
    Make one call and return the answer, whatever its status; at most 15 s.

    A GET, a DELETE, or anything with an idempotency *key* is tried up to three times within 8 s when
    the connection breaks or the answer is 502, 503 or 504, unless it *may not repeat*. *permit* is
    asked before every try. A *body* goes out as JSON, a *form* as a web form.

    Raises:
        TryLater: no answer; `is_definite` when the request surely never left us. Or *permit* said so.
    """
    if (body is not None or form is not None) and method in {"GET", "DELETE"}:
        msg = f"a {method} has no body"
        raise ValueError(msg)
    given = dict(headers or {})
    if key is not None:
        given["Idempotency-Key"] = str(key)
    content = None
    if body is not None:
        content = json.dumps(body, allow_nan=False).encode()
        given["Content-Type"] = "application/json"
    request = http.build_request(
        method,
        url,
        params=params,
        headers=given,
        content=content,
        data=form,
        extensions={"operation": f"{provider}.{operation}"},
    )
    trying = _Trying(http, request, provider, operation, permit, count)
    may_repeat = may_repeat and (method in {"GET", "DELETE"} or key is not None)
    with until(time.monotonic() + TOTAL_TIMEOUT_S):
        return trying.run(MOST_TRIES if may_repeat else 1, sleep)


class _Trying:
    """One call with its tries: remembers whether one of them may have arrived."""

    def __init__(
        self,
        http: httpx.Client,
        request: httpx.Request,
        provider: str,
        operation: str,
        permit: Callable[[], None],
        count: Count,
    ) -> None:
        self._http = http
        self._request = request
        self._provider = provider
        self._operation = operation
        self._permit = permit
        self._count = count
        self._is_doubtful = False

    def run(self, tries: int, sleep: Callable[[float], None]) -> Answer:
        retrying = Retrying(
            sleep=sleep,
            stop=stop_after_attempt(tries) | stop_before_delay(LONGEST_TRYING_S),
            wait=_wait_s,
            retry=retry_if_exception_type(_CONNECTION_LOST) | retry_if_result(_may_pass),
            before_sleep=self._tell,
            retry_error_callback=_last_outcome,
        )
        where = f"{self._provider} {self._operation}"
        try:
            return retrying(self._try)
        except TryLater as waiting:
            raise TryLater(
                str(waiting),
                after=waiting.after,
                counts=waiting.counts,
                each=waiting.each,
                is_definite=not self._is_doubtful,
            ) from waiting
        except _BodyTooLarge as too_large:
            msg = f"{where}: the answer is larger than {LARGEST_BODY_BYTES} bytes"
            raise TryLater(msg) from too_large
        except _Garbled as garbled:
            msg = f"{where}: the answer cannot be decompressed"
            raise TryLater(msg) from garbled
        except httpx.TransportError as failed:
            msg = f"{where}: no answer ({type(failed).__name__})"
            raise TryLater(msg, is_definite=not self._is_doubtful) from failed

    def _try(self) -> Answer:
        self._permit()
        was_doubtful = self._is_doubtful
        began = time.monotonic()
        try:
            response = self._http.send(self._request, stream=True)
            self._is_doubtful = True
            try:
                answer = Answer(response.status_code, response.headers, _read(response), was_doubtful)
            finally:
                response.close()
        except _NEVER_SENT as failed:
            self._tell_outcome(_kind(failed), began)
            raise
        except httpx.TransportError as failed:
            self._is_doubtful = True
            self._tell_outcome(_kind(failed), began)
            raise
        except (_BodyTooLarge, _Garbled):
            self._tell_outcome("unreadable", began)
            raise
        self._tell_outcome(str(answer.status), began)
        return answer

    def _tell_outcome(self, status: str, began: float) -> None:
        self._count(self._provider, self._operation, status, time.monotonic() - began)

    def _tell(self, state: RetryCallState) -> None:
        failed = state.outcome and state.outcome.exception()
        log.warning(
            "call_tried_again",
            provider=self._provider,
            operation=self._operation,
            method=self._request.method,
            tries=state.attempt_number,
            failure=type(failed).__name__ if failed else _outcome(state).status,
            wait_s=round(state.upcoming_sleep, 2),
        )


class _BodyTooLarge(Exception):
    """The answer passes the cap."""


class _Garbled(Exception):
    """The answer is not compressed the way it says."""


def _outcome(state: RetryCallState) -> Answer:
    assert state.outcome is not None  # tenacity sets it before it asks
    return cast("Answer", state.outcome.result())  # tenacity keeps results untyped


def _last_outcome(state: RetryCallState) -> Answer:
    return _outcome(state)


def _may_pass(answer: Answer) -> bool:
    hint = answer.retry_after
    return answer.status in _PASSING and (hint is None or hint <= LONGEST_HINT)


def _wait_s(state: RetryCallState) -> float:
    spread = _backing_off(state)
    if state.outcome is None or state.outcome.failed:
        return spread
    hint = _outcome(state).retry_after
    return spread if hint is None else hint.total_seconds() + spread / 10


def _kind(failed: httpx.TransportError) -> str:
    return "timeout" if isinstance(failed, httpx.TimeoutException) else "unreachable"


def _read(response: httpx.Response) -> bytes:
    """
    Read a body, decompressing no further than the cap.

    httpx inflates whole chunks first, so 64 KB on the wire could become 64 MB in memory.
    """
    if response.is_stream_consumed:  # a transport without a network hands over whole bodies
        _refuse_too_large(response.content)
        return response.content
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    match encoding:
        case "identity" | "":
            return _joined(response.iter_raw())
        case "gzip" | "x-gzip":
            return _joined(_inflated(response.iter_raw()))
        case _:
            raise _Garbled


def _inflated(chunks: Iterable[bytes]) -> Iterator[bytes]:
    inflating = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        for chunk in chunks:
            rest = chunk
            while rest:
                yield inflating.decompress(rest, 1 << 20)
                rest = inflating.unconsumed_tail
    except zlib.error as garbled:
        raise _Garbled from garbled
    yield inflating.flush()
    if not inflating.eof:
        raise _Garbled


def _joined(chunks: Iterable[bytes]) -> bytes:
    body = bytearray()
    for chunk in chunks:
        body += chunk
        _refuse_too_large(body)
    return bytes(body)


def _refuse_too_large(body: bytes | bytearray) -> None:
    if len(body) > LARGEST_BODY_BYTES:
        raise _BodyTooLarge


def _http_date(text: str) -> datetime | None:
    try:
        read = parsedate_to_datetime(text)
        return as_utc(read if read.tzinfo else read.replace(tzinfo=UTC))
    except (ValueError, TypeError, OverflowError):
        return None
