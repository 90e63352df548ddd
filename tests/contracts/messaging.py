"""The contracts of Bell, Publisher and Poster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from worker.errors import TryLater
from worker.ports import Bell, Outgoing, Poster, Publisher

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # Svix's public example


@dataclass(frozen=True, slots=True)
class BellWorld:
    """*heard* lists what reached the workers; *break_down* takes the broker away."""

    bell: Bell
    heard: Callable[[], list[tuple[str, str | None]]]
    break_down: Callable[[], None]


class BellContract:
    """Inherit, and provide a fixture `world`."""

    def test_a_ring_names_a_job_and_a_row(self, world: BellWorld) -> None:
        world.bell.ring("reconcile", "row-1")
        world.bell.ring("relay")

        assert world.heard() == [("reconcile", "row-1"), ("relay", None)]

    def test_a_broken_bell_never_raises(self, world: BellWorld) -> None:
        world.break_down()

        world.bell.ring("reconcile", "row-1")


@dataclass(frozen=True, slots=True)
class PublisherWorld:
    """*arrived* lists the ids that a consumer has received; *go_down* takes the broker away."""

    publisher: Publisher
    arrived: Callable[[], list[str]]
    go_down: Callable[[], None]


class PublisherContract:
    """Inherit, and provide a fixture `world`."""

    def test_a_batch_arrives_in_order_and_is_confirmed(self, world: PublisherWorld) -> None:
        batch = [outgoing(number) for number in range(1, 6)]

        answers = world.publisher.publish(batch)

        assert list(answers) == [None] * 5
        assert world.arrived() == [message.id for message in batch]

    def test_nothing_to_publish_is_fine(self, world: PublisherWorld) -> None:
        assert list(world.publisher.publish([])) == []

    def test_the_same_message_may_be_published_again(self, world: PublisherWorld) -> None:
        world.publisher.publish([outgoing(1)])

        assert list(world.publisher.publish([outgoing(1)])) == [None]

    def test_without_a_broker_nothing_is_assumed_sent(self, world: PublisherWorld) -> None:
        world.go_down()

        with pytest.raises(TryLater):
            world.publisher.publish([outgoing(1)])

    def test_closing_twice_is_fine(self, world: PublisherWorld) -> None:
        world.publisher.close()
        world.publisher.close()


@dataclass(frozen=True, slots=True)
class PosterWorld:
    """A subscriber at *url*: *answer* sets its status, None for no answer; *bodies* is what it got."""

    poster: Poster
    url: str
    answer: Callable[[int | None], None]
    bodies: Callable[[], list[bytes]]


class PosterContract:
    """Inherit, and provide a fixture `world`."""

    def test_a_post_arrives_as_it_was_written(self, world: PosterWorld) -> None:
        answer = world.poster.post(world.url, b'{"a": 1}', message_id="m1", secrets=[SECRET])

        assert answer.status is not None
        assert 200 <= answer.status < 300
        assert answer.error is None
        assert world.bodies() == [b'{"a": 1}']

    @pytest.mark.parametrize("status", [302, 404, 410, 429, 500])
    def test_a_refusal_is_an_answer(self, world: PosterWorld, status: int) -> None:
        world.answer(status)

        answer = world.poster.post(world.url, b"{}", message_id="m1", secrets=[SECRET])

        assert answer.status == status

    def test_no_answer_never_raises(self, world: PosterWorld) -> None:
        world.answer(None)

        answer = world.poster.post(world.url, b"{}", message_id="m1", secrets=[SECRET])

        assert answer.status is None
        assert answer.error


def outgoing(number: int, *, subject: str = "bot/1") -> Outgoing:
    return Outgoing(
        id=f"{subject}-{number}",
        source="https://punctual.test",
        type="bot.scheduled",
        subject=subject,
        time=datetime(2026, 11, 21, 12, tzinfo=UTC),
        sequence=number,
        dataschema="https://punctual.test/schemas/bot",
        data={"id": number},
    )
