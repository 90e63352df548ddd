"""
Signatures of webhooks as Svix and Standard Webhooks make them.

Source: docs.recall.ai authenticating-requests-from-recallai; standardwebhooks.com.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence

FAMILIES = {"new": ("webhook",), "legacy": ("svix",), "both": ("webhook", "svix"), "none": ()}


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Sign one message: `v1,` and the base64 of HMAC-SHA256."""
    encoded = secret.removeprefix("whsec_")
    key = base64.b64decode(encoded + "=" * (-len(encoded) % 4))
    digest = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def signed_headers(
    family: str, secrets: Sequence[str], message_id: str, timestamp: int, body: bytes
) -> dict[str, str]:
    """Make the headers of *family*, one signature per secret; no secret, no headers."""
    if not secrets:
        return {}
    signatures = " ".join(signature(secret, message_id, timestamp, body) for secret in secrets)
    headers: dict[str, str] = {}
    for prefix in FAMILIES[family]:
        headers |= {
            f"{prefix}-id": message_id,
            f"{prefix}-timestamp": str(timestamp),
            f"{prefix}-signature": signatures,
        }
    return headers
