"""One seed's story: a worker and its world, what goes wrong, and how it ends."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
from sqlalchemy import text

from models.tables import due
from models.tables.base import new_id
from models.tables.calendars import Calendar
from tests.simulation.author import Author, Edit
from tests.simulation.clockwork import wound
from tests.simulation.database import Database
from tests.simulation.decisions import Decisions
from tests.simulation.invariants import Invariants
from tests.simulation.ports import SimulatedBell, SimulatedPoster, SimulatedPublisher
from tests.simulation.provider import Provider
from tests.simulation.scheduler import WORKERS, Scheduler, Violation
from tests.simulation.watching import watched
from tests.simulation.worlds import HOOKS, a_runtime, a_workspace, some_settings
from webhooks.arrivals import Inbox
from worker import endpoints
from worker.http import build_client
from worker.runtime import Runtime
from worker.sandbox.recall import calendars
from worker.sandbox.recall.clock import Clock
from worker.sandbox.recall.outgoing import Endpoint as WebhookEndpoint

START = datetime(2026, 11, 2, 6, 0, tzinfo=UTC)
#: Faults over and all webhooks lost, everything is right again within an hour (design, liveness).
CONVERGED_WITHIN = timedelta(minutes=66)
#: An endpoint that failed is asked again after up to a day (contract, section 5).
POSTED_WITHIN = timedelta(days=4)
#: Days in which nothing happens are all alike: upkeep looks at most so often between two edits.
MOST_LOOKS = 2


@dataclass(frozen=True, slots=True)
class Story:
    """
    What is to be run: a seed, which of its edits, and which faults (None: as chance has it).

    *worlds* names the family of worlds that the seed chooses one of.
    """

    seed: int
    edits: tuple[Edit, ...]
    faults: Mapping[str, str] | None = None
    worlds: str = "recall"


@dataclass(slots=True)
class Outcome:
    """How a story ended."""

    seed: int
    violation: str | None
    faults: Mapping[str, str]
    days: float
    steps: int
    turns: int
    converged_after: timedelta = timedelta(0)
    edits: int = 0
    trace: Sequence[str] = ()


class Simulation(Scheduler):
    """The parts of one story, and its course; whoever inherits tells one of other worlds."""

    author: Author

    def __init__(self, story: Story, database: Database, *, keep_trace: bool = False) -> None:
        chance = random.Random(f"kind of {story.seed}")
        clock = Clock(at=START)
        ws = a_workspace(chance, clock, story.seed)
        decisions = Decisions(story.seed, story.faults)
        super().__init__(decisions, database, clock, ws, keep_trace=keep_trace)
        self.story = story
        self.rate = chance.choice((0.0, 0.002, 0.006, 0.012, 0.02))
        self._shortest_idle = timedelta(seconds=chance.choice((7_200, 43_200, 86_400)))
        self.settings = some_settings(chance)
        self._is_new = chance.random() < 0.2
        self._calendar_count = chance.randint(2, 4)
        self._inbox = Inbox(database.receiver, source="recall", notify=False)
        database.now = self.now
        self.invariants = self._judge()

    def run(self) -> Outcome:
        """Play the story to its end or to the first violation."""
        converged_after = timedelta(0)
        self.database.empty()
        with (
            wound(self.now, self.wait, lambda size: self.decisions.entropy("entropy", size)),
            watched(self),
        ):
            try:
                self._set_up()
                for edit in self.story.edits:
                    self.idle = max(self._shortest_idle, timedelta(seconds=edit.pause_s / MOST_LOOKS))
                    self._run_for(edit.pause_s)
                    self.note(str(edit))
                    self.author.make(edit)
                    self.rouse()
                self._run_for(self.decisions.between("last pause", 0, 120))
                converged_after = self._settle()
                self._look_twice()
                self._probe()
                self._go_further()
                self._drain()
                self.invariants.at_rest()
            except Violation as violation:
                self.violation = self.violation or str(violation)
            finally:
                self._clear_stage()
                self._tidy_up()
        return Outcome(
            seed=self.story.seed,
            violation=self.violation,
            faults=dict(self.decisions.taken),
            days=(self.now() - START) / timedelta(days=1),
            steps=self.steps,
            turns=self.turn_count,
            converged_after=converged_after,
            edits=len(self.story.edits),
            trace=tuple(self.trace or ()),
        )

    def _set_up(self) -> None:
        self.provider = Provider(self, self._inbox)
        http = build_client(transport=self.provider)
        self.bell = SimulatedBell(self)
        self.publisher = SimulatedPublisher(self)
        self.poster = SimulatedPoster(self)
        self.rt = self._runtime(self._installed(), http)
        endpoints.create(self.rt, "https://sink.example/in")
        self._workers = [self._a_worker(number) for number in range(WORKERS)]
        self.author = self._somebody()
        if not self._is_new:
            self._be_established()
        self._tick()
        self._run_for(5)

    # What other worlds have otherwise

    def _judge(self) -> Invariants:
        return Invariants(self)

    def _somebody(self) -> Author:
        return Author(self, self._calendar_count)

    def _runtime(self, install_id: UUID, http: httpx.Client) -> Runtime:
        return a_runtime(self, install_id, http)

    def _go_further(self) -> None:
        """Nothing more is to be shown in worlds like these."""

    def _tidy_up(self) -> None:
        self._inbox.close()
        self.provider.end()

    # The course of a story

    def _installed(self) -> UUID:
        """Be an installation that records everything."""
        install_id = UUID(bytes=self.decisions.entropy("entropy", 16), version=4)
        with self.database.engine.begin() as tx:
            tx.execute(
                text("INSERT INTO installation (id, install_id, rules) VALUES (1, :id, :rules)"),
                {"id": install_id, "rules": '{"select": ["all"]}'},
            )
        return install_id

    def _be_established(self) -> None:
        """Begin where the calendars have been followed for a while; the first sync costs its time."""
        self._hooks(None)
        for calendar in self.author.calendars:
            calendars.connect_now(self.ws, calendar)
        self._hooks(HOOKS)
        with self.database.engine.begin() as tx:
            for calendar in self.author.calendars:
                tx.execute(
                    text(
                        "INSERT INTO calendars (id, source, external_id, platform, email, status,"
                        " needs_check, needs_full, last_full_at, last_synced_at, checked_at) VALUES"
                        " (:id, 'recall', :ref, :platform, :email, 'connected', false, false, now(), now(),"
                        " now())"
                    ),
                    {
                        "id": new_id(),
                        "ref": calendar.id,
                        "platform": calendar.platform,
                        "email": calendar.platform_email,
                    },
                )
            tx.execute(
                text("INSERT INTO sources (name, cursor_at, listed_at) VALUES ('recall', now(), now())")
            )

    def _hooks(self, url: str | None) -> None:
        self.ws.outgoing.configure(WebhookEndpoint(url=url))

    def _settle(self) -> timedelta:
        """Let nothing go wrong any more; everything comes right by itself within an hour."""
        self.decisions.is_quiet = True
        self.provider.recover()
        self.author.heal()
        self._be_idle_for(timedelta(seconds=120))
        self.note("faults are over")
        began_at = self.now()
        while self.now() - began_at < CONVERGED_WITHIN:
            self._run_for(15)
            if self._amiss() is None:
                return self.now() - began_at
        self.violated(f"I1 an hour after the last fault: {self._amiss()}")
        raise AssertionError

    def _amiss(self) -> str | None:
        """Say what is not as it should be, bots first."""
        return (
            self.author.amiss(self.now())
            or self.invariants.unrest()
            or self.invariants.odd_event()
            or self.invariants.odd_word()
            or self.invariants.set_aside()
            or next((f"{turn.name} is under way" for turn in self._running), None)
            or ("a request is on its way" if self.provider.ghosts else None)
        )

    def _look_twice(self) -> None:
        """I5: a complete look at everything, when nothing has changed, changes and says nothing."""
        if self.decisions.value("look twice") > 0.4:
            return
        said, did = self._said(), self._did()
        with self.database.engine.begin() as tx:
            ids = (
                tx.execute(text("UPDATE calendars SET needs_full = true RETURNING id")).scalars().all()
            )
            due.ask(tx, Calendar, ids)
        ends_at = self.now() + timedelta(seconds=40)
        near = [
            copy for copy in self.author.copies.values() if copy.end <= ends_at or copy.start <= ends_at
        ]
        self._run_for(40)
        if any(copy.end > ends_at - timedelta(minutes=2) for copy in near):
            return  # a meeting began or ended meanwhile, which is news of its own
        if self._said() != said:
            self.violated("I5 a second look at the same state was told about")
        if self._did() != did:
            self.violated("I5 a second look at the same state changed something at the provider")

    def _probe(self) -> None:
        """L3: kill a worker at some commit of its, and see that its work is taken up in time."""
        if self.decisions.value("probe") > 0.4:
            return
        self._be_idle_for(timedelta(seconds=2))
        self._lost_claims.clear()
        self._crash_after_commits = 1 + int(self.decisions.value("probe at") * 14)
        self.author.make(Edit(-1, "create", 0, (0.1, self.decisions.value("probe"), 0.2, 0.9)))
        self._run_for(50)
        if self._lost_claims:
            self._run_for(31)  # the crash may have come late
        if self._crash_after_commits == 0 and self._lost_claims:
            self.violated(f"L3 {min(self._lost_claims)[0]} was not taken up after a crash")
        self._lost_claims.clear()
        self._crash_after_commits = None
        self._settle()

    def _drain(self) -> None:
        """An endpoint that did not answer is asked again much later."""
        began_at = self.now()
        self._be_idle_for(timedelta(hours=1))
        while self.now() - began_at < POSTED_WITHIN:
            if self.invariants.unrest(posts=True) is None:
                return
            self._run_for(600)
        self.violated(f"L5 still waiting after four days: {self.invariants.unrest(posts=True)}")

    def _said(self) -> int:
        with self.database.engine.begin() as tx:
            return int(tx.execute(text("SELECT count(*) FROM outbox")).scalar_one())

    def _did(self) -> int:
        counts = self.ws.history.requests
        return sum(
            number
            for (operation, _), number in counts.items()
            if not operation.endswith(("_list", "_retrieve"))
        )

    def endpoint_failed(self) -> bool:
        with self.database.engine.begin() as tx:
            return bool(
                tx.execute(
                    text(
                        "SELECT 1 FROM postings WHERE state = 'failed'"
                        " UNION ALL SELECT 1 FROM endpoints WHERE state <> 'active'"
                    )
                ).first()
            )
