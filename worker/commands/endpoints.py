"""`punctual endpoints`: subscribers of domain events over HTTP."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import click

from worker.commands.session import Failed, id_of, open_runtime, unknown
from worker.commands.showing import as_json, print_json, print_lines, print_list, print_one

COLUMNS = {
    "id": "id",
    "url": "url",
    "types": "types",
    "state": "state",
    "state_reason": "because",
    "failing_since": "failing since",
}
SPANS = {"m": "minutes", "h": "hours", "d": "days"}


@click.group()
def endpoints() -> None:
    """Subscribers of domain events over HTTP."""


@endpoints.command("list")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@as_json
def list_all(*, limit: int, is_json: bool) -> None:
    """List subscribers, oldest first."""
    from worker.endpoints import list_endpoints

    with open_runtime() as rt:
        found, _ = list_endpoints(rt, limit=limit)
    print_list(found, COLUMNS, is_json=is_json, nothing="No endpoints.")


@endpoints.command()
@click.argument("url")
@click.option("--types", help="Comma-separated, such as bot.*,calendar.connected; default: all.")
@click.option("--description")
@as_json
def add(*, url: str, types: str | None, description: str | None, is_json: bool) -> None:
    """Post domain events to URL from now on; prints the secret that signs them, this once."""
    from worker.endpoints import create

    wanted = [name.strip() for name in (types or "").split(",") if name.strip()]
    with open_runtime() as rt:
        made = create(rt, url, types=wanted, description=description)
    print_one({**made.endpoint, "secret": made.secret}, is_json=is_json)


@endpoints.command()
@click.argument("endpoint")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(*, endpoint: str, yes: bool) -> None:
    """Forget a subscriber and all that is owed to it."""
    from worker.endpoints import delete, get

    endpoint_id = id_of(endpoint, "endpoint")
    with open_runtime() as rt:
        view = get(rt, endpoint_id)
        if view is None:
            raise unknown("endpoint", endpoint)
        if not yes:
            click.confirm(f"Forget {view['url']} and what is owed to it?", abort=True)
        delete(rt, endpoint_id)
    print_lines([f"Endpoint {endpoint_id} is forgotten."])


@endpoints.command()
@click.argument("endpoint")
@as_json
def test(*, endpoint: str, is_json: bool) -> None:
    """Post a test event now, and show what the subscriber answers; fails when it does not accept it."""
    from worker.endpoints import post_test

    with open_runtime() as rt:
        attempt = post_test(rt, id_of(endpoint, "endpoint"))
    print_one(_found(attempt, endpoint), is_json=is_json)
    if attempt and not attempt["succeeded"]:
        raise Failed(f"the endpoint did not accept the test: {attempt['status'] or attempt['error']}")


@endpoints.command()
@click.argument("endpoint")
@as_json
def rotate(*, endpoint: str, is_json: bool) -> None:
    """Make a new signing secret; the old one goes on signing too for 24 hours."""
    from worker.endpoints import rotate_secret

    with open_runtime() as rt:
        made = rotate_secret(rt, id_of(endpoint, "endpoint"))
    if made is None:
        raise unknown("endpoint", endpoint)
    print_one({**made.endpoint, "secret": made.secret}, is_json=is_json)


@endpoints.command()
@click.argument("endpoint")
@click.option(
    "--since", default="1h", show_default=True, help="A time (RFC 3339), or ago: 30m, 12h, 7d."
)
@click.option("--until", help="Likewise; default: now.")
@as_json
def replay(*, endpoint: str, since: str, until: str | None, is_json: bool) -> None:
    """Post once more what was told in a span of time."""
    from worker.endpoints import replay as owe_again

    with open_runtime() as rt:
        size = owe_again(
            rt,
            id_of(endpoint, "endpoint"),
            since=instant_of(since, now=rt.now()),
            until=None if until is None else instant_of(until, now=rt.now()),
        )
    if size is None:
        raise unknown("endpoint", endpoint)
    if is_json:
        print_json({"replayed": size})
    else:
        print_lines([f"{size} domain events will be posted once more."])


@endpoints.command()
@click.argument("endpoint")
@as_json
def enable(*, endpoint: str, is_json: bool) -> None:
    """Post to a disabled subscriber again; what waits goes out at once."""
    from worker.endpoints import patch

    with open_runtime() as rt:
        view = patch(rt, id_of(endpoint, "endpoint"), {"state": "active"})
    print_one(_found(view, endpoint), is_json=is_json)


def instant_of(text: str, *, now: datetime) -> datetime:
    """Read a time, or a span that ends now."""
    from models.domain.times import parse_instant

    number, unit = text[:-1], text[-1:]
    if number.isdecimal() and unit in SPANS:
        return now - timedelta(**{SPANS[unit]: int(number)})
    try:
        return parse_instant(text)
    except ValueError as wrong:
        raise Failed(f"{text!r} is neither an RFC 3339 time nor a span such as 12h") from wrong


def _found(view: dict[str, Any] | None, endpoint: str) -> dict[str, Any]:
    if view is None:
        raise unknown("endpoint", endpoint)
    return view
