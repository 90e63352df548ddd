"""
(g) What one notification costs while the number of calendars grows: rows touched, time, memory, plans.

The tables are filled as they are after some weeks: five coming meetings a calendar, one of them with
a bot, its deliveries done, its trail and domain events written. Then one change is notified, listed,
settled, its bot moved and its domain events numbered, with the real use-cases and fakes at the ports.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any
from uuid import uuid4

from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import make_url

from models.db import driver_url, make_engine
from models.schema import migrate
from models.sealing import Vault
from tests.bench.memory import Memory
from tests.bench.outcome import Demand, Measured, be_quiet
from tests.builders import RECORD_ALL, an_event, an_installation
from tests.worker.world import World
from webhooks.arrivals import Arrival, Ask, Inbox
from worker import jobs, outbox
from worker.reconciling import reconcile
from worker.upkeep import Upkeep

SIZES = (100, 10_000, 100_000)
REPEATS = 20
#: So many calendars come by the real way and are changed; the others are only there.
REAL = REPEATS + 2
EACH = 5
#: From here on the planner's own choice counts.
ALL_MATTERS_FROM = 50_000
#: Tables with a row for each calendar, meeting, change or notification: these grow.
GROWING = (
    *("calendars", "calendar_events", "slots", "wants", "provider_bots"),
    *("deliveries", "trail", "subjects", "outbox", "postings", "attempts", "sync_runs"),
)
_FILL = (
    """
    INSERT INTO calendars (id, source, external_id, platform, email, status, needs_check, needs_full,
        last_full_at, last_synced_at, checked_at, wanted, done)
    SELECT gen_random_uuid(), 'recall', 'cal-' || n, 'google_calendar', 'person' || n || '@example.com',
        'connected', false, false, now() - random() * interval '20 hours', now(), now(), 50, 50
    FROM generate_series(1, :size) AS n
    """,
    """
    INSERT INTO calendar_events (id, calendar_id, external_id, ical_uid, title, start_at, end_at, all_day,
        attendees, is_organizer, is_private, status, deleted, meeting_platform, meeting_url, link_key,
        provider_updated_at, content_hash, "fetch", is_wanted, reason, unsettled)
    SELECT gen_random_uuid(), c.id, c.external_id || '-' || e, c.external_id || e, 'Meeting',
        at, at + interval '1 hour', false, '[]', true, false, 'confirmed', false, 'google_meet', 'sealed',
        'meet.google.com/' || c.external_id, now() - random() * interval '20 days', 'hash', 1, e = 1,
        CASE WHEN e = 1 THEN 'recorded' ELSE 'not_selected' END, false
    FROM calendars AS c, generate_series(1, :each) AS e,
        LATERAL (SELECT now() + random() * interval '28 days' AS at WHERE e IS NOT NULL) AS starts
    WHERE substr(c.external_id, 5)::int > :real
    """,
    """
    INSERT INTO slots (id, key, link_key, meeting_platform, meeting_url, start_at, ends_at, join_at, config,
        seat_hash, bot_id, bot_hash, bot_join_at, bot_state, wanted, done)
    SELECT gen_random_uuid(), link_key || ' ' || id, link_key, 'google_meet', 'sealed', start_at, end_at,
        start_at, '{}', 'hash', 'bot-of-' || id, 'hash', start_at, 'scheduled', 3, 3
    FROM calendar_events WHERE is_wanted
    """,
    """
    INSERT INTO wants (event_id, slot_id)
    SELECT e.id, s.id FROM calendar_events AS e JOIN slots AS s ON s.bot_id = 'bot-of-' || e.id
    """,
    """
    INSERT INTO provider_bots (id, slot_id, origin, state)
    SELECT bot_id, id, 'created', 'scheduled' FROM slots
    """,
    """
    INSERT INTO deliveries (id, source, message_id, type, ref, body, received_at, state, run_id, done_at)
    SELECT gen_random_uuid(), 'recall', 'msg_' || external_id || n, 'calendar.sync_events', external_id,
        'body', now() - random() * interval '10 days', 'done', gen_random_uuid(), now()
    FROM calendars, generate_series(1, 2) AS n
    """,
    """
    INSERT INTO trail (at, event_id, step, facts)
    SELECT now() - interval '20 days' * (1 - row_number() OVER () / (count(*) OVER ())::float),
        id, 'synced', '{}'
    FROM calendar_events
    """,
    "INSERT INTO subjects (name, last_sequence) SELECT 'calendar_event/' || id, 1 FROM calendar_events",
    """
    INSERT INTO outbox (id, subject, sequence, type, time, data, position, published_at)
    SELECT gen_random_uuid(), 'calendar_event/' || id, 1, 'calendar_event.created', now(), '{}',
        nextval('outbox_positions'), now()
    FROM calendar_events
    """,
    "INSERT INTO endpoints (id, url) VALUES (gen_random_uuid(), 'sealed')",
    """
    INSERT INTO postings (endpoint_id, position, event_id, subject, state)
    SELECT e.id, o.position, o.id, o.subject, 'delivered' FROM outbox AS o, endpoints AS e
    """,
    """
    INSERT INTO attempts (id, endpoint_id, event_id, type, at, status, duration_ms, succeeded)
    SELECT gen_random_uuid(), p.endpoint_id, p.event_id, 'calendar_event.created',
        now() - interval '20 days' * (1 - row_number() OVER () / (count(*) OVER ())::float), 204, 9, true
    FROM postings AS p
    """,
    """
    INSERT INTO sync_runs (id, source, scope, started_at, finished_at)
    SELECT gen_random_uuid(), 'recall', 'workspace', now() - (40000 - n) * interval '1 minute', now()
    FROM generate_series(1, 40000) AS n
    """,
)
_TOUCHED = text(
    "SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0) + n_tup_ins + n_tup_upd + n_tup_del), 0)"
    " FROM pg_stat_user_tables"
)


def measure(database_url: str, *, scale: float) -> Measured:
    """Measure each size in a process of its own, so that its memory is its own."""
    sizes = [max(50, int(size * scale)) for size in SIZES] if scale < 1 else list(SIZES)
    figures: dict[str, float] = {}
    curves: dict[str, list[tuple[float, float]]] = {"rows": [], "ms": []}
    context = multiprocessing.get_context("spawn")
    for size in sizes:
        with fresh_database(database_url) as url, context.Pool(1) as pool:
            found = pool.apply(measure_size, (url, size))
        figures |= {f"{name} at {size} calendars": value for name, value in found.items()}
        curves["rows"].append((size, found["rows touched per notification"]))
        curves["ms"].append((size, found["ms per notification"]))
    last = sizes[-1]
    figures["rows, largest / smallest"] = curves["rows"][-1][1] / curves["rows"][0][1]
    figures["ms, largest / smallest"] = curves["ms"][-1][1] / curves["ms"][0][1]
    demands = (
        Demand("rows, largest / smallest", at_most=1.5),
        Demand(f"upkeep tick ms at {last} calendars", at_most=100),
        Demand(f"searches of whole tables at {last} calendars", at_most=0),
    )
    return Measured("growth", figures, demands if scale >= 1 else (), curves)


def measure_size(url: str, size: int) -> dict[str, float]:
    """Fill a database with *size* calendars and measure one change in it, twenty times."""
    be_quiet()
    filled = Filled.make(url, size)
    filled.change(0)  # connections, plans and caches
    memory = Memory.watched()
    steps: dict[str, list[float]] = {}
    rows = filled.touched()
    for nth in range(1, REPEATS + 1):
        for step, seconds in filled.change(nth).items():
            steps.setdefault(step, []).append(seconds * 1000)
    rows = (filled.touched() - rows) / REPEATS
    figures = {f"{step} ms": sorted(found)[len(found) // 2] for step, found in steps.items()}
    total = sum(figures.values())
    upkeep = Upkeep(filled.world.rt)
    upkeep.tick()
    ticks = [_timed(upkeep.tick) for _ in range(5)]
    rows_before = filled.touched()
    upkeep.done_at = {"tidy": filled.world.rt.now()}
    all_duties = _timed(upkeep.tick)
    tick_rows = filled.touched() - rows_before
    figures |= {
        "rows touched per notification": rows,
        "ms per notification": total,
        "upkeep tick ms": sorted(ticks)[len(ticks) // 2] * 1000,
        "upkeep tick with all duties ms": all_duties * 1000,
        "rows touched by a tick with all duties": tick_rows,
        "memory grown MB": memory.grown_mb(),
        "searches of whole tables": float(len(filled.whole_table_searches())),
    }
    filled.close()
    return figures


@dataclass
class Filled:
    """A database with many calendars, and the verbs of one change in it."""

    world: World
    inbox: Inbox
    size: int
    statements: dict[str, Any] = field(default_factory=dict)
    loop: asyncio.Runner = field(default_factory=asyncio.Runner)

    @classmethod
    def make(cls, url: str, size: int) -> Filled:
        engine = make_engine(url, pool_size=4)
        migrate(engine)
        an_installation(engine, RECORD_ALL)
        vault = Vault([b"k" * 32])
        world = World(engine, vault, at=datetime.now(UTC))
        fill(engine, size)
        filled = cls(world, Inbox(engine, source="recall", notify=False), size)
        filled._put_real_meetings()
        event.listen(engine, "before_cursor_execute", filled._remember)
        return filled

    def _put_real_meetings(self) -> None:
        """Give the calendars that will be changed meetings that came in by the real way."""
        world = self.world
        for number in range(1, REAL + 1):
            world.source.put_calendar(f"cal-{number}")
            for at in range(1, EACH + 1):
                link = _code(number) if at == 1 else None
                start = datetime.now(UTC).replace(microsecond=0) + timedelta(days=at)
                world.put(an_event(f"event-{number}-{at}", link=link, start=start), f"cal-{number}")
            world.notify(f"cal-{number}")
        world.list_changes()
        while reconcile(world.rt) != "nothing_due":
            pass
        outbox.relay(world.rt)
        world.bell.take()

    def change(self, nth: int) -> dict[str, float]:
        """Move the meeting with a bot of one calendar; the seconds that each step took."""
        world, number = self.world, nth + 1
        start = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2, minutes=nth)
        moved = an_event(f"event-{number}-1", link=_code(number), start=start)
        world.put(moved, f"cal-{number}")
        body = b'{"event":"calendar.sync_events","data":{"calendar_id":"cal"}}'
        arrival = Arrival(
            uuid4().hex,
            body,
            "stored",
            "calendar.sync_events",
            f"cal-{number}",
            ask=Ask.SYNC,
            job=jobs.SYNC_WORKSPACE,
        )
        took = {"receive": _timed(lambda: self.loop.run(self.inbox.store([arrival])))}
        took["list and settle"] = _timed(world.list_changes)
        assert jobs.RECONCILE in {job for job, _ in world.bell.take()}, "the change rang for no bot"
        took["move the bot"] = _timed(lambda: reconcile(world.rt))
        took["number its domain events"] = _timed(lambda: outbox.relay(world.rt))
        return took

    def touched(self) -> float:
        """Count the rows that every session has read or written so far."""
        self.inbox.close()
        self.world.db.dispose()  # a session that ends reports what it did
        with self.world.db.connect() as connection:
            return float(connection.execute(_TOUCHED).scalar_one())

    def whole_table_searches(self) -> list[str]:
        """List the recurring statements that read a growing table from end to end."""
        found = []
        event.remove(self.world.db, "before_cursor_execute", self._remember)
        for statement, parameters in self.statements.items():
            with self.world.db.connect() as connection:
                if self.size < ALL_MATTERS_FROM:
                    # Where tables are small, reading them whole is right: ask whether there is a way not to.
                    connection.exec_driver_sql("SET enable_seqscan = off")
                plan = "\n".join(
                    row[0] for row in connection.exec_driver_sql(f"EXPLAIN {statement}", parameters)
                )
                connection.invalidate()
            searched = set(re.findall(r"Seq Scan on (\w+)", plan)) & set(GROWING)
            if searched:
                found.append(f"{sorted(searched)}: {' '.join(statement.split())}\n{plan}")
        return found

    def close(self) -> None:
        self.inbox.close()
        self.loop.close()
        self.world.db.dispose()

    def _remember(
        self, _conn: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool
    ) -> None:
        if re.match(r"\s*(SELECT|UPDATE|DELETE|WITH|INSERT)", statement, re.IGNORECASE):
            one = parameters[0] if many else parameters
            self.statements.setdefault(statement, one)


def fill(engine: Engine, size: int) -> None:
    """Write *size* calendars with all that belongs to them, straight into the tables."""
    with engine.begin() as tx:
        tx.execute(text("SET LOCAL statement_timeout = 0"))
        for statement in _FILL:
            values = {"size": size, "each": EACH, "real": REAL}
            tx.execute(text(statement), {k: v for k, v in values.items() if f":{k}" in statement})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("VACUUM ANALYZE"))


@contextmanager
def fresh_database(server_url: str) -> Iterator[str]:
    """Make a database of its own on a server, and drop it at the end."""
    name = f"bench_{uuid4().hex[:8]}"
    admin = create_engine(driver_url(server_url), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql(f'CREATE DATABASE "{name}"')
    yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.exec_driver_sql(f'DROP DATABASE "{name}" WITH (FORCE)')
    admin.dispose()


def _code(number: int) -> str:
    return f"abc-{''.join(chr(97 + number // 26**power % 26) for power in range(4))}-hij"


def _timed(perform: Callable[[], object]) -> float:
    began = perf_counter()
    perform()
    return perf_counter() - began
