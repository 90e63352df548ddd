"""
Standard Webhooks signatures, as the sender makes them.

Source: standard-webhooks specification 1.0 (`id.timestamp.body`, HMAC-SHA256, `v1,` + base64,
several signatures separated by spaces). Svix names the same three values `svix-*`.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from datetime import datetime

from svix.webhooks import Webhook

from worker.settings import signing_key

SECRET_BYTES = 32


def new_secret() -> str:
    """Make a fresh signing secret, `whsec_…`."""
    return "whsec_" + base64.b64encode(os.urandom(SECRET_BYTES)).decode()


def signed_headers(
    body: bytes, *, message_id: str, at: datetime, secrets: Sequence[str]
) -> dict[str, str]:
    """
    Return the headers that prove *body* is ours; every secret signs, in the order given.

    Raises ValueError when a secret is malformed or too short to be safe, which svix does not mind.
    """
    text = body.decode()
    keys = [signing_key(secret) for secret in secrets]
    signatures = " ".join(Webhook(key).sign(message_id, at, text) for key in keys)
    values = {"id": message_id, "timestamp": str(int(at.timestamp())), "signature": signatures}
    return {
        f"{family}-{name}": value for family in ("webhook", "svix") for name, value in values.items()
    }
