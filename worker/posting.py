"""
Post what waits for one endpoint: in order per subject, subjects side by side, nothing forgotten.

Every post is recorded after it was answered, so a worker that dies in between posts again under the
same id. An endpoint that does not answer waits by itself; no other endpoint notices.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

import structlog
from sqlalchemy import RowMapping, Subquery, func, insert, null, or_, select, update
from sqlalchemy.dialects.postgresql import distinct_on

from models.db import Tx
from models.sealing import Vault, place
from models.tables import due
from models.tables.base import new_id
from models.tables.outbox import Attempt, Endpoint, EndpointSecret, OutboxEvent, Posting
from worker.jobs import POST
from worker.outbox import cloud_event
from worker.ports import PostAnswer
from worker.runtime import Runtime
from worker.turns import LeaseLost, Outcome, still_mine, take_turn

log = structlog.get_logger(__name__)

_ENDPOINTS = due.table_of(Endpoint)
_SECRETS = due.table_of(EndpointSecret)
_POSTINGS = due.table_of(Posting)
_ATTEMPTS = due.table_of(Attempt)
_OUTBOX = due.table_of(OutboxEvent)

#: The wait after each failed try; after the tenth try a posting has failed.
WAITS = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
JITTER = 0.2
DISABLED_AFTER = timedelta(days=5)
SIDE_BY_SIDE = 8
#: No round begins later than this; a round takes 15 s at most, and the soft limit is 45 s.
ROUNDS_BEGIN_WITHIN = timedelta(seconds=20)
SHORTEST_HOLD = timedelta(seconds=5)
LONGEST_HOLD = timedelta(minutes=5)
LONGEST_RETRY_AFTER = timedelta(minutes=15)
GONE = 410
#: "Slow down". Source: Standard Webhooks 1.0 (429, 502, 504); 503 says the same.
BUSY = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Target:
    """Where an endpoint is and what signs for it."""

    endpoint_id: UUID
    url: str = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)


@dataclass(slots=True)
class PostOutcome:
    """What one run for one endpoint did; *turn* says how it ended."""

    turn: Outcome = Outcome.NOTHING_DUE
    delivered: int = 0
    failed: int = 0
    rounds: int = 0
    disabled: str | None = None
    error: str | None = None


class _Owed(NamedTuple):
    position: int
    tries: int
    event: RowMapping


class _Answered(NamedTuple):
    owed: _Owed
    answer: PostAnswer

    @property
    def succeeded(self) -> bool:
        return has_succeeded(self.answer)

    @property
    def error(self) -> str:
        return self.answer.error or f"HTTP {self.answer.status}"


def post_waiting(rt: Runtime, endpoint_id: UUID | str | None = None) -> PostOutcome:
    """
    Post what waits for one endpoint, the one named or the longest overdue, for about 20 s at most.

    Only the first waiting domain event of each subject is in flight. The endpoint stays due while
    anything waits, from when its next posting may go out.
    """
    outcome = PostOutcome()
    outcome.turn = take_turn(rt, Endpoint, endpoint_id, lambda claimed: _work(rt, claimed, outcome))
    return outcome


def has_succeeded(answer: PostAnswer) -> bool:
    """Say whether the subscriber took it: any 2xx."""
    return answer.status is not None and 200 <= answer.status < 300


def open_target(tx: Tx, vault: Vault, row: RowMapping) -> Target:
    """Open an endpoint's URL and every secret of it that still signs, newest first."""
    secrets = tx.execute(
        select(_SECRETS.c.id, _SECRETS.c.secret)
        .where(
            _SECRETS.c.endpoint_id == row["id"],
            or_(_SECRETS.c.expires_at.is_(None), _SECRETS.c.expires_at > func.now()),
        )
        .order_by(_SECRETS.c.expires_at.desc().nulls_first(), _SECRETS.c.id.desc())
    ).all()
    return Target(
        row["id"],
        vault.open(row["url"], place=place("endpoints", "url", row["id"])),
        tuple(
            vault.open(sealed, place=place("endpoint_secrets", "secret", secret_id))
            for secret_id, sealed in secrets
        ),
    )


def post_one(rt: Runtime, target: Target, event: dict[str, Any]) -> PostAnswer:
    """Post one structured CloudEvent."""
    body = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
    return rt.poster.post(target.url, body, message_id=event["id"], secrets=target.secrets)


def record_attempts(
    tx: Tx, endpoint_id: UUID, tried: Sequence[tuple[UUID, str, PostAnswer]]
) -> Sequence[RowMapping]:
    """Remember what an endpoint answered to each (event id, type); the rows are returned."""
    rows = [
        {
            "id": new_id(),
            "endpoint_id": endpoint_id,
            "event_id": event_id,
            "type": event_type,
            "status": answer.status,
            "error": answer.error,
            "duration_ms": answer.duration_ms,
            "succeeded": has_succeeded(answer),
        }
        for event_id, event_type, answer in tried
    ]
    return tx.execute(insert(_ATTEMPTS).returning(_ATTEMPTS), rows).mappings().all()


def wait_after(tries: int, *, chance: float) -> timedelta | None:
    """Say how long to wait after the *tries*-th failed try (1 for the first); None when it was the last."""
    return WAITS[tries - 1] * (1 + JITTER * chance) if tries <= len(WAITS) else None


def _work(rt: Runtime, claimed: due.Claim, outcome: PostOutcome) -> None:
    began = time.monotonic()
    last_begin = began + ROUNDS_BEGIN_WITHIN.total_seconds()
    with rt.db.begin() as tx:
        endpoint = _endpoint(tx, claimed)
        target = open_target(tx, rt.vault, endpoint) if endpoint["may_post"] else None
    # One that has only failed lately is asked carefully: with one post first, then two, four, eight.
    width = SIDE_BY_SIDE if endpoint["failing_since"] is None else 1
    has_more = target is not None
    with ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="post") as pool:
        while target is not None and has_more and time.monotonic() < last_begin:
            with rt.db.begin() as tx:
                heads = _heads(tx, target.endpoint_id, limit=width)
            if not heads:
                break
            events = [cloud_event(owed.event, rt.settings.base_url) for owed in heads]
            answers = pool.map(lambda event: post_one(rt, target, event), events)
            answered = [_Answered(owed, answer) for owed, answer in zip(heads, answers, strict=True)]
            outcome.rounds += 1
            has_delivered = any(item.succeeded for item in answered)
            with rt.db.begin() as tx:
                still_mine(tx, Endpoint, claimed, has_progressed=has_delivered)
                has_more = _record(tx, target, answered, outcome, chance=rt.chance)
            width = min(width * 2, SIDE_BY_SIDE)
    with rt.db.begin() as tx:
        still_mine(tx, Endpoint, claimed)
        is_overdue = _give_back(tx, claimed, error=outcome.error or "waits for the next try")
    if is_overdue:
        rt.bell.ring(POST, str(claimed.id))
    log.info(
        "endpoint_posted",
        endpoint_id=str(claimed.id),
        delivered=outcome.delivered,
        failed=outcome.failed,
        disabled=outcome.disabled,
        duration_ms=int((time.monotonic() - began) * 1000),
    )


def _endpoint(tx: Tx, claimed: due.Claim) -> RowMapping:
    is_held = func.coalesce(_ENDPOINTS.c.held_until, func.now()) > func.now()
    may_post = (_ENDPOINTS.c.state == "active") & ~is_held
    found = (
        tx.execute(select(_ENDPOINTS, may_post.label("may_post")).where(_ENDPOINTS.c.id == claimed.id))
        .mappings()
        .one_or_none()
    )
    if found is None:
        msg = f"endpoint {claimed.id} was deleted"
        raise LeaseLost(msg)
    return found


def _firsts(endpoint_id: UUID | str) -> Subquery:
    """Select the first waiting posting of each subject."""
    return (
        select(_POSTINGS)
        .ext(distinct_on(_POSTINGS.c.subject))
        .where(_POSTINGS.c.endpoint_id == endpoint_id, _POSTINGS.c.state == "waiting")
        .order_by(_POSTINGS.c.subject, _POSTINGS.c.position)
        .subquery()
    )


def _heads(tx: Tx, endpoint_id: UUID, *, limit: int) -> list[_Owed]:
    """List what may go out now, longest overdue first."""
    firsts = _firsts(endpoint_id)
    rows = tx.execute(
        select(_OUTBOX, firsts.c.tries)
        .join(firsts, firsts.c.event_id == _OUTBOX.c.id)
        .where(firsts.c.due_at <= func.now())
        .order_by(firsts.c.due_at, firsts.c.position)
        .limit(limit)
    ).mappings()
    return [_Owed(row["position"], row["tries"], row) for row in rows]


def _record(
    tx: Tx,
    target: Target,
    answered: Sequence[_Answered],
    outcome: PostOutcome,
    *,
    chance: Callable[[], float],
) -> bool:
    """Write down a round of posts; say whether to go on with another one."""
    record_attempts(
        tx,
        target.endpoint_id,
        [(item.owed.event["id"], item.owed.event["type"], item.answer) for item in answered],
    )
    for item in answered:
        _settle(tx, target.endpoint_id, item, chance=chance())
    delivered = sum(item.succeeded for item in answered)
    outcome.delivered += delivered
    outcome.failed += len(answered) - delivered
    outcome.error = next((item.error for item in answered if not item.succeeded), None)
    failing = _remember_health(tx, target.endpoint_id, has_success=delivered > 0)
    reason = _why_disable(answered, failing)
    if reason:
        outcome.disabled = reason
        tx.execute(
            update(_ENDPOINTS)
            .where(_ENDPOINTS.c.id == target.endpoint_id)
            .values(state="disabled", state_reason=reason, updated_at=func.now())
        )
        log.warning("endpoint_disabled", endpoint_id=str(target.endpoint_id), reason=reason)
        return False
    hold = _hold(answered, failing, chance=chance())
    tx.execute(
        update(_ENDPOINTS)
        .where(_ENDPOINTS.c.id == target.endpoint_id)
        .values(held_until=None if hold is None else func.clock_timestamp() + hold)
    )
    return hold is None


def _settle(tx: Tx, endpoint_id: UUID, item: _Answered, *, chance: float) -> None:
    tries = item.owed.tries + 1
    wait = wait_after(tries, chance=chance)
    values: dict[str, Any] = {"tries": tries}
    if item.succeeded:
        values["state"] = "delivered"
    elif wait is None:
        values["state"] = "failed"
        log.error(
            "posting_failed",
            endpoint_id=str(endpoint_id),
            event_id=str(item.owed.event["id"]),
            tries=tries,
        )
    else:
        values["due_at"] = func.clock_timestamp() + wait
    tx.execute(
        update(_POSTINGS)
        .where(
            _POSTINGS.c.endpoint_id == endpoint_id,
            _POSTINGS.c.position == item.owed.position,
            # Replayed while it was in flight: then it goes out once more.
            _POSTINGS.c.state == "waiting",
            _POSTINGS.c.tries == item.owed.tries,
        )
        .values(values)
    )


def _remember_health(tx: Tx, endpoint_id: UUID, *, has_success: bool) -> timedelta:
    """Note since when the endpoint only fails, and return for how long that is."""
    since = null() if has_success else func.coalesce(_ENDPOINTS.c.failing_since, func.now())
    failing: timedelta | None = tx.execute(
        update(_ENDPOINTS)
        .where(_ENDPOINTS.c.id == endpoint_id)
        .values(failing_since=since)
        .returning(func.clock_timestamp() - _ENDPOINTS.c.failing_since)
    ).scalar()
    return failing or timedelta()


def _why_disable(answered: Sequence[_Answered], failing: timedelta) -> str | None:
    if any(item.answer.status == GONE for item in answered):
        return "the endpoint answered 410 Gone"
    if failing >= DISABLED_AFTER:
        return f"nothing but failures for {DISABLED_AFTER.days} days"
    return None


def _hold(answered: Sequence[_Answered], failing: timedelta, *, chance: float) -> timedelta | None:
    """Say how long to leave the endpoint alone; None when there is no need to."""
    is_silent = all(item.answer.status is None for item in answered)
    busy = [item.answer for item in answered if item.answer.status in BUSY]
    if not busy and not is_silent:
        return None
    own = min(max(failing / 4, SHORTEST_HOLD), LONGEST_HOLD) * (1 + JITTER * chance)
    hints = [timedelta(seconds=min(answer.retry_after_s or 0, 1e6)) for answer in busy]
    return max(own, min(max(hints, default=timedelta()), LONGEST_RETRY_AFTER))


def _give_back(tx: Tx, claimed: due.Claim, *, error: str) -> bool:
    """Finish, or put off until the next posting may go out; say whether that is now."""
    firsts = _firsts(claimed.id)
    wait: timedelta | None = tx.execute(
        select(
            func.min(func.greatest(firsts.c.due_at, _ENDPOINTS.c.held_until)) - func.clock_timestamp()
        )
        .join_from(firsts, _ENDPOINTS, firsts.c.endpoint_id == _ENDPOINTS.c.id)
        .where(_ENDPOINTS.c.state == "active")
    ).scalar()
    if wait is None:
        due.finish(tx, Endpoint, claimed)
        return False
    after = max(wait, timedelta())
    due.put_off(tx, Endpoint, claimed, after=after, error=error, counts=False)
    return not after
