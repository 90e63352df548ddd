"""Work out and store the decision about events: does each call for a bot, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import RowMapping, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import distinct_on

from models.db import Tx
from models.domain.deciding import CalendarFacts, decide
from models.domain.emitted import Emitted, Type, subject_of
from models.domain.events import Event, EventStatus, MeetingLink, Person, Response
from models.domain.rules import Decision, Reason, RuleSet, rule_set
from models.sealing import Vault
from models.tables.calendars import Calendar
from models.tables.due import table_of
from models.tables.events import CalendarEvent, SeriesOverride
from models.tables.installation import Installation
from worker.outbox import emit
from worker.views import load_events

EVENTS = table_of(CalendarEvent)
CALENDARS = table_of(Calendar)


@dataclass(frozen=True, slots=True)
class CalendarRules:
    """A calendar as decisions see it, with the rules in force for it."""

    facts: CalendarFacts
    rules: RuleSet


def decide_rows(
    tx: Tx, ids: Iterable[UUID], *, now: datetime, vault: Vault | None = None
) -> dict[UUID, Decision]:
    """
    Decide about each event that exists among *ids*, and store the decisions.

    With a *vault*, every event whose decision changed by somebody's doing, not by the mere passing
    of its end, is told about as `calendar_event.updated`. An event whose decision changed becomes
    unsettled.
    """
    rows = lock_events(tx, ids)
    if not rows:
        return {}
    calendars = rules_by_calendar(tx, {row["calendar_id"] for row in rows})
    overrides = _series_overrides(tx, rows)
    firsts = _first_upcoming(tx, rows, calendars, now=now)
    decisions: dict[UUID, Decision] = {}
    changed: list[RowMapping] = []
    for row in rows:
        calendar = calendars[row["calendar_id"]]
        decision = decide(
            event_of(row),
            calendar.rules,
            calendar=calendar.facts,
            override=row["record_override"],
            series_override=overrides.get((row["calendar_id"], row["series_id"])),
            is_first_upcoming=row["id"] in firsts,
            now=now,
        )
        decisions[row["id"]] = decision
        if (decision.wanted, decision.reason, decision.explanation) != (
            row["is_wanted"],
            row["reason"],
            row["explanation"],
        ):
            changed.append(row)
    told = [row for row in changed if _is_told(row, decisions[row["id"]])] if vault else []
    before = load_events(tx, [row["id"] for row in told], vault=vault, redact=True) if vault else {}
    _store(tx, changed, decisions)
    if vault and told:
        _tell(tx, before, vault=vault, now=now)
    return decisions


def lock_events(tx: Tx, ids: Iterable[UUID]) -> Sequence[RowMapping]:
    """Lock events for writing, in the one order everybody locks them in, and return their rows."""
    wanted = list(ids)
    if not wanted:
        return []
    return (
        tx.execute(
            select(EVENTS).where(EVENTS.c.id.in_(wanted)).order_by(EVENTS.c.id).with_for_update()
        )
        .mappings()
        .all()
    )


def rules_by_calendar(tx: Tx, ids: Iterable[UUID]) -> dict[UUID, CalendarRules]:
    """Return the rules in force for calendars: their own, else the installation's."""
    default = tx.execute(select(Installation.rules)).scalar_one_or_none() or {}
    fallback = rule_set(default)
    found = tx.execute(select(CALENDARS).where(CALENDARS.c.id.in_(list(ids)))).mappings()
    return {
        row["id"]: CalendarRules(
            facts=CalendarFacts(
                email=row["email"],
                disconnected=row["status"] == "disconnected" or row["deleted_at"] is not None,
                paused=row["paused"],
            ),
            rules=fallback if row["rules"] is None else rule_set(row["rules"]),
        )
        for row in found
    }


def event_of(row: RowMapping) -> Event:
    """Return a stored event as the rules see it; its link has a key and a platform but no URL."""
    return Event(
        external_id=row["external_id"],
        ical_uid=row["ical_uid"],
        series_id=row["series_id"],
        title=row["title"],
        start=row["start_at"],
        end=row["end_at"],
        all_day=row["all_day"],
        organizer=None if row["organizer"] is None else person_of(row["organizer"]),
        attendees=tuple(person_of(person) for person in row["attendees"]),
        own_response=None if row["own_response"] is None else Response(row["own_response"]),
        is_organizer=row["is_organizer"],
        is_private=row["is_private"],
        status=EventStatus(row["status"]),
        deleted=row["deleted"],
        link=None
        if row["link_key"] is None
        else MeetingLink(platform=row["meeting_platform"], url="", key=row["link_key"]),
    )


def person_of(stored: Mapping[str, object]) -> Person:
    """Return a stored person."""
    return Person(
        email=str(stored["email"]),
        response=Response(str(stored["response"])),
        is_self=bool(stored["self"]),
    )


def stored_person(person: Person) -> dict[str, object]:
    """Return a person as stored and shown."""
    return {"email": person.email, "response": str(person.response), "self": person.is_self}


def _series_overrides(tx: Tx, rows: Sequence[RowMapping]) -> dict[tuple[UUID, str | None], bool]:
    table = table_of(SeriesOverride)
    series = {row["series_id"] for row in rows if row["series_id"]}
    if not series:
        return {}
    found = tx.execute(
        select(table.c.calendar_id, table.c.series_id, table.c.record).where(
            table.c.series_id.in_(series)
        )
    )
    return {(calendar_id, series_id): record for calendar_id, series_id, record in found}


def _first_upcoming(
    tx: Tx,
    rows: Sequence[RowMapping],
    calendars: Mapping[UUID, CalendarRules],
    *,
    now: datetime,
) -> set[UUID]:
    asked = {
        (row["calendar_id"], row["series_id"])
        for row in rows
        if row["series_id"] and calendars[row["calendar_id"]].rules.recurring == "first"
    }
    if not asked:
        return set()
    upcoming = (
        select(EVENTS.c.calendar_id, EVENTS.c.series_id, EVENTS.c.id)
        .where(
            EVENTS.c.calendar_id.in_({calendar_id for calendar_id, _ in asked}),
            EVENTS.c.series_id.in_({series_id for _, series_id in asked}),
            EVENTS.c.end_at > now,
            EVENTS.c.deleted.is_(False),
            EVENTS.c.status != EventStatus.CANCELLED,
        )
        .ext(distinct_on(EVENTS.c.calendar_id, EVENTS.c.series_id))
        .order_by(EVENTS.c.calendar_id, EVENTS.c.series_id, EVENTS.c.start_at, EVENTS.c.id)
    )
    return {row.id for row in tx.execute(upcoming)}


def _is_told(row: RowMapping, decision: Decision) -> bool:
    is_clockwork = Reason.ENDED in {decision.reason, row["reason"]}
    return not is_clockwork and (decision.wanted, decision.reason) != (row["is_wanted"], row["reason"])


def _store(tx: Tx, rows: Sequence[RowMapping], decisions: Mapping[UUID, Decision]) -> None:
    if not rows:
        return
    tx.execute(
        update(EVENTS)
        .where(EVENTS.c.id == bindparam("row_id"))
        .values(
            is_wanted=bindparam("wanted"),
            reason=bindparam("why"),
            explanation=bindparam("words"),
            decided_at=func.now(),
            unsettled=True,
        ),
        [
            {
                "row_id": row["id"],
                "wanted": decisions[row["id"]].wanted,
                "why": str(decisions[row["id"]].reason),
                "words": decisions[row["id"]].explanation,
            }
            for row in rows
        ],
    )


def _tell(tx: Tx, before: Mapping[UUID, dict[str, object]], *, vault: Vault, now: datetime) -> None:
    after = load_events(tx, before, vault=vault, redact=True)
    emit(
        tx,
        [
            Emitted(
                type=Type.EVENT_UPDATED,
                subject=subject_of("calendar_event", event_id),
                time=now,
                data=after[event_id],
                changed=("record",),
                previous={"record": old["record"]},
            )
            for event_id, old in before.items()
        ],
    )
