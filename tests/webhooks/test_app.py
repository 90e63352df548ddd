"""The application around the receiver: pages, unknown paths, and what happens when all else fails."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.types import Message

from tests.webhooks.sending import PATH, Sender, a_runtime, signed_headers, sync_events
from webhooks.app import create_app


async def asked(
    app: Any, *, path: str = PATH, body: bytes = b"", cancelled: bool = False
) -> list[Message]:
    """Ask the application without a server; everything it sends is returned."""
    sent: list[Message] = []
    headers = [(name.encode(), value.encode()) for name, value in signed_headers(body).items()]
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 1),
    }

    async def receive() -> Message:
        if cancelled:
            raise asyncio.CancelledError
        return {"type": "http.request", "body": body}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


def test_the_front_page_says_where_things_are(sender: Sender) -> None:
    answer = sender.client.get("/")

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    for link in ("/docs", "/healthz", "/metrics"):
        assert f'href="{link}"' in answer.text


@pytest.mark.parametrize("path", ["/nothing", "/healthz/", "/metrics/", "/%00", "/webhooks"])
def test_an_unknown_path_is_a_404_and_never_a_redirect(sender: Sender, path: str) -> None:
    answer = sender.client.get(path)

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/metrics"])
def test_pages_that_only_show_are_only_read(sender: Sender, path: str) -> None:
    answer = sender.client.post(path)

    assert answer.status_code == 405
    assert "GET" in answer.headers["allow"]
    assert answer.headers["content-type"] == "application/problem+json"


def test_before_it_has_started_a_receiver_tells_senders_to_come_again(db: Engine) -> None:
    sent = asyncio.run(asked(create_app(a_runtime(db)), body=sync_events()))

    assert sent[0]["status"] == 503


def test_a_request_cancelled_by_shutting_down_is_a_503(db: Engine) -> None:
    sent = asyncio.run(asked(create_app(a_runtime(db)), cancelled=True))

    assert sent[0]["status"] == 503
