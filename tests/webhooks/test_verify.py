"""Signatures: held to the svix library wherever a request is well-formed, and stricter elsewhere."""

from __future__ import annotations

import base64
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from svix.webhooks import Webhook, WebhookVerificationError

from tests.webhooks.sending import OTHER_SECRET, SECRET, sign, signed_headers
from webhooks.verify import (
    MOST_SIGNATURES,
    TOLERANCE_S,
    AmbiguousSignature,
    read_signature,
    verify,
)
from worker.errors import VerificationFailed
from worker.settings import signing_key

KEY = signing_key(SECRET)
NOW = 1_763_694_000
BODY = b'{"event":"calendar.update"}'

ids = st.from_regex(r"[A-Za-z0-9_-]{1,128}", fullmatch=True)
keys = st.binary(min_size=16, max_size=64)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


def check(
    headers: dict[str, str | bytes], body: bytes = BODY, *, key: bytes = KEY, now: float = NOW
) -> str:
    """Verify headers as a server hands them over; the message id is returned."""
    found = [
        (name.encode(), value if isinstance(value, bytes) else value.encode())
        for name, value in headers.items()
    ]
    signed = read_signature(found, now=now)
    verify(signed, body, [key])
    return signed.message_id


def headers_with(**values: str | bytes) -> dict[str, str | bytes]:
    """Good svix headers, with some of them (`id`, `timestamp`, `signature`) replaced before signing."""
    message_id, timestamp = values.get("id", "msg_1"), values.get("timestamp", str(NOW))
    signature = values.get("signature")
    if signature is None:
        assert isinstance(message_id, str)
        assert isinstance(timestamp, str)
        signature = sign(BODY, message_id=message_id, timestamp=timestamp)
    return {"svix-id": message_id, "svix-timestamp": timestamp, "svix-signature": signature}


GOOD = sign(BODY, message_id="msg_1", timestamp=str(NOW))
BAD = sign(BODY, message_id="msg_1", timestamp=str(NOW), secret=OTHER_SECRET)


def test_svix_own_example_is_accepted() -> None:
    """Known answer: Svix's public example secret, and the trio printed in Recall's documentation."""
    headers: dict[str, str | bytes] = {
        "webhook-id": "msg_loFOjxBNrRLzqYUf",
        "webhook-timestamp": "1731705121",
        "webhook-signature": "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
    }
    body = b'{"event_type":"ping","data":{"success":true}}'

    accepted = check(headers, body, key=signing_key("whsec_plJ3nmyCDGBKInavdOK15jsl"), now=1731705121)

    assert accepted == "msg_loFOjxBNrRLzqYUf"


@given(
    message_id=ids,
    key=keys,
    other=st.none() | keys,
    body=texts,
    sent=st.none() | texts,
    age_s=st.integers(-600, 600),
)
def test_we_agree_with_the_svix_library_on_every_well_formed_request(
    message_id: str, key: bytes, other: bytes | None, body: str, sent: str | None, age_s: int
) -> None:
    now = int(time.time())
    near_the_edge = abs(abs(age_s) - TOLERANCE_S) <= 2
    timestamp = now - (0 if near_the_edge else age_s)
    signature = Webhook(other or key).sign(
        message_id, datetime.fromtimestamp(timestamp, UTC), body if sent is None else sent
    )
    headers = {"svix-id": message_id, "svix-timestamp": str(timestamp), "svix-signature": signature}

    try:
        Webhook(key).verify(body.encode(), headers)
        expected = True
    except WebhookVerificationError:
        expected = False
    try:
        check(dict(headers), body.encode(), key=key, now=now)
        found = True
    except VerificationFailed:
        found = False

    assert found is expected


@given(message_id=ids, body=texts)
def test_what_the_svix_library_signs_is_accepted_in_both_families(message_id: str, body: str) -> None:
    signature = Webhook(KEY).sign(message_id, datetime.fromtimestamp(NOW, UTC), body)

    for family in ("svix", "webhook"):
        headers: dict[str, str | bytes] = {
            f"{family}-id": message_id,
            f"{family}-timestamp": str(NOW),
            f"{family}-signature": signature,
        }
        assert check(headers, body.encode()) == message_id


@given(body=st.binary(max_size=300))
def test_any_bytes_can_be_signed(body: bytes) -> None:
    headers = headers_with(signature=sign(body, message_id="msg_1", timestamp=str(NOW)))

    assert check(headers, body) == "msg_1"


@pytest.mark.parametrize(
    "signature",
    [
        pytest.param("v1", id="R11 no comma"),
        pytest.param("v1,abc", id="R12 bad padding"),
        pytest.param("v1,", id="R12 nothing"),
        pytest.param(f"{BAD}  {BAD}", id="R13 two spaces, none valid"),
        pytest.param("v1,a,b", id="R14"),
        pytest.param(GOOD + ",b", id="R14 after a good one"),
        pytest.param("v1,é".encode(), id="R15 UTF-8"),
        pytest.param(b"v1,\xff" + GOOD[4:].encode(), id="R15 Latin-1"),
        pytest.param(GOOD.replace("v1", "V1"), id="R16 V1"),
        pytest.param(GOOD.replace("v1", "v1a"), id="R16 v1a"),
        pytest.param(GOOD.replace("v1", "v2"), id="R16 v2"),
        pytest.param(GOOD[:10] + "!" + GOOD[10:], id="R17 junk inside"),
        pytest.param(GOOD + "=", id="R17 more padding"),
        pytest.param(
            GOOD[:-2] + chr(ord(GOOD[-2]) + 1) + "=", id="R17 another spelling of the last byte"
        ),
        pytest.param(" ".join([BAD] * 200), id="R18 200 signatures"),
        pytest.param(" ".join([BAD] * MOST_SIGNATURES + [GOOD]), id="R18 a good one beyond the cap"),
        pytest.param(BAD, id="R20 signed by somebody else"),
        pytest.param("", id="R8 empty"),
        pytest.param(" ", id="R8 blank"),
        pytest.param(GOOD.replace(",", " "), id="a space for the comma"),
        pytest.param(GOOD.lower(), id="lower case"),
        pytest.param(GOOD.replace(" ", "\t") + "\t", id="a tab"),
    ],
)
def test_a_malformed_signature_is_refused(signature: str | bytes) -> None:
    with pytest.raises(VerificationFailed):
        check(headers_with(signature=signature))


@pytest.mark.parametrize(
    "signature",
    [
        pytest.param(f"{BAD}  {GOOD}", id="R13 two spaces"),
        pytest.param(f"v1a,abc {GOOD}", id="an asymmetric one first"),
        pytest.param(" ".join([BAD] * (MOST_SIGNATURES - 1) + [GOOD]), id="the last that is looked at"),
        pytest.param(f" {GOOD} ", id="spaces around"),
    ],
)
def test_one_good_signature_is_enough(signature: str) -> None:
    assert check(headers_with(signature=signature)) == "msg_1"


@pytest.mark.parametrize(
    "timestamp",
    [
        pytest.param(str(NOW - 301), id="R23 301 s old"),
        pytest.param(str(NOW + 301), id="R23 301 s ahead"),
        pytest.param(str(NOW * 1000), id="R25 milliseconds"),
        pytest.param("NaN", id="R26"),
        pytest.param("inf", id="R26 inf"),
        pytest.param("-1", id="R26 negative"),
        pytest.param("1e9", id="R26 exponent"),
        pytest.param("1" * 400, id="R26 400 digits"),
        pytest.param(f"{NOW}.9", id="R27 fraction"),
        pytest.param("1_763_694_000", id="R27 underscores"),
        pytest.param(f" {NOW}", id="R27 leading space"),
        pytest.param(f"{NOW}\n", id="R27 line feed"),
        pytest.param("١٧٦٣٦٩٤٠٠٠", id="R27 Arabic digits"),
        pytest.param("0", id="the epoch"),
        pytest.param("", id="R8 empty"),
        pytest.param(f"+{NOW}", id="a sign"),
    ],
)
def test_a_bad_timestamp_is_refused_although_signed(timestamp: str) -> None:
    with pytest.raises(VerificationFailed):
        check(headers_with(timestamp=timestamp))


@pytest.mark.parametrize("age_s", [-299, -300, 0, 299, 300])
def test_five_minutes_either_way_are_tolerated(age_s: int) -> None:
    assert check(headers_with(timestamp=str(NOW - age_s))) == "msg_1"


@pytest.mark.parametrize(
    "message_id",
    ["msg.1", "m" * 300, "m" * 129, "msg\x001", "msg 1", "'; drop", "msg_1\n", "é", "", "a/b", "%00"],
    ids=lambda value: f"R28 {value[:8]!r}",
)
def test_a_strange_id_is_refused_although_signed(message_id: str) -> None:
    with pytest.raises(VerificationFailed):
        check(headers_with(id=message_id))


@pytest.mark.parametrize("missing", ["svix-id", "svix-timestamp", "svix-signature"])
def test_a_missing_header_is_refused(missing: str) -> None:
    headers = headers_with()
    del headers[missing]

    with pytest.raises(VerificationFailed):
        check(headers)


def test_no_signature_at_all_is_refused() -> None:
    with pytest.raises(VerificationFailed):
        check({})


@pytest.mark.parametrize("name", ["svix-id", "svix-timestamp", "svix-signature"])
def test_a_header_sent_twice_is_ambiguous_even_when_equal(name: str) -> None:
    found = [(key.encode(), str(value).encode()) for key, value in headers_with().items()]
    again = next(pair for pair in found if pair[0] == name.encode())

    with pytest.raises(AmbiguousSignature):
        read_signature([*found, again], now=NOW)


def test_two_families_that_say_the_same_are_one() -> None:
    headers = headers_with()
    both = headers | {name.replace("svix", "webhook"): value for name, value in headers.items()}

    assert check(both) == "msg_1"


@pytest.mark.parametrize("part", ["id", "timestamp", "signature"])
def test_two_families_that_differ_are_ambiguous(part: str) -> None:
    headers = headers_with()
    both = headers | {name.replace("svix", "webhook"): value for name, value in headers.items()}
    both[f"webhook-{part}"] = "other"

    with pytest.raises(AmbiguousSignature):
        check(both)


def test_half_of_a_second_family_is_ambiguous() -> None:
    with pytest.raises(AmbiguousSignature):
        check(headers_with() | {"webhook-id": "msg_1"})


def test_during_a_rotation_every_secret_counts_and_afterwards_only_the_new_one() -> None:
    old, new = b"o" * 32, b"n" * 32
    old_secret = "whsec_" + base64.b64encode(old).decode()
    headers = signed_headers(BODY, message_id="msg_1", timestamp=str(NOW), secret=old_secret)
    found = [(name.encode(), value.encode()) for name, value in headers.items()]
    signed = read_signature(found, now=NOW)

    verify(signed, BODY, [new, old])
    with pytest.raises(VerificationFailed):
        verify(signed, BODY, [new])


@pytest.mark.parametrize("change", [BODY + b"\n", BODY[:-1], BODY.replace(b":", b": "), b""])
def test_another_body_than_the_signed_one_is_refused(change: bytes) -> None:
    with pytest.raises(VerificationFailed):
        check(headers_with(), change)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [
                    b"svix-id",
                    b"svix-timestamp",
                    b"svix-signature",
                    b"webhook-id",
                    b"webhook-timestamp",
                    b"webhook-signature",
                ]
            ),
            st.one_of(
                st.binary(max_size=80), st.sampled_from([b"msg_1", str(NOW).encode(), GOOD.encode()])
            ),
        ),
        max_size=7,
    )
)
def test_whatever_the_headers_there_are_only_two_ways_to_fail(found: list[tuple[bytes, bytes]]) -> None:
    try:
        verify(read_signature(found, now=NOW), BODY, [KEY])
    except (AmbiguousSignature, VerificationFailed):
        return
    assert (b"svix-signature", GOOD.encode()) in found or (b"webhook-signature", GOOD.encode()) in found
