"""
Who signed this? Standard Webhooks signatures over the raw bytes, in both header families.

Own code rather than svix's `Webhook.verify`, which decodes the body as UTF-8 before it looks at the
signature, raises four foreign exceptions on malformed headers and accepts `1_763_694_000` as a
timestamp. The tests hold this module to that library wherever a request is well-formed.
Knows nothing of JSON and nothing of the database.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from worker.errors import VerificationFailed

#: Either way. Source: Standard Webhooks 1.0, and svix's fixed five minutes.
TOLERANCE_S = 300
#: A sender signs once per active secret; nobody has more than a few.
MOST_SIGNATURES = 16

_ID = re.compile(rb"[A-Za-z0-9_-]{1,128}")
_TIMESTAMP = re.compile(rb"[0-9]{10}")
_VERSION = b"v1,"

#: Position in a family's triple, by header name: accounts made before December 2025 sign with
#: `svix-*`, later ones with `webhook-*`. Source: docs.recall.ai, authenticating requests.
_SVIX = {b"svix-id": 0, b"svix-timestamp": 1, b"svix-signature": 2}
_STANDARD = {b"webhook-id": 0, b"webhook-timestamp": 1, b"webhook-signature": 2}
SIGNATURE_HEADERS = frozenset(_SVIX) | frozenset(_STANDARD)


class AmbiguousSignature(Exception):
    """The same header twice, or two families that disagree: no two readers would agree on it."""


@dataclass(frozen=True, slots=True)
class Signed:
    """What a sender says of a message: well-formed and recent, not yet proven."""

    message_id: str
    timestamp: bytes
    signatures: Sequence[bytes]


def read_signature(found: Iterable[tuple[bytes, bytes]], *, now: float) -> Signed:
    """
    Read the signature headers, given as (lower-case name, value); *now* is Unix time in seconds.

    Raises:
        AmbiguousSignature: a header came twice or the two families differ.
        VerificationFailed: something is missing, malformed, too old or too new.
    """
    svix: list[bytes | None] = [None, None, None]
    standard: list[bytes | None] = [None, None, None]
    for name, value in found:
        family = svix if name in _SVIX else standard
        position = _SVIX[name] if name in _SVIX else _STANDARD[name]
        if family[position] is not None:
            msg = f"{name.decode('ascii')} twice"
            raise AmbiguousSignature(msg)
        family[position] = value
    has_svix, has_standard = svix != [None] * 3, standard != [None] * 3
    if has_svix and has_standard and svix != standard:
        msg = "svix-* and webhook-* differ"
        raise AmbiguousSignature(msg)
    message_id, timestamp, signatures = svix if has_svix else standard
    if message_id is None or timestamp is None or signatures is None:
        msg = "not signed"
        raise VerificationFailed(msg)
    if not _ID.fullmatch(message_id) or not _TIMESTAMP.fullmatch(timestamp):
        msg = "malformed id or timestamp"
        raise VerificationFailed(msg)
    if abs(now - int(timestamp)) > TOLERANCE_S:
        msg = "too old or too new"
        raise VerificationFailed(msg)
    return Signed(message_id.decode("ascii"), timestamp, _well_formed(signatures))


def verify(signed: Signed, body: bytes, keys: Sequence[bytes]) -> None:
    """
    Make sure that one of *keys* signed exactly these bytes, or raise VerificationFailed.

    Every key is tried against every signature, in constant time each. Signatures are compared as
    text: what is not the strict base64 of 32 bytes cannot be equal, so nothing is ever decoded.
    """
    content = b"%s.%s.%s" % (signed.message_id.encode("ascii"), signed.timestamp, body)
    for key in keys:
        expected = b64encode(hmac.digest(key, content, hashlib.sha256))
        for signature in signed.signatures:
            if hmac.compare_digest(signature, expected):
                return
    msg = "no configured secret signed this"
    raise VerificationFailed(msg)


def _well_formed(header: bytes) -> list[bytes]:
    if b" " not in header and header.startswith(_VERSION):
        return [header[len(_VERSION) :]]
    entries = [entry for entry in header.split(b" ") if entry]
    if len(entries) > MOST_SIGNATURES:
        msg = "too many signatures"
        raise VerificationFailed(msg)
    known = [entry[len(_VERSION) :] for entry in entries if entry.startswith(_VERSION)]
    if not known:
        msg = "no v1 signature"
        raise VerificationFailed(msg)
    return known
