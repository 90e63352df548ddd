"""
Bots that hang on calendar events: Recall counts the events that share one, and removes it with the last.

Every wanting event is attached under the slot's one dedup key with the whole configuration. Should
Recall give an event a bot of its own all the same, that one is taken off again, and from then on one
event alone carries the slot's bot until it leaves; see DECISIONS.md, "One event carries the bot".

Source: docs.recall.ai, calendar v2 scheduling guide; schedule bot for calendar event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from models.domain.bots import Attached, BotState, Operation, Seat, Standing, Step
from models.domain.times import rfc3339
from worker.errors import AlreadyGone, Refused, TooLate
from worker.ports import Attachment, FoundBot
from worker.providers.recall.bots import Bots, RecallBot, bot_state, config_of, later_of
from worker.providers.recall.client import EVENTS, SCHEDULE, RecallClient, at, the_same
from worker.providers.recall.looking import Looking
from worker.providers.recall.reactions import unreadable
from worker.providers.recall.rows import attachments_of

log = structlog.get_logger(__name__)

#: Nearer than this a bot may be on its way before any of its states says so.
#: Source: docs.recall.ai, scheduling guide (the last ten minutes).
DISPATCHED_WITHIN = timedelta(minutes=10)


class ManagedBots:
    """The BotProvider that attaches bots to Recall's calendar events."""

    def __init__(self, client: RecallClient, *, now: Callable[[], datetime]) -> None:
        self._client = client
        self._bots = Bots(client)
        self._now = now

    def next_step(self, seat: Seat | None, standing: Standing, *, now: datetime) -> Step | None:
        """Say what to do next so that *standing* becomes *seat*; None when it already is. Pure."""
        del now  # Recall lets an event's bot be replaced until it is dispatched
        if standing.state.is_over:
            return None
        if standing.state.is_dispatched:
            if seat is None and standing.bot_id is not None:
                return Step(Operation.LEAVE, standing=standing, bot_id=standing.bot_id)
            return None
        carriers = _carriers(seat, standing)
        detach = next(_superfluous(carriers, standing), None)
        if seat is not None and (detach is None or not seat.is_unshared):
            for event in carriers:
                if not _is_seated(event, seat, standing):
                    return Step(Operation.ATTACH, seat=seat, standing=standing, event=event)
        if detach is not None:
            return Step(Operation.DETACH, seat=seat, standing=standing, event=detach.event)
        if seat is None and standing.bot_id is not None and not standing.attached:
            return Step(Operation.DELETE, standing=standing, bot_id=standing.bot_id)
        return None

    def carry_out(self, step: Step, *, key: UUID) -> Standing:
        """Take one step and return what stands now; see the port for what is raised."""
        is_far = step.is_far(self._now())
        match step:
            case Step(operation=Operation.ATTACH, seat=Seat() as seat, event=str(event)):
                return self._attach(seat, event, step.standing, key=key, is_far=is_far)
            case Step(operation=Operation.DETACH, event=str(event)):
                return self._detach(event, step.standing, key=key, is_far=is_far)
            case Step(operation=Operation.DELETE, bot_id=str(bot_id)):  # on no event we know of
                self._bots.delete(bot_id, is_far=is_far)
                return Standing()
            case Step(operation=Operation.LEAVE, bot_id=str(bot_id)):
                return self._bots.leave(bot_id, step.standing, key=key)
            case _:
                msg = f"{step.name} is no step of managed bots"
                raise Refused(msg)

    def look(self, slot_id: UUID, seat: Seat | None, standing: Standing) -> Standing:
        """
        Return what really stands for a slot, asking Recall about every event that may carry its bot.

        Recall does not tell the configuration of a bot, so no digest is known afterwards. A bot to be
        removed is looked for by its mark too: the event it hangs on may be forgotten here.
        """
        known = {entry.event: entry for entry in standing.attached}
        events = dict.fromkeys([*(seat.events if seat else ()), *known])
        looking = Looking(self._bots, slot_id, seat, standing)
        attached = [
            replace(known.get(event, Attached(event, None, None)), bot_id=bot_id, digest=None)
            for event in events
            if (bot_id := looking.bot_among(self._attachments(event)))
        ]
        bot = looking.chosen(attached) or looking.on_its_way()
        if bot is None and seat is None:
            bot = next(
                (found for found in self._bots.of_slot(slot_id) if not found.state.is_over), None
            )
        if bot is None:
            return Standing(attached=tuple(attached))
        return replace(bot.standing(), digest=None, attached=tuple(attached))

    def state_of(self, code: str) -> BotState | None:
        """Translate Recall's status code; None for one we do not know."""
        return bot_state(code)

    def ours(self, install_id: UUID, *, since: datetime) -> Iterator[FoundBot]:
        """Yield live bots that carry our installation's mark and join at or after *since*."""
        return self._bots.ours(install_id, since=since)

    def _attach(
        self, seat: Seat, event: str, standing: Standing, *, key: UUID, is_far: bool
    ) -> Standing:
        join_at = max(seat.join_at, self._now())
        try:
            reply = self._client.ask(
                "POST",
                at(EVENTS, event, "bot/"),
                operation="schedule_bot",
                budget=SCHEDULE,
                body={
                    "deduplication_key": seat.dedup_key,
                    "bot_config": {**config_of(seat), "join_at": rfc3339(join_at)},
                },
                key=key,
                is_far=is_far,
            )
        except Refused as refused:
            if self._is_deleted(event):
                msg = f"event {event} was deleted before we were told"
                raise AlreadyGone(msg) from refused
            raise
        attachments = attachments_of(the_same(reply.value, event, "schedule_bot"))
        bot_id = self._the_one(event, seat, attachments, standing, key=key)
        others = [entry for entry in standing.attached if entry.event != event]
        twin = self._twin(bot_id, seat, others)
        if twin is not None:
            self._give_up([bot_id], event, standing, key=key)
            if twin.state.is_dispatched:
                msg = f"bot {twin.bot_id} has been dispatched"
                raise TooLate(msg)
            log.warning("dedup_key_ignored", provider="recall", bot_id=twin.bot_id)
            return Standing(
                bot_id=twin.bot_id,
                state=later_of(standing.state, twin.state),
                join_at=join_at,
                digest=seat.digest,
                attached=tuple(others),
                is_unshared=True,
            )
        state = standing.state if standing.bot_id == bot_id else BotState.WANTED
        return Standing(
            bot_id=bot_id,
            state=later_of(state, BotState.SCHEDULED),
            join_at=join_at,
            digest=seat.digest,
            attached=(*others, Attached(event, bot_id, seat.digest)),
        )

    def _the_one(
        self,
        event: str,
        seat: Seat,
        attachments: tuple[Attachment, ...],
        standing: Standing,
        *,
        key: UUID,
    ) -> str:
        """
        Return the bot an event carries for a seat; of two live ones, give one up.

        There are two when the slot's earlier bot could not be replaced because it is on its way. If it
        goes to the same seat, the new one is taken off again. If the seat has moved, the earlier one
        has to leave. An event also lists its past bots.
        """
        key_by_id = {entry.bot_id: entry.dedup_key for entry in attachments}
        under_key = [bot_id for bot_id, given in key_by_id.items() if given == seat.dedup_key]
        earlier = standing.bot_id
        if len(under_key) == 1 and (earlier in under_key or earlier not in key_by_id):
            return under_key[0]
        live = [bot_id for bot_id in key_by_id if self._is_live(bot_id)]
        new = [bot_id for bot_id in live if bot_id in under_key and bot_id != earlier]
        if earlier is None or earlier not in live:
            if not new:
                unreadable("schedule_bot", "an event without our bot")
            for bot_id in new[:-1]:
                self._remove(bot_id, standing, key=key)
            return new[-1]
        if earlier not in under_key:
            if not new:
                unreadable("schedule_bot", "an event without our bot")
            self._bots.leave(earlier, standing, key=key)
            return new[-1]
        if new:
            self._give_up(new, event, standing, key=key)
            msg = f"bot {earlier} has been dispatched"
            raise TooLate(msg)
        return earlier

    def _give_up(self, bot_ids: list[str], event: str, standing: Standing, *, key: UUID) -> None:
        self._client.ask(
            "DELETE", at(EVENTS, event, "bot/"), operation="unschedule_bot", budget=SCHEDULE
        )
        for bot_id in bot_ids:
            if self._is_live(bot_id):  # so near its meeting that it set out at once
                self._bots.leave(bot_id, standing, key=key)

    def _twin(self, bot_id: str, seat: Seat, others: list[Attached]) -> RecallBot | None:
        """
        Return the live bot that another event carries for the same seat; there should be none.

        With one dedup key both events share one bot, unless the key is ignored or the bot has set out.
        """
        ids = {
            entry.bot_id: None
            for entry in others
            if entry.bot_id is not None
            and entry.digest == seat.digest
            and entry.bot_id != bot_id
            and not (entry.is_deleted or entry.is_elsewhere)
        }
        found = (self._bots.get(other) for other in ids)
        return next((bot for bot in found if bot is not None and not bot.state.is_over), None)

    def _remove(self, bot_id: str, standing: Standing, *, key: UUID) -> None:
        try:
            self._bots.delete(bot_id)
        except TooLate:
            self._bots.leave(bot_id, standing, key=key)

    def _is_live(self, bot_id: str) -> bool:
        bot = self._bots.get(bot_id)
        return bot is not None and not bot.state.is_over

    def _detach(self, event: str, standing: Standing, *, key: UUID, is_far: bool) -> Standing:
        """
        Take the bot off an event. Recall lets a dispatched one go on and says nothing.

        Raises TooLate when the bot that should be gone is not.
        """
        still_there: set[str] = set()
        try:
            reply = self._client.ask(
                "DELETE",
                at(EVENTS, event, "bot/"),
                operation="unschedule_bot",
                budget=SCHEDULE,
                is_far=is_far,
            )
            found = the_same(reply.value, event, "unschedule_bot")
            still_there = {entry.bot_id for entry in attachments_of(found)}
        except AlreadyGone:
            log.debug("event_gone_already", event=event)
        rest = tuple(entry for entry in standing.attached if entry.event != event)
        self._leave_alone(event, standing, rest, key=key)
        bots = [entry.bot_id for entry in rest if not (entry.is_deleted or entry.is_elsewhere)]
        left = [bot_id for bot_id in bots if bot_id is not None]
        if left:
            bot_id = standing.bot_id if standing.bot_id in left else left[0]
            return replace(standing, bot_id=bot_id, attached=rest)
        if standing.bot_id is not None and self._goes_on(standing, still_there):
            msg = f"bot {standing.bot_id} has been dispatched"
            raise TooLate(msg)
        return Standing(attached=rest)

    def _leave_alone(
        self, event: str, standing: Standing, rest: tuple[Attached, ...], *, key: UUID
    ) -> None:
        """Have a bot that only the detached event carried leave, if it has set out beside the slot's."""
        own = {entry.bot_id for entry in standing.attached if entry.event == event}
        own -= {None, standing.bot_id, *(entry.bot_id for entry in rest)}
        for bot_id in own:
            bot = self._bots.get(bot_id) if bot_id is not None else None
            if bot is not None and bot.state.is_dispatched:
                self._bots.leave(bot.bot_id, standing, key=key)

    def _goes_on(self, standing: Standing, still_there: set[str]) -> bool:
        is_near = standing.join_at is None or standing.join_at <= self._now() + DISPATCHED_WITHIN
        if standing.bot_id is None or not (is_near or standing.bot_id in still_there):
            return False
        return self._is_live(standing.bot_id)

    def _attachments(self, event: str) -> tuple[Attachment, ...]:
        found = self._found(event)
        return () if found is None else attachments_of(found)

    def _is_deleted(self, event: str) -> bool:
        return self._found(event) is None

    def _found(self, event: str) -> Mapping[str, object] | None:
        """Ask for an event; None when it is deleted."""
        try:
            found = self._client.item(EVENTS, event, operation="get_event")
        except AlreadyGone:
            return None
        return None if found.get("is_deleted") is True else found


def _is_seated(event: str, seat: Seat, standing: Standing) -> bool:
    return any(
        entry.event == event
        and entry.bot_id is not None
        and entry.digest == seat.digest
        and not (entry.is_deleted or entry.is_elsewhere)
        for entry in standing.attached
    )


def _carriers(seat: Seat | None, standing: Standing) -> tuple[str, ...]:
    """Return the events that are to carry the bot: all that want it, or one where none can share it."""
    if seat is None:
        return ()
    if not seat.is_unshared:
        return seat.events
    carrying = [
        entry.event
        for entry in standing.attached
        if entry.event in seat.events
        and entry.bot_id is not None
        and entry.bot_id == standing.bot_id
        and not (entry.is_deleted or entry.is_elsewhere)
    ]
    return (*carrying, *seat.events)[:1]


def _superfluous(carriers: tuple[str, ...], standing: Standing) -> Iterator[Attached]:
    """Recall itself takes the bot off a deleted event; another slot's seat replaces ours elsewhere."""
    for entry in standing.attached:
        if entry.event not in carriers and not (entry.is_deleted or entry.is_elsewhere):
            yield entry
