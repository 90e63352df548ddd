"""`punctual revive`: what was set aside after failing again and again, and trying it once more."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import click

from worker.commands.session import Failed, id_of, open_runtime, unknown
from worker.commands.showing import as_json, print_json, print_lines, print_list

if TYPE_CHECKING:
    from worker.reviving import Parked
    from worker.runtime import Runtime

COLUMNS = {"kind": "kind", "id": "id", "parked_at": "set aside", "last_error": "because"}
#: What one row of each kind is called.
ONE = {
    "bots": "bot",
    "calendars": "calendar",
    "channels": "push channel",
    "connections": "connection",
    "endpoints": "endpoint",
    "source": "source",
}


@click.command()
@click.argument("kind", required=False, type=click.Choice(list(ONE)))
@click.argument("names", nargs=-1, metavar="[ID]...")
@click.option("--all", "is_all", is_flag=True, help="Revive everything (of KIND) that is set aside.")
@as_json
def revive(*, kind: str | None, names: tuple[str, ...], is_all: bool, is_json: bool) -> None:
    """
    Try again what was set aside; without IDs and --all, list it.

    Mend the cause first: what fails as before is set aside again.
    """
    from worker.reviving import list_parked

    if names and is_all:
        raise Failed("name what to revive, or say --all, not both")
    with open_runtime() as rt:
        if kind is not None and names:
            revived = _named(rt, kind, names)
        else:
            with rt.db.begin() as tx:
                parked = list(list_parked(tx, list(ONE) if kind is None else [kind]))
            if not is_all:
                views = [one.view() for one in parked]
                print_list(views, COLUMNS, is_json=is_json, nothing="Nothing is set aside.")
                return
            revived = _all(rt, parked)
    if is_json:
        print_json([{"kind": of, "id": row_id} for of, row_id in revived])
    else:
        lines = [f"{ONE[of].capitalize()} {row_id} is tried again." for of, row_id in revived]
        print_lines(lines or ["Nothing is set aside."])


def _named(rt: Runtime, kind: str, names: tuple[str, ...]) -> list[tuple[str, str]]:
    from worker.reviving import revive as try_again

    ids: list[UUID | str] = [name if kind == "source" else id_of(name, ONE[kind]) for name in names]
    revived = []
    for row_id in ids:
        if not try_again(rt, kind, [row_id]):
            raise unknown(ONE[kind], str(row_id))
        revived.append((kind, str(row_id)))
    return revived


def _all(rt: Runtime, parked: list[Parked]) -> list[tuple[str, str]]:
    from worker.reviving import revive as try_again

    for kind in ONE:
        try_again(rt, kind, [one.id for one in parked if one.kind == kind])
    return [(one.kind, str(one.id)) for one in parked]
