"""One seed's story in worlds with connected accounts."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import httpx
from pydantic import SecretStr
from sqlalchemy import RowMapping, text

from tests.fakes import FakeAuthority
from tests.simulation.accounts.author import AccountsAuthor
from tests.simulation.accounts.doors import Door, SimulatedAccounts, SimulatedAuthority
from tests.simulation.accounts.judging import AccountInvariants
from tests.simulation.accounts.people import Holder, a_holder
from tests.simulation.accounts.pushes import Pushes
from tests.simulation.database import Database
from tests.simulation.simulation import Simulation, Story
from tests.simulation.turns import Turn
from worker import channels
from worker.providers.recall import EitherBots, ManagedBots, SelfManagedBots
from worker.runtime import Runtime
from worker.syncing import sync_calendar

#: A consent that was taken back is known at the latest when a token has ended and a look was due.
KNOWN_WITHIN = timedelta(minutes=135)
#: Channels are renewed in time without anybody's doing, and what nobody told of is found: half the
#: life of the longest, and a day; upkeep looks at least four times in the life of each.
A_QUIET_WHILE = timedelta(days=5)
A_QUIET_DAY = timedelta(hours=27)
SELDOM = timedelta(hours=11)

_LIVE = text(
    "SELECT id, status, refresh_token FROM connections WHERE platform = :platform"
    " AND account = :account AND deleted_at IS NULL"
)


class AccountsSimulation(Simulation):
    """The parts of one story whose users have connected their accounts, and its course."""

    author: AccountsAuthor
    invariants: AccountInvariants

    def __init__(self, story: Story, database: Database, *, keep_trace: bool = False) -> None:
        super().__init__(story, database, keep_trace=keep_trace)
        chance = random.Random(f"accounts of {story.seed}")
        self._calendar_count = chance.choice((0, 1, 1, 2))
        self._page_size = chance.choice((1, 2, 50))
        self._may_keep_quiet = chance.random() < 0.7
        self._is_strict = chance.random() < 0.6
        self._life = timedelta(seconds=chance.choice((3599, 3599, 300)))
        self._access_outlives = chance.random() < 0.5
        self._longest_channel = chance.choice((None, None, timedelta(hours=7)))
        self._numbers = 0
        self.is_patient_no_more = False
        first = chance.choice(("google", "microsoft"))
        second = "microsoft" if first == "google" else "google"
        self.holders = [
            a_holder(platform, number, page_size=self._page_size, may_keep_quiet=self._may_keep_quiet)
            for number, platform in enumerate((first, second, first)[: chance.randint(1, 3)])
        ]
        self.authorities: dict[str, SimulatedAuthority] = {}

    # What others ask of it

    def new_number(self) -> int:
        self._numbers += 1
        return self._numbers

    def let_pass(self, seconds: float) -> None:
        """Let time pass, in the middle of what somebody outside does."""
        self._run_for(seconds)

    def holder_of(self, platform: str, account: str) -> Holder:
        return next(
            one for one in self.holders if (one.platform, one.account.id) == (platform, account)
        )

    def is_connected(self, holder: Holder) -> bool:
        """Say whether an account is connected, and its consent good."""
        authority = self.authorities[holder.platform]
        return any(
            row["status"] == "connected" and authority.is_alive(self.invariants.opened(row))
            for row in self._rows(holder)
        )

    def connections_of(self, holder: Holder) -> list[UUID]:
        return [row["id"] for row in self._rows(holder)]

    def _rows(self, holder: Holder) -> list[RowMapping]:
        who = {"platform": holder.platform, "account": holder.account.id}
        with self.database.engine.begin() as tx:
            return list(tx.execute(_LIVE, who).mappings())

    # What these worlds have otherwise

    def _judge(self) -> AccountInvariants:
        return AccountInvariants(self)

    def _somebody(self) -> AccountsAuthor:
        return AccountsAuthor(self, self._calendar_count)

    def _runtime(self, install_id: UUID, http: httpx.Client) -> Runtime:
        settings = self.settings = self.settings.model_copy(
            update={
                "google_client_id": "client-1",
                "google_client_secret": SecretStr("secret-1"),
                "microsoft_client_id": "client-2",
                "microsoft_client_secret": SecretStr("secret-2"),
            }
        )
        rt = super()._runtime(install_id, http)
        bots = rt.bots
        if isinstance(bots, ManagedBots):
            bots = EitherBots(managed=bots, own=SelfManagedBots(bots._client, now=self.now))
        holders = {holder.account.id: holder for holder in self.holders}
        accounts: dict[str, SimulatedAccounts] = {}
        for platform in ("google", "microsoft"):
            is_microsoft = platform == "microsoft"
            fake = FakeAuthority(rotates=is_microsoft, is_strict=self._is_strict, life=self._life)
            self.authorities[platform] = SimulatedAuthority(
                Door(self, platform),
                fake,
                holders,
                access_outlives_consent=is_microsoft and self._access_outlives,
            )
            accounts[platform] = SimulatedAccounts(
                self.authorities[platform].door,
                self.authorities[platform],
                may_keep_quiet=is_microsoft and self._may_keep_quiet,
                longest_life=self._longest_channel,
            )
        self.pushes = Pushes(self)
        return replace(
            rt, settings=settings, bots=bots, authorities=self.authorities, accounts=accounts
        )

    def _be_established(self) -> None:
        super()._be_established()
        self.decisions.is_quiet = True
        for holder in self.holders:
            self.author.reconnect(holder)
        for query, work in (
            ("SELECT id FROM calendars WHERE connection_id IS NOT NULL ORDER BY id", sync_calendar),
            ("SELECT id FROM push_channels ORDER BY id", channels.keep_channel),
        ):
            with self.database.engine.begin() as tx:
                ids = tx.execute(text(query)).scalars().all()
            for row_id in ids:
                work(self.rt, row_id)
        self.decisions.is_quiet = False

    def _look_after(self, turn: Turn) -> None:
        if turn.is_over:
            self.invariants.turn_ended(turn)
        super()._look_after(turn)

    def _settle(self) -> timedelta:
        for authority in self.authorities.values():
            authority.door.open()
        return super()._settle()

    def _go_further(self) -> None:
        if self.decisions.value("lose a consent") < 0.4:
            self._lose_a_consent()
        if self.decisions.value("quiet while") < 0.15:
            self._be_quiet_for_days()

    def _tidy_up(self) -> None:
        super()._tidy_up()
        self.pushes.close()

    def _lose_a_consent(self) -> None:
        """I15: a consent is taken back and nothing else goes wrong: two calls, one word, no bot less."""
        connected = [holder for holder in self.holders if holder.wants_us and holder.chosen]
        if not connected:
            return
        holder = connected[int(self.decisions.value("whose consent") * len(connected))]
        authority = self.authorities[holder.platform]
        (connection_id,) = self.connections_of(holder)
        words, refusals = self._words_of_loss(), authority.fake.refused
        self._be_idle_for(timedelta(seconds=120))
        authority.take_back(holder)
        self.note(f"the consent of {holder.email} is taken back")
        began_at = self.now()
        while self.is_thought_connected(connection_id):
            if self.now() - began_at > KNOWN_WITHIN:
                self.violated("I15 a consent that was taken back goes unnoticed")
            self._run_for(60)
        self._run_for(120)
        if self._words_of_loss() - words != len(holder.chosen):
            told = self._words_of_loss() - words
            self.violated(f"I15 {told} words of a loss that concerns {len(holder.chosen)} calendars")
        if authority.fake.refused - refusals != 2:
            self.violated(f"a dead token was sent {authority.fake.refused - refusals} times, not twice")
        if odd := self.author.amiss(self.now()):
            self.violated(f"I15 after a consent was lost: {odd}")
        self.author.reconnect(holder)
        super()._settle()

    def _be_quiet_for_days(self) -> None:
        """L2: nothing goes wrong and nobody tells: every calendar keeps a channel that lives."""
        for holder in self.holders:
            holder.calendars.quiet.clear()
        life = self._longest_channel
        self._be_idle_for(SELDOM if life is None else life / 4)
        self._run_for((A_QUIET_WHILE if life is None else A_QUIET_DAY).total_seconds())
        self.is_patient_no_more = True
        for holder in self.holders:
            holder.calendars.end_channels(self.now())
            for calendar in holder.chosen if holder.wants_us else ():
                if not holder.calendars.telling(calendar):
                    self.violated(f"no channel of {holder.email}/{calendar} is alive")
        self._be_idle_for(timedelta(seconds=120))
        super()._settle()

    def is_thought_connected(self, connection_id: UUID) -> bool:
        with self.database.engine.begin() as tx:
            status = tx.execute(
                text("SELECT status FROM connections WHERE id = :id"), {"id": connection_id}
            )
            return bool(status.scalar_one() == "connected")

    def _words_of_loss(self) -> int:
        with self.database.engine.begin() as tx:
            query = "SELECT count(*) FROM outbox WHERE type = 'calendar.needs_reauth'"
            return int(tx.execute(text(query)).scalar_one())
