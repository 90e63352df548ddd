"""
Identifiers: default ids that name the folder too, immutable ones that do not, and calendar-wide UIDs.

Forms as seen in the field; only their lengths and what they depend on matter. All are case-sensitive.
Source: learn.microsoft.com/graph/outlook-immutable-id.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import date

DEFAULT = "AAMkAD"
IMMUTABLE = "AAkALgAAAAAAHYQDEapmEc2byACqAC-EWg0A"
CORE_CHARS = 80
MASTER_TAIL = "AAAA="
OCCURRENCE_HEAD, OCCURRENCE_TAIL = "FRAAgI", "AAEA=="
ORDINAL_CHARS = 8
UID_PREFIX = "040000008200E00074C5B7101A82E008"
NO_DATE = "00000000"


@dataclass(frozen=True, slots=True)
class ItemId:
    """An id taken apart; *on* is the original date of an occurrence, None for a whole item."""

    core: str
    on: date | None


def item_id(core: str, on: date | None, *, immutable: bool) -> str:
    """Write an id; *core* comes of `core_of`."""
    head = IMMUTABLE if immutable else DEFAULT
    if on is None:
        return head + core + MASTER_TAIL
    return head + core + OCCURRENCE_HEAD + _text(on.toordinal().to_bytes(6)) + OCCURRENCE_TAIL


def core_of(*facts: object) -> str:
    """Derive the middle of an id from all it depends on."""
    digest = hashlib.sha512("|".join(map(str, facts)).encode()).digest()
    return _text(digest)[:CORE_CHARS]


def taken_apart(text: str) -> ItemId | None:
    """Read an id back; None: it is malformed."""
    head = next((each for each in (DEFAULT, IMMUTABLE) if text.startswith(each)), None)
    if head is None:
        return None
    core, tail = text[len(head) : len(head) + CORE_CHARS], text[len(head) + CORE_CHARS :]
    if tail == MASTER_TAIL:
        return ItemId(core, None)
    ordinal = tail.removeprefix(OCCURRENCE_HEAD).removesuffix(OCCURRENCE_TAIL)
    if len(ordinal) != ORDINAL_CHARS or tail != OCCURRENCE_HEAD + ordinal + OCCURRENCE_TAIL:
        return None
    try:
        return ItemId(core, date.fromordinal(int.from_bytes(base64.urlsafe_b64decode(ordinal))))
    except (ValueError, OverflowError):
        return None


def calendar_id(*facts: object) -> str:
    """Make the id of a folder; folders have no immutable ones."""
    return DEFAULT + core_of("calendar", *facts) + MASTER_TAIL


def change_key(*facts: object) -> str:
    """Make the mark of a version."""
    digest = hashlib.sha256("|".join(map(str, facts)).encode()).digest()
    return base64.b64encode(digest[:16]).decode()


def fresh_uid(seed: str) -> str:
    """Make the UID of a meeting created here."""
    digest = hashlib.sha256(seed.encode()).hexdigest().upper()
    return f"{UID_PREFIX}{NO_DATE}{digest[:16]}{'0' * 16}10000000{digest[16:48]}"


def uid_on(uid: str, on: date | None) -> str:
    """
    Return the iCalUId of an occurrence: the meeting's with the original date in it.

    Source: [MS-OXOCAL] 2.2.1.27, PidLidGlobalObjectId; a UID from elsewhere is wrapped as vCal-Uid.
    """
    if on is None:
        return uid
    stamp = f"{on.year:04X}{on.month:02X}{on.day:02X}"
    if uid.startswith(UID_PREFIX + NO_DATE):
        return UID_PREFIX + stamp + uid[len(UID_PREFIX + NO_DATE) :]
    wrapped = b"vCal-Uid\x01\x00\x00\x00" + uid.encode() + b"\x00"
    size = len(wrapped).to_bytes(4, "little").hex().upper()
    return f"{UID_PREFIX}{stamp}{'0' * 32}{size}{wrapped.hex().upper()}"


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
