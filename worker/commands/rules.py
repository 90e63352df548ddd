"""`punctual rules`: what is recorded."""

from __future__ import annotations

import json
from typing import IO, TYPE_CHECKING, Any
from uuid import UUID

import click

from worker.commands.calendars import find as find_calendar
from worker.commands.session import Failed, open_runtime, unknown
from worker.commands.showing import (
    as_json,
    make_console,
    print_json,
    print_lines,
    print_list,
    print_one,
)

if TYPE_CHECKING:
    from worker.runtime import Runtime

of_calendar = click.option(
    "--calendar", help="Those of one calendar: an id, the provider's id, or an address."
)
COLUMNS = {"start": "start", "event_id": "event", "reason": "reason", "explanation": "because"}


@click.group()
def rules() -> None:
    """Show, set and try out the rules that say what is recorded."""


@rules.command()
@of_calendar
@as_json
def show(*, calendar: str | None, is_json: bool) -> None:
    """Show the rules in force, those of the installation or of one calendar."""
    from worker.rulebook import calendar_rules, default_rules

    with open_runtime() as rt:
        calendar_id = _calendar_id(rt, calendar)
        with rt.db.begin() as tx:
            found = default_rules(tx) if calendar_id is None else calendar_rules(tx, calendar_id)
    if found is None:
        raise unknown("calendar", calendar or "")
    print_one(found, is_json=is_json)


@rules.command("set")
@click.argument("file", type=click.File())
@of_calendar
@as_json
def set_rules(*, file: IO[str], calendar: str | None, is_json: bool) -> None:
    """Replace the rules by the JSON object in FILE (- for standard input)."""
    from worker.rulebook import set_calendar_rules, set_default_rules

    wanted = _read(file)
    with open_runtime() as rt:
        calendar_id = _calendar_id(rt, calendar)
        stored = (
            set_default_rules(rt, wanted)
            if calendar_id is None
            else set_calendar_rules(rt, calendar_id, wanted)
        )
    if stored is None:
        raise unknown("calendar", calendar or "")
    if is_json:
        print_json(stored)
    else:
        whose = (
            "The installation's rules"
            if calendar_id is None
            else f"The rules of calendar {calendar_id}"
        )
        print_lines([f"{whose} are replaced; events are decided again now."])


@rules.command()
@click.argument("calendar")
def clear(*, calendar: str) -> None:
    """Let a calendar follow the installation's rules again."""
    from worker.rulebook import clear_calendar_rules

    with open_runtime() as rt:
        calendar_id = UUID(find_calendar(rt, calendar)["id"])
        clear_calendar_rules(rt, calendar_id)
    print_lines([f"Calendar {calendar_id} follows the installation's rules again."])


@rules.command()
@click.argument("file", type=click.File())
@of_calendar
@as_json
def simulate(*, file: IO[str], calendar: str | None, is_json: bool) -> None:
    """Say which bots the rules in FILE (- for standard input) would add, move and remove; changes nothing."""
    from worker.rulebook import simulate as try_out

    wanted = _read(file)
    with open_runtime() as rt:
        result = try_out(rt, wanted, calendar_id=_calendar_id(rt, calendar))
    if result is None:
        raise unknown("calendar", calendar or "")
    if is_json:
        print_json(result)
        return
    for name, title in (("add", "Would add"), ("move", "Would move"), ("remove", "Would remove")):
        bots = result[name]
        make_console().print(f"[bold]{title} {len(bots)}[/bold]")
        if bots:
            print_list(bots, COLUMNS, is_json=False, nothing="")
    cut = "; only the soonest events were looked at" if result["truncated"] else ""
    print_lines(
        [f"{result['unchanged']} bots stay as they are; {result['events']} events looked at{cut}."]
    )


def _calendar_id(rt: Runtime, calendar: str | None) -> UUID | None:
    return None if calendar is None else UUID(find_calendar(rt, calendar)["id"])


def _read(file: IO[str]) -> Any:  # noqa: ANN401  # the rules say what they accept
    try:
        return json.loads(file.read())
    except ValueError as malformed:
        raise Failed(f"{file.name} holds no JSON: {malformed}") from malformed
