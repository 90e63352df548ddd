"""
Secrets at rest: AES-256-GCM, bound to the row and column they stand in.

A sealed value is `version ‖ key id ‖ nonce ‖ ciphertext`. The newest key seals; every configured key
opens, so keys are rotated by putting a new one first. A value copied to another row does not open.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Sequence
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_VERSION = b"\x01"
_KEY_ID_BYTES = 4
_NONCE_BYTES = 12
KEY_BYTES = 32


class CannotOpen(Exception):
    """No configured key opens this value in this place."""


class Vault:
    """Seals and opens values; *keys* are 32 bytes each, newest first."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            msg = f"encryption keys are {KEY_BYTES} bytes each, and there is at least one"
            raise ValueError(msg)
        self._newest = _key_id(keys[0])
        self._ciphers = {_key_id(key): AESGCM(key) for key in keys}
        self._marking = [hashlib.sha256(b"punctual marks" + key).digest() for key in keys]

    def __repr__(self) -> str:
        return f"Vault({len(self._ciphers)} keys)"

    def seal(self, text: str, *, place: str) -> bytes:
        """Encrypt *text* for one *place* (see `place`)."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ciphers[self._newest].encrypt(nonce, text.encode(), place.encode())
        return _VERSION + self._newest + nonce + sealed

    def open(self, sealed: bytes, *, place: str) -> str:
        """Decrypt what was sealed for *place*; CannotOpen if the key is gone or the place is another."""
        key_id = sealed[1 : 1 + _KEY_ID_BYTES]
        cipher = self._ciphers.get(key_id)
        if sealed[:1] != _VERSION or cipher is None:
            msg = f"{place}: sealed with a key that is not configured"
            raise CannotOpen(msg)
        body = sealed[1 + _KEY_ID_BYTES :]
        try:
            text = cipher.decrypt(body[:_NONCE_BYTES], body[_NONCE_BYTES:], place.encode())
        except InvalidTag as broken:
            msg = f"{place}: the sealed value does not belong here or was changed"
            raise CannotOpen(msg) from broken
        return text.decode()

    @property
    def newest_key_id(self) -> bytes:
        """What stands in values that the newest key has sealed, behind the version byte."""
        return self._newest

    def mark(self, text: str) -> str:
        """Write a mark that only we can have put on *text*: HMAC-SHA256 under the newest key."""
        return _mark(self._marking[0], text)

    def bears(self, text: str, mark: str) -> bool:
        """Say whether *mark* is ours for *text*, under any configured key; takes the same time if not."""
        given = mark.encode(errors="replace")
        right = [hmac.compare_digest(_mark(key, text).encode(), given) for key in self._marking]
        return any(right)

    def is_current(self, sealed: bytes) -> bool:
        """Say whether *sealed* was made with the newest key."""
        return sealed[1 : 1 + _KEY_ID_BYTES] == self._newest


def place(table: str, column: str, row_id: UUID | str) -> str:
    """Name the place a value is sealed for."""
    return f"{table}.{column}:{row_id}"


def read_keys(text: str) -> list[bytes]:
    """Read comma-separated base64 keys, newest first; ValueError unless each is 32 bytes."""
    keys = [base64.b64decode(part.strip(), validate=True) for part in text.split(",") if part.strip()]
    if not keys or any(len(key) != KEY_BYTES for key in keys):
        msg = f"expected comma-separated base64 keys of {KEY_BYTES} bytes"
        raise ValueError(msg)
    return keys


def new_key() -> str:
    """Make a fresh key, in base64."""
    return base64.b64encode(os.urandom(KEY_BYTES)).decode()


def _mark(key: bytes, text: str) -> str:
    digest = hmac.digest(key, text.encode(), "sha256")
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"punctual key id" + key).digest()[:_KEY_ID_BYTES]
