"""Whatever is sent, the answer is one of a short list: never 500, never a redirect, never silence."""

from __future__ import annotations

import string
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.webhooks.sending import (
    CALENDAR,
    OTHER_SECRET,
    SECRET,
    Sender,
    bot_status,
    calendar_update,
    legacy_bot_status,
    raw_post,
    signed_headers,
    status_of,
    sync_events,
)

ANSWERS = {202, 204, 400, 401, 404, 405, 408, 413, 414, 415, 429, 431}


@pytest.fixture(scope="session")
def anyone(receiver_url: str) -> Iterator[Sender]:
    """Somebody who posts to the shared receiver and does not look at the database."""
    with httpx.Client(base_url=receiver_url) as client:
        yield Sender(receiver_url, client)


bodies = st.sampled_from([sync_events(), calendar_update(), bot_status(), legacy_bot_status()])
scraps = st.sampled_from(
    [
        b"",
        b"\0",
        b"\xff",
        b"\\u0000",
        b"\\ud800",
        b'"',
        b"{",
        b"[" * 40,
        b"1e999",
        b"NaN",
        CALENDAR.encode(),
        b",",
    ]
)
tokens = st.text(string.ascii_letters + string.digits + "-_.,+/= :;'\"%", max_size=60)
names = st.sampled_from(
    [
        "svix-id",
        "svix-timestamp",
        "svix-signature",
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
        "content-encoding",
        "content-type",
        "expect",
        "x-forwarded-for",
        "cookie",
    ]
)


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """A body with a few bytes taken out and others put in."""
    body = draw(bodies)
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(body)))
        end = draw(st.integers(start, min(start + 12, len(body))))
        body = body[:start] + draw(scraps | st.binary(max_size=6)) + body[end:]
    return body


@settings(max_examples=200, deadline=None)
@given(body=spoiled())
def test_a_signed_body_is_stored_whatever_it_says(anyone: Sender, body: bytes) -> None:
    heard = anyone.say(raw_post(body, headers=[f"Content-Length: {len(body)}"]))

    assert status_of(heard) in {202, 204}


@settings(max_examples=200, deadline=None)
@given(
    body=spoiled(),
    secret=st.sampled_from([SECRET, SECRET, OTHER_SECRET]),
    changes=st.lists(st.tuples(names, tokens), max_size=3),
    gone=st.lists(names, max_size=2),
)
def test_whatever_the_headers_the_answer_is_a_known_one(
    anyone: Sender, body: bytes, secret: str, changes: list[tuple[str, str]], gone: list[str]
) -> None:
    signed = signed_headers(body, secret=secret).items()
    headers = [*((name, value) for name, value in signed if name not in gone), *changes]
    lines = [f"Content-Length: {len(body)}", *(f"{name}: {value}" for name, value in headers)]

    heard = anyone.say(raw_post(body, headers=lines, signed=False))

    assert status_of(heard) in ANSWERS
    if secret == OTHER_SECRET:
        assert status_of(heard) not in {202, 204}


@settings(max_examples=150, deadline=None)
@given(
    body=bodies,
    cut=st.integers(0, 700),
    junk=st.binary(max_size=20) | scraps | st.sampled_from([b"\r\n", b"\r\n\r\n", b": ", b"\n", b"\r"]),
    taken=st.integers(0, 20),
)
def test_whatever_the_bytes_on_the_line_the_server_answers_and_lives(
    anyone: Sender, body: bytes, cut: int, junk: bytes, taken: int
) -> None:
    request = raw_post(body, headers=[f"Content-Length: {len(body)}"])
    request = request[:cut] + junk + request[cut + taken :]

    heard = anyone.say(request, timeout_s=0.15)

    # Silence is right while a request may still go on.
    assert not heard or status_of(heard) in ANSWERS | {100, 200}
    assert anyone.client.get("/healthz").status_code == 200
