"""
A downstream service of its own: takes domain events from AMQP and over HTTP, and writes a ledger.

`python -m tests.system.consumer AMQP_URL EXCHANGE QUEUE PORT FOLDER SECRET_FILE`
"""

from __future__ import annotations

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from kombu import Connection, Exchange, Queue
from kombu.mixins import ConsumerMixin
from kombu.transport.base import Message
from svix.webhooks import Webhook


class Ledger:
    """One JSON line per domain event received, in the order of arrival."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def note(self, **facts: Any) -> None:
        with self._lock, self._path.open("a") as ledger:
            ledger.write(json.dumps(facts) + "\n")


class Amqp(ConsumerMixin):
    """Takes everything published to the exchange."""

    def __init__(self, connection: Connection, queue: Queue, ledger: Ledger) -> None:
        self.connection, self._queue, self._ledger = connection, queue, ledger

    def get_consumers(self, Consumer: Any, channel: Any) -> list[Any]:  # noqa: N803  # kombu's name
        return [Consumer([self._queue], callbacks=[self._take], prefetch_count=100)]

    def _take(self, _body: object, message: Message) -> None:
        headers = message.headers
        self._ledger.note(
            id=headers["cloudEvents_id"],
            subject=headers["cloudEvents_subject"],
            sequence=int(headers["cloudEvents_sequence"]),
            type=headers["cloudEvents_type"],
        )
        message.ack()


def serve_http(port: int, ledger: Ledger, secret_file: Path) -> ThreadingHTTPServer:
    """Take posts whose signature is right; the secret is read when the first one comes."""

    class Sink(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            Webhook(secret_file.read_text()).verify(body, dict(self.headers.items()))
            event = json.loads(body)
            ledger.note(
                id=event["id"],
                subject=event["subject"],
                sequence=int(event["sequence"]),
                type=event["type"],
            )
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Sink)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def main(url: str, exchange: str, queue: str, port: str, folder: str, secret_file: str) -> None:
    serve_http(int(port), Ledger(Path(folder) / "http.ledger"), Path(secret_file))
    with Connection(url) as connection:
        topic = Exchange(exchange, type="topic", durable=True)
        # Survives its broker, as a subscriber's has to; goes by itself once nobody consumes from it.
        everything = Queue(queue, topic, routing_key="#", durable=True, expires=600)
        Amqp(connection, everything, Ledger(Path(folder) / "amqp.ledger")).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
