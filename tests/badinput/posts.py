"""One POST to the receiver as bytes, right in everything that is not said to be wrong."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.webhooks.sending import PATH, SECRET, new_message_id, sync_events

SYNC = sync_events()
#: What a header is replaced by: bytes, what to make of the present second, or nothing.
Spoiled = bytes | Callable[[int], bytes] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """
    A request that is written anew, with the time of now, whenever it is asked for.

    *signs* is what was signed where that is not *body*; *timestamp* the text that is signed and sent,
    with `{now}` for the present second; *spoiled* what becomes of a signature header after signing.
    *framing* is the line that says how long the body is, *wire* the body as it is really sent.
    """

    body: bytes = SYNC
    signs: bytes | None = None
    secret: str = SECRET
    family: str = "svix"
    message_id: bytes | None = None
    timestamp: str | None = None
    age_s: float = 0
    is_signed: bool = True
    spoiled: Mapping[str, Spoiled] = field(default_factory=dict)
    more: Sequence[bytes] = ()
    method: bytes = b"POST"
    path: bytes = PATH.encode()
    version: bytes = b"HTTP/1.1"
    host: bytes | None = b"Host: x"
    framing: bytes | None = None
    wire: bytes | None = None

    def signature_headers(self) -> dict[str, bytes]:
        """Sign as Standard Webhooks says, then spoil what is to be spoiled."""
        now = int(time.time())
        message_id = new_message_id().encode() if self.message_id is None else self.message_id
        timestamp = (self.timestamp or str(int(time.time() - self.age_s))).replace("{now}", str(now))
        signed = self.body if self.signs is None else self.signs
        content = b"%s.%s.%s" % (message_id, timestamp.encode(), signed)
        headers = {
            f"{self.family}-id": message_id,
            f"{self.family}-timestamp": timestamp.encode(),
            f"{self.family}-signature": b"v1," + signature(content, self.secret),
        }
        for name, value in self.spoiled.items():
            if value is None:
                headers.pop(name, None)
            else:
                headers[name] = value(now) if callable(value) else value
        return headers

    def __call__(self) -> bytes:
        """Write the request."""
        lines = [b"%s %s %s" % (self.method, self.path, self.version)]
        lines += [] if self.host is None else [self.host]
        lines.append(b"Connection: close")
        if self.is_signed:
            lines += [
                b"%s: %s" % (name.encode(), text) for name, text in self.signature_headers().items()
            ]
        lines += self.more
        framing = b"Content-Length: %d" % len(self.body) if self.framing is None else self.framing
        lines += [framing] if framing else []
        return b"\r\n".join(lines) + b"\r\n\r\n" + (self.body if self.wire is None else self.wire)


def signature(content: bytes, secret: str) -> bytes:
    """Return the base64 of what signs *content*."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return base64.b64encode(hmac.digest(key, content, hashlib.sha256))


def in_chunks(body: bytes, size: int = 65_536) -> bytes:
    """Write a body in chunks."""
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
