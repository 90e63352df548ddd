"""A BotProvider in memory: one bot per slot, moved in place, with states and failures on order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from models.domain.bots import BotState, Operation, Seat, Standing, Step
from worker.errors import AlreadyGone, Reaction, Refused, TooLate, TryLater
from worker.ports import FoundBot


@dataclass(slots=True)
class FakeBot:
    """A bot at the fake provider."""

    bot_id: str
    slot_id: UUID | None
    install_id: UUID | None
    meeting_url: str
    join_at: datetime
    config: dict[str, Any]
    digest: bytes | None
    state: BotState = BotState.SCHEDULED

    def standing(self) -> Standing:
        return Standing(self.bot_id, self.state, self.join_at, self.digest)


@dataclass(slots=True)
class FakeBotProvider:
    """
    Bots that move only when told: by steps, or by `bots[...].state`.

    `fail` raises once before a step does anything, `lose_answer` once after it was carried out.
    `steps` is every step that was carried out. A repeat under the same key does nothing again.
    """

    now: Callable[[], datetime]
    bots: dict[str, FakeBot] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    _answers: dict[UUID, Standing] = field(default_factory=dict)
    _failures: list[Reaction] = field(default_factory=list)
    _losses: int = 0
    _made: int = 0

    @property
    def live(self) -> list[FakeBot]:
        return [bot for bot in self.bots.values() if not bot.state.is_over]

    def fail(self, *reactions: Reaction) -> None:
        """Raise these, one a call, before anything happens."""
        self._failures.extend(reactions)

    def lose_answer(self, times: int = 1) -> None:
        """Carry out the next steps, but let nobody know."""
        self._losses += times

    def move(self, bot_id: str, join_at: datetime) -> None:
        """Have somebody else move a bot; the seat it was given stays written on it."""
        self.bots[bot_id].join_at = join_at

    def put_foreign(self, *, join_at: datetime, meeting_url: str = "https://zoom.us/j/1") -> FakeBot:
        """Have a bot that somebody else made."""
        return self._make(None, None, meeting_url, join_at, {}, None)

    def next_step(self, seat: Seat | None, standing: Standing, *, now: datetime) -> Step | None:
        del now
        bot_id = standing.bot_id
        if standing.state.is_over:
            return None
        if bot_id is None:
            return Step(Operation.CREATE, seat=seat, standing=standing) if seat else None
        if standing.state.is_dispatched:
            return None if seat else Step(Operation.LEAVE, standing=standing, bot_id=bot_id)
        if seat is None:
            return Step(Operation.DELETE, standing=standing, bot_id=bot_id)
        if standing.digest == seat.digest:
            return None
        return Step(Operation.CHANGE, seat=seat, standing=standing, bot_id=bot_id)

    def carry_out(self, step: Step, *, key: UUID) -> Standing:
        self.calls.append(step.name)
        if self._failures:
            raise self._failures.pop(0)
        if key not in self._answers:
            self._answers[key] = self._carried_out(step)
            self.steps.append(step)
        if self._losses:
            self._losses -= 1
            msg = f"{step.operation}: the answer was lost"
            raise TryLater(msg)
        return self._answers[key]

    def look(self, slot_id: UUID, seat: Seat | None, standing: Standing) -> Standing:
        self.calls.append("look")
        known = self.bots.get(standing.bot_id or "")
        if known is not None:
            return self._seen(known, seat)
        found = [bot for bot in self.live if bot.slot_id == slot_id]
        digest = seat.digest if seat else None
        best = max(found, key=lambda bot: bot.digest == digest, default=None)
        return self._seen(best, seat) if best else Standing()

    def state_of(self, code: str) -> BotState | None:
        """Translate nothing: the fake speaks of its bots as we do."""
        try:
            return BotState(code)
        except ValueError:
            return None

    def ours(self, install_id: UUID, *, since: datetime) -> Iterator[FoundBot]:
        self.calls.append("ours")
        for bot in self.live:
            if bot.install_id == install_id and (bot.join_at >= since or bot.state.is_dispatched):
                yield FoundBot(bot.bot_id, str(bot.slot_id), bot.join_at, str(bot.state))

    def _seen(self, bot: FakeBot, seat: Seat | None) -> Standing:
        is_moved = seat is not None and seat.join_at > self.now() and bot.join_at != seat.join_at
        return replace(bot.standing(), digest=None) if is_moved else bot.standing()

    def _carried_out(self, step: Step) -> Standing:
        if step.operation is Operation.CREATE and step.seat is not None:
            seat = step.seat
            return self._make(
                seat.slot_id,
                seat.install_id,
                seat.meeting_url,
                max(seat.join_at, self.now()),
                seat.config,
                seat.digest,
            ).standing()
        bot = self.bots.get(step.bot_id or "")
        if step.operation is Operation.LEAVE:
            return self._left(bot)
        if bot is None:
            if step.operation is Operation.DELETE:
                return Standing()
            msg = f"bot {step.bot_id} is not there"
            raise AlreadyGone(msg)
        if bot.state is not BotState.SCHEDULED:
            msg = f"bot {bot.bot_id} has been dispatched"
            raise TooLate(msg)
        if step.operation is Operation.DELETE:
            del self.bots[bot.bot_id]
            return Standing()
        if step.operation is Operation.CHANGE and step.seat is not None:
            bot.meeting_url, bot.config = step.seat.meeting_url, step.seat.config
            bot.join_at, bot.digest = max(step.seat.join_at, self.now()), step.seat.digest
            return bot.standing()
        msg = f"{step.name} is no step of these bots"
        raise Refused(msg)

    def _left(self, bot: FakeBot | None) -> Standing:
        if bot is None:
            return Standing(state=BotState.CANCELLED)
        if not bot.state.is_over:
            bot.state = BotState.DONE
        return Standing(bot.bot_id, BotState.CANCELLED, bot.join_at, bot.digest)

    def _make(
        self,
        slot_id: UUID | None,
        install_id: UUID | None,
        meeting_url: str,
        join_at: datetime,
        config: dict[str, Any],
        digest: bytes | None,
    ) -> FakeBot:
        self._made += 1
        bot = FakeBot(f"bot-{self._made}", slot_id, install_id, meeting_url, join_at, config, digest)
        self.bots[bot.bot_id] = bot
        return bot
