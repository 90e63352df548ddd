"""`punctual deliveries`: the notifications we acknowledged, and acting on them again."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import click

from worker.commands.session import Failed, open_runtime, unknown
from worker.commands.showing import as_json, print_json, print_lines, print_list

if TYPE_CHECKING:
    from models.db import Tx

COLUMNS = {
    "id": "id",
    "received_at": "received",
    "source": "from",
    "type": "type",
    "state": "state",
    "reason": "because",
    "message_id": "message",
}
STATES = ["stored", "done", "ignored", "quarantined", "parked"]


@click.group()
def deliveries() -> None:
    """List notifications we got, and act on some again."""


@deliveries.command("list")
@click.option("--state", type=click.Choice(STATES))
@click.option("--source", help="Only from this provider.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@as_json
def list_all(*, state: str | None, source: str | None, limit: int, is_json: bool) -> None:
    """List notifications, newest first."""
    from worker.deliveries import list_deliveries

    with open_runtime() as rt, rt.db.begin() as tx:
        listed = list_deliveries(tx, after=None, limit=limit, state=state, source=source)
    print_list([view for _, view in listed], COLUMNS, is_json=is_json, nothing="No notifications.")


@deliveries.command()
@click.argument("names", nargs=-1, metavar="DELIVERIES...")
@click.option(
    "--state", type=click.Choice(["quarantined", "parked", "ignored"]), help="All in this state."
)
@as_json
def replay(*, names: tuple[str, ...], state: str | None, is_json: bool) -> None:
    """
    Act on notifications again as if they had just arrived; safe to repeat.

    DELIVERIES are our ids or the sender's message ids.
    """
    from worker.deliveries import list_deliveries
    from worker.deliveries import replay as act_again

    if not names and state is None:
        raise Failed("name deliveries, or a --state whose deliveries are to be replayed")
    with open_runtime() as rt:
        with rt.db.begin() as tx:
            ids = [_find(tx, name) for name in names]
            if state is not None:
                listed = list_deliveries(tx, after=None, limit=10_000, state=state)
                ids += [UUID(view["id"]) for _, view in listed]
        replayed = [view for delivery_id in ids if (view := act_again(rt, delivery_id)) is not None]
    if is_json:
        print_json(replayed)
    elif replayed:
        print_lines(
            f"Delivery {view['id']} ({view['message_id']}) is acted on again." for view in replayed
        )
    else:
        print_lines(["Nothing to replay."])


def _find(tx: Tx, name: str) -> UUID:
    from sqlalchemy import select

    from models.tables.inbox import Delivery

    try:
        query = select(Delivery.id).where(Delivery.id == UUID(name))
    except ValueError:
        query = select(Delivery.id).where(Delivery.message_id == name)
    found = tx.execute(query.limit(1)).scalar_one_or_none()
    if found is None:
        raise unknown("delivery", name)
    return found
