"""`python -m worker.sandbox` as a user starts it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time

import httpx

from tests.sandbox.driving import SECRET, receiving


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_the_command_serves_sends_and_stops_when_told() -> None:
    port = free_port()
    with receiving() as receiver:
        options = [
            "--port",
            str(port),
            "--api-key",
            "k",
            "--webhook-url",
            receiver.url,
            "--webhook-secret",
            SECRET,
        ]
        with subprocess.Popen(
            [sys.executable, "-m", "worker.sandbox", *options], stdout=subprocess.PIPE, text=True
        ) as command:
            try:
                assert command.stdout is not None
                said = command.stdout.readline()
                with httpx.Client(
                    base_url=f"http://127.0.0.1:{port}",
                    headers={"authorization": "Token k"},
                    transport=httpx.HTTPTransport(retries=5),
                ) as client:
                    client.post(
                        "/_emulator/calendars", json={"email": "a@example.com"}
                    ).raise_for_status()
                    listed = client.get("/api/v2/calendars/").json()["results"]
                deadline = time.monotonic() + 10
                while len(receiver.posts) < 2 and time.monotonic() < deadline:
                    time.sleep(0.01)
            finally:
                command.send_signal(signal.SIGTERM)
                stopped = command.wait(10)

    assert f"http://127.0.0.1:{port}" in said
    assert [row["status"] for row in listed] == ["connected"]
    assert {json.loads(body)["event"] for _, body in receiver.posts} == {
        "calendar.update",
        "calendar.sync_events",
    }
    assert stopped in {0, -signal.SIGTERM}
