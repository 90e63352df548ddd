"""`punctual drift`: what we have against what the providers have now, and having it mended."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from worker.commands.calendars import NAMED, find
from worker.commands.session import Failed, open_runtime
from worker.commands.showing import as_json, make_console, print_json, print_lines, print_list

if TYPE_CHECKING:
    from rich.status import Status

    from worker.drifting import Pending, Report
    from worker.runtime import Runtime

COLUMNS = {
    "kind": "what",
    "calendar_id": "calendar",
    "event_id": "event",
    "bot_id": "bot",
    "external_id": "at the provider",
    "at": "at",
    "reason": "because",
}
#: So many differences of one kind in one calendar are shown in a table; --json has them all.
MOST_SHOWN = 20
PATIENCE_S = 120


@click.command(epilog=NAMED)
@click.option("--calendar", help="Compare this calendar and its bots alone.")
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    help="Compare so many calendars at most, those read whole longest ago; default: all.",
)
@click.option("--fix", is_flag=True, help="Have what differs read again, and report once more.")
@click.option(
    "--wait",
    type=click.IntRange(0, 86_400),
    default=PATIENCE_S,
    show_default=True,
    help="With --fix: for so many seconds.",
)
@as_json
def drift(*, calendar: str | None, limit: int | None, fix: bool, wait: int, is_json: bool) -> None:
    """
    Compare events and bots with what the providers have now; exit code 1 when something has drifted.

    Changes nothing. With --fix workers read the calendars that differ as a whole and look at the
    bots that are not in place. Changes of the last minute, and what is waiting for a worker, are no
    drift.
    """
    from worker.drifting import ask_to_mend, find_drift, wait_until_done

    pending: list[Pending] = []
    with open_runtime() as rt, make_console(is_stderr=True).status("Comparing …") as status:
        calendar_id = None if calendar is None else _connected(rt, calendar)

        def look(words: str) -> Report:
            tell = _telling(status, words)
            return find_drift(rt, calendar_id=calendar_id, limit=limit, tell=tell)

        report = left = look("Comparing: calendar")
        if fix and report.differences:
            asked = ask_to_mend(rt, report)
            tell = _telling(status, "Mending: done")
            pending = wait_until_done(rt, asked, patience=timedelta(seconds=wait), tell=tell)
            left = look("Comparing again: calendar")
    if not is_json:
        _tell(report, left, pending)
    elif fix:
        views = [one.view() for one in pending]
        print_json({"found": report.view(), "pending": views, "left": left.view()})
    else:
        print_json(report.view())
    sys.exit(0 if left.is_clean and not pending else 1)


def _connected(rt: Runtime, name: str) -> UUID:
    view = find(rt, name)
    if view["status"] != "connected":
        raise Failed(f"calendar {view['id']} is {view['status']}: there is nothing to compare with")
    return UUID(view["id"])


def _telling(status: Status, words: str) -> Callable[[int, int], None]:
    return lambda done, total: status.update(f"{words} {done} of {total} …")


def _tell(report: Report, left: Report, pending: Sequence[Pending]) -> None:
    _print_table(report)
    print_lines(_summary(report))
    print_lines(f"Still pending: {one.kind} {one.id}: {one.reason}" for one in pending)
    if left is not report:
        print_lines(["", "Afterwards:"])
        _print_table(left)
        print_lines(_summary(left))


def _print_table(report: Report) -> None:
    shown: Counter[tuple[str, UUID | None]] = Counter()
    rows: list[dict[str, Any]] = []
    for one in report.differences:
        shown[one.kind, one.calendar_id] += 1
        if shown[one.kind, one.calendar_id] <= MOST_SHOWN:
            rows.append(one.view())
    for (kind, calendar_id), size in shown.items():
        if size > MOST_SHOWN:
            more = {"kind": kind, "calendar_id": str(calendar_id or "")}
            rows.append({**more, "reason": f"and {size - MOST_SHOWN} more"})
    if rows:
        print_list(rows, COLUMNS, is_json=False, nothing="")


def _summary(report: Report) -> Iterator[str]:
    for one in report.unread:
        what = "The bots" if one.calendar_id is None else f"Calendar {one.calendar_id}"
        yield f"{what} could not be compared: {one.reason}"
    compared = f"{report.events} events of {report.calendars} calendars and {report.bots} bots compared"
    size = len(report.differences)
    verdict = f"{size} have drifted" if size else "nothing has drifted"
    awaited = f", {report.awaited} being seen to" if report.awaited else ""
    yield f"{compared}: {verdict}{awaited}."
