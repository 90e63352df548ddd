"""
Events as a test describes them in plain words, turned into `Details`; the words of the Recall emulator where
they mean the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from worker.sandbox.microsoft import recurrence, view
from worker.sandbox.microsoft.details import Details, Guest, Person, Place, teams_link
from worker.sandbox.microsoft.mailbox import Mailbox
from worker.sandbox.microsoft.recurrence import Kept, NewPattern, Recurrence
from worker.sandbox.microsoft.times import midnight
from worker.sandbox.microsoft.zones import Zone, custom_zone, stored_zone
from worker.sandbox.recall.forms import Json

ANSWERS = {
    "needsAction": "none",
    "needs_action": "none",
    "tentative": "tentativelyAccepted",
}
PLAIN = {
    "title": "subject",
    "description": "body",
    "hide_attendees": "hides_guests",
    "show_as": "show_as",
    "sensitivity": "sensitivity",
    "cancelled": "is_cancelled",
    "importance": "importance",
}
OTHERS = frozenset({
    "start", "end", "time_zone", "custom_zone", "all_day", "attendees", "organizer", "own_response",
    "location", "link", "link_in", "online", "private", "recurrence", "ical_uid", "raw",
})  # fmt: skip
PLACES = ("conference", "location", "description", "online_url")
HALF_HOUR = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a description says."""

    changes: Mapping[str, Any]
    recurrence: NewPattern = Kept.KEPT
    uid: str | None = None
    raw: Json = field(default_factory=dict)


def described(wish: Mapping[str, Any], before: Details | None, mailbox: Mailbox, now: datetime) -> Wish:
    """
    Read a description; over *before* it changes only what it names.

    A new start without an end keeps the length. Default: half an hour, an hour from now.

    Raises:
        ValueError: an unknown field or value.
    """
    if unknown := wish.keys() - PLAIN.keys() - OTHERS:
        known = ", ".join(sorted(PLAIN.keys() | OTHERS))
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}; known: {known}")
    changes: dict[str, Any] = {PLAIN[name]: value for name, value in wish.items() if name in PLAIN}
    _times(wish, before, now, changes)
    if "attendees" in wish:
        changes["guests"] = tuple(_guest(each) for each in wish["attendees"] or ())
    if "organizer" in wish:
        changes["organizer"] = _person(wish["organizer"])
    if "own_response" in wish:
        answer = ANSWERS.get(wish["own_response"], wish["own_response"])
        changes["answer"] = "notResponded" if answer == "none" else answer
    if "location" in wish:
        changes["places"] = (Place(wish["location"]),) if wish["location"] else ()
    if "private" in wish:
        changes["sensitivity"] = "private" if wish["private"] else "normal"
    _link(wish, before, mailbox, now, changes)
    pattern: NewPattern = Kept.KEPT
    if "recurrence" in wish:
        pattern = _pattern(wish["recurrence"], before, mailbox, now, changes)
    return Wish(changes, pattern, wish.get("ical_uid"), dict(wish.get("raw") or {}))


def blank(mailbox: Mailbox, now: datetime) -> Details:
    """Return an event nobody has described yet."""
    start = now.replace(second=0, microsecond=0) + timedelta(hours=1)
    return Details(
        start=start,
        end=start + HALF_HOUR,
        organizer=mailbox.owner,
        subject="Meeting",
        zone=mailbox.zone,
        end_zone=mailbox.zone,
    )


def _times(
    wish: Mapping[str, Any], before: Details | None, now: datetime, changes: dict[str, Any]
) -> None:
    zone = before.zone if before else None
    if "time_zone" in wish or "custom_zone" in wish:
        zone = changes["zone"] = changes["end_zone"] = _zone(wish)
    all_day = bool(wish.get("all_day", before.all_day if before else False))
    if "all_day" in wish:
        changes["all_day"] = all_day
    if "start" in wish:
        changes["start"] = start = _instant(wish["start"], zone, all_day=all_day)
        length = before.length if before else timedelta(days=1) if all_day else HALF_HOUR
        changes["end"] = start + length
    elif before is None and all_day:
        changes["start"] = start = midnight((now + timedelta(days=1)).date())
        changes["end"] = start + timedelta(days=1)
    if "end" in wish:
        changes["end"] = _instant(wish["end"], zone, all_day=all_day)
    if "start" in changes and changes["end"] < changes["start"]:
        raise ValueError("end lies before start")


def _instant(text: str, zone: Zone | None, *, all_day: bool) -> datetime:
    """Read an instant; without an offset it is a reading of the event's zone."""
    at = datetime.fromisoformat(text)
    if all_day:
        return midnight(at.date())
    if at.tzinfo is None:
        at = at.replace(tzinfo=zone.rules if zone else UTC)
    return at.astimezone(UTC)


def _zone(wish: Mapping[str, Any]) -> Zone:
    name = wish.get("time_zone", "UTC")
    if wish.get("custom_zone"):
        return custom_zone(name)
    found = stored_zone(name)
    if found is None:
        raise ValueError(f"{name!r} is no zone of Graph's; custom_zone takes any of IANA's")
    return found


def _guest(entry: str | Mapping[str, Any]) -> Guest:
    if isinstance(entry, str):
        return Guest(_person(entry))
    response = entry.get("response", "none")
    kind = "resource" if entry.get("resource") else entry.get("type", "required")
    return Guest(_person(entry), kind, ANSWERS.get(response, response))


def _person(entry: str | Mapping[str, Any]) -> Person:
    return Person(entry) if isinstance(entry, str) else Person(entry["email"], entry.get("name") or "")


def _link(
    wish: Mapping[str, Any],
    before: Details | None,
    mailbox: Mailbox,
    now: datetime,
    changes: dict[str, Any],
) -> None:
    """Put a link where people put them; Outlook's own conference is Teams, other links stand in the place."""
    link = wish.get("link")
    if wish.get("online"):
        link = teams_link(
            f"{mailbox.account.id}|{now.isoformat()}", mailbox.tenant_id, mailbox.account.id
        )
    if link is None:
        return
    place = wish.get("link_in", "conference")
    if place not in PLACES:
        raise ValueError(f"link_in is one of {', '.join(PLACES)}")
    body = changes.get("body", before.body if before else "")
    if place == "description":
        changes["body"] = f'{body}<p>Join: <a href="{link}">{link}</a></p>'
    elif place == "online_url":
        changes["online_url"] = link
    elif place == "conference" and "teams." in link:
        changes |= {"is_online": True, "provider": "teamsForBusiness", "join_url": link}
        changes["body"] = replace(blank(mailbox, now), body=body, join_url=link).online_body
    else:
        changes["places"] = (Place(link),)


def _pattern(
    wish: Mapping[str, Any] | None,
    before: Details | None,
    mailbox: Mailbox,
    now: datetime,
    changes: Mapping[str, Any],
) -> Recurrence | None:
    if wish is None:
        return None
    details = replace(before or blank(mailbox, now), **changes)
    return recurrence.read(wish, view.date_of(details, details.start))
