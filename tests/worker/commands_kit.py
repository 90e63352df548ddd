"""A command line on the test database, and a small world of fakes whose use-cases fill it."""

from __future__ import annotations

import base64
import json
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import structlog
from click.testing import CliRunner, Result
from sqlalchemy import Engine, select
from sqlalchemy.dialects.postgresql import insert as upsert

from models.sealing import Vault
from models.tables import due
from models.tables.calendars import Calendar
from models.tables.events import CalendarEvent
from models.tables.inbox import Delivery
from models.tables.installation import Installation
from models.tables.slots import Slot
from tests.builders import a_calendar, an_event, an_installation
from tests.fakes.bell import FakeBell
from tests.fakes.bots import FakeBotProvider
from tests.fakes.calendars import FakeCalendarSource
from worker.cli import main
from worker.clock import utc_now
from worker.intake import take_in
from worker.publishers.webhooks import HttpPoster
from worker.reconciling import reconcile
from worker.runtime import Runtime
from worker.settings import Settings
from worker.syncing import sync_workspace

KEY = b"k" * 32
API_KEY = "an-admin-key-of-the-tests"


@dataclass(frozen=True, slots=True)
class Punctual:
    """The `punctual` command with its settings."""

    environment: dict[str, str | None]

    def run(self, *arguments: str, stdin: str | None = None, **more: str | None) -> Result:
        """Run a verb; *more* are settings without `PUNCTUAL_`."""
        changed = {f"PUNCTUAL_{name.upper()}": value for name, value in more.items()}
        runner = CliRunner(env={**self.environment, **changed})
        return runner.invoke(main, list(arguments), input=stdin)

    def json(self, *arguments: str, stdin: str | None = None, **more: str | None) -> Any:
        """Run a verb that succeeds and return the JSON it prints."""
        result = self.run(*arguments, "--json", stdin=stdin, **more)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)


@pytest.fixture
def punctual(
    db: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Punctual]:
    """The command line on an empty database, away from the settings of whoever runs the tests."""
    # Click's runner swaps the streams that a logging set-up would hold on to for ever.
    monkeypatch.setattr("worker.commands.session.set_up_logs", lambda *_args, **_kwargs: None)
    logs = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("PUNCTUAL_"):
            monkeypatch.delenv(name)
    with db.begin() as tx:
        tx.execute(
            upsert(Installation).values(id=1, install_id=uuid4(), rules={}).on_conflict_do_nothing()
        )
    yield Punctual(
        {
            "PUNCTUAL_DATABASE_URL": database_url,
            "PUNCTUAL_ENCRYPTION_KEYS": base64.b64encode(KEY).decode(),
            "PUNCTUAL_ADMIN_API_KEY": API_KEY,
        }
    )
    structlog.configure(**logs)


@dataclass(slots=True)
class World:
    """An installation with one calendar, Anna's, whose provider and bots are fakes."""

    rt: Runtime
    source: FakeCalendarSource
    bots: FakeBotProvider
    calendar_id: UUID
    start: datetime = field(
        default_factory=lambda: datetime.now(UTC).replace(microsecond=0) + timedelta(hours=3)
    )
    _messages: int = 0

    def put(self, ref: str = "event-1", **fields: Any) -> None:
        """Have an event in Anna's calendar, or change it."""
        event = an_event(ref, **{"start": self.start, **fields})
        self.source.put("cal-anna", event, updated_at=self.rt.now())

    def remove(self, ref: str = "event-1") -> None:
        """Have an event deleted from Anna's calendar."""
        self.source.remove(ref, updated_at=self.rt.now())

    def notify(
        self, kind: str = "calendar.sync_events", ref: str = "cal-anna", body: bytes = b"{}"
    ) -> str:
        """Store a notification as the receiver does; its message id is returned."""
        self._messages += 1
        message_id = f"msg_{self._messages}"
        with self.rt.db.begin() as tx:
            tx.execute(
                due.table_of(Delivery)
                .insert()
                .values(source="recall", message_id=message_id, type=kind, ref=ref, body=body)
            )
            if ref == "cal-anna":
                due.ask(tx, Calendar, [self.calendar_id], now=True)
        return message_id

    def work(self) -> None:
        """Do everything that is due, as a worker would."""
        take_in(self.rt)
        with self.rt.db.begin() as tx:
            tx.exec_driver_sql("UPDATE sources SET listed_at = NULL, due_at = now()")
        sync_workspace(self.rt)
        with self.rt.db.begin() as tx:
            slots = due.list_due(tx, Slot, limit=100)
        for _ in slots:
            reconcile(self.rt)

    def event_id(self, ref: str = "event-1") -> UUID:
        with self.rt.db.begin() as tx:
            query = select(CalendarEvent.id).where(CalendarEvent.external_id == ref)
            return tx.execute(query).scalar_one()


@pytest.fixture
def world(db: Engine, vault: Vault) -> Iterator[World]:
    """Anna's calendar, every meeting recorded."""
    poster = HttpPoster(allow_private=True)
    source, now = FakeCalendarSource(), utc_now
    bots = FakeBotProvider(now=now)
    rt = Runtime(
        settings=Settings.model_validate({"allow_private_endpoints": True}),
        db=db,
        vault=vault,
        install_id=an_installation(db),
        bell=FakeBell(),
        poster=poster,
        now=now,
        chance=_half,
        recall=source,
        bots=bots,
    )
    source.put_calendar("cal-anna", email="anna@example.com")
    yield World(rt, source, bots, a_calendar(db))
    poster.close()


_half: Callable[[], float] = lambda: 0.5  # noqa: E731  # a port, not a function of ours
