"""
What both modes share about Recall's bots: their states, our marks on them, and the calls on one bot.

Our marks are metadata: which installation made the bot, for which slot, as which seat. They come back
on the bot and in every webhook about it. A bot without our marks is never touched.

Source: docs.recall.ai, custom metadata, bot status change events, creating and scheduling bots.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog

from models.domain.bots import BotState, Seat, Standing, may_follow
from models.domain.times import rfc3339
from worker.errors import AlreadyGone, TryLater
from worker.http import Params
from worker.ports import FoundBot
from worker.providers.payloads.fields import instant_at
from worker.providers.recall.client import BOTS, CREATE, OTHER, RecallClient, at
from worker.providers.recall.reading import id_at, newest_last, objects_at

log = structlog.get_logger(__name__)

SLOT, INSTALL, SEAT = "punctual_slot", "punctual_install", "punctual_seat"
LONGEST_NAME_CHARS = 100  # Recall's OpenAPI, Bot.bot_name

_STATE_BY_CODE = {
    "ready": BotState.SCHEDULED,
    "joining_call": BotState.JOINING,
    "in_waiting_room": BotState.JOINING,
    "in_call_not_recording": BotState.IN_CALL,
    "in_call_recording": BotState.IN_CALL,
    "recording_permission_allowed": BotState.IN_CALL,
    "recording_permission_denied": BotState.IN_CALL,
    "recording_done": BotState.DONE,
    "call_ended": BotState.DONE,
    "done": BotState.DONE,
    "media_expired": BotState.DONE,
    "analysis_done": BotState.DONE,
    "analysis_failed": BotState.DONE,
    "fatal": BotState.FAILED,
}
_UNDERWAY = tuple(code for code, state in _STATE_BY_CODE.items() if state.is_dispatched)


def bot_state(code: str) -> BotState | None:
    """
    Translate Recall's status code; None for one we do not know, which is no news then.

    Source: docs.recall.ai, bot status change events (codes may be added without notice).
    """
    return _STATE_BY_CODE.get(code)


@dataclass(frozen=True, slots=True)
class RecallBot:
    """A bot as Recall describes it, with the marks that say whose it is."""

    bot_id: str
    slot_id: str | None
    install_id: str | None
    digest: bytes | None
    join_at: datetime | None
    state: BotState
    metadata: Mapping[str, object]

    def standing(self) -> Standing:
        return Standing(bot_id=self.bot_id, state=self.state, join_at=self.join_at, digest=self.digest)


class Bots:
    """Calls on single bots, and the list of ours."""

    def __init__(self, client: RecallClient) -> None:
        self._client = client

    def get(self, bot_id: str) -> RecallBot | None:
        """Return a bot, None when Recall does not know it."""
        try:
            found = self._client.item(BOTS, bot_id, operation="get_bot")
        except AlreadyGone:
            return None
        return read_bot(found)

    def delete(self, bot_id: str, *, is_far: bool = False) -> None:
        """Delete a bot that waits; one that is gone is fine. Raises TooLate when it does not wait."""
        try:
            self._client.ask(
                "DELETE", at(BOTS, bot_id), operation="delete_bot", budget=OTHER, is_far=is_far
            )
        except AlreadyGone:
            log.debug("bot_gone_already", bot_id=bot_id)

    def leave(self, bot_id: str, standing: Standing, *, key: UUID) -> Standing:
        """Make a bot leave its call; one that has left already is fine. It cannot be undone."""
        try:
            self._client.ask(
                "POST",
                at(BOTS, bot_id, "leave_call/"),
                operation="leave_call",
                budget=OTHER,
                key=key,
            )
        except AlreadyGone:
            log.debug("bot_left_already", bot_id=bot_id)
        except TryLater as later:
            if not (later.is_definite and later.counts):
                raise
            # It was not done because the bot has not set out after all: then it can be deleted.
            self.delete(bot_id)
        return Standing(
            bot_id=bot_id,
            state=BotState.CANCELLED,
            join_at=standing.join_at,
            digest=standing.digest,
            attached=standing.attached,
        )

    def marked(self, params: Params, *, operation: str, is_far: bool = False) -> Iterator[RecallBot]:
        """Yield the bots of a listing that carry any mark of ours; the caller checks which."""
        pages = self._client.pages(
            BOTS, operation=operation, budget=CREATE, params=params, is_far=is_far
        )
        for rows, _ in pages:
            for row in rows:
                bot = read_bot(row) if isinstance(row, dict) else None
                if bot is not None and bot.slot_id is not None:
                    yield bot

    def of_slot(self, slot_id: UUID) -> Iterator[RecallBot]:
        """Yield the bots marked with a slot, past ones too."""
        own = str(slot_id)
        for bot in self.marked({f"metadata__{SLOT}": own}, operation="find_bot"):
            if bot.slot_id == own:
                yield bot

    def ours(self, install_id: UUID, *, since: datetime) -> Iterator[FoundBot]:
        """
        Yield live bots of one installation that join at or after *since*, or are in a call.

        Filters are applied again here: one that Recall does not know may be ignored.

        Source: Recall's OpenAPI, list bots; recallai/sample-apps, bot_delete_scheduled_bots
        (`metadata__<key>`).
        """
        own = str(install_id)
        mark = {f"metadata__{INSTALL}": own}
        seen: set[str] = set()
        # A bot that has set out has no join time any more, so a listing by join time leaves it out.
        for params in ({"join_at_after": rfc3339(since)}, {"status": list(_UNDERWAY)}):
            for bot in self.marked({**mark, **params}, operation="list_bots", is_far=True):
                is_due = bot.join_at is None or bot.join_at >= since
                is_live = is_due and not bot.state.is_over
                if bot.install_id == own and is_live and bot.bot_id not in seen:
                    seen.add(bot.bot_id)
                    yield FoundBot(bot.bot_id, bot.slot_id, bot.join_at, str(bot.state))


def read_bot(found: Mapping[str, object]) -> RecallBot | None:
    """Read a bot; None when it has no id."""
    bot_id = id_at(found)
    if bot_id is None:
        return None
    metadata = found.get("metadata")
    marks = metadata if isinstance(metadata, dict) else {}
    return RecallBot(
        bot_id=bot_id,
        slot_id=_uuid_text(marks.get(SLOT)),
        install_id=_uuid_text(marks.get(INSTALL)),
        digest=_digest(marks.get(SEAT)),
        join_at=instant_at(found, "join_at"),
        state=_state(found),
        metadata=marks,
    )


def config_of(seat: Seat, **marks: str) -> dict[str, Any]:
    """
    Write a seat as Recall's bot configuration, complete but for the join time.

    Recall replaces the configuration as a whole, so everything is said every time. Metadata values
    are strings there.

    Source: docs.recall.ai, calendar events bot create; custom metadata.
    """
    config = {name: value for name, value in seat.config.items() if name != "join_at"}
    given = config.get("metadata")
    metadata = (
        {str(name): _as_text(value) for name, value in given.items()} if isinstance(given, dict) else {}
    )
    name = config.get("bot_name")
    return {
        **config,
        **({"bot_name": name[:LONGEST_NAME_CHARS]} if isinstance(name, str) else {}),
        "meeting_url": seat.meeting_url,
        "metadata": {
            **metadata,
            SLOT: str(seat.slot_id),
            INSTALL: str(seat.install_id),
            **marks,
        },
    }


def later_of(known: BotState, told: BotState) -> BotState:
    """Return the state that is further on: what we know does not go back."""
    return told if may_follow(known, told) else known


def _state(found: Mapping[str, object]) -> BotState:
    """A bot without any change yet is waiting for its time."""
    codes = (change.get("code") for change in newest_last(objects_at(found, "status_changes")))
    states = [state for code in codes if isinstance(code, str) and (state := bot_state(code))]
    return states[-1] if states else BotState.SCHEDULED


def _uuid_text(value: object) -> str | None:
    try:
        return str(UUID(value)) if isinstance(value, str) else None
    except ValueError:
        return None


def _digest(value: object) -> bytes | None:
    try:
        return bytes.fromhex(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _as_text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)
