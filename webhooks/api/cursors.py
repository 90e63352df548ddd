"""
Cursors: opaque to whoever gets one, and refused when changed or used elsewhere.

A cursor of a list is sealed and lives as long as the encryption keys. A cursor of the feed is kept
by its reader for ever, so it is authenticated with the installation's id, which never changes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from datetime import datetime
from uuid import UUID

from models.domain.times import parse_instant, rfc3339
from models.sealing import CannotOpen, Vault, place
from webhooks.api.problems import Problem

#: Where a row stands in a list ordered by a time, and by id within it.
Spot = tuple[datetime, UUID]

LONGEST = 1_000
_POSITION_BYTES = 8
_MAC_BYTES = 12


def write_cursor(vault: Vault, listing: str, spot: str) -> str:
    """Seal a place in one *listing* (its path and filters)."""
    return _text(vault.seal(spot, place=place("cursors", "place", listing)))


def read_cursor(vault: Vault, listing: str, cursor: str) -> str:
    """Return the place in *listing* a cursor stands for; a Problem unless we wrote it for that."""
    try:
        return vault.open(_bytes(cursor), place=place("cursors", "place", listing))
    except CannotOpen as wrong:
        raise Problem("invalid_cursor") from wrong


def spot_text(spot: Spot) -> str:
    """Write down where in a list a row stands."""
    return f"{rfc3339(spot[0])}~{spot[1]}"


def text_spot(text: str) -> Spot:
    """Read what `spot_text` wrote."""
    at, _, row_id = text.partition("~")
    return parse_instant(at), UUID(row_id)


def write_position(install_id: UUID, position: int) -> str:
    """Write a position in the feed."""
    plain = position.to_bytes(_POSITION_BYTES)
    return _text(plain + _mac(install_id, plain))


def read_position(install_id: UUID, cursor: str) -> int:
    """Return the position in the feed a cursor stands for; a Problem unless we wrote it."""
    sealed = _bytes(cursor)
    plain = sealed[:_POSITION_BYTES]
    if len(plain) != _POSITION_BYTES or not hmac.compare_digest(
        sealed[_POSITION_BYTES:], _mac(install_id, plain)
    ):
        raise Problem("invalid_cursor")
    return int.from_bytes(plain)


def _mac(install_id: UUID, plain: bytes) -> bytes:
    return hmac.digest(b"feed cursor" + install_id.bytes, plain, hashlib.sha256)[:_MAC_BYTES]


def _text(sealed: bytes) -> str:
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()


def _bytes(cursor: str) -> bytes:
    """Decode the one spelling we write; base64 has others, which differ in bits nobody reads."""
    try:
        sealed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as wrong:
        raise Problem("invalid_cursor") from wrong
    if len(cursor) > LONGEST or _text(sealed) != cursor:
        raise Problem("invalid_cursor")
    return sealed
