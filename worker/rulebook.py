"""
The rules in force: read them, write them, and try out others without changing anything.

Rule sets come in and go out as the contract's JSON object; `models.domain.rules` reads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, func, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.dialects.postgresql import insert as upsert

from models.db import Tx
from models.domain.deciding import decide
from models.domain.meetings import slot_key
from models.domain.placing import OpenSlot, moves
from models.domain.rules import BotOptions, Decision, rule_set, to_json
from models.tables.calendars import Calendar
from models.tables.due import table_of
from models.tables.events import CalendarEvent, SeriesOverride
from models.tables.installation import Installation
from worker import jobs
from worker.calendars import lock_upcoming, unsettle_upcoming
from worker.deciding import CalendarRules, event_of, rules_by_calendar
from worker.runtime import Runtime
from worker.views import moment

CALENDARS = table_of(Calendar)
EVENTS = table_of(CalendarEvent)
OVERRIDES = table_of(SeriesOverride)
INSTALLATION = table_of(Installation)

#: A simulation looks at no more events than this, the soonest ones.
MOST_SIMULATED = 10_000


def default_rules(tx: Tx) -> dict[str, Any]:
    """Return the installation's rule set, every field said."""
    stored = tx.execute(select(INSTALLATION.c.rules)).scalar_one_or_none()
    return to_json(rule_set(stored or {}))


def set_default_rules(rt: Runtime, value: object) -> dict[str, Any]:
    """
    Replace the installation's rule set; calendars without one of their own follow it.

    Raises InvalidRules, and then nothing has changed.
    """
    rules = to_json(rule_set(value))
    with rt.db.begin() as tx:
        tx.execute(
            upsert(INSTALLATION)
            .values(id=1, install_id=rt.install_id, rules=rules)
            .on_conflict_do_update(index_elements=[INSTALLATION.c.id], set_={"rules": rules})
        )
        followers = tx.execute(
            select(CALENDARS.c.id).where(CALENDARS.c.rules.is_(None), CALENDARS.c.deleted_at.is_(None))
        ).scalars()
        unsettle_upcoming(tx, followers, now=rt.now())
    rt.bell.ring(jobs.SETTLE)
    return rules


def calendar_rules(tx: Tx, calendar_id: UUID) -> dict[str, Any] | None:
    """Return the rule set in force for a calendar, its own or the installation's; None: no calendar."""
    found = tx.execute(
        select(CALENDARS.c.rules).where(CALENDARS.c.id == calendar_id, CALENDARS.c.deleted_at.is_(None))
    ).one_or_none()
    if found is None:
        return None
    return default_rules(tx) if found.rules is None else to_json(rule_set(found.rules))


def set_calendar_rules(rt: Runtime, calendar_id: UUID, value: object) -> dict[str, Any] | None:
    """
    Give a calendar a rule set of its own; None when there is no such calendar.

    Raises InvalidRules, and then nothing has changed.
    """
    return _store(rt, calendar_id, to_json(rule_set(value)))


def clear_calendar_rules(rt: Runtime, calendar_id: UUID) -> dict[str, Any] | None:
    """Let a calendar follow the installation's rules again; None when there is no such calendar."""
    return _store(rt, calendar_id, None)


def _store(rt: Runtime, calendar_id: UUID, rules: dict[str, Any] | None) -> dict[str, Any] | None:
    with rt.db.begin() as tx:
        lock_upcoming(tx, [calendar_id], now=rt.now())
        changed = tx.execute(
            update(CALENDARS)
            .where(CALENDARS.c.id == calendar_id, CALENDARS.c.deleted_at.is_(None))
            .values(rules=rules, updated_at=func.now())
        )
        if not changed.rowcount:
            return None
        unsettle_upcoming(tx, [calendar_id], now=rt.now())
        in_force = calendar_rules(tx, calendar_id)
    rt.bell.ring(jobs.SETTLE)
    return in_force


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one event wants a bot under some rules, and what it would look like; no key, no bot."""

    key: str | None
    options: BotOptions
    decision: Decision


def simulate(rt: Runtime, value: object, *, calendar_id: UUID | None = None) -> dict[str, Any] | None:
    """
    Say which bots other rules would add, move and remove, and why; nothing is changed.

    The rules are tried as those of one calendar, or as the installation's. Bots are counted, not
    events: an event that another calendar's event shares a bot with neither adds nor removes one.
    At most 10,000 events are looked at, the soonest. None when there is no such calendar.

    Raises InvalidRules.
    """
    rules = rule_set(value)
    now = rt.now()
    with rt.db.begin() as tx:
        tx.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        affected = _affected(tx, calendar_id)
        if affected is None:
            return None
        rows, is_truncated = _upcoming(tx, affected, now=now)
        rows += _sharing(tx, rows, affected, now=now)
        present = rules_by_calendar(tx, {row["calendar_id"] for row in rows})
        tried = {
            id_: replace(calendar, rules=rules) if id_ in affected else calendar
            for id_, calendar in present.items()
        }
        before = _places(tx, rows, present, now=now)
        after = _places(tx, rows, tried, now=now)
    return {**_compare(rows, before, after), "events": len(rows), "truncated": is_truncated}


def _affected(tx: Tx, calendar_id: UUID | None) -> set[UUID] | None:
    query = select(CALENDARS.c.id).where(CALENDARS.c.deleted_at.is_(None))
    if calendar_id is None:
        return set(tx.execute(query.where(CALENDARS.c.rules.is_(None))).scalars())
    return set(tx.execute(query.where(CALENDARS.c.id == calendar_id)).scalars()) or None


def _upcoming(tx: Tx, affected: Iterable[UUID], *, now: datetime) -> tuple[list[RowMapping], bool]:
    rows = (
        tx.execute(
            select(EVENTS)
            .where(
                EVENTS.c.calendar_id.in_(list(affected)),
                EVENTS.c.end_at > now,
                EVENTS.c.deleted.is_(False),
            )
            .order_by(EVENTS.c.start_at, EVENTS.c.id)
            .limit(MOST_SIMULATED + 1)
        )
        .mappings()
        .all()
    )
    return list(rows[:MOST_SIMULATED]), len(rows) > MOST_SIMULATED


def _sharing(
    tx: Tx, rows: Sequence[RowMapping], affected: Iterable[UUID], *, now: datetime
) -> list[RowMapping]:
    """List events of other calendars that could share a bot with one of *rows*."""
    links = {row["link_key"] for row in rows if row["link_key"] is not None}
    if not links:
        return []
    others = tx.execute(
        select(EVENTS)
        .where(
            EVENTS.c.calendar_id.not_in(list(affected)),
            EVENTS.c.link_key.in_(links),
            EVENTS.c.end_at > now,
            EVENTS.c.deleted.is_(False),
        )
        .order_by(EVENTS.c.start_at, EVENTS.c.id)
        .limit(MOST_SIMULATED)
    )
    return list(others.mappings())


def _places(
    tx: Tx, rows: Sequence[RowMapping], calendars: Mapping[UUID, CalendarRules], *, now: datetime
) -> dict[UUID, _Place]:
    series = {(row["calendar_id"], row["series_id"]) for row in rows if row["series_id"] is not None}
    overrides = _series_overrides(tx, series)
    firsts = _first_upcoming(tx, series, now=now)
    places: dict[UUID, _Place] = {}
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
        key = slot_key(
            row["link_key"] or "",
            row["start_at"],
            dedup=calendar.rules.dedup,
            calendar_id=row["calendar_id"],
            email=calendar.facts.email,
        )
        places[row["id"]] = _Place(key if decision.wanted else None, calendar.rules.bot, decision)
    return places


def _series_overrides(
    tx: Tx, series: Iterable[tuple[UUID, str]]
) -> dict[tuple[UUID, str | None], bool]:
    found = tx.execute(
        select(OVERRIDES.c.calendar_id, OVERRIDES.c.series_id, OVERRIDES.c.record).where(
            tuple_(OVERRIDES.c.calendar_id, OVERRIDES.c.series_id).in_(list(series))
        )
    )
    return {(calendar_id, series_id): record for calendar_id, series_id, record in found}


def _first_upcoming(tx: Tx, series: Iterable[tuple[UUID, str]], *, now: datetime) -> set[UUID]:
    found = tx.execute(
        select(EVENTS.c.id, EVENTS.c.calendar_id, EVENTS.c.series_id)
        .where(
            tuple_(EVENTS.c.calendar_id, EVENTS.c.series_id).in_(list(series)),
            EVENTS.c.end_at > now,
            EVENTS.c.deleted.is_(False),
            EVENTS.c.status != "cancelled",
        )
        .ext(distinct_on(EVENTS.c.calendar_id, EVENTS.c.series_id))
        .order_by(EVENTS.c.calendar_id, EVENTS.c.series_id, EVENTS.c.start_at, EVENTS.c.id)
    )
    return {row.id for row in found}


def _compare(
    rows: Sequence[RowMapping], before: Mapping[UUID, _Place], after: Mapping[UUID, _Place]
) -> dict[str, Any]:
    """Follow each bot from its place under the present rules to the one under the tried rules."""
    row_by_id = {row["id"]: row for row in rows}
    old, new = _wants(rows, before), _wants(rows, after)
    moved = moves(
        {
            key: OpenSlot(id=key, key=key, wants=frozenset(wants), may_move=True)
            for key, wants in old.items()
        },
        {event_id: place.key for event_id, place in after.items()},
    )
    kept = {key: moved.get(key, key) for key in old if moved.get(key, key) in new}
    vanished = set(old) - set(kept)
    added = set(new) - set(kept.values())
    changed = {
        key
        for key, target in kept.items()
        if key != target or before[old[key][0]].options != after[new[target][0]].options
    }

    def shown(wants: Sequence[UUID], key: str) -> dict[str, Any]:
        told = [_told(row_by_id[event_id], after[event_id].decision) for event_id in wants]
        return {**told[0], "key": key, "events": told}

    result = {
        "add": [shown(new[key], key) for key in added],
        "move": [shown(new[kept[key]], kept[key]) for key in changed],
        "remove": [shown(old[key], key) for key in vanished],
    }
    for bots in result.values():
        bots.sort(key=lambda bot: (bot["start"], bot["key"]))
    return {**result, "unchanged": len(kept) - len(changed)}


def _wants(rows: Sequence[RowMapping], places: Mapping[UUID, _Place]) -> dict[str, list[UUID]]:
    """List the events that want each bot, the one whose rules shape the bot first."""
    wants: dict[str, list[UUID]] = {}
    for row in sorted(rows, key=lambda row: (row["created_at"], row["id"])):
        key = places[row["id"]].key
        if key is not None:
            wants.setdefault(key, []).append(row["id"])
    return wants


def _told(row: RowMapping, decision: Decision) -> dict[str, Any]:
    return {
        "event_id": str(row["id"]),
        "calendar_id": str(row["calendar_id"]),
        "start": moment(row["start_at"]),
        "reason": str(decision.reason),
        "explanation": decision.explanation,
    }
