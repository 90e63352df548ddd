"""Somebody at the broker who repeats and reorders the messages between our processes."""

from __future__ import annotations

from contextlib import suppress
from random import Random
from typing import Any

from kombu import Connection
from kombu.exceptions import KombuError

from worker import jobs


def republish(url: str, chance: Random) -> int:
    """Take what waits in the queues, and put it back several times in another order; counts the copies."""
    copies = 0
    with suppress(KombuError, OSError), Connection(url, connect_timeout=3) as connection:
        channel: Any = connection.default_channel  # the AMQP one, whose own methods are used
        for name in sorted(set(jobs.QUEUE_BY_JOB.values())):
            taken = [m for _ in range(100) if (m := channel.basic_get(name)) is not None]
            again = [message for message in taken for _ in range(chance.randint(1, 5))]
            chance.shuffle(again)
            for message in again:
                channel.basic_publish(message, exchange="", routing_key=name)
            for message in taken:
                channel.basic_ack(message.delivery_tag)
            copies += len(again)
    return copies
