"""Publishing over a real RabbitMQ, and over brokers that do not answer."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any
from uuid import uuid4

import pytest
from kombu import Connection, Exchange, Message, Queue

from tests.contracts.messaging import PublisherContract, PublisherWorld
from tests.publishers.kit import BASE_URL, NOON
from worker.errors import TryLater
from worker.ports import Outgoing
from worker.publishers.amqp import NOT_CONFIRMED, AmqpPublisher

URL = os.environ.get("PUNCTUAL_TEST_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672//")


def outgoing(nth: int = 1, event_type: str = "bot.scheduled", *, size: int = 0) -> Outgoing:
    return Outgoing(
        id=str(uuid4()),
        source=BASE_URL,
        type=event_type,
        subject="bot/a",
        time=NOON,
        sequence=nth,
        dataschema=f"{BASE_URL}/schemas/{event_type}.json",
        data={"nth": nth, "é": "ü", "padding": "x" * size},
    )


class Broker:
    """An exchange and a queue of this test's own."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.exchange = Exchange(f"punctual.test.{uuid4().hex}", type="topic", durable=True)
        self.queue = Queue(f"punctual.test.{uuid4().hex}", exclusive=False, durable=False)(connection)
        self.queue.declare()
        self.exchange(connection).declare()

    def bind(self, pattern: str) -> None:
        self.queue.bind_to(self.exchange, pattern)

    def unbind(self, pattern: str) -> None:
        self.queue.unbind_from(self.exchange, pattern)

    def drop_exchange(self) -> None:
        self.exchange(self.connection).delete()

    def messages(self) -> list[Message]:
        found = []
        while message := self.queue.get(no_ack=True):
            found.append(message)
        return found

    def clean_up(self) -> None:
        self.queue.delete()
        self.drop_exchange()


@pytest.fixture
def broker() -> Iterator[Broker]:
    connection = Connection(URL, connect_timeout=2)
    try:
        connection.transport.establish_connection().collect()
    except OSError as unreachable:
        pytest.skip(f"no RabbitMQ: {unreachable}")
    with connection:
        broker = Broker(connection)
        yield broker
        broker.clean_up()


@pytest.fixture
def publisher(broker: Broker) -> Iterator[AmqpPublisher]:
    with closing(AmqpPublisher(URL, exchange=broker.exchange.name)) as publisher:
        yield publisher


@pytest.mark.rabbitmq
def test_a_message_is_a_binary_cloud_event(broker: Broker, publisher: AmqpPublisher) -> None:
    broker.bind("bot.*")
    sent = outgoing(7)

    assert publisher.publish([sent]) == [None]

    (message,) = broker.messages()
    assert json.loads(message.body or b"") == sent.data
    assert message.content_type == "application/json"
    assert message.properties["message_id"] == sent.id
    assert int(message.properties["delivery_mode"]) == 2
    assert message.delivery_info["routing_key"] == "bot.scheduled"
    assert message.headers == {
        "cloudEvents_specversion": "1.0",
        "cloudEvents_id": sent.id,
        "cloudEvents_source": BASE_URL,
        "cloudEvents_type": "bot.scheduled",
        "cloudEvents_subject": "bot/a",
        "cloudEvents_time": "2026-11-21T12:00:00Z",
        "cloudEvents_dataschema": f"{BASE_URL}/schemas/bot.scheduled.json",
        "cloudEvents_sequence": 7,
    }


@pytest.mark.rabbitmq
def test_a_batch_arrives_in_order(broker: Broker, publisher: AmqpPublisher) -> None:
    broker.bind("#")
    batch = [outgoing(nth) for nth in range(500)]

    assert set(publisher.publish(batch)) == {None}

    assert [message.properties["message_id"] for message in broker.messages()] == [
        one.id for one in batch
    ]


@pytest.mark.rabbitmq
def test_each_message_gets_its_own_verdict(broker: Broker, publisher: AmqpPublisher) -> None:
    broker.bind("bot.*")
    batch = [outgoing(nth, "bot.scheduled" if nth % 3 else "calendar.connected") for nth in range(60)]

    verdicts = publisher.publish(batch)

    assert [verdict is None for verdict in verdicts] == [bool(nth % 3) for nth in range(60)]
    assert verdicts[0] == "NO_ROUTE (calendar.connected)"
    assert len(broker.messages()) == 40


@pytest.mark.rabbitmq
def test_a_verdict_is_forgotten_when_the_message_is_sent_again(
    broker: Broker, publisher: AmqpPublisher
) -> None:
    sent = outgoing()

    assert publisher.publish([sent]) == ["NO_ROUTE (bot.scheduled)"]
    broker.bind("#")
    assert publisher.publish([sent]) == [None]


@pytest.mark.rabbitmq
def test_a_full_queue_that_rejects_is_a_refusal(broker: Broker, publisher: AmqpPublisher) -> None:
    arguments = {"x-max-length": 2, "x-overflow": "reject-publish"}
    full = Queue(f"punctual.test.{uuid4().hex}", broker.exchange, "#", queue_arguments=arguments)
    full = full(broker.connection)
    full.declare()

    verdicts = publisher.publish([outgoing(nth) for nth in range(4)])

    assert verdicts[:2] == [None, None]
    assert all("nack" in str(verdict) for verdict in verdicts[2:])
    full.delete()


@pytest.mark.rabbitmq
def test_an_exchange_that_was_deleted_is_declared_again(
    broker: Broker, publisher: AmqpPublisher
) -> None:
    publisher.publish([outgoing()])
    broker.drop_exchange()

    verdicts = publisher.publish([outgoing(), outgoing()])

    assert verdicts == ["NO_ROUTE (bot.scheduled)"] * 2


@pytest.mark.rabbitmq
def test_a_connection_that_the_broker_closed_is_opened_again(
    broker: Broker, publisher: AmqpPublisher
) -> None:
    broker.bind("#")
    publisher.publish([outgoing()])
    assert publisher._line is not None
    publisher._line._cut()

    assert publisher.publish([outgoing()]) == [None]


@pytest.mark.rabbitmq
def test_an_exchange_of_another_kind_is_no_place_to_publish(broker: Broker) -> None:
    other = Exchange(f"punctual.test.{uuid4().hex}", type="fanout", durable=False)(broker.connection)
    other.declare()

    with closing(AmqpPublisher(URL, exchange=other.name)) as publisher, pytest.raises(TryLater):
        publisher.publish([outgoing()])
    other.delete()


@pytest.mark.rabbitmq
def test_threads_share_a_publisher(broker: Broker, publisher: AmqpPublisher) -> None:
    broker.bind("bot.scheduled")
    wrong: list[object] = []

    def publish(event_type: str, expected: object) -> None:
        for _ in range(20):
            wrong.extend(
                verdict
                for verdict in publisher.publish([outgoing(1, event_type)])
                if verdict != expected
            )

    threads = [
        threading.Thread(target=publish, args=("bot.scheduled", None)),
        threading.Thread(target=publish, args=("bot.failed", "NO_ROUTE (bot.failed)")),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


class Proxy:
    """Passes bytes to the real broker until it is told to freeze, as a stopped process does."""

    def __init__(self, *, freeze_at: bytes | None = None) -> None:
        self.freeze_at = freeze_at
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.is_frozen = threading.Event()
        self.is_over = threading.Event()
        self.sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.listening.getsockname()[1]}//"

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self.listening.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", 5672))
            self.sockets += [near, far]
            for source, drain in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, drain), daemon=True).start()

    def _pump(self, source: socket.socket, drain: socket.socket) -> None:
        try:
            while passed := source.recv(4096):
                if self.freeze_at is not None and self.freeze_at in passed:
                    self.is_frozen.set()
                while self.is_frozen.is_set() and not self.is_over.wait(0.02):
                    pass
                drain.sendall(passed)
            drain.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self) -> None:
        self.is_over.set()
        with suppress(OSError):
            self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        for one in self.sockets:
            with closing(one):
                pass


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


@pytest.mark.rabbitmq
@pytest.mark.parametrize("size", [0, 400_000])
def test_a_broker_that_freezes_is_given_up_in_5_s(broker: Broker, size: int) -> None:
    broker.bind("#")
    with (
        closing(Proxy()) as proxy,
        closing(AmqpPublisher(proxy.url, exchange=broker.exchange.name)) as late,
    ):
        assert late.publish([outgoing()]) == [None]
        proxy.is_frozen.set()

        with at_most(5), pytest.raises(TryLater):
            late.publish([outgoing(nth, size=size) for nth in range(50)])
        with at_most(5), pytest.raises(TryLater):
            late.publish([outgoing()])

        proxy.is_frozen.clear()
        assert late.publish([outgoing()]) == [None]


@pytest.mark.rabbitmq
def test_a_broker_that_freezes_after_the_handshake_is_given_up_in_5_s(broker: Broker) -> None:
    channel_open = b"\x00\x14\x00\x0a"
    with (
        closing(Proxy(freeze_at=channel_open)) as proxy,
        closing(AmqpPublisher(proxy.url, exchange=broker.exchange.name)) as late,
        at_most(5),
        pytest.raises(TryLater),
    ):
        late.publish([outgoing()])


@pytest.mark.rabbitmq
def test_what_was_confirmed_before_the_line_broke_stays_confirmed(broker: Broker) -> None:
    broker.bind("#")
    with (
        closing(Proxy()) as proxy,
        closing(AmqpPublisher(proxy.url, exchange=broker.exchange.name)) as late,
    ):
        late.publish([outgoing()])
        line = late._line
        assert line is not None
        settle = line._on_ack

        def freeze_after_first(tag: int, multiple: bool) -> None:
            if proxy.is_frozen.is_set():
                return  # was on the line already
            settle(tag if not multiple else 2, False)
            proxy.is_frozen.set()

        channel: Any = line._producer.channel
        channel.events["basic_ack"] = {freeze_after_first}

        with at_most(5):
            verdicts = late.publish([outgoing(nth) for nth in range(3)])

        assert None in verdicts
        assert NOT_CONFIRMED in verdicts


def test_a_broker_that_is_not_there_is_tried_later() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"amqp://guest:guest@127.0.0.1:{unused.getsockname()[1]}//"
        with (
            closing(AmqpPublisher(url, exchange="x")) as publisher,
            at_most(2),
            pytest.raises(TryLater),
        ):
            publisher.publish([outgoing()])


def test_a_broker_that_never_says_a_word_is_tried_later() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"amqp://guest:guest@127.0.0.1:{mute.getsockname()[1]}//"
        with (
            closing(AmqpPublisher(url, exchange="x")) as publisher,
            at_most(5),
            pytest.raises(TryLater),
        ):
            publisher.publish([outgoing()])


@pytest.mark.rabbitmq
def test_a_wrong_password_is_tried_later_and_not_told(broker: Broker) -> None:
    url = "amqp://guest:wr0ng@127.0.0.1:5672//"

    with (
        closing(AmqpPublisher(url, exchange=broker.exchange.name)) as publisher,
        at_most(5),
        pytest.raises(TryLater) as refused,
    ):
        publisher.publish([outgoing()])

    assert "wr0ng" not in str(refused.value)


def test_publishing_nothing_needs_no_broker() -> None:
    with closing(AmqpPublisher("amqp://127.0.0.1:1//", exchange="x")) as publisher:
        assert publisher.publish([]) == []


@pytest.mark.rabbitmq
class TestAmqpPublisher(PublisherContract):
    """The adapter keeps the contract of its port."""

    @pytest.fixture
    def world(self, broker: Broker) -> Iterator[PublisherWorld]:
        broker.bind("#")
        with (
            closing(Proxy()) as proxy,
            closing(AmqpPublisher(proxy.url, exchange=broker.exchange.name)) as publisher,
        ):
            yield PublisherWorld(
                publisher,
                arrived=lambda: [
                    str(message.properties["message_id"]) for message in broker.messages()
                ],
                go_down=proxy.close,
            )
