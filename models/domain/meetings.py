"""Which events share a bot: the key of a slot, and the link it is named after."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from models.domain.times import rfc3339


def slot_key(
    link_key: str, start: datetime, *, dedup: str, calendar_id: UUID, email: str | None
) -> str:
    """
    Name the slot of an event under a dedup policy; equal for all copies of a meeting that share a bot.

    Built as Recall documents deduplication keys: start and link, then what narrows the sharing.
    A company is the e-mail domain of the calendar; a calendar without an address is its own company.

    Source: docs.recall.ai, calendar v2 scheduling guide (deduplicating bots).
    """
    sharers = sharers_of(dedup, calendar_id=calendar_id, email=email)
    return "-".join([rfc3339(start), link_key, *sharers])


def sharers_of(dedup: str, *, calendar_id: UUID, email: str | None) -> tuple[str, ...]:
    """Name those among whom a meeting has one bot; empty: everybody."""
    match dedup:
        case "meeting":
            return ()
        case "company" if email and "@" in email:
            return (email.rpartition("@")[2].lower(),)
        case _:
            return (str(calendar_id),)


@dataclass(frozen=True, slots=True)
class Copy:
    """
    One calendar's copy of a meeting, with what tells whether another copy is of the same meeting.

    *sharers* are those among whom a meeting has one bot (`sharers_of`).
    """

    event_id: UUID
    calendar_id: UUID
    ical_uid: str
    start: datetime
    organizer: str | None
    is_organizer: bool
    known_since: datetime
    link_key: str
    sharers: tuple[str, ...]


def speakers(copies: Iterable[Copy]) -> Mapping[UUID, UUID]:
    """
    Say for each copy, by event, whose link its meeting has: mostly its own, else another copy's.

    Copies are of one meeting when iCalendar UID, start and organiser agree and they are of different
    calendars. Then the organiser's copy speaks, because a guest's may lag behind or have been
    rewritten on its way; without it the one known longest does, so that nobody who connects later
    can call a bot away. Where one calendar has two links for the same UID and start, nobody speaks
    for another: the UID does not tell the meetings apart.
    """
    by_meeting: dict[object, list[Copy]] = defaultdict(list)
    spoken_for: dict[UUID, UUID] = {}
    for copy in copies:
        spoken_for[copy.event_id] = copy.event_id
        if copy.ical_uid:
            organizer = copy.organizer.lower() if copy.organizer else None
            by_meeting[copy.ical_uid, copy.start, organizer, copy.sharers].append(copy)
    for group in by_meeting.values():
        links = {copy.link_key for copy in group}
        if len(links) == 1 or len({(copy.calendar_id, copy.link_key) for copy in group}) > len(
            {copy.calendar_id for copy in group}
        ):
            continue
        speaker = min(
            group, key=lambda copy: (not copy.is_organizer, copy.known_since, copy.event_id.int)
        )
        spoken_for |= {
            copy.event_id: speaker.event_id for copy in group if copy.link_key != speaker.link_key
        }
    return spoken_for
