"""A calendar event as typed values: what every provider's payload becomes at its adapter."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Response(StrEnum):
    """A person's answer to an invitation."""

    ACCEPTED = "accepted"
    DECLINED = "declined"
    TENTATIVE = "tentative"
    NEEDS_ACTION = "needs_action"


class EventStatus(StrEnum):
    CONFIRMED = "confirmed"
    TENTATIVE = "tentative"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody on an event; *email* is lower case and may be empty when the provider hides it."""

    email: str
    response: Response = Response.NEEDS_ACTION
    is_self: bool = False

    @property
    def domain(self) -> str:
        return self.email.rpartition("@")[2]


@dataclass(frozen=True, slots=True)
class MeetingLink:
    """
    Where a meeting takes place online.

    *url* is what a bot opens, passcode included. *key* is the same place written one way for every
    copy of the link: no passcode, no tracking, no host spelling; two links to one meeting share it.
    """

    platform: str
    url: str
    key: str


@dataclass(frozen=True, slots=True)
class Event:
    """
    One calendar's copy of a meeting, as its provider describes it now.

    *start* and *end* are [start, end); an all-day event's run from midnight UTC of its dates.
    *organizer* is None when the provider does not say. *attendees* leaves out rooms.
    *own_response* is the calendar user's answer, None when the user is not among the guests.
    *series_id* is shared by every occurrence of a recurring event, None for a single one.
    """

    external_id: str
    ical_uid: str
    series_id: str | None
    title: str
    start: datetime
    end: datetime
    all_day: bool
    organizer: Person | None
    attendees: tuple[Person, ...]
    own_response: Response | None
    is_organizer: bool
    is_private: bool
    status: EventStatus
    deleted: bool
    link: MeetingLink | None

    def people(self) -> tuple[Person, ...]:
        """List attendees and organiser, each once, in order of first mention."""
        by_email: dict[str, Person] = {}
        everybody = (*self.attendees, *((self.organizer,) if self.organizer else ()))
        for person in everybody:
            if person.email:
                by_email.setdefault(person.email, person)
        return tuple(by_email.values())
