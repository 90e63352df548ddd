"""What the tests of hostile answers share: a world whose Recall says what it is told, rows, pages, bots."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text

from models.domain.bots import Operation, Seat, Step
from models.domain.times import rfc3339
from models.tables.due import table_of
from models.tables.installation import Source
from tests.contracts.bots import NOON, a_seat
from tests.fakes import FakeAllowance
from tests.providers.recall.answering import Line, Say, answering, http
from tests.providers.recall.test_rows import ROW
from tests.worker.world import World
from worker import http as door
from worker.http import build_client
from worker.ports import BotProvider
from worker.providers.recall import ManagedBots, RecallClient, RecallSource, SelfManagedBots
from worker.turns import Outcome

SOURCES = table_of(Source)
KEY = UUID(int=1)
API_KEY = "very-secret-api-key"
LATER = "2026-11-23T09:00:00Z"


@contextmanager
def calling(line: Line, allowance: FakeAllowance | None = None) -> Iterator[RecallClient]:
    with build_client() as client:
        yield RecallClient(
            base_url=line.url, api_key=API_KEY, http=client, allowance=allowance or FakeAllowance()
        )


@contextmanager
def recall_says(world: World, *says: Say) -> Iterator[Line]:
    """Let the world's Recall be one that says this."""
    with answering(*says) as line, calling(line) as client:
        source = RecallSource(client, email_of=lambda _: "anna@acme.test")
        object.__setattr__(world.rt, "recall", source)
        object.__setattr__(world.rt, "bots", SelfManagedBots(client, now=lambda: world.at))
        yield line


def a_row(ref: str = "event-1", **changes: Any) -> dict[str, Any]:
    """Write a row of Anna's calendar, changed a moment ago."""
    changed_at = rfc3339(datetime.now(UTC))
    return {**ROW, "id": ref, "calendar_id": "cal-anna", "updated_at": changed_at, **changes}


def a_page(*rows: object, following: object = None, head: tuple[str, ...] = ()) -> bytes:
    return http(200, {"next": following, "previous": None, "results": list(rows)}, *head)


def list_anew(world: World) -> Outcome:
    """Have somebody ask for Anna's calendar, and list."""
    world.notify()
    world.wait_out()
    return world.list_changes()


def quarantined(world: World) -> list[str]:
    with world.db.begin() as tx:
        return list(tx.execute(text("SELECT reason FROM quarantined_events")).scalars())


AHEAD = {"start_time": "2026-11-24T12:00:00Z", "end_time": "2026-11-24T13:00:00Z"}
BOMB = gzip.compress(b"\0" * (door.LARGEST_BODY_BYTES + 1), mtime=0)


def a_bot(seat: Seat, **changes: object) -> dict[str, object]:
    marks = {"punctual_slot": str(seat.slot_id), "punctual_install": str(seat.install_id)}
    return {"id": "b1", "join_at": rfc3339(seat.join_at), "status_changes": [], "metadata": marks} | (
        changes
    )


def an_event_with(seat: Seat, **changes: object) -> dict[str, object]:
    return {
        "id": "e1",
        "bots": [{"bot_id": "b1", "deduplication_key": seat.dedup_key, **changes}],
    }


SEAT = a_seat("e1")
OTHERS = a_seat(slot_id=UUID(int=77))


KINDS: dict[str, tuple[Step, int]] = {
    "self-managed": (Step(Operation.CREATE, seat=SEAT), 0),
    "managed": (Step(Operation.ATTACH, seat=SEAT, event="e1"), 1),
}


def provider_of(client: RecallClient, kind: str) -> BotProvider:
    build = ManagedBots if kind == "managed" else SelfManagedBots
    return build(client, now=lambda: NOON)
