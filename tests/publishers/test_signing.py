"""Our signatures are the ones the public libraries accept."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
import standardwebhooks
import svix
from hypothesis import given
from hypothesis import strategies as st

from worker.publishers.signing import new_secret, signed_headers


def test_a_secret_is_32_bytes_in_base64() -> None:
    secret = new_secret()

    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    assert secret != new_secret()


@given(st.dictionaries(st.text(), st.text()))
def test_the_public_libraries_accept_what_we_sign(values: dict[str, str]) -> None:
    secret = new_secret()
    body = (
        json.dumps(values, ensure_ascii=False)
        .encode("utf-8", "surrogatepass")
        .decode("utf-8", "replace")
    )
    headers = signed_headers(body.encode(), message_id="m-1", at=datetime.now(UTC), secrets=[secret])
    theirs = {name: value for name, value in headers.items() if name.startswith("svix-")}
    standard = {name: value for name, value in headers.items() if name.startswith("webhook-")}

    assert standardwebhooks.Webhook(secret).verify(body, standard) == json.loads(body)
    svix.Webhook(secret).verify(body, standard)
    svix.Webhook(secret).verify(body, theirs)


def test_every_secret_signs() -> None:
    secrets = [new_secret() for _ in range(3)]

    headers = signed_headers(b"{}", message_id="m-1", at=datetime.now(UTC), secrets=secrets)

    assert len(headers["webhook-signature"].split(" ")) == 3
    for secret in secrets:
        standardwebhooks.Webhook(secret).verify("{}", headers)


@pytest.mark.parametrize("changed", ["webhook-id", "webhook-timestamp"])
def test_a_signature_covers_id_and_time(changed: str) -> None:
    secret, now = new_secret(), datetime.now(UTC)
    headers = signed_headers(b"{}", message_id="m-1", at=now, secrets=[secret])
    others = signed_headers(b"{}", message_id="m-2", at=now + timedelta(seconds=1), secrets=[secret])

    with pytest.raises(standardwebhooks.WebhookVerificationError, match="signature"):
        standardwebhooks.Webhook(secret).verify("{}", headers | {changed: others[changed]})


def test_both_families_of_headers_carry_the_same_values() -> None:
    headers = signed_headers(b"{}", message_id="m-1", at=datetime.now(UTC), secrets=[new_secret()])

    for name in ("id", "timestamp", "signature"):
        assert headers[f"webhook-{name}"] == headers[f"svix-{name}"]


def test_a_malformed_secret_does_not_sign() -> None:
    with pytest.raises(ValueError, match="whsec_"):
        signed_headers(b"{}", message_id="m-1", at=datetime.now(UTC), secrets=["secret"])
