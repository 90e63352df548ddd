"""A sender of signed notifications, and the runtime of a receiver that needs no provider."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx
from sqlalchemy import Engine, RowMapping, insert, select

from models.sealing import Vault
from models.tables.base import new_id
from models.tables.calendars import Calendar
from models.tables.due import table_of
from models.tables.inbox import Delivery
from worker import metrics
from worker.clock import utc_now
from worker.ports import PostAnswer
from worker.runtime import Runtime
from worker.settings import Settings

SECRET = "whsec_" + base64.b64encode(b"the secret of these tests").decode()
OTHER_SECRET = "whsec_" + base64.b64encode(b"a secret nobody has set up").decode()
PATH = "/webhooks/recall"
CALENDAR = "5f1c1d1c-0d2f-4ee2-9a2e-4f0e57a0f001"
BOT = "7a1c1d1c-0d2f-4ee2-9a2e-4f0e57a0b0b0"

_numbers = count(1)


def sync_events(calendar: object = CALENDAR, **more: object) -> bytes:
    """Write a `calendar.sync_events` as Recall does."""
    known = {"calendar_id": calendar, "last_updated_ts": "2025-01-29T23:49:58.570998+00:00"}
    return json.dumps({"event": "calendar.sync_events", "data": known | more}).encode()


def calendar_update(calendar: object = CALENDAR) -> bytes:
    """Write a `calendar.update` as Recall does."""
    return json.dumps({"event": "calendar.update", "data": {"calendar_id": calendar}}).encode()


def bot_status(code: str = "joining_call", bot: object = BOT, **status: object) -> bytes:
    """Write a bot status as Recall's API 1.11 does."""
    known = {"code": code, "sub_code": None, "updated_at": "2025-01-29T23:49:58.570998+00:00"}
    data = {"data": known | status, "bot": {"id": bot, "metadata": {}}}
    return json.dumps({"event": f"bot.{code}", "data": data}).encode()


def legacy_bot_status(code: str = "joining_call", bot: object = BOT) -> bytes:
    """Write a bot status as workspaces on API 1.10 get it."""
    status = {"code": code, "created_at": "2025-01-29T23:49:58Z", "message": None, "sub_code": None}
    return json.dumps(
        {"event": "bot.status_change", "data": {"bot_id": bot, "status": status}}
    ).encode()


def new_message_id() -> str:
    return f"msg_{next(_numbers)}_{uuid4().hex[:8]}"


def sign(body: bytes, *, message_id: str, timestamp: str, secret: str = SECRET) -> str:
    """Sign as Standard Webhooks says, any bytes and any timestamp."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


def signed_headers(
    body: bytes,
    *,
    message_id: str | None = None,
    age_s: float = 0,
    timestamp: str | None = None,
    secret: str = SECRET,
    family: str = "svix",
) -> dict[str, str]:
    """Return the three headers of a family, for a message sent *age_s* seconds ago."""
    message_id = message_id or new_message_id()
    timestamp = timestamp or str(int(time.time() - age_s))
    signature = sign(body, message_id=message_id, timestamp=timestamp, secret=secret)
    return {
        f"{family}-id": message_id,
        f"{family}-timestamp": timestamp,
        f"{family}-signature": signature,
    }


@dataclass
class Sender:
    """Posts to one receiver."""

    base_url: str
    client: httpx.Client

    def post(
        self, body: bytes, *, headers: dict[str, str] | None = None, more: dict[str, str] | None = None
    ) -> httpx.Response:
        """Post a body, signed well unless *headers* say otherwise; *more* headers come on top."""
        signed = signed_headers(body) if headers is None else headers
        return self.client.post(PATH, content=body, headers={**signed, **(more or {})})

    def say(self, raw: bytes, *, timeout_s: float = 5.0, reads: bool = True) -> bytes:
        """Send bytes as they are and return all that comes until the other side closes or is silent."""
        with self.dial() as line:
            line.settimeout(timeout_s)
            heard = b""
            try:
                line.sendall(raw)
                while reads and (more := line.recv(65536)):
                    heard += more
            except (TimeoutError, ConnectionResetError, BrokenPipeError):
                pass
            return heard

    def dial(self) -> socket.socket:
        """Open a connection."""
        parts = urlsplit(self.base_url)
        return socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=5)


def raw_post(
    body: bytes, *, headers: Sequence[str] = (), path: str = PATH, signed: bool = True
) -> bytes:
    """Write a request by hand; closes the connection afterwards."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", "Connection: close"]
    if signed:
        lines += [f"{name}: {value}" for name, value in signed_headers(body).items()]
    lines += headers
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def status_of(answer: bytes) -> int:
    """Return the status of a raw answer, 0 when there was none."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/") else 0


@dataclass
class RememberingBell:
    """A bell that remembers who rang."""

    rings: list[tuple[str, str | None]] = field(default_factory=list)

    def ring(self, job: str, row_id: str | None = None) -> None:
        self.rings.append((job, row_id))


class NoPoster:
    """Nobody is posted to here."""

    def post(self, url: str, body: bytes, *, message_id: str, secrets: Sequence[str]) -> PostAnswer:
        raise AssertionError(url, body, message_id, secrets)


def settings_with(**values: Any) -> Settings:
    """Settings of a receiver with a broker, so that rings are rung, and one secret."""
    known = {"recall_webhook_secrets": (SECRET,), "broker_url": "amqp://localhost"}
    return Settings(_env_file=None, **(known | values))


def a_runtime(
    engine: Engine,
    *,
    bell: RememberingBell | None = None,
    now: Callable[[], datetime] = utc_now,
    **settings: Any,
) -> Runtime:
    """A runtime without a provider."""
    return Runtime(
        settings=settings_with(**settings),
        db=engine,
        vault=Vault([b"k" * 32]),
        install_id=UUID(int=1),
        bell=bell or RememberingBell(),
        poster=NoPoster(),
        now=now,
        chance=random.random,
    )


def deliveries(engine: Engine) -> list[RowMapping]:
    """Return every stored delivery, in order of arrival."""
    table = table_of(Delivery)
    with engine.begin() as tx:
        return list(tx.execute(select(table).order_by(table.c.received_at, table.c.id)).mappings())


def add_calendar(engine: Engine, external_id: str = CALENDAR, **values: Any) -> UUID:
    """Follow a calendar that has nothing left to do; its id is returned."""
    calendar_id = new_id()
    known = {"needs_check": False, "needs_full": False, "status": "connected"}
    with engine.begin() as tx:
        tx.execute(
            insert(Calendar).values(
                id=calendar_id, source="recall", external_id=external_id, **(known | values)
            )
        )
    return calendar_id


def calendar(engine: Engine, calendar_id: UUID) -> RowMapping:
    """Return a calendar as stored."""
    table = table_of(Calendar)
    with engine.begin() as tx:
        return tx.execute(select(table).where(table.c.id == calendar_id)).mappings().one()


def counted(result: str) -> float:
    """Return how many deliveries had this result so far."""
    return (
        metrics.REGISTRY.get_sample_value(
            "punctual_deliveries_total", {"source": "recall", "result": result}
        )
        or 0.0
    )
