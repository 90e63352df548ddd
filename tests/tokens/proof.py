"""
The two forms of the proof: in peace, and with workers killed all the time.

Each has a database, a server and accounts of its own.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime

import psycopg

from models.tables.due import LEASE
from tests.faults.fault import Ground, Result
from tests.system.rig import until
from tests.tokens.crew import Crew
from tests.tokens.people import REDIRECT_URI, connect_people, settings_for
from tests.tokens.server import AuthorityServer, Manners
from tests.tokens.verdict import Ending, Seen, judge_calm, judge_killed
from tests.tokens.worker import ROVING, Post
from worker.bootstrap import build
from worker.clock import utc_now

#: What a dead worker held is free after its lease; then come two refusals, and the time they take.
SETTLED_WITHIN_S = LEASE.total_seconds() + 30
#: How often roving hands use each connection; tokens live for two seconds.
USES_PER_SECOND = 2.0

_ENDINGS = """
SELECT connections.account, connections.status, connections.generation,
       (SELECT count(*) FROM outbox JOIN calendars ON outbox.subject = 'calendar/' || calendars.id
         WHERE calendars.connection_id = connections.id AND outbox.type = 'calendar.needs_reauth'),
       connections.parked_at IS NOT NULL
  FROM connections ORDER BY connections.account
"""
_UNSETTLED = """
SELECT account FROM connections
 WHERE status = 'connected' AND coalesce(refreshed_at, '-infinity') < %s ORDER BY account
"""


@dataclass(frozen=True)
class Size:
    """How much of it, how often a worker is killed on average, and how long a refresh takes at most."""

    workers: int = 20
    connections: int = 50
    seconds: float = 60.0
    kill_every_s: float = 0.3
    slowest_ms: int = 80


def in_peace(ground: Ground, size: Size) -> Result:
    """Have workers use tokens for a while."""

    def pass_time(_crew: Crew, _server: AuthorityServer) -> list[str]:
        time.sleep(size.seconds)
        return []

    return _prove(ground, size, pass_time, judge_calm)


def with_kills(ground: Ground, size: Size) -> Result:
    """
    Have workers use tokens and be killed; afterwards every consent is good again, or known to be lost.

    In the *short* form of a ground all are killed in the end, while somebody's token has just been
    replaced, and nobody waits for the leases of the dead.
    """

    def pass_time(crew: Crew, server: AuthorityServer) -> list[str]:
        crew.keep_killing(size.seconds, every_s=size.kill_every_s)
        if ground.short:
            _await_replaced(server)
            crew.kill_all()
            _end_leases(crew.post.database_url)
            crew.fill()
        return _settle(crew.post.database_url)

    return _prove(ground, size, pass_time, judge_killed)


def _prove(
    ground: Ground,
    size: Size,
    pass_time: Callable[[Crew, AuthorityServer], list[str]],
    judge: Callable[[Seen], Result],
) -> Result:
    folder, database_url = ground.folder, ground.fresh_database()
    folder.mkdir(parents=True, exist_ok=True)
    with AuthorityServer.running(folder, Manners(REDIRECT_URI, slowest_ms=size.slowest_ms)) as server:
        with closing(build(settings_for(database_url, server.url))) as built:
            connections = connect_people(built.runtime, size.connections)
        post = Post(database_url, server.url, folder, tuple(connections), rest_s=_rest_s(size))
        crew = Crew(post, size.workers, random.Random(ground.seed))
        with crew.working():
            unsettled = pass_time(crew, server)
            crew.stop()
        seen = Seen(
            records=server.records(),
            notes=post.noted(),
            endings=_endings(database_url),
            seconds=size.seconds,
            kills=crew.kills,
            deaths=crew.deaths,
        )
    result = judge(seen)
    if unsettled:
        remark = f"{len(unsettled)} not settled in time, such as {unsettled[0]}"
        return Result(False, result.figures, "; ".join(filter(None, [remark, result.remarks])))
    return result


def _rest_s(size: Size) -> float:
    """Return how long a roving hand rests, so that together they use each connection often enough."""
    return ROVING * size.workers / (USES_PER_SECOND * size.connections)


def _await_replaced(server: AuthorityServer) -> None:
    """Wait until the server has replaced a token and not said so yet."""
    known = _count_replaced(server)
    until(lambda: _count_replaced(server) > known, within=30)


def _count_replaced(server: AuthorityServer) -> int:
    return sum(record["kind"] == "replaced" for record in server.records())


def _settle(database_url: str) -> list[str]:
    """Wait until every consent has been used again or is known to be lost; return those that are not."""
    since = utc_now()
    end = time.monotonic() + SETTLED_WITHIN_S
    while (unsettled := _unsettled(database_url, since)) and time.monotonic() < end:
        time.sleep(0.2)
    return unsettled


def _unsettled(database_url: str, since: datetime) -> list[str]:
    with psycopg.connect(database_url, connect_timeout=10) as connection:
        return [row[0] for row in connection.execute(_UNSETTLED, (since,)).fetchall()]


def _end_leases(database_url: str) -> None:
    """End what the dead have held; the database alone knows them."""
    with psycopg.connect(database_url, connect_timeout=10) as connection:
        connection.execute("UPDATE connections SET lease_until = NULL")


def _endings(database_url: str) -> list[Ending]:
    with psycopg.connect(database_url, connect_timeout=10) as connection:
        return [Ending(*row) for row in connection.execute(_ENDINGS).fetchall()]
