"""
GET /metrics: what this process (in multi-process mode: every process) has counted, and gauges that
describe the database, asked for when scraped.

A database that does not answer in time costs those gauges, not the page.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from time import monotonic

import structlog
from prometheus_client import generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from sqlalchemy import Engine, Executable, func, literal, select, text, union_all
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from models.db import Tx
from models.tables.base import Due
from models.tables.calendars import Calendar
from models.tables.connections import Connection, PushChannel
from models.tables.due import table_of
from models.tables.installation import Source
from models.tables.outbox import Endpoint
from models.tables.slots import Slot
from worker import metrics
from worker.runtime import Runtime
from worker.views import AT_RISK

log = structlog.get_logger(__name__)

#: For each gauge; Prometheus itself waits ten seconds for all of them.
QUERY_TIMEOUT_MS = 1000
#: Scrapes closer together than this share one answer, so that asking often costs us nothing.
FRESH_S = 1.0

_DUE_KINDS: dict[str, type[Due]] = {
    "calendar": Calendar,
    "slot": Slot,
    "endpoint": Endpoint,
    "source": Source,
    "connection": Connection,
    "push_channel": PushChannel,
}


@dataclass(frozen=True, slots=True)
class Gauge:
    """A figure of the database: *query* yields rows of (label value, number), or of (number)."""

    name: str
    meaning: str
    query: Executable
    label: str | None = None


def _oldest_due() -> Executable:
    tables = {kind: table_of(row) for kind, row in _DUE_KINDS.items()}
    waited = {
        kind: func.extract("epoch", func.clock_timestamp() - func.min(table.c.due_at))
        for kind, table in tables.items()
    }
    return union_all(
        *(
            select(literal(kind), func.coalesce(waited[kind], 0)).where(
                table.c.is_pending,
                table.c.parked_at.is_(None),
                table.c.due_at <= func.clock_timestamp(),
            )
            for kind, table in tables.items()
        )
    )


def _parked() -> Executable:
    tables = {kind: table_of(row) for kind, row in _DUE_KINDS.items()}
    return union_all(
        *(
            select(literal(kind), func.count()).where(
                table.c.parked_at.is_not(None), table.c.is_pending
            )
            for kind, table in tables.items()
        )
    )


_GAUGES = (
    Gauge(
        "punctual_due_oldest_seconds",
        "How long the longest waiting due row of each kind has waited.",
        _oldest_due(),
        "kind",
    ),
    Gauge("punctual_due_parked", "Rows set aside until somebody revives them.", _parked(), "kind"),
    Gauge(
        "punctual_outbox_oldest_seconds",
        "How long the oldest domain event has waited to be numbered and, where that is on, published.",
        text(
            """
            SELECT coalesce(extract(epoch FROM clock_timestamp() - least(
                (SELECT min(created_at) FROM outbox WHERE position IS NULL),
                (SELECT min(created_at) FROM outbox WHERE published_at IS NULL AND :publishes))), 0)
            """
        ),
    ),
    Gauge(
        "punctual_postings_waiting",
        "Domain events owed to endpoints.",
        text("SELECT count(*) FROM postings WHERE state = 'waiting'"),
    ),
    Gauge(
        "punctual_bots_at_risk",
        "Wanted bots not confirmed by their provider ten minutes before their meeting.",
        text(
            """
            SELECT count(*) FROM slots
            WHERE is_wanted AND closed_at IS NULL AND join_at <= now() + :at_risk AND ends_at > now()
                AND (bot_id IS NULL AND bot_state <> 'done' OR bot_state IN ('wanted', 'cancelled', 'failed'))
            """
        ),
    ),
    Gauge(
        "punctual_inbox_deliveries",
        "Notifications nobody has acted on yet, or nobody can.",
        text(
            """
            SELECT state, (SELECT count(*) FROM deliveries WHERE deliveries.state = listed.state)
            FROM unnest(ARRAY['stored', 'quarantined', 'parked']) AS listed (state)
            """
        ),
        "state",
    ),
    Gauge(
        "punctual_calendars",
        "Calendars we follow, by the state of their connection.",
        text(
            """
            SELECT status, (SELECT count(*) FROM calendars
                            WHERE calendars.status = listed.status AND deleted_at IS NULL)
            FROM unnest(ARRAY['connecting', 'connected', 'needs_reauth', 'disconnected']) AS listed (status)
            """
        ),
        "status",
    ),
    Gauge(
        "punctual_workers_alive",
        "Workers that have finished a turn of their loop within the last minute.",
        text(
            "SELECT count(*) FROM heartbeats WHERE is_healthy AND seen_at > now() - interval '1 minute'"
        ),
    ),
)


def metrics_route(rt: Runtime) -> Route:
    """Return the route that serves the metrics."""
    registry = metrics.gathered()
    registry.register(DatabaseGauges(rt.db, publishes=rt.settings.amqp_url is not None))

    def show(_request: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    return Route("/metrics", show, methods=["GET"])


def oldest_due_by_kind(tx: Tx) -> dict[str, float]:
    """Say how many seconds the longest waiting due row of each kind has waited, 0 for none."""
    return {kind: float(seconds) for kind, seconds in tx.execute(_oldest_due())}


class DatabaseGauges(Collector):
    """Asks the database for its gauges, one short transaction each."""

    def __init__(self, engine: Engine, *, publishes: bool) -> None:
        self._engine = engine
        self._values = {"publishes": publishes, "at_risk": AT_RISK}
        self._lock = Lock()
        self._fresh_until = 0.0
        self._families: Sequence[GaugeMetricFamily] = ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield every gauge that could be read, at most one second old."""
        with self._lock:
            if monotonic() >= self._fresh_until:
                self._families = list(self._read())
                self._fresh_until = monotonic() + FRESH_S
            yield from self._families

    def describe(self) -> list[GaugeMetricFamily]:
        """Name the gauges without asking the database."""
        return [GaugeMetricFamily(gauge.name, gauge.meaning) for gauge in _GAUGES]

    def _read(self) -> Iterator[GaugeMetricFamily]:
        is_up = True
        for gauge in _GAUGES:
            if not is_up:
                break  # every further one would wait for a connection again
            try:
                yield self._read_one(gauge)
            except SQLAlchemyError as failure:
                is_up = self._answers()
                log.warning("gauge_unreadable", gauge=gauge.name, error=type(failure).__name__)
        up = GaugeMetricFamily("punctual_database_up", "Whether the database answered this scrape.")
        up.add_metric([], float(is_up))
        yield up

    def _read_one(self, gauge: Gauge) -> GaugeMetricFamily:
        family = GaugeMetricFamily(
            gauge.name, gauge.meaning, labels=[gauge.label] if gauge.label else []
        )
        with self._engine.begin() as tx:
            tx.execute(text(f"SET LOCAL statement_timeout = {QUERY_TIMEOUT_MS}"))
            for *label, number in tx.execute(gauge.query, self._values):
                family.add_metric(label, float(number))
        return family

    def _answers(self) -> bool:
        try:
            with self._engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        except SQLAlchemyError:
            return False
        return True
