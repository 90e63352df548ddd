"""Posts domain events to subscribers: signed, bounded, and only to addresses that may be reached."""

from __future__ import annotations

import email.utils
import math
import ssl
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import httpcore
import httpx

from worker.clock import utc_now
from worker.ports import PostAnswer
from worker.publishers.egress import ForbiddenUrl, Resolve, check_url, make_client, resolve, time_limit
from worker.publishers.signing import signed_headers

#: 2xx within this time is success. Source: Standard Webhooks 1.0 (15 to 30 s), Svix (15 s).
TIME_LIMIT = timedelta(seconds=15)
#: What is read of an answer: enough to use the connection again, too little to hurt.
LONGEST_ANSWER_BYTES = 64 * 1024
BODY_TIME = timedelta(seconds=2)
ERROR_LENGTH = 300


class HttpPoster:
    """Implements the Poster port with one pooled client; safe between threads."""

    def __init__(
        self,
        *,
        allow_private: bool,
        now: Callable[[], datetime] = utc_now,
        tls: ssl.SSLContext | None = None,
        resolver: Resolve = resolve,
        limit: timedelta = TIME_LIMIT,
    ) -> None:
        self._allow_private = allow_private
        self._now = now
        self._limit = limit
        self._client = make_client(allow_private=allow_private, tls=tls, resolver=resolver)

    def post(self, url: str, body: bytes, *, message_id: str, secrets: Sequence[str]) -> PostAnswer:
        """Post once; never raises, never follows a redirect, never reaches a forbidden address."""
        began = time.monotonic()
        status, error, retry_after_s = None, None, None
        try:
            target = check_url(url, allow_private=self._allow_private)
            headers = {
                "content-type": "application/cloudevents+json",
                "user-agent": "Punctual-Webhooks/1.0",
                "accept-encoding": "identity",
                **signed_headers(body, message_id=message_id, at=self._now(), secrets=secrets),
            }
            with time_limit(self._limit):
                status, retry_after_s = self._send(target, body, headers)
        except ForbiddenUrl as forbidden:
            error = f"forbidden: {forbidden}"
        except (httpcore.TimeoutException, TimeoutError):
            error = "no answer in time"
        except (OSError, httpcore.NetworkError, httpcore.ProtocolError) as broken:
            error = f"{type(broken).__name__}: {broken}"
        except (ValueError, httpx.InvalidURL) as unusable:
            error = f"could not be sent: {unusable}"
        duration_ms = int((time.monotonic() - began) * 1000)
        return PostAnswer(status, error and error[:ERROR_LENGTH], retry_after_s, duration_ms)

    def close(self) -> None:
        """Let go of every connection."""
        self._client.close()

    def _send(self, url: str, body: bytes, headers: dict[str, str]) -> tuple[int, float | None]:
        request = self._client.build_request("POST", url, content=body, headers=headers)
        answer = self._client.send(request, stream=True)
        try:
            # The status has decided; the rest is read only so that the connection can be used again.
            length = 0
            with time_limit(BODY_TIME):
                for chunk in answer.iter_raw():
                    length += len(chunk)
                    if length > LONGEST_ANSWER_BYTES:
                        break
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, OSError):
            pass
        finally:
            answer.close()
        return answer.status_code, seconds_from(answer.headers.get("retry-after"), now=self._now())


def seconds_from(retry_after: str | None, *, now: datetime) -> float | None:
    """Read a `Retry-After` header, seconds or an HTTP date, as seconds from now; None if it says nothing."""
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            at = email.utils.parsedate_to_datetime(retry_after)
        except (ValueError, OverflowError):
            return None
        seconds = (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds()
    return seconds if math.isfinite(seconds) and seconds > 0 else None
