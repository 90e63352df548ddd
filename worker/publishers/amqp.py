"""
Publishes domain events over AMQP: CloudEvents in binary mode, durable, mandatory, confirmed.

A batch is sent without waiting in between; what the broker says of each message is put together
from returns (by message id) and confirms (by delivery tag). RabbitMQ sends the return of a message
that no queue wants before its confirm. Source: rabbitmq.com/docs/confirms.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import structlog
from amqp.basic_message import Message
from amqp.exceptions import AMQPError, ChannelError
from kombu import Connection, Exchange, Producer
from kombu.exceptions import KombuError

from models.domain.times import rfc3339
from worker.errors import TryLater
from worker.ports import Outgoing

log = structlog.get_logger(__name__)

CONNECT_TIMEOUT_S = 1.5
#: For everything one call does; a socket that is busy longer is cut, whatever it is busy with.
TIME_LIMIT_S = 4.5
#: From sending the first message of a batch to the last confirm.
CONFIRM_TIMEOUT_S = 3.0
NOT_CONFIRMED = "not confirmed in time"
#: None of these says what became of a message that was sent and not confirmed.
_BROKEN = (OSError, AMQPError, KombuError)


def headers_of(outgoing: Outgoing) -> dict[str, str | int]:
    """Write a domain event's attributes as application headers: CloudEvents over AMQP, binary mode."""
    return {
        "cloudEvents_specversion": "1.0",
        "cloudEvents_id": outgoing.id,
        "cloudEvents_source": outgoing.source,
        "cloudEvents_type": outgoing.type,
        "cloudEvents_subject": outgoing.subject,
        "cloudEvents_time": rfc3339(outgoing.time),
        "cloudEvents_dataschema": outgoing.dataschema,
        "cloudEvents_sequence": outgoing.sequence,
    }


class AmqpPublisher:
    """Implements the Publisher port over one connection of its own; safe between threads."""

    def __init__(self, url: str, *, exchange: str) -> None:
        self._broker = Connection(url, connect_timeout=CONNECT_TIMEOUT_S, heartbeat=0)
        self._exchange = Exchange(exchange, type="topic", durable=True)
        self._lock = threading.Lock()
        self._line: _Line | None = None

    def publish(self, batch: Sequence[Outgoing]) -> Sequence[str | None]:
        """
        Publish in order; for each, None when the broker confirmed it, else why not.

        Returns within 5 s. Raises TryLater when nothing at all was heard of the broker.
        """
        if not batch:
            return []
        verdicts: dict[int, str | None] = {}
        with self._lock:
            end = time.monotonic() + TIME_LIMIT_S
            try:
                self._publish_within(end, batch, verdicts)
            except _BROKEN as broken:
                self._drop()
                if not verdicts:
                    msg = f"the broker did not confirm: {_words(broken)}"
                    raise TryLater(msg) from broken
                log.warning("broker_connection_lost", error=_words(broken))
            except TryLater:
                if not verdicts:
                    raise
        return [verdicts.get(nth, NOT_CONFIRMED) for nth in range(len(batch))]

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock:
            self._drop()

    def _publish_within(
        self, end: float, batch: Sequence[Outgoing], verdicts: dict[int, str | None]
    ) -> None:
        is_reused = self._line is not None
        try:
            self._connected(end).publish(batch, range(len(batch)), verdicts, end=end)
        except ChannelError as closed:
            # One message made the broker close the channel; which one shows when each goes alone.
            self._drop()
            self._publish_one_by_one(end, batch, verdicts, closed)
        except TimeoutError:
            raise
        except _BROKEN:
            if not is_reused:
                raise
            # A connection that lay idle may have been dead for long: that is worth one more try.
            self._drop()
            left = [nth for nth in range(len(batch)) if nth not in verdicts]
            self._connected(end).publish(batch, left, verdicts, end=end)

    def _publish_one_by_one(
        self,
        end: float,
        batch: Sequence[Outgoing],
        verdicts: dict[int, str | None],
        closed: ChannelError,
    ) -> None:
        left = [nth for nth in range(len(batch)) if nth not in verdicts]
        if len(batch) == 1:
            verdicts[0] = _words(closed)
            return
        for nth in left:
            try:
                self._connected(end).publish(batch, [nth], verdicts, end=end)
            except ChannelError as refused:
                verdicts[nth] = _words(refused)
                self._drop()

    def _connected(self, end: float) -> _Line:
        if self._line is None:
            try:
                if end - time.monotonic() < CONNECT_TIMEOUT_S:
                    msg = "no time left to connect"
                    raise TimeoutError(msg)
                self._line = _Line(self._broker, self._exchange, end=end)
            except (*_BROKEN, AttributeError) as unreachable:
                # py-amqp raises AttributeError when the other side goes away in the handshake.
                self._broker.maybe_switch_next()
                msg = f"the broker cannot be reached: {_words(unreachable)}"
                raise TryLater(msg) from unreachable
        return self._line

    def _drop(self) -> None:
        if self._line is not None:
            self._line.drop()
            self._line = None


class _Line:
    """One connection with one channel in confirm mode, and the exchange declared on it."""

    def __init__(self, broker: Connection, exchange: Exchange, *, end: float) -> None:
        self._raw: Any = broker.transport.establish_connection()
        self._socket: socket.socket = self._raw.sock
        self._sent = 0
        self._waiting: dict[int, tuple[int, str]] = {}
        self._returned: dict[str, str] = {}
        self._verdicts: dict[int, str | None] = {}
        try:
            with self._cut_at(end):
                channel = self._raw.channel()
                exchange(channel).declare()
                channel.confirm_select()
        except BaseException:
            self.drop()
            raise
        channel.events["basic_ack"].add(self._on_ack)
        channel.events["basic_nack"].add(self._on_nack)
        channel.events["basic_return"].add(self._on_return)
        self._producer = Producer(channel, exchange=exchange, auto_declare=False)

    def publish(
        self,
        batch: Sequence[Outgoing],
        which: Sequence[int],
        verdicts: dict[int, str | None],
        *,
        end: float,
    ) -> None:
        """
        Send the messages numbered *which* and fill in the broker's *verdicts* as they come.

        Raises TimeoutError when some are missing at the end; the line must be dropped then, as after
        any other error, so that no late confirm is taken for another message's.
        """
        self._verdicts = verdicts
        self._returned.clear()
        last = min(end, time.monotonic() + CONFIRM_TIMEOUT_S)
        with self._cut_at(end):
            for nth in which:
                self._sent += 1
                self._waiting[self._sent] = (nth, batch[nth].id)
                self._send(batch[nth])
            while self._waiting:
                left = last - time.monotonic()
                if left <= 0:
                    raise TimeoutError(NOT_CONFIRMED)
                self._raw.drain_events(timeout=left)

    def drop(self) -> None:
        """Cut the connection without a word: a broker that hangs would not answer a farewell."""
        self._cut()
        self._raw.collect()

    def _send(self, outgoing: Outgoing) -> None:
        self._producer.publish(
            json.dumps(outgoing.data, ensure_ascii=False, separators=(",", ":")).encode(),
            routing_key=outgoing.type,
            mandatory=True,
            delivery_mode=2,
            content_type="application/json",
            content_encoding="utf-8",
            message_id=outgoing.id,
            headers=headers_of(outgoing),
        )

    def _on_return(self, reason: Exception, _exchange: str, routing_key: str, message: Message) -> None:
        text = getattr(reason, "reply_text", None) or "returned"
        self._returned[message.properties.get("message_id", "")] = f"{text} ({routing_key})"

    def _on_ack(self, tag: int, multiple: bool) -> None:  # noqa: FBT001  # py-amqp calls it
        for nth, message_id in self._settled(tag, multiple=multiple):
            self._verdicts[nth] = self._returned.get(message_id)

    def _on_nack(self, tag: int, multiple: bool) -> None:  # noqa: FBT001  # py-amqp calls it
        for nth, _ in self._settled(tag, multiple=multiple):
            self._verdicts[nth] = "refused by the broker (nack)"

    def _settled(self, tag: int, *, multiple: bool) -> list[tuple[int, str]]:
        tags = [waiting for waiting in self._waiting if waiting <= tag] if multiple else [tag]
        return [self._waiting.pop(settled) for settled in tags if settled in self._waiting]

    @contextmanager
    def _cut_at(self, end: float) -> Iterator[None]:
        # py-amqp bounds neither a write nor the rest of a half-read frame.
        watchdog = threading.Timer(max(0.0, end - time.monotonic()), self._cut)
        watchdog.daemon = True
        watchdog.start()
        try:
            yield
        finally:
            watchdog.cancel()

    def _cut(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
