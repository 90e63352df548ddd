"""What we and a platform tell each other, and every secret in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from starlette.applications import Starlette
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Fields of forms, queries and JSON whose values open something. `token` is a channel's at Google.
SECRET_FIELDS = frozenset(
    {
        "access_token",
        "clientState",
        "client_secret",
        "code",
        "code_verifier",
        "id_token",
        "refresh_token",
        "state",
        "token",
    }
)
SHORTEST_SECRET = 12


@dataclass
class Overheard:
    """Stands between a platform and whoever calls it; *secrets* are named by what they are, and a number."""

    secrets: dict[str, str] = field(default_factory=dict)

    def listen(self, app: Starlette) -> Starlette:
        """Hear everything that is said to *app*, and what it says; its control API is no part of it."""
        app.add_middleware(_Ear, tell=self._tell)
        return app

    def of(self, name: str) -> list[str]:
        """Return every value of one field, in the order in which they were first heard."""
        return [value for key, value in self.secrets.items() if key.rpartition(" ")[0] == name]

    def _tell(self, name: str, value: str) -> None:
        if len(value) >= SHORTEST_SECRET and value not in self.secrets.values():
            self.secrets[f"{name} {len(self.secrets)}"] = value


class _Ear:
    def __init__(self, app: ASGIApp, tell: Callable[[str, str], None]) -> None:
        self._app = app
        self._tell = tell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/_emulator"):
            await self._app(scope, receive, send)
            return
        told, said = bytearray(), bytearray()
        headers = dict(scope["headers"])

        async def heard() -> Message:
            message = await receive()
            told.extend(message.get("body", b""))
            return message

        async def saying(message: Message) -> None:
            said.extend(message.get("body", b""))
            for name, value in message.get("headers", ()):
                if name.lower() == b"location":
                    self._note(_pairs(urlsplit(value.decode()).query))
            await send(message)

        await self._app(scope, heard, saying)
        scheme, _, token = headers.get(b"authorization", b"").decode().partition(" ")
        if scheme.lower() == "bearer":
            self._tell("access_token", token)
        self._note(_pairs(scope["query_string"].decode()))
        for body in (bytes(told), bytes(said)):
            self._note(_fields(body))

    def _note(self, pairs: Iterator[tuple[str, object]]) -> None:
        for name, value in pairs:
            if name in SECRET_FIELDS and isinstance(value, str):
                self._tell(name, value)


def _pairs(text: str) -> Iterator[tuple[str, object]]:
    yield from parse_qsl(text)


def _fields(body: bytes) -> Iterator[tuple[str, object]]:
    """Walk through the fields of a JSON document, else of a form."""
    found: Any = None
    with suppress(ValueError):
        found = json.loads(body)
    if found is None:
        yield from _pairs(body.decode("utf-8", "replace"))
        return
    waiting = [found]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield from one.items()
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
