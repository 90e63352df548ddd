"""`punctual calendars`: whose calendars we follow, and how the connection to each stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from worker.commands.session import Failed, open_runtime, unknown
from worker.commands.showing import as_json, print_lines, print_list, print_one

if TYPE_CHECKING:
    from worker.runtime import Runtime

COLUMNS = {
    "id": "id",
    "platform": "platform",
    "email": "email",
    "status": "status",
    "status_reason": "because",
    "paused": "paused",
    "last_synced_at": "last synced",
    "oldest_pending_at": "pending since",
}
NAMED = "CALENDAR is our id, the provider's id, or an address that only one calendar has."


@click.group()
def calendars() -> None:
    """List, adopt, sync, pause and disconnect calendars."""


@calendars.command("list")
@click.option(
    "--status", type=click.Choice(["connecting", "connected", "needs_reauth", "disconnected"])
)
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@as_json
def list_all(*, status: str | None, limit: int, is_json: bool) -> None:
    """List calendars, oldest first."""
    from worker.calendars import list_calendars

    with open_runtime() as rt, rt.db.begin() as tx:
        matching = {"status": status} if status else {}
        found = [view for _, view in list_calendars(tx, after=None, limit=limit, matching=matching)]
    print_list(found, COLUMNS, is_json=is_json, nothing="No calendars yet.")


@calendars.command(epilog=NAMED)
@click.argument("calendar")
@as_json
def show(*, calendar: str, is_json: bool) -> None:
    """Show one calendar."""
    with open_runtime() as rt:
        print_one(find(rt, calendar), is_json=is_json)


@calendars.command()
@click.argument("external_id")
@click.option("--owner", help="Your own name for whom it belongs to.")
@as_json
def adopt(*, external_id: str, owner: str | None, is_json: bool) -> None:
    """Follow a calendar that exists at Recall, by its id there."""
    from worker import calendars as known

    with open_runtime() as rt:
        view, _ = known.adopt(rt, external_id, owner=owner)
    print_one(view, is_json=is_json)


@calendars.command(epilog=NAMED)
@click.argument("calendar")
@as_json
def sync(*, calendar: str, is_json: bool) -> None:
    """Check the connection and list every event again; a parked calendar is revived."""
    from worker import calendars as known

    with open_runtime() as rt:
        view = known.sync(rt, _id(find(rt, calendar)))
    _print_changed(view, calendar, "will be looked at again now", is_json=is_json)


@calendars.command(epilog=NAMED)
@click.argument("calendar")
@as_json
def pause(*, calendar: str, is_json: bool) -> None:
    """Record nothing of a calendar for now; its bots are taken away."""
    _set_paused(calendar, paused=True, is_json=is_json)


@calendars.command(epilog=NAMED)
@click.argument("calendar")
@as_json
def resume(*, calendar: str, is_json: bool) -> None:
    """Record a paused calendar again."""
    _set_paused(calendar, paused=False, is_json=is_json)


@calendars.command(epilog=NAMED)
@click.argument("calendar")
@click.option("--yes", is_flag=True, help="Do not ask.")
def disconnect(*, calendar: str, yes: bool) -> None:
    """Stop following a calendar and remove it at Recall; its bots go with it."""
    from worker import calendars as known

    with open_runtime() as rt:
        view = find(rt, calendar)
        if rt.recall is None:
            raise Failed("without PUNCTUAL_RECALL_API_KEY it cannot be removed at Recall")
        if not yes:
            name = view["email"] or view["external_id"]
            click.confirm(f"Disconnect {name} and cancel its bots?", abort=True)
        known.remove(rt, _id(view))
    print_lines([f"Calendar {view['id']} is disconnected."])


def find(rt: Runtime, name: str) -> dict[str, Any]:
    """Find the calendar that *name* means."""
    from worker.calendars import find_calendar, list_calendars

    with rt.db.begin() as tx:
        try:
            view = find_calendar(tx, UUID(name))
        except ValueError:
            view = None
        if view is not None:
            return view
        for column in ("external_id", "email"):
            wanted = name.lower() if column == "email" else name
            found = list_calendars(tx, after=None, limit=2, matching={column: wanted})
            if len(found) > 1:
                raise Failed(f"several calendars have the {column} {name}; name one by its id")
            if found:
                return found[0][1]
    raise unknown("calendar", name)


def _set_paused(calendar: str, *, paused: bool, is_json: bool) -> None:
    from worker import calendars as known

    with open_runtime() as rt:
        view = known.change(rt, _id(find(rt, calendar)), paused=paused)
    _print_changed(view, calendar, "is paused" if paused else "is recorded again", is_json=is_json)


def _print_changed(view: dict[str, Any] | None, name: str, words: str, *, is_json: bool) -> None:
    if view is None:
        raise unknown("calendar", name)
    if is_json:
        print_one(view, is_json=True)
    else:
        print_lines([f"Calendar {view['id']} {words}."])


def _id(view: dict[str, Any]) -> UUID:
    return UUID(view["id"])
