"""What an event says, as values: times, people, places. Knows no mailbox."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from urllib.parse import quote

from worker.sandbox.microsoft.zones import UTC_ZONE, Zone

ANSWERS = ("none", "organizer", "tentativelyAccepted", "accepted", "declined", "notResponded")
CANCELED = "Canceled: "  # what Outlook puts before the subject of a cancelled copy


@dataclass(frozen=True, slots=True)
class Person:
    email: str
    name: str = ""

    def is_(self, email: str) -> bool:
        return self.email.lower() == email.lower()


@dataclass(frozen=True, slots=True)
class Guest:
    """An attendee as the list shows it; *answered_at* is None while nobody answered."""

    person: Person
    type: str = "required"  # required | optional | resource
    answer: str = "none"
    answered_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Place:
    name: str
    uri: str | None = None


@dataclass(frozen=True, slots=True)
class Details:
    """
    Everything one copy of an event says. Times are UTC; midnights of all-day events are UTC's.

    *answer* and what follows belongs to this copy alone, the rest to the meeting.
    """

    start: datetime
    end: datetime
    organizer: Person
    zone: Zone = UTC_ZONE
    end_zone: Zone = UTC_ZONE
    subject: str = ""
    body: str = ""
    body_type: str = "html"
    all_day: bool = False
    places: tuple[Place, ...] = ()
    guests: tuple[Guest, ...] = ()
    importance: str = "normal"
    sensitivity: str = "normal"
    is_online: bool = False
    provider: str = "unknown"
    join_url: str | None = None
    online_url: str | None = None  # onlineMeetingUrl, the older property
    is_cancelled: bool = False
    hides_guests: bool = False
    wants_answer: bool = True
    allows_proposals: bool = True
    answer: str = "none"
    answered_at: datetime | None = None
    show_as: str = "busy"
    reminder_on: bool = True
    reminder_minutes: int = 15
    categories: tuple[str, ...] = ()

    @property
    def length(self) -> timedelta:
        return self.end - self.start

    @property
    def online_body(self) -> str:
        """The body with the meeting's blob: without the link in it there is no meeting any more."""
        if self.join_url is None or self.join_url in self.body:
            return self.body
        return f'{self.body}<div><a href="{self.join_url}">Join the meeting now</a></div>'

    def guest(self, email: str) -> Guest | None:
        return next((guest for guest in self.guests if guest.person.is_(email)), None)

    def with_answer_of(self, email: str, answer: str, at: datetime | None) -> Details:
        """Return the details with one guest's answer written into the list."""
        guests = tuple(
            replace(guest, answer=answer, answered_at=at) if guest.person.is_(email) else guest
            for guest in self.guests
        )
        return replace(self, guests=guests)

    def cancelled(self) -> Details:
        subject = self.subject if self.subject.startswith(CANCELED) else CANCELED + self.subject
        return replace(self, is_cancelled=True, subject=subject, show_as="free")


# What a copy keeps to itself when the organiser changes the meeting.
OWN = frozenset({"answer", "answered_at", "show_as", "reminder_on", "reminder_minutes", "categories"})


def teams_link(thread: str, tenant_id: str, organizer_id: str) -> str:
    """Build the long form of a Teams link; *thread* makes it this meeting's own."""
    name = quote(hashlib.sha256(thread.encode()).hexdigest()[:48])
    context = quote(f'{{"Tid":"{tenant_id}","Oid":"{organizer_id}"}}')
    return (
        f"https://teams.microsoft.com/l/meetup-join/19%3ameeting_{name}%40thread.v2/0?context={context}"
    )
