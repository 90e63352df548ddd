"""`punctual settings`: what is in force, and where it comes from; never a secret."""

from __future__ import annotations

from typing import Any

import click

from worker.commands.showing import as_json, print_json, print_list
from worker.settings import Settings, load_settings

_URLS = frozenset({"database_url", "broker_url", "events_url"})


@click.command()
@as_json
def settings(*, is_json: bool) -> None:
    """Show the settings in force, without their secrets."""
    rows = shown(load_settings())
    if is_json:
        print_json({row["name"]: row["value"] for row in rows})
    else:
        columns = {"name": "setting", "value": "value", "from": "from"}
        print_list(rows, columns, is_json=False, nothing="")


def shown(found: Settings) -> list[dict[str, Any]]:
    """List every setting with its value, secrets replaced by whether they are there."""
    return [
        {
            "name": f"PUNCTUAL_{name.upper()}",
            "value": _safe(name, getattr(found, name)),
            "from": "you" if name in found.model_fields_set else "default",
        }
        for name in type(found).model_fields
    ]


def _safe(name: str, value: object) -> object:
    from pydantic import SecretStr
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    match value:
        case SecretStr() if name in _URLS:
            try:
                return make_url(value.get_secret_value()).render_as_string(hide_password=True)
            except ArgumentError:
                return "set"
        case SecretStr():
            return "set"
        case tuple():
            return f"{len(value)} set" if value else None
        case None | bool() | int():
            return value
        case _:
            return str(value)
