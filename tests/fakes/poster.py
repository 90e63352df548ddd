"""A Poster whose subscribers answer as they are told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from worker.ports import PostAnswer


@dataclass(frozen=True, slots=True)
class Post:
    """One post that arrived."""

    url: str
    body: bytes
    message_id: str
    secrets: tuple[str, ...] = field(repr=False)


class FakePoster:
    """
    `posts` is what arrived, in order, whatever was answered.

    Subscribers answer 204 unless `answers` holds other answers for their URL: one a post, the last
    one for ever.
    """

    def __init__(self) -> None:
        self.posts: list[Post] = []
        self.answers: dict[str, list[PostAnswer]] = {}

    def answer(self, url: str, *statuses: int | None, retry_after_s: float | None = None) -> None:
        """Have a subscriber answer with these, the last one from then on; None is no answer."""
        self.answers[url] = [
            PostAnswer(
                status,
                None if status is not None else "no answer",
                retry_after_s,
                duration_ms=1,
            )
            for status in statuses
        ]

    def post(self, url: str, body: bytes, *, message_id: str, secrets: Sequence[str]) -> PostAnswer:
        prepared = self.answers.get(url)
        if not prepared:
            answer = PostAnswer(204, None, None, duration_ms=1)
        else:
            answer = prepared.pop(0) if len(prepared) > 1 else prepared[0]
        if answer.status is not None:
            self.posts.append(Post(url, body, message_id, tuple(secrets)))
        return answer
