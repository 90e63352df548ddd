"""`punctual events` and `punctual record`: calendar events, and the domain events told about them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click
from rich.text import Text

from worker.commands.calendars import find as find_calendar
from worker.commands.session import Failed, open_runtime, unknown
from worker.commands.showing import as_json, make_console, plain, print_lines, print_list, print_one

if TYPE_CHECKING:
    from models.db import Tx
    from worker.runtime import Runtime

COLUMNS = {
    "id": "id",
    "start": "start",
    "title": "title",
    "record.wanted": "recorded",
    "record.reason": "reason",
    "bot.state": "bot",
    "deleted": "deleted",
}
TAIL_SHOWS = 10
TAIL_LOOKS_EVERY_S = 0.5
READ_AT_ONCE = 200


@click.group()
def events() -> None:
    """List calendar events; follow the domain events that subscribers are told."""


@events.command("list")
@click.option("--calendar", help="Only this calendar: an id, the provider's id, or an address.")
@click.option("--past", is_flag=True, help="Also events that have ended.")
@click.option(
    "--recorded/--not-recorded", default=None, help="Only events that call for a bot, or not."
)
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@as_json
def list_all(
    *, calendar: str | None, past: bool, recorded: bool | None, limit: int, is_json: bool
) -> None:
    """List calendar events by start; without --past those that have not ended."""
    from worker.views import load_events

    with open_runtime() as rt:
        calendar_id = UUID(find_calendar(rt, calendar)["id"]) if calendar else None
        since = None if past else rt.now()
        with rt.db.begin() as tx:
            ids = _ids(tx, calendar_id=calendar_id, since=since, recorded=recorded, limit=limit)
            views = load_events(tx, ids, vault=rt.vault)
    found = [views[event_id] for event_id in ids]
    print_list(found, COLUMNS, is_json=is_json, nothing="No events.")


@events.command()
@click.option(
    "--after", type=click.IntRange(0), help="Begin after this position; default: the last ten."
)
@click.option("--types", help="Comma-separated, such as bot.*,calendar.connected; default: all.")
@click.option("--follow/--no-follow", default=True, help="Go on as they come.", show_default=True)
@as_json
def tail(*, after: int | None, types: str | None, follow: bool, is_json: bool) -> None:
    """
    Print domain events as subscribers get them, and go on as they come.

    With --json one CloudEvent a line. Stop with Ctrl-C; the position to go on from is said then.
    """
    wanted = [name.strip() for name in (types or "").split(",") if name.strip()]
    _check_types(wanted)
    with open_runtime() as rt:
        position = begin = _last_but(rt, TAIL_SHOWS) if after is None else after
        try:
            for position, event in _told(rt, begin, wanted, follow=follow):
                _print_event(position, event, is_json=is_json)
        except KeyboardInterrupt:
            click.echo(f"Go on with: punctual events tail --after {position}", err=True)


@click.command(epilog="EVENT is our id or the provider's.")
@click.argument("event")
@click.argument("word", type=click.Choice(["yes", "no", "auto"]))
@click.option("--series", is_flag=True, help="For every event of its series.")
@as_json
def record(*, event: str, word: str, series: bool, is_json: bool) -> None:
    """Record an event, or do not, whatever the rules say; `auto` leaves it to the rules again."""
    from worker.overrides import NotInSeries, set_record
    from worker.why import find_event

    with open_runtime() as rt:
        with rt.db.begin() as tx:
            event_id = find_event(tx, event)
        if event_id is None:
            raise unknown("event", event)
        record = {"yes": True, "no": False, "auto": None}[word]
        try:
            view = set_record(rt, event_id, record=record, scope="series" if series else "occurrence")
        except NotInSeries as single:
            raise Failed(str(single)) from single
    if view is None:
        raise unknown("event", event)
    if is_json:
        print_one(view, is_json=True)
        return
    said = view["record"]
    verdict = "is recorded" if said["wanted"] else "is not recorded"
    print_lines([f"Event {view['id']} {verdict}: {said['explanation']} ({said['reason']})"])


def _ids(
    tx: Tx, *, calendar_id: UUID | None, since: datetime | None, recorded: bool | None, limit: int
) -> list[UUID]:
    from sqlalchemy import select

    from models.tables.due import table_of
    from models.tables.events import CalendarEvent

    table = table_of(CalendarEvent)
    query = select(table.c.id).order_by(table.c.start_at, table.c.id).limit(limit)
    if calendar_id is not None:
        query = query.where(table.c.calendar_id == calendar_id)
    if since is not None:
        query = query.where(table.c.end_at > since, table.c.deleted.is_(False))
    if recorded is not None:
        query = query.where(table.c.is_wanted.is_(recorded))
    return list(tx.execute(query).scalars())


def _check_types(types: Sequence[str]) -> None:
    from models.domain.emitted import Type

    known = {str(name) for name in Type} | {f"{name.split('.')[0]}.*" for name in Type}
    for name in types:
        if name not in known:
            raise Failed(
                f"no domain event is of type {plain(name)}; there are {', '.join(sorted(known))}"
            )


def _last_but(rt: Runtime, size: int) -> int:
    """Return the position after which *size* events come."""
    from sqlalchemy import func, select

    from models.tables.outbox import OutboxEvent

    with rt.db.begin() as tx:
        newest = tx.execute(select(func.max(OutboxEvent.position))).scalar() or 0
    return max(0, newest - size)


def _told(
    rt: Runtime, after: int, types: Sequence[str], *, follow: bool
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield domain events with their positions, oldest first; for ever if *follow*."""
    from sqlalchemy import select

    from models.tables.outbox import OutboxEvent
    from worker.outbox import feed

    while True:
        with rt.db.begin() as tx:
            found, after = feed(tx, after, types, READ_AT_ONCE, base_url=rt.settings.base_url)
            ids = [UUID(event["id"]) for event in found]
            places = select(OutboxEvent.id, OutboxEvent.position).where(OutboxEvent.id.in_(ids))
            position_by_id = {str(event_id): position for event_id, position in tx.execute(places)}
        for event in found:
            yield position_by_id[event["id"]] or after, event
        if len(found) == READ_AT_ONCE:
            continue
        if not follow:
            return
        time.sleep(TAIL_LOOKS_EVERY_S)


def _print_event(position: int, event: dict[str, Any], *, is_json: bool) -> None:
    if is_json:
        click.echo(json.dumps(event, ensure_ascii=False))
        return
    line = Text(f"{position:>7}  {event['time'][:19]}Z  ", style="dim")
    line.append(f"{event['type']:<24}", style=colour_of(event["type"]))
    line.append(f" {event['subject']} #{event['sequence']}  ", style="")
    line.append(plain(summary_of(event)), style="dim")
    make_console().print(line, soft_wrap=True)


def summary_of(event: dict[str, Any]) -> str:
    """Say in a few words what a domain event tells, without titles and people."""
    data = event["data"]
    if event["type"].startswith("calendar_event."):
        said = data["record"]
        verdict = "recorded" if said["wanted"] else f"not recorded ({said['reason']})"
        return f"{data['start']} {verdict}"
    if event["type"].startswith("bot."):
        return f"{data['state']}, joins {data['join_at']}, bot {data['external_id'] or '–'}"
    return f"{data.get('status')}{_because(data.get('status_reason'))}"


def colour_of(event_type: str) -> str:
    """Choose the colour in which a type is shown."""
    ending = event_type.rpartition(".")[2]
    good = {"scheduled", "connected", "created"}
    bad = {"failed", "needs_reauth", "cancelled", "deleted", "disconnected"}
    return "green" if ending in good else "red" if ending in bad else "yellow"


def _because(reason: str | None) -> str:
    return f" ({reason})" if reason else ""
