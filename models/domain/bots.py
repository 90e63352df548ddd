"""What a slot's bot should look like, what stands, and the steps from one to the other."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID


class BotState(StrEnum):
    """Life of a bot, as users see it; later ones never go back to earlier ones."""

    WANTED = "wanted"
    SCHEDULED = "scheduled"
    JOINING = "joining"
    IN_CALL = "in_call"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        return self in {BotState.DONE, BotState.FAILED, BotState.CANCELLED}

    @property
    def is_dispatched(self) -> bool:
        """The bot is on its way or in the call: it can leave, but not be changed."""
        return self in {BotState.JOINING, BotState.IN_CALL}


_ORDER = {
    BotState.WANTED: 0,
    BotState.SCHEDULED: 1,
    BotState.JOINING: 2,
    BotState.IN_CALL: 3,
    BotState.DONE: 4,
    BotState.FAILED: 4,
    BotState.CANCELLED: 4,
}


def may_follow(state: BotState, news: BotState) -> bool:
    """Say whether *news* about a bot in *state* tells something new; old and repeated news do not."""
    return _ORDER[news] > _ORDER[state]


@dataclass(frozen=True, slots=True)
class Seat:
    """
    The place a slot's bot should take.

    *events* are the wanting events in the provider's ids, sorted. *dedup_key* is the provider-side
    name of the slot. *config* is the whole bot configuration, name included. *is_unshared* says that
    the provider was seen to give every event a bot of its own, so that one event alone may carry one.
    """

    slot_id: UUID
    install_id: UUID
    dedup_key: str
    meeting_url: str = field(repr=False)
    start_at: datetime
    ends_at: datetime
    join_at: datetime
    config: dict[str, Any]
    events: tuple[str, ...]
    is_unshared: bool = False

    @property
    def digest(self) -> bytes:
        """A fingerprint of everything the provider is told but who wants it."""
        return seat_digest(
            dedup_key=self.dedup_key,
            meeting_url=self.meeting_url,
            join_at=self.join_at,
            config=self.config,
        )


def seat_digest(
    *, dedup_key: str, meeting_url: str, join_at: datetime, config: dict[str, Any]
) -> bytes:
    """Fingerprint a seat; equal exactly when the provider would be told the same."""
    told = [dedup_key, meeting_url, join_at.isoformat(), config]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).digest()[:16]


@dataclass(frozen=True, slots=True)
class Attached:
    """An event that carries a bot for a slot, and the seat it was given (None: not known)."""

    event: str
    bot_id: str | None
    digest: bytes | None
    is_deleted: bool = False
    is_elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """
    What the provider has for one slot, as far as we know.

    *digest* is the seat the bot was given, None when unknown. *attached* matters only where bots
    hang on events. *is_unshared* is news: an event was given another bot than the slot's, under the
    slot's dedup key. *is_own*: the bot hangs on no event, although others of the installation do.
    """

    bot_id: str | None = None
    state: BotState = BotState.WANTED
    join_at: datetime | None = None
    digest: bytes | None = None
    attached: tuple[Attached, ...] = ()
    is_unshared: bool = False
    is_own: bool = False


class Operation(StrEnum):
    """Everything that can be done to a bot."""

    ATTACH = "attach"
    DETACH = "detach"
    CREATE = "create"
    CHANGE = "change"
    DELETE = "delete"
    LEAVE = "leave"


#: A bot that joins later than this leaves the last calls of a budget to those that join sooner.
SOON = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Step:
    """
    One call to make: an operation, and what it is about.

    *event* is set for attach and detach, *bot_id* for change, delete and leave; *seat* wherever
    something is put in place.
    """

    operation: Operation
    seat: Seat | None = None
    standing: Standing = field(default_factory=Standing)
    event: str | None = None
    bot_id: str | None = None

    def is_far(self, now: datetime) -> bool:
        """Say whether the bot joins so late that the step may well wait."""
        joins = [self.seat.join_at] if self.seat is not None else []
        joins += [self.standing.join_at] if self.standing.join_at is not None else []
        return bool(joins) and min(joins) > now + SOON

    @property
    def name(self) -> str:
        """
        What is committed as our intent before the call; equal names are repeats of one call.

        Attaching is to one seat: under the key of an earlier seat the provider would only repeat what
        it did for that one.
        """
        if self.operation is Operation.ATTACH and self.seat is not None:
            return f"{self.operation}:{self.event}:{self.seat.digest.hex()[:8]}"
        target = self.event or self.bot_id
        return f"{self.operation}:{target}" if target else str(self.operation)
