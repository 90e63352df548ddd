"""
What the use-cases need from outside, in our words.

Adapters in `worker.providers` and `worker.publishers` implement these; so do the fakes in
`tests.fakes`, and one contract suite per port holds both to it. Every call may be repeated.
Every call raises only the reactions of `worker.errors`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from models.domain.bots import BotState, Seat, Standing, Step
from models.domain.events import Event


@dataclass(frozen=True, slots=True)
class FoundCalendar:
    """
    A calendar as its provider describes it; never with a token in it.

    *status* is connecting, connected, needs_reauth or disconnected; *reason* says why when it is one
    of the last two.
    """

    external_id: str
    platform: str | None
    email: str | None
    status: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Attachment:
    """A bot that the provider shows on an event, with the dedup key it was scheduled under."""

    bot_id: str
    dedup_key: str | None
    join_at: datetime | None


@dataclass(frozen=True, slots=True)
class FoundEvent:
    """One event of a listing, with what the provider keeps beside it."""

    calendar_ref: str
    updated_at: datetime
    event: Event
    attachments: tuple[Attachment, ...]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A row of a listing that makes no sense; *external_id* is empty when not even that was there."""

    external_id: str
    calendar_ref: str | None
    reason: str
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """
    Part of a listing.

    *served_at* is the provider's own clock when it answered, None when it did not say.
    """

    events: tuple[FoundEvent, ...]
    unreadable: tuple[Unreadable, ...] = ()
    served_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class NewCalendar:
    """What a provider needs to connect a calendar for us."""

    platform: str
    oauth_client_id: str
    oauth_client_secret: str = field(repr=False)
    oauth_refresh_token: str = field(repr=False)
    email: str | None = None


class CalendarSource(Protocol):
    """A workspace of calendars that can be listed as a whole."""

    def calendars(self) -> Iterator[FoundCalendar]:
        """Yield every calendar of the workspace, in no order."""
        ...

    def calendar(self, external_id: str) -> FoundCalendar:
        """Return one calendar. Raises AlreadyGone when the provider does not know it."""
        ...

    def connect(self, new: NewCalendar, *, key: UUID) -> FoundCalendar:
        """Create a calendar; *key* makes a repeat within the hour return the same one."""
        ...

    def reconnect(self, external_id: str, new: NewCalendar) -> FoundCalendar:
        """Give an existing calendar new credentials."""
        ...

    def disconnect(self, external_id: str) -> None:
        """Remove a calendar at the provider; one that is gone already is fine."""
        ...

    def changes(
        self, since: datetime | None, *, calendar: str | None = None, live_only: bool = False
    ) -> Iterator[Page]:
        """
        Yield events changed at or after *since* (everything if None), deleted ones included.

        The whole workspace unless *calendar* names one. Repeats are possible. A page is fetched only
        when asked for. The listing is complete exactly when the iterator ends without raising.

        Source: docs.recall.ai, calendar events list (100 a page, `updated_at__gte` inclusive).
        """
        ...


@dataclass(frozen=True, slots=True)
class FoundBot:
    """A live bot of ours found at the provider: *slot_id* is what we wrote on it when we made it."""

    bot_id: str
    slot_id: str | None
    join_at: datetime | None
    state: str | None = None


class BotProvider(Protocol):
    """Puts bots into meetings. One step at a time; between two steps the caller commits."""

    def next_step(self, seat: Seat | None, standing: Standing, *, now: datetime) -> Step | None:
        """
        Say what to do next so that *standing* becomes *seat*; None when it already is. Pure.

        No seat means that no bot should stand.
        """
        ...

    def carry_out(self, step: Step, *, key: UUID) -> Standing:
        """
        Take one step and return what stands now.

        Raises:
            TryLater: with `is_definite` when surely nothing happened; otherwise the outcome is unknown.
            AlreadyGone: the bot or the event it hangs on is not there any more.
            TooLate: the bot has been dispatched.
            Refused: this will never work.
        """
        ...

    def look(self, slot_id: UUID, seat: Seat | None, standing: Standing) -> Standing:
        """Return what really stands for a slot, asking the provider; used after an unknown outcome."""
        ...

    def state_of(self, code: str) -> BotState | None:
        """Translate the provider's word for a bot's status; None for one we do not know."""
        ...

    def ours(self, install_id: UUID, *, since: datetime) -> Iterator[FoundBot]:
        """Yield live bots that carry our installation's mark and join at or after *since*."""
        ...


class Allowance(Protocol):
    """A provider's call budgets, shared by every worker."""

    def take(self, name: str, *, is_far: bool = False, is_listing: bool = False) -> None:
        """
        Use one call of budget *name* (list, schedule, create, other).

        Waits up to a second for it, for a page of a listing up to ten. A call that is *far* from
        being urgent leaves the last ones to those that are. Raises TryLater(after=…, counts=False)
        when it will take longer.
        """
        ...

    def objected(self, name: str, after: timedelta) -> None:
        """Learn that the provider refused a call: nobody calls before *after*, and all call slower."""
        ...


class Bell(Protocol):
    """Says that something may be due. Losing or doubling a ring costs time, nothing else."""

    def ring(self, job: str, row_id: str | None = None) -> None:
        """Ring for one job; returns at once and never raises."""
        ...


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A domain event ready to leave: the attributes of a CloudEvent, and its data as JSON text."""

    id: str
    source: str
    type: str
    subject: str
    time: datetime
    sequence: int
    dataschema: str
    data: dict[str, Any] = field(repr=False)


class Publisher(Protocol):
    """Hands domain events to a broker."""

    def publish(self, batch: Sequence[Outgoing]) -> Sequence[str | None]:
        """
        Publish in order; the answer holds, for each, None when the broker has confirmed it or the
        reason why not.

        Raises TryLater when the broker cannot be reached at all: nothing may be assumed sent.
        """
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


@dataclass(frozen=True, slots=True)
class PostAnswer:
    """What a subscriber said to one post: *status* None and *error* set when there was no answer."""

    status: int | None
    error: str | None
    retry_after_s: float | None
    duration_ms: int


class Poster(Protocol):
    """Posts signed domain events to subscribers' URLs."""

    def post(self, url: str, body: bytes, *, message_id: str, secrets: Sequence[str]) -> PostAnswer:
        """Post once; never raises, never follows a redirect, never reaches a forbidden address."""
        ...
