"""`punctual connections` and `punctual connect-link`: the accounts that users have connected themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from worker.commands.session import Failed, id_of, open_runtime, unknown
from worker.commands.showing import as_json, plain, print_json, print_lines, print_list, print_one

if TYPE_CHECKING:
    from worker.runtime import Runtime

COLUMNS = {
    "id": "id",
    "platform": "platform",
    "email": "email",
    "owner": "owner",
    "status": "status",
    "status_reason": "because",
    "refreshed_at": "tokens renewed",
}
OFFERED = {
    "followed": "followed",
    "external_id": "at the provider",
    "name": "name",
    "is_primary": "its own",
    "may_read": "may read",
    "calendar_id": "calendar",
}
PLATFORMS = click.Choice(["google", "microsoft"])
NAMED = "CONNECTION is its id, or an address that only one connected account has."


@click.group()
def connections() -> None:
    """List connected accounts, choose among their calendars, and let go of one."""


@connections.command("list")
@click.option("--platform", type=PLATFORMS)
@click.option("--status", type=click.Choice(["connected", "needs_reauth"]))
@click.option("--owner", help="Your own name for whom they belong to.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@as_json
def list_all(
    *, platform: str | None, status: str | None, owner: str | None, limit: int, is_json: bool
) -> None:
    """List connected accounts, oldest first; those handed to Recall are not among them."""
    from worker.connections import list_connections

    asked = {"platform": platform, "status": status, "owner": owner}
    matching = {column: value for column, value in asked.items() if value is not None}
    with open_runtime() as rt, rt.db.begin() as tx:
        found = [view for _, view in list_connections(tx, after=None, limit=limit, matching=matching)]
    print_list(found, COLUMNS, is_json=is_json, nothing="No connected accounts.")


@connections.command(epilog=NAMED)
@click.argument("connection")
@as_json
def show(*, connection: str, is_json: bool) -> None:
    """Show a connected account and the calendars it can see, asked of the provider at this moment."""
    from worker.connections import offered_calendars
    from worker.errors import Reaction

    refused: Reaction | None = None
    with open_runtime() as rt:
        view = find(rt, connection)
        try:
            offered = offered_calendars(rt, _id(view)) or []
        except Reaction as reaction:
            offered, refused = [], reaction
    if is_json:
        print_json({**view, "calendars": None if refused else offered})
    else:
        print_one(view, is_json=False)
        print_lines([""])
        print_list(offered, OFFERED, is_json=False, nothing="No calendars can be shown.")
    if refused is not None:
        raise Failed(f"its calendars cannot be listed: {refused}") from refused


@connections.command(epilog=NAMED)
@click.argument("connection")
@click.argument("calendars", nargs=-1, required=True, metavar="CALENDAR...")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
def choose(*, connection: str, calendars: tuple[str, ...], yes: bool, is_json: bool) -> None:
    """
    Follow exactly these calendars of an account, by the provider's ids; the others lose their bots.

    `punctual connections show` lists them.
    """
    from worker.connections import NotOffered, choose_calendars, offered_calendars

    with open_runtime() as rt:
        view = find(rt, connection)
        if not yes:
            leaving = [
                one["name"] or one["external_id"]
                for one in offered_calendars(rt, _id(view)) or []
                if one["followed"] and one["external_id"] not in calendars
            ]
            if leaving:
                words = f"Stop following {', '.join(map(plain, leaving))} and cancel the bots?"
                click.confirm(words, abort=True, err=True)
        try:
            shown = choose_calendars(rt, _id(view), calendars)
        except NotOffered:
            raise Failed("not all of these are calendars that the account may read") from None
    if shown is None:
        raise unknown("connection", connection)
    print_list(shown, OFFERED, is_json=is_json, nothing="")


@connections.command("let-go", epilog=NAMED)
@click.argument("connection")
@click.option("--yes", is_flag=True, help="Do not ask.")
def let_go(*, connection: str, yes: bool) -> None:
    """Let go of an account: its calendars and their bots go with it, and its consent is given back."""
    from worker.connections import remove_connection

    with open_runtime() as rt:
        view = find(rt, connection)
        if not yes:
            name = view["email"] or view["id"]
            click.confirm(f"Let go of {name}, its calendars and their bots?", abort=True)
        if not remove_connection(rt, _id(view)):
            raise unknown("connection", connection)
    print_lines([f"Connection {view['id']} is let go of."])


@click.command("connect-link")
@click.option("--platform", type=PLATFORMS, required=True)
@click.option(
    "--via",
    type=click.Choice(["direct", "recall"]),
    default="direct",
    show_default=True,
    help="Who reads the calendar: Punctual itself, or Recall, which is handed the consent.",
)
@click.option("--owner", help="Whose calendar it will be, in your words.")
@click.option("--return-url", help="Where the browser goes once it is done.")
@as_json
def connect_link(
    *, platform: str, via: str, owner: str | None, return_url: str | None, is_json: bool
) -> None:
    """Make a link that leads one user to a connected calendar, once, within the hour; print its URL."""
    from worker.linking import NewLink, make_link, web_address

    try:
        where = None if return_url is None else web_address(return_url)
    except ValueError as wrong:
        raise Failed(f"--return-url {wrong}") from wrong
    with open_runtime() as rt:
        link = make_link(rt, NewLink(platform, via, owner=owner, return_url=where))
    if is_json:
        print_json(link)
    else:
        click.echo(link["url"])


def find(rt: Runtime, name: str) -> dict[str, Any]:
    """Find the connected account that *name* means."""
    from worker.connections import find_connection, list_connections

    with rt.db.begin() as tx:
        if "@" not in name:
            view = find_connection(tx, id_of(name, "connection"))
            if view is None:
                raise unknown("connection", name)
            return view
        found = list_connections(tx, after=None, limit=2, matching={"email": name.lower()})
    if len(found) > 1:
        raise Failed(f"several connected accounts have the address {name}; name one by its id")
    if not found:
        raise unknown("connected account", name)
    return found[0][1]


def _id(view: dict[str, Any]) -> UUID:
    return UUID(view["id"])
