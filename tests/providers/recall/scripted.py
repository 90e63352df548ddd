"""A Recall that says what a test tells it to say, word for word."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from tests.fakes import FakeAllowance
from worker.http import build_client
from worker.providers.recall import RecallClient

BASE = "https://us-west-2.recall.test"
API_KEY = "very-secret-api-key"

Say = httpx.Response | Callable[[httpx.Request], httpx.Response]


@dataclass(slots=True)
class Scripted:
    """Answers in the order given, the last one for ever; `requests` is what was asked."""

    client: RecallClient
    allowance: FakeAllowance
    answers: list[Say]
    requests: list[httpx.Request] = field(default_factory=list)

    @property
    def told(self) -> list[dict[str, object]]:
        """The JSON bodies that were sent."""
        return [json.loads(request.content) for request in self.requests if request.content]


@contextmanager
def saying(*answers: Say, base_url: str = BASE) -> Iterator[Scripted]:
    def answer(request: httpx.Request) -> httpx.Response:
        script.requests.append(request)
        say = script.answers.pop(0) if len(script.answers) > 1 else script.answers[0]
        return say if isinstance(say, httpx.Response) else say(request)

    allowance = FakeAllowance()
    with build_client(transport=httpx.MockTransport(answer)) as http:
        client = RecallClient(base_url=base_url, api_key=API_KEY, http=http, allowance=allowance)
        script = Scripted(client, allowance, list(answers))
        yield script


def ok(body: object, status: int = 200, **headers: str) -> httpx.Response:
    return httpx.Response(status, json=body, headers=headers)


def page(*rows: object, following: object = None) -> httpx.Response:
    return ok({"next": following, "previous": None, "results": list(rows)})
