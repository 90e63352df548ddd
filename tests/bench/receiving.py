"""(a) The receiver, beside the same server storing nothing, and beside one commit per request."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from uuid import uuid4

from sqlalchemy import insert

from models.db import make_engine
from models.schema import migrate
from models.tables.base import new_id
from models.tables.calendars import Calendar
from models.tables.due import table_of
from tests.bench.load import Load, Sent, send
from tests.bench.outcome import Demand, Measured
from tests.bench.receivers import KINDS, SECRET, served

CONNECTIONS = (1, 16, 64, 256)
RATES = (250, 500, 1_000, 2_000, 4_000)
CALENDARS = 1_000
ROUND_S, WARM_UP_S, STEADY_S = 3.0, 0.7, 6.0
ROUNDS = 3


def measure(database_url: str, *, scale: float) -> Measured:
    """
    Compare the kinds of receiver, in interleaved rounds of one run; medians of the rounds count.

    Every notification is another message and speaks of another one of a thousand followed calendars.
    """
    calendars = _follow_calendars(database_url, max(10, int(CALENDARS * scale)))
    is_whole = scale >= 1
    rounds, seconds = (ROUNDS, ROUND_S) if is_whole else (1, max(0.3, ROUND_S * scale))
    found: dict[tuple[str, int], list[tuple[Sent, float]]] = defaultdict(list)
    for _ in range(rounds):
        for connections in CONNECTIONS if scale >= 0.1 else (16,):
            for kind in KINDS:
                one = _load(database_url, kind, calendars, connections, seconds)
                found[kind, connections].append(one)
    figures, curves = _compared(found)
    rates = RATES if is_whole else (500,) if scale >= 0.1 else (200,)
    points: dict[str, list[tuple[float, float]]] = {"p50": [], "p99": []}
    for rate in rates:
        with served("durable", database_url) as serving:
            steady = STEADY_S if is_whole else seconds
            if steady > WARM_UP_S:
                send(Load(serving.url, SECRET, calendars, 64, WARM_UP_S, rate))
            sent = send(Load(serving.url, SECRET, calendars, 64, steady, rate))
        points["p50"].append((rate, sent.quantile_ms(0.5)))
        points["p99"].append((rate, sent.quantile_ms(0.99)))
        figures[f"p50 ms at {rate}/s"] = sent.quantile_ms(0.5)
        figures[f"p99 ms at {rate}/s"] = sent.quantile_ms(0.99)
        figures[f"accepted share at {rate}/s"] = sent.accepted / sum(sent.statuses.values())
    curves |= {f"open loop {name}": those for name, those in points.items()}
    return Measured("receiver", figures, _demands() if is_whole else (), curves)


def _demands() -> Sequence[Demand]:
    return (
        Demand("durable / verify_only at 64", at_least=0.6),
        Demand("durable / commit_each at 64", at_least=3.0),
        Demand("p99 ms at 500/s", at_most=20.0),
        Demand("accepted share at 500/s", at_least=1.0),
    )


def _load(
    database_url: str, kind: str, calendars: Sequence[str], connections: int, seconds: float
) -> tuple[Sent, float]:
    with served(kind, database_url) as serving:
        if seconds > WARM_UP_S:
            send(Load(serving.url, SECRET, calendars, connections, WARM_UP_S))
        before = serving.cpu_s()
        sent = send(Load(serving.url, SECRET, calendars, connections, seconds))
        return sent, serving.cpu_s() - before


def _compared(
    found: dict[tuple[str, int], list[tuple[Sent, float]]],
) -> tuple[dict[str, float], dict[str, list[tuple[float, float]]]]:
    figures: dict[str, float] = {}
    curves: dict[str, list[tuple[float, float]]] = {f"{kind} p99": [] for kind in KINDS}
    rate: dict[tuple[str, int], float] = {}
    for (kind, connections), rounds in found.items():
        rate[kind, connections] = statistics.median(sent.per_second for sent, _ in rounds)
        p99 = statistics.median(sent.quantile_ms(0.99) for sent, _ in rounds)
        cpu = statistics.median(cpu_s / sent.accepted * 1e6 for sent, cpu_s in rounds)
        figures[f"{kind}/s at {connections}"] = rate[kind, connections]
        figures[f"{kind} p99 ms at {connections}"] = p99
        figures[f"{kind} server CPU us at {connections}"] = cpu
        curves[f"{kind} p99"].append((rate[kind, connections], p99))
    for connections in sorted({connections for _, connections in found}):
        durable = rate["durable", connections]
        figures[f"durable / verify_only at {connections}"] = durable / rate["verify_only", connections]
        figures[f"durable / commit_each at {connections}"] = durable / rate["commit_each", connections]
    return figures, curves


def _follow_calendars(database_url: str, count: int) -> list[str]:
    refs = [str(uuid4()) for _ in range(count)]
    engine = make_engine(database_url)
    migrate(engine)
    with engine.begin() as tx:
        tx.execute(
            insert(table_of(Calendar)),
            [
                {
                    "id": new_id(),
                    "source": "recall",
                    "external_id": ref,
                    "status": "connected",
                    "needs_check": False,
                    "needs_full": False,
                }
                for ref in refs
            ],
        )
    engine.dispose()
    return refs
