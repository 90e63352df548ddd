"""
Bots that we create, move and delete ourselves; Recall's calendar knows nothing of them.

Source: docs.recall.ai, creating and scheduling bots; Recall's OpenAPI, bot endpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from models.domain.bots import BotState, Operation, Seat, Standing, Step
from models.domain.times import rfc3339
from worker.errors import AlreadyGone, Refused, TooLate
from worker.ports import FoundBot
from worker.providers.recall.bots import (
    SEAT,
    Bots,
    RecallBot,
    bot_state,
    config_of,
    read_bot,
)
from worker.providers.recall.client import (
    BOTS,
    CREATE,
    OTHER,
    RecallClient,
    an_object,
    at,
    the_same,
)
from worker.providers.recall.reactions import RefusedBy, unreadable

#: Nearer than this a bot is not changed but made anew: Recall may not apply the change any more.
CHANGEABLE_UNTIL = timedelta(minutes=10)

#: A bot that joins so much earlier or later than it was told to was moved by somebody else.
ON_TIME = timedelta(seconds=60)
#: Which options a bot was given. A change cannot take one away, so then the bot is made anew.
OPTIONS = "punctual_options"


class SelfManagedBots:
    """The BotProvider that uses Recall's bot endpoints."""

    def __init__(self, client: RecallClient, *, now: Callable[[], datetime]) -> None:
        self._client = client
        self._bots = Bots(client)
        self._now = now

    def next_step(self, seat: Seat | None, standing: Standing, *, now: datetime) -> Step | None:
        """Say what to do next so that *standing* becomes *seat*; None when it already is. Pure."""
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
        changeable = standing.join_at is not None and all(
            instant > now + CHANGEABLE_UNTIL for instant in (standing.join_at, seat.join_at)
        )
        operation = Operation.CHANGE if changeable else Operation.DELETE
        return Step(operation, seat=seat, standing=standing, bot_id=bot_id)

    def carry_out(self, step: Step, *, key: UUID) -> Standing:
        """Take one step and return what stands now; see the port for what is raised."""
        is_far = step.is_far(self._now())
        match step:
            case Step(operation=Operation.CREATE, seat=Seat() as seat):
                return self._create(seat, key=key, is_far=is_far)
            case Step(operation=Operation.CHANGE, seat=Seat() as seat, bot_id=str(bot_id)):
                return self._change(bot_id, seat, key=key, is_far=is_far)
            case Step(operation=Operation.DELETE, bot_id=str(bot_id)):
                return self._delete(bot_id, is_far=is_far)
            case Step(operation=Operation.LEAVE, bot_id=str(bot_id)):
                return self._bots.leave(bot_id, step.standing, key=key)
            case _:
                msg = f"{step.name} is no step of self-managed bots"
                raise Refused(msg)

    def look(self, slot_id: UUID, seat: Seat | None, standing: Standing) -> Standing:
        """
        Return what really stands for a slot, asking Recall for its bot, else for bots marked with it.

        Where several are found, one is kept and the sweep of `ours` finds the others.
        """
        if standing.bot_id is not None:
            bot = self._bots.get(standing.bot_id)
            if bot is not None:
                return self._seen(bot, seat)
        digest = seat.digest if seat else None
        found = [
            bot
            for bot in self._bots.of_slot(slot_id)
            if bot.install_id in {None, str(seat.install_id) if seat else bot.install_id}
            and (not bot.state.is_over or (digest is not None and bot.digest == digest))
        ]
        best = max(found, key=lambda bot: _preference(bot, digest), default=None)
        return self._seen(best, seat) if best else Standing()

    def state_of(self, code: str) -> BotState | None:
        """Translate Recall's status code; None for one we do not know."""
        return bot_state(code)

    def ours(self, install_id: UUID, *, since: datetime) -> Iterator[FoundBot]:
        """Yield live bots that carry our installation's mark and join at or after *since*."""
        return self._bots.ours(install_id, since=since)

    def _seen(self, bot: RecallBot, seat: Seat | None) -> Standing:
        """
        Read what stands, asked outside of a call; of one that somebody moved the mark says nothing.

        A meeting that has begun is joined at once, whenever that is.
        """
        standing = bot.standing()
        if seat is None or bot.join_at is None or seat.join_at <= self._now():
            return standing
        is_moved = abs(bot.join_at - seat.join_at) > ON_TIME
        return replace(standing, digest=None) if is_moved else standing

    def _create(self, seat: Seat, *, key: UUID, is_far: bool) -> Standing:
        operation = "create_bot"
        reply = self._client.ask(
            "POST",
            BOTS,
            operation=operation,
            budget=CREATE,
            body=self._told(seat),
            key=key,
            may_repeat=False,  # whoever repeats it looks first, should the key mean nothing
            is_far=is_far,
        )
        bot = read_bot(an_object(reply.value, operation))
        if bot is None:
            unreadable(operation, "a bot without an id")
        if bot.slot_id not in {None, str(seat.slot_id)}:
            unreadable(operation, "about another slot's bot")
        return _seated(bot, seat)

    def _change(self, bot_id: str, seat: Seat, *, key: UUID, is_far: bool) -> Standing:
        """
        Change a bot that waits; where that cannot be done, delete it: the next step makes it anew.

        Recall refuses a join time that is too near (`update_bot_failed`).
        """
        bot = self._bots.get(bot_id)
        if bot is None:
            return Standing()
        if bot.state.is_over:
            return bot.standing()
        if bot.state.is_dispatched:
            msg = f"bot {bot_id} has been dispatched"
            raise TooLate(msg)
        if not _options(bot) <= set(seat.config):
            return self._delete(bot_id, is_far=is_far)
        try:
            reply = self._client.ask(
                "PATCH",
                at(BOTS, bot_id),
                operation="update_bot",
                budget=OTHER,
                body=self._told(seat),
                key=key,
                is_far=is_far,
            )
        except AlreadyGone:
            return Standing()
        except RefusedBy as refused:
            if refused.code != "update_bot_failed":
                raise
            return self._delete(bot_id, is_far=is_far)
        changed = read_bot(the_same(reply.value, bot_id, "update_bot"))
        return _seated(changed or bot, seat)

    def _delete(self, bot_id: str, *, is_far: bool) -> Standing:
        self._bots.delete(bot_id, is_far=is_far)
        return Standing()

    def _told(self, seat: Seat) -> dict[str, object]:
        """
        Write a seat for Recall. Without a join time a bot joins at once, which is right for a meeting
        that has begun.
        """
        marks = {SEAT: seat.digest.hex(), OPTIONS: ",".join(sorted(seat.config))}
        config = config_of(seat, **marks)
        if seat.join_at > self._now():
            config["join_at"] = rfc3339(seat.join_at)
        return config


def _seated(bot: RecallBot, seat: Seat) -> Standing:
    """
    Read what stands after a call for *seat*.

    A repeated call is answered with what the first one did, and that may have been for another seat:
    the mark on the bot says for which.
    """
    state = bot.state if bot.state is not BotState.WANTED else BotState.SCHEDULED
    return Standing(
        bot_id=bot.bot_id,
        state=state,
        join_at=bot.join_at or seat.join_at,
        digest=bot.digest or seat.digest,
    )


def _preference(bot: RecallBot, digest: bytes | None) -> tuple[bool, bool, bool, str]:
    """A bot in a call is not given up for one that waits; then the right seat; then the oldest name."""
    is_right = digest is not None and bot.digest == digest
    return (bot.state.is_dispatched, is_right, not bot.state.is_over, bot.bot_id)


def _options(bot: RecallBot) -> set[str]:
    told = bot.metadata.get(OPTIONS)
    return {name for name in told.split(",") if name} if isinstance(told, str) else set()
