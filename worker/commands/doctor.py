"""`punctual doctor`: every check of `worker.checkup`, as far as what is down lets them run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click
from rich.table import Table
from rich.text import Text

from worker.commands.session import open_settings
from worker.commands.showing import as_json, make_console, plain, print_json
from worker.errors import ConfigError
from worker.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from worker.checkup import Finding

SIGNS = {
    "ok": Text("✓", style="green"),
    "warning": Text("!", style="bold yellow"),
    "fault": Text("✗", style="bold red"),
}


@click.command()
@as_json
def doctor(*, is_json: bool) -> None:
    """Look for everything that could be wrong, and say what to do; exit code 1 when something is."""
    console = make_console(is_stderr=True)
    with console.status("Looking around …"):
        findings = list(examine())
    is_faulty = any(finding.level == "fault" for finding in findings)
    if is_json:
        print_json({"healthy": not is_faulty, "findings": [finding.view() for finding in findings]})
    else:
        _print(findings)
    sys.exit(1 if is_faulty else 0)


def examine() -> Iterator[Finding]:
    """Yield what every check found; what is down ends only the checks that need it."""
    from subprocess import SubprocessError

    from worker.checkup import Finding

    try:
        with ExitStack() as stack:
            settings = stack.enter_context(open_settings())
            yield Finding("ok", "settings", "make sense")
            yield from _outside(settings)
            yield from _database(settings)
    except ConfigError as wrong:
        for line in str(wrong).splitlines():
            yield Finding("fault", "settings", line, "Correct the environment or .env.")
    except (OSError, RuntimeError, SubprocessError) as broken:
        words = str(broken).splitlines()
        yield Finding(
            "fault",
            "database",
            f"the embedded one does not start: {words[0] if words else type(broken).__name__}",
            "Look at postgres/log in the data directory.",
        )


def _outside(settings: Settings) -> Iterator[Finding]:
    from worker import checkup
    from worker.clock import utc_now
    from worker.http import build_client

    yield checkup.check_space(settings.data_dir)
    yield checkup.check_broker(settings)
    if settings.recall_api_key is not None:
        yield _secret(settings)
    with build_client() as http:
        yield from checkup.check_provider(settings, http, now=utc_now())


def _secret(settings: Settings) -> Finding:
    from worker import checkup
    from worker.checkup import Finding
    from worker.commands.session import is_sandbox

    if is_sandbox(settings) and not settings.recall_webhook_secrets:
        return Finding("ok", "webhook secret", "`punctual up` and its sandbox share one of their own")
    return checkup.check_webhook_secret(settings)


def _database(settings: Settings) -> Iterator[Finding]:
    from sqlalchemy.exc import SQLAlchemyError

    from models.db import make_engine
    from worker.bootstrap import database_url
    from worker.checkup import Finding

    db = make_engine(database_url(settings), pool_size=1, statement_timeout_ms=5_000)
    try:
        from worker import checkup

        yield from checkup.check_database(db)
        with db.begin() as tx:
            schema = checkup.check_schema(tx)
        yield schema
        if schema.level != "fault":
            for check in _checks(settings):
                with db.begin() as tx:
                    found = check(tx)
                    yield from [found] if isinstance(found, Finding) else list(found)
            yield from _clients(settings, db)
    except SQLAlchemyError as unreachable:
        words = (
            str(getattr(unreachable, "orig", None) or type(unreachable).__name__).strip().splitlines()
        )
        yield Finding(
            "fault",
            "database",
            f"cannot be used: {words[0]}",
            "Start it, or correct PUNCTUAL_DATABASE_URL. Notifications are answered 503 meanwhile"
            " and come again.",
        )
    finally:
        db.dispose()


def _clients(settings: Settings, db: Engine) -> Iterator[Finding]:
    """Ask each platform about our clients, with no transaction open."""
    from models.sealing import CannotOpen
    from worker import checkup
    from worker.bootstrap import authorities_of, vault_of
    from worker.checkup import Finding
    from worker.http import build_client

    try:
        with db.begin() as tx:
            apps = checkup.list_apps(tx, settings, vault_of(settings))
    except CannotOpen as sealed:
        todo = "PUNCTUAL_ENCRYPTION_KEYS lacks the key of a registered client's secret."
        yield Finding("fault", "oauth client", str(sealed), todo)
        return
    with build_client() as http:
        yield from checkup.check_clients(apps, authorities_of(settings, http))


def _checks(settings: Settings) -> list[Callable[..., Finding | Iterable[Finding]]]:
    from worker import checkup
    from worker.bootstrap import vault_of
    from worker.clock import utc_now

    now = utc_now()
    return [
        lambda tx: checkup.check_encryption(tx, vault_of(settings)),
        lambda tx: checkup.check_api_keys(tx, now=now),
        lambda tx: checkup.check_clock(tx, now=utc_now()),
        checkup.check_heartbeat,
        lambda tx: checkup.check_silence(tx, now=now),
        checkup.check_calendars,
        checkup.check_connections,
        lambda tx: checkup.check_public_url(tx, settings),
        lambda tx: checkup.check_channels(tx, now=utc_now()),
        checkup.check_due,
        checkup.check_parked,
        checkup.check_quarantine,
        lambda tx: checkup.check_bots(tx, now=now),
        lambda tx: checkup.check_outbox(tx, settings),
        checkup.check_endpoints,
    ]


def _print(findings: list[Finding]) -> None:
    console = make_console()
    table = Table(box=None, padding=(0, 1, 0, 0), show_header=False)
    for finding in findings:
        words = Text(plain(finding.what))
        if finding.todo:
            words.append(f"\n→ {plain(finding.todo)}", style="cyan")
        table.add_row(SIGNS[finding.level], Text(finding.check, style="bold"), words)
    console.print(table)
    faults = sum(finding.level == "fault" for finding in findings)
    warnings = sum(finding.level == "warning" for finding in findings)
    verdict = (
        f"Faults: {faults}, warnings: {warnings}." if faults or warnings else "Everything is well."
    )
    console.print(
        Text(verdict, style="bold red" if faults else "bold yellow" if warnings else "bold green")
    )
