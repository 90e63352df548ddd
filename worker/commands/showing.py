"""
How verbs print: tables and cards for people, JSON for programs.

Nothing that came from outside can move the cursor or colour the terminal.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

#: Wide enough for two ids and a sentence where nobody's terminal sets a limit.
WIDTH_WITHOUT_TERMINAL = 220

Verb = TypeVar("Verb", bound=Callable[..., Any])

as_json: Callable[[Verb], Verb] = click.option("--json", "is_json", is_flag=True, help="Print JSON.")


def make_console(*, is_stderr: bool = False) -> Console:
    """Make a console for the streams as they are now."""
    console = Console(stderr=is_stderr, highlight=False)
    if not console.is_terminal:
        console = Console(stderr=is_stderr, highlight=False, width=WIDTH_WITHOUT_TERMINAL)
    return console


def plain(value: object) -> str:
    """Write a value on one line without control characters."""
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(plain(one) for one in value) or "–"
        case dict():
            return json.dumps(value, ensure_ascii=False) if value else "–"
        case _:
            return "".join(char if char.isprintable() else "\ufffd" for char in str(value))


def print_json(value: object) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_list(
    rows: Sequence[Mapping[str, Any]],
    columns: Mapping[str, str],
    *,
    is_json: bool,
    nothing: str,
) -> None:
    """
    Print rows as one JSON array, whole, or as a table of *columns* (title by field; dots go deeper).

    *nothing* is said instead of an empty table.
    """
    if is_json:
        print_json(list(rows))
        return
    console = make_console()
    if not rows:
        console.print(nothing)
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for title in columns.values():
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(_styled(name, _field(row, name)) for name in columns))
    console.print(table)


def print_one(view: Mapping[str, Any], *, is_json: bool) -> None:
    """Print one object, as JSON or field by field."""
    if is_json:
        print_json(view)
        return
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in view.items():
        table.add_row(Text(name, style="dim"), _styled(name, value))
    make_console().print(table)


def print_lines(lines: Iterable[str]) -> None:
    """Print plain lines."""
    console = make_console()
    for line in lines:
        console.print(Text(plain(line)))


def _field(row: Mapping[str, Any], name: str) -> object:
    value: Any = row
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


_STYLES = {
    "connected": "green",
    "scheduled": "green",
    "recorded": "green",
    "done": "green",
    "active": "green",
    "needs_reauth": "yellow",
    "connecting": "yellow",
    "stored": "yellow",
    "disconnected": "red",
    "disabled": "red",
    "quarantined": "red",
    "parked": "red",
    "failed": "red",
}


def _styled(name: str, value: object) -> Text:
    is_state = name.rpartition(".")[2] in {"state", "status", "reason"}
    style = _STYLES.get(str(value), "") if is_state else ""
    return Text(plain(value), style=style)
