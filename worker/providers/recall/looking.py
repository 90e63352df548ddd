"""Which of the bots on a slot's events is the slot's: asked after a call whose outcome is unknown."""

from __future__ import annotations

from uuid import UUID

from models.domain.bots import Attached, BotState, Seat, Standing
from worker.ports import Attachment
from worker.providers.recall.bots import Bots, RecallBot


class Looking:
    """
    One look at a slot: which of the bots on its events is the slot's.

    A bot is known by its dedup key or its id. Any other is asked for its marks, so that nobody
    else's bot is taken for ours.
    """

    def __init__(self, bots: Bots, slot_id: UUID, seat: Seat | None, standing: Standing) -> None:
        self._bots = bots
        self._slot_id = str(slot_id)
        self._seat = seat
        self._latest = standing.bot_id
        self._known_ids = {standing.bot_id, *(entry.bot_id for entry in standing.attached)} - {None}
        self._seen: dict[str, RecallBot | None] = {}

    def bot_among(self, attachments: tuple[Attachment, ...]) -> str | None:
        """
        Return the slot's bot among those on one event: a live one, under the seat's key, on its way.

        One that is over counts only if it is the slot's latest; events list past bots too.
        """
        found: list[tuple[tuple[bool, bool, bool], str]] = []
        for attachment in attachments:
            bot = self._get(attachment.bot_id)
            if bot is None:
                continue
            under_key = self._seat is not None and attachment.dedup_key == self._seat.dedup_key
            is_known = bot.bot_id in self._known_ids
            if not (under_key or is_known or bot.slot_id == self._slot_id):
                continue
            is_latest = bot.bot_id == self._latest or (under_key and not is_known)
            if is_latest or not bot.state.is_over:
                rank = (not bot.state.is_over, under_key, bot.state.is_dispatched)
                found.append((rank, bot.bot_id))
        return max(found)[1] if found else None

    def chosen(self, attached: list[Attached]) -> RecallBot | None:
        """Return the bot that stands for the slot: one on its way before one that waits."""
        found = [bot for entry in attached if entry.bot_id and (bot := self._get(entry.bot_id))]
        wanted = self._seat.events if self._seat else ()
        called_for = {entry.bot_id for entry in attached if entry.event in wanted}
        return max(
            found,
            key=lambda bot: (bot.state.is_dispatched, bot.bot_id in called_for),
            default=None,
        )

    def on_its_way(self) -> RecallBot | None:
        """Return the bot we knew if it has set out: events may forget a dispatched bot."""
        bot = self._get(self._latest) if self._latest is not None else None
        return bot if bot is not None and bot.state is not BotState.SCHEDULED else None

    def _get(self, bot_id: str) -> RecallBot | None:
        if bot_id not in self._seen:
            self._seen[bot_id] = self._bots.get(bot_id)
        return self._seen[bot_id]
