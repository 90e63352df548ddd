"""
Bots that hang on Recall's calendar events where there are any, and bots of our own making elsewhere.

A meeting that only calendars we read ourselves want has no event at Recall to hang a bot on. Which of the
two a bot is stays as it is for as long as it can serve: who else joins a meeting moves no bot.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from models.domain.bots import BotState, Operation, Seat, Standing, Step
from worker.ports import BotProvider, FoundBot


class EitherBots:
    """The BotProvider of an installation whose calendars are partly at Recall."""

    def __init__(self, *, managed: BotProvider, own: BotProvider) -> None:
        self._managed = managed
        self._own = own

    def next_step(self, seat: Seat | None, standing: Standing, *, now: datetime) -> Step | None:
        """Say what to do next so that *standing* becomes *seat*; None when it already is. Pure."""
        if standing.is_own:
            return self._own.next_step(seat, standing, now=now)
        if seat is None or seat.events:
            return self._managed.next_step(seat, standing, now=now)
        if standing.state.is_over or standing.state.is_dispatched:
            return None  # it serves whoever is left
        # Nobody at Recall wants it any more: it goes, and one of our own follows.
        leaving = self._managed.next_step(None, standing, now=now)
        if leaving is None and standing.bot_id is not None:
            # What carried it was deleted, and Recall took the bot off with it; unless it has set out by now.
            leaving = Step(Operation.DELETE, standing=standing, bot_id=standing.bot_id)
        return leaving or self._own.next_step(seat, standing, now=now)

    def carry_out(self, step: Step, *, key: UUID) -> Standing:
        """Take one step and return what stands now; see the port for what is raised."""
        is_own = step.standing.is_own or step.operation in {Operation.CREATE, Operation.CHANGE}
        if not is_own:
            return self._managed.carry_out(step, key=key)
        return _as_own(self._own.carry_out(step, key=key))

    def look(self, slot_id: UUID, seat: Seat | None, standing: Standing) -> Standing:
        """Return what really stands for a slot: on its events, else by our mark."""
        if not standing.is_own:
            found = self._managed.look(slot_id, seat, standing)
            if found.bot_id is not None or found.attached:
                return found
        return _as_own(self._own.look(slot_id, seat, standing))

    def state_of(self, code: str) -> BotState | None:
        """Translate Recall's status code; None for one we do not know."""
        return self._own.state_of(code)

    def ours(self, install_id: UUID, *, since: datetime) -> Iterator[FoundBot]:
        """Yield live bots that carry our installation's mark and join at or after *since*."""
        return self._own.ours(install_id, since=since)


def _as_own(standing: Standing) -> Standing:
    return replace(standing, is_own=standing.bot_id is not None)
