"""A runtime over a real database, and fakes of the ports that domain events leave by."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from pydantic import SecretStr
from sqlalchemy import Engine

from models.domain.emitted import Emitted, Type
from models.sealing import Vault
from worker.errors import TryLater
from worker.outbox import emit
from worker.ports import Outgoing, PostAnswer, Publisher
from worker.ports import Poster as PosterPort
from worker.runtime import Runtime
from worker.settings import Settings

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
BASE_URL = "https://punctual.example"


@dataclass
class FakeBell:
    """Remembers what it was rung for."""

    rings: list[tuple[str, str | None]] = field(default_factory=list)

    def ring(self, job: str, row_id: str | None = None) -> None:
        self.rings.append((job, row_id))


@dataclass
class FakePublisher:
    """A broker that confirms what *verdict* does not refuse, in the order it came."""

    verdict: Callable[[Outgoing], str | None] = lambda _: None
    is_down: bool = False
    seen: list[Outgoing] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def publish(self, batch: Sequence[Outgoing]) -> Sequence[str | None]:
        if self.is_down:
            raise TryLater("no broker")
        verdicts = [self.verdict(outgoing) for outgoing in batch]
        with self.lock:
            self.seen += [
                outgoing for outgoing, reason in zip(batch, verdicts, strict=True) if reason is None
            ]
        return verdicts

    def close(self) -> None:
        pass


@dataclass
class FakePoster:
    """A subscriber that takes everything unless told otherwise."""

    answer: Callable[[str, str], PostAnswer] = lambda _url, _id: PostAnswer(204, None, None, 1)
    posted: list[tuple[str, str]] = field(default_factory=list)

    def post(self, url: str, body: bytes, *, message_id: str, secrets: Sequence[str]) -> PostAnswer:
        assert body
        assert secrets
        self.posted.append((url, message_id))
        return self.answer(url, message_id)


def a_runtime(
    db: Engine,
    *,
    poster: PosterPort | None = None,
    publisher: Publisher | None = None,
    bell: FakeBell | None = None,
    allow_private: bool = True,
) -> Runtime:
    return Runtime(
        settings=Settings(
            _env_file=None,
            public_url=BASE_URL,
            allow_private_endpoints=allow_private,
            broker_url=SecretStr("memory://"),
        ),
        db=db,
        vault=Vault([b"k" * 32]),
        install_id=UUID(int=1),
        bell=bell or FakeBell(),
        poster=poster or FakePoster(),
        now=lambda: NOON,
        chance=lambda: 0.0,
        publisher=publisher,
    )


def told(subject: str, event_type: Type = Type.BOT_SCHEDULED, **data: object) -> Emitted:
    return Emitted(event_type, subject, NOON, {"subject": subject, **data})


def tell(db: Engine, *subjects: str, event_type: Type = Type.BOT_SCHEDULED) -> None:
    """Emit one domain event for each subject, in one transaction of its own."""
    with db.begin() as tx:
        emit(tx, [told(subject, event_type) for subject in subjects])
