"""`punctual keys`: encryption keys for the settings, and keys to the API."""

from __future__ import annotations

from datetime import timedelta

import click

from worker.commands.session import id_of, open_runtime, unknown
from worker.commands.showing import as_json, print_lines, print_list, print_one

COLUMNS = {
    "id": "id",
    "name": "name",
    "prefix": "begins with",
    "scopes": "may",
    "expires_at": "expires",
    "last_used_at": "last used",
    "created_at": "made",
}


@click.group()
def keys() -> None:
    """Make encryption keys; list, make and revoke API keys."""


@keys.command()
def new() -> None:
    """Print a fresh encryption key; put it first in PUNCTUAL_ENCRYPTION_KEYS to rotate."""
    from models.sealing import new_key

    click.echo(new_key())


@keys.command()
def rotate() -> None:
    """
    Seal everything anew under the first key of PUNCTUAL_ENCRYPTION_KEYS, while everything runs.

    Put the new key first, restart all processes, run this; then the older key can be taken away, once
    the push channels have been replaced. Interrupted, it goes on where it was.
    """
    from worker.resealing import Resealed, replace_channels, reseal

    def tell(sealed: Resealed) -> None:
        click.echo(f"{sealed.table}.{sealed.column}: {sealed.count}", err=True)

    with open_runtime() as rt:
        done = reseal(rt.db, rt.vault, tell=tell)
        replaced = replace_channels(rt.db)
    total = sum(sealed.count for sealed in done)
    print_lines([f"{total} values sealed anew, {replaced} push channels being replaced."])


@keys.group()
def api() -> None:
    """Keys to the management API."""


@api.command("list")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@as_json
def list_all(*, limit: int, is_json: bool) -> None:
    """List API keys that were not revoked; never the keys themselves."""
    from worker.access import list_keys

    with open_runtime() as rt, rt.db.begin() as tx:
        found = [view for _, view in list_keys(tx, after=None, limit=limit)]
    print_list(found, COLUMNS, is_json=is_json, nothing="No API keys.")


@api.command("new")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(["read", "write", "admin"]),
    multiple=True,
    default=["read"],
    show_default=True,
    help="What it may do; each includes the ones before it.",
)
@click.option("--days", type=click.IntRange(1, 3650), help="Valid for so long; default: for ever.")
@as_json
def make(*, name: str, scopes: tuple[str, ...], days: int | None, is_json: bool) -> None:
    """Make an API key; it is shown this once."""
    from worker.access import Scope, make_key

    with open_runtime() as rt, rt.db.begin() as tx:
        expires_at = None if days is None else rt.now() + timedelta(days=days)
        view = make_key(tx, name, frozenset(map(Scope, scopes)), expires_at=expires_at)
    print_one(view, is_json=is_json)


@api.command()
@click.argument("key_id")
def revoke(*, key_id: str) -> None:
    """Make an API key invalid from now on."""
    from worker.access import revoke_key

    with open_runtime() as rt, rt.db.begin() as tx:
        if not revoke_key(tx, id_of(key_id, "key")):
            raise unknown("valid API key", key_id)
    print_lines([f"API key {key_id} is revoked."])
