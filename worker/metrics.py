"""
The counters and histograms of this process, by their published names.

Gauges that describe the database are not kept here: `webhooks.metrics` asks for them when scraped.
With PROMETHEUS_MULTIPROC_DIR set, every process of an installation counts into one set of files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    start_http_server,
)
from prometheus_client.multiprocess import MultiProcessCollector

log = structlog.get_logger(__name__)

# A second series per counter that says when it began would double what is scraped and is never used.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no types for it

REGISTRY = CollectorRegistry()

#: From a twentieth of a second, faster than which nobody notices, to a quarter of an hour, after which
#: a bot is late whatever the meeting.
LAG_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0)
#: Answers of a receiver that commits in groups lie between one and some hundred milliseconds.
COMMIT_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
CALL_BUCKETS_S = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)
JOB_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 45.0, 300.0, 1200.0)

DELIVERIES = Counter(
    "punctual_deliveries_total",
    "Notifications received, by what became of them.",
    ("source", "result"),
    registry=REGISTRY,
)
DELIVERIES_DIFFERING = Counter(
    "punctual_deliveries_differing_total",
    "Signed notifications that repeated a known id with another body; the first was kept.",
    ("source",),
    registry=REGISTRY,
)
CALENDARS_BUSY = Counter(
    "punctual_receiver_calendars_busy_total",
    "Notifications refused for now because somebody else held their calendar locked.",
    registry=REGISTRY,
)
COMMIT_SECONDS = Histogram(
    "punctual_receiver_commit_seconds",
    "Time to commit one group of notifications.",
    buckets=COMMIT_BUCKETS_S,
    registry=REGISTRY,
)
COMMIT_DELIVERIES = Histogram(
    "punctual_receiver_commit_deliveries",
    "Notifications committed together in one group.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
    registry=REGISTRY,
)
COMMIT_FAILURES = Counter(
    "punctual_receiver_commit_failures_total",
    "Groups of notifications that could not be committed in time.",
    registry=REGISTRY,
)
REQUESTS_REFUSED = Counter(
    "punctual_http_requests_refused_total",
    "Requests refused while they were being read, by the status answered.",
    ("status",),
    registry=REGISTRY,
)

SYNC_LAG = Histogram(
    "punctual_sync_lag_seconds",
    "Time from the notification of a change to the change being stored.",
    buckets=LAG_BUCKETS_S,
    registry=REGISTRY,
)
BOT_LAG = Histogram(
    "punctual_bot_lag_seconds",
    "Time from the notification of a change to the bot being right at the provider.",
    buckets=LAG_BUCKETS_S,
    registry=REGISTRY,
)
PROVIDER_REQUESTS = Counter(
    "punctual_provider_requests_total",
    "Calls to a provider, by the status answered (or `error` when there was no answer).",
    ("provider", "operation", "status"),
    registry=REGISTRY,
)
PROVIDER_SECONDS = Histogram(
    "punctual_provider_request_seconds",
    "Time a call to a provider took, each try counted by itself.",
    ("provider", "operation"),
    buckets=CALL_BUCKETS_S,
    registry=REGISTRY,
)
JOBS_RUN = Counter(
    "punctual_jobs_total",
    "Jobs run, by how they ended.",
    ("job", "outcome"),
    registry=REGISTRY,
)
JOB_SECONDS = Histogram(
    "punctual_job_seconds",
    "Time a job ran.",
    ("job",),
    buckets=JOB_BUCKETS_S,
    registry=REGISTRY,
)
RINGS_DROPPED = Counter(
    "punctual_rings_dropped_total",
    "Doorbell rings given up because the broker did not take them; upkeep finds the work later.",
    registry=REGISTRY,
)
EVENTS_EMITTED = Counter(
    "punctual_events_emitted_total",
    "Domain events told: committed, numbered, and in the feed from then on.",
    ("type",),
    registry=REGISTRY,
)
BOT_STEPS = Counter(
    "punctual_bot_steps_total",
    "Steps taken at the provider to put a bot right, by kind and outcome.",
    ("step", "outcome"),
    registry=REGISTRY,
)
EVENTS_UNREADABLE = Counter(
    "punctual_events_unreadable_total",
    "Calendar events of a provider that could not be read and were set aside.",
    ("provider",),
    registry=REGISTRY,
)


def count_provider_request(provider: str, operation: str, status: str, seconds: float) -> None:
    """Count one call to a provider, and the time it took."""
    PROVIDER_REQUESTS.labels(provider, operation, status).inc()
    PROVIDER_SECONDS.labels(provider, operation).observe(seconds)


def gathered() -> CollectorRegistry:
    """Return what this process counts; in multi-process mode, what every process has counted."""
    registry = CollectorRegistry()
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # as above
    else:
        registry.register(REGISTRY)
        ProcessCollector(registry=registry)
    return registry


@contextmanager
def served(host: str, port: int) -> Iterator[None]:
    """
    Serve what was counted over HTTP for the length of a `with` block; port 0 serves nothing.

    A port that is taken costs the metrics, not the work.
    """
    if not port:
        yield
        return
    try:
        server, thread = start_http_server(port, host, gathered())
    except OSError as taken:
        log.error("metrics_not_served", host=host, port=port, error=str(taken))
        yield
        return
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
