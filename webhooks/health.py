"""
Is this process alive, and can it do its work? `/healthz` for restarting, `/readyz` for routing to it.

A slow or silent worker shows on `/readyz` but does not fail it: taking the receiver out of service
as well would only make that worse.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from http import HTTPStatus

import structlog
from sqlalchemy import func, select, text
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from models.schema import current_revision, newest_revision
from models.tables.installation import Heartbeat
from webhooks.metrics import QUERY_TIMEOUT_MS, oldest_due_by_kind
from webhooks.problems import problem
from worker.runtime import Runtime

log = structlog.get_logger(__name__)

#: Reads the migrations from disk, and they do not change under a running process.
_newest_revision = cache(newest_revision)


def health_routes(rt: Runtime, *, is_writing: Callable[[], bool]) -> list[Route]:
    """Return the routes that say how we are; *is_writing* whether the receiver can store deliveries."""

    async def alive(_request: Request) -> Response:
        # Not in a thread: all of those may be waiting for a database that hangs.
        return JSONResponse({"status": "ok"})

    def ready(_request: Request) -> Response:
        try:
            return _readiness(rt, is_writing=is_writing())
        except SQLAlchemyError as failure:
            log.warning("not_ready", error=type(failure).__name__)
            return _not_ready("database_unavailable", "the database does not answer")

    return [Route("/healthz", alive, methods=["GET"]), Route("/readyz", ready, methods=["GET"])]


def _readiness(rt: Runtime, *, is_writing: bool) -> Response:
    with rt.db.begin() as tx:
        tx.execute(text(f"SET LOCAL statement_timeout = {QUERY_TIMEOUT_MS}"))
        found, expected = current_revision(tx), _newest_revision()
        # A later revision is fine: migrations only add until no old process is left.
        if found is None or found < expected:
            return _not_ready(
                "schema_outdated",
                f"the schema is at {found}, this version needs {expected}: punctual migrate",
            )
        due = oldest_due_by_kind(tx)
        silence = tx.execute(
            select(func.extract("epoch", func.clock_timestamp() - func.max(Heartbeat.seen_at)))
        ).scalar_one()
    if not is_writing:
        return _not_ready("receiver_stopped", "the receiver has stopped storing notifications")
    return JSONResponse(
        {
            "status": "ok",
            "schema": found,
            "due_oldest_seconds": {kind: round(seconds, 3) for kind, seconds in due.items()},
            "worker_seen_seconds_ago": None if silence is None else round(float(silence), 3),
        }
    )


def _not_ready(code: str, detail: str) -> Response:
    response = problem(HTTPStatus.SERVICE_UNAVAILABLE, code=code, detail=detail)
    response.headers["Retry-After"] = "1"
    return response
