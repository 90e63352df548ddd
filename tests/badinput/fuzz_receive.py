"""
Fuzz targets of the receiver: headers nobody signed, and bodies somebody did.

Whatever comes, there are two ways to refuse a signature and one kind of Unusable; nothing else is
ever raised, nothing unsigned is believed, and what is stored can be stored.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re

from tests.badinput.corpus_receiver import ROWS
from tests.badinput.posts import SYNC, Post
from tests.webhooks.sending import SECRET, bot_status, calendar_update, legacy_bot_status
from webhooks.receive import arrival_of
from webhooks.verify import SIGNATURE_HEADERS, AmbiguousSignature, Signed, read_signature, verify
from worker.errors import VerificationFailed

NOW = 1_795_262_400
KEY = base64.b64decode(SECRET.removeprefix("whsec_"))
HEADERS = sorted(SIGNATURE_HEADERS)
STATES = frozenset({"stored", "ignored", "quarantined"})
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_REF = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def signature_of(message_id: bytes, timestamp: bytes, body: bytes) -> bytes:
    """Sign as the sender does."""
    content = b"%s.%s.%s" % (message_id, timestamp, body)
    return b"v1," + base64.b64encode(hmac.new(KEY, content, hashlib.sha256).digest())


def receive_unsigned(data: bytes) -> None:
    """Read lines of `number of a header` and value, then a body; believe them only when they are signed."""
    head, _, body = data.partition(b"\n\n")
    found = [
        (HEADERS[line[0] % len(HEADERS)], line[1:].strip(b" \t")) for line in head.split(b"\n") if line
    ]
    try:
        signed = read_signature(found, now=NOW)
        verify(signed, body, [KEY])
    except (AmbiguousSignature, VerificationFailed):
        return
    right = signature_of(signed.message_id.encode(), signed.timestamp, body)
    assert any(right in value.split(b" ") for _, value in found), "believed without a signature"
    assert _ID.fullmatch(signed.message_id)
    assert abs(int(signed.timestamp) - NOW) <= 300


def receive_signed(data: bytes) -> None:
    """Sign any bytes, verify them, and say how they are to be stored."""
    timestamp = b"%d" % NOW
    found = [
        (b"webhook-id", b"msg_1"),
        (b"webhook-timestamp", timestamp),
        (b"webhook-signature", signature_of(b"msg_1", timestamp, data)),
    ]
    signed = read_signature(found, now=NOW)
    verify(signed, data, [KEY])
    _refuses_another_body(signed, data)
    arrival = arrival_of(signed.message_id, data)
    assert arrival.state in STATES
    assert arrival.body == data
    assert (arrival.state == "quarantined") == (arrival.type == "")
    assert not arrival.ref or _REF.fullmatch(arrival.ref)
    assert not _UNSTORABLE.search(arrival.type + arrival.ref + arrival.reason)
    assert len(arrival.type) <= 128


def _refuses_another_body(signed: Signed, data: bytes) -> None:
    try:
        verify(signed, data + b"\n", [KEY])
    except VerificationFailed:
        return
    raise AssertionError("another body under the same signature")


def _lines(post: Post) -> bytes:
    values = post.signature_headers()
    named = {f"{post.family}-{part}".encode(): part for part in ("id", "timestamp", "signature")}
    return b"\n".join(
        bytes([HEADERS.index(name)]) + values[name.decode()]
        for name in named
        if name.decode() in values
    )


def _right_lines(body: bytes) -> bytes:
    timestamp = b"%d" % NOW
    values = {
        b"svix-id": b"msg_1",
        b"svix-timestamp": timestamp,
        b"svix-signature": signature_of(b"msg_1", timestamp, body),
    }
    return b"\n".join(bytes([HEADERS.index(name)]) + value for name, value in values.items())


_POSTS = [post for row in ROWS for post in row.inputs.values() if isinstance(post, Post)]
BODY_SEEDS = [
    *sorted({post.body for post in _POSTS if len(post.body) <= 2048}),
    SYNC,
    calendar_update(),
    bot_status(),
    legacy_bot_status(),
]
HEAD_SEEDS = [_right_lines(SYNC) + b"\n\n" + SYNC, _right_lines(b"") + b"\n\n"] + [
    _lines(post) + b"\n\n" + post.body[:200] for post in _POSTS if post.spoiled or post.timestamp
]
TOKENS = [
    b"v1,", b" v1,", b"v1a,", b",", b"=", b"\n", b"\x00", b"NaN", b"Infinity", b"1e400", b"\\u0000", b"\\ud800",
    b'"event":', b'"data":{', b'"calendar_id":', b'"bot":{"id":', b"calendar.sync_events", b"calendar.update",
    b"bot.status_change", b"bot.done", b"[", b"]", b"{", b"}", b'"', b"\\", b"null", b"true", b"-0", b"9" * 70,
    b"\xff", b"\xc0\xaf", b"\xef\xbb\xbf", b"%d" % NOW, b"[" * 40, b'{"a":' * 33,
]  # fmt: skip
