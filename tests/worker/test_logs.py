"""Log lines: whoever writes them, ours or a library's, no secret passes."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Callable, Iterator

import pytest
import structlog

from worker.logs import HIDDEN, hide_secrets, set_up_logs

Lines = Callable[[], list[dict[str, object]]]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """Set up logging as a process does; the lines written since the last look are returned."""
    root = logging.getLogger()
    handlers, level, config = root.handlers, root.level, structlog.get_config()
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    set_up_logs("json")

    def read() -> list[dict[str, object]]:
        told = written.getvalue()
        written.truncate(0)
        written.seek(0)
        return [json.loads(line) for line in told.splitlines()]

    yield read
    structlog.configure(**config)
    root.handlers = handlers
    root.setLevel(level)


@pytest.mark.parametrize(
    "name",
    [
        "token",
        "refresh_token",
        "client_secret",
        "password",
        "passcode",
        "authorization",
        "Authorization",
        "api_key",
        "apikey",
        "signature",
        "cookie",
        "body",
    ],
)
def test_what_sounds_like_a_secret_is_not_written(lines: Lines, name: str) -> None:
    structlog.get_logger("test").info("told", **{name: "canary"})

    (line,) = lines()

    assert line[name] == HIDDEN


@pytest.mark.parametrize(
    "text",
    [
        "secret whsec_canaryCANARY0123 refused",
        "header Authorization: Bearer canaryCANARY",
        "sent Token canaryCANARY0123",
        "key pk_canaryCANARY",
        "no route to amqp://punctual:canaryCANARY@broker:5672/",
        "link https://zoom.us/j/1?pwd=canaryCANARY is odd",
        "link https://zoom.us/j/1?a=b&passcode=canaryCANARY is odd",
    ],
)
def test_what_looks_like_a_secret_is_hidden_wherever_it_stands(lines: Lines, text: str) -> None:
    structlog.get_logger("test").warning("told", error=text)
    logging.getLogger("some.vendor").warning("a library says: %s", text)

    written = lines()

    assert len(written) == 2
    assert "canary" not in json.dumps(written)


def test_a_secret_in_a_traceback_is_hidden(lines: Lines) -> None:
    try:
        msg = "cannot reach postgresql://punctual:canaryCANARY@db/punctual"
        raise ConnectionError(msg)
    except ConnectionError:
        structlog.get_logger("test").exception("failed")
        logging.getLogger("some.vendor").exception("failed too")

    written = lines()

    assert "ConnectionError" in json.dumps(written)
    assert "canary" not in json.dumps(written)


def test_what_is_no_secret_is_written_as_it_is(lines: Lines) -> None:
    structlog.get_logger("test").info("told", slot_id="0192", tries=3, link="https://zoom.us/j/1")

    (line,) = lines()

    assert (line["event"], line["slot_id"], line["tries"]) == ("told", "0192", 3)
    assert line["link"] == "https://zoom.us/j/1"


def test_hiding_leaves_the_line_given_as_it_was() -> None:
    given = {"event": "told", "token": "canary"}

    hide_secrets(sys, "info", given)

    assert given == {"event": "told", "token": "canary"}
